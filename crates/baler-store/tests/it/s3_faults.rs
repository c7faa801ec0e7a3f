//! What the S3 store makes of single faults: lost replies, conflicts, broken bodies, refusals.

use std::sync::Arc;

use baler_store::s3::S3Store;
use baler_store::{
    ByteRange, Confirmation, CopySource, DeleteOutcome, OutputAttributes, Precondition, PublishOutcome, PutOutcome,
    Store, StoreError,
};
use baler_testkit::S3Server;
use baler_testkit::fixtures::{body, key, list_all, random_bytes, read, stage, stamp, write_id};
use baler_testkit::s3::{ErrorAnswer, Fault, LifecycleRule, Op, S3Options, Scripted, Versioning};
use bytes::Bytes;

async fn pair() -> (S3Server, Arc<S3Store>) {
    let server = crate::s3::server(S3Options::default()).await;
    let store = crate::s3::store(&server, "");
    (server, store)
}

#[tokio::test]
async fn a_lost_put_reply_is_not_a_conflict() {
    for fault in [Fault::ResetAfter, Fault::ErrorAfter(ErrorAnswer::Internal), Fault::ErrorAfter(ErrorAnswer::SlowDown)]
    {
        let (server, store) = pair().await;
        server.script([Scripted::new(Op::PutObject, 1, fault)]);
        let outcome = store.put_if_absent(&key("k"), Bytes::from_static(b"mine"), &write_id("w1")).await.unwrap();
        assert!(matches!(outcome, PutOutcome::Created(_)), "{outcome:?}");
        let rival = store.put_if_absent(&key("k"), Bytes::from_static(b"rival"), &write_id("w2")).await.unwrap();
        assert_eq!(rival, PutOutcome::Exists { owner: Some(write_id("w1")) });
        assert_eq!(server.pending_faults(), 0);
    }
}

#[tokio::test]
async fn a_completion_is_repeated_until_it_is_decided() {
    let faults = [
        Fault::ErrorBefore(ErrorAnswer::ConditionalConflict),
        Fault::ErrorBefore(ErrorAnswer::Internal),
        Fault::ErrorInBody,
        Fault::ResetBefore,
        Fault::ResetAfter,
        Fault::ErrorAfter(ErrorAnswer::Internal),
        Fault::ErrorInBodyAfter,
    ];
    for fault in faults {
        for precondition in [Precondition::Absent, Precondition::Whatever] {
            let (server, store) = pair().await;
            let staged = stage(&*store, "k", "a1", &[Bytes::from_static(b"ours")]).await.unwrap();
            server.script([Scripted::new(Op::CompleteMultipartUpload, 1, fault)]);
            let outcome = store.publish(&staged, &precondition).await.unwrap();
            assert_eq!(outcome, PublishOutcome::Published, "{fault:?} {precondition:?}");
            let confirmed = store.confirm(&staged).await.unwrap();
            assert!(matches!(confirmed, Confirmation::Ours { .. }), "{fault:?}: {confirmed:?}");
            assert_eq!((server.object("bucket", "k").unwrap(), server.pending_faults()), (Bytes::from("ours"), 0));
        }
    }
}

#[tokio::test]
async fn a_lost_delete_reply_is_no_error() {
    let (server, store) = pair().await;
    let version = store.put(&key("k"), Bytes::from_static(b"x")).await.unwrap();
    server.script([Scripted::new(Op::DeleteObject, 1, Fault::ResetAfter)]);
    let outcome = store.delete_if(&key("k"), &version).await.unwrap();
    assert!(matches!(outcome, DeleteOutcome::Deleted | DeleteOutcome::Absent), "{outcome:?}");
    assert_eq!(server.object("bucket", "k"), None);
}

#[tokio::test]
async fn a_body_that_breaks_off_is_resumed_where_it_broke() {
    let (server, store) = pair().await;
    let bytes = random_bytes(1, 500_000);
    let version = store.put(&key("k"), bytes.clone()).await.unwrap();
    server.script([1, 2, 3].map(|nth| Scripted::new(Op::GetObject, nth, Fault::TruncateBody(100_000))));
    let get = store.get(&key("k"), None, Some(&version)).await.unwrap();
    assert!(body(get).await.unwrap() == bytes, "nothing is lost or doubled");
    assert_eq!(server.pending_faults(), 0);
    let received: u64 = server.requests().iter().filter(|r| r.op == Op::GetObject).map(|r| r.bytes_out).sum();
    assert_eq!(received, 500_000 + 400_000 + 300_000 + 200_000, "each resumption asks for the rest only");
}

#[tokio::test]
async fn a_source_that_changes_half_way_is_not_mixed_with_its_successor() {
    let (server, store) = pair().await;
    store.put(&key("k"), random_bytes(1, 500_000)).await.unwrap();
    server.script([Scripted::new(Op::GetObject, 1, Fault::TruncateBody(100_000))]);
    let get = store.get(&key("k"), None, None).await.unwrap();
    server.put("bucket", "k", random_bytes(2, 500_000));
    let error = body(get).await.expect_err("the object is another one now");
    assert!(matches!(error, StoreError::Changed { .. }), "{error}");
}

#[tokio::test]
async fn a_part_copy_that_fails_with_status_200_is_repeated() {
    let (server, store) = pair().await;
    let version = store.put(&key("source"), Bytes::from_static(b"0123456789")).await.unwrap();
    let source = CopySource { store: store.clone(), key: key("source"), version, size: 10 };
    let writer = store.stage(&key("k"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    server.script([Scripted::new(Op::UploadPartCopy, 1, Fault::ErrorInBody)]);
    writer.copy_part(1, &source, ByteRange::new(2, 5)).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert_eq!(read(&*store, "k").await.unwrap(), "234");
    assert_eq!(server.pending_faults(), 0);
}

#[tokio::test]
async fn a_page_that_fails_is_asked_for_again_and_no_key_is_lost() {
    let (server, store) = pair().await;
    server.change(|options| options.page_size = 3);
    for n in 0..10 {
        server.put("bucket", &format!("{n}"), "x");
    }
    server.script([
        Scripted::new(Op::ListObjectsV2, 2, Fault::ErrorBefore(ErrorAnswer::SlowDown)),
        Scripted::new(Op::ListObjectsV2, 4, Fault::TruncateBody(200)),
        Scripted::new(Op::ListObjectsV2, 6, Fault::ResetAfter),
    ]);
    let names: String = list_all(&*store, "").await.unwrap().iter().map(|object| object.key.to_string()).collect();
    assert_eq!((names.as_str(), server.pending_faults()), ("0123456789", 0));
}

#[tokio::test]
async fn refusals_are_not_retried_for_ever_and_say_why() {
    let (server, store) = pair().await;
    server.fail_next_any(1000, Fault::ErrorBefore(ErrorAnswer::AccessDenied));
    let error = store.put(&key("k"), Bytes::from_static(b"x")).await.expect_err("it is refused");
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert_eq!(server.requests().len(), 1, "a refusal is final");
    server.clear_faults();
    server.fail_next_any(1000, Fault::ErrorBefore(ErrorAnswer::ExpiredToken));
    let error = store.put(&key("k"), Bytes::from_static(b"x")).await.expect_err("the credentials have expired");
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    assert_eq!(server.object("bucket", "k"), None);
}

#[tokio::test]
async fn an_expired_upload_is_reported_as_gone() {
    let (server, store) = pair().await;
    let staged = stage(&*store, "k", "a1", &[Bytes::from_static(b"x")]).await.unwrap();
    let upload = server.uploads("bucket").remove(0);
    assert!(server.expire_upload("bucket", &upload.upload_id));
    assert!(!store.staged_exists(&staged).await.unwrap());
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
    assert_eq!(store.confirm(&staged).await.unwrap(), Confirmation::Absent);
}

#[tokio::test]
async fn bytes_that_are_not_what_was_computed_are_never_confirmed() {
    let (server, store) = pair().await;
    let writer = store.stage(&key("k"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"bytes")]).await.unwrap();
    // Where it is noticed is the store's affair, as long as nobody takes the object for what was planned.
    if let Ok(staged) = writer.finish(Some(0xbad)).await {
        let published = store.publish(&staged, &Precondition::Absent).await;
        let confirmed = store.confirm(&staged).await.unwrap();
        assert!(!matches!(confirmed, Confirmation::Ours { .. }), "{published:?}, {confirmed:?}");
    }
    assert_eq!(server.keys("bucket", ""), [""; 0]);
}

#[tokio::test]
async fn staged_objects_carry_their_stamp_and_type() {
    let (server, store) = pair().await;
    let attributes = OutputAttributes { content_type: Some("text/csv".to_owned()) };
    let writer = store.stage(&key("k"), &stamp("a1"), &attributes).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"a,b\n")]).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    let metadata = server.metadata("bucket", "k").unwrap();
    assert!(metadata.contains(&("baler".to_owned(), "flow/run/0/a1".to_owned())), "{metadata:?}");
    assert_eq!(server.content_type("bucket", "k").as_deref(), Some("text/csv"));
}

#[tokio::test]
async fn objects_of_gibibytes_are_joined_without_their_bytes() {
    let (server, store) = pair().await;
    server.put_zeros("bucket", "huge", 12 << 30);
    let head = store.head(&key("huge")).await.unwrap().expect("it is there");
    let source = CopySource { store: store.clone(), key: key("huge"), version: head.version, size: head.size };
    let writer = store.stage(&key("out"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    for (number, start) in [(1u32, 0u64), (2, 5 << 30), (3, 10 << 30)] {
        let range = ByteRange::new(start, (start + (5 << 30)).min(source.size));
        writer.copy_part(number, &source, range).await.unwrap();
    }
    let staged = writer.finish(head.crc64nvme).await.unwrap();
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    let confirmed = store.confirm(&staged).await.unwrap();
    assert!(matches!(confirmed, Confirmation::Ours { proof: baler_store::Proof::Crc64Nvme, .. }), "{confirmed:?}");
    assert!(store.meter().read().bytes_read == 0, "no byte passed through this machine");
}

#[tokio::test]
async fn the_meter_counts_what_the_server_saw() {
    let (server, store) = pair().await;
    server.script([Scripted::new(Op::GetObject, 1, Fault::ErrorBefore(ErrorAnswer::SlowDown))]);
    let version = store.put(&key("k"), Bytes::from_static(b"0123456789")).await.unwrap();
    read(&*store, "k").await.unwrap();
    list_all(&*store, "").await.unwrap();
    store.head(&key("k")).await.unwrap();
    store.delete_if(&key("k"), &version).await.unwrap();
    let seen = store.meter().read();
    let count = |op| server.count(op) as u64;
    assert_eq!((seen.get, seen.retries), (count(Op::GetObject), 1));
    assert_eq!((seen.list, seen.put), (count(Op::ListObjectsV2), count(Op::PutObject)));
    assert_eq!((seen.head, seen.delete), (count(Op::HeadObject), count(Op::DeleteObject)));
    assert_eq!((seen.bytes_read, seen.bytes_written), (10, 10));
}

#[tokio::test]
async fn what_a_bucket_says_about_itself_is_read() {
    let (server, store) = pair().await;
    assert_eq!(store.lifecycle().await.unwrap(), []);
    let rule = |id: &str, prefix: &str, expire_days, abort_days| LifecycleRule {
        id: id.to_owned(),
        prefix: prefix.to_owned(),
        expire_days,
        abort_days,
    };
    server.set_lifecycle("bucket", vec![rule("a", "state/", Some(7), None), rule("b", "", None, Some(2))]);
    let rules = store.lifecycle().await.unwrap();
    let seen: Vec<_> = rules.iter().map(|r| (r.prefix.as_str(), r.expires_after, r.aborts_uploads_after)).collect();
    assert_eq!(seen, [("state/", Some(7), None), ("", None, Some(2))]);
    assert_eq!(store.versioning().await.unwrap(), baler_store::s3::Versioning::Never);
    server.set_versioning("bucket", Versioning::Enabled);
    assert_eq!(store.versioning().await.unwrap(), baler_store::s3::Versioning::Enabled);
    store.put(&key("k"), Bytes::from_static(b"x")).await.unwrap();
    assert!(store.head(&key("k")).await.unwrap().expect("it is there").version_id.is_some());
}
