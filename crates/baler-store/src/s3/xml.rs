//! The XML answers of S3, read into plain values.
//!
//! Every answer is small (a listing page has a thousand entries at most), so it is read into a tree first; unknown
//! elements are passed over, as servers add their own. Names are listed with `encoding-type=url`, because XML 1.0 cannot
//! hold every character that a key can.

use jiff::Timestamp;

use super::address::decode_listed;
use crate::http::xml::{Node, XmlError, fault, parse, root, unquoted};

/// The body of a refusal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ErrorBody {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) region: Option<String>,
    pub(crate) request_id: Option<String>,
    /// Everything else that it says about its cause (`ArgumentName`, `Header`, `Resource`).
    pub(crate) about: String,
}

/// Reads an `<Error>`; `None` for anything else. A 200 can carry one too (CompleteMultipartUpload, UploadPartCopy).
pub(crate) fn error_body(bytes: &[u8]) -> Option<ErrorBody> {
    let node = root(bytes, "Error").ok()?;
    let text = |name: &str| node.text_of(name).unwrap_or_default().trim().to_owned();
    Some(ErrorBody {
        code: text("Code"),
        message: text("Message"),
        region: node.text_of("Region").map(str::to_owned),
        request_id: node.text_of("RequestId").map(str::to_owned),
        about: format!("{} {}", text("ArgumentName"), text("Header")),
    })
}

/// One page of ListObjectsV2, with names as the server has them; `None` stands for a name that is not UTF-8.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ObjectPage {
    pub(crate) objects: Vec<ListedObject>,
    pub(crate) prefixes: Vec<Option<String>>,
    pub(crate) next: Option<String>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListedObject {
    pub(crate) key: Option<String>,
    pub(crate) etag: String,
    pub(crate) size: u64,
    pub(crate) modified: Timestamp,
}

/// A name in a listing, decoded if the server says that it encoded it (some ignore `encoding-type`).
fn name_in(listing: &Node, text: &str) -> Option<String> {
    match listing.text_of("EncodingType").is_some_and(|e| e.eq_ignore_ascii_case("url")) {
        true => decode_listed(text),
        false => Some(text.to_owned()),
    }
}

pub(crate) fn object_page(bytes: &[u8]) -> Result<ObjectPage, XmlError> {
    let node = root(bytes, "ListBucketResult")?;
    let mut page = ObjectPage::default();
    for entry in node.all("Contents") {
        page.objects.push(ListedObject {
            key: name_in(&node, entry.need("Key")?),
            etag: unquoted(entry.need("ETag")?).to_owned(),
            size: entry.number("Size")?,
            modified: entry.time("LastModified")?,
        });
    }
    for entry in node.all("CommonPrefixes") {
        page.prefixes.push(name_in(&node, entry.need("Prefix")?));
    }
    if node.is_true("IsTruncated") {
        // A page that says "more" and not where would end a listing early, without a word.
        page.next = Some(node.need("NextContinuationToken")?.to_owned());
    }
    Ok(page)
}

/// One page of ListMultipartUploads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct UploadPage {
    pub(crate) uploads: Vec<ListedUpload>,
    /// Key marker and upload id marker of the next page.
    pub(crate) next: Option<(String, String)>,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ListedUpload {
    pub(crate) key: Option<String>,
    pub(crate) upload_id: String,
    pub(crate) initiated: Timestamp,
}

pub(crate) fn upload_page(bytes: &[u8]) -> Result<UploadPage, XmlError> {
    let node = root(bytes, "ListMultipartUploadsResult")?;
    let mut page = UploadPage::default();
    for entry in node.all("Upload") {
        page.uploads.push(ListedUpload {
            key: name_in(&node, entry.need("Key")?),
            upload_id: entry.need("UploadId")?.to_owned(),
            initiated: entry.time("Initiated")?,
        });
    }
    if node.is_true("IsTruncated") {
        let key = name_in(&node, node.need("NextKeyMarker")?).ok_or_else(|| fault("`NextKeyMarker` is not UTF-8"))?;
        page.next = Some((key, node.text_of("NextUploadIdMarker").unwrap_or_default().to_owned()));
    }
    Ok(page)
}

/// The upload id of InitiateMultipartUploadResult.
pub(crate) fn upload_id(bytes: &[u8]) -> Result<String, XmlError> {
    Ok(root(bytes, "InitiateMultipartUploadResult")?.need("UploadId")?.to_owned())
}

/// The etag of CopyPartResult, without quotes.
pub(crate) fn copied_etag(bytes: &[u8]) -> Result<String, XmlError> {
    Ok(unquoted(root(bytes, "CopyPartResult")?.need("ETag")?).to_owned())
}

/// Checks that this is a CompleteMultipartUploadResult.
pub(crate) fn completed(bytes: &[u8]) -> Result<(), XmlError> {
    root(bytes, "CompleteMultipartUploadResult").map(|_| ())
}

/// The body of a CompleteMultipartUpload request: part numbers and etags.
pub(crate) fn complete_request<'a>(parts: impl Iterator<Item = (u32, &'a str)>) -> String {
    let mut body = String::from("<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    for (number, etag) in parts {
        let etag = quick_xml::escape::escape(etag);
        body.push_str(&format!("<Part><PartNumber>{number}</PartNumber><ETag>&quot;{etag}&quot;</ETag></Part>"));
    }
    body.push_str("</CompleteMultipartUpload>");
    body
}

/// One rule of a bucket's life cycle, as far as it can harm state or staged uploads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BucketRule {
    pub(crate) id: String,
    /// The keys that it reaches, on the server: all that begin with this.
    pub(crate) prefix: String,
    /// Whether it is in force.
    pub(crate) enabled: bool,
    /// At what age it deletes objects, in days; 0 for a rule that names a date, which spares nothing from then on.
    pub(crate) expires_after: Option<u32>,
    /// At what age it aborts unfinished uploads, in days.
    pub(crate) aborts_uploads_after: Option<u32>,
}

pub(crate) fn lifecycle_rules(bytes: &[u8]) -> Result<Vec<BucketRule>, XmlError> {
    let days = |node: &Node, name: &str| -> Result<u32, XmlError> {
        u32::try_from(node.number(name)?).map_err(|_| fault(format!("`{name}` is too large")))
    };
    let read = |rule: &Node| -> Result<BucketRule, XmlError> {
        let filter = rule.child("Filter");
        // The prefix stands in the rule (old form), in its filter, or among several conditions of the filter.
        let prefix = [Some(rule), filter, filter.and_then(|f| f.child("And"))]
            .into_iter()
            .flatten()
            .find_map(|at| at.text_of("Prefix"))
            .unwrap_or_default();
        let expires_after = match rule.child("Expiration") {
            Some(node) if node.child("Days").is_some() => Some(days(node, "Days")?),
            Some(node) if node.child("Date").is_some() => Some(0),
            // ExpiredObjectDeleteMarker removes no bytes.
            Some(_) | None => None,
        };
        Ok(BucketRule {
            id: rule.text_of("ID").unwrap_or_default().to_owned(),
            prefix: prefix.to_owned(),
            enabled: rule.need("Status")? == "Enabled",
            expires_after,
            aborts_uploads_after: match rule.child("AbortIncompleteMultipartUpload") {
                Some(node) => Some(days(node, "DaysAfterInitiation")?),
                None => None,
            },
        })
    };
    root(bytes, "LifecycleConfiguration")?.all("Rule").map(read).collect()
}

/// Whether a bucket keeps old versions of its objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Versioning {
    /// It never did.
    Never,
    /// It does.
    Enabled,
    /// It did and keeps those that it has.
    Suspended,
}

pub(crate) fn versioning(bytes: &[u8]) -> Result<Versioning, XmlError> {
    // The root's name differs between servers.
    match parse(bytes)?.text_of("Status").map(str::trim) {
        None => Ok(Versioning::Never),
        Some("Enabled") => Ok(Versioning::Enabled),
        Some("Suspended") => Ok(Versioning::Suspended),
        Some(other) => Err(fault(format!("`Status` is `{other}`"))),
    }
}

#[cfg(test)]
#[path = "xml_tests.rs"]
mod tests;
