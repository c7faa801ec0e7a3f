//! What may be opened, sealed, published and staged again.

use baler_engine::ledger::decide::Balance;

use super::*;

// --- Decisions ---

#[tokio::test(start_paused = true)]
async fn a_plan_is_refused_for_a_known_run_before_all_else_and_for_what_is_consumed() {
    let ledger = World::new().process(FLOW, None).flow().ledger;
    let mut state = LedgerState::default();
    ledger.try_append(&mut state, opened("a", b"", b"")).await.unwrap();
    let nothing = |_: &RunState, _| Overlap::Nothing;
    let shares = |_: &RunState, _| Overlap::Shares("input `x`".into());
    let (a, b, base) = (run_id("a"), run_id("b"), LogSeq(1));
    assert_eq!(may_open(&state, &b, base, false, nothing), Ok(()));
    assert_eq!(may_open(&state, &a, base, true, shares), Err(OpenRefusal::Known { run: a.clone() }));
    assert_eq!(may_open(&state, &b, base, true, shares), Err(OpenRefusal::Consumed));
    let rival = OpenRefusal::Rival { rival: a, what: "input `x`".into() };
    assert_eq!(may_open(&state, &b, base, false, shares), Err(rival));
    // A run that ended before the plan was made is no rival; one that ended since is.
    ledger.try_append(&mut state, Event::Aborted { run: run_id("a"), reason: "asked".into() }).await.unwrap();
    assert_eq!(may_open(&state, &b, LogSeq(2), false, shares), Ok(()));
    assert!(may_open(&state, &b, LogSeq(1), false, shares).is_err());
}

#[test]
fn output_claims_overlap_where_they_could_mean_one_key() {
    let key = |text: &str| OutputClaim::Key(fixtures::key(text), GroupId(0));
    let prefix = |text: &str| OutputClaim::Prefix(text.into());
    let shared = |ours: &[OutputClaim], theirs: &[OutputClaim]| match outputs_overlap(ours, theirs) {
        Overlap::Nothing => None,
        Overlap::Shares(what) => Some(what),
    };
    let all = [key("a/1"), key("b/1"), key("c"), prefix("d/"), prefix("e/x")];
    for (ours, theirs) in [
        (key("b/1"), Some("output `b/1`")),
        (key("b/2"), None),
        (key("b"), None),
        (key("d/7"), Some("output `d/7`")),
        (key("d"), None),
        (prefix("b/"), Some("output `b/*`")),
        (prefix("a"), Some("output `a*`")),
        (prefix("ab"), None),
        (prefix("bb"), None),
        (prefix("d/1/"), Some("output `d/1/*`")),
        (prefix("e/"), Some("output `e/*`")),
        (prefix("e/y"), None),
        (prefix("z"), None),
        (prefix(""), Some("output `*`")),
    ] {
        assert_eq!(shared(std::slice::from_ref(&ours), &all).as_deref(), theirs, "{ours}");
        assert_eq!(shared(&[key("q"), ours.clone()], &all).as_deref(), theirs, "{ours} behind another");
        assert_eq!(shared(std::slice::from_ref(&ours), &[]), None, "{ours}");
    }
}

#[test]
fn a_tally_leaves_out_tasks_of_groups_that_are_given_up() {
    let tasks = [(0, 0), (1, 0), (2, 1), (3, 1), (4, 2), (5, 3)].map(|(t, g)| (TaskId(t), GroupId(g)));
    let given_up =
        Mark { outcome: Outcome::GivenUp { reason: Failure { error: "e".into(), hint: None } }, ..mark(2, 0, "a") };
    let marks = Marks::from(
        [(0, mark(0, 0, "a")), (2, given_up), (5, mark(5, 0, "a"))].map(|(task, mark)| (TaskId(task), Box::new(mark))),
    );
    let seen = tally(tasks.into_iter(), &marks, &BTreeSet::from([GroupId(2)]));
    assert_eq!(seen.given_up, BTreeSet::from([GroupId(1), GroupId(2)]));
    assert_eq!(seen.unmarked, [TaskId(1)]);
}

#[test]
fn a_run_is_sealed_when_all_is_marked_and_aborted_when_all_is_given_up_before_its_first_seal() {
    let tally = |given_up: &[u32], unmarked: &[u32]| Tally {
        given_up: given_up.iter().map(|&g| GroupId(g)).collect(),
        unmarked: unmarked.iter().map(|&t| TaskId(t)).collect(),
    };
    let seal = |groups: &[u32]| SealDecision::Seal { released: groups.iter().map(|&g| GroupId(g)).collect() };
    use RunStatus::{Aborted, Committed, Disposed, Opened, Sealed, Withdrawing};
    for status in [Withdrawing, Committed, Disposed, Aborted] {
        assert_eq!(may_seal(status, 2, &tally(&[], &[])), SealDecision::WrongStatus);
    }
    for status in [Opened, Sealed] {
        assert_eq!(may_seal(status, 2, &tally(&[], &[7])), SealDecision::NotYet);
        assert_eq!(may_seal(status, 2, &tally(&[], &[])), seal(&[]));
        assert_eq!(may_seal(status, 2, &tally(&[1], &[])), seal(&[1]));
    }
    assert_eq!(may_seal(Opened, 2, &tally(&[0, 1], &[])), SealDecision::Abort);
    // After a seal something may be visible: nothing aborts, not even where nothing is left to publish.
    assert_eq!(may_seal(Sealed, 2, &tally(&[0, 1], &[])), seal(&[0, 1]));
    for status in [Opened, Sealed, Withdrawing, Committed, Disposed, Aborted] {
        assert_eq!(may_publish(status), status == Sealed);
    }
}

#[test]
fn an_account_balances_only_with_all_that_was_planned() {
    let account = Account { objects_in: 2, bytes_in: 10, bytes_out: 11, bytes_inserted: 1, ..Account::default() };
    assert_eq!(group_account(2, 10, Balance::Bytes, &account), Ok(()));
    assert!(
        group_account(3, 10, Balance::Bytes, &account)
            .unwrap_err()
            .to_string()
            .contains("objects in: planned 3, found 2")
    );
    assert!(
        group_account(2, 9, Balance::Bytes, &account)
            .unwrap_err()
            .to_string()
            .contains("bytes in: planned 9, found 10")
    );
    assert!(group_account(2, 10, Balance::Bytes, &Account { bytes_out: 10, ..account }).is_err());
}

#[test]
fn what_is_neither_given_up_nor_deleted_by_us_frees_no_claims_once_publishing_began() {
    for bits in 0..8_u32 {
        let [given_up, deleted, publishing_began] = [0, 1, 2].map(|bit| bits >> bit & 1 == 1);
        for assume in [Assume::Nothing, Assume::Lost, Assume::Published] {
            let free = was_taken_back(TakenBack { given_up, deleted, publishing_began, assume });
            let may_be_out = publishing_began && !given_up && !deleted && assume != Assume::Lost;
            assert_eq!(free, !may_be_out);
        }
    }
}

#[test]
fn a_lost_upload_is_staged_again_only_where_nobody_can_have_seen_it() {
    use RunStatus::{Aborted, Committed, Disposed, Opened, Sealed, Withdrawing};
    let base = LostUpload {
        ours_is_there: false,
        status: Sealed,
        released: false,
        publishing_began: false,
        assume: Assume::Nothing,
    };
    for status in [Opened, Sealed] {
        for assume in [Assume::Nothing, Assume::Lost, Assume::Published] {
            let seen = LostUpload { status, assume, ..base };
            assert_eq!(may_redo(seen), RedoDecision::Redo);
            assert_eq!(may_redo(LostUpload { ours_is_there: true, ..seen }), RedoDecision::Published);
            assert_eq!(may_redo(LostUpload { released: true, ..seen }), RedoDecision::Stop);
            let began = match assume {
                Assume::Nothing => RedoDecision::Blocked,
                Assume::Lost => RedoDecision::Redo,
                Assume::Published => RedoDecision::Published,
            };
            assert_eq!(may_redo(LostUpload { publishing_began: true, ..seen }), began);
        }
    }
    for status in [Withdrawing, Committed, Disposed, Aborted] {
        assert_eq!(may_redo(LostUpload { status, ..base }), RedoDecision::Stop);
    }
}

// --- Rivals ---

#[tokio::test(start_paused = true)]
async fn who_loses_the_race_for_a_seal_appends_no_second_one() {
    let world = filled(&["a"]).await;
    let other = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/pub/")));
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(SEALS.0, SEALS.1, 1)));
    let report = gate.meanwhile(process.run_one(), drives_the_run(&other)).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(process.state().await.head(), LogSeq(4), "Opened, Sealed, Committed, Disposed");
}

/// Another process gives the only group up, its upload and its source being lost, while this one is about to seal: this one
/// tells why, too, though it had marked every task itself.
#[tokio::test(start_paused = true)]
async fn who_loses_the_race_for_a_seal_tells_why_a_group_was_given_up_meanwhile() {
    let world = filled(&["a"]).await;
    let other = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(SEALS.0, SEALS.1, 1)));
    let loses = async {
        expire(&world.lake, "daily/a.jsonl").await;
        world.lake.delete(&fixtures::key("raw/a/1.jsonl")).await.unwrap();
        drives_the_run(&other).await;
    };
    let report = gate.meanwhile(process.run_one(), loses).await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("raw/a/1.jsonl"), "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn two_runs_that_share_an_output_and_no_input_are_never_open_together() {
    let world = filled(&["a"]).await;
    let rival = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/mark/")));
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(Method::PutIfAbsent, "/plan-", 1)));
    let rivals = async {
        for n in 1..=2 {
            world.lake.delete(&fixtures::key(&format!("raw/a/{n}.jsonl"))).await.unwrap();
            world.put(&format!("raw/a/{}.jsonl", n + 2), "later\n").await;
        }
        assert!(run_or_die(&rival).await.is_none());
    };
    gate.meanwhile(process.run(), rivals).await.unwrap();
    assert_eq!(process.state().await.runs().len(), 1, "the output is held");
}

#[tokio::test(start_paused = true)]
async fn a_refused_plan_of_a_manifest_stays_since_another_may_be_about_to_open_it() {
    let world = World::new();
    world.put("in/1.json", "1\n").await;
    job(&world, "x", r#"{"source":"in","target":"out/x.json","fileCount":1}"#).await;
    let rival = world.process(MANIFESTS, Some(dies_at(Method::PutIfAbsent, "/mark/")));
    let gate = Arc::new(Gate::default());
    let process = world.process(MANIFESTS, Some(gate.hook(Method::PutIfAbsent, "/plan-", 1)));
    let rivals = async {
        world.lake.delete(&fixtures::key("watch/queue/x.json")).await.unwrap();
        job(&world, "y", r#"{"source":"in","target":"out/y.json","fileCount":1}"#).await;
        assert!(run_or_die(&rival).await.is_none());
    };
    drop(gate.meanwhile(process.run(), rivals).await);
    let plans = world.read("_baler/jobs/runs/").await.into_keys().filter(|key| key.contains("/plan-")).count();
    assert_eq!((plans, process.state().await.runs().len()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_counts_for_what_was_staged_again_and_lost_again() {
    let world = filled(&["a", "b"]).await;
    let report = world.process(FLOW, Some(consumes_all(&world))).run_one().await;
    let process = world.process(FLOW, None);
    let run = report.run.unwrap();
    let assume_of = BTreeSet::from([fixtures::key("daily/a.jsonl")]);
    let one = DriveOptions { assume: Assume::Lost, assume_of, ..options() };
    assert_eq!(engine::retry(&process.flow(), &run, one).await.unwrap().status, Status::Blocked);
    expire(&world.lake, "daily/a.jsonl").await;
    let all = DriveOptions { assume: Assume::Lost, ..options() };
    let report = engine::retry(&process.flow(), &run, all).await.unwrap();
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await.into_keys().collect::<Vec<_>>(), ["daily/a.jsonl", "daily/b.jsonl"]);
}
