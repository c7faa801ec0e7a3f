//! Attempts at tasks, and what operators do and say.

use super::*;

// --- Tasks ---

#[tokio::test(start_paused = true)]
async fn a_bucket_of_tasks_is_stated_full_once_and_a_resumed_run_announces_no_work() {
    let world = filled(&["a", "b"]).await;
    let (full, stated) = counts(Method::PutIfAbsent, "/full/0/0");
    let died = world.process(FLOW, Some(all(vec![full, dies_at(SEALS.0, SEALS.1)])));
    assert!(run_or_die(&died).await.is_none());
    assert_eq!(stated.load(Ordering::SeqCst), 1);
    assert!(world.read("_baler/daily/runs/").await.into_keys().any(|key| key.ends_with("/full/0/0")));
    let mut process = world.process(FLOW, None);
    let shown = Arc::new(Shown::default());
    process.env.progress = shown.clone();
    assert_eq!(process.run().await.unwrap()[0].status, Status::Committed);
    assert!(shown.0.lock().iter().all(|(phase, ..)| *phase != Phase::Combine));
}

#[tokio::test(start_paused = true)]
async fn a_task_is_attempted_three_times_with_longer_pauses_and_every_failure_is_kept() {
    let world = filled(&["a", "b"]).await;
    let times = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let clock = Arc::clone(&world.clock);
    let hook: Hook = Arc::new(move |op| {
        let fails = op.method == Method::Stage && op.key == "daily/a.jsonl";
        if fails {
            seen.lock().push(clock.now().as_second());
        }
        Box::pin(std::future::ready(if fails { Verdict::FailBefore } else { Verdict::Proceed }))
    });
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    assert_eq!((report.status, report.groups.failed), (Status::Failed, 1), "{report:#?}");
    let times = times.lock().clone();
    let [first, second, third] = times[..] else { panic!("{times:?}") };
    assert_eq!((second - first, third - second), (1, 2));
    let failed = process.flow().ledger.read_failed(report.run.as_ref().unwrap()).await.unwrap();
    assert_eq!(failed.iter().map(|f| f.task).collect::<Vec<_>>(), [TaskId(0); 3]);
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_between_attempts_gives_nothing_up() {
    let world = filled(&["a"]).await;
    let process = world.process(FLOW, None);
    let cancel = process.env.cancel.clone();
    let (stages, staged) = counts(Method::Stage, "daily/");
    let interrupts = at(Method::Stage, "daily/", 1, move || {
        cancel.cancel();
        Box::pin(std::future::ready(Verdict::FailBefore))
    });
    let hooked = world.process(FLOW, Some(all(vec![stages, interrupts])));
    let process = Process { env: Env { cancel: process.env.cancel.clone(), ..hooked.env }, config: hooked.config };
    let report = process.run_one().await;
    assert_eq!((report.status, staged.load(Ordering::SeqCst)), (Status::Interrupted, 1), "{report:#?}");
    let ledger = process.flow().ledger;
    assert_eq!(ledger.read_failed(report.run.as_ref().unwrap()).await.unwrap(), [], "an interrupt is no failure");
    assert_eq!(world.process(FLOW, None).run().await.unwrap()[0].status, Status::Committed);
}

#[tokio::test(start_paused = true)]
async fn who_marks_second_gives_up_what_he_staged_and_nothing_else() {
    let world = filled(&["a"]).await;
    let other = world.process(FLOW, Some(dies_at(SEALS.0, SEALS.1)));
    let gate = Arc::new(Gate::default());
    let process = world.process(
        FLOW,
        Some(all(vec![
            gate.hook(Method::PutIfAbsent, "/mark/", 1),
            at(SEALS.0, SEALS.1, 1, || Box::pin(std::future::ready(Verdict::Hang))),
        ])),
    );
    let both = async {
        tokio::time::timeout(std::time::Duration::from_secs(60), process.run()).await.ok();
    };
    gate.meanwhile(both, drives_the_run(&other)).await;
    assert_eq!(world.lake.upload_ids().len(), 1, "the upload that the mark names");
    let report = world.process(FLOW, None).run().await.unwrap().remove(0);
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(process.state().await.head(), LogSeq(4), "Opened, Sealed, Committed, Disposed");
}

// --- Operators ---

#[tokio::test(start_paused = true)]
async fn an_aborted_run_leaves_no_upload_whoever_aborts_it() {
    let world = filled(&["a", "b"]).await;
    assert!(run_or_die(&world.process(FLOW, Some(dies_at(SEALS.0, SEALS.1)))).await.is_none());
    assert_eq!(world.lake.upload_ids().len(), 2);
    let operator = world.process(FLOW, None);
    let run = operator.state().await.runs()[0].run.clone();
    // An operator who knows nothing of the log yet.
    abort(&operator.flow(), &mut LedgerState::default(), &run, Withdraw::No).await.unwrap();
    assert!(world.lake.upload_ids().is_empty());
    assert_eq!(operator.state().await.runs()[0].status, RunStatus::Aborted);
    abort(&operator.flow(), &mut operator.state().await, &run, Withdraw::No).await.unwrap();
    assert_eq!(operator.run_one().await.status, Status::Committed, "its sources are free");
}

#[tokio::test(start_paused = true)]
async fn a_sealed_run_is_not_withdrawn_from_a_store_that_was_moved() {
    let world = filled(&["a"]).await;
    assert!(run_or_die(&world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/pub/")))).await.is_none());
    let moved = world.process(&FLOW.replace("to = \"lake:", "to = \"other:"), None);
    assert!(matches!(withdraw(&moved, Assume::Nothing).await, Err(EngineError::Moved { .. })));
    let mut state = moved.state().await;
    assert_eq!(state.runs()[0].status, RunStatus::Sealed);
    let run = state.runs()[0].run.clone();
    moved.flow().ledger.try_append(&mut state, Event::Withdrawing { run }).await.unwrap();
    assert!(matches!(withdraw(&moved, Assume::Nothing).await, Err(EngineError::Moved { .. })));
    assert_eq!(moved.state().await.runs()[0].status, RunStatus::Withdrawing);
    assert_eq!(world.lake.upload_ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_expired_before_publishing_began_is_withdrawn_without_a_question() {
    let world = filled(&["a"]).await;
    assert!(run_or_die(&world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/pub/")))).await.is_none());
    expire(&world.lake, "daily/a.jsonl").await;
    let operator = world.process(FLOW, None);
    withdraw(&operator, Assume::Nothing).await.unwrap();
    assert_eq!(operator.state().await.runs()[0].status, RunStatus::Aborted);
}

#[tokio::test(start_paused = true)]
async fn who_cannot_tell_believes_another_who_ended_the_withdrawal() {
    let world = filled(&["a"]).await;
    let died = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000003")));
    assert!(run_or_die(&died).await.is_none());
    let (lake, other) = (world.lake.clone(), world.process(FLOW, None).flow().ledger);
    let hook = all(vec![
        at(Method::DeleteIf, "daily/a", 1, move || {
            let lake = lake.clone();
            Box::pin(async move {
                lake.delete(&fixtures::key("daily/a.jsonl")).await.unwrap();
                Verdict::Proceed
            })
        }),
        at(Method::List, "/mark/", 1, move || {
            let other = other.clone();
            Box::pin(async move {
                let mut state = other.load().await.unwrap();
                let run = state.runs()[0].run.clone();
                let event = Event::Aborted { run, reason: "it deleted the output".into() };
                assert!(matches!(other.try_append(&mut state, event).await.unwrap(), Appended::Ours(_)));
                Verdict::Proceed
            })
        }),
    ]);
    withdraw(&world.process(FLOW, Some(hook)), Assume::Nothing).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whoever_ends_a_withdrawal_makes_the_word_for_it_durable_before_anything_is_taken_back() {
    let world = filled(&["a"]).await;
    let died = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000003")));
    assert!(run_or_die(&died).await.is_none());
    let operator = world.process(FLOW, Some(dies_at(Method::AbortStaged, "daily/")));
    let dies = tokio::time::timeout(std::time::Duration::from_secs(60), withdraw(&operator, Assume::Nothing));
    assert!(dies.await.is_err(), "the operator's process dies behind its word");
    let calls = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&calls);
    let hook: Hook = Arc::new(move |op| {
        let takes_back = matches!(op.method, Method::AbortStaged | Method::DeleteIf) && op.key.contains("daily/a");
        if takes_back || (op.method == Method::Sync && op.key.contains("/log/00000000000000000003")) {
            seen.lock().push(op.method);
        }
        Box::pin(std::future::ready(Verdict::Proceed))
    });
    let process = world.process(FLOW, Some(hook));
    assert_eq!(process.run().await.unwrap()[0].status, Status::Aborted);
    let calls = calls.lock().clone();
    assert_eq!(calls.first(), Some(&Method::Sync), "{calls:?}");
    assert!(calls.contains(&Method::DeleteIf), "{calls:?}");
}

#[tokio::test(start_paused = true)]
async fn who_takes_back_late_leaves_what_the_next_run_published_alone() {
    let world = filled(&["a"]).await;
    let died = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000003")));
    assert!(run_or_die(&died).await.is_none());
    // Between the look at the output and the look at the log, another ends the withdrawal and runs the flow anew: the same
    // bytes at the same key, which the store cannot tell from those that were looked at.
    let gate = Arc::new(Gate::default());
    let waits = Arc::clone(&gate);
    let hook = after((Method::AbortStaged, "daily/a.jsonl"), READS_LOG, move || {
        let gate = Arc::clone(&waits);
        Box::pin(async move { gate.wait().await })
    });
    let other = world.process(FLOW, None);
    let anew = async {
        let reports = other.run().await.unwrap();
        assert_eq!(reports.iter().map(|r| r.status).collect::<Vec<_>>(), [Status::Aborted, Status::Committed]);
    };
    let operator = world.process(FLOW, Some(hook));
    gate.meanwhile(withdraw(&operator, Assume::Nothing), anew).await.unwrap();
    let statuses: Vec<RunStatus> = world.process(FLOW, None).state().await.runs().iter().map(|r| r.status).collect();
    assert_eq!(statuses.len(), 2, "{statuses:?}");
    assert_eq!(world.read("daily/").await.into_keys().collect::<Vec<_>>(), ["daily/a.jsonl"]);
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_manifest_is_no_longer_shown_as_running() {
    let world = World::new();
    world.put("in/1.json", "1\n").await;
    job(&world, "x", r#"{"source":"in","target":"out/x.json","fileCount":1}"#).await;
    assert!(run_or_die(&world.process(MANIFESTS, Some(dies_at(Method::PutIfAbsent, "/pub/")))).await.is_none());
    assert_eq!(world.read("watch/run/").await.len(), 1);
    withdraw(&world.process(MANIFESTS, None), Assume::Nothing).await.unwrap();
    assert!(world.read("watch/run/").await.is_empty());
    assert_eq!(world.read("watch/queue/").await.len(), 1, "it can be run again");
}

#[tokio::test(start_paused = true)]
async fn a_word_about_one_output_counts_for_no_other() {
    let world = filled(&["a", "b"]).await;
    let report = world.process(FLOW, Some(consumes_all(&world))).run_one().await;
    assert_eq!((report.status, report.failures.len()), (Status::Blocked, 2), "{report:#?}");
    let assume_of = BTreeSet::from([fixtures::key("daily/a.jsonl")]);
    let one = DriveOptions { assume: Assume::Lost, assume_of, ..options() };
    let process = world.process(FLOW, None);
    let run = report.run.unwrap();
    let report = engine::retry(&process.flow(), &run, one).await.unwrap();
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert!(report.failures.iter().all(|failure| failure.group.contains("daily/b.jsonl")), "{report:#?}");
    let marks = world.read("_baler/daily/runs/").await.into_keys().filter(|key| key.contains("/mark/")).count();
    assert_eq!(marks, 3, "the one is staged again, the other is not");
}

/// What is said second is said of what is missing then: the output that was staged again is not.
#[tokio::test(start_paused = true)]
async fn an_output_staged_again_on_one_word_is_not_forgotten_on_the_next() {
    let world = filled(&["a", "b"]).await;
    let report = world.process(FLOW, Some(consumes_all(&world))).run_one().await;
    let run = report.run.unwrap();
    let process = world.process(FLOW, None);
    let assume_of = BTreeSet::from([fixtures::key("daily/a.jsonl")]);
    let lost = DriveOptions { assume: Assume::Lost, assume_of, ..options() };
    assert_eq!(engine::retry(&process.flow(), &run, lost).await.unwrap().status, Status::Blocked);
    let published = DriveOptions { assume: Assume::Published, ..options() };
    let report = engine::retry(&process.flow(), &run, published).await.unwrap();
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await.into_keys().collect::<Vec<_>>(), ["daily/a.jsonl"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_of_which_one_output_was_staged_again_can_be_withdrawn_where_all_were_lost() {
    let world = filled(&["a", "b"]).await;
    let report = world.process(FLOW, Some(consumes_all(&world))).run_one().await;
    let process = world.process(FLOW, None);
    let assume_of = BTreeSet::from([fixtures::key("daily/a.jsonl")]);
    let lost = DriveOptions { assume: Assume::Lost, assume_of, ..options() };
    let report = engine::retry(&process.flow(), &report.run.unwrap(), lost).await.unwrap();
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert!(withdraw(&process, Assume::Nothing).await.is_err());
    withdraw(&process, Assume::Lost).await.unwrap();
    assert_eq!(process.state().await.runs()[0].status, RunStatus::Aborted);
    assert!(world.lake.upload_ids().is_empty() && world.read("daily/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_word_counts_for_nothing_that_happens_after_it() {
    let world = filled(&["a"]).await;
    assert!(run_or_die(&world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/pub/")))).await.is_none());
    let lake = world.lake.clone();
    let hook = at(Method::Confirm, "daily/a", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.delete(&fixtures::key("daily/a.jsonl")).await.unwrap();
            Verdict::Proceed
        })
    });
    let process = world.process(FLOW, Some(hook));
    let run = process.state().await.runs()[0].run.clone();
    let lost = DriveOptions { assume: Assume::Lost, ..options() };
    let report = engine::retry(&process.flow(), &run, lost).await.unwrap();
    assert_eq!(report.status, Status::Blocked, "a consumer took it a moment later: {report:#?}");
    assert!(world.read("daily/").await.is_empty());
}
