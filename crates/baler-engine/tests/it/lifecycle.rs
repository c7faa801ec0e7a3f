//! Claims, failing groups, blocked runs and their ways out.

use std::sync::Arc;

use baler_engine::ledger::RunStatus;
use baler_engine::ledger::decide::Assume;
use baler_engine::report::Status;
use baler_engine::run::{DriveOptions, Foreign, Rival, Withdraw, abort};
use baler_engine::{engine, verify};
use baler_store::{Clock, ListRequest, Store};
use baler_testkit::fault::{Hook, Method, Verdict};
use baler_testkit::fixtures;

use crate::world::World;

const FLOW: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
to = "lake:daily/{day}.jsonl"
"#;

async fn filled(days: &[&str]) -> World {
    let world = World::new();
    for day in days {
        for n in 1..=2 {
            world.put(&format!("raw/{day}/{n}.jsonl"), format!("{day}{n}\n")).await;
        }
    }
    world
}

/// Something happens to the world right before the first call of a method on a key with this part in it.
fn before(method: Method, part: &'static str, happens: impl Fn() -> Verdict + Send + Sync + 'static) -> Hook {
    Arc::new(move |op| {
        let verdict = if op.method == method && op.key.contains(part) { happens() } else { Verdict::Proceed };
        Box::pin(std::future::ready(verdict))
    })
}

fn options() -> DriveOptions {
    DriveOptions { rival: Rival::Join, ..DriveOptions::default() }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changed_gives_up_its_group_and_no_other() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    let hook = before(Method::Get, "raw/a/1", move || {
        let lake = lake.clone();
        futures::executor::block_on(async move {
            lake.put(&fixtures::key("raw/a/1.jsonl"), "changed\n".into()).await.unwrap();
        });
        Verdict::Proceed
    });
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Failed);
    assert_eq!((report.groups.committed, report.groups.failed), (1, 1));
    let failure = &report.failures[0];
    assert!(failure.error.contains("`raw/a/1.jsonl`") && failure.error.contains("changed"), "{failure:?}");
    assert_eq!(world.read("daily/").await.len(), 1);
    // Its inputs are free again: the next run takes them, in their new version.
    let next = world.process(FLOW, None).run_one().await;
    assert_eq!(next.status, Status::Committed, "{next:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "changed\na2\n");
}

#[tokio::test(start_paused = true)]
async fn a_source_that_vanished_gives_up_its_group() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    let hook = before(Method::Get, "raw/a/1", move || {
        futures::executor::block_on(lake.delete(&fixtures::key("raw/a/1.jsonl"))).unwrap();
        Verdict::Proceed
    });
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1));
    assert!(report.failures[0].error.contains("no object `raw/a/1.jsonl`"), "{:?}", report.failures);
}

#[tokio::test(start_paused = true)]
async fn when_every_group_fails_the_run_is_aborted_and_its_claims_are_free() {
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = before(Method::Get, "raw/a/1", move || {
        futures::executor::block_on(lake.put(&fixtures::key("raw/a/1.jsonl"), "new\n".into())).unwrap();
        Verdict::Proceed
    });
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    assert_eq!((report.status, report.groups.failed), (Status::Failed, 1));
    let state = process.state().await;
    assert_eq!(state.runs()[0].status, RunStatus::Aborted);
    assert!(world.lake.upload_ids().is_empty(), "its upload is gone");
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
}

#[tokio::test(start_paused = true)]
async fn a_foreign_output_is_refused_when_planning_and_named() {
    let world = filled(&["a", "b"]).await;
    world.put("daily/a.jsonl", "somebody else's").await;
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1));
    assert_eq!(report.failures[0].error, "`daily/a.jsonl` exists and is not Baler's");
    assert!(report.failures[0].hint.as_ref().unwrap().contains("overwrite = true"));
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "somebody else's");
    let overwriting = format!("{FLOW}overwrite = true\n");
    assert_eq!(world.process(&overwriting, None).run_one().await.status, Status::Committed);
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
}

#[tokio::test(start_paused = true)]
async fn overwrite_never_replaces_an_output_of_our_own() {
    let overwriting = format!("{FLOW}overwrite = true\n");
    let world = filled(&["a"]).await;
    assert_eq!(world.process(&overwriting, None).run_one().await.status, Status::Committed);
    world.put("raw/a/3.jsonl", "late3\n").await;
    world.put("raw/a/4.jsonl", "late4\n").await;
    let report = world.process(&overwriting, None).run_one().await;
    assert_eq!(report.status, Status::Failed);
    assert!(report.failures[0].error.contains("of this flow wrote it"), "{:?}", report.failures);
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
}

#[tokio::test(start_paused = true)]
async fn late_objects_make_a_further_output_where_index_numbers_them() {
    let indexed = FLOW.replace("daily/{day}.jsonl", "daily/{day}_{index}.jsonl");
    let world = filled(&["a"]).await;
    assert_eq!(world.process(&indexed, None).run_one().await.status, Status::Committed);
    world.put("raw/a/3.jsonl", "late3\n").await;
    world.put("raw/a/4.jsonl", "late4\n").await;
    assert_eq!(world.process(&indexed, None).run_one().await.status, Status::Committed);
    let daily = world.read("daily/").await;
    assert_eq!(daily["daily/a_0.jsonl"], "a1\na2\n");
    assert_eq!(daily["daily/a_1.jsonl"], "late3\nlate4\n");
}

/// A foreign object appears between plan and publish.
async fn blocked(world: &World) -> baler_model::RunId {
    let lake = world.lake.clone();
    let hook = before(Method::Publish, "daily/a", move || {
        futures::executor::block_on(lake.put(&fixtures::key("daily/a.jsonl"), "foreign".into())).unwrap();
        Verdict::Proceed
    });
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Blocked, "{report:#?}");
    assert!(report.failures[0].error.contains("`daily/a.jsonl` is there already"), "{:?}", report.failures);
    report.run.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_blocked_run_can_be_retried_with_overwrite() {
    let world = filled(&["a", "b"]).await;
    let run = blocked(&world).await;
    let process = world.process(FLOW, None);
    let again = engine::retry(&process.flow(), &run, options()).await.unwrap();
    assert_eq!(again.status, Status::Blocked);
    let replace = DriveOptions { foreign: Foreign::Replace, ..options() };
    let done = engine::retry(&process.flow(), &run, replace).await.unwrap();
    assert_eq!(done.status, Status::Committed, "{done:#?}");
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], "a1\na2\n");
}

#[tokio::test(start_paused = true)]
async fn a_blocked_run_can_be_withdrawn_and_leaves_nothing_of_its_own() {
    let world = filled(&["a", "b"]).await;
    let run = blocked(&world).await;
    let process = world.process(FLOW, None);
    let (flow, mut state) = (process.flow(), process.state().await);
    let refused = abort(&flow, &mut state, &run, Withdraw::No).await.unwrap_err();
    assert!(refused.to_string().contains("is sealed"), "{refused}");
    abort(&flow, &mut state, &run, Withdraw::Yes { assume: Assume::Nothing }).await.unwrap();
    assert_eq!(process.state().await.run(&run).unwrap().status, RunStatus::Aborted);
    let daily = world.read("daily/").await;
    assert_eq!(daily.into_iter().collect::<Vec<_>>(), [("daily/a.jsonl".into(), "foreign".into())]);
    assert!(world.lake.upload_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_stuck_run_never_keeps_others_from_being_planned() {
    let world = filled(&["a"]).await;
    let run = blocked(&world).await;
    world.put("raw/c/1.jsonl", "c1\n").await;
    world.put("raw/c/2.jsonl", "c2\n").await;
    let reports = world.process(FLOW, None).run().await.unwrap();
    assert_eq!(reports.len(), 2);
    assert_eq!((reports[0].status, reports[0].run.as_ref()), (Status::Blocked, Some(&run)));
    assert_eq!(reports[1].status, Status::Committed);
    assert_eq!(world.read("daily/c").await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_expired_before_publishing_is_staged_again() {
    let world = filled(&["a", "b"]).await;
    let lake = world.lake.clone();
    // Sealed, then every upload expires before the first `pub/…`.
    let hook = before(Method::PutIfAbsent, "log/00000000000000000002", move || {
        for id in lake.upload_ids() {
            lake.expire_upload(&id);
        }
        Verdict::Proceed
    });
    let process = world.process(FLOW, Some(hook));
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("daily/").await.len(), 2);
    let seals = process.state().await;
    assert_eq!(seals.head().0, 5, "Opened, Sealed, Sealed again, Committed, Disposed");
}

#[tokio::test(start_paused = true)]
async fn an_output_that_vanished_while_publishing_blocks_until_an_operator_says_which() {
    for assume in [Assume::Lost, Assume::Published] {
        let world = filled(&["a"]).await;
        // The upload is completed and a consumer takes the output away before the confirmation; the reply is lost too.
        let lake = world.lake.clone();
        let hook = before(Method::Confirm, "daily/a", move || {
            futures::executor::block_on(lake.delete(&fixtures::key("daily/a.jsonl"))).unwrap();
            Verdict::Proceed
        });
        let report = world.process(FLOW, Some(hook)).run_one().await;
        assert_eq!(report.status, Status::Blocked, "{report:#?}");
        let run = report.run.unwrap();
        assert!(report.failures[0].hint.as_ref().unwrap().contains("--assume"));
        let process = world.process(FLOW, None);
        let assumed = DriveOptions { assume, ..options() };
        let done = engine::retry(&process.flow(), &run, assumed).await.unwrap();
        assert_eq!(done.status, Status::Committed, "{assume:?}: {done:#?}");
        let there = world.read("daily/").await.len();
        assert_eq!(there, if assume == Assume::Lost { 1 } else { 0 });
    }
}

#[tokio::test(start_paused = true)]
async fn an_overwritten_source_is_kept_when_sources_are_deleted() {
    let deleting = format!("{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = before(Method::DeleteIf, "raw/a/1", move || {
        futures::executor::block_on(lake.put(&fixtures::key("raw/a/1.jsonl"), "newer\n".into())).unwrap();
        Verdict::Proceed
    });
    let report = world.process(&deleting, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Committed);
    let raw = world.read("raw/").await;
    assert_eq!(raw.into_iter().collect::<Vec<_>>(), [("raw/a/1.jsonl".into(), "newer\n".into())]);
}

#[tokio::test(start_paused = true)]
async fn sources_wait_for_their_delay() {
    let deleting = format!("{FLOW}sources = {{ after_commit = \"delete\", delay = \"1h\" }}\n");
    let world = filled(&["a"]).await;
    let report = world.process(&deleting, None).run_one().await;
    assert_eq!(report.status, Status::Committed);
    assert_eq!(world.read("raw/").await.len(), 2);
    tokio::time::advance(std::time::Duration::from_secs(3601)).await;
    world.process(&deleting, None).run().await.unwrap();
    assert!(world.read("raw/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn two_processes_at_once_make_each_output_once() {
    for seed in 0..30 {
        let world = filled(&["a", "b", "c"]).await;
        let mut random = baler_testkit::SplitMix::new(seed);
        let delays: Vec<u64> = (0..4000).map(|_| random.below(3)).collect();
        let hook = |offset: usize| -> Hook {
            let (delays, clock) = (delays.clone(), Arc::clone(&world.clock));
            Arc::new(move |op| {
                let delay = delays[(op.index as usize * 7 + offset) % delays.len()];
                let clock = Arc::clone(&clock);
                Box::pin(async move {
                    clock.sleep(std::time::Duration::from_millis(delay)).await;
                    Verdict::Proceed
                })
            })
        };
        let (one, two) = (world.process(FLOW, Some(hook(1))), world.process(FLOW, Some(hook(2))));
        let (a, b) = tokio::join!(one.run(), two.run());
        let reports: Vec<_> = a.unwrap().into_iter().chain(b.unwrap()).collect();
        let committed = reports.iter().filter(|r| r.status == Status::Committed).count();
        assert!(committed >= 1, "seed {seed}: {reports:#?}");
        let daily = world.read("daily/").await;
        assert_eq!(daily.len(), 3, "seed {seed}");
        assert_eq!(daily["daily/a.jsonl"], "a1\na2\n");
    }
}

#[tokio::test(start_paused = true)]
async fn verify_proves_a_run_and_notices_a_changed_output() {
    let world = filled(&["a", "b"]).await;
    let process = world.process(FLOW, None);
    let run = process.run_one().await.run.unwrap();
    let (flow, state) = (process.flow(), process.state().await);
    let verified = verify::verify(&flow, &state, &run).await.unwrap();
    assert!(verified.proven, "{verified:#?}");
    assert!(verified.outputs.iter().all(|o| o.evidence == Some(verify::Evidence::Sources)));
    world.put("daily/a.jsonl", "a1\naX\n").await;
    let verified = verify::verify(&flow, &state, &run).await.unwrap();
    assert!(!verified.proven);
    assert!(verified.outputs[0].problem.as_ref().unwrap().contains("overwritten"), "{verified:#?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_of_the_ledger_lists_under_the_target() {
    let world = filled(&["a"]).await;
    world.process(FLOW, None).run_one().await;
    let request = ListRequest { prefix: "daily/".into(), ..ListRequest::default() };
    assert_eq!(world.lake.list(&request).await.unwrap().objects.len(), 1);
}
