//! Amazon S3, and servers that speak its protocol, as a [`Store`].
//!
//! - Keys are kept byte for byte: request targets are put together here and no URL library touches them.
//! - A request is repeated until its answer is final; whatever may have taken effect though its reply was lost is
//!   recognised afterwards: creations by the write id, completions by the stamp.
//! - Nothing is decided by a 200 that carries an error body, by a 409, or by an etag alone.
//! - Creation, completion and deletion are atomic as far as the server honours conditional requests; whether it does
//!   is proven elsewhere, before a ledger is put there.
//!
//! A crash leaves at most uploads that were begun, for `gc`.

mod address;
mod call;
mod client;
mod config;
mod credentials;
mod publish;
mod read;
mod refusal;
mod retry;
pub(crate) mod sign;
mod upload;
mod xml;

use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{InputVersion, Key, ObjectVersion, Staged, Stamp, WriteId};
use bytes::Bytes;
use http::StatusCode;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};

pub use crate::http::{Proxy, Roots};
pub use config::{Addressing, S3Options};
pub use credentials::{Anonymous, CredentialsError, S3Credentials, S3Secret, StaticCredentials};
pub use xml::Versioning;

use self::call::{Action, Call};
use self::client::{Client, Done, Reply};
use self::read::{CHECKSUM, META_WRITE, encode_crc, quoted};
use self::upload::crc_of;
use self::xml::BucketRule;
use crate::http::answer::text;
use crate::http::xml::unquoted;
use crate::{
    AbortOutcome, ByteRange, Clock, Confirmation, DeleteOutcome, Get, Head, IdSource, LifecycleRule, ListRequest,
    Meter, OutputAttributes, Page, Precondition, PublishOutcome, PutOutcome, Result, StagedListing, StagedWriter,
    Store, StoreInfo,
};

/// Races with others are decided again at most this often: each round means that somebody else changed the key between
/// two of our requests.
const ROUNDS: u32 = 5;

/// A bucket, or a prefix of one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct S3Store {
    client: Arc<Client>,
}

impl S3Store {
    /// Makes a store; sends nothing.
    ///
    /// Errors: [`crate::StoreError::Unsupported`] for an endpoint, bucket name, proxy or certificate bundle that cannot
    /// be used.
    pub fn new(
        options: S3Options,
        credentials: Arc<dyn S3Credentials>,
        clock: Arc<dyn Clock>,
        ids: Arc<dyn IdSource>,
    ) -> Result<Self> {
        Ok(Self { client: Arc::new(Client::new(options, credentials, clock, ids)?) })
    }

    /// The bucket's name.
    pub fn bucket(&self) -> &str {
        &self.client.address.bucket
    }

    /// What every key begins with on the server: empty, or ending in `/`.
    pub fn prefix(&self) -> &str {
        &self.client.address.prefix
    }

    /// The server's address.
    pub fn endpoint(&self) -> &str {
        &self.client.address.endpoint
    }

    /// The `Server` header of the last answer; `None` before the first.
    pub fn server_header(&self) -> Option<String> {
        self.client.server_header()
    }

    /// Whether the bucket keeps old versions. Cost: one GET.
    pub async fn versioning(&self) -> Result<Versioning> {
        let call = Call::new(Action::Versioning, None).query("versioning", "");
        let done = self.client.expect(&call).await?;
        xml::versioning(&done.body).map_err(|e| self.client.failed(&call, e.to_string()))
    }

    /// A name on the server as a key of this store. `None`: not within the prefix.
    fn relative<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(self.prefix())
    }

    /// Writes a whole object; under a write id only where there is none.
    async fn write(&self, key: &Key, body: &[Bytes], create: Option<&WriteId>) -> Result<Reply<Done>> {
        let client = &self.client;
        loop {
            let checksums = client.takes_checksums();
            let mut call = client.encrypted(Call::new(Action::Put, Some(key.as_str())).body(body));
            if let Some(write_id) = create {
                call = call.header(IF_NONE_MATCH, "*").amz(META_WRITE, write_id.as_str());
            }
            if checksums {
                call = call.amz(CHECKSUM, encode_crc(crc_of(body)));
            }
            match client.call(&call).await? {
                Err(refusal) if checksums && client.unlearns_checksums(&refusal) => {}
                reply => return Ok(reply),
            }
        }
    }

    /// The version that a PUT made.
    fn written(&self, key: &Key, done: &Done) -> Result<ObjectVersion> {
        match text(&done.headers, ETAG) {
            Some(etag) => Ok(ObjectVersion::new(unquoted(etag))),
            None => Err(self.client.failed(&Call::new(Action::Put, Some(key.as_str())), "the answer has no ETag")),
        }
    }
}

#[async_trait]
impl Store for S3Store {
    fn info(&self) -> &StoreInfo {
        &self.client.info
    }

    fn meter(&self) -> &Meter {
        &self.client.meter
    }

    fn identity(&self) -> String {
        let server = self.server_header().unwrap_or_default();
        format!("{} {} {server}", self.endpoint(), self.bucket())
    }

    async fn lifecycle(&self) -> Result<Vec<LifecycleRule>> {
        let call = Call::new(Action::Lifecycle, None).query("lifecycle", "");
        let rules = match self.client.call(&call).await? {
            Ok(done) => xml::lifecycle_rules(&done.body).map_err(|e| self.client.failed(&call, e.to_string()))?,
            Err(refusal) if refusal.code == "NoSuchLifecycleConfiguration" => Vec::new(),
            Err(refusal) => return Err(self.client.refused(&call, &refusal)),
        };
        let reaching = rules.into_iter().filter(|rule| rule.enabled).filter_map(|rule| {
            // A rule for a shorter prefix than ours reaches all that we have.
            let prefix = match rule.prefix.strip_prefix(self.prefix()) {
                Some(within) => within.to_owned(),
                None if self.prefix().starts_with(&rule.prefix) => String::new(),
                None => return None,
            };
            let BucketRule { id, expires_after, aborts_uploads_after, .. } = rule;
            Some(LifecycleRule { id, prefix, expires_after, aborts_uploads_after })
        });
        Ok(reaching.collect())
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        let client = &self.client;
        let mut call = Call::new(Action::List, None)
            .query("list-type", "2")
            .query("encoding-type", "url")
            .query("prefix", client.address.full_key(&request.prefix));
        if request.folded {
            call = call.query("delimiter", "/");
        }
        match (&request.token, &request.start_after) {
            (Some(token), _) => call = call.query("continuation-token", token.as_str()),
            (None, Some(after)) => call = call.query("start-after", client.address.full_key(after)),
            (None, None) => {}
        }
        let done = client.expect(&call).await?;
        let listed = xml::object_page(&done.body).map_err(|e| client.failed(&call, e.to_string()))?;
        let mut page = Page { next: listed.next, ..Page::default() };
        for object in listed.objects {
            match object.key.as_deref().and_then(|full| self.relative(full)) {
                // The marker of the store's own root has no name within it.
                Some("") => {}
                Some(key) => page.objects.push(InputVersion {
                    key: Key::from_listed(key),
                    etag: object.etag.into(),
                    size: object.size,
                    modified: object.modified,
                }),
                None => page.unreadable += 1,
            }
        }
        for prefix in listed.prefixes {
            match prefix.as_deref().and_then(|full| self.relative(full)) {
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page.unreadable += 1,
            }
        }
        Ok(page)
    }

    async fn head(&self, key: &Key) -> Result<Option<Head>> {
        Ok(self.client.look(key.as_str()).await?.map(|look| look.head))
    }

    async fn get(&self, key: &Key, range: Option<ByteRange>, version: Option<&ObjectVersion>) -> Result<Get> {
        read::get(&self.client, key, range, version).await
    }

    async fn put_if_absent(&self, key: &Key, body: Bytes, write_id: &WriteId) -> Result<PutOutcome> {
        let body = [body];
        for _ in 0..ROUNDS {
            match self.write(key, &body, Some(write_id)).await? {
                Ok(done) => return Ok(PutOutcome::Created(self.written(key, &done)?)),
                Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => {}
                Err(refusal) => {
                    let call = Call::new(Action::Put, Some(key.as_str()));
                    return Err(self.client.refused(&call, &refusal));
                }
            }
            // It exists: by a rival's hand, or by an earlier try of ours whose reply was lost.
            match self.client.look(key.as_str()).await? {
                Some(look) if look.write_id.as_ref() == Some(write_id) => {
                    return Ok(PutOutcome::Created(look.head.version));
                }
                Some(look) => return Ok(PutOutcome::Exists { owner: look.write_id }),
                // It went away in between: the question is open again.
                None => {}
            }
        }
        let call = Call::new(Action::Put, Some(key.as_str()));
        Err(self.client.exhausted(&call, ROUNDS, "it is created and deleted by others all the time".into()))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        match self.write(key, &[body], None).await? {
            Ok(done) => self.written(key, &done),
            Err(refusal) => Err(self.client.refused(&Call::new(Action::Put, Some(key.as_str())), &refusal)),
        }
    }

    async fn stage(&self, key: &Key, stamp: &Stamp, attributes: &OutputAttributes) -> Result<Box<dyn StagedWriter>> {
        Ok(Box::new(upload::begin(&self.client, key, stamp, attributes).await?))
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

    async fn abort_staged(&self, staged: &Staged) -> Result<AbortOutcome> {
        let (upload_id, _parts) = publish::multipart(&self.client, staged)?;
        upload::abort(&self.client, &staged.key, upload_id).await
    }

    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        let client = &self.client;
        let mut found = Vec::new();
        let mut marker: Option<(String, String)> = None;
        loop {
            let mut call = Call::new(Action::ListUploads, None)
                .query("uploads", "")
                .query("encoding-type", "url")
                .query("prefix", client.address.full_key(prefix));
            if let Some((key, upload)) = &marker {
                call = call.query("key-marker", key.as_str()).query("upload-id-marker", upload.as_str());
            }
            let done = client.expect(&call).await?;
            let page = xml::upload_page(&done.body).map_err(|e| client.failed(&call, e.to_string()))?;
            for upload in page.uploads {
                if let Some(key) = upload.key.as_deref().and_then(|full| self.relative(full)) {
                    let key = Key::from_listed(key);
                    found.push(StagedListing { key, handle: upload.upload_id, started: upload.initiated });
                }
            }
            match page.next {
                // Servers that repeat a marker would keep us here for ever.
                Some(next) if marker.as_ref() != Some(&next) => marker = Some(next),
                Some(_) | None => return Ok(found),
            }
        }
    }

    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        match upload::abort(&self.client, &listing.key, &listing.handle).await? {
            AbortOutcome::GivenUp | AbortOutcome::Gone => Ok(()),
        }
    }

    async fn delete_if(&self, key: &Key, version: &ObjectVersion) -> Result<DeleteOutcome> {
        for _ in 0..ROUNDS {
            let call = Call::new(Action::Delete, Some(key.as_str())).header(IF_MATCH, quoted(version));
            match self.client.call(&call).await? {
                Ok(_done) => return Ok(DeleteOutcome::Deleted),
                Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "NoSuchBucket" => {
                    return Ok(DeleteOutcome::Absent);
                }
                Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) => {}
                Err(refusal) => return Err(self.client.refused(&call, &refusal)),
            }
            match self.client.look(key.as_str()).await? {
                None => return Ok(DeleteOutcome::Absent),
                Some(look) if look.head.version != *version => {
                    return Ok(DeleteOutcome::Changed { found: look.head.version });
                }
                // It came back in between.
                Some(_) => {}
            }
        }
        let call = Call::new(Action::Delete, Some(key.as_str()));
        Err(self.client.exhausted(&call, ROUNDS, "the planned version is there and its deletion is refused".into()))
    }

    async fn delete(&self, key: &Key) -> Result<()> {
        let call = Call::new(Action::Delete, Some(key.as_str()));
        match self.client.call(&call).await? {
            Ok(_done) => Ok(()),
            Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "NoSuchBucket" => Ok(()),
            Err(refusal) => Err(self.client.refused(&call, &refusal)),
        }
    }
}

#[cfg(test)]
mod tests;
