//! Making staged outputs visible, and proving that what is visible is them.

use baler_model::{ObjectVersion, Staged, StagedPart, StagedPlace};
use bytes::Bytes;
use futures::StreamExt;
use http::StatusCode;
use http::header::{CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH};
use md5::{Digest, Md5};
use std::sync::Arc;

use super::call::{Action, Call};
use super::client::Client;
use super::read::{CHECKSUM, Look, encode_crc, get, quoted};
use super::xml::{complete_request, completed};
use crate::{Confirmation, Crc64, Precondition, Proof, PublishOutcome, Result, StoreError};

/// Upload id and parts of a staged output.
///
/// Errors: [`StoreError::Unsupported`] for one that was staged in a directory.
pub(crate) fn multipart<'a>(client: &Client, staged: &'a Staged) -> Result<(&'a str, &'a [StagedPart])> {
    match &staged.place {
        StagedPlace::Multipart { upload_id, parts } => Ok((upload_id, parts)),
        StagedPlace::File { .. } => Err(StoreError::Unsupported {
            store: client.info.name.clone(),
            doing: format!("publish `{}`", staged.key),
            detail: "it was staged in a directory".into(),
            hint: None,
        }),
    }
}

fn is_ours(look: &Look, staged: &Staged) -> bool {
    look.head.stamp.as_ref() == Some(&staged.stamp) && look.head.size == staged.size
}

/// See [`crate::Store::publish`].
pub(crate) async fn publish(client: &Client, staged: &Staged, precondition: &Precondition) -> Result<PublishOutcome> {
    let (upload_id, parts) = multipart(client, staged)?;
    let body = [Bytes::from(complete_request(parts.iter().map(|part| (part.number, &*part.etag))))];
    loop {
        let checksums = client.takes_checksums();
        let mut call = Call::new(Action::Complete, Some(staged.key.as_str()))
            .query("uploadId", upload_id)
            .header(CONTENT_TYPE, "application/xml")
            .body(&body);
        if checksums && let Some(crc) = staged.crc64nvme {
            // The server compares before anybody sees the object.
            call = call.amz(CHECKSUM, encode_crc(crc)).amz("x-amz-checksum-type", "FULL_OBJECT");
        }
        call = match precondition {
            Precondition::Absent => call.header(IF_NONE_MATCH, "*"),
            Precondition::Matches(version) => call.header(IF_MATCH, quoted(version)),
            Precondition::Whatever => call,
        };
        let refusal = match client.call(&call).await {
            Ok(Ok(done)) => {
                completed(&done.body).map_err(|e| client.failed(&call, e.to_string()))?;
                return Ok(PublishOutcome::Published);
            }
            Ok(Err(refusal)) => refusal,
            Err(exhausted @ StoreError::Exhausted { .. }) => return undecided(client, staged, exhausted).await,
            Err(error) => return Err(error),
        };
        if checksums && staged.crc64nvme.is_some() && client.unlearns_checksums(&refusal) {
            continue;
        }
        let not_found = refusal.is(StatusCode::NOT_FOUND);
        // Under If-Match a missing object is "no such key"; a missing upload is always "no such upload".
        let target_gone = not_found && refusal.code == "NoSuchKey" && matches!(precondition, Precondition::Matches(_));
        let upload_gone = not_found && refusal.code == "NoSuchUpload";
        if !refusal.is(StatusCode::PRECONDITION_FAILED) && !target_gone && !upload_gone {
            return Err(client.refused(&call, &refusal));
        }
        // An earlier try whose reply was lost may have done it: whose is it?
        let look = client.look(staged.key.as_str()).await?;
        if look.as_ref().is_some_and(|look| is_ours(look, staged)) {
            return Ok(PublishOutcome::Published);
        }
        if upload_gone {
            return Ok(PublishOutcome::StagedGone);
        }
        return Ok(match precondition {
            Precondition::Absent | Precondition::Whatever => PublishOutcome::Occupied,
            Precondition::Matches(_) => PublishOutcome::Replaced { found: look.map(|look| look.head.version) },
        });
    }
}

/// Every try of a completion failed or lost its reply; one of them may have done it, or the upload may be gone, which
/// some servers answer by a 500.
async fn undecided(client: &Client, staged: &Staged, exhausted: StoreError) -> Result<PublishOutcome> {
    if let Ok(Some(look)) = client.look(staged.key.as_str()).await
        && is_ours(&look, staged)
    {
        return Ok(PublishOutcome::Published);
    }
    match staged_exists(client, staged).await {
        Ok(false) => Ok(PublishOutcome::StagedGone),
        Ok(true) | Err(_) => Err(exhausted),
    }
}

/// See [`crate::Store::staged_exists`].
pub(crate) async fn staged_exists(client: &Client, staged: &Staged) -> Result<bool> {
    let (upload_id, _parts) = multipart(client, staged)?;
    let call =
        Call::new(Action::ListParts, Some(staged.key.as_str())).query("max-parts", "1").query("uploadId", upload_id);
    match client.call(&call).await? {
        Ok(_done) => Ok(true),
        Err(refusal) if refusal.is(StatusCode::NOT_FOUND) && refusal.code != "NoSuchBucket" => Ok(false),
        Err(refusal) => Err(client.refused(&call, &refusal)),
    }
}

/// What the etags say about the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum EtagProof {
    Equal,
    Differs,
    /// The parts' etags are no digests.
    Silent,
}

/// The etag that S3 gives to an object made of parts: the MD5 of their MD5s, and their number.
fn etag_of_parts(parts: &[StagedPart]) -> Option<String> {
    let mut whole = Md5::new();
    for part in parts {
        let etag = part.etag.as_bytes();
        if etag.len() != 32 {
            return None;
        }
        for pair in etag.chunks_exact(2) {
            let digits = std::str::from_utf8(pair).ok()?;
            whole.update([u8::from_str_radix(digits, 16).ok()?]);
        }
    }
    let hex: String = whole.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    Some(format!("{hex}-{}", parts.len()))
}

fn etag_proof(parts: &[StagedPart], found: &ObjectVersion) -> EtagProof {
    match etag_of_parts(parts) {
        None => EtagProof::Silent,
        Some(wanted) if wanted.eq_ignore_ascii_case(&found.etag) => EtagProof::Equal,
        Some(_) => EtagProof::Differs,
    }
}

/// See [`crate::Store::confirm`]: full-object CRC, else etags of parts, else a re-read, else stamp and size.
pub(crate) async fn confirm(client: &Arc<Client>, staged: &Staged) -> Result<Confirmation> {
    let (_upload_id, parts) = multipart(client, staged)?;
    let Some(look) = client.look(staged.key.as_str()).await? else {
        return Ok(Confirmation::Absent);
    };
    let version = look.head.version.clone();
    if !is_ours(&look, staged) {
        return Ok(Confirmation::Foreign { version });
    }
    let ours = |proof| Ok(Confirmation::Ours { version: version.clone(), proof });
    let corrupt = |detail: String| Ok(Confirmation::Corrupt { version: version.clone(), detail });
    if let (Some(wanted), Some(found)) = (staged.crc64nvme, look.head.crc64nvme) {
        return match wanted == found {
            true => ours(Proof::Crc64Nvme),
            false => corrupt(format!("CRC-64 is {found:016x}, {wanted:016x} was staged")),
        };
    }
    let etags = etag_proof(parts, &version);
    if etags == EtagProof::Equal {
        return ours(Proof::PartEtags);
    }
    if let Some(wanted) = staged.crc64nvme {
        // Etags that differ prove nothing on a server that computes them in its own way; the bytes do.
        let found = reread(client, staged, &version).await?;
        return match wanted == found {
            true => ours(Proof::ReRead),
            false => corrupt(format!("CRC-64 is {found:016x} when read again, {wanted:016x} was staged")),
        };
    }
    match etags {
        EtagProof::Differs if !look.opaque_etags => {
            let wanted = etag_of_parts(parts).unwrap_or_default();
            corrupt(format!("etag is {version}, the parts make {wanted}"))
        }
        EtagProof::Differs | EtagProof::Equal | EtagProof::Silent => ours(Proof::StampAndSize),
    }
}

async fn reread(client: &Arc<Client>, staged: &Staged, version: &ObjectVersion) -> Result<u64> {
    let mut read = get(client, &staged.key, None, Some(version)).await?;
    let mut crc = Crc64::new();
    while let Some(bytes) = read.body.next().await {
        crc.update(&bytes?);
    }
    Ok(crc.value())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(etags: &[&str]) -> Vec<StagedPart> {
        let part = |(n, etag): (usize, &&str)| StagedPart { number: n as u32 + 1, etag: (*etag).into(), size: 1 };
        etags.iter().enumerate().map(part).collect()
    }

    #[test]
    fn the_etag_of_an_upload_follows_from_its_parts() {
        // One part without bytes: `printf '' | md5sum | xxd -r -p | md5sum`.
        let empty = parts(&["d41d8cd98f00b204e9800998ecf8427e"]);
        assert_eq!(etag_of_parts(&empty).as_deref(), Some("59adb24ef3cdbe0297f05b395827453f-1"));
        assert_eq!(etag_proof(&empty, &ObjectVersion::new("59ADB24EF3CDBE0297F05B395827453F-1")), EtagProof::Equal);
        assert_eq!(etag_proof(&empty, &ObjectVersion::new("59adb24ef3cdbe0297f05b395827453f-2")), EtagProof::Differs);
    }

    #[test]
    fn etags_that_are_no_digests_prove_nothing() {
        for etag in ["short", "zz1d8cd98f00b204e9800998ecf8427e", "d41d8cd98f00b204e9800998ecf842ä"] {
            let found = ObjectVersion::new("59adb24ef3cdbe0297f05b395827453f-1");
            assert_eq!(etag_proof(&parts(&[etag]), &found), EtagProof::Silent, "{etag}");
        }
    }
}
