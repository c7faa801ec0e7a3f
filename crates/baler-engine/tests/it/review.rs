//! Interleavings that a model checker would try: a process that sleeps at the worst moment while others go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baler_engine::gc::{Effect, gc};
use baler_engine::ledger::RunStatus;
use baler_engine::ledger::decide::{Assume, Reach, reach};
use baler_engine::report::{RunReport, Status};
use baler_engine::run::{DriveOptions, Rival, Withdraw, abort};
use baler_engine::{EngineError, Flow, engine};
use baler_model::LogSeq;
use baler_store::{MemoryStore, Store};
use baler_testkit::fault::{Hook, Method, Verdict};
use baler_testkit::fixtures;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use tokio::sync::Notify;

use crate::world::{Process, World};

pub(crate) const FLOW: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
to = "lake:daily/{day}.jsonl"
"#;

pub(crate) const MANIFESTS: &str = r#"
[flows.jobs]
do = "combine"
on = { manifests = "lake:watch" }
from = "lake:{manifest.source}/{part:int}.json"
to = "lake:{manifest.target}"
"#;

pub(crate) async fn filled(days: &[&str]) -> World {
    let world = World::new();
    for day in days {
        for n in 1..=2 {
            world.put(&format!("raw/{day}/{n}.jsonl"), format!("{day}{n}\n")).await;
        }
    }
    world
}

pub(crate) fn options() -> DriveOptions {
    DriveOptions { rival: Rival::Join, ..DriveOptions::default() }
}

/// Right before the `nth` call (from 1) of a method on a key with this part in it, something happens, once.
pub(crate) fn at(
    method: Method,
    part: &'static str,
    nth: u64,
    happens: impl Fn() -> BoxFuture<'static, Verdict> + Send + Sync + 'static,
) -> Hook {
    let seen = AtomicU64::new(0);
    Arc::new(move |op| {
        let hit = op.method == method && op.key.contains(part) && seen.fetch_add(1, Ordering::SeqCst) + 1 == nth;
        if hit { happens() } else { Box::pin(std::future::ready(Verdict::Proceed)) }
    })
}

/// Several hooks; the first that does not let an operation proceed decides.
pub(crate) fn all(hooks: Vec<Hook>) -> Hook {
    let hooks = Arc::new(hooks);
    Arc::new(move |op| {
        let (hooks, op) = (Arc::clone(&hooks), op.clone());
        Box::pin(async move {
            for hook in hooks.iter() {
                match hook(&op).await {
                    Verdict::Proceed => {}
                    verdict => return verdict,
                }
            }
            Verdict::Proceed
        })
    })
}

/// The process stops for good at a call.
pub(crate) fn dies_at(method: Method, part: &'static str) -> Hook {
    at(method, part, 1, || Box::pin(std::future::ready(Verdict::Hang)))
}

/// Lets a process run until it ends or has been still for a while; a process that is still has died.
pub(crate) async fn run_or_die(process: &Process) -> Option<Vec<RunReport>> {
    tokio::time::timeout(Duration::from_secs(60), process.run()).await.ok().map(|reports| reports.unwrap())
}

/// The report of the run that was open, which the next process finishes first.
pub(crate) async fn resumed(world: &World, config: &str) -> RunReport {
    world.process(config, None).run().await.unwrap().remove(0)
}

/// Every upload at this key is lost, as by a lifecycle rule.
pub(crate) async fn expire(lake: &MemoryStore, key: &str) {
    for upload in lake.list_staged(key).await.unwrap().iter().filter(|u| u.key.as_str() == key) {
        assert!(lake.expire_upload(&upload.handle));
    }
}

pub(crate) fn expires_when_sealed(world: &World, key: &'static str) -> Hook {
    let lake = world.lake.clone();
    at(Method::PutIfAbsent, "log/00000000000000000002", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            expire(&lake, key).await;
            Verdict::Proceed
        })
    })
}

/// Where one process waits in a call while another goes on.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    arrived: Notify,
    open: Notify,
}

impl Gate {
    /// The hook that waits at the `nth` call of a method on a key with this part in it.
    pub(crate) fn hook(self: &Arc<Self>, method: Method, part: &'static str, nth: u64) -> Hook {
        let gate = Arc::clone(self);
        at(method, part, nth, move || {
            let gate = Arc::clone(&gate);
            Box::pin(async move {
                gate.wait().await;
                Verdict::Proceed
            })
        })
    }

    /// Waits here until what happens meanwhile has happened.
    pub(crate) async fn wait(&self) {
        self.arrived.notify_one();
        self.open.notified().await;
    }

    /// Runs one process; while it waits at the gate, something else happens.
    pub(crate) async fn meanwhile<T>(&self, waits: impl Future<Output = T>, happens: impl Future<Output = ()>) -> T {
        let happens = async {
            self.arrived.notified().await;
            happens.await;
            self.open.notify_one();
        };
        tokio::join!(waits, happens).0
    }
}

/// Another process drives the first run of its flow until it ends, or stops for good where its hook says.
pub(crate) async fn drives_the_run(process: &Process) {
    let run = process.state().await.runs()[0].run.clone();
    let flow = process.flow();
    drop(tokio::time::timeout(Duration::from_secs(60), engine::retry(&flow, &run, options())).await);
}

// --- Redo ---

#[tokio::test(start_paused = true)]
async fn a_slow_redo_never_marks_above_the_redo_of_another() {
    let world = filled(&["a"]).await;
    // The other process stages the lost upload again, seals anew, publishes, and dies before it commits.
    let other = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000004")));
    let gate = Arc::new(Gate::default());
    // Marks are listed when tasks begin, when sealing, and when a lost upload was found.
    let waits = gate.hook(Method::List, "/mark/", 3);
    let process = world.process(FLOW, Some(all(vec![expires_when_sealed(&world, "daily/a.jsonl"), waits])));
    let report = gate.meanwhile(process.run_one(), drives_the_run(&other)).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
    assert_eq!(process.state().await.head().0, 5, "Opened, Sealed, Sealed again, Committed, Disposed");
    assert!(world.lake.upload_ids().is_empty(), "nothing was staged a third time");
}

#[tokio::test(start_paused = true)]
async fn an_output_that_was_published_is_not_forgotten_when_another_of_its_task_is_staged_again() {
    let config = format!("{FLOW}redshift_manifest = true\n");
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = all(vec![
        expires_when_sealed(&world, "daily/a.jsonl"),
        // The manifest beside it is published; while the output itself is staged again, a consumer takes the manifest.
        at(Method::Stage, "daily/a.jsonl", 3, move || {
            let lake = lake.clone();
            Box::pin(async move {
                let manifest = fixtures::key("daily/a.jsonl.manifest");
                assert!(lake.head(&manifest).await.unwrap().is_some(), "the manifest is visible");
                lake.delete(&manifest).await.unwrap();
                Verdict::Proceed
            })
        }),
    ]);
    let report = world.process(&config, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert!(world.lake.peek("daily/a.jsonl.manifest").is_none(), "it would be consumed twice");
    let assumed = DriveOptions { assume: Assume::Published, ..options() };
    let run = report.run.unwrap();
    let done = engine::retry(&world.process(&config, None).flow(), &run, assumed).await.unwrap();
    assert_eq!(done.status, Status::Committed, "{done:#?}");
}

/// A slow worker that finds the sources gone aborts what the first mark names: the next mark must name none of it.
#[tokio::test(start_paused = true)]
async fn a_mark_made_again_names_no_upload_of_the_one_before() {
    let config = format!("{FLOW}redshift_manifest = true\n");
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = at(Method::StagedExists, "daily/a.jsonl", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            expire(&lake, "daily/a.jsonl").await;
            Verdict::Proceed
        })
    });
    let process = world.process(&config, Some(hook));
    assert_eq!(process.run_one().await.status, Status::Committed);
    let run = process.state().await.runs()[0].run.clone();
    let attempts = |generation: u32| {
        let mark =
            world.lake.peek(&format!("_baler/daily/runs/{run}/mark/0/0.{generation}.json")).expect("it was marked");
        let mark: serde_json::Value = serde_json::from_slice(&mark).unwrap();
        let outputs = mark["outcome"]["staged"]["outputs"].as_array().unwrap_or_else(|| panic!("{mark:#}"));
        outputs.iter().map(|output| output["stamp"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (before, after) = (attempts(0), attempts(1));
    assert_eq!((before.len(), after.len()), (2, 2));
    assert!(after.iter().all(|attempt| !before.contains(attempt)), "{before:?} {after:?}");
    assert!(world.lake.upload_ids().is_empty(), "and nothing of it is left behind");
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_while_staging_again_gives_nothing_up() {
    let world = filled(&["a", "b"]).await;
    let mut process = world.process(FLOW, None);
    let cancel = process.env.cancel.clone();
    let hook = all(vec![
        expires_when_sealed(&world, "daily/a.jsonl"),
        at(Method::Stage, "daily/a.jsonl", 2, move || {
            cancel.cancel();
            Box::pin(std::future::ready(Verdict::FailBefore))
        }),
    ]);
    let hooked = world.process(FLOW, Some(hook));
    process.env = baler_engine::Env { cancel: process.env.cancel.clone(), ..hooked.env };
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Interrupted, "{report:#?}");
    let report = resumed(&world, FLOW).await;
    assert_eq!((report.status, report.groups.failed), (Status::Committed, 0), "{report:#?}");
    assert_eq!(world.read("daily/").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_passing_failure_while_staging_again_gives_nothing_up() {
    let world = filled(&["a", "b"]).await;
    let hook = all(vec![
        expires_when_sealed(&world, "daily/a.jsonl"),
        at(Method::Stage, "daily/a.jsonl", 2, || Box::pin(std::future::ready(Verdict::FailBefore))),
    ]);
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!((report.status, report.groups.failed), (Status::Committed, 0), "{report:#?}");
    assert_eq!(world.read("daily/").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lasting_failure_while_staging_again_after_a_seal_leaves_the_run_open() {
    let world = filled(&["a", "b"]).await;
    let sealed = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&sealed);
    let fails: Hook = Arc::new(move |op| {
        if op.method == Method::PutIfAbsent && op.key.contains("log/00000000000000000002") {
            seen.store(true, Ordering::SeqCst);
        }
        let fails = op.method == Method::Stage && op.key == "daily/a.jsonl" && seen.load(Ordering::SeqCst);
        Box::pin(std::future::ready(if fails { Verdict::FailBefore } else { Verdict::Proceed }))
    });
    let hook = all(vec![expires_when_sealed(&world, "daily/a.jsonl"), fails]);
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    assert_ne!(report.status, Status::Committed, "{report:#?}");
    assert!(process.state().await.runs()[0].released.is_empty(), "only a source that is gone releases its group");
    let report = resumed(&world, FLOW).await;
    assert_eq!((report.status, report.groups.failed), (Status::Committed, 0), "{report:#?}");
    assert_eq!(world.read("daily/").await.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_lost_upload_whose_source_is_gone_releases_its_group_after_the_seal() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    let hook = all(vec![
        expires_when_sealed(&world, "daily/a.jsonl"),
        at(Method::PutIfAbsent, "log/00000000000000000002", 1, move || {
            let lake = lake.clone();
            Box::pin(async move {
                lake.delete(&fixtures::key("raw/a/1.jsonl")).await.unwrap();
                Verdict::Proceed
            })
        }),
    ]);
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    assert_eq!((report.status, report.groups.failed, report.groups.committed), (Status::Failed, 1, 1), "{report:#?}");
    assert_eq!(world.read("daily/").await.into_keys().collect::<Vec<_>>(), ["daily/b.jsonl"]);
    assert_eq!(process.state().await.runs()[0].released.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_output_whose_key_was_taken_for_a_moment_is_neither_lost_nor_blocked() {
    let world = filled(&["a"]).await;
    let (comes, goes) = (world.lake.clone(), world.lake.clone());
    let hook = all(vec![
        at(Method::Publish, "daily/a", 1, move || {
            let lake = comes.clone();
            Box::pin(async move {
                lake.put(&fixtures::key("daily/a.jsonl"), "foreign".into()).await.unwrap();
                Verdict::Proceed
            })
        }),
        at(Method::Confirm, "daily/a", 1, move || {
            let lake = goes.clone();
            Box::pin(async move {
                lake.delete(&fixtures::key("daily/a.jsonl")).await.unwrap();
                Verdict::Proceed
            })
        }),
    ]);
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
}

#[tokio::test(start_paused = true)]
async fn a_group_of_which_anything_was_published_is_not_released_when_its_source_is_gone() {
    let config = format!("{FLOW}redshift_manifest = true\n");
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = all(vec![
        expires_when_sealed(&world, "daily/a.jsonl"),
        at(Method::PutIfAbsent, "log/00000000000000000002", 1, move || {
            let lake = lake.clone();
            Box::pin(async move {
                lake.delete(&fixtures::key("raw/a/1.jsonl")).await.unwrap();
                Verdict::Proceed
            })
        }),
    ]);
    let process = world.process(&config, Some(hook));
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert!(process.state().await.runs()[0].released.is_empty(), "its manifest is visible");
}

// --- Seal ---

#[tokio::test(start_paused = true)]
async fn an_upload_that_expired_before_the_seal_is_never_sealed() {
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = at(Method::StagedExists, "daily/a", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            expire(&lake, "daily/a.jsonl").await;
            Verdict::Proceed
        })
    });
    let process = world.process(FLOW, Some(hook));
    assert_eq!(process.run_one().await.status, Status::Committed);
    assert_eq!(process.state().await.head().0, 4, "Opened, Sealed, Committed, Disposed");
}

#[tokio::test(start_paused = true)]
async fn a_group_whose_account_does_not_balance_is_given_up() {
    let world = filled(&["a", "b"]).await;
    assert!(
        run_or_die(&world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000002"))))
            .await
            .is_none()
    );
    for (key, body) in world.read("_baler/daily/runs/").await.into_iter().filter(|(key, _)| key.contains("/mark/0/0."))
    {
        assert!(body.contains("\"bytes_in\":6"), "{body}");
        world.put(&key, body.replace("\"bytes_in\":6", "\"bytes_in\":5")).await;
    }
    let report = resumed(&world, FLOW).await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    assert!(report.failures[0].error.contains("does not balance"), "{report:#?}");
    assert_eq!(report.outputs.iter().map(|o| o.key.as_str()).collect::<Vec<_>>(), ["daily/b.jsonl"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_sealer_finds_that_all_is_done_and_reports_no_broken_log() {
    let world = filled(&["a"]).await;
    let other = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(Method::StagedExists, "daily/a", 1)));
    let report = gate.meanwhile(process.run_one(), drives_the_run(&other)).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
}

#[tokio::test(start_paused = true)]
async fn marks_are_durable_before_a_seal_rests_on_them() {
    let world = filled(&["a", "b"]).await;
    let synced = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&synced);
    let hook: Hook = Arc::new(move |op| {
        match op.method {
            Method::Sync if op.key.contains("/mark/") => seen.store(true, Ordering::SeqCst),
            Method::PutIfAbsent if op.key.contains("log/00000000000000000002") => {
                assert!(seen.load(Ordering::SeqCst), "another process may have created the marks and lost power");
            }
            _ => {}
        }
        Box::pin(std::future::ready(Verdict::Proceed))
    });
    assert_eq!(world.process(FLOW, Some(hook)).run_one().await.status, Status::Committed);
}

// --- Open ---

/// Group `a` is blocked by a foreign object, group `b` was released: one of its sources changed.
pub(crate) async fn blocked_with_a_released_group(world: &World) {
    let lake = world.lake.clone();
    let changes = at(Method::Get, "raw/b/1", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("raw/b/1.jsonl"), "new\n".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let lake = world.lake.clone();
    let occupies = at(Method::PutIfAbsent, "log/00000000000000000002", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("daily/a.jsonl"), "foreign".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let process = world.process(FLOW, Some(all(vec![changes, occupies])));
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert_eq!(process.state().await.runs()[0].released.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_blocked_run_released_is_taken_by_the_next() {
    let world = filled(&["a", "b"]).await;
    blocked_with_a_released_group(&world).await;
    let reports = world.process(FLOW, None).run().await.unwrap();
    assert_eq!(reports[1].status, Status::Committed, "{:#?}", reports[1]);
    assert_eq!(world.read("daily/").await["daily/b.jsonl"], "new\nb2\n");
}

#[tokio::test(start_paused = true)]
async fn a_plan_older_than_a_release_is_made_again() {
    // The plan sees nothing of the rival: it is opened, releases a group and commits the other while this one plans.
    let world = filled(&["a", "b"]).await;
    let other = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(Method::PutIfAbsent, "/plan-", 1)));
    let report = gate.meanwhile(process.run_one(), async { drop(other.run_one().await) }).await;
    assert_eq!(report.status, Status::Nothing, "{report:#?}");
    assert_eq!(world.read("daily/").await.len(), 2);
    assert_eq!(other.state().await.runs().len(), 1, "the older plan was never opened");
}

#[tokio::test(start_paused = true)]
async fn a_plan_is_made_again_where_a_run_that_it_did_not_know_took_and_released_an_input() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    let changes = at(Method::Get, "raw/b/1", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("raw/b/1.jsonl"), "new\n".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let rival = world.process(FLOW, Some(changes));
    let only_b = FLOW.replace("raw/{day}", "raw/b").replace("daily/{day}", "daily/only_b");
    let gate = Arc::new(Gate::default());
    let process = world.process(&only_b, Some(gate.hook(Method::PutIfAbsent, "/plan-", 1)));
    let releases = async { assert_eq!(rival.run_one().await.groups.failed, 1) };
    let report = gate.meanwhile(process.run_one(), releases).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await["daily/only_b.jsonl"], "new\nb2\n");
}

#[tokio::test(start_paused = true)]
async fn a_rival_counts_while_it_holds_claims_and_after_every_entry_that_the_plan_did_not_know() {
    let world = filled(&["a"]).await;
    assert!(run_or_die(&world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/mark/")))).await.is_none());
    let process = world.process(FLOW, None);
    let (flow, mut state) = (process.flow(), process.state().await);
    let run = state.runs()[0].run.clone();
    assert_eq!(reach(&state.runs()[0], LogSeq(1)), Some(Reach::Held));
    assert_eq!(reach(&state.runs()[0], LogSeq(0)), Some(Reach::Everything));
    abort(&flow, &mut state, &run, Withdraw::No).await.unwrap();
    assert_eq!(reach(&state.runs()[0], LogSeq(2)), None);
    assert_eq!(reach(&state.runs()[0], LogSeq(1)), Some(Reach::Everything));
}

// --- Flows behind flows ---

const CHAIN: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
to = "lake:daily/{day}.jsonl"

[flows.all]
do = "combine"
from = "lake:daily/{day}.jsonl"
to = "lake:all/{count}.jsonl"
sources = { after_commit = "delete" }
"#;

#[tokio::test(start_paused = true)]
async fn outputs_of_a_flow_before_are_taken_only_when_they_are_committed() {
    let world = filled(&["a", "b"]).await;
    let first = world.process(CHAIN, Some(dies_at(Method::PutIfAbsent, "daily/log/00000000000000000003")));
    assert!(run_or_die(&first).await.is_none());
    assert_eq!(world.read("daily/").await.len(), 2, "published, and not yet committed");
    let second = world.process(CHAIN, None);
    let behind = Flow::open(&second.config, &second.config.flows[1], &second.env).unwrap();
    let reports = engine::run_flow(&behind).await.unwrap();
    assert_eq!(reports[0].status, Status::Nothing, "{reports:#?}");
    assert_eq!(resumed(&world, CHAIN).await.status, Status::Committed);
    let reports = engine::run_flow(&behind).await.unwrap();
    assert_eq!(reports[0].status, Status::Committed, "{reports:#?}");
    assert_eq!(world.read("all/").await["all/2.jsonl"], "a1\na2\nb1\nb2\n");
}

// --- Collecting garbage ---

#[tokio::test(start_paused = true)]
async fn a_planner_that_sleeps_for_days_finds_its_plan_again() {
    let world = filled(&["a"]).await;
    let sweeper = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let planner = world.process(FLOW, Some(gate.hook(Method::PutIfAbsent, "daily/log/00000000000000000001", 1)));
    let sweeps = async {
        let (flow, state) = (sweeper.flow(), sweeper.state().await);
        gc(&flow, &state, SignedDuration::ZERO, Effect::Remove).await.unwrap();
    };
    let report = gate.meanwhile(planner.run_one(), sweeps).await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
}

#[tokio::test(start_paused = true)]
async fn gc_leaves_alone_what_an_open_run_still_needs() {
    let world = filled(&["a", "b"]).await;
    blocked_with_a_released_group(&world).await;
    let uploads = world.lake.upload_ids();
    assert_eq!(uploads.len(), 1);
    let before = world.read("_baler/daily/").await;
    let sweeper = world.process(FLOW, None);
    gc(&sweeper.flow(), &sweeper.state().await, SignedDuration::ZERO, Effect::Remove).await.unwrap();
    assert_eq!(world.lake.upload_ids(), uploads);
    assert_eq!(world.read("_baler/daily/").await, before);
}

#[tokio::test(start_paused = true)]
async fn a_plan_that_was_refused_leaves_no_files() {
    let world = filled(&["a"]).await;
    let rival = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(Method::PutIfAbsent, "/plan-", 1)));
    let report = gate.meanwhile(process.run_one(), async { drop(rival.run_one().await) }).await;
    assert_eq!(report.status, Status::Nothing);
    let state = process.state().await;
    let run = format!("_baler/daily/runs/{}/", state.runs()[0].run);
    for key in world.read("_baler/daily/runs/").await.into_keys() {
        assert!(key.starts_with(&run), "`{key}` belongs to a plan that can never be opened");
    }
}

// --- Manifests ---

pub(crate) async fn job(world: &World, name: &str, body: &str) {
    world.put(&format!("watch/queue/{name}.json"), body.to_owned()).await;
}

#[tokio::test(start_paused = true)]
async fn a_manifest_whose_run_another_process_executes_is_no_failure() {
    let world = World::new();
    world.put("in/1.json", "1\n").await;
    world.put("in/2.json", "2\n").await;
    job(&world, "x", r#"{"source":"in","target":"out/x.json","fileCount":2}"#).await;
    let mut first = world.process(MANIFESTS, Some(dies_at(Method::PutIfAbsent, "/mark/")));
    first.env.identity.process = "alive".into();
    assert!(run_or_die(&first).await.is_none());
    let reports = world.process(MANIFESTS, None).run().await.unwrap();
    assert_eq!(reports[0].status, Status::Contended, "{reports:#?}");
    assert!(reports.iter().all(|r| r.status != Status::Failed), "{reports:#?}");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_released_a_group_is_run_again_for_the_rest() {
    for after in ["keep", "delete"] {
        let config = format!("{MANIFESTS}sources = {{ after_commit = \"{after}\" }}\n");
        let config = config.replace("{manifest.target}", "{manifest.target}_{index}.json");
        let world = World::new();
        for n in 1..=4 {
            world.put(&format!("in/{n}.json"), format!("{n}\n")).await;
        }
        job(&world, "x", r#"{"source":"in","target":"out/x","fileCount":4,"maxFileSize":4}"#).await;
        let lake = world.lake.clone();
        let hook = at(Method::Get, "in/3.json", 1, move || {
            let lake = lake.clone();
            Box::pin(async move {
                lake.put(&fixtures::key("in/3.json"), "5\n".into()).await.unwrap();
                Verdict::Proceed
            })
        });
        let report = world.process(&config, Some(hook)).run_one().await;
        assert_eq!((report.status, report.groups.failed), (Status::Failed, 1), "{report:#?}");
        let report = world.process(&config, None).run_one().await;
        assert_eq!(report.status, Status::Committed, "{after}: {report:#?}");
        let out = world.read("out/").await;
        assert_eq!(out.values().map(String::as_str).collect::<String>(), "1\n2\n5\n4\n", "{after}");
        assert!(world.read("watch/queue/").await.is_empty());
        assert_eq!(world.read("watch/done/").await.len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_manifest_that_is_overwritten_while_it_is_read_is_not_run_under_the_older_identity() {
    let world = World::new();
    for n in 1..=2 {
        world.put(&format!("in/{n}.json"), format!("{n}\n")).await;
        world.put(&format!("other/{n}.json"), format!("o{n}\n")).await;
    }
    job(&world, "x", r#"{"source":"in","target":"out/x.json","fileCount":2}"#).await;
    let lake = world.lake.clone();
    let hook = at(Method::Get, "watch/queue/x.json", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            let body = r#"{"source":"other","target":"out/y.json","fileCount":2}"#;
            lake.put(&fixtures::key("watch/queue/x.json"), body.into()).await.unwrap();
            Verdict::Proceed
        })
    });
    for process in [world.process(MANIFESTS, Some(hook)), world.process(MANIFESTS, None)] {
        for report in process.run().await.unwrap() {
            assert!(matches!(report.status, Status::Committed | Status::Nothing), "{report:#?}");
        }
    }
    assert_eq!(world.read("out/").await["out/y.json"], "o1\no2\n");
    assert!(world.read("watch/queue/").await.is_empty(), "what was run is what was taken out of the queue");
}

#[tokio::test(start_paused = true)]
async fn a_manifest_whose_run_was_aborted_is_run_again_and_one_that_is_done_is_not() {
    let world = World::new();
    world.put("in/1.json", "1\n").await;
    world.put("in/2.json", "2\n").await;
    let body = r#"{"source":"in","target":"out/x.json","fileCount":2}"#;
    job(&world, "x", body).await;
    let first = world.process(MANIFESTS, Some(dies_at(Method::PutIfAbsent, "/mark/")));
    assert!(run_or_die(&first).await.is_none());
    let operator = world.process(MANIFESTS, None);
    let (flow, mut state) = (operator.flow(), operator.state().await);
    let run = state.runs()[0].run.clone();
    abort(&flow, &mut state, &run, Withdraw::No).await.unwrap();
    assert_eq!(operator.run_one().await.status, Status::Committed);
    assert_eq!(operator.state().await.runs().iter().map(|r| r.generation).collect::<Vec<_>>(), [0, 1]);
}

// --- Disposing ---

#[tokio::test(start_paused = true)]
async fn versions_that_are_gone_leave_the_consumed_set_and_kept_ones_never() {
    for (after, consumed) in [("keep", 2), ("delete", 0)] {
        let world = filled(&["a"]).await;
        let process = world.process(&format!("{FLOW}sources = {{ after_commit = \"{after}\" }}\n"), None);
        assert_eq!(process.run_one().await.status, Status::Committed);
        let set = process.flow().ledger.consumed(&process.state().await).await.unwrap();
        assert_eq!(set.len(), consumed, "{after}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_whose_place_in_the_archive_is_taken_stays() {
    let config = format!("{FLOW}sources = {{ after_commit = \"archive\", archive_to = \"lake:old/\" }}\n");
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook: Hook = Arc::new(move |op| {
        let (lake, op) = (lake.clone(), op.clone());
        Box::pin(async move {
            if op.method == Method::Publish && op.key.starts_with("old/") && op.key.ends_with("a/1.jsonl") {
                lake.put(&fixtures::key(&op.key), "x1\n".into()).await.unwrap();
            }
            Verdict::Proceed
        })
    });
    let process = world.process(&config, Some(hook));
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(report.failures[0].error.contains("is taken by another object"), "{report:#?}");
    assert_eq!(world.read("raw/").await.into_keys().collect::<Vec<_>>(), ["raw/a/1.jsonl"]);
    assert_eq!(process.state().await.runs()[0].status, RunStatus::Committed, "it is tried again");
}

// --- Operators ---

#[tokio::test(start_paused = true)]
async fn a_run_whose_output_a_consumer_may_have_cannot_be_withdrawn() {
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = at(Method::Confirm, "daily/a", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.delete(&fixtures::key("daily/a.jsonl")).await.unwrap();
            Verdict::Proceed
        })
    });
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    let operator = world.process(FLOW, None);
    let (flow, mut state) = (operator.flow(), operator.state().await);
    let refused =
        abort(&flow, &mut state, &report.run.unwrap(), Withdraw::Yes { assume: Assume::Nothing }).await.unwrap_err();
    assert!(refused.to_string().contains("may have published `daily/a.jsonl`, which is gone"), "{refused}");
    assert_eq!(operator.state().await.runs()[0].status, RunStatus::Sealed);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_replaced_an_object_cannot_be_withdrawn() {
    let config = format!("{FLOW}overwrite = true\n");
    let world = filled(&["a", "b"]).await;
    world.put("daily/a.jsonl", "foreign").await;
    let lake = world.lake.clone();
    let hook = at(Method::PutIfAbsent, "log/00000000000000000002", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("daily/b.jsonl"), "foreign".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let report = world.process(&config, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    let operator = world.process(&config, None);
    let (flow, mut state) = (operator.flow(), operator.state().await);
    let refused =
        abort(&flow, &mut state, &report.run.unwrap(), Withdraw::Yes { assume: Assume::Nothing }).await.unwrap_err();
    assert!(refused.to_string().contains("may have replaced `daily/a.jsonl`"), "{refused}");
}

#[tokio::test(start_paused = true)]
async fn a_withdrawal_deletes_its_own_version_only() {
    let world = filled(&["a"]).await;
    let died = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000003")));
    assert!(run_or_die(&died).await.is_none());
    assert_eq!(world.read("daily/").await.len(), 1);
    let lake = world.lake.clone();
    let hook = at(Method::DeleteIf, "daily/a", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("daily/a.jsonl"), "foreign".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let operator = world.process(FLOW, Some(hook));
    // Somebody may have read ours before he wrote over it.
    let refused = withdraw(&operator, Assume::Nothing).await.unwrap_err();
    assert!(refused.to_string().contains("somebody may have taken `daily/a.jsonl` away"), "{refused}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "foreign");
    assert_eq!(operator.state().await.runs()[0].status, RunStatus::Withdrawing);
    withdraw(&operator, Assume::Lost).await.unwrap();
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "foreign");
    assert_eq!(operator.state().await.runs()[0].status, RunStatus::Aborted);
}

/// Takes the only run back.
pub(crate) async fn withdraw(operator: &Process, assume: Assume) -> Result<(), EngineError> {
    let (flow, mut state) = (operator.flow(), operator.state().await);
    let run = state.runs()[0].run.clone();
    abort(&flow, &mut state, &run, Withdraw::Yes { assume }).await
}

/// The consumer comes between the look at the keys and the entry that stops publishing: were the claims freed, the records
/// that he took would be delivered again.
#[tokio::test(start_paused = true)]
async fn an_output_taken_while_its_run_is_being_withdrawn_keeps_its_claims() {
    let world = filled(&["a", "b"]).await;
    let died = world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "log/00000000000000000003")));
    assert!(run_or_die(&died).await.is_none());
    let lake = world.lake.clone();
    let hook = at(Method::PutIfAbsent, "log/00000000000000000003", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.delete(&fixtures::key("daily/a.jsonl")).await.unwrap();
            Verdict::Proceed
        })
    });
    let refused = withdraw(&world.process(FLOW, Some(hook)), Assume::Nothing).await.unwrap_err();
    assert!(refused.to_string().contains("somebody may have taken `daily/a.jsonl` away"), "{refused}");
    assert!(refused.hint().is_some_and(|hint| hint.contains("--withdraw --assume lost")), "{refused:?}");
    assert!(world.read("daily/").await.is_empty(), "b was taken back");
    let reports = world.process(FLOW, None).run().await.unwrap();
    assert_eq!(reports[0].status, Status::Blocked, "{reports:#?}");
    assert!(reports[0].failures[0].error.contains("`daily/a.jsonl` was being taken back"), "{reports:#?}");
    assert_eq!(world.process(FLOW, None).state().await.runs().len(), 1, "its sources are not taken again");
}

/// Nothing is asked where everything can be told: one output is visible, the other's key was taken by somebody.
#[tokio::test(start_paused = true)]
async fn a_blocked_run_is_withdrawn_without_a_question() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    let hook = at(Method::PutIfAbsent, "log/00000000000000000002", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("daily/b.jsonl"), "foreign".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    assert_eq!(world.process(FLOW, Some(hook)).run_one().await.status, Status::Blocked);
    let operator = world.process(FLOW, None);
    withdraw(&operator, Assume::Nothing).await.unwrap();
    assert_eq!(operator.state().await.runs()[0].status, RunStatus::Aborted);
    assert_eq!(world.read("daily/").await.into_values().collect::<Vec<_>>(), ["foreign"]);
}

#[tokio::test(start_paused = true)]
async fn a_run_that_is_not_sealed_can_be_aborted_after_its_store_was_moved() {
    let world = filled(&["a"]).await;
    assert!(run_or_die(&world.process(FLOW, Some(dies_at(Method::PutIfAbsent, "/mark/")))).await.is_none());
    let moved = world.process(&FLOW.replace("to = \"lake:", "to = \"other:"), None);
    let (flow, mut state) = (moved.flow(), moved.state().await);
    let run = state.runs()[0].run.clone();
    abort(&flow, &mut state, &run, Withdraw::No).await.unwrap();
    assert_eq!(moved.state().await.runs()[0].status, RunStatus::Aborted);
    assert_eq!(moved.run_one().await.status, Status::Committed);
}

/// A publisher passed all its checks and completes when the withdrawal is long over.
#[tokio::test(start_paused = true)]
async fn a_late_publisher_reveals_nothing_of_a_withdrawn_run() {
    let world = filled(&["a"]).await;
    let operator = world.process(FLOW, None);
    let gate = Arc::new(Gate::default());
    let process = world.process(FLOW, Some(gate.hook(Method::Publish, "daily/a", 1)));
    let withdraws = async {
        let (flow, mut state) = (operator.flow(), operator.state().await);
        let run = state.runs()[0].run.clone();
        abort(&flow, &mut state, &run, Withdraw::Yes { assume: Assume::Nothing }).await.unwrap();
    };
    let report = gate.meanwhile(process.run_one(), withdraws).await;
    assert_eq!(report.status, Status::Aborted, "{report:#?}");
    assert!(world.read("daily/").await.is_empty());
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
}

// --- Joining ---

#[tokio::test(start_paused = true)]
async fn a_small_object_that_is_not_the_header_is_never_left_out() {
    let config = r#"
[flows.csv]
do = "combine"
from = "lake:raw/{n:int}.csv"
to = "lake:out/all.csv"
header = "first"
"#;
    for small in ["2,b\n", "2,banana\n", "id,nam3\n"] {
        let world = World::new();
        world.put("raw/1.csv", "id,name\n1,a\n").await;
        world.put("raw/2.csv", small).await;
        let report = world.process(config, None).run_one().await;
        assert_eq!(report.status, Status::Failed, "{small:?}: {report:#?}");
        assert!(report.failures[0].error.contains("`raw/2.csv` begins with"), "{report:#?}");
        assert!(world.read("out/").await.is_empty());
    }
}
