//! Signature Version 4, as S3 wants it: paths as they are, encoded once.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings, UriPathNormalizationMode,
    sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use jiff::Timestamp;

use super::credentials::S3Secret;

/// How the body enters the signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Payload {
    /// By its SHA-256, in hexadecimal.
    Hashed(String),
    /// Not at all: the connection is encrypted, and checksum headers (which are signed) cover the bytes.
    Unsigned,
}

/// Why a request cannot be signed: a header that is no text, a key with characters that no header can hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the request cannot be signed: {detail}")]
pub(crate) struct SignError {
    detail: String,
}

fn fault(error: impl std::fmt::Display) -> SignError {
    SignError { detail: error.to_string() }
}

/// Adds the headers that sign a request to S3. All headers that are there are signed, `host` among them.
pub(crate) fn sign_request(
    method: &Method,
    target: &str,
    headers: &mut HeaderMap,
    payload: Payload,
    secret: &S3Secret,
    region: &str,
    now: Timestamp,
) -> Result<(), SignError> {
    sign_for(Scope { service: "s3", region }, method, target, headers, payload, secret, now)
}

/// What a signature is good for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
}

/// The same for any service whose paths hold nothing that is encoded.
pub(crate) fn sign_for(
    scope: Scope<'_>,
    method: &Method,
    target: &str,
    headers: &mut HeaderMap,
    payload: Payload,
    secret: &S3Secret,
    now: Timestamp,
) -> Result<(), SignError> {
    let mut settings = SigningSettings::default();
    settings.percent_encoding_mode = PercentEncodingMode::Single;
    settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
    settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
    let identity = Credentials::new(
        secret.access_key.as_str(),
        secret.secret_key.as_str(),
        secret.session_token.clone(),
        None,
        "baler",
    )
    .into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(scope.region)
        .name(scope.service)
        .time(SystemTime::from(now))
        .settings(settings)
        .build()
        .map_err(fault)?
        .into();
    let mut plain = Vec::with_capacity(headers.len());
    for (name, value) in headers.iter() {
        plain.push((name.as_str(), value.to_str().map_err(fault)?));
    }
    let body = match payload {
        Payload::Hashed(hash) => SignableBody::Precomputed(hash),
        Payload::Unsigned => SignableBody::UnsignedPayload,
    };
    let request = SignableRequest::new(method.as_str(), target, plain.into_iter(), body).map_err(fault)?;
    let (instructions, _signature) = sign(request, &params).map_err(fault)?.into_parts();
    let (signed, _query) = instructions.into_parts();
    for header in signed {
        let mut value = HeaderValue::from_str(header.value()).map_err(fault)?;
        value.set_sensitive(header.sensitive());
        headers.insert(HeaderName::from_static(header.name()), value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::header::{AUTHORIZATION, HOST, RANGE};

    use super::*;

    const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    /// The keys and the moment of the examples in the S3 API reference, "Signature Calculations for the Authorization
    /// Header: Transferring Payload in a Single Chunk".
    fn signature(method: Method, target: &str, more: &[(HeaderName, &str)], payload: Payload) -> String {
        let secret = S3Secret {
            access_key: "AKIAIOSFODNN7EXAMPLE".into(),
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY".into(),
            session_token: None,
            expires: None,
        };
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("examplebucket.s3.amazonaws.com"));
        for (name, value) in more {
            headers.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        sign_request(&method, target, &mut headers, payload, &secret, "us-east-1", now).unwrap();
        assert_eq!(headers["x-amz-date"], "20130524T000000Z");
        headers[AUTHORIZATION].to_str().unwrap().split("Signature=").nth(1).unwrap().to_owned()
    }

    #[test]
    fn amazons_own_examples_sign_as_documented() {
        let host = "https://examplebucket.s3.amazonaws.com";
        let hashed = || Payload::Hashed(EMPTY.into());
        assert_eq!(
            signature(Method::GET, &format!("{host}/test.txt"), &[(RANGE, "bytes=0-9")], hashed()),
            "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
        );
        assert_eq!(
            signature(Method::GET, &format!("{host}/?lifecycle="), &[], hashed()),
            "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"
        );
        assert_eq!(
            signature(Method::GET, &format!("{host}/?max-keys=2&prefix=J"), &[], hashed()),
            "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"
        );
        let put = [
            (HeaderName::from_static("date"), "Fri, 24 May 2013 00:00:00 GMT"),
            (HeaderName::from_static("x-amz-storage-class"), "REDUCED_REDUNDANCY"),
        ];
        let body = Payload::Hashed("44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072".into());
        assert_eq!(
            signature(Method::PUT, &format!("{host}/test%24file.text"), &put, body),
            "98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
        );
    }

    #[test]
    fn dots_in_a_path_are_signed_as_they_are() {
        let sign = |path: &str| {
            let target = format!("https://examplebucket.s3.amazonaws.com/{path}");
            signature(Method::GET, &target, &[], Payload::Unsigned)
        };
        assert_ne!(sign("a/../b"), sign("b"));
        assert_ne!(sign("a//b"), sign("a/b"));
        assert_ne!(sign("a%2Fb"), sign("a/b"));
    }

    #[test]
    fn session_tokens_travel_with_the_request() {
        let secret = S3Secret {
            access_key: "a".into(),
            secret_key: "b".into(),
            session_token: Some("token".into()),
            expires: None,
        };
        let mut headers = HeaderMap::new();
        let now = "2013-05-24T00:00:00Z".parse().unwrap();
        sign_request(&Method::GET, "http://h/b", &mut headers, Payload::Unsigned, &secret, "r", now).unwrap();
        assert_eq!(headers["x-amz-security-token"], "token");
        assert!(headers[AUTHORIZATION].to_str().unwrap().contains("x-amz-security-token"));
        assert_eq!(headers["x-amz-content-sha256"], "UNSIGNED-PAYLOAD");
    }
}
