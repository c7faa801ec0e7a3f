//! Publishing, committing, staging again, sealing.

use super::*;

// --- Publishing ---

#[tokio::test(start_paused = true)]
async fn nothing_is_published_once_a_run_is_being_withdrawn() {
    let world = filled(&["a"]).await;
    let operator = world.process(FLOW, None).flow().ledger;
    let withdraws = after(SEALS, READS_LOG, move || {
        let operator = operator.clone();
        Box::pin(async move {
            let mut state = operator.load().await.unwrap();
            let run = state.runs()[0].run.clone();
            operator.try_append(&mut state, Event::Withdrawing { run }).await.unwrap();
        })
    });
    let (publishes, published) = counts(Method::Publish, "daily/");
    let process = world.process(FLOW, Some(all(vec![withdraws, publishes])));
    let report = process.run_one().await;
    assert_eq!((report.status, published.load(Ordering::SeqCst)), (Status::Aborted, 0), "{report:#?}");
    assert_eq!(process.state().await.runs()[0].status, RunStatus::Aborted);
    assert!(world.lake.upload_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_log_is_durable_before_anything_is_published_and_before_anything_is_deleted() {
    let config = format!("{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let world = filled(&["a"]).await;
    let synced = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let seen = Arc::clone(&synced);
    let hook: Hook = Arc::new(move |op| {
        let mut seen = seen.lock();
        let has = |part: &str| seen.iter().any(|key: &String| key.contains(part));
        match op.method {
            Method::Sync if op.key.contains("/log/") => seen.push(op.key.clone()),
            Method::Publish if op.key.starts_with("daily/") => {
                assert!(has("log/00000000000000000002"), "another may have sealed and lost power");
            }
            Method::DeleteIf if op.key.starts_with("raw/") => {
                assert!(has("log/00000000000000000003"), "another may have committed and lost power");
            }
            _ => {}
        }
        Box::pin(std::future::ready(Verdict::Proceed))
    });
    assert_eq!(world.process(&config, Some(hook)).run_one().await.status, Status::Committed);
    assert_eq!(synced.lock().len(), 2);
    assert!(world.read("raw/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn who_comes_late_to_commit_finds_it_done() {
    let world = filled(&["a"]).await;
    let other = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(Method::PutIfAbsent, "log/00000000000000000003", 1)));
    let report = gate.meanwhile(process.run_one(), drives_the_run(&other)).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(process.state().await.head(), LogSeq(4), "Opened, Sealed, Committed, Disposed");
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_is_what_the_last_seal_covers() {
    let world = filled(&["a", "b"]).await;
    let other = world.process(FLOW, None).flow().ledger;
    // All is published; right before `Committed`, somebody who saw more seals anew.
    let hook = at(Method::PutIfAbsent, "log/00000000000000000003", 1, move || {
        let other = other.clone();
        Box::pin(async move {
            let mut state = other.load().await.unwrap();
            let known = state.runs()[0].clone();
            let mut seal = other.read_seal(&known.run, known.seal.as_ref().unwrap()).await.unwrap();
            seal.outputs.retain(|output| output.group == GroupId(0));
            let sha = other.write_seal(&seal).await.unwrap();
            let released = vec![GroupId(1)];
            let event = Event::Sealed { run: known.run, account: known.account.unwrap(), seal: sha, released };
            assert!(matches!(other.try_append(&mut state, event).await.unwrap(), Appended::Ours(_)));
            Verdict::Proceed
        })
    });
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    let state = process.state().await;
    let committed: Vec<&str> = state.objects().keys().map(baler_model::Key::as_str).collect();
    assert_eq!(committed, ["daily/a.jsonl"], "{report:#?}");
    assert_eq!(state.head(), LogSeq(5), "Opened, Sealed, Sealed again, Committed, Disposed");
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_expired_before_publishing_began_is_made_again_whatever_is_said_of_it() {
    let world = filled(&["a"]).await;
    let died = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/pub/")));
    assert!(run_or_die(&died).await.is_none());
    expire(&world.lake, "daily/a.jsonl").await;
    let process = world.process(FLOW, None);
    let run = process.state().await.runs()[0].run.clone();
    let assumed = DriveOptions { assume: Assume::Published, ..options() };
    let done = engine::retry(&process.flow(), &run, assumed).await.unwrap();
    assert_eq!(done.status, Status::Committed, "{done:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n", "nobody can have taken it");
}

#[tokio::test(start_paused = true)]
async fn who_finds_marks_gone_of_a_run_that_ended_leaves_it_alone() {
    let world = filled(&["a"]).await;
    let other = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    // Marks are listed when tasks begin, when sealing, and when a lost upload was found.
    let waits = gate.hook(Method::List, "/mark/", 3);
    let process = world.process(FLOW, Some(all(vec![expires_when_sealed(&world, "daily/a.jsonl"), waits])));
    let ends = async {
        drives_the_run(&other).await;
        gc(&other.flow(), &other.state().await, jiff::SignedDuration::ZERO, Effect::Remove).await.unwrap();
        assert!(world.read("_baler/daily/runs/").await.into_keys().all(|key| !key.contains("/mark/")));
    };
    let report = gate.meanwhile(process.run_one(), ends).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_gone_of_a_run_that_goes_on_is_named() {
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let removes = after(SEALS, (Method::List, "/mark/"), move || {
        let lake = lake.clone();
        Box::pin(async move {
            for mark in fixtures::list_all(&lake, "_baler/daily/runs/").await.unwrap() {
                if mark.key.as_str().contains("/mark/") {
                    lake.delete(&mark.key).await.unwrap();
                }
            }
        })
    });
    let process = world.process(FLOW, Some(all(vec![expires_when_sealed(&world, "daily/a.jsonl"), removes])));
    let broken = process.run().await.unwrap_err();
    assert!(broken.to_string().contains("the mark of task 0 is gone"), "{broken}");
}

// --- Progress ---

#[tokio::test(start_paused = true)]
async fn every_phase_does_what_it_announced_and_ends() {
    let config = format!("{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let world = filled(&["a", "b"]).await;
    let mut process = world.process(&config, None);
    let shown = Arc::new(Shown::default());
    process.env.progress = shown.clone();
    assert_eq!(process.run_one().await.status, Status::Committed);
    let shown = shown.0.lock().clone();
    let of = |wanted: Phase| shown.iter().filter(|(phase, ..)| *phase == wanted).collect::<Vec<_>>();
    // Four inputs of three bytes, two outputs of six.
    assert_eq!(of(Phase::Combine), [&(Phase::Combine, [4, 12, 4, 12], true)]);
    assert_eq!(of(Phase::Publish), [&(Phase::Publish, [2, 12, 2, 12], true)]);
    assert_eq!(of(Phase::Dispose), [&(Phase::Dispose, [4, 12, 4, 12], true)]);
}

// --- Staging again ---

/// Expires the upload at this key and deletes a source, right before the run is sealed.
fn loses_upload_and_source(world: &World, key: &'static str) -> Hook {
    let lake = world.lake.clone();
    let deletes = at(SEALS.0, SEALS.1, 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.delete(&fixtures::key("raw/a/1.jsonl")).await.unwrap();
            Verdict::Proceed
        })
    });
    all(vec![expires_when_sealed(world, key), deletes])
}

#[tokio::test(start_paused = true)]
async fn a_lost_manifest_beside_an_output_is_made_again_without_the_sources() {
    let world = filled(&["a"]).await;
    let hook = loses_upload_and_source(&world, "daily/a.jsonl.manifest");
    let mut process = world.process(WITH_MANIFEST, Some(hook));
    let notes = Arc::new(crate::world::Notes::default());
    process.env.progress = notes.clone();
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let there = world.read("daily/").await;
    assert_eq!(there["daily/a.jsonl"], "a1\na2\n");
    assert!(there["daily/a.jsonl.manifest"].contains("\"content_length\""), "{there:?}");
    assert!(notes.all().iter().any(|note| note.contains("is staged again: its upload was lost")), "{:?}", notes.all());
    assert!(world.lake.upload_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_expires_while_another_of_its_task_is_staged_again_is_made_anew_with_it() {
    let world = filled(&["a"]).await;
    let (first, second) = (world.lake.clone(), world.lake.clone());
    let hook = all(vec![
        at(Method::StagedExists, "daily/a.jsonl", 1, move || {
            let lake = first.clone();
            Box::pin(async move {
                expire(&lake, "daily/a.jsonl").await;
                Verdict::Proceed
            })
        }),
        at(Method::AbortStaged, "daily/a.jsonl.manifest", 1, move || {
            let lake = second.clone();
            Box::pin(async move {
                expire(&lake, "daily/a.jsonl.manifest").await;
                Verdict::Proceed
            })
        }),
    ]);
    let report = world.process(WITH_MANIFEST, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await.len(), 2);
    let marks = world.read("_baler/daily/runs/").await.into_keys().filter(|key| key.contains("/mark/")).count();
    assert_eq!(marks, 2, "one generation makes both again");
}

#[tokio::test(start_paused = true)]
async fn a_lasting_failure_while_staging_again_before_the_seal_gives_the_group_up() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    let lost = Arc::new(AtomicBool::new(false));
    let hook: Hook = Arc::new(move |op| {
        let (lake, lost) = (lake.clone(), Arc::clone(&lost));
        let (method, key) = (op.method, op.key.clone());
        Box::pin(async move {
            if method == Method::StagedExists && key == "daily/a.jsonl" && !lost.swap(true, Ordering::SeqCst) {
                expire(&lake, "daily/a.jsonl").await;
            }
            let fails = method == Method::Stage && key == "daily/a.jsonl" && lost.load(Ordering::SeqCst);
            if fails { Verdict::FailBefore } else { Verdict::Proceed }
        })
    });
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    assert_eq!(world.read("daily/").await.into_keys().collect::<Vec<_>>(), ["daily/b.jsonl"]);
    assert_eq!(process.state().await.runs()[0].released, BTreeSet::from([GroupId(0)]));
}

#[tokio::test(start_paused = true)]
async fn an_output_said_to_be_lost_whose_source_is_gone_takes_its_visible_manifest_along() {
    let world = filled(&["a"]).await;
    let hook = loses_upload_and_source(&world, "daily/a.jsonl");
    let report = world.process(WITH_MANIFEST, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert_eq!(world.read("daily/").await.into_keys().collect::<Vec<_>>(), ["daily/a.jsonl.manifest"]);
    let process = world.process(WITH_MANIFEST, None);
    let lost = DriveOptions { assume: Assume::Lost, ..options() };
    let done = engine::retry(&process.flow(), report.run.as_ref().unwrap(), lost).await.unwrap();
    assert_eq!((done.groups.committed, done.groups.failed), (0, 1), "{done:#?}");
    assert!(world.read("daily/").await.is_empty(), "it would tell of an output that will never be there");
    assert_eq!(process.state().await.runs()[0].released, BTreeSet::from([GroupId(0)]));
}

#[tokio::test(start_paused = true)]
async fn an_output_lost_with_its_source_waits_for_an_operator_while_its_manifest_may_be_seen() {
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let takes = at(SEALS.0, SEALS.1, 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("daily/a.jsonl.manifest"), "foreign".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let hook = all(vec![loses_upload_and_source(&world, "daily/a.jsonl"), takes]);
    let report = world.process(WITH_MANIFEST, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    let process = world.process(WITH_MANIFEST, None);
    assert!(process.state().await.runs()[0].released.is_empty());
    let lost = DriveOptions { assume: Assume::Lost, ..options() };
    let done = engine::retry(&process.flow(), report.run.as_ref().unwrap(), lost).await.unwrap();
    assert_eq!((done.groups.committed, done.groups.failed), (0, 1), "{done:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl.manifest"], "foreign");
    assert!(world.lake.upload_ids().is_empty(), "what was staged for it is given up");
}

#[tokio::test(start_paused = true)]
async fn a_group_that_is_lost_takes_no_manifest_of_another_along() {
    let world = filled(&["a", "b"]).await;
    let hook = loses_upload_and_source(&world, "daily/a.jsonl");
    let report = world.process(WITH_MANIFEST, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    let there = world.read("daily/").await;
    assert!(there.contains_key("daily/b.jsonl.manifest"), "{:?}", there.keys());
    let process = world.process(WITH_MANIFEST, None);
    let lost = DriveOptions { assume: Assume::Lost, ..options() };
    let done = engine::retry(&process.flow(), report.run.as_ref().unwrap(), lost).await.unwrap();
    assert_eq!((done.groups.committed, done.groups.failed), (1, 1), "{done:#?}");
    let there: Vec<String> = world.read("daily/").await.into_keys().collect();
    assert_eq!(there, ["daily/b.jsonl", "daily/b.jsonl.manifest"]);
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_tells_of_nothing_is_left_to_whoever_moved_the_log_meanwhile() {
    let world = filled(&["a", "b"]).await;
    let hook = loses_upload_and_source(&world, "daily/a.jsonl");
    let report = world.process(WITH_MANIFEST, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    // The give-up mark, then the look at the manifest, then the look at the log: there another withdraws the run.
    let stage = Arc::new(AtomicU64::new(0));
    let (deletes, deleted) = counts(Method::DeleteIf, "daily/a.jsonl.manifest");
    let (at_stage, other) = (Arc::clone(&stage), world.process(WITH_MANIFEST, None));
    let other = Arc::new(other);
    let withdraws: Hook = Arc::new(move |op| {
        let (is, key) = (op.method, op.key.clone());
        let before = at_stage.load(Ordering::SeqCst);
        let next = match before {
            0 if is == Method::PutIfAbsent && key.contains("/mark/") => 1,
            1 if matches!(is, Method::Head | Method::Confirm) && key.ends_with("a.jsonl.manifest") => 2,
            2 if is == READS_LOG.0 && key.contains(READS_LOG.1) => 3,
            _ => before,
        };
        at_stage.store(next, Ordering::SeqCst);
        let other = Arc::clone(&other);
        Box::pin(async move {
            if (before, next) == (2, 3) {
                withdraw(&other, Assume::Lost).await.unwrap();
            }
            Verdict::Proceed
        })
    });
    let process = world.process(WITH_MANIFEST, Some(all(vec![withdraws, deletes])));
    let lost = DriveOptions { assume: Assume::Lost, ..options() };
    let done = engine::retry(&process.flow(), report.run.as_ref().unwrap(), lost).await.unwrap();
    assert_eq!(stage.load(Ordering::SeqCst), 3, "the run was withdrawn in between");
    assert_eq!(deleted.load(Ordering::SeqCst), 0, "nothing is deleted on the word of an older log");
    assert_eq!(process.state().await.runs()[0].status, RunStatus::Aborted, "and nothing sealed: {done:#?}");
    assert!(world.read("daily/").await.is_empty());
}

// --- Sealing ---

#[tokio::test(start_paused = true)]
async fn a_group_whose_staged_size_is_not_what_was_counted_is_given_up() {
    let world = filled(&["a", "b"]).await;
    let died = world.process(FLOW, Some(dies_at(SEALS.0, SEALS.1)));
    assert!(run_or_die(&died).await.is_none());
    for (key, body) in world.read("_baler/daily/runs/").await.into_iter().filter(|(key, _)| key.contains("/mark/0/0."))
    {
        assert_eq!(body.matches("\"size\":6,\"crc").count(), 1, "{body}");
        world.put(&key, body.replace("\"size\":6,\"crc", "\"size\":5,\"crc")).await;
    }
    let process = world.process(FLOW, None);
    let report = process.run().await.unwrap().remove(0);
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    assert!(report.failures[0].error.contains("staged bytes are not those that were counted"), "{report:#?}");
    assert_eq!(report.outputs.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["daily/b.jsonl"]);
}

#[tokio::test(start_paused = true)]
async fn only_the_output_replaces_and_never_the_manifest_beside_it() {
    let config = format!("{WITH_MANIFEST}overwrite = true\n");
    let world = filled(&["a"]).await;
    world.put("daily/a.jsonl", "foreign").await;
    let report = world.process(&config, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    let there = world.read("daily/").await;
    assert_eq!((there.len(), there["daily/a.jsonl"].as_str()), (2, "a1\na2\n"));
}
