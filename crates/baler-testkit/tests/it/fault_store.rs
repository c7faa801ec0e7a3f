//! The store that fails as asked: it forwards everything, and its faults do what they say.

use std::sync::Arc;
use std::time::Duration;

use baler_store::{
    MemoryOptions, MemoryStore, OutputAttributes, Precondition, PutOutcome, Store, SystemClock, SystemIds,
};
use baler_testkit::conformance::{self, Expect};
use baler_testkit::fault::{FaultStore, Method, Verdict, scripted, seeded};
use baler_testkit::fixtures::{fill, key, list_all, read_all, stage, stamp, write_id};
use bytes::Bytes;

fn memory() -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("memory", MemoryOptions::default(), Arc::new(SystemClock), Arc::new(SystemIds)))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fault_store_without_faults_keeps_the_contract() {
    conformance::run(Arc::new(FaultStore::new(memory())), Expect { rounds: 2, ..Expect::object_store() }).await;
}

#[tokio::test]
async fn a_write_can_happen_though_an_error_is_returned() {
    let store = FaultStore::with_hook(
        memory(),
        scripted([(Method::PutIfAbsent, 1, Verdict::FailBefore), (Method::PutIfAbsent, 2, Verdict::FailAfter)]),
    );
    let put = async || store.put_if_absent(&key("k"), Bytes::from_static(b"x"), &write_id("w1")).await;
    assert!(put().await.is_err());
    assert_eq!(store.inner().head(&key("k")).await.unwrap(), None);
    assert!(put().await.is_err());
    assert!(store.inner().head(&key("k")).await.unwrap().is_some());
    let third = put().await.unwrap();
    assert!(
        matches!(&third, PutOutcome::Created(_)) || third == PutOutcome::Exists { owner: Some(write_id("w1")) },
        "the author knows his write again: {third:?}"
    );
}

#[tokio::test]
async fn the_parts_of_a_staged_output_can_fail_too() {
    let store = FaultStore::with_hook(memory(), scripted([(Method::WritePart, 2, Verdict::FailAfter)]));
    let writer = store.stage(&key("k"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"x")]).await.unwrap();
    assert!(writer.write_part(1, vec![Bytes::from_static(b"y")]).await.is_err());
    let staged = writer.finish(None).await.unwrap();
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    assert_eq!(read_all(&store, "").await.unwrap()["k"], "y");
    let seen: Vec<_> = store.ops().iter().map(|op| op.method).take(5).collect();
    assert_eq!(seen, [Method::Stage, Method::WritePart, Method::WritePart, Method::Finish, Method::Publish]);
}

#[tokio::test]
async fn a_process_that_stops_does_nothing_more() {
    for (verdict, visible) in [(Verdict::Hang, false), (Verdict::HangAfter, true)] {
        let store = FaultStore::with_hook(memory(), scripted([(Method::Publish, 1, verdict)]));
        let staged = stage(&store, "k", "a1", &[Bytes::from_static(b"x")]).await.unwrap();
        let publish = store.publish(&staged, &Precondition::Absent);
        assert!(tokio::time::timeout(Duration::from_millis(50), publish).await.is_err(), "it does not return");
        assert_eq!(store.inner().head(&key("k")).await.unwrap().is_some(), visible, "{verdict:?}");
    }
}

#[tokio::test]
async fn equal_seeds_fail_the_same_calls() {
    let run = async |seed| {
        let store = FaultStore::with_hook(memory(), seeded(seed, 0.4));
        let mut results = Vec::new();
        for n in 0..50 {
            results.push(fill(&store, &[(&format!("{n}"), b"x")]).await.is_ok());
        }
        (results, list_all(&**store.inner(), "").await.unwrap().len())
    };
    assert_eq!(run(1).await, run(1).await);
    assert_ne!(run(1).await, run(2).await);
    let (results, written) = run(1).await;
    let succeeded = results.iter().filter(|ok| **ok).count();
    assert!(succeeded < written && written < 50, "some fail before, some after: {succeeded} {written}");
}
