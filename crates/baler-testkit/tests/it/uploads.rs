//! Multipart uploads: limits, order, checksums.

use baler_testkit::fixtures::random_bytes;
use bytes::Bytes;

use crate::client::open_server;

const MIB5: usize = 5 << 20;

#[tokio::test]
async fn the_checksum_of_a_completed_upload_is_that_of_its_bytes() {
    let (server, caller) = open_server().await;
    let (first, second) = (random_bytes(1, MIB5 + 3), random_bytes(2, 1001));
    let id = caller.begin("/bucket/parts").await;
    let etags = [
        (2, caller.part("/bucket/parts", &id, 2, first.clone()).await),
        (7, caller.part("/bucket/parts", &id, 7, second.clone()).await),
    ];
    let answer = caller.complete("/bucket/parts", &id, &etags, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.one("ETag").ends_with("-2\""));
    let whole = Bytes::from([first, second].concat());
    assert!(server.object("bucket", "parts").unwrap() == whole);
    caller.call("PUT", "/bucket/whole", &[], whole).await;
    let head = async |key: &str| {
        let answer = caller.call("HEAD", &format!("/bucket/{key}"), &[("x-amz-checksum-mode", "ENABLED")], "").await;
        assert_eq!(answer.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
        answer.header("x-amz-checksum-crc64nvme").unwrap().to_owned()
    };
    assert_eq!(head("parts").await, head("whole").await);
    assert_eq!(answer.one("ChecksumCRC64NVME"), head("whole").await);
}

#[tokio::test]
async fn completions_that_s3_refuses_are_refused() {
    let (server, caller) = open_server().await;
    let id = caller.begin("/bucket/k").await;
    let small = caller.part("/bucket/k", &id, 1, random_bytes(1, MIB5 - 1)).await;
    let last = caller.part("/bucket/k", &id, 2, Bytes::from_static(b"x")).await;
    let complete = async |parts: &[(u32, String)]| caller.complete("/bucket/k", &id, parts, &[]).await.code();
    assert_eq!(complete(&[(1, small.clone()), (2, last.clone())]).await, "EntityTooSmall");
    assert_eq!(complete(&[(2, last.clone()), (1, small.clone())]).await, "InvalidPartOrder");
    assert_eq!(complete(&[(1, last.clone())]).await, "InvalidPart");
    assert_eq!(complete(&[(3, last.clone())]).await, "InvalidPart");
    assert_eq!(complete(&[]).await, "MalformedXML");
    assert_eq!(server.keys("bucket", ""), [""; 0]);
    assert_eq!(complete(&[(1, small.clone())]).await, "");
    assert_eq!(complete(&[(1, small)]).await, "NoSuchUpload", "an upload is gone once it was completed");
    assert_eq!(server.size("bucket", "k"), Some(MIB5 as u64 - 1));
}

#[tokio::test]
async fn a_body_that_is_not_what_its_checksum_says_is_refused() {
    let (server, caller) = open_server().await;
    let id = caller.begin("/bucket/k").await;
    let path = format!("/bucket/k?partNumber=1&uploadId={id}");
    for (name, wrong) in [("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), ("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")] {
        assert_eq!(caller.call("PUT", &path, &[(name, wrong)], "bytes").await.code(), "BadDigest");
        assert_eq!(caller.call("PUT", "/bucket/k", &[(name, wrong)], "bytes").await.code(), "BadDigest");
    }
    assert_eq!(server.uploads("bucket")[0].parts, []);
    let etag = caller.part("/bucket/k", &id, 1, Bytes::from_static(b"bytes")).await;
    let wrong = [("x-amz-checksum-crc64nvme", "AAAAAAAAAAA=")];
    assert_eq!(caller.complete("/bucket/k", &id, &[(1, etag)], &wrong).await.code(), "BadDigest");
    assert_eq!(server.keys("bucket", ""), [""; 0]);
}

#[tokio::test]
async fn ranges_of_huge_objects_are_copied_without_their_bytes() {
    let (server, caller) = open_server().await;
    server.put_zeros("bucket", "huge", 40 << 30);
    let id = caller.begin("/bucket/out").await;
    let mut parts = Vec::new();
    for n in 0..8u64 {
        let range = format!("bytes={}-{}", n * (5 << 30), (n + 1) * (5 << 30) - 1);
        let headers = [("x-amz-copy-source", "bucket/huge"), ("x-amz-copy-source-range", range.as_str())];
        let path = format!("/bucket/out?partNumber={}&uploadId={id}", n + 1);
        parts.push((n as u32 + 1, caller.call("PUT", &path, &headers, "").await.one("ETag")));
    }
    assert_eq!(caller.complete("/bucket/out", &id, &parts, &[]).await.status, 200);
    assert_eq!(server.size("bucket", "out"), Some(40 << 30));
    let crc = async |key: &str| {
        let answer = caller.call("HEAD", &format!("/bucket/{key}"), &[("x-amz-checksum-mode", "ENABLED")], "").await;
        answer.header("x-amz-checksum-crc64nvme").unwrap().to_owned()
    };
    assert_eq!(crc("out").await, crc("huge").await);
    let behind = [("x-amz-copy-source", "bucket/huge"), ("x-amz-copy-source-range", "bytes=0-42949672960")];
    let id = caller.begin("/bucket/out").await;
    let path = format!("/bucket/out?partNumber=1&uploadId={id}");
    assert_eq!(caller.call("PUT", &path, &behind, "").await.code(), "InvalidRange");
    let whole = [("x-amz-copy-source", "bucket/huge")];
    assert_eq!(caller.call("PUT", &path, &whole, "").await.code(), "InvalidRequest", "a part has at most 5 GiB");
}

#[tokio::test]
async fn a_copied_part_is_pinned_to_its_version() {
    let (server, caller) = open_server().await;
    server.put("bucket", "source", "old");
    let etag = format!("\"{}\"", server.etag("bucket", "source").unwrap());
    let id = caller.begin("/bucket/out").await;
    let path = format!("/bucket/out?partNumber=1&uploadId={id}");
    let headers = [("x-amz-copy-source", "bucket/source"), ("x-amz-copy-source-if-match", etag.as_str())];
    assert_eq!(caller.call("PUT", &path, &headers, "").await.status, 200);
    server.put("bucket", "source", "new");
    assert_eq!(caller.call("PUT", &path, &headers, "").await.status, 412);
    server.remove("bucket", "source");
    assert_eq!(caller.call("PUT", &path, &headers, "").await.code(), "NoSuchKey");
    assert_eq!(server.uploads("bucket")[0].parts, [(1, 3)]);
}

#[tokio::test]
async fn an_expired_upload_is_gone() {
    let (server, caller) = open_server().await;
    let id = caller.begin("/bucket/k").await;
    let etag = caller.part("/bucket/k", &id, 1, Bytes::from_static(b"x")).await;
    assert!(server.expire_upload("bucket", &id));
    assert!(!server.expire_upload("bucket", &id));
    assert_eq!(caller.get(&format!("/bucket/k?uploadId={id}")).await.code(), "NoSuchUpload");
    assert_eq!(caller.complete("/bucket/k", &id, &[(1, etag)], &[]).await.code(), "NoSuchUpload");
    assert_eq!(caller.call("DELETE", &format!("/bucket/k?uploadId={id}"), &[], "").await.code(), "NoSuchUpload");
}
