//! Shared keys and shared access signatures.
//!
//! Source: Azure REST API, "Authorize with Shared Key" (version 2015-02-21 and later), "Create a service SAS" (version
//! 2020-12-06 and later).

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use http::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_LANGUAGE, CONTENT_TYPE, HeaderName, HeaderValue, IF_MATCH,
    IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE,
};
use jiff::{SignedDuration, Timestamp};
use sha2::Sha256;

use super::config::AzureSecret;
use crate::http::encode::encode_query;
use crate::http::line::{Authorizer, Outgoing};

/// The version of the API: the first with 5,000 MiB in one copy and with names encoded in listings is older.
pub(crate) const API_VERSION: &str = "2021-12-02";
/// The version by which a signature for a copy's source is made.
const SAS_VERSION: &str = "2020-12-06";
/// A copy may take minutes, and clocks disagree.
const SAS_LASTS: SignedDuration = SignedDuration::from_mins(60);
const SAS_BEGINS_BEFORE: SignedDuration = SignedDuration::from_mins(15);

const CONTENT_MD5: HeaderName = HeaderName::from_static("content-md5");
const MS_DATE: HeaderName = HeaderName::from_static("x-ms-date");
const MS_VERSION: HeaderName = HeaderName::from_static("x-ms-version");

/// Signs requests, or adds the query of a SAS.
#[derive(Clone)]
pub(crate) enum Signer {
    Key { account: String, key: Vec<u8> },
    Sas { pairs: Vec<(String, String)> },
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Key { .. } => "Signer::Key",
            Self::Sas { .. } => "Signer::Sas",
        })
    }
}

impl Signer {
    /// Errors: words for people, without the secret.
    pub(crate) fn new(account: &str, secret: &AzureSecret) -> Result<Self, &'static str> {
        match secret {
            AzureSecret::SharedKey(key) => {
                let key = STANDARD.decode(key.trim()).map_err(|_| "the account's key is not base64")?;
                Ok(Self::Key { account: account.to_owned(), key })
            }
            AzureSecret::Sas(token) => {
                let pairs = token.trim().trim_start_matches('?').split('&').filter(|pair| !pair.is_empty());
                let decode = |text: &str| {
                    percent_encoding::percent_decode_str(text).decode_utf8().map(|text| text.into_owned()).ok()
                };
                let pair = |pair: &str| {
                    let (name, value) = pair.split_once('=')?;
                    Some((decode(name)?, decode(value)?))
                };
                let pairs: Option<Vec<_>> = pairs.map(pair).collect();
                match pairs {
                    Some(pairs) if pairs.iter().any(|(name, _)| name == "sig") => Ok(Self::Sas { pairs }),
                    Some(_) | None => Err("the SAS token has no signature (`sig=…`)"),
                }
            }
        }
    }

    /// The query that lets the server itself read one blob of the account, as the source of a copy.
    pub(crate) fn source_query(&self, container: &str, name: &str, now: Timestamp) -> String {
        let pairs = match self {
            Self::Sas { pairs } => pairs.clone(),
            Self::Key { account, key } => {
                let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
                let (begin, end) = (time(now - SAS_BEGINS_BEFORE), time(now + SAS_LASTS));
                let resource = format!("/blob/{account}/{container}/{name}");
                // Permission, begin, end, resource, then: policy, address, protocol | version, kind | snapshot, scope,
                // and five headers to be overridden.
                let signed = format!("r\n{begin}\n{end}\n{resource}\n\n\n\n{SAS_VERSION}\nb\n\n\n\n\n\n\n");
                let pair = |name: &str, value: String| (name.to_owned(), value);
                vec![
                    pair("sv", SAS_VERSION.into()),
                    pair("st", begin),
                    pair("se", end),
                    pair("sr", "b".into()),
                    pair("sp", "r".into()),
                    pair("sig", mac(key, &signed)),
                ]
            }
        };
        let encoded = pairs.iter().map(|(name, value)| format!("{name}={}", encode_query(value)));
        encoded.collect::<Vec<_>>().join("&")
    }
}

fn mac(key: &[u8], text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}

/// What is signed of a request.
fn string_to_sign(account: &str, outgoing: &Outgoing<'_>) -> String {
    let headers = &outgoing.headers;
    let of = |name: HeaderName| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let length = match outgoing.body_len {
        0 => String::new(),
        len => len.to_string(),
    };
    let mut lines = vec![outgoing.method.as_str().to_owned(), of(CONTENT_ENCODING), of(CONTENT_LANGUAGE), length];
    lines.extend([CONTENT_MD5, CONTENT_TYPE].map(of));
    // `Date`, which `x-ms-date` stands for.
    lines.push(String::new());
    lines.extend([IF_MODIFIED_SINCE, IF_MATCH, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE].map(of));
    lines.extend(canonical_headers(headers));
    lines.push(format!("/{account}{}", outgoing.path));
    let mut query: Vec<_> = outgoing.query.iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    query.sort();
    lines.extend(query.into_iter().map(|(name, value)| format!("{name}:{value}")));
    lines.join("\n")
}

fn canonical_headers(headers: &HeaderMap) -> Vec<String> {
    let own = headers.iter().filter(|(name, _)| name.as_str().starts_with("x-ms-"));
    let mut lines: Vec<(&str, String)> =
        own.map(|(name, value)| (name.as_str(), String::from_utf8_lossy(value.as_bytes()).trim().to_owned())).collect();
    lines.sort();
    lines.into_iter().map(|(name, value)| format!("{name}:{value}")).collect()
}

#[async_trait]
impl Authorizer for Signer {
    async fn authorize(&self, outgoing: &mut Outgoing<'_>, now: Timestamp) -> Result<(), String> {
        outgoing.headers.insert(MS_VERSION, HeaderValue::from_static(API_VERSION));
        match self {
            Self::Sas { pairs } => outgoing.query.extend(pairs.iter().cloned()),
            Self::Key { account, key } => {
                let date = now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
                outgoing.headers.insert(MS_DATE, HeaderValue::from_str(&date).map_err(|e| e.to_string())?);
                let signature = mac(key, &string_to_sign(account, outgoing));
                let value = format!("SharedKey {account}:{signature}");
                let mut value = HeaderValue::from_str(&value).map_err(|e| e.to_string())?;
                value.set_sensitive(true);
                outgoing.headers.insert(AUTHORIZATION, value);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use http::Method;

    use super::*;

    /// The example of "Authorize with Shared Key": Get Container Metadata.
    #[test]
    fn the_documented_example_is_signed_as_documented() {
        let mut headers = HeaderMap::new();
        headers.insert(MS_DATE, HeaderValue::from_static("Fri, 26 Jun 2015 23:39:12 GMT"));
        headers.insert(MS_VERSION, HeaderValue::from_static("2015-02-21"));
        let query = [("restype", "container"), ("comp", "metadata"), ("timeout", "20")];
        let query = query.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let outgoing = Outgoing { method: &Method::GET, path: "/mycontainer", query, headers, body_len: 0 };
        assert_eq!(
            string_to_sign("myaccount", &outgoing),
            "GET\n\n\n\n\n\n\n\n\n\n\n\nx-ms-date:Fri, 26 Jun 2015 23:39:12 GMT\nx-ms-version:2015-02-21\n\
             /myaccount/mycontainer\ncomp:metadata\nrestype:container\ntimeout:20"
        );
    }

    #[test]
    fn tokens_without_a_signature_are_refused() {
        let of = |token: &str| Signer::new("a", &AzureSecret::Sas(token.into()));
        assert!(of("").is_err() && of("sv=2020-12-06").is_err() && of("https://x").is_err());
        let Ok(Signer::Sas { pairs }) = of("?sv=2020-12-06&sig=a%2Bb%3D") else { panic!("a token") };
        assert_eq!(pairs[1], ("sig".into(), "a+b=".into()));
        let source = Signer::Sas { pairs }.source_query("c", "n", Timestamp::UNIX_EPOCH);
        assert_eq!(source, "sv=2020-12-06&sig=a%2Bb%3D");
        assert!(Signer::new("a", &AzureSecret::SharedKey("no base64!".into())).is_err());
    }
}
