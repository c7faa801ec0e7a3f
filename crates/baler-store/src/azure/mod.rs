//! Azure Blob Storage as a [`Store`].
//!
//! - Keys are kept byte for byte, or refused: Azure changes some (`address`).
//! - Staged outputs are blobs of their own below `.baler-staged/` within the store's prefix, so that each can be given up
//!   by itself; they are published by one conditional copy and removed (ADR 0007).
//! - A request is repeated until its answer is final; whatever may have taken effect though its reply was lost is
//!   recognised afterwards: creations by the write id, publications by the stamp.
//! - Every body that is sent carries its MD5, which the server compares; published outputs are read again.
//!
//! A crash leaves at most staged blobs, for `gc`.

mod address;
mod client;
mod config;
mod dialect;
mod publish;
mod read;
mod sign;
mod stage;
mod xml;

use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{InputVersion, Key, ObjectVersion, Staged, Stamp, WriteId};
use bytes::Bytes;
use http::{Method, StatusCode};

pub use self::config::{AzureOptions, AzureSecret};
pub use crate::http::{Proxy, Roots};

use self::address::STAGING;
use self::client::{Client, decode_key};
use self::read::{META_WRITE, version_of};
use self::stage::put_call;
use self::xml::BlobPage;
use crate::http::line::{Call, Counted};
use crate::{
    AbortOutcome, ByteRange, Clock, Confirmation, DeleteOutcome, Get, Head, IdSource, ListRequest, Meter,
    OutputAttributes, Page, Precondition, PublishOutcome, PutOutcome, Result, StagedListing, StagedWriter, Store,
    StoreInfo,
};

/// Races with others are decided again at most this often.
const ROUNDS: u32 = 5;

/// A container, or a prefix of one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct AzureStore {
    client: Arc<Client>,
}

impl AzureStore {
    /// Makes a store; sends nothing.
    ///
    /// Errors: [`crate::StoreError::Unsupported`] for an account, container, endpoint, key or token that cannot be used.
    pub fn new(options: AzureOptions, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Result<Self> {
        Ok(Self { client: Arc::new(Client::new(options, clock, ids)?) })
    }

    /// Makes the container where there is none. Cost: one PUT.
    pub async fn create_container(&self) -> Result<()> {
        let client = &self.client;
        let target = client.address.of_container();
        let call = Call::new(Method::PUT, Counted::Put, "create", target).query("restype", "container");
        match client.line.call(&call).await? {
            Ok(_done) => Ok(()),
            Err(refusal) if refusal.code == "ContainerAlreadyExists" => Ok(()),
            Err(refusal) => Err(client.line.refused(&call, &refusal)),
        }
    }

    /// The query of a signature by which one blob can be read for an hour, as the server is given it for a copy.
    pub fn read_signature(&self, key: &Key) -> String {
        let client = &self.client;
        let name = client.address.full_key(key.as_str());
        client.signer.source_query(&client.address.container, &name, client.line.clock.now())
    }

    async fn blobs(&self, prefix: String, folded: bool, metadata: bool, marker: Option<&str>) -> Result<BlobPage> {
        let client = &self.client;
        let mut call = Call::new(Method::GET, Counted::List, "list", client.address.of_container())
            .query("restype", "container")
            .query("comp", "list");
        if !prefix.is_empty() {
            call = call.query("prefix", prefix);
        }
        if folded {
            call = call.query("delimiter", "/");
        }
        if metadata {
            call = call.query("include", "metadata");
        }
        if let Some(marker) = marker {
            call = call.query("marker", marker);
        }
        let done = client.line.expect(&call).await?;
        xml::blob_page(&done.body).map_err(|e| client.line.failed(&call, e.to_string()))
    }

    fn relative<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(self.client.address.prefix.as_str())
    }

    /// A listed page as the store shows it: nothing staged, nothing at or before `after`.
    fn shown(&self, listed: BlobPage, after: Option<&str>) -> Page {
        let mut page = Page { next: listed.next, ..Page::default() };
        for blob in listed.blobs {
            match blob.name.as_deref().and_then(|full| self.relative(full)) {
                Some(key) if key.is_empty() || key.starts_with(STAGING) || blob.is_directory => {}
                Some(key) if after.is_some_and(|after| key <= after) => {}
                Some(key) => page.objects.push(InputVersion {
                    key: Key::from_listed(key),
                    etag: blob.etag.into(),
                    size: blob.size,
                    modified: blob.modified,
                }),
                None => page.unreadable += 1,
            }
        }
        for prefix in listed.prefixes {
            match prefix.as_deref().and_then(|full| self.relative(full)) {
                Some(STAGING) => {}
                Some(prefix) if after.is_some_and(|after| prefix <= after && !after.starts_with(prefix)) => {}
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page.unreadable += 1,
            }
        }
        // Azure sorts by its own rules where keys are not ASCII.
        page.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        page.prefixes.sort_unstable();
        page
    }
}

#[async_trait]
impl Store for AzureStore {
    fn info(&self) -> &StoreInfo {
        &self.client.info
    }

    fn meter(&self) -> &Meter {
        &self.client.line.meter
    }

    fn identity(&self) -> String {
        let server = self.client.line.server_header().unwrap_or_default();
        format!("{} {server}", self.client.address.of_container())
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        let prefix = self.client.address.full_key(&request.prefix);
        let after = request.start_after.as_deref();
        let mut marker = request.token.clone();
        loop {
            let listed = self.blobs(prefix.clone(), request.folded, false, marker.as_deref()).await?;
            let page = self.shown(listed, after);
            // Azure cannot begin behind a key: what lies before it is read and left out.
            if page.next.is_none() || !page.objects.is_empty() || !page.prefixes.is_empty() || page.next == marker {
                return Ok(page);
            }
            marker = page.next;
        }
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        self.client.check(key)?;
        Ok(self.client.look(key.as_str()).await?.map(|look| look.head))
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get> {
        self.client.check(key)?;
        read::get(&self.client, key, range, version).await
    }

    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome> {
        let client = &self.client;
        client.check(key)?;
        let body = [body];
        let call = put_call(client, key, &body, true).own(META_WRITE, write_id.as_str());
        for _ in 0..ROUNDS {
            match client.line.call(&call).await? {
                Ok(done) => {
                    let version = version_of(&done.headers).map_err(|detail| client.line.failed(&call, detail))?;
                    return Ok(PutOutcome::Created(version));
                }
                Err(refusal) if refusal.code == "BlobAlreadyExists" => {}
                Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => {}
                Err(refusal) => return Err(client.line.refused(&call, &refusal)),
            }
            // It exists: by a rival's hand, or by an earlier try of ours whose reply was lost.
            match client.look(key.as_str()).await? {
                Some(look) if look.write_id.as_ref() == Some(write_id) => {
                    return Ok(PutOutcome::Created(look.head.version));
                }
                Some(look) => return Ok(PutOutcome::Exists { owner: look.write_id }),
                // It went away in between: the question is open again.
                None => {}
            }
        }
        Err(client.line.exhausted(&call, ROUNDS, "it is created and deleted by others all the time".into()))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        self.client.check(key)?;
        let body = [body];
        let call = put_call(&self.client, key, &body, false);
        let done = self.client.line.expect(&call).await?;
        version_of(&done.headers).map_err(|detail| self.client.line.failed(&call, detail))
    }

    async fn stage(&self, key: &Key, stamp: &Stamp, attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>> {
        Ok(Box::new(stage::begin(&self.client, key, stamp, attributes).await?))
    }

    async fn staged_exists(&self, staged: &Staged) -> Result<bool> {
        publish::staged_exists(&self.client, staged).await
    }

    async fn publish(&self, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
        publish::publish(&self.client, staged, precondition).await
    }

    async fn confirm(&self, staged: &Staged) -> Result<Confirmation> {
        publish::confirm(&self.client, staged).await
    }

    /// Never [`AbortOutcome::GivenUp`]: a publisher may have copied what is removed, and not removed it yet.
    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        let (place, _) = publish::staged_place(&self.client, staged)?;
        stage::remove(&self.client, place).await.map(|()| AbortOutcome::Gone)
    }

    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        let mut found = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let staging = self.client.address.full_key(STAGING);
            let listed = self.blobs(staging, false, true, marker.as_deref()).await?;
            for blob in listed.blobs {
                let handle = blob.name.as_deref().and_then(|full| self.relative(full)).map(str::to_owned);
                let key = blob.staged_key.as_deref().and_then(decode_key);
                if let (Some(handle), Some(key)) = (handle, key)
                    && key.starts_with(prefix)
                {
                    found.push(StagedListing { key: Key::from_listed(key), handle, started: blob.modified });
                }
            }
            match listed.next {
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                Some(_) | None => return Ok(found),
            }
        }
    }

    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        stage::remove(&self.client, &listing.handle).await
    }

    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome> {
        let client = &self.client;
        client.check(key)?;
        for _ in 0..ROUNDS {
            match publish::delete(client, key, Some(version)).await? {
                None => return Ok(DeleteOutcome::Deleted),
                Some(StatusCode::NOT_FOUND) => return Ok(DeleteOutcome::Absent),
                Some(_) => {}
            }
            match client.look(key.as_str()).await? {
                None => return Ok(DeleteOutcome::Absent),
                Some(look) if look.head.version != *version => {
                    return Ok(DeleteOutcome::Changed { found: look.head.version });
                }
                // It came back in between.
                Some(_) => {}
            }
        }
        let call = client.on(Method::DELETE, Counted::Delete, "delete", key.as_str());
        Err(client.line.exhausted(&call, ROUNDS, "the planned version is there and its deletion is refused".into()))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        self.client.check(key)?;
        publish::delete(&self.client, key, None).await.map(|_| ())
    }
}
