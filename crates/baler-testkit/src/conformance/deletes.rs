//! Deletes, conditional and not.

use baler_model::{Key, ObjectVersion};
use baler_store::DeleteOutcome;
use bytes::Bytes;

use super::{Deviation, Subject, race};
use crate::fixtures::read;

impl Subject {
    async fn delete_nothing(&self, key: &Key, version: &ObjectVersion) {
        let outcome = self.store.delete_if(key, version).await.unwrap();
        // A server that does not look at the condition says that it deleted what was not there.
        if !self.expect.deviates(Deviation::DeletesAnyVersion) {
            assert_eq!(outcome, DeleteOutcome::Absent);
        }
    }
}

pub(super) async fn a_delete_takes_the_planned_version_only(s: Subject) {
    let key = s.key("k");
    let old = s.store.put(&key, Bytes::from_static(b"old")).await.unwrap();
    let new = s.store.put(&key, Bytes::from_static(b"newer")).await.unwrap();
    if !s.expect.deviates(Deviation::DeletesAnyVersion) {
        let outcome = s.store.delete_if(&key, &old).await.unwrap();
        assert_eq!(outcome, DeleteOutcome::Changed { found: new.clone() });
        assert_eq!(read(&*s.store, &s.name("k")).await.unwrap(), "newer");
    }
    assert_eq!(s.store.delete_if(&key, &new).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(s.store.head(&key).await.unwrap(), None);
    s.delete_nothing(&key, &new).await;
}

pub(super) async fn racing_deletes_have_one_winner(s: Subject) {
    if s.expect.deviates(Deviation::DeletesAnyVersion) {
        return;
    }
    for round in 0..s.expect.rounds {
        let key = s.key(&format!("{round}"));
        let version = s.store.put(&key, Bytes::from_static(b"x")).await.unwrap();
        let outcomes = race(s.expect.racers, |_| {
            let (store, key, version) = (s.store.clone(), key.clone(), version.clone());
            async move { store.delete_if(&key, &version).await.unwrap() }
        })
        .await;
        let count = |outcome| outcomes.iter().filter(|found| **found == outcome).count();
        assert_eq!(count(DeleteOutcome::Deleted), 1, "round {round}: {outcomes:?}");
        assert_eq!(count(DeleteOutcome::Absent), s.expect.racers - 1, "round {round}: {outcomes:?}");
    }
}

pub(super) async fn a_delete_of_nothing_is_fine(s: Subject) {
    let key = s.key("k");
    let version = s.store.put(&key, Bytes::from_static(b"x")).await.unwrap();
    s.store.delete(&key).await.unwrap();
    s.store.delete(&key).await.unwrap();
    s.delete_nothing(&key, &version).await;
    s.store.delete(&s.key("never/was")).await.unwrap();
}

/// An object that replaced the planned version is never the one that a delete takes.
pub(super) async fn a_delete_races_a_replacement_without_losing_it(s: Subject) {
    if s.expect.deviates(Deviation::DeletesAnyVersion) {
        return;
    }
    for round in 0..s.expect.rounds {
        let name = format!("{round}");
        let key = s.key(&name);
        let old = s.store.put(&key, Bytes::from_static(b"old")).await.unwrap();
        race(2, |racer| {
            let (store, key, old) = (s.store.clone(), key.clone(), old.clone());
            async move {
                match racer {
                    0 => drop(store.put(&key, Bytes::from_static(b"newer")).await.unwrap()),
                    _ => drop(store.delete_if(&key, &old).await.unwrap()),
                }
            }
        })
        .await;
        assert_eq!(read(&*s.store, &s.name(&name)).await.unwrap(), "newer", "round {round}");
    }
}
