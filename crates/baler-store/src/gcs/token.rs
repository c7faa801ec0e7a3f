//! Who asks: tokens that a service account signs for itself, or that the metadata server gives.
//!
//! A service account's key signs a token for an hour, which GCS takes as it is: no token is asked for elsewhere. Tokens
//! are kept until shortly before they end. Nothing is sent unencrypted but to the metadata server, which has no TLS.
//!
//! Source: AIP-4111 (self-signed JWT); RFC 7515, 7518 (RS256), 7519; Compute Engine documentation, "Authenticate
//! workloads using service accounts".

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Method};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustls::SignatureScheme;
use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use rustls::sign::SigningKey;
use serde::{Deserialize, Serialize};

use super::dialect::DIALECT;
use crate::StoreError;
use crate::http::line::{Authorizer, Call, Counted, Dialect, Line, Outgoing};

/// Enough for all that a store does, and no more.
const SCOPE: &str = "https://www.googleapis.com/auth/devstorage.read_write";
/// A token that a service account signs itself lasts this long at most.
const LASTS: SignedDuration = SignedDuration::from_hours(1);
/// A new one is made this long before the old one ends; the metadata server has a new one 5 minutes before.
const MARGIN: SignedDuration = SignedDuration::from_secs(225);
const METADATA_PATH: &str = "/computeMetadata/v1/instance/service-accounts/default/token";

/// The key file of a service account, as far as it is needed.
#[derive(Deserialize)]
struct KeyFile {
    #[serde(rename = "type")]
    kind: String,
    client_email: Option<String>,
    private_key: Option<String>,
    private_key_id: Option<String>,
}

#[derive(Serialize)]
struct JwtHeader<'a> {
    alg: &'static str,
    typ: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    scope: &'static str,
    iat: i64,
    exp: i64,
}

/// A service account that signs for itself.
pub(crate) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: Arc<dyn SigningKey>,
}

impl ServiceAccount {
    /// Errors: words for people, without the key.
    pub(crate) fn parse(json: &str) -> Result<Self, String> {
        let file: KeyFile =
            serde_json::from_str(json).map_err(|_| "the key file is not the JSON of a key".to_owned())?;
        if file.kind != "service_account" {
            return Err(format!("the key file is of type `{}`; only `service_account` is supported", file.kind));
        }
        let (Some(email), Some(pem)) = (file.client_email, file.private_key) else {
            return Err("the key file has no `client_email` or no `private_key`".into());
        };
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes()).ok().and_then(|der| any_supported_type(&der).ok());
        let key = key.ok_or("the `private_key` of the key file is no private key")?;
        if key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]).is_none() {
            return Err("the `private_key` of the key file is not an RSA key".into());
        }
        Ok(Self { email, key_id: file.private_key_id, key })
    }

    /// A token that is good for an hour from `now` on.
    fn sign(&self, now: Timestamp) -> Result<String, String> {
        let (iat, exp) = (now.as_second(), now.as_second() + LASTS.as_secs());
        let header = JwtHeader { alg: "RS256", typ: "JWT", kid: self.key_id.as_deref() };
        let claims = Claims { iss: &self.email, sub: &self.email, scope: SCOPE, iat, exp };
        let [header, claims] = [serde_json::to_vec(&header), serde_json::to_vec(&claims)]
            .map(|part| part.map(|part| URL_SAFE_NO_PAD.encode(part)).unwrap_or_default());
        let message = format!("{header}.{claims}");
        let signer = self.key.choose_scheme(&[SignatureScheme::RSA_PKCS1_SHA256]);
        let signed = signer.ok_or("the key signs no RS256")?.sign(message.as_bytes());
        let signature = signed.map_err(|error| format!("the key of `{}` does not sign: {error}", self.email))?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }
}

/// What the metadata server answers.
#[derive(Deserialize)]
struct Given {
    access_token: String,
    /// Seconds.
    expires_in: i64,
}

/// Where tokens come from.
pub(crate) enum Source {
    Nowhere,
    Key(ServiceAccount),
    Metadata(Box<Line>),
}

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    ends: Timestamp,
}

/// Puts a token on every request.
pub(crate) struct Tokens {
    source: Source,
    kept: Mutex<Option<Token>>,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::Nowhere => "Tokens::Nowhere",
            Source::Key(_) => "Tokens::Key",
            Source::Metadata(_) => "Tokens::Metadata",
        })
    }
}

impl Tokens {
    pub(crate) fn new(source: Source) -> Self {
        Self { source, kept: Mutex::default() }
    }

    async fn make(&self, now: Timestamp) -> Result<Option<Token>, String> {
        let (text, ends) = match &self.source {
            Source::Nowhere => return Ok(None),
            Source::Key(account) => (account.sign(now)?, now + LASTS),
            Source::Metadata(line) => {
                let target = format!("{}{METADATA_PATH}", line.settings.endpoint);
                let call =
                    Call::new(Method::GET, Counted::Get, "ask for a token at", target).own("metadata-flavor", "Google");
                let done = line.expect(&call).await.map_err(|error: StoreError| error.to_string())?;
                let given: Given = serde_json::from_slice(&done.body)
                    .map_err(|_| format!("what answers at {} is no metadata server", line.settings.endpoint))?;
                (given.access_token, now + SignedDuration::from_secs(given.expires_in))
            }
        };
        let mut header = HeaderValue::from_str(&format!("Bearer {text}")).map_err(|_| "the token is no text")?;
        header.set_sensitive(true);
        Ok(Some(Token { header, ends }))
    }
}

#[async_trait]
impl Authorizer for Tokens {
    async fn authorize(&self, outgoing: &mut Outgoing<'_>, now: Timestamp) -> Result<(), String> {
        let kept = self.kept.lock().clone().filter(|token| now + MARGIN < token.ends);
        // Several may ask at a time: each gets one, and the last is kept.
        let token = match kept {
            Some(token) => Some(token),
            None => {
                let made = self.make(now).await?;
                self.kept.lock().clone_from(&made);
                made
            }
        };
        if let Some(token) = token {
            outgoing.headers.insert(AUTHORIZATION, token.header);
        }
        Ok(())
    }
}

/// To the metadata server, requests go as they are.
#[derive(Debug)]
pub(crate) struct Plain;

#[async_trait]
impl Authorizer for Plain {
    async fn authorize(&self, _outgoing: &mut Outgoing<'_>, _now: Timestamp) -> Result<(), String> {
        Ok(())
    }
}

/// The metadata server refuses as any does; what can be done about it is said by the store.
pub(crate) const METADATA_DIALECT: Dialect = Dialect { hint: |_, _| None, ..DIALECT };

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use serde_json::Value;

    use super::*;

    fn key_file(kind: &str, pem: &str) -> String {
        serde_json::json!({
            "type": kind,
            "client_email": "etl@corp.iam.gserviceaccount.com",
            "private_key_id": "k1",
            "private_key": pem,
        })
        .to_string()
    }

    /// Made for this test; it belongs to no account.
    const PEM: &str = include_str!("key_of_no_account.pem");
    /// What `openssl dgst -sha256 -sign` makes of the token below.
    const SIGNED_BY_OPENSSL: &str = include_str!("signed_by_openssl.txt");

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn a_token_names_account_scope_and_hour_and_is_signed_as_openssl_signs_it() {
        let account = ServiceAccount::parse(&key_file("service_account", PEM)).unwrap();
        let token = account.sign(at(1_700_000_000)).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let [header, claims, signature] = parts.as_slice() else { panic!("three parts: {token}") };
        let decoded = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(decoded(header), r#"{"alg":"RS256","typ":"JWT","kid":"k1"}"#);
        let claims: Value = serde_json::from_str(&decoded(claims)).unwrap();
        assert_eq!(claims["iss"], "etl@corp.iam.gserviceaccount.com");
        assert_eq!(claims["sub"], claims["iss"]);
        assert_eq!(claims["scope"], SCOPE);
        assert_eq!((claims["iat"].as_i64(), claims["exp"].as_i64()), (Some(1_700_000_000), Some(1_700_003_600)));
        assert_eq!(*signature, SIGNED_BY_OPENSSL.trim());
    }

    #[test]
    fn key_files_of_other_kinds_are_refused_by_name_and_without_their_content() {
        let refused = |json: &str| match ServiceAccount::parse(json) {
            Ok(_) => panic!("it is refused"),
            Err(words) => words,
        };
        assert!(refused(&key_file("authorized_user", PEM)).contains("`authorized_user`"));
        assert!(refused(r#"{"type":"service_account"}"#).contains("`client_email`"));
        for hidden in ["hidden", "-----BEGIN PRIVATE KEY-----\naGlkZGVu\n-----END PRIVATE KEY-----\n"] {
            let words = refused(&key_file("service_account", hidden));
            assert!(words.contains("no private key") && !words.contains(hidden), "{words}");
        }
        assert!(refused("hidden").contains("not the JSON"));
    }

    #[tokio::test]
    async fn a_token_is_kept_until_shortly_before_it_ends() {
        let account = ServiceAccount::parse(&key_file("service_account", PEM)).unwrap();
        let tokens = Tokens::new(Source::Key(account));
        let mut seen = Vec::new();
        for second in [0, 3374, 3375, 3376] {
            let (method, headers) = (Method::GET, HeaderMap::new());
            let mut outgoing = Outgoing { method: &method, path: "/", query: Vec::new(), headers, body_len: 0 };
            tokens.authorize(&mut outgoing, at(1_700_000_000 + second)).await.unwrap();
            let header = outgoing.headers[AUTHORIZATION].clone();
            assert!(header.is_sensitive() && header.to_str().unwrap().starts_with("Bearer eyJ"));
            seen.push(header);
        }
        assert_eq!([seen[0] == seen[1], seen[1] == seen[2], seen[2] == seen[3]], [true, false, true]);
    }
}
