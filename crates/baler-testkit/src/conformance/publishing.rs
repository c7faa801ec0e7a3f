//! Publishing under each precondition, repeated and raced, and confirming what became of it.

use baler_model::{ObjectVersion, Staged};
use baler_store::{Confirmation, Precondition, PublishOutcome};
use bytes::Bytes;

use super::{Deviation, Stamps, Subject, race};
use crate::fixtures::{read, stage, stamp};

impl Subject {
    async fn staged(&self, name: &str, attempt: &str, text: &str) -> Staged {
        stage(&*self.store, &self.name(name), attempt, &[Bytes::from(text.to_owned())]).await.unwrap()
    }

    async fn publish(&self, staged: &Staged, precondition: Precondition) -> PublishOutcome {
        self.store.publish(staged, &precondition).await.unwrap()
    }

    /// The version of what is confirmed as ours.
    async fn ours(&self, staged: &Staged) -> ObjectVersion {
        match self.store.confirm(staged).await.unwrap() {
            Confirmation::Ours { version, .. } => version,
            other => panic!("not ours: {other:?}"),
        }
    }

    async fn text(&self, name: &str) -> Bytes {
        read(&*self.store, &self.name(name)).await.unwrap()
    }
}

pub(super) async fn a_published_output_is_ours(s: Subject) {
    let parts = [s.part(1), Bytes::from_static(b"rest")];
    let staged = stage(&*s.store, &s.name("k"), "a1", &parts).await.unwrap();
    assert_eq!(s.publish(&staged, Precondition::Absent).await, PublishOutcome::Published);
    let version = s.ours(&staged).await;
    let head = s.store.head(&s.key("k")).await.unwrap().expect("it is published");
    assert_eq!((&head.version, head.size), (&version, staged.size));
    match s.expect.stamps {
        Stamps::Shown => assert_eq!(head.stamp, Some(stamp("a1"))),
        Stamps::Absent => assert_eq!(head.stamp, None),
    }
    if let Some(crc) = head.crc64nvme {
        assert_eq!(Some(crc), staged.crc64nvme, "the store's checksum is that of the bytes");
    }
    assert!(s.text("k").await == parts.concat(), "the bytes are those that were staged");
}

pub(super) async fn an_output_is_not_published_over_a_foreign_object(s: Subject) {
    let foreign = s.store.put(&s.key("k"), Bytes::from_static(b"foreign")).await.unwrap();
    let staged = s.staged("k", "a1", "ours").await;
    let outcome = s.publish(&staged, Precondition::Absent).await;
    if s.expect.deviates(Deviation::CreatesTwice) {
        return;
    }
    assert_eq!(outcome, PublishOutcome::Occupied);
    assert_eq!(s.text("k").await, "foreign");
    assert_eq!(s.store.confirm(&staged).await.unwrap(), Confirmation::Foreign { version: foreign });
    assert!(s.store.staged_exists(&staged).await.unwrap(), "what was not published is still staged");
}

pub(super) async fn a_replacement_needs_the_recorded_version(s: Subject) {
    let old = s.store.put(&s.key("k"), Bytes::from_static(b"old")).await.unwrap();
    let newer = s.store.put(&s.key("k"), Bytes::from_static(b"newer")).await.unwrap();
    if !s.expect.deviates(Deviation::ReplacesAnyVersion) {
        let late = s.staged("k", "a1", "made of old").await;
        let outcome = s.publish(&late, Precondition::Matches(old)).await;
        assert_eq!(outcome, PublishOutcome::Replaced { found: Some(newer.clone()) });
        assert_eq!(s.text("k").await, "newer");
    }
    let right = s.staged("k", "a2", "made of newer").await;
    assert_eq!(s.publish(&right, Precondition::Matches(newer)).await, PublishOutcome::Published);
    assert_eq!(s.text("k").await, "made of newer");
    s.ours(&right).await;
}

pub(super) async fn a_replacement_of_nothing_says_so(s: Subject) {
    let old = s.store.put(&s.key("k"), Bytes::from_static(b"old")).await.unwrap();
    s.store.delete(&s.key("k")).await.unwrap();
    let staged = s.staged("k", "a1", "made of old").await;
    let outcome = s.publish(&staged, Precondition::Matches(old)).await;
    if s.expect.deviates(Deviation::ReplacesAnyVersion) {
        return;
    }
    assert_eq!(outcome, PublishOutcome::Replaced { found: None });
    assert_eq!(s.store.head(&s.key("k")).await.unwrap(), None);
}

pub(super) async fn whatever_is_there_is_replaced_when_asked(s: Subject) {
    let first = s.staged("k", "a1", "first").await;
    assert_eq!(s.publish(&first, Precondition::Whatever).await, PublishOutcome::Published);
    s.ours(&first).await;
    s.store.put(&s.key("k"), Bytes::from_static(b"foreign")).await.unwrap();
    let second = s.staged("k", "a2", "second").await;
    assert_eq!(s.publish(&second, Precondition::Whatever).await, PublishOutcome::Published);
    s.ours(&second).await;
    assert_eq!(s.text("k").await, "second");
}

pub(super) async fn a_repeated_publish_is_safe(s: Subject) {
    let old = s.store.put(&s.key("replaced"), Bytes::from_static(b"old")).await.unwrap();
    let cases =
        [("new", Precondition::Absent), ("replaced", Precondition::Matches(old)), ("whatever", Precondition::Whatever)];
    for (name, precondition) in cases {
        let staged = s.staged(name, "a1", "ours").await;
        assert_eq!(s.publish(&staged, precondition.clone()).await, PublishOutcome::Published, "{name}");
        let version = s.ours(&staged).await;
        for _ in 0..2 {
            // Whichever the answer is, the publisher confirms next: it must find its own object, unchanged.
            s.publish(&staged, precondition.clone()).await;
            assert_eq!(s.ours(&staged).await, version, "{name}");
        }
        assert_eq!(s.text(name).await, "ours");
        assert!(!s.store.staged_exists(&staged).await.unwrap(), "{name}: what is published is no longer staged");
    }
}

pub(super) async fn a_publish_repeated_after_a_delete_brings_nothing_back(s: Subject) {
    for (name, precondition) in [("new", Precondition::Absent), ("whatever", Precondition::Whatever)] {
        let staged = s.staged(name, "a1", "consumed").await;
        assert_eq!(s.publish(&staged, precondition.clone()).await, PublishOutcome::Published);
        let version = s.ours(&staged).await;
        s.store.delete_if(&s.key(name), &version).await.unwrap();
        assert_eq!(s.publish(&staged, precondition).await, PublishOutcome::StagedGone, "{name}");
        assert_eq!(s.store.head(&s.key(name)).await.unwrap(), None, "{name}");
        assert_eq!(s.store.confirm(&staged).await.unwrap(), Confirmation::Absent, "{name}");
    }
}

pub(super) async fn racing_publishers_of_rival_outputs_have_one_winner(s: Subject) {
    if s.expect.deviates(Deviation::CreatesTwice) {
        return;
    }
    for round in 0..s.expect.rounds {
        let name = format!("{round}");
        let mut rivals = Vec::new();
        for racer in 0..s.expect.racers {
            rivals.push(s.staged(&name, &format!("a{racer}"), &format!("racer {racer}")).await);
        }
        let outcomes = race(rivals.len(), |racer| {
            let (store, staged) = (s.store.clone(), rivals[racer].clone());
            async move { store.publish(&staged, &Precondition::Absent).await.unwrap() }
        })
        .await;
        let winners: Vec<_> = (0..rivals.len()).filter(|&n| outcomes[n] == PublishOutcome::Published).collect();
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        assert_eq!(s.text(&name).await, format!("racer {}", winners[0]));
        for (racer, staged) in rivals.iter().enumerate() {
            let confirmed = s.store.confirm(staged).await.unwrap();
            match racer == winners[0] {
                true => assert!(matches!(confirmed, Confirmation::Ours { .. }), "{confirmed:?}"),
                false => {
                    assert_eq!(outcomes[racer], PublishOutcome::Occupied);
                    assert!(matches!(confirmed, Confirmation::Foreign { .. }), "{confirmed:?}");
                    s.store.abort_staged(staged).await.unwrap();
                }
            }
        }
    }
}

pub(super) async fn racing_publishers_of_one_output_all_see_it_published(s: Subject) {
    for round in 0..s.expect.rounds {
        let staged = s.staged(&format!("{round}"), "a1", "ours").await;
        let confirmed = race(s.expect.racers, |_| {
            let (store, staged) = (s.store.clone(), staged.clone());
            async move {
                store.publish(&staged, &Precondition::Absent).await.unwrap();
                store.confirm(&staged).await.unwrap()
            }
        })
        .await;
        let ours = |confirmation: &Confirmation| matches!(confirmation, Confirmation::Ours { .. });
        assert!(confirmed.iter().all(ours), "round {round}: {confirmed:?}");
    }
}

pub(super) async fn racing_replacements_have_one_winner(s: Subject) {
    if s.expect.deviates(Deviation::ReplacesAnyVersion) {
        return;
    }
    for round in 0..s.expect.rounds {
        let name = format!("{round}");
        let old = s.store.put(&s.key(&name), Bytes::from_static(b"old")).await.unwrap();
        let mut rivals = Vec::new();
        for racer in 0..s.expect.racers {
            rivals.push(s.staged(&name, &format!("a{racer}"), &format!("racer {racer}")).await);
        }
        let outcomes = race(rivals.len(), |racer| {
            let (store, staged) = (s.store.clone(), rivals[racer].clone());
            let precondition = Precondition::Matches(old.clone());
            async move { store.publish(&staged, &precondition).await.unwrap() }
        })
        .await;
        // `StagedGone` may mean "published by somebody else", so that the winner is who is confirmed.
        let mut winners = Vec::new();
        for (racer, staged) in rivals.iter().enumerate() {
            let ours = matches!(s.store.confirm(staged).await.unwrap(), Confirmation::Ours { .. });
            if ours {
                winners.push(racer);
            } else {
                assert_ne!(outcomes[racer], PublishOutcome::Published, "round {round}: racer {racer} did not win");
            }
        }
        assert_eq!(winners.len(), 1, "round {round}: {outcomes:?}");
        assert_eq!(s.text(&name).await, format!("racer {}", winners[0]));
        for (_, staged) in rivals.iter().enumerate().filter(|(racer, _)| *racer != winners[0]) {
            s.store.abort_staged(staged).await.unwrap();
        }
    }
}

pub(super) async fn an_output_replaced_by_others_is_foreign(s: Subject) {
    let staged = s.staged("k", "a1", "ours").await;
    assert_eq!(s.publish(&staged, Precondition::Absent).await, PublishOutcome::Published);
    // The same size and, worse, the same bytes: only the stamp (on a disk, the file itself) tells them apart.
    let foreign = s.store.put(&s.key("k"), Bytes::from_static(b"ours")).await.unwrap();
    assert_eq!(s.store.confirm(&staged).await.unwrap(), Confirmation::Foreign { version: foreign });
}

pub(super) async fn nothing_there_is_confirmed_as_absent(s: Subject) {
    let staged = s.staged("k", "a1", "ours").await;
    assert_eq!(s.store.confirm(&staged).await.unwrap(), Confirmation::Absent);
}
