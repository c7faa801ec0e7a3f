//! Faults strike the call that they were meant for, before its effect or after it.

use std::time::{Duration, Instant};

use baler_testkit::s3::{ErrorAnswer, Fault, Op, RandomFaults, Scripted};

use crate::client::open_server;

#[tokio::test]
async fn a_fault_before_the_effect_leaves_nothing() {
    let (server, caller) = open_server().await;
    let cases = [
        (Fault::ErrorBefore(ErrorAnswer::Internal), 500, "InternalError"),
        (Fault::ErrorBefore(ErrorAnswer::SlowDown), 503, "SlowDown"),
        (Fault::ErrorBefore(ErrorAnswer::ExpiredToken), 400, "ExpiredToken"),
        (Fault::ErrorBefore(ErrorAnswer::ClockSkew), 403, "RequestTimeTooSkewed"),
    ];
    for (fault, status, code) in cases {
        server.fail_next(Op::PutObject, 1, fault);
        let answer = caller.call("PUT", "/bucket/k", &[], "x").await;
        assert_eq!((answer.status, answer.code().as_str()), (status, code));
        assert!(answer.header("x-amz-request-id").is_some());
    }
    server.fail_next(Op::PutObject, 1, Fault::ResetBefore);
    assert!(caller.try_call("PUT", "/bucket/k", &[], "x").await.is_err());
    assert_eq!(server.object("bucket", "k"), None);
    assert_eq!(caller.call("PUT", "/bucket/k", &[], "x").await.status, 200);
}

#[tokio::test]
async fn a_fault_after_the_effect_leaves_the_write_behind() {
    let (server, caller) = open_server().await;
    server.fail_next(Op::PutObject, 1, Fault::ResetAfter);
    assert!(caller.try_call("PUT", "/bucket/reset", &[], "x").await.is_err());
    server.fail_next(Op::PutObject, 1, Fault::ErrorAfter(ErrorAnswer::Internal));
    assert_eq!(caller.call("PUT", "/bucket/error", &[], "x").await.status, 500);
    assert_eq!(server.keys("bucket", ""), ["error", "reset"]);
    let statuses: Vec<_> = server.requests().iter().map(|request| request.status).collect();
    assert_eq!(statuses, [0, 500], "the log shows what was answered");
}

#[tokio::test]
async fn a_completion_can_fail_with_status_200_and_with_a_conflict() {
    let (server, caller) = open_server().await;
    let id = caller.begin("/bucket/k").await;
    let parts = [(1, caller.part("/bucket/k", &id, 1, "x".into()).await)];
    server.script([
        Scripted::new(Op::CompleteMultipartUpload, 1, Fault::ErrorInBody),
        Scripted::new(Op::CompleteMultipartUpload, 2, Fault::ErrorBefore(ErrorAnswer::ConditionalConflict)),
        Scripted::new(Op::CompleteMultipartUpload, 3, Fault::ErrorInBodyAfter),
    ]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let there = server.object("bucket", "k").is_some();
        let answer = caller.complete("/bucket/k", &id, &parts, &[]).await;
        seen.push((there, answer.status, answer.code()));
    }
    let expected = [(200, "InternalError"), (409, "ConditionalRequestConflict"), (200, "InternalError")];
    assert_eq!(seen, expected.map(|(status, code)| (false, status, code.to_owned())));
    assert_eq!(server.object("bucket", "k").unwrap(), "x");
    assert_eq!(server.pending_faults(), 0);
}

#[tokio::test]
async fn a_truncated_body_is_an_error_and_not_a_short_read() {
    let (server, caller) = open_server().await;
    server.put("bucket", "k", vec![7; 100_000]);
    for keep in [0, 1, 65_536, 99_999] {
        server.fail_next(Op::GetObject, 1, Fault::TruncateBody(keep));
        assert!(caller.try_call("GET", "/bucket/k", &[], "").await.is_err(), "{keep}");
    }
    assert_eq!(caller.get("/bucket/k").await.body.len(), 100_000);
}

#[tokio::test]
async fn a_page_can_fail_and_be_slow() {
    let (server, caller) = open_server().await;
    server.script([
        Scripted::new(Op::ListObjectsV2, 2, Fault::ErrorBefore(ErrorAnswer::SlowDown)),
        Scripted::new(Op::ListObjectsV2, 3, Fault::Delay(Duration::from_millis(80))),
    ]);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let status = caller.get("/bucket?list-type=2").await.status;
        seen.push((status, began.elapsed() >= Duration::from_millis(80)));
    }
    assert_eq!(seen.iter().map(|seen| seen.0).collect::<Vec<_>>(), [200, 503, 200]);
    assert!(seen[2].1);
}

#[tokio::test]
async fn every_call_waits_for_its_first_byte() {
    let (server, caller) = open_server().await;
    server.change(|options| options.first_byte_delay = Duration::from_millis(60));
    let began = Instant::now();
    assert_eq!(caller.call("HEAD", "/bucket", &[], "").await.status, 200);
    assert!(began.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn random_faults_end_when_they_are_cleared() {
    let (server, caller) = open_server().await;
    let faults = vec![Fault::ErrorBefore(ErrorAnswer::Internal), Fault::ResetAfter];
    server.random_faults(Some(RandomFaults { seed: 3, probability: 0.5, ops: vec![Op::HeadBucket], faults }));
    let mut failed = 0;
    for _ in 0..40 {
        let answer = caller.try_call("HEAD", "/bucket", &[], "").await;
        failed += usize::from(answer.is_err_and(|_| true));
        assert_eq!(caller.get("/bucket?list-type=2").await.status, 200, "other operations do not fail");
    }
    assert!(failed > 0);
    server.clear_faults();
    for _ in 0..40 {
        assert_eq!(caller.call("HEAD", "/bucket", &[], "").await.status, 200);
    }
}

#[tokio::test]
async fn a_dropped_server_answers_no_more() {
    let (server, caller) = open_server().await;
    assert_eq!(caller.get("/bucket?list-type=2").await.status, 200);
    drop(server);
    tokio::task::yield_now().await;
    assert!(caller.try_call("GET", "/bucket?list-type=2", &[], "").await.is_err());
}
