//! Making staged outputs visible, and proving that what is visible is them.
//!
//! Publishing is link and unlink: one rewrite by the server, under conditions on both ends, then the staged object is
//! removed; [`confirm`] says "ours" only when it is gone. So a publisher that wakes late finds no source, and an output
//! that its consumer has taken away does not come back.

use std::sync::Arc;

use baler_model::{Key, ObjectVersion, Staged, StagedPlace};
use http::{Method, StatusCode};

use super::ROUNDS;
use super::address::STAGING;
use super::client::Client;
use super::dialect::NO_BUCKET;
use super::json::Rewritten;
use super::read::Look;
use super::stage::{marked, remove};
use crate::http::line::{Call, Counted, Refusal};
use crate::{Confirmation, Meter, Precondition, Proof, PublishOutcome, Result, StoreError};

/// Object, version and CRC-32C of a staged output.
///
/// Errors: [`StoreError::Unsupported`] for one that was staged elsewhere.
pub(crate) fn staged_place<'a>(client: &Client, staged: &'a Staged) -> Result<(&'a str, ObjectVersion, u32)> {
    let place = match &staged.place {
        StagedPlace::Multipart { upload_id, parts } if upload_id.starts_with(STAGING) => {
            let marked = parts.first().and_then(|part| marked(&part.etag));
            marked.map(|(version, crc32c)| (&**upload_id, version, crc32c))
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

/// A rewrite takes content type and metadata, and the stamp with them, from its source.
fn rewrite_call<'a>(
    client: &Client,
    staged: &'a Staged,
    precondition: &Precondition,
    token: Option<&str>,
) -> Result<Call<'a>> {
    let (place, version, _) = staged_place(client, staged)?;
    let target = client.address.of_rewrite(place, staged.key.as_str());
    let mut call = Call::new(Method::POST, Counted::Copy, "publish", target)
        .key(staged.key.as_str())
        .query("fields", "done,totalBytesRewritten,rewriteToken")
        .query("ifSourceGenerationMatch", &*version.etag);
    match precondition {
        Precondition::Absent => call = call.query("ifGenerationMatch", "0"),
        Precondition::Matches(version) => call = call.query("ifGenerationMatch", &*version.etag),
        Precondition::Whatever => {}
    }
    Ok(match token {
        Some(token) => call.query("rewriteToken", token),
        None => call,
    })
}

/// Rewrites until it is done: one request within a location and storage class, more where GCS moves bytes.
async fn rewrite(
    client: &Client,
    staged: &Staged,
    precondition: &Precondition,
) -> Result<std::result::Result<(), Refusal>> {
    let (mut token, mut before, mut idle) = (None, None, 0);
    loop {
        let call = rewrite_call(client, staged, precondition, token.as_deref())?;
        let answer: Rewritten = match client.line.call(&call).await? {
            Ok(done) => client.parsed(&call, &done)?,
            Err(refusal) => return Ok(Err(refusal)),
        };
        if answer.done {
            return Ok(Ok(()));
        }
        idle = if before.as_ref() == Some(&answer.total_bytes_rewritten) { idle + 1 } else { 0 };
        token = match answer.rewrite_token {
            Some(token) if idle < ROUNDS => Some(token),
            Some(_) | None => return Err(client.line.failed(&call, "the rewrite neither ends nor goes on")),
        };
        before = Some(answer.total_bytes_rewritten);
    }
}

/// See [`crate::Store::publish`].
pub(crate) async fn publish(client: &Client, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
    client.check(&staged.key)?;
    let (place, _, _) = staged_place(client, staged)?;
    let mut last = None;
    for _ in 0..ROUNDS {
        let refusal = match rewrite(client, staged, precondition).await {
            Ok(Ok(())) => {
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
        // 410: a rewrite token that has ended. A rewrite begins again from the beginning.
        if !matches!(refusal.status, 404 | 409 | 410 | 412) || refusal.code == NO_BUCKET {
            let call = rewrite_call(client, staged, precondition, None)?;
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
    let call = rewrite_call(client, staged, precondition, None)?;
    let detail = last.map_or_else(String::new, |refusal| refusal.detail());
    Err(client.line.exhausted(&call, ROUNDS, detail))
}

/// See [`crate::Store::staged_exists`].
pub(crate) async fn staged_exists(client: &Client, staged: &Staged) -> Result<bool> {
    let (place, version, _) = staged_place(client, staged)?;
    Ok(client.look(place).await?.is_some_and(|look| look.head.version == version))
}

/// See [`crate::Store::confirm`]: the proof is the CRC-32C that GCS computed of the output, against that of what was sent.
pub(crate) async fn confirm(client: &Arc<Client>, staged: &Staged) -> Result<Confirmation> {
    let (place, _, wanted) = staged_place(client, staged)?;
    let mut removed = false;
    loop {
        let Some(look) = client.look(staged.key.as_str()).await? else {
            return Ok(Confirmation::Absent);
        };
        let version = look.head.version.clone();
        if !is_ours(&look, staged) {
            return Ok(Confirmation::Foreign { version });
        }
        let verdict = match look.crc32c {
            Some(found) if found != wanted => {
                let detail = format!("CRC-32C is {found:08x}, {wanted:08x} was staged");
                return Ok(Confirmation::Corrupt { version, detail });
            }
            Some(_) => Proof::Crc32c,
            None => Proof::StampAndSize,
        };
        let memory = (version.etag.clone(), wanted);
        if removed || client.proven.lock().contains(&memory) {
            client.proven.lock().insert(memory);
            return Ok(Confirmation::Ours { version, proof: verdict });
        }
        // What is left of a publisher that died between its two steps could be published once more, which would be
        // another version: it goes first, and what counts is what is there then.
        remove(client, place).await?;
        removed = true;
    }
}

/// Deletes under a condition, or without.
pub(crate) async fn delete(client: &Client, key: &Key, version: Option<&ObjectVersion>) -> Result<Option<StatusCode>> {
    let call = delete_call(client, key, version);
    match client.line.call(&call).await? {
        Ok(_done) => Ok(None),
        Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != NO_BUCKET => {
            Ok(Some(StatusCode::NOT_FOUND))
        }
        Err(refusal) if refusal.is(StatusCode::PRECONDITION_FAILED) && version.is_some() => {
            Ok(Some(StatusCode::PRECONDITION_FAILED))
        }
        Err(refusal) => Err(client.line.refused(&call, &refusal)),
    }
}

fn delete_call<'a>(client: &Client, key: &'a Key, version: Option<&ObjectVersion>) -> Call<'a> {
    let call = client.on(Method::DELETE, Counted::Delete, "delete", key.as_str());
    match version {
        Some(version) => call.query("ifGenerationMatch", &*version.etag),
        None => call,
    }
}

#[cfg(test)]
mod tests {
    use baler_model::{SharedStr, StagedPart};

    use super::super::config::{GcsOptions, GcsSecret};
    use super::super::stage::mark_of;
    use super::*;
    use crate::{SystemClock, SystemIds};

    fn client() -> Client {
        let options = GcsOptions::new("lake", "raw", GcsSecret::Anonymous);
        Client::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap()
    }

    fn staged(etag: SharedStr) -> Staged {
        Staged {
            key: Key::from_listed("out/ü x"),
            stamp: "f/r/0/a".parse().unwrap(),
            size: 1,
            crc64nvme: None,
            place: StagedPlace::Multipart {
                upload_id: format!("{STAGING}a-1"),
                parts: vec![StagedPart { number: 1, etag, size: 1 }],
            },
        }
    }

    #[test]
    fn a_rewrite_is_conditional_on_both_ends_and_goes_on_by_its_token() {
        let (client, staged) = (client(), staged(mark_of(&ObjectVersion::new("17"), 9)));
        let of = |precondition: &Precondition, token| rewrite_call(&client, &staged, precondition, token).unwrap();
        let new = of(&Precondition::Absent, None);
        assert_eq!(
            new.target,
            "https://storage.googleapis.com/storage/v1/b/raw/o/.baler-staged%2Fa-1/rewriteTo/b/raw/o/out%2F%C3%BC%20x"
        );
        assert_eq!(new.query[1..], [("ifSourceGenerationMatch", "17".into()), ("ifGenerationMatch", "0".into())]);
        let replacing = of(&Precondition::Matches(ObjectVersion::new("21")), Some("t"));
        let wanted = [("ifSourceGenerationMatch", "17"), ("ifGenerationMatch", "21"), ("rewriteToken", "t")];
        assert_eq!(replacing.query[1..], wanted.map(|(name, value)| (name, value.to_owned())));
        let whatever = of(&Precondition::Whatever, None);
        assert_eq!(whatever.query[1..], [("ifSourceGenerationMatch", "17".into())]);
    }

    #[test]
    fn what_was_staged_elsewhere_is_refused() {
        let error = staged_place(&client(), &staged("0x8D".into())).unwrap_err();
        assert!(error.to_string().contains("staged in another store"), "{error}");
    }

    #[test]
    fn a_conditional_delete_names_the_generation() {
        let (client, key) = (client(), Key::from_listed("a/b"));
        let call = delete_call(&client, &key, Some(&ObjectVersion::new("17")));
        assert_eq!(call.query, [("ifGenerationMatch", "17".to_owned())]);
        assert!(delete_call(&client, &key, None).query.is_empty());
    }
}
