//! Pages of listings: objects folded at a delimiter, uploads, and keys encoded for XML.

use std::ops::Bound;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use s3s::{S3Result, s3_error};

use super::state::{Bucket, Object};

/// What is left as it is in a key under `encoding-type=url`. Spaces become `+`, as S3 writes them.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'*').remove(b' ');

/// Encodes a key as `encoding-type=url` asks for.
pub(super) fn url_encoded(key: &str) -> String {
    utf8_percent_encode(key, KEPT).to_string().replace(' ', "+")
}

/// Where a listing goes on.
#[derive(Debug, Clone)]
enum After {
    Start,
    Key(String),
    /// All keys with this prefix have been folded.
    Prefix(String),
}

impl After {
    fn token(&self) -> String {
        let text = match self {
            Self::Start => "s".to_owned(),
            Self::Key(key) => format!("k{key}"),
            Self::Prefix(prefix) => format!("p{prefix}"),
        };
        URL_SAFE_NO_PAD.encode(text)
    }

    fn parse(token: &str) -> Option<Self> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (kind, rest) = text.split_at_checked(1)?;
        match kind {
            "s" => Some(Self::Start),
            "k" => Some(Self::Key(rest.to_owned())),
            "p" => Some(Self::Prefix(rest.to_owned())),
            _ => None,
        }
    }
}

/// One page of objects.
#[derive(Debug, Default)]
pub(super) struct ObjectPage {
    pub(super) objects: Vec<(String, Arc<Object>)>,
    pub(super) prefixes: Vec<String>,
    pub(super) next: Option<String>,
}

/// Lists at most `max` keys and folded prefixes.
pub(super) fn list_objects(
    bucket: &Bucket,
    prefix: &str,
    delimiter: Option<&str>,
    start_after: Option<&str>,
    token: Option<&str>,
    max: usize,
) -> S3Result<ObjectPage> {
    let mut after = match (token, start_after) {
        (Some(token), _) => {
            After::parse(token).ok_or_else(|| s3_error!(InvalidArgument, "The continuation token is incorrect"))?
        }
        (None, Some(key)) => After::Key(key.to_owned()),
        (None, None) => After::Start,
    };
    let mut page = ObjectPage::default();
    if max == 0 {
        return Ok(page);
    }
    loop {
        let from = match &after {
            After::Start => Bound::Included(prefix.to_owned()),
            After::Key(key) if key.as_str() < prefix => Bound::Included(prefix.to_owned()),
            After::Key(key) => Bound::Excluded(key.clone()),
            After::Prefix(folded) => past(folded),
        };
        let mut rest = bucket.objects.range((from, Bound::Unbounded));
        let next = rest.by_ref().find(|(key, _)| !matches!(&after, After::Prefix(p) if key.starts_with(p.as_str())));
        let Some((key, object)) = next.filter(|(key, _)| key.starts_with(prefix)) else { return Ok(page) };
        if page.objects.len() + page.prefixes.len() == max {
            page.next = Some(after.token());
            return Ok(page);
        }
        let fold = delimiter.and_then(|d| key[prefix.len()..].find(d).map(|at| prefix.len() + at + d.len()));
        after = match fold {
            Some(end) => {
                page.prefixes.push(key[..end].to_owned());
                After::Prefix(key[..end].to_owned())
            }
            None => {
                page.objects.push((key.clone(), object.clone()));
                After::Key(key.clone())
            }
        };
    }
}

/// A bound behind every key with this prefix: its last character made the next one, where there is one.
fn past(prefix: &str) -> Bound<String> {
    let mut text = prefix.to_owned();
    match text.pop().and_then(|last| char::from_u32(last as u32 + 1)) {
        Some(next) => {
            text.push(next);
            Bound::Included(text)
        }
        None => Bound::Excluded(prefix.to_owned()),
    }
}

/// Key, upload id and start of at most `max` uploads behind a marker, and whether there are more.
pub(super) fn list_uploads(
    bucket: &Bucket,
    prefix: &str,
    key_marker: Option<&str>,
    upload_id_marker: Option<&str>,
    max: usize,
) -> (Vec<(String, String, jiff::Timestamp)>, bool) {
    // Without an upload id, a key marker skips all uploads of its key.
    let behind = |key: &str, id: &str| match (key_marker, upload_id_marker) {
        (None, _) => true,
        (Some(marker), None | Some("")) => key > marker,
        (Some(marker), Some(id_marker)) => (key, id) > (marker, id_marker),
    };
    let mut found: Vec<_> = bucket
        .uploads
        .iter()
        .filter(|((key, id), _)| key.starts_with(prefix) && behind(key, id))
        .map(|((key, id), upload)| (key.clone(), id.clone(), upload.started))
        .take(max.saturating_add(1))
        .collect();
    let more = found.len() > max;
    found.truncate(max);
    (found, more)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::s3::content::Content;
    use crate::s3::state::State;
    use crate::s3::{S3Options, S3Options as Options};

    fn all_pages(
        keys: &[&str],
        prefix: &str,
        delimiter: Option<&str>,
        max: usize,
    ) -> (Vec<String>, Vec<String>, usize) {
        let state = State::new(S3Options { buckets: vec!["bucket".into()], ..Options::default() });
        let bucket = state.bucket("bucket").unwrap();
        let mut bucket = bucket.lock();
        for key in keys {
            let object = state.new_object(Content::default(), Default::default());
            state.insert(&mut bucket, key, object);
        }
        let (mut objects, mut prefixes, mut pages, mut token) = (vec![], vec![], 0, None);
        loop {
            let page = list_objects(&bucket, prefix, delimiter, None, token.as_deref(), max).unwrap();
            pages += 1;
            objects.extend(page.objects.into_iter().map(|(key, _)| key));
            prefixes.extend(page.prefixes);
            token = page.next;
            if token.is_none() {
                return (objects, prefixes, pages);
            }
        }
    }

    #[test]
    fn pages_of_any_size_hold_the_same_keys() {
        let keys = ["a", "a/b", "a/c", "a0", "b//x", "b/y", "c/", "c/d/e", "ä/1", "ä/2"];
        for max in 1..12 {
            let (objects, prefixes, pages) = all_pages(&keys, "", Some("/"), max);
            assert_eq!(objects, ["a", "a0"], "{max}");
            assert_eq!(prefixes, ["a/", "b/", "c/", "ä/"], "{max}");
            assert_eq!(pages, 6usize.div_ceil(max), "{max}");
            assert_eq!(all_pages(&keys, "", None, max).0, keys);
            assert_eq!(all_pages(&keys, "b/", Some("/"), max).1, ["b//"]);
            assert_eq!(
                all_pages(&keys, "c/", Some("/"), max),
                (vec!["c/".into()], vec!["c/d/".into()], 2usize.div_ceil(max))
            );
        }
    }

    #[test]
    fn keys_are_encoded_as_s3_does() {
        assert_eq!(url_encoded("a b+c/ä%(1).png"), "a+b%2Bc/%C3%A4%25%281%29.png");
    }
}
