//! Create-if-absent and plain puts.

use baler_store::PutOutcome;
use bytes::Bytes;

use super::{Deviation, Subject, WriteIds, race};
use crate::fixtures::{body, read, write_id};

pub(super) async fn the_first_put_creates_and_the_second_finds_it(s: Subject) {
    let key = s.key("k");
    let first = s.store.put_if_absent(&key, Bytes::from_static(b"first"), &write_id("w1")).await.unwrap();
    let head = s.store.head(&key).await.unwrap().expect("the object was created");
    assert_eq!(first, PutOutcome::Created(head.version), "the version that was created is the one that is there");
    let second = s.store.put_if_absent(&key, Bytes::from_static(b"second"), &write_id("w2")).await.unwrap();
    match (&second, s.expect.write_ids) {
        _ if s.expect.deviates(Deviation::CreatesTwice) => return,
        (PutOutcome::Exists { owner }, WriteIds::Kept) => assert_eq!(*owner, Some(write_id("w1"))),
        (PutOutcome::Exists { owner }, WriteIds::ByBody) => assert_ne!(*owner, Some(write_id("w2"))),
        (PutOutcome::Created(_), _) => panic!("the second put created it again"),
    }
    assert_eq!(read(&*s.store, &s.name("k")).await.unwrap(), "first");
}

pub(super) async fn a_repeated_put_knows_its_own_write(s: Subject) {
    let key = s.key("k");
    let first = s.store.put_if_absent(&key, Bytes::from_static(b"mine"), &write_id("w1")).await.unwrap();
    let again = s.store.put_if_absent(&key, Bytes::from_static(b"mine"), &write_id("w1")).await.unwrap();
    match (again, s.expect.write_ids) {
        _ if s.expect.deviates(Deviation::CreatesTwice) => {}
        // "Be it by an earlier try of this call": either answer tells the author that the write is his own.
        (PutOutcome::Created(version), _) => assert_eq!(first, PutOutcome::Created(version)),
        (PutOutcome::Exists { owner }, _) => assert_eq!(owner, Some(write_id("w1"))),
    }
    let get = s.store.get(&key, None, None).await.unwrap();
    match s.expect.write_ids {
        WriteIds::Kept => assert_eq!(get.write_id, Some(write_id("w1"))),
        WriteIds::ByBody => assert_eq!(get.write_id, None),
    }
    assert_eq!(body(get).await.unwrap(), "mine");
}

pub(super) async fn racing_puts_have_one_winner(s: Subject) {
    if s.expect.deviates(Deviation::CreatesTwice) {
        return;
    }
    for round in 0..s.expect.rounds {
        let name = format!("{round}");
        let outcomes = race(s.expect.racers, |racer| {
            let (store, key) = (s.store.clone(), s.key(&name));
            let (text, id) = (Bytes::from(format!("racer {racer}")), write_id(&format!("w{racer}")));
            async move { store.put_if_absent(&key, text, &id).await.unwrap() }
        })
        .await;
        let created = |outcome: &PutOutcome| matches!(outcome, PutOutcome::Created(_));
        let winners: Vec<usize> = (0..outcomes.len()).filter(|&racer| created(&outcomes[racer])).collect();
        assert_eq!(winners.len(), 1, "round {round}: winners are {winners:?}");
        assert_eq!(read(&*s.store, &s.name(&name)).await.unwrap(), format!("racer {}", winners[0]));
        for outcome in outcomes.iter().filter(|outcome| !created(outcome)) {
            if s.expect.write_ids == WriteIds::Kept {
                assert_eq!(*outcome, PutOutcome::Exists { owner: Some(write_id(&format!("w{}", winners[0]))) });
            }
        }
    }
}

pub(super) async fn a_put_replaces_and_changes_the_version(s: Subject) {
    let key = s.key("k");
    let first = s.store.put(&key, Bytes::from_static(b"one")).await.unwrap();
    let second = s.store.put(&key, Bytes::from_static(b"two, longer")).await.unwrap();
    assert_ne!(first, second);
    let head = s.store.head(&key).await.unwrap().expect("the object is there");
    assert_eq!((head.version, head.size), (second, 11));
    assert_eq!(read(&*s.store, &s.name("k")).await.unwrap(), "two, longer");
}

pub(super) async fn an_empty_object_is_an_object(s: Subject) {
    let key = s.key("empty");
    let outcome = s.store.put_if_absent(&key, Bytes::new(), &write_id("w1")).await.unwrap();
    assert!(matches!(outcome, PutOutcome::Created(_)), "{outcome:?}");
    assert_eq!(s.store.head(&key).await.unwrap().expect("the object is there").size, 0);
    assert_eq!(read(&*s.store, &s.name("empty")).await.unwrap(), "");
}
