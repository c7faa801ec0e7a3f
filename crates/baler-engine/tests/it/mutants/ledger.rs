//! Files of the ledger, marks, the log and its snapshots.

use super::*;

// --- Files of the ledger ---

#[tokio::test(start_paused = true)]
async fn a_plan_whose_tasks_are_not_numbered_densely_is_broken() {
    let plan = real_plan(&filled(&["a", "b"]).await).await;
    assert_eq!(plan.matches("\"task\":1,").count(), 1, "{plan}");
    let (ledger, state) = with_files(&World::new(), plan.as_bytes(), b"").await;
    let read = ledger.read_plan(&state.runs()[0]).await.unwrap();
    assert_eq!((read.tasks.len(), read.stages()), (2, 1));
    assert_eq!(Plan { tasks: Vec::new(), ..read }.stages(), 0);
    let gap = plan.replace("\"task\":1,", "\"task\":2,");
    let (ledger, state) = with_files(&World::new(), gap.as_bytes(), b"").await;
    let refused = ledger.read_plan(&state.runs()[0]).await.unwrap_err();
    assert!(refused.to_string().contains("not numbered densely"), "{refused}");
    assert_eq!(refused.kind(), Kind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn files_of_another_format_or_of_none_are_refused_and_say_which() {
    let plan = real_plan(&filled(&["a"]).await).await;
    for version in [0, 2, 77] {
        let later = plan.replacen("{\"version\":1,", &format!("{{\"version\":{version},\"novel\":"), 1);
        assert_ne!(later, plan);
        let later = later.replacen("\"novel\":", "\"novel\":true,", 1);
        let (ledger, state) = with_files(&World::new(), later.as_bytes(), b"").await;
        let refused = ledger.read_plan(&state.runs()[0]).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Version { version: found, .. } if found == version), "{refused}");
        let claims = zstd(&format!("{{\"version\":{version},\"run\":\"r\",\"claims\":0}}\n"));
        let (ledger, state) = with_files(&World::new(), later.as_bytes(), &claims).await;
        let refused = ledger.read_claims(&state.runs()[0]).await.unwrap_err();
        assert!(matches!(refused, LedgerError::Version { version: found, .. } if found == version), "{refused}");
    }
}

/// Bytes of `text` as the ledger compresses them.
fn zstd(text: &str) -> Vec<u8> {
    zstd::encode_all(text.as_bytes(), 3).unwrap()
}

#[tokio::test(start_paused = true)]
async fn claims_that_lack_a_line_are_broken() {
    let claims = [claim("raw/b"), claim("raw/a")];
    let whole = plan_claims(&claims).to_bytes(&run_id("r"));
    let (ledger, state) = with_files(&World::new(), b"", &whole).await;
    let [b, a] = claims.clone();
    assert_eq!(ledger.read_claims(&state.runs()[0]).await.unwrap().claims, [a, b], "they are kept sorted");
    for announced in [1, 3] {
        let lines: String = claims.iter().map(|c| serde_json::to_string(c).unwrap() + "\n").collect();
        let torn = zstd(&format!("{{\"version\":1,\"run\":\"r\",\"claims\":{announced}}}\n{lines}"));
        let (ledger, state) = with_files(&World::new(), b"", &torn).await;
        let refused = ledger.read_claims(&state.runs()[0]).await.unwrap_err();
        assert!(refused.to_string().contains(&format!("{announced} claims announced, 2 found")), "{refused}");
    }
}

/// Claims as a plan has them.
fn plan_claims(claims: &[Claim]) -> PlanClaims<'_> {
    PlanClaims::new(claims.iter().flat_map(|claim| claim.groups.iter().map(|group| (&claim.input, *group))))
}

#[tokio::test(start_paused = true)]
async fn claims_of_many_frames_are_read_as_they_were_planned() {
    // More than one frame of them, unsorted; each third input feeds two groups, and is claimed once.
    let mut claims: Vec<Claim> = (0..20_000).map(|number| claim(&format!("raw/{number:06}"))).collect();
    claims.iter_mut().step_by(3).for_each(|claim| claim.groups = vec![GroupId(0), GroupId(7)]);
    claims.reverse();
    let planned = plan_claims(&claims);
    assert!(planned.contains(&claims[77].input));
    let overwritten = InputVersion { etag: "other".into(), ..claims[77].input.clone() };
    assert!(!planned.contains(&overwritten) && !planned.contains(&claim("raw/none").input));
    let bytes = planned.to_bytes(&run_id("r"));
    assert_eq!(bytes, planned.to_bytes(&run_id("r")), "named by content: the same claims are the same bytes");
    let (ledger, state) = with_files(&World::new(), b"", &bytes).await;
    claims.sort();
    assert_eq!(ledger.read_claims(&state.runs()[0]).await.unwrap().claims, claims);
}

#[tokio::test(start_paused = true)]
async fn a_file_whose_bytes_are_not_those_it_is_named_by_is_broken() {
    let world = World::new();
    let (ledger, state) = with_files(&world, b"one", b"").await;
    world.put(&format!("_baler/daily/runs/r/plan-{}.jsonl", ContentHash::of(b"one")), "two").await;
    let refused = ledger.read_plan(&state.runs()[0]).await.unwrap_err();
    assert!(refused.to_string().contains("not those it is named by"), "{refused}");
    assert!(refused.hint().is_some());
}

// --- Marks ---

#[tokio::test(start_paused = true)]
async fn of_each_task_the_mark_of_the_highest_generation_wins() {
    let world = World::new();
    let ledger = world.process(FLOW, None).flow().ledger;
    let marks = [mark(0, 10, "c"), mark(0, 9, "b"), mark(0, 0, "a"), mark(1, 0, "d"), mark(2345, 1, "e")];
    for one in &marks {
        assert_eq!(ledger.create_mark(one).await.unwrap(), None, "it is ours");
    }
    let read = ledger.read_marks(&run_id("r"), Marks::new()).await.unwrap();
    assert_eq!(
        read.into_values().map(|mark| *mark).collect::<Vec<_>>(),
        [marks[0].clone(), marks[3].clone(), marks[4].clone()]
    );
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_known_is_not_read_again_and_one_of_a_later_generation_is() {
    let world = World::new();
    let (hook, reads) = counts(Method::Get, "/mark/");
    let ledger = world.process(FLOW, Some(hook)).flow().ledger;
    for one in [mark(0, 0, "a"), mark(1, 0, "b")] {
        ledger.create_mark(&one).await.unwrap();
    }
    let known = ledger.read_marks(&run_id("r"), Marks::new()).await.unwrap();
    assert_eq!((known.len(), reads.swap(0, Ordering::SeqCst)), (2, 2));
    ledger.create_mark(&mark(1, 1, "c")).await.unwrap();
    let again = ledger.read_marks(&run_id("r"), known).await.unwrap();
    assert_eq!(again[&TaskId(1)].attempt.as_str(), "c");
    assert_eq!((again.len(), reads.load(Ordering::SeqCst)), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_is_there_is_ours_if_its_attempt_is() {
    let ledger = World::new().process(FLOW, None).flow().ledger;
    assert_eq!(ledger.create_mark(&mark(0, 0, "a")).await.unwrap(), None);
    assert_eq!(ledger.create_mark(&mark(0, 0, "a")).await.unwrap(), None, "the reply was lost, and we ask again");
    assert_eq!(ledger.create_mark(&mark(0, 0, "b")).await.unwrap(), Some(mark(0, 0, "a")));
}

#[tokio::test(start_paused = true)]
async fn every_directory_of_marks_is_made_durable_once() {
    let (hook, syncs) = counts(Method::Sync, "/mark/");
    let ledger = World::new().process(FLOW, Some(hook)).flow().ledger;
    let tasks = [0, 1, 2, 999, 1000, 1001, 2000];
    let marks: Marks = tasks.into_iter().map(|task| (TaskId(task), Box::new(mark(task, 0, "a")))).collect();
    for one in marks.values() {
        ledger.create_mark(one).await.unwrap();
    }
    ledger.sync_marks(&run_id("r"), &marks).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn what_another_created_is_made_durable_before_anything_rests_on_it() {
    let world = World::new();
    let (hook, syncs) = counts(Method::Sync, "/pub/");
    let ledger = world.process(FLOW, Some(hook)).flow().ledger;
    let staged = fixtures::stage(&world.lake, "out/0", "a", &["x".into()]).await.unwrap();
    let output = SealedOutput { group: GroupId(0), task: TaskId(7), generation: 2, output: 1, staged, replaces: None };
    let began = async |task, generation, output| {
        ledger.publishing_began(&run_id("r"), TaskId(task), generation, output).await.unwrap()
    };
    assert!(!began(7, 2, 1).await);
    ledger.begin_publishing(&output, &run_id("r")).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 0, "what we created is durable already");
    ledger.begin_publishing(&output, &run_id("r")).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 1);
    // It counts for every later generation, and for no earlier one, no other output, no other task.
    assert!(began(7, 2, 1).await && began(7, 3, 1).await && began(7, 5, 1).await);
    assert!(!began(7, 1, 1).await && !began(7, 2, 0).await && !began(8, 2, 1).await);
}

// --- Information ---

#[tokio::test(start_paused = true)]
async fn heartbeats_and_failed_attempts_are_read_as_they_were_written() {
    let world = World::new();
    let ledger = world.process(FLOW, None).flow().ledger;
    let run = run_id("r");
    assert_eq!(ledger.read_heartbeat(&run).await.unwrap(), None);
    let beat = Heartbeat {
        version: FORMAT_VERSION,
        host: "h".into(),
        pid: 1,
        process: "p".into(),
        since: Timestamp::UNIX_EPOCH,
        at: Timestamp::UNIX_EPOCH,
    };
    ledger.write_heartbeat(&run, &beat).await.unwrap();
    assert_eq!(ledger.read_heartbeat(&run).await.unwrap(), Some(beat));
    ledger.clear_heartbeat(&run).await.unwrap();
    assert_eq!(ledger.read_heartbeat(&run).await.unwrap(), None);
    let failed = FailedAttempt {
        version: FORMAT_VERSION,
        task: TaskId(1),
        attempt: AttemptId::try_new("a").unwrap(),
        at: Timestamp::UNIX_EPOCH,
        failure: Failure { error: "e".into(), hint: None },
    };
    assert_eq!(ledger.read_failed(&run).await.unwrap(), []);
    ledger.write_failed(&run, &failed).await.unwrap();
    assert_eq!(ledger.read_failed(&run).await.unwrap(), [failed]);
    assert_eq!(ledger.read_report(&run).await.unwrap(), None);
    ledger.write_report(&run, &serde_json::json!({ "status": "committed" })).await.unwrap();
    let kept = world.read("_baler/daily/runs/r/report.json").await.into_values().next().unwrap();
    assert!(kept.contains("\"version\": 1"), "{kept}");
    assert_eq!(ledger.read_report(&run).await.unwrap(), Some(serde_json::json!({ "status": "committed" })));
}

// --- Log and snapshots ---

/// Opens and aborts runs until the log has this many entries.
async fn fill(ledger: &Ledger, state: &mut LedgerState, entries: u64) {
    while state.head().0 < entries {
        let run = format!("r{}", state.head().0 / 2);
        let event = match state.head().0 % 2 {
            0 => opened(&run, b"", b""),
            _ => Event::Aborted { run: run_id(&run), reason: "asked".into() },
        };
        assert!(matches!(ledger.try_append(state, event).await.unwrap(), Appended::Ours(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn every_sixteenth_entry_is_put_again_and_no_other() {
    let (hook, puts) = counts(Method::PutIfAbsent, "/log/");
    let ledger = World::new().process(FLOW, Some(hook)).flow().ledger;
    let mut state = LedgerState::default();
    let mut seen = Vec::new();
    for entries in [15, 16, 17, 31, 32] {
        fill(&ledger, &mut state, entries).await;
        seen.push(puts.load(Ordering::SeqCst));
    }
    assert_eq!(seen, [15, 17, 18, 32, 34]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_accepts_an_entry_twice_stops_everything() {
    let world = World::new();
    let lake = world.lake.clone();
    // That the entry is gone for a moment looks to its author like a store that ignores the condition.
    let hook = at(Method::PutIfAbsent, "log/00000000000000000016", 2, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.delete(&fixtures::key("_baler/daily/log/00000000000000000016.json")).await.unwrap();
            Verdict::Proceed
        })
    });
    let ledger = world.process(FLOW, Some(hook)).flow().ledger;
    let mut state = LedgerState::default();
    fill(&ledger, &mut state, 15).await;
    let refused = ledger.try_append(&mut state, Event::Aborted { run: run_id("r7"), reason: "asked".into() }).await;
    let refused = refused.unwrap_err();
    assert!(matches!(refused, LedgerError::ConditionIgnored { .. }), "{refused}");
    assert_eq!(refused.kind(), Kind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn of_two_who_append_one_is_told_that_it_lost_and_knows_the_others_entry() {
    let world = World::new();
    let (hook, syncs) = counts(Method::Sync, "/log/");
    let (first, second) = (world.process(FLOW, None).flow().ledger, world.process(FLOW, Some(hook)).flow().ledger);
    let (mut ours, mut theirs) = (LedgerState::default(), LedgerState::default());
    second.sync_log(&theirs).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 0, "there is no entry yet");
    assert_eq!(first.try_append(&mut ours, opened("a", b"", b"")).await.unwrap(), Appended::Ours(LogSeq(1)));
    assert_eq!(second.try_append(&mut theirs, opened("b", b"", b"")).await.unwrap(), Appended::Lost);
    assert_eq!(syncs.load(Ordering::SeqCst), 1, "its author may have lost power");
    assert_eq!(theirs, ours);
    second.sync_log(&theirs).await.unwrap();
    assert_eq!(syncs.load(Ordering::SeqCst), 2);
    let order = second.try_append(&mut theirs, Event::Disposed { run: run_id("a"), sources_gone: false }).await;
    assert!(matches!(order, Err(LedgerError::Log { .. })), "it would break the log");
    assert_eq!(second.load().await.unwrap().head(), LogSeq(1));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_is_written_when_sixty_four_entries_lie_behind_the_last() {
    let world = World::new();
    let (hook, reads) = counts(Method::Get, "/log/");
    let ledger = world.process(FLOW, Some(hook)).flow().ledger;
    let mut state = LedgerState::default();
    let mut written = Vec::new();
    for entries in [63, 64, 65, 127, 128] {
        fill(&ledger, &mut state, entries).await;
        if entries % 2 == 0 {
            // Claims are read of runs that committed, of which there is none.
            assert_eq!(ledger.consumed(&state).await.unwrap().len(), 0);
        }
        ledger.snapshot_if_due(&state).await.unwrap();
        written.push(fixtures::list_all(&world.lake, "_baler/daily/snapshot/").await.unwrap().len());
    }
    assert_eq!(written, [0, 1, 1, 1, 2]);
    fill(&ledger, &mut state, 131).await;
    reads.store(0, Ordering::SeqCst);
    assert_eq!(ledger.load().await.unwrap(), state);
    assert_eq!(reads.load(Ordering::SeqCst), 3, "only what lies behind the newest snapshot is read");
    // The newest is torn: the one before it does.
    world.put("_baler/daily/snapshot/00000000000000000128.jsonl.zst", "torn").await;
    reads.store(0, Ordering::SeqCst);
    assert_eq!(ledger.load().await.unwrap(), state);
    assert_eq!(reads.load(Ordering::SeqCst), 131 - 64);
    world.put("_baler/daily/snapshot/00000000000000000064.jsonl.zst", "torn").await;
    assert_eq!(ledger.load().await.unwrap(), state);
}

#[tokio::test(start_paused = true)]
async fn a_disk_without_room_for_a_snapshot_fails_no_run_and_any_other_fault_does() {
    for (verdict, fails) in [(Verdict::NoRoom, false), (Verdict::FailBefore, true)] {
        let world = World::new();
        let hook = at(Method::PutIfAbsent, "/snapshot/", 1, move || Box::pin(std::future::ready(verdict)));
        let ledger = world.process(FLOW, Some(hook)).flow().ledger;
        let mut state = LedgerState::default();
        fill(&ledger, &mut state, 64).await;
        assert_eq!(ledger.snapshot_if_due(&state).await.is_err(), fails, "{verdict:?}");
        assert!(fixtures::list_all(&world.lake, "_baler/daily/snapshot/").await.unwrap().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_changes_nothing_of_what_is_consumed() {
    let world = World::new();
    let process = |after: &str| world.process(&format!("{FLOW}sources = {{ after_commit = \"{after}\" }}\n"), None);
    // Some runs keep their sources, some delete them; one releases a group, whose sources are taken by the next.
    for day in 0..18 {
        for n in 1..=2 {
            world.put(&format!("raw/d{day}/{n}.jsonl"), format!("{day}{n}\n")).await;
        }
        let process = process(if day % 3 == 0 { "delete" } else { "keep" });
        assert_eq!(process.run_one().await.status, Status::Committed);
    }
    let snapshots = fixtures::list_all(&world.lake, "_baler/daily/snapshot/").await.unwrap();
    assert_eq!(snapshots.len(), 1, "{snapshots:?}");
    let ledger = process("keep").flow().ledger;
    let with = ledger.load().await.unwrap();
    let consumed = ledger.consumed(&with).await.unwrap();
    assert_eq!((with.head(), consumed.len(), consumed.is_empty()), (LogSeq(72), 24, false));
    for object in fixtures::list_all(&world.lake, "raw/").await.unwrap() {
        assert!(consumed.contains(&object), "{object:?}");
    }
    world.lake.delete(&snapshots[0].key).await.unwrap();
    let without = ledger.load().await.unwrap();
    assert_eq!(without, with);
    let again = ledger.consumed(&without).await.unwrap();
    assert_eq!(format!("{again:?}"), format!("{consumed:?}"));
}

/// Commits a run that claims these keys.
async fn commits(world: &World, ledger: &Ledger, state: &mut LedgerState, run: &str, keys: &[&str]) {
    let claims: Vec<Claim> = keys.iter().map(|key| claim(key)).collect();
    let claims = plan_claims(&claims).to_bytes(&run_id(run));
    world.put(&format!("_baler/daily/runs/{run}/claims-{}.jsonl.zst", ContentHash::of(&claims)), claims.clone()).await;
    let seal = ContentHash::of(b"seal");
    let sealed = Event::Sealed { run: run_id(run), account: Account::default(), seal, released: Vec::new() };
    let committed = Event::Committed { run: run_id(run), objects: Vec::new() };
    for event in [opened(run, b"", &claims), sealed, committed] {
        assert!(matches!(ledger.try_append(state, event).await.unwrap(), Appended::Ours(_)));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_disposed_of_after_a_snapshot_leaves_the_consumed_set() {
    let world = World::new();
    let ledger = world.process(FLOW, None).flow().ledger;
    let mut state = LedgerState::default();
    commits(&world, &ledger, &mut state, "z", &["raw/z1", "raw/z2"]).await;
    commits(&world, &ledger, &mut state, "b", &["raw/b1", "raw/b2"]).await;
    commits(&world, &ledger, &mut state, "m", &["raw/m1", "raw/m2"]).await;
    for n in state.head().0.. {
        if state.head().0 >= 64 {
            break;
        }
        let event = match n % 2 {
            1 => opened(&format!("r{n}"), b"", b""),
            _ => Event::Aborted { run: run_id(&format!("r{}", n - 1)), reason: "asked".into() },
        };
        ledger.try_append(&mut state, event).await.unwrap();
    }
    ledger.snapshot_if_due(&state).await.unwrap();
    assert_eq!(ledger.consumed(&state).await.unwrap().len(), 6);
    for (run, sources_gone) in [("z", true), ("b", true), ("m", false)] {
        ledger.try_append(&mut state, Event::Disposed { run: run_id(run), sources_gone }).await.unwrap();
    }
    commits(&world, &ledger, &mut state, "a", &["raw/a1"]).await;
    let consumed = ledger.consumed(&state).await.unwrap();
    assert_eq!(consumed.len(), 3);
    for key in ["raw/a1", "raw/m1", "raw/m2"] {
        assert!(consumed.contains(&claim(key).input), "{key}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_there_already_is_ours_if_its_write_id_is() {
    let world = World::new();
    let ledger = || {
        let ids = Arc::new(baler_testkit::SeededIds::new(7));
        let flow = baler_model::FlowName::try_new("daily").unwrap();
        Ledger::new(Arc::new(world.lake.clone()), "_baler/", flow, world.clock.clone(), ids, "test/1".into())
    };
    let (mut first, mut again) = (LedgerState::default(), LedgerState::default());
    assert_eq!(ledger().try_append(&mut first, opened("a", b"", b"")).await.unwrap(), Appended::Ours(LogSeq(1)));
    // The reply was lost, and the very same write is made again.
    assert_eq!(ledger().try_append(&mut again, opened("a", b"", b"")).await.unwrap(), Appended::Ours(LogSeq(1)));
    assert_eq!(again, first);
}

#[tokio::test(start_paused = true)]
async fn a_removed_entry_is_a_gap_and_says_what_to_do() {
    let world = World::new();
    let ledger = world.process(FLOW, None).flow().ledger;
    let mut state = LedgerState::default();
    fill(&ledger, &mut state, 5).await;
    world.lake.delete(&fixtures::key("_baler/daily/log/00000000000000000003.json")).await.unwrap();
    let broken = ledger.load().await.unwrap_err();
    assert!(matches!(broken, LedgerError::Log { .. }), "{broken}");
    assert!(broken.hint().unwrap().contains("restore it"));
}
