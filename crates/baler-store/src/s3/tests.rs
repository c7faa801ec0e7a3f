//! The client against a server that follows a script: lost replies, broken bodies, refusals that come once.

use std::collections::VecDeque;
use std::time::Duration;

use baler_model::{StagedPart, StagedPlace};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{CopySource, Proof, StoreError};

/// What the server does with one request.
enum Act {
    /// Answers it.
    Answer(String),
    /// Reads it and hangs up: it may have taken effect.
    Lose,
}

fn answer(status: u16, headers: &[(&str, &str)], body: &str) -> Act {
    let mut text = format!("HTTP/1.1 {status} Because\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    Act::Answer(format!("{text}\r\n{body}"))
}

fn refuse(status: u16, code: &str) -> Act {
    let body = format!("<Error><Code>{code}</Code><Message>m</Message><RequestId>R1</RequestId></Error>");
    answer(status, &[], &body)
}

/// The answer to a HEAD: no body, whatever its length says.
fn head(status: u16, headers: &[(&str, &str)]) -> Act {
    let mut text = format!("HTTP/1.1 {status} Because\r\n");
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    Act::Answer(format!("{text}\r\n"))
}

const MODIFIED: (&str, &str) = ("last-modified", "Fri, 24 May 2013 00:00:00 GMT");

/// What the server was sent, head and body, in order.
type Heard = Arc<Mutex<Vec<String>>>;

async fn serve(script: Vec<Act>) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let heard = Heard::default();
    let (script, record) = (Arc::new(Mutex::new(VecDeque::from(script))), Arc::clone(&heard));
    tokio::spawn(async move {
        loop {
            let (socket, _) = listener.accept().await.unwrap();
            tokio::spawn(talk(socket, Arc::clone(&script), Arc::clone(&record)));
        }
    });
    (endpoint, heard)
}

async fn talk(mut socket: TcpStream, script: Arc<Mutex<VecDeque<Act>>>, heard: Heard) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(at) = buffer.windows(4).position(|w| w == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&buffer[..at]).to_ascii_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                let end = at + 4 + length.map_or(0, |n| n.parse::<usize>().unwrap());
                if buffer.len() >= end {
                    break end;
                }
            }
            if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                return;
            }
        };
        heard.lock().push(String::from_utf8_lossy(&buffer[..end]).into_owned());
        buffer.drain(..end);
        let act = script.lock().pop_front();
        match act {
            Some(Act::Answer(text)) => {
                let promised = text.split("content-length: ").nth(1).and_then(|t| t.split("\r\n").next());
                let body = text.split_once("\r\n\r\n").map_or(0, |(_, body)| body.len());
                socket.write_all(text.as_bytes()).await.unwrap();
                // Fewer bytes than promised: a body that breaks off.
                if body > 0 && promised.is_some_and(|n| n.parse::<usize>().unwrap() > body) {
                    return;
                }
            }
            Some(Act::Lose) => return,
            None => panic!("a request that the script does not know: {:?}", heard.lock().last()),
        }
    }
}

/// A clock that does not wait.
#[derive(Debug)]
struct Hasty(Mutex<Timestamp>);

#[async_trait]
impl Clock for Hasty {
    fn now(&self) -> Timestamp {
        *self.0.lock()
    }
    async fn sleep(&self, duration: Duration) {
        *self.0.lock() += SignedDuration::try_from(duration).unwrap();
    }
}

#[derive(Debug)]
struct Sevens;

impl IdSource for Sevens {
    fn next_u64(&self) -> u64 {
        7
    }
}

/// Credentials that are new after each refresh.
#[derive(Debug, Default)]
struct Renewed(Mutex<u32>);

#[async_trait]
impl S3Credentials for Renewed {
    async fn credentials(&self, _now: Timestamp) -> std::result::Result<Option<Arc<S3Secret>>, CredentialsError> {
        Ok(Some(Arc::new(S3Secret {
            access_key: format!("AKIA{}", self.0.lock()),
            secret_key: "s".into(),
            session_token: None,
            expires: None,
        })))
    }
    fn refresh(&self) {
        *self.0.lock() += 1;
    }
}

fn store(endpoint: &str) -> S3Store {
    let mut options = S3Options::new("lake", "bucket", "us-east-1");
    options.endpoint = Some(endpoint.into());
    options.prefix = "p".into();
    options.proxy = Proxy::Direct;
    options.max_tries = 3;
    let clock = Hasty(Mutex::new("2026-01-01T00:00:00Z".parse().unwrap()));
    S3Store::new(options, Arc::new(Renewed::default()), Arc::new(clock), Arc::new(Sevens)).unwrap()
}

fn key(text: &str) -> Key {
    Key::try_new(text).unwrap()
}

fn write_id(text: &str) -> WriteId {
    WriteId::try_new(text).unwrap()
}

fn stamp() -> Stamp {
    "flow/run/1/a1".parse().unwrap()
}

fn staged() -> Staged {
    let part = StagedPart { number: 1, etag: "d41d8cd98f00b204e9800998ecf8427e".into(), size: 9 };
    Staged {
        key: key("out"),
        stamp: stamp(),
        size: 9,
        crc64nvme: Some(0xae8b_1486_0a79_9888),
        place: StagedPlace::Multipart { upload_id: "u1".into(), parts: vec![part] },
    }
}

const OURS: [(&str, &str); 4] =
    [("etag", "\"e2\""), ("content-length", "9"), MODIFIED, ("x-amz-meta-baler", "flow/run/1/a1")];

async fn body(get: Get) -> Result<Vec<u8>> {
    let chunks: Vec<Result<Bytes>> = get.body.collect().await;
    Ok(chunks.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

#[tokio::test]
async fn lost_put_reply_is_not_a_conflict() {
    let owner = [("etag", "\"e1\""), ("content-length", "1"), MODIFIED, ("x-amz-meta-baler-write", "w1")];
    let script = vec![Act::Lose, refuse(412, "PreconditionFailed"), head(200, &owner)];
    let (endpoint, heard) = serve(script).await;
    let outcome = store(&endpoint).put_if_absent(&key("a b"), Bytes::from_static(b"x"), &write_id("w1")).await;
    assert_eq!(outcome.unwrap(), PutOutcome::Created(ObjectVersion::new("e1")));
    let heard = heard.lock();
    assert!(heard[0].starts_with("PUT /bucket/p/a%20b HTTP/1.1\r\n"), "{}", heard[0]);
    for header in ["if-none-match: *\r\n", "x-amz-meta-baler-write: w1\r\n", "x-amz-checksum-crc64nvme: "] {
        assert!(heard[0].contains(header), "{header}");
    }
}

#[tokio::test]
async fn a_rivals_object_is_told_with_its_owner() {
    let owner = [("etag", "\"e1\""), ("content-length", "1"), MODIFIED, ("x-amz-meta-baler-write", "w2")];
    let (endpoint, _) = serve(vec![refuse(412, "PreconditionFailed"), head(200, &owner)]).await;
    let outcome = store(&endpoint).put_if_absent(&key("a"), Bytes::new(), &write_id("w1")).await.unwrap();
    assert_eq!(outcome, PutOutcome::Exists { owner: Some(write_id("w2")) });
}

#[tokio::test]
async fn a_conflict_is_undecided_and_tried_again() {
    let script = vec![refuse(409, "ConditionalRequestConflict"), answer(200, &[("etag", "\"e1\"")], "")];
    let (endpoint, _) = serve(script).await;
    let store = store(&endpoint);
    let outcome = store.put_if_absent(&key("a"), Bytes::from_static(b"xyz"), &write_id("w1")).await.unwrap();
    assert_eq!(outcome, PutOutcome::Created(ObjectVersion::new("e1")));
    let metered = store.meter().read();
    assert_eq!((metered.put, metered.retries, metered.bytes_written), (2, 1, 6));
}

#[tokio::test]
async fn throttling_ends_with_the_request_id() {
    let (endpoint, _) = serve((0..3).map(|_| refuse(503, "SlowDown")).collect()).await;
    let error = store(&endpoint).list(&ListRequest::default()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Exhausted { tries: 3, detail, .. } if detail.contains("R1")), "{error}");
}

#[tokio::test]
async fn a_broken_body_is_resumed_on_the_same_version() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"e1\"\r\n\r\n0123".to_owned();
    let rest = [("etag", "\"e1\""), ("content-range", "bytes 4-9/10")];
    let (endpoint, heard) = serve(vec![Act::Answer(begun), answer(206, &rest, "456789")]).await;
    let store = store(&endpoint);
    let get = store.get(&key("a"), None, None).await.unwrap();
    assert_eq!(body(get).await.unwrap(), b"0123456789");
    assert!(heard.lock()[1].contains("range: bytes=4-9\r\n") && heard.lock()[1].contains("if-match: \"e1\"\r\n"));
    assert_eq!((store.meter().read().get, store.meter().read().bytes_read), (2, 10));
}

#[tokio::test]
async fn a_source_overwritten_while_it_is_read_is_changed_not_mixed() {
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"e1\"\r\n\r\n0123".to_owned();
    let now = [("etag", "\"e2\""), ("content-length", "10"), MODIFIED];
    let script = vec![Act::Answer(begun), refuse(412, "PreconditionFailed"), head(200, &now)];
    let (endpoint, _) = serve(script).await;
    let get = store(&endpoint).get(&key("a"), None, None).await.unwrap();
    let error = body(get).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Changed { planned, found, .. } if planned == "e1" && found == "e2"),
        "{error}"
    );
}

#[tokio::test]
async fn a_server_that_ignores_if_match_on_reads_is_seen_through() {
    let (endpoint, _) = serve(vec![answer(200, &[("etag", "\"e2\"")], "xy")]).await;
    let planned = ObjectVersion::new("e1");
    let error = store(&endpoint).get(&key("a"), None, Some(&planned)).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
}

#[tokio::test]
async fn an_empty_object_is_read_as_nothing_under_any_range() {
    let empty = [("etag", "\"e1\""), ("content-length", "0"), MODIFIED];
    let (endpoint, _) = serve(vec![refuse(416, "InvalidRange"), head(200, &empty)]).await;
    let get = store(&endpoint).get(&key("a"), Some(ByteRange::new(0, 5)), None).await.unwrap();
    assert_eq!((get.size, get.range), (0, ByteRange::new(0, 0)));
    assert!(body(get).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_completion_that_fails_behind_a_200_is_repeated() {
    let done = "<CompleteMultipartUploadResult/>";
    let script = vec![answer(200, &[], "  <Error><Code>InternalError</Code></Error>"), answer(200, &[], done)];
    let (endpoint, heard) = serve(script).await;
    let outcome = store(&endpoint).publish(&staged(), &Precondition::Absent).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Published);
    let heard = heard.lock();
    assert!(heard[1].starts_with("POST /bucket/p/out?uploadId=u1 HTTP/1.1\r\n"), "{}", heard[1]);
    assert!(heard[1].contains("if-none-match: *\r\n"));
    assert!(heard[1].contains("x-amz-checksum-crc64nvme: rosUhgp5mIg=\r\n"));
}

#[tokio::test]
async fn a_completion_whose_reply_was_lost_is_known_by_its_stamp() {
    let script = vec![Act::Lose, refuse(412, "PreconditionFailed"), head(200, &OURS)];
    let (endpoint, _) = serve(script).await;
    let outcome = store(&endpoint).publish(&staged(), &Precondition::Absent).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Published);
}

#[tokio::test]
async fn a_foreign_object_at_the_key_is_occupied_and_a_missing_one_replaced_by_nothing() {
    let foreign = [("etag", "\"e9\""), ("content-length", "9"), MODIFIED];
    let script = vec![
        refuse(412, "PreconditionFailed"),
        head(200, &foreign),
        refuse(412, "PreconditionFailed"),
        head(200, &foreign),
        refuse(404, "NoSuchKey"),
        head(404, &[]),
        refuse(404, "NoSuchUpload"),
        head(404, &[]),
    ];
    let (endpoint, heard) = serve(script).await;
    let store = store(&endpoint);
    let matches = Precondition::Matches(ObjectVersion::new("e1"));
    assert_eq!(store.publish(&staged(), &Precondition::Absent).await.unwrap(), PublishOutcome::Occupied);
    let found = Some(ObjectVersion::new("e9"));
    assert_eq!(store.publish(&staged(), &matches).await.unwrap(), PublishOutcome::Replaced { found });
    assert!(heard.lock()[2].contains("if-match: \"e1\"\r\n"));
    assert_eq!(store.publish(&staged(), &matches).await.unwrap(), PublishOutcome::Replaced { found: None });
    assert_eq!(store.publish(&staged(), &matches).await.unwrap(), PublishOutcome::StagedGone);
}

#[tokio::test]
async fn a_size_and_etag_without_our_stamp_confirm_nothing() {
    let unstamped = [("etag", "\"59adb24ef3cdbe0297f05b395827453f-1\""), ("content-length", "9"), MODIFIED];
    let (endpoint, _) = serve(vec![head(200, &unstamped), head(404, &[])]).await;
    let store = store(&endpoint);
    assert!(matches!(store.confirm(&staged()).await.unwrap(), Confirmation::Foreign { .. }));
    assert_eq!(store.confirm(&staged()).await.unwrap(), Confirmation::Absent);
}

#[tokio::test]
async fn the_strongest_proof_at_hand_is_taken() {
    let with = |more: &[(&'static str, &'static str)]| head(200, &[&OURS, more].concat());
    let parts = [OURS[1], OURS[2], OURS[3], ("etag", "\"59adb24ef3cdbe0297f05b395827453f-1\"")];
    let script = vec![
        with(&[("x-amz-checksum-crc64nvme", "rosUhgp5mIg="), ("x-amz-checksum-type", "FULL_OBJECT")]),
        with(&[("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")]),
        head(200, &parts),
        with(&[]),
        answer(200, &[("etag", "\"e2\"")], "123456789"),
        with(&[]),
        answer(200, &[("etag", "\"e2\"")], "123456780"),
        with(&[]),
        with(&[("x-amz-server-side-encryption", "aws:kms")]),
    ];
    let (endpoint, _) = serve(script).await;
    let store = store(&endpoint);
    let proof = |confirmed: Confirmation| match confirmed {
        Confirmation::Ours { proof, .. } => Some(proof),
        Confirmation::Corrupt { .. } => None,
        Confirmation::Foreign { .. } | Confirmation::Absent => panic!("{confirmed:?}"),
    };
    assert_eq!(proof(store.confirm(&staged()).await.unwrap()), Some(Proof::Crc64Nvme));
    assert_eq!(proof(store.confirm(&staged()).await.unwrap()), None);
    assert_eq!(proof(store.confirm(&staged()).await.unwrap()), Some(Proof::PartEtags));
    assert_eq!(proof(store.confirm(&staged()).await.unwrap()), Some(Proof::ReRead));
    assert_eq!(proof(store.confirm(&staged()).await.unwrap()), None);
    let unknown = Staged { crc64nvme: None, ..staged() };
    assert_eq!(proof(store.confirm(&unknown).await.unwrap()), None);
    assert_eq!(proof(store.confirm(&unknown).await.unwrap()), Some(Proof::StampAndSize));
}

#[tokio::test]
async fn a_server_without_checksums_is_asked_once_and_remembered() {
    let begun = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    let unknown = "<Error><Code>InvalidRequest</Code><Message>Checksum algorithm not supported</Message></Error>";
    let script = vec![
        answer(400, &[], unknown),
        answer(200, &[], begun),
        answer(200, &[("etag", "\"d41d8cd98f00b204e9800998ecf8427e\"")], ""),
        answer(200, &[("etag", "\"e1\"")], ""),
    ];
    let (endpoint, heard) = serve(script).await;
    let store = store(&endpoint);
    let writer = store.stage(&key("out"), &stamp(), &OutputAttributes::default()).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    assert_eq!((staged.size, staged.crc64nvme), (0, Some(0)));
    store.put(&key("b"), Bytes::from_static(b"x")).await.unwrap();
    let heard = heard.lock();
    assert!(heard[0].contains("x-amz-checksum-algorithm: CRC64NVME\r\n"));
    assert!(heard[0].contains("x-amz-meta-baler: flow/run/1/a1\r\n"));
    for later in &heard[1..] {
        assert!(!later.contains("x-amz-checksum"), "{later}");
    }
}

#[tokio::test]
async fn bytes_that_are_not_what_was_planned_are_not_staged() {
    let begun = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    let (endpoint, _) = serve(vec![answer(200, &[], begun), answer(200, &[("etag", "\"e1\"")], "")]).await;
    let writer = store(&endpoint).stage(&key("out"), &stamp(), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"123456789")]).await.unwrap();
    assert!(matches!(writer.finish(Some(1)).await, Err(StoreError::Failed { .. })));
}

#[tokio::test]
async fn a_part_copied_by_a_server_that_ignores_the_condition_is_compared_with_its_source() {
    let begun = "<InitiateMultipartUploadResult><UploadId>u1</UploadId></InitiateMultipartUploadResult>";
    let copied = "<CopyPartResult><ETag>\"00000000000000000000000000000000\"</ETag></CopyPartResult>";
    let now = [("etag", "\"00000000000000000000000000000000\""), ("content-length", "9"), MODIFIED];
    let script = vec![answer(200, &[], begun), answer(200, &[], copied), head(200, &now)];
    let (endpoint, heard) = serve(script).await;
    let store = store(&endpoint);
    let writer = store.stage(&key("out"), &stamp(), &OutputAttributes::default()).await.unwrap();
    let version = ObjectVersion::new("d41d8cd98f00b204e9800998ecf8427e");
    let source = CopySource { store: Arc::new(store.clone()), key: key("s x/../y"), version, size: 9 };
    let error = writer.copy_part(1, &source, ByteRange::new(0, 9)).await.unwrap_err();
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
    let heard = heard.lock();
    assert!(heard[1].contains("x-amz-copy-source: /bucket/p/s%20x/../y\r\n"), "{}", heard[1]);
    assert!(heard[1].contains("x-amz-copy-source-if-match: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n"));
    assert!(!heard[1].contains("x-amz-copy-source-range"));
}

#[tokio::test]
async fn expired_credentials_are_renewed_once() {
    let page = "<ListBucketResult/>";
    let script = vec![
        refuse(400, "ExpiredToken"),
        answer(200, &[], page),
        refuse(400, "ExpiredToken"),
        refuse(400, "ExpiredToken"),
    ];
    let (endpoint, heard) = serve(script).await;
    let store = store(&endpoint);
    store.list(&ListRequest::default()).await.unwrap();
    let error = store.list(&ListRequest::default()).await.unwrap_err();
    assert!(matches!(&error, StoreError::Denied { detail, .. } if detail.contains("request id R1")), "{error}");
    assert!(heard.lock()[0].contains("Credential=AKIA0/") && heard.lock()[1].contains("Credential=AKIA1/"));
}

#[tokio::test]
async fn a_wrong_clock_is_corrected_by_the_servers() {
    let late = "<Error><Code>RequestTimeTooSkewed</Code><Message>m</Message></Error>";
    let date = [("date", "Sat, 03 Jan 2026 00:00:00 GMT")];
    let (endpoint, heard) = serve(vec![answer(403, &date, late), answer(200, &[], "<ListBucketResult/>")]).await;
    store(&endpoint).list(&ListRequest::default()).await.unwrap();
    assert!(heard.lock()[0].contains("x-amz-date: 20260101T000000Z"));
    assert!(heard.lock()[1].contains("x-amz-date: 20260103T000000Z"));
}

#[tokio::test]
async fn the_expected_region_and_the_missing_permission_are_hinted() {
    let elsewhere =
        "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-2</Region></Error>";
    let script = vec![
        answer(400, &[], elsewhere),
        head(301, &[("x-amz-bucket-region", "eu-west-2"), ("content-length", "0")]),
        refuse(403, "AccessDenied"),
        refuse(404, "NoSuchBucket"),
    ];
    let (endpoint, _) = serve(script).await;
    let store = store(&endpoint);
    let region = store.list(&ListRequest::default()).await.unwrap_err();
    assert_eq!(region.hint().unwrap(), "the bucket is in another region: set `region = \"eu-west-2\"`");
    assert_eq!(store.head(&key("a")).await.unwrap_err().hint(), region.hint());
    let denied = store.put(&key("a"), Bytes::new()).await.unwrap_err();
    assert!(denied.to_string().contains("request id R1") && denied.hint().unwrap().contains("`s3:PutObject`"));
    let missing = store.list(&ListRequest::default()).await.unwrap_err();
    assert!(missing.to_string().contains("there is no bucket `bucket`"), "{missing}");
}

#[tokio::test]
async fn only_the_planned_version_is_deleted() {
    let there = [("etag", "\"e2\""), ("content-length", "9"), MODIFIED];
    let script = vec![
        refuse(412, "PreconditionFailed"),
        head(200, &there),
        refuse(412, "PreconditionFailed"),
        head(404, &[]),
        refuse(404, "NoSuchKey"),
        refuse(409, "ConditionalRequestConflict"),
        Act::Answer("HTTP/1.1 204 No Content\r\n\r\n".into()),
    ];
    let (endpoint, heard) = serve(script).await;
    let (store, version) = (store(&endpoint), ObjectVersion::new("e1"));
    let found = ObjectVersion::new("e2");
    assert_eq!(store.delete_if(&key("a"), &version).await.unwrap(), DeleteOutcome::Changed { found });
    assert_eq!(store.delete_if(&key("a"), &version).await.unwrap(), DeleteOutcome::Absent);
    assert_eq!(store.delete_if(&key("a"), &version).await.unwrap(), DeleteOutcome::Absent);
    assert_eq!(store.delete_if(&key("a"), &version).await.unwrap(), DeleteOutcome::Deleted);
    assert!(heard.lock().iter().all(|h| h.starts_with("HEAD") || h.contains("if-match: \"e1\"\r\n")));
}

#[tokio::test]
async fn a_refused_connection_names_the_endpoint() {
    let error = store("http://127.0.0.1:1").head(&key("a")).await.unwrap_err();
    assert!(error.to_string().contains("http://127.0.0.1:1"), "{error}");
}

#[tokio::test]
async fn rules_of_the_bucket_are_told_where_they_reach_this_store() {
    let rule = |id: &str, prefix: &str, status: &str| {
        format!(
            "<Rule><ID>{id}</ID><Filter><Prefix>{prefix}</Prefix></Filter><Status>{status}</Status>\
             <Expiration><Days>3</Days></Expiration></Rule>"
        )
    };
    let rules = [
        rule("all", "", "Enabled"),
        rule("off", "", "Disabled"),
        rule("other", "q/", "Enabled"),
        rule("within", "p/_baler/", "Enabled"),
    ];
    let xml = format!("<LifecycleConfiguration>{}</LifecycleConfiguration>", rules.concat());
    let script = vec![answer(200, &[("server", "AmazonS3")], &xml), refuse(404, "NoSuchLifecycleConfiguration")];
    let (endpoint, _) = serve(script).await;
    let store = store(&endpoint);
    let told: Vec<_> =
        store.lifecycle().await.unwrap().into_iter().map(|r| (r.id, r.prefix, r.expires_after)).collect();
    assert_eq!(told, [("all".into(), String::new(), Some(3)), ("within".into(), "_baler/".into(), Some(3))]);
    assert_eq!(store.identity(), format!("{endpoint} bucket AmazonS3"));
    assert!(store.lifecycle().await.unwrap().is_empty());
}
