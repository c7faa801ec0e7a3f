//! Conditional writes: kept, ignored, and kept without atomicity.

use baler_testkit::s3::{Access, Conditions, S3Options, S3Server};
use bytes::Bytes;

use crate::client::{Caller, open_server};

/// How many of eight racing creations succeed.
async fn racing_creations(caller: &Caller, path: &str) -> usize {
    let racers = (0..8).map(|n| {
        let (caller, path) = (caller.clone(), path.to_owned());
        tokio::spawn(
            async move { caller.call("PUT", &path, &[("if-none-match", "*")], format!("racer {n}")).await.status },
        )
    });
    let mut created = 0;
    for racer in racers.collect::<Vec<_>>() {
        match racer.await.unwrap() {
            200 => created += 1,
            status => assert_eq!(status, 412),
        }
    }
    created
}

#[tokio::test(flavor = "multi_thread")]
async fn of_racing_creations_one_wins() {
    let (_server, caller) = open_server().await;
    for round in 0..20 {
        assert_eq!(racing_creations(&caller, &format!("/bucket/{round}")).await, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_ignores_conditions_lets_all_racers_win() {
    let (server, caller) = open_server().await;
    server.change(|options| options.conditions = Conditions::Ignored);
    assert_eq!(racing_creations(&caller, "/bucket/k").await, 8);
    let answer = caller.call("DELETE", "/bucket/k", &[("if-match", "\"other\"")], "").await;
    assert_eq!((answer.status, server.object("bucket", "k")), (204, None));
    server.change(|options| options.conditions = Conditions::Honoured);
    assert_eq!(racing_creations(&caller, "/bucket/k").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_atomicity_keeps_conditions_except_in_races() {
    let (server, caller) = open_server().await;
    server.change(|options| options.conditions = Conditions::NotAtomic);
    assert!(racing_creations(&caller, "/bucket/k").await > 1);
    assert_eq!(racing_creations(&caller, "/bucket/k").await, 0, "what is there for long is seen");
}

#[tokio::test]
async fn writes_under_if_match_need_that_version() {
    let (server, caller) = open_server().await;
    let put = async |etag: &str| caller.call("PUT", "/bucket/k", &[("if-match", etag)], "new").await;
    let missing = put("\"x\"").await;
    assert_eq!((missing.status, missing.code().as_str()), (404, "NoSuchKey"));
    server.put("bucket", "k", "old");
    let etag = format!("\"{}\"", server.etag("bucket", "k").unwrap());
    let other = put("\"x\"").await;
    assert_eq!((other.status, other.code().as_str()), (412, "PreconditionFailed"));
    assert_eq!(put(&etag).await.status, 200);
    assert_eq!(put(&etag).await.status, 412, "the version is another one now");
    let delete = async |etag: &str| caller.call("DELETE", "/bucket/k", &[("if-match", etag)], "").await.status;
    assert_eq!(delete(&etag).await, 412);
    let etag = format!("\"{}\"", server.etag("bucket", "k").unwrap());
    assert_eq!(delete(&etag).await, 204);
    assert_eq!(delete(&etag).await, 404);
    assert_eq!(caller.call("DELETE", "/bucket/k", &[], "").await.status, 204);
}

#[tokio::test]
async fn reads_and_copies_are_pinned_to_their_version() {
    let (server, caller) = open_server().await;
    server.put("bucket", "k", "0123456789");
    let etag = format!("\"{}\"", server.etag("bucket", "k").unwrap());
    let answer = caller.call("GET", "/bucket/k", &[("if-match", &etag), ("range", "bytes=2-4")], "").await;
    assert_eq!((answer.status, answer.text()), (206, "234"));
    assert_eq!(answer.header("content-range"), Some("bytes 2-4/10"));
    assert_eq!(caller.call("GET", "/bucket/k", &[("if-match", "\"x\"")], "").await.status, 412);
    assert_eq!(caller.call("GET", "/bucket/k", &[("range", "bytes=10-")], "").await.status, 416);
    let copy = async |etag: &str, target: &str, more: &[(&str, &str)]| {
        let headers = [("x-amz-copy-source", "bucket/k"), ("x-amz-copy-source-if-match", etag)];
        caller.call("PUT", &format!("/bucket/{target}"), &[&headers[..], more].concat(), "").await
    };
    assert_eq!(copy("\"x\"", "copy", &[]).await.code(), "PreconditionFailed");
    assert_eq!(copy(&etag, "copy", &[("if-none-match", "*")]).await.status, 200);
    assert_eq!(server.object("bucket", "copy").unwrap(), "0123456789");
    assert_eq!(copy(&etag, "copy", &[("if-none-match", "*")]).await.status, 412);
}

#[tokio::test]
async fn of_racing_completions_one_wins_and_the_others_stay_staged() {
    let (server, caller) = open_server().await;
    let mut uploads = Vec::new();
    for n in 0..8 {
        let id = caller.begin("/bucket/k").await;
        let etag = caller.part("/bucket/k", &id, 1, Bytes::from(format!("racer {n}"))).await;
        uploads.push((id, etag));
    }
    let racers = uploads.into_iter().map(|(id, etag)| {
        let caller = caller.clone();
        tokio::spawn(
            async move { caller.complete("/bucket/k", &id, &[(1, etag)], &[("if-none-match", "*")]).await.status },
        )
    });
    let mut statuses = Vec::new();
    for racer in racers.collect::<Vec<_>>() {
        statuses.push(racer.await.unwrap());
    }
    statuses.sort();
    assert_eq!(statuses, [200, 412, 412, 412, 412, 412, 412, 412]);
    assert_eq!(server.uploads("bucket").len(), 7);
}

#[tokio::test]
async fn unsigned_requests_are_refused_unless_the_server_is_open() {
    let server = S3Server::start(S3Options { access: Access::Signed, ..S3Options::default() }).await.unwrap();
    let answer = Caller::new(&server.endpoint).call("PUT", "/bucket/k", &[], "x").await;
    assert_eq!((answer.status, answer.code().as_str()), (403, "AccessDenied"));
    assert_eq!(server.object("bucket", "k"), None);
}
