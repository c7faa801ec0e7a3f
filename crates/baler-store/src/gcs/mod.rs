//! Google Cloud Storage as a [`Store`], by its JSON API.
//!
//! **Not tested against the service itself**, which nothing here can reach: it is written from its documentation.
//!
//! - A version is a generation. Keys are kept byte for byte, or refused (`address`).
//! - Staged outputs are objects of their own below `.baler-staged/` within the store's prefix, so that each can be given
//!   up by itself; they are published by one conditional rewrite and removed (ADR 0009).
//! - A request is repeated until its answer is final; whatever may have taken effect though its reply was lost is
//!   recognised afterwards: creations by the write id, publications by the stamp.
//! - Every body that is sent carries its CRC-32C, which the server compares; published outputs are proven by the CRC-32C
//!   that the server computed.
//!
//! A crash leaves at most staged objects, for `gc`.

mod address;
mod client;
mod config;
mod dialect;
mod json;
mod publish;
mod read;
mod stage;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use baler_model::{InputVersion, Key, ObjectVersion, Staged, Stamp, WriteId};
use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::Timestamp;

pub use self::config::{GcsOptions, GcsSecret};
pub use crate::http::{Proxy, Roots};

use self::address::STAGING;
use self::client::{Client, Insert};
use self::json::{FIELDS, META_WRITE, ObjectPage};
use crate::http::line::{Call, Counted};
use crate::{
    AbortOutcome, ByteRange, Clock, Confirmation, DeleteOutcome, Get, Head, IdSource, ListRequest, Meter,
    OutputAttributes, Page, Precondition, PublishOutcome, PutOutcome, Result, StagedListing, StagedWriter, Store,
    StoreInfo,
};

/// Races with others are decided again at most this often.
const ROUNDS: u32 = 5;

/// A bucket, or a prefix of one. Cheap to clone.
#[derive(Debug, Clone)]
pub struct GcsStore {
    client: Arc<Client>,
}

impl GcsStore {
    /// Makes a store; sends nothing.
    ///
    /// Errors: [`crate::StoreError::Unsupported`] for a bucket, endpoint or key file that cannot be used.
    pub fn new(options: GcsOptions, clock: Arc<dyn Clock>, ids: Arc<dyn IdSource>) -> Result<Self> {
        Ok(Self { client: Arc::new(Client::new(options, clock, ids)?) })
    }

    fn relative<'a>(&self, full: &'a str) -> Option<&'a str> {
        full.strip_prefix(self.client.address.prefix.as_str())
    }

    /// A listed page as the store shows it: nothing staged, nothing at or before `after`.
    fn shown(&self, call: &Call<'_>, listed: ObjectPage, after: Option<&str>) -> Result<Page> {
        let mut page = Page { next: listed.next_page_token, ..Page::default() };
        for object in listed.items {
            match self.relative(&object.name) {
                Some(key) if key.is_empty() || key.starts_with(STAGING) => {}
                Some(key) if after.is_some_and(|after| key <= after) => {}
                Some(key) => page.objects.push(InputVersion {
                    key: Key::from_listed(key),
                    etag: object.version().etag,
                    size: object.size().map_err(|detail| self.client.line.failed(call, detail))?,
                    modified: object.written(),
                }),
                None => page.unreadable += 1,
            }
        }
        for prefix in listed.prefixes {
            match self.relative(&prefix) {
                Some(STAGING) => {}
                Some(prefix) if after.is_some_and(|after| prefix <= after && !after.starts_with(prefix)) => {}
                Some(prefix) => page.prefixes.push(prefix.to_owned()),
                None => page.unreadable += 1,
            }
        }
        page.objects.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        page.prefixes.sort_unstable();
        Ok(page)
    }
}

/// Where a listing begins, so that all behind `after` is in it: GCS includes the name that it begins at, and folds names
/// before or after it compares them, which is not said.
fn begin_at<'a>(request: &ListRequest, after: &'a str) -> &'a str {
    let behind = after.strip_prefix(request.prefix.as_str()).filter(|_| request.folded);
    match behind.and_then(|rest| rest.find('/')) {
        Some(slash) => &after[..=request.prefix.len() + slash],
        None => after,
    }
}

fn list_call(client: &Client, request: &ListRequest, token: Option<&str>) -> Call<'static> {
    let mut call = Call::new(Method::GET, Counted::List, "list", client.address.of_objects());
    let prefix = client.address.full_key(&request.prefix);
    if !prefix.is_empty() {
        call = call.query("prefix", prefix);
    }
    if request.folded {
        call = call.query("delimiter", "/");
    }
    if let Some(after) = &request.start_after {
        call = call.query("startOffset", client.address.full_key(begin_at(request, after)));
    }
    call = call.query("fields", format!("nextPageToken,prefixes,items({FIELDS})"));
    match token {
        Some(token) => call.query("pageToken", token),
        None => call,
    }
}

impl Client {
    /// One page of all that begins with a full name.
    pub(crate) async fn objects(&self, full: &str, token: Option<&str>) -> Result<ObjectPage> {
        let mut call = Call::new(Method::GET, Counted::List, "list", self.address.of_objects())
            .query("prefix", full)
            .query("fields", format!("nextPageToken,items({FIELDS})"));
        if let Some(token) = token {
            call = call.query("pageToken", token);
        }
        let done = self.line.expect(&call).await?;
        self.parsed(&call, &done)
    }
}

/// The staged outputs among some objects: whatever lies below one's name belongs to it.
fn uploads(listed: &mut BTreeMap<String, StagedListing>, place: &str, key: &str, written: Timestamp) {
    let own = place.strip_prefix(STAGING).unwrap_or(place);
    let handle = format!("{STAGING}{}", own.split('/').next().unwrap_or(own));
    let of = |handle| StagedListing { key: Key::from_listed(key), handle, started: written };
    let listing = listed.entry(handle.clone()).or_insert_with(|| of(handle));
    listing.started = listing.started.min(written);
}

#[async_trait]
impl Store for GcsStore {
    fn info(&self) -> &StoreInfo {
        &self.client.info
    }

    fn meter(&self) -> &Meter {
        &self.client.line.meter
    }

    fn identity(&self) -> String {
        let server = self.client.line.server_header().unwrap_or_default();
        format!("{} {server}", self.client.address.of_objects())
    }

    async fn list(&self, request: &ListRequest) -> Result<Page> {
        let mut token = request.token.clone();
        loop {
            let call = list_call(&self.client, request, token.as_deref());
            let done = self.client.line.expect(&call).await?;
            let page = self.shown(&call, self.client.parsed(&call, &done)?, request.start_after.as_deref())?;
            // A page may have been of staged outputs alone.
            if page.next.is_none() || !page.objects.is_empty() || !page.prefixes.is_empty() || page.next == token {
                return Ok(page);
            }
            token = page.next;
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
        let metadata = BTreeMap::from([(META_WRITE, write_id.to_string())]);
        let insert = Insert { metadata, if_generation: Some("0"), ..Insert::of_key(key, &body) };
        for _ in 0..ROUNDS {
            match client.insert(&insert).await? {
                Ok(resource) => return Ok(PutOutcome::Created(resource.version())),
                // 409: a conflicting call overlapped ours; who won is seen below.
                Err(refusal) if matches!(refusal.status, 409 | 412) => {}
                Err(refusal) => return Err(client.line.refused(&client.insert_call(&insert), &refusal)),
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
        let call = client.insert_call(&insert);
        Err(client.line.exhausted(&call, ROUNDS, "it is created and deleted by others all the time".into()))
    }

    async fn put(&self, key: &Key, body: Bytes) -> Result<ObjectVersion> {
        self.client.check(key)?;
        let body = [body];
        let insert = Insert::of_key(key, &body);
        match self.client.insert(&insert).await? {
            Ok(resource) => Ok(resource.version()),
            Err(refusal) => Err(self.client.line.refused(&self.client.insert_call(&insert), &refusal)),
        }
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
        let (place, _, _) = publish::staged_place(&self.client, staged)?;
        stage::remove(&self.client, place).await.map(|()| AbortOutcome::Gone)
    }

    async fn list_staged(&self, prefix: &str) -> Result<Vec<StagedListing>> {
        let mut found = BTreeMap::new();
        let mut token: Option<String> = None;
        loop {
            let page = self.client.objects(&self.client.address.full_key(STAGING), token.as_deref()).await?;
            for object in &page.items {
                if let (Some(place), Some(key)) = (self.relative(&object.name), object.staged_key())
                    && key.starts_with(prefix)
                {
                    uploads(&mut found, place, key, object.written());
                }
            }
            match page.next_page_token {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                Some(_) | None => return Ok(found.into_values().collect()),
            }
        }
    }

    async fn abort_listed(&self, listing: &StagedListing) -> Result<()> {
        stage::remove_all(&self.client, &listing.handle).await
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{SystemClock, SystemIds};

    fn listing(change: impl FnOnce(&mut ListRequest)) -> Vec<(&'static str, String)> {
        let options = GcsOptions { prefix: "lake".into(), ..GcsOptions::new("lake", "raw", GcsSecret::Anonymous) };
        let store = GcsStore::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let mut request = ListRequest::default();
        change(&mut request);
        let mut call = list_call(&store.client, &request, request.token.as_deref());
        assert_eq!(call.target, "https://storage.googleapis.com/storage/v1/b/raw/o");
        call.query.retain(|(name, _)| *name != "fields");
        call.query
    }

    #[test]
    fn a_listing_begins_where_nothing_behind_is_left_out() {
        let own = |pairs: &[(&'static str, &str)]| -> Vec<_> {
            pairs.iter().map(|(name, value)| (*name, (*value).to_owned())).collect()
        };
        assert_eq!(listing(|_| {}), own(&[("prefix", "lake/")]));
        let plain = listing(|r| (r.prefix, r.start_after) = ("a/".into(), Some("a/b/c".into())));
        assert_eq!(plain, own(&[("prefix", "lake/a/"), ("startOffset", "lake/a/b/c")]));
        let folded = listing(|r| {
            (r.prefix, r.start_after, r.folded, r.token) = ("a/".into(), Some("a/b/c".into()), true, Some("t".into()));
        });
        let wanted = [("prefix", "lake/a/"), ("delimiter", "/"), ("startOffset", "lake/a/b/"), ("pageToken", "t")];
        assert_eq!(folded, own(&wanted));
    }

    #[test]
    fn all_that_an_attempt_staged_is_one_upload_as_old_as_its_beginning() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut found = BTreeMap::new();
        for (place, second) in [(".baler-staged/a-1/p00001", 7), (".baler-staged/a-1", 5), (".baler-staged/b-2", 6)] {
            uploads(&mut found, place, "out", at(second));
        }
        let found: Vec<_> = found.into_values().map(|listing| (listing.handle, listing.started)).collect();
        assert_eq!(found, [(".baler-staged/a-1".to_owned(), at(5)), (".baler-staged/b-2".to_owned(), at(6))]);
    }
}
