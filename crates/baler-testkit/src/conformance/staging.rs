//! Staged outputs: invisible, joined by part numbers, given up.

use baler_store::{AbortOutcome, OutputAttributes, Precondition, PublishOutcome, Store};
use bytes::Bytes;

use super::{Aborts, Subject};
use crate::fixtures::{list_all, random_bytes, read, stage, stamp};

pub(super) async fn what_is_staged_is_invisible(s: Subject) {
    let key = s.key("dir/k");
    let invisible = async |when: &str| {
        assert_eq!(s.store.head(&key).await.unwrap(), None, "{when}");
        assert!(s.store.get(&key, None, None).await.is_err(), "{when}");
        assert!(list_all(&*s.store, &s.prefix).await.unwrap().is_empty(), "{when}");
    };
    let writer = s.store.stage(&key, &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    invisible("begun").await;
    writer.write_part(1, vec![Bytes::from_static(b"bytes")]).await.unwrap();
    invisible("written").await;
    let staged = writer.finish(None).await.unwrap();
    invisible("finished").await;
    assert_eq!((&staged.key, staged.size, &staged.stamp), (&key, 5, &stamp("a1")));
    assert!(s.store.staged_exists(&staged).await.unwrap());
    let outcome = s.store.publish(&staged, &Precondition::Absent).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Published);
    assert_eq!(read(&*s.store, &s.name("dir/k")).await.unwrap(), "bytes");
}

pub(super) async fn parts_are_joined_by_their_numbers(s: Subject) {
    let parts = [s.part(1), s.part(2), random_bytes(3, 10)];
    let writer = s.store.stage(&s.key("k"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    let order: &[usize] = if writer.in_order() { &[0, 1, 2] } else { &[2, 0, 1] };
    for &index in order {
        writer.write_part(index as u32 + 1, vec![parts[index].clone()]).await.unwrap();
    }
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(staged.size, parts.iter().map(|part| part.len() as u64).sum::<u64>());
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert!(read(&*s.store, &s.name("k")).await.unwrap() == parts.concat(), "the parts are joined in their order");
}

pub(super) async fn a_part_written_again_replaces_the_first(s: Subject) {
    let writer = s.store.stage(&s.key("k"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    if writer.in_order() {
        // Such a writer takes each part once; there is nothing to claim.
        return writer.abort().await.unwrap();
    }
    writer.write_part(1, vec![Bytes::from_static(b"first try")]).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"second")]).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(staged.size, 6);
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert_eq!(read(&*s.store, &s.name("k")).await.unwrap(), "second");
}

pub(super) async fn an_aborted_output_is_gone(s: Subject) {
    let staged = stage(&*s.store, &s.name("k"), "a1", &[Bytes::from_static(b"x")]).await.unwrap();
    let expected = match s.expect.aborts {
        Aborts::Tell => AbortOutcome::GivenUp,
        Aborts::Silent => AbortOutcome::Gone,
    };
    assert_eq!(s.store.abort_staged(&staged).await.unwrap(), expected);
    assert!(!s.store.staged_exists(&staged).await.unwrap());
    let again = s.store.abort_staged(&staged).await.expect("giving up what is gone is fine");
    assert_eq!(again, AbortOutcome::Gone);
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
    assert_eq!(s.store.head(&s.key("k")).await.unwrap(), None);
    let before = handles(&*s.store).await;
    let writer = s.store.stage(&s.key("k"), &stamp("a2"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"x")]).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(handles(&*s.store).await, before, "an aborted writer leaves nothing");
}

pub(super) async fn a_published_output_is_not_given_up(s: Subject) {
    let staged = stage(&*s.store, &s.name("k"), "a1", &[Bytes::from_static(b"x")]).await.unwrap();
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert_eq!(s.store.abort_staged(&staged).await.unwrap(), AbortOutcome::Gone);
    assert_eq!(read(&*s.store, &s.name("k")).await.unwrap(), "x");
    // A consumer took it away: that it was visible must not be forgotten.
    let head = s.store.head(&s.key("k")).await.unwrap().unwrap();
    s.store.delete_if(&s.key("k"), &head.version).await.unwrap();
    assert_eq!(s.store.abort_staged(&staged).await.unwrap(), AbortOutcome::Gone);
}

async fn handles(store: &dyn Store) -> Vec<String> {
    let mut handles: Vec<_> = store.list_staged("").await.unwrap().into_iter().map(|listing| listing.handle).collect();
    handles.sort();
    handles
}

pub(super) async fn a_staged_listing_names_what_can_be_aborted(s: Subject) {
    let before = handles(&*s.store).await;
    let finished = stage(&*s.store, &s.name("k1"), "a1", &[Bytes::from_static(b"x")]).await.unwrap();
    let writer = s.store.stage(&s.key("k2"), &stamp("a2"), &OutputAttributes::default()).await.unwrap();
    writer.write_part(1, vec![Bytes::from_static(b"y")]).await.unwrap();
    drop(writer);
    let all = s.store.list_staged("").await.unwrap();
    let new: Vec<_> = all.into_iter().filter(|listing| !before.contains(&listing.handle)).collect();
    assert_eq!(new.len(), 2, "both are listed: {new:?}");
    for listing in &new {
        s.store.abort_listed(listing).await.unwrap();
    }
    assert_eq!(handles(&*s.store).await, before);
    assert!(!s.store.staged_exists(&finished).await.unwrap());
}

pub(super) async fn an_output_without_bytes_becomes_an_empty_object(s: Subject) {
    for (name, parts) in [("none", vec![]), ("one", vec![Bytes::new()])] {
        let staged = stage(&*s.store, &s.name(name), "a1", &parts).await.unwrap();
        assert_eq!(staged.size, 0);
        assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
        assert_eq!(s.store.head(&s.key(name)).await.unwrap().expect("it is published").size, 0);
        assert_eq!(read(&*s.store, &s.name(name)).await.unwrap(), "");
    }
}

pub(super) async fn pieces_of_a_part_are_joined(s: Subject) {
    let writer = s.store.stage(&s.key("k"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
    let pieces = ["one ", "", "two ", "three"].map(Bytes::from);
    writer.write_part(1, pieces.to_vec()).await.unwrap();
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert_eq!(read(&*s.store, &s.name("k")).await.unwrap(), "one two three");
}
