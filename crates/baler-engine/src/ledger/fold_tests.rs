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
