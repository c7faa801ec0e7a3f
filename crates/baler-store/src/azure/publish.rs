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
    let mut removed = false;
    for _ in 0..ROUNDS {
        let Some(look) = client.look(staged.key.as_str()).await? else {
            return Ok(Confirmation::Absent);
        };
        let version = look.head.version.clone();
        if !is_ours(&look, staged) {
            return Ok(Confirmation::Foreign { version });
        }
        let memory = (version.etag.clone(), staged.crc64nvme.unwrap_or_default());
        if client.proven.lock().contains(&memory) {
            return Ok(Confirmation::Ours { version, proof: proof_of(staged) });
        }
        if !removed {
            // What is left of a publisher that died between its two steps could be published once more, which would be
            // another version: it goes first, and what counts is what is there then.
            remove(client, place).await?;
            removed = true;
            continue;
        }
        if let Some(wanted) = staged.crc64nvme {
            let found = match reread(client, &staged.key, &version).await {
                Ok(found) => found,
                // A consumer took it, or somebody replaced it, while it was read.
                Err(StoreError::NotFound { .. } | StoreError::Changed { .. }) => continue,
                Err(error) => return Err(error),
            };
            if found != wanted {
                let detail = format!("CRC-64 is {found:016x} when read again, {wanted:016x} was staged");
                return Ok(Confirmation::Corrupt { version, detail });
            }
        }
        client.proven.lock().insert(memory);
        return Ok(Confirmation::Ours { version, proof: proof_of(staged) });
    }
    let call = client.on(Method::HEAD, Counted::Head, "confirm", staged.key.as_str());
    Err(client.line.exhausted(&call, ROUNDS, "it changes while it is read".into()))
}

fn proof_of(staged: &Staged) -> Proof {
    match staged.crc64nvme {
        Some(_) => Proof::ReRead,
        None => Proof::StampAndSize,
    }
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

#[cfg(test)]
mod tests {
    use baler_model::StagedPart;

    use super::super::config::{AzureOptions, AzureSecret};
    use super::*;
    use crate::{SystemClock, SystemIds};

    fn copying(size: u64, secret: AzureSecret, precondition: &Precondition) -> Vec<(String, String)> {
        let options = AzureOptions::new("lake", "corp", "raw", secret);
        let client = Client::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap();
        let parts = vec![StagedPart { number: 1, etag: "0x8D".into(), size }];
        let staged = Staged {
            key: Key::from_listed("out"),
            stamp: "f/r/0/a".parse().unwrap(),
            size,
            crc64nvme: None,
            place: StagedPlace::Multipart { upload_id: format!("{STAGING}a-1"), parts },
        };
        let call = copy_call(&client, &staged, precondition).unwrap();
        call.headers.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
    }

    fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
        headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    #[test]
    fn an_output_is_copied_by_the_call_that_takes_its_size() {
        let key = || AzureSecret::SharedKey("a2V5".into());
        let small = copying(256 << 20, key(), &Precondition::Absent);
        assert_eq!((header(&small, "x-ms-requires-sync"), header(&small, "x-ms-blob-type")), (Some("true"), None));
        let large = copying((256 << 20) + 1, key(), &Precondition::Absent);
        assert_eq!((header(&large, "x-ms-requires-sync"), header(&large, "x-ms-blob-type")), (None, Some("BlockBlob")));
    }

    #[test]
    fn a_copy_is_conditional_on_both_ends_and_its_source_is_signed_for() {
        let sas = || AzureSecret::Sas("sv=2020-12-06&sig=s%3D".into());
        let new = copying(1, sas(), &Precondition::Absent);
        assert_eq!(header(&new, "if-none-match"), Some("*"));
        assert_eq!(header(&new, "x-ms-source-if-match"), Some("\"0x8D\""));
        assert_eq!(header(&new, "x-ms-meta-baler"), Some("f/r/0/a"));
        let source = "https://corp.blob.core.windows.net/raw/.baler-staged/a-1?sv=2020-12-06&sig=s%3D";
        assert_eq!(header(&new, "x-ms-copy-source"), Some(source));
        let replacing = copying(1, sas(), &Precondition::Matches(ObjectVersion::new("0x1")));
        assert_eq!((header(&replacing, "if-match"), header(&replacing, "if-none-match")), (Some("\"0x1\""), None));
    }
}
