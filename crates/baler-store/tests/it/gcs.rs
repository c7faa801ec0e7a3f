//! The GCS store against an emulator, where one is at hand: none is installed by `scripts/test`.
//!
//! `BALER_TEST_GCS` is the emulator's address, and it must have the empty bucket `baler-test`. Ignored unless asked for:
//! `cargo nextest run -p baler-store --run-ignored only -E 'test(gcs)'`. No emulator is evidence about the service.

use std::sync::Arc;

use baler_store::gcs::{GcsOptions, GcsSecret, GcsStore};
use baler_store::{Confirmation, Precondition, Proof, PublishOutcome, Store, SystemClock, SystemIds, prove};
use baler_testkit::conformance::{self, Aborts, Expect, Keys};
use baler_testkit::fixtures::{key, random_bytes, read, stage, stamp};
use bytes::Bytes;

fn store(prefix: &str) -> Arc<GcsStore> {
    let endpoint = std::env::var("BALER_TEST_GCS").expect("`BALER_TEST_GCS` is the address of an emulator");
    let options = GcsOptions {
        endpoint: Some(endpoint),
        prefix: prefix.into(),
        ..GcsOptions::new("gcs", "baler-test", GcsSecret::Anonymous)
    };
    Arc::new(GcsStore::new(options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an emulator of GCS: `BALER_TEST_GCS`"]
async fn gcs_keeps_the_contract() {
    let expect = Expect { keys: Keys::SomeRefused, aborts: Aborts::Silent, rounds: 3, ..Expect::object_store() };
    let claims = conformance::CHECKS.iter().map(|check| check.claim).filter(|claim| !claim.contains("1024_bytes"));
    conformance::run_claims(store("contract"), expect, claims).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an emulator of GCS: `BALER_TEST_GCS`"]
async fn gcs_is_proven_and_left_clean() {
    let gcs = store("proof");
    let proven = prove(&(gcs.clone() as Arc<dyn Store>), "state/", 10, &SystemIds).await.unwrap();
    assert!(proven.ledger_ok() && proven.publish_create_ok(), "{proven:?}");
    assert!(proven.publish_replace_ok() && proven.conditional_delete_ok(), "{proven:?}");
    assert_eq!(gcs.list(&Default::default()).await.unwrap().objects, []);
    assert_eq!(gcs.list_staged("").await.unwrap(), []);
}

/// Seventy parts are composed in two levels, and published in several requests: an emulator moves a megabyte in each.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an emulator of GCS: `BALER_TEST_GCS`"]
async fn an_output_of_many_parts_is_composed_in_levels_and_proven_by_its_checksum() {
    let gcs = store("levels");
    let parts: Vec<Bytes> = (0..70).map(|n| random_bytes(n, 50_000)).collect();
    let staged = stage(&*gcs, "out", "a1", &parts).await.unwrap();
    assert_eq!(gcs.list_staged("").await.unwrap().len(), 1, "its parts are no uploads of their own");
    assert_eq!(gcs.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    let confirmed = gcs.confirm(&staged).await.unwrap();
    assert!(matches!(confirmed, Confirmation::Ours { proof: Proof::Crc32c, .. }), "{confirmed:?}");
    assert!(read(&*gcs, "out").await.unwrap() == parts.concat());
    assert_eq!(gcs.list_staged("").await.unwrap(), []);
    gcs.delete(&key("out")).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs an emulator of GCS: `BALER_TEST_GCS`"]
async fn what_another_gave_up_can_neither_be_finished_nor_published_on_gcs() {
    let gcs = store("given-up");
    let writer = gcs.stage(&key("out"), &stamp("a1"), &Default::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"late")]).await.unwrap();
    let listed = gcs.list_staged("ou").await.unwrap();
    assert_eq!(listed.len(), 1, "{listed:?}");
    gcs.abort_listed(&listed[0]).await.unwrap();
    let error = writer.finish(None).await.unwrap_err();
    assert!(error.to_string().contains("given up"), "{error}");
    // A twin whose unlink was lost: it goes before the output is confirmed.
    let bytes = Bytes::from_static(b"bytes");
    let staged = stage(&*gcs, "out", "a2", std::slice::from_ref(&bytes)).await.unwrap();
    let twin = stage(&*gcs, "out", "a2", &[bytes]).await.unwrap();
    assert_eq!(gcs.publish(&twin, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert!(matches!(gcs.confirm(&staged).await.unwrap(), Confirmation::Ours { .. }));
    gcs.delete(&key("out")).await.unwrap();
    assert_eq!(gcs.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
    assert_eq!(gcs.head(&key("out")).await.unwrap(), None);
    assert_eq!(gcs.list_staged("").await.unwrap(), []);
}
