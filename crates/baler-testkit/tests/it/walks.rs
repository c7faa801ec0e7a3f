//! Listings over the wire, odd keys, and what buckets say about themselves.

use baler_testkit::s3::{LifecycleRule, Op, Versioning};

use crate::client::{Caller, open_server};

async fn walk(caller: &Caller, query: &str, token_name: &str, next: &str, element: &str) -> (Vec<String>, usize) {
    let (mut found, mut pages, mut token) = (Vec::new(), 0, String::new());
    loop {
        let more = if token.is_empty() { String::new() } else { format!("&{token_name}={token}") };
        let answer = caller.get(&format!("/bucket{query}{more}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        found.extend(answer.all(element));
        pages += 1;
        if answer.one("IsTruncated") == "false" {
            return (found, pages);
        }
        token = answer.one(next);
    }
}

#[tokio::test]
async fn a_page_holds_what_the_server_allows_whatever_is_asked_for() {
    let (server, caller) = open_server().await;
    server.change(|options| options.page_size = 4);
    for n in 0..10 {
        server.put("bucket", &format!("{n}"), "x");
    }
    for (asked, pages) in [("", 3), ("&max-keys=1000", 3), ("&max-keys=3", 4)] {
        let query = format!("?list-type=2{asked}");
        let (keys, seen) = walk(&caller, &query, "continuation-token", "NextContinuationToken", "Key").await;
        assert_eq!((keys.join(""), seen), ("0123456789".to_owned(), pages), "{asked}");
    }
    let behind = caller.get("/bucket?list-type=2&start-after=7").await;
    assert_eq!(behind.all("Key"), ["8", "9"]);
}

#[tokio::test]
async fn parts_and_uploads_are_listed_in_pages() {
    let (server, caller) = open_server().await;
    server.change(|options| options.page_size = 2);
    let mut ids = Vec::new();
    for key in ["b", "a", "a", "c"] {
        ids.push(caller.begin(&format!("/bucket/{key}")).await);
    }
    for number in [5, 1, 3] {
        caller.part("/bucket/b", &ids[0], number, "x".into()).await;
    }
    let query = format!("/b?uploadId={}", ids[0]);
    let (numbers, pages) = walk(&caller, &query, "part-number-marker", "NextPartNumberMarker", "PartNumber").await;
    assert_eq!((numbers.join(" "), pages), ("1 3 5".to_owned(), 2));
    let first = caller.get("/bucket?uploads").await;
    assert_eq!(first.all("UploadId"), [ids[1].clone(), ids[2].clone()]);
    let (key, id) = (first.one("NextKeyMarker"), first.one("NextUploadIdMarker"));
    let second = caller.get(&format!("/bucket?uploads&key-marker={key}&upload-id-marker={id}")).await;
    assert_eq!(second.all("UploadId"), [ids[0].clone(), ids[3].clone()]);
    assert_eq!(second.one("IsTruncated"), "false");
    assert_eq!(caller.get("/bucket?uploads&prefix=c").await.all("Key"), ["c"]);
}

#[tokio::test]
async fn keys_are_kept_byte_for_byte() {
    let (server, caller) = open_server().await;
    let cases = [
        ("a//b", "a//b", "a//b"),
        ("a/../b", "a/../b", "a/../b"),
        ("%2Fa", "/a", "/a"),
        ("/a", "/a", "/a"),
        ("a%252Fb", "a%2Fb", "a%252Fb"),
        ("a+b", "a+b", "a%2Bb"),
        ("a%20b", "a b", "a+b"),
        ("a/", "a/", "a/"),
        ("%C3%A4/%E6%97%A5", "ä/日", "%C3%A4/%E6%97%A5"),
        ("a%0Ab", "a\nb", "a%0Ab"),
    ];
    for (path, key, encoded) in cases {
        caller.call("PUT", &format!("/bucket/{path}"), &[], key).await;
        assert_eq!(server.keys("bucket", ""), [key], "{path}");
        assert_eq!(caller.get(&format!("/bucket/{path}")).await.text(), key);
        let listed = caller.get("/bucket?list-type=2&encoding-type=url").await;
        assert_eq!(listed.one("Key"), encoded);
        assert_eq!(caller.call("DELETE", &format!("/bucket/{path}"), &[], "").await.status, 204);
        assert_eq!(server.keys("bucket", ""), [""; 0]);
    }
}

#[tokio::test]
async fn metadata_tags_and_class_come_back() {
    let (server, caller) = open_server().await;
    let headers = [
        ("x-amz-meta-baler", "flow/run/0/a"),
        ("content-type", "application/x-ndjson"),
        ("x-amz-storage-class", "STANDARD_IA"),
        ("x-amz-tagging", "a=1&b=2"),
    ];
    caller.call("PUT", "/bucket/k", &headers, "x").await;
    let head = caller.call("HEAD", "/bucket/k", &[], "").await;
    for (name, value) in &headers[..3] {
        assert_eq!(head.header(name), Some(*value));
    }
    assert_eq!(caller.get("/bucket/k").await.header("x-amz-tagging-count"), Some("2"));
    assert_eq!(caller.get("/bucket?list-type=2").await.one("StorageClass"), "STANDARD_IA");
    assert_eq!(server.metadata("bucket", "k").unwrap(), [("baler".to_owned(), "flow/run/0/a".to_owned())]);
}

#[tokio::test]
async fn buckets_say_what_was_set() {
    let (server, caller) = open_server().await;
    assert_eq!(caller.call("PUT", "/another", &[], "").await.status, 200);
    assert_eq!(caller.get("/").await.all("Name"), ["another", "bucket"]);
    assert_eq!(caller.call("HEAD", "/another", &[], "").await.header("x-amz-bucket-region"), Some("us-east-1"));
    assert_eq!(caller.call("HEAD", "/absent", &[], "").await.status, 404);
    assert_eq!(caller.get("/bucket?lifecycle").await.code(), "NoSuchLifecycleConfiguration");
    let rule = LifecycleRule { id: "r".into(), prefix: "state/".into(), expire_days: Some(7), abort_days: Some(1) };
    server.set_lifecycle("bucket", vec![rule]);
    let rules = caller.get("/bucket?lifecycle").await;
    assert_eq!(
        (rules.one("Prefix"), rules.one("Days"), rules.one("DaysAfterInitiation")),
        ("state/".into(), "7".into(), "1".into())
    );
    assert_eq!(caller.get("/bucket?versioning").await.all("Status"), [""; 0]);
    server.set_versioning("bucket", Versioning::Enabled);
    assert_eq!(caller.get("/bucket?versioning").await.one("Status"), "Enabled");
    let put = caller.call("PUT", "/bucket/k", &[], "x").await;
    let head = caller.call("HEAD", "/bucket/k", &[], "").await;
    assert!(put.header("x-amz-version-id").is_some());
    assert_eq!(put.header("x-amz-version-id"), head.header("x-amz-version-id"));
    assert_eq!(caller.call("DELETE", "/bucket/k", &[], "").await.header("x-amz-delete-marker"), Some("true"));
}

#[tokio::test]
async fn several_objects_are_deleted_at_once() {
    let (server, caller) = open_server().await;
    for key in ["a", "b", "c"] {
        server.put("bucket", key, key);
    }
    let body = "<Delete><Object><Key>a</Key></Object><Object><Key>b</Key><ETag>\"x\"</ETag></Object></Delete>";
    let answer = caller.call("POST", "/bucket?delete", &[], body).await;
    assert_eq!((answer.status, answer.one("Code").as_str()), (200, "PreconditionFailed"));
    assert_eq!(server.keys("bucket", ""), ["b", "c"]);
}

#[tokio::test]
async fn the_log_counts_calls_and_bytes() {
    let (server, caller) = open_server().await;
    caller.call("PUT", "/bucket/k", &[], "12345").await;
    caller.call("GET", "/bucket/k", &[("range", "bytes=1-2")], "").await;
    caller.call("HEAD", "/bucket/k", &[], "").await;
    let seen: Vec<_> = server.requests().into_iter().map(|r| (r.op, r.key, r.status, r.bytes_in)).collect();
    let key = || "k".to_owned();
    assert_eq!(seen, [(Op::PutObject, key(), 200, 5), (Op::GetObject, key(), 206, 0), (Op::HeadObject, key(), 200, 0)]);
    assert_eq!(server.requests().iter().map(|r| r.bytes_out).collect::<Vec<_>>(), [0, 2, 0]);
    assert_eq!((server.count(Op::GetObject), server.count(Op::ListObjectsV2)), (1, 0));
}
