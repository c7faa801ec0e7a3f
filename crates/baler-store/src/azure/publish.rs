//! Making staged outputs visible, and proving that what is visible is them.
//!
//! Publishing is link and unlink: one copy by the server, under conditions on both ends, then the staged blob is
//! removed; [`confirm`] says "ours" only when it is gone. So a publisher that wakes late finds no source, and an output
//! that its consumer has taken away does not come back.

use std::sync::Arc;

use baler_model::{Key, ObjectVersion, Staged, StagedPlace};
use futures::StreamExt;
use http::header::{HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{Method, StatusCode};

use super::ROUNDS;
use super::address::STAGING;
use super::client::Client;
use super::read::{Look, META_STAMP, get, quoted};
use super::stage::remove;
use crate::http::answer::text;
use crate::http::line::{Call, Counted};
use crate::{Confirmation, Crc64, Meter, Precondition, Proof, PublishOutcome, Result, StoreError};

/// Copy Blob From URL takes this much; more needs Put Blob From URL. Source: Azure REST API, both.
const SMALL_COPY: u64 = 256 << 20;
const COPY_STATUS: HeaderName = HeaderName::from_static("x-ms-copy-status");

/// Blob and version of a staged output.
///
/// Errors: [`StoreError::Unsupported`] for one that was staged elsewhere.
pub(crate) fn staged_place<'a>(client: &Client, staged: &'a Staged) -> Result<(&'a str, ObjectVersion)> {
    let place = match &staged.place {
        StagedPlace::Multipart { upload_id, parts } if upload_id.starts_with(STAGING) => {
            parts.first().map(|part| (&**upload_id, ObjectVersion { etag: part.etag.clone() }))
        }
        StagedPlace::Multipart { .. } | StagedPlace::File { .. } => None,
    };
    place.ok_or_else(|| StoreError::Unsupported {
        store: client.info.name.clone(),
        doing: format!("publish `{}`", staged.key),
        detail: "it was staged in another store".into(),
        hint: None,
    })
}

fn is_ours(look: &Look, staged: &Staged) -> bool {
    look.head.stamp.as_ref() == Some(&staged.stamp) && look.head.size == staged.size
}

fn copy_call<'a>(client: &Client, staged: &'a Staged, precondition: &Precondition) -> Result<Call<'a>> {
    let (place, version) = staged_place(client, staged)?;
    let name = client.address.full_key(place);
    let query = client.signer.source_query(&client.address.container, &name, client.line.clock.now());
    let call = client
        .on(Method::PUT, Counted::Copy, "publish", staged.key.as_str())
        .own("x-ms-copy-source", format!("{}?{query}", client.address.of_blob(place)))
        .own("x-ms-source-if-match", quoted(&version))
        .own(META_STAMP, staged.stamp.to_string());
    let call = match staged.size <= SMALL_COPY {
        true => call.own("x-ms-requires-sync", "true"),
        false => call.own("x-ms-blob-type", "BlockBlob"),
    };
    Ok(match precondition {
        Precondition::Absent => call.header(IF_NONE_MATCH, "*"),
        Precondition::Matches(version) => call.header(IF_MATCH, quoted(version)),
        Precondition::Whatever => call,
    })
}

/// See [`crate::Store::publish`].
pub(crate) async fn publish(client: &Client, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
    client.check(&staged.key)?;
    let (place, _) = staged_place(client, staged)?;
    let mut last = None;
    for _ in 0..ROUNDS {
        let call = copy_call(client, staged, precondition)?;
        let refusal = match client.line.call(&call).await {
            Ok(Ok(done)) => {
                if let Some(status) = text(&done.headers, COPY_STATUS).filter(|status| *status != "success") {
                    return Err(client.line.failed(&call, format!("the copy is `{status}`")));
                }
                Meter::add(&client.line.meter.bytes_copied, staged.size);
                remove(client, place).await?;
                return Ok(PublishOutcome::Published);
            }
            Ok(Err(refusal)) => refusal,
            // One of the tries may have done it.
            Err(exhausted @ StoreError::Exhausted { .. }) => {
                let look = client.look(staged.key.as_str()).await.ok().flatten();
                return match look.is_some_and(|look| is_ours(&look, staged)) {
                    true => remove(client, place).await.map(|()| PublishOutcome::Published),
                    false => Err(exhausted),
                };
            }
            Err(error) => return Err(error),
        };
        if !matches!(refusal.status, 404 | 409 | 412) || refusal.code == "ContainerNotFound" {
            return Err(client.line.refused(&call, &refusal));
        }
        // Target or source are not as they should be; an earlier try, or another publisher, may have done it.
        let look = client.look(staged.key.as_str()).await?;
        if look.as_ref().is_some_and(|look| is_ours(look, staged)) {
            remove(client, place).await?;
            return Ok(PublishOutcome::Published);
        }
        if !staged_exists(client, staged).await? {
            // Between our two looks it may have been published by another.
            let look = client.look(staged.key.as_str()).await?;
            return Ok(match look.is_some_and(|look| is_ours(&look, staged)) {
                true => PublishOutcome::Published,
                false => PublishOutcome::StagedGone,
            });
        }
        match (precondition, look) {
            (Precondition::Absent, Some(_)) => return Ok(PublishOutcome::Occupied),
            (Precondition::Matches(wanted), Some(look)) if look.head.version == *wanted => {}
            (Precondition::Matches(_), look) => {
                return Ok(PublishOutcome::Replaced { found: look.map(|look| look.head.version) });
            }
            // What was in the way went away in between.
            (Precondition::Absent, None) | (Precondition::Whatever, _) => {}
        }
        last = Some(refusal);
    }
    let call = client.on(Method::PUT, Counted::Copy, "publish", staged.key.as_str());
    let detail = last.map_or_else(String::new, |refusal| refusal.detail());
    Err(client.line.exhausted(&call, ROUNDS, detail))
}

/// See [`crate::Store::staged_exists`].
pub(crate) async fn staged_exists(client: &Client, staged: &Staged) -> Result<bool> {
    let (place, version) = staged_place(client, staged)?;
    Ok(client.look(place).await?.is_some_and(|look| look.head.version == version))
}

/// See [`crate::Store::confirm`]: Azure keeps no checksum of a blob that was made of blocks, so the bytes are read again,
/// once in the life of this client for each version.
pub(crate) async fn confirm(client: &Arc<Client>, staged: &Staged) -> Result<Confirmation> {
    let (place, _) = staged_place(client, staged)?;
    let Some(look) = client.look(staged.key.as_str()).await? else {
        return Ok(Confirmation::Absent);
    };
    let version = look.head.version.clone();
    if !is_ours(&look, staged) {
        return Ok(Confirmation::Foreign { version });
    }
    let Some(wanted) = staged.crc64nvme else {
        remove(client, place).await?;
        return Ok(Confirmation::Ours { version, proof: Proof::StampAndSize });
    };
    let memory = (version.etag.clone(), wanted);
    if client.proven.lock().contains(&memory) {
        return Ok(Confirmation::Ours { version, proof: Proof::ReRead });
    }
    let found = match reread(client, &staged.key, &version).await {
        Ok(found) => found,
        // A consumer took it, or somebody replaced it, while it was read.
        Err(StoreError::NotFound { .. }) => return Ok(Confirmation::Absent),
        Err(error) => return Err(error),
    };
    if found != wanted {
        let detail = format!("CRC-64 is {found:016x} when read again, {wanted:016x} was staged");
        return Ok(Confirmation::Corrupt { version, detail });
    }
    // What is left of a publisher that died between its two steps could be published once more.
    remove(client, place).await?;
    client.proven.lock().insert(memory);
    Ok(Confirmation::Ours { version, proof: Proof::ReRead })
}

async fn reread(client: &Arc<Client>, key: &Key, version: &ObjectVersion) -> Result<u64> {
    let mut read = get(client, key, None, Some(version)).await?;
    let mut crc = Crc64::new();
    while let Some(bytes) = read.body.next().await {
        crc.update(&bytes?);
    }
    Ok(crc.value())
}

/// Deletes under a condition, or without.
pub(crate) async fn delete(client: &Client, key: &Key, version: Option<&ObjectVersion>) -> Result<Option<StatusCode>> {
    let mut call = client.on(Method::DELETE, Counted::Delete, "delete", key.as_str());
    if let Some(version) = version {
        call = call.header(IF_MATCH, quoted(version));
    }
    match client.line.call(&call).await? {
        Ok(_done) => Ok(None),
        Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "ContainerNotFound" => {
            Ok(Some(StatusCode::NOT_FOUND))
        }
        Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) && version.is_some() => {
            Ok(Some(StatusCode::PRECONDITION_FAILED))
        }
        Err(refusal) => Err(client.line.refused(&call, &refusal)),
    }
}
