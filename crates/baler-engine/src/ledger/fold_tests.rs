use baler_model::WriteId;
use baler_model::ledger::CommittedObject;

use super::*;

pub(crate) fn run_id(name: &str) -> RunId {
    RunId::try_new(name).unwrap()
}

fn entry(seq: u64, event: Event) -> Entry {
    Entry {
        version: FORMAT_VERSION,
        seq: LogSeq(seq),
        write_id: WriteId::try_new(format!("w{seq}")).unwrap(),
        at: Timestamp::UNIX_EPOCH,
        by: "test/1".into(),
        event,
    }
}

fn opened(run: &str) -> Event {
    Event::Opened {
        run: run_id(run),
        trigger: Trigger::Request,
        generation: 0,
        plan: ContentHash::of(b"plan"),
        claims: ContentHash::of(b"claims"),
        outputs: vec![
            OutputClaim::Key(Key::from_listed("out/0"), GroupId(0)),
            OutputClaim::Key(Key::from_listed("out/1"), GroupId(1)),
        ],
        base_seq: LogSeq(0),
        counts: Counts::default(),
    }
}

fn sealed(run: &str, released: &[u32]) -> Event {
    Event::Sealed {
        run: run_id(run),
        account: Account::default(),
        seal: ContentHash::of(b"seal"),
        released: released.iter().map(|&g| GroupId(g)).collect(),
    }
}

fn committed(run: &str) -> Event {
    let object = CommittedObject { key: Key::from_listed("out/0"), etag: "e".into(), size: 1, group: GroupId(0) };
    Event::Committed { run: run_id(run), objects: vec![object] }
}

fn fold(events: Vec<Event>) -> Result<LedgerState, FoldError> {
    let mut state = LedgerState::default();
    for (i, event) in events.into_iter().enumerate() {
        state.apply(&entry(i as u64 + 1, event))?;
    }
    Ok(state)
}

fn withdrawing(run: &str) -> Event {
    Event::Withdrawing { run: run_id(run) }
}

fn aborted(run: &str) -> Event {
    Event::Aborted { run: run_id(run), reason: "asked".into() }
}

fn disposed(run: &str) -> Event {
    Event::Disposed { run: run_id(run), sources_gone: false }
}

#[test]
fn a_gap_in_the_log_stops_the_fold() {
    let mut state = LedgerState::default();
    state.apply(&entry(1, opened("a"))).unwrap();
    let gap = state.apply(&entry(3, sealed("a", &[])));
    assert_eq!(gap, Err(FoldError::Gap { expected: LogSeq(2), found: LogSeq(3) }));
    assert_eq!(state.head(), LogSeq(1));
}

#[test]
fn an_entry_of_a_newer_format_is_refused() {
    let newer = Entry { version: FORMAT_VERSION + 1, ..entry(1, opened("a")) };
    assert!(matches!(LedgerState::default().apply(&newer), Err(FoldError::Version { .. })));
}

#[test]
fn a_run_goes_its_way_and_no_other() {
    let names = |events: &[Event]| events.iter().map(Event::name).collect::<Vec<_>>().join(" ");
    let all = || vec![opened("a"), sealed("a", &[]), committed("a"), disposed("a"), withdrawing("a"), aborted("a")];
    let legal = [
        "Opened",
        "Opened Sealed",
        "Opened Sealed Sealed",
        "Opened Aborted",
        "Opened Sealed Committed",
        "Opened Sealed Withdrawing",
        "Opened Sealed Withdrawing Aborted",
        "Opened Sealed Committed Disposed",
        "Opened Sealed Sealed Committed",
        "Opened Sealed Sealed Withdrawing",
        "Opened Sealed Sealed Sealed",
    ];
    // Every sequence of up to four events is refused unless it is one of the above.
    let mut sequences: Vec<Vec<Event>> = vec![vec![]];
    for _ in 0..4 {
        let longer =
            sequences.iter().flat_map(|s| all().into_iter().map(|e| s.iter().cloned().chain([e]).collect::<Vec<_>>()));
        sequences = longer.collect();
        for sequence in &sequences {
            let accepted = fold(sequence.clone()).is_ok();
            assert_eq!(accepted, legal.contains(&names(sequence).as_str()), "{}", names(sequence));
        }
    }
}

#[test]
fn a_released_group_stays_released() {
    let fault = fold(vec![opened("a"), sealed("a", &[1]), sealed("a", &[])]);
    assert!(matches!(fault, Err(FoldError::Order { .. })));
}

#[test]
fn releasing_a_group_frees_its_output_key_only() {
    let state = fold(vec![opened("a"), sealed("a", &[1])]).unwrap();
    let keys: Vec<String> = state.runs()[0].outputs.iter().map(ToString::to_string).collect();
    assert_eq!(keys, ["out/0"]);
}

#[test]
fn sources_that_are_gone_leave_the_consumed_set() {
    let state = fold(vec![opened("a"), sealed("a", &[]), committed("a")]).unwrap();
    assert!(state.runs()[0].consumes());
    let gone = Event::Disposed { run: run_id("a"), sources_gone: true };
    let state = fold(vec![opened("a"), sealed("a", &[]), committed("a"), gone]).unwrap();
    assert!(!state.runs()[0].consumes());
}

#[test]
fn the_last_commit_of_a_key_is_what_counts() {
    let state =
        fold(vec![opened("a"), sealed("a", &[]), committed("a"), opened("b"), sealed("b", &[]), committed("b")]);
    assert_eq!(state.unwrap().object(&Key::from_listed("out/0")).unwrap().run, run_id("b"));
}

fn staged(run: &str, n: u32) -> Event {
    Event::Staged { run: run_id(run), n, sha256: ContentHash::of(b"stage") }
}

#[test]
fn an_entry_of_version_0_is_refused() {
    let none = Entry { version: 0, ..entry(1, opened("a")) };
    let refused = LedgerState::default().apply(&none);
    assert_eq!(refused, Err(FoldError::Version { seq: LogSeq(1), version: 0 }));
}

#[test]
fn a_later_stage_is_chosen_once_and_only_before_the_seal() {
    let state = fold(vec![opened("a"), staged("a", 1), staged("a", 2)]).unwrap();
    assert_eq!(state.runs()[0].staged[&1], ContentHash::of(b"stage"));
    assert_eq!((state.runs()[0].staged.len(), state.runs()[0].status), (2, RunStatus::Opened));
    for sequence in [
        vec![opened("a"), staged("a", 1), staged("a", 1)],
        vec![opened("a"), sealed("a", &[]), staged("a", 1)],
        vec![staged("a", 1)],
    ] {
        assert!(matches!(fold(sequence), Err(FoldError::Order { .. })));
    }
}

#[test]
fn a_claimed_prefix_outlasts_released_groups_and_ends_with_the_run() {
    let Event::Opened { run, trigger, generation, plan, claims, base_seq, counts, .. } = opened("a") else {
        unreachable!("it is an `Opened`")
    };
    let outputs = vec![OutputClaim::Prefix("out/".into()), OutputClaim::Key(Key::from_listed("x"), GroupId(1))];
    let opened = Event::Opened { run, trigger, generation, plan, claims, outputs, base_seq, counts };
    let outputs = |more: &[Event]| {
        let events = [opened.clone(), sealed("a", &[1])].into_iter().chain(more.iter().cloned()).collect();
        fold(events).unwrap().runs()[0].outputs.clone()
    };
    assert_eq!(outputs(&[]), [OutputClaim::Prefix("out/".into())]);
    assert_eq!(outputs(&[committed("a")]), []);
    assert_eq!(outputs(&[withdrawing("a")]), [OutputClaim::Prefix("out/".into())]);
    assert_eq!(outputs(&[withdrawing("a"), aborted("a")]), []);
}

#[test]
fn an_aborted_run_says_why() {
    let state = fold(vec![opened("a"), aborted("a")]).unwrap();
    assert_eq!(state.runs()[0].abort_reason.as_deref(), Some("asked"));
}

#[test]
fn a_run_remembers_where_and_when_the_log_last_spoke_of_it() {
    let mut state = LedgerState::default();
    for (seq, event) in [(1, opened("a")), (2, opened("b")), (3, sealed("a", &[])), (4, committed("a"))] {
        let at = Timestamp::from_second(seq * 10).unwrap();
        state.apply(&Entry { at, ..entry(seq.unsigned_abs(), event) }).unwrap();
    }
    let [a, b] = state.runs() else { panic!("two runs") };
    assert_eq!((a.opened, a.last, a.committed), (LogSeq(1), LogSeq(4), Some(LogSeq(4))));
    assert_eq!((b.opened, b.last, b.committed), (LogSeq(2), LogSeq(2), None));
    let second = |n| Timestamp::from_second(n).unwrap();
    assert_eq!((a.opened_at, a.last_at, b.last_at), (second(10), second(40), second(20)));
    assert_eq!((a.account.clone(), a.seal.clone()), (Some(Account::default()), Some(ContentHash::of(b"seal"))));
    assert!(!a.sources_gone && a.abort_reason.is_none());
}

#[test]
fn only_runs_of_one_trigger_that_ended_early_count_for_its_generation() {
    let trigger = |key: &str| {
        Trigger::Manifest(baler_model::ledger::Manifest {
            store: "s3://lake".into(),
            key: Key::from_listed(key),
            version_id: None,
            etag: "e".into(),
            modified: Timestamp::UNIX_EPOCH,
        })
    };
    let by = |run: &str, by: Trigger| match opened(run) {
        Event::Opened { run, generation, plan, claims, base_seq, counts, .. } => {
            Event::Opened { run, trigger: by, generation, plan, claims, outputs: Vec::new(), base_seq, counts }
        }
        other => other,
    };
    let state = fold(vec![
        by("a", trigger("watch/1")),
        aborted("a"),
        by("b", trigger("watch/1")),
        sealed("b", &[1]),
        committed("b"),
        by("c", trigger("watch/1")),
        sealed("c", &[]),
        committed("c"),
        by("d", trigger("watch/1")),
        by("e", trigger("watch/2")),
        by("f", Trigger::Request),
        aborted("f"),
    ])
    .unwrap();
    assert_eq!(state.generation(&trigger("watch/1")), 2);
    assert_eq!(state.generation(&trigger("watch/2")), 0);
    assert_eq!(state.generation(&Trigger::Request), 0);
    let open: Vec<&str> = state.open_runs().map(|run| run.run.as_str()).collect();
    assert_eq!(open, ["b", "c", "d", "e"]);
    let holds: Vec<&str> = state.runs().iter().filter(|r| r.status.holds_claims()).map(|r| r.run.as_str()).collect();
    assert_eq!(holds, ["d", "e"]);
}
