//! `convert` is stopped at every single operation, before its effect and after it, while partitions are built anew and
//! swapped; the next process finishes. Live runs and backlogs race. No record of a committed source is ever missing from
//! its partition, none stands there twice, and readers see whole builds alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baler_engine::gc::{Effect, gc};
use baler_engine::plan::{Again, Ask};
use baler_engine::report::{RunReport, Status};
use baler_engine::run::{Withdraw, abort};
use baler_engine::{EngineError, engine};
use baler_store::Clock;
use baler_testkit::fault::{Hook, Verdict};
use jiff::SignedDuration;

use crate::world::{Process, World};

/// Months and days of one read; a record that is set aside in every object.
const FLOW: &str = r#"
[flows.days]
do = "convert"
from = "lake:in/{day:%Y-%m-%d}_{n:int}.jsonl"
schema = { columns = { id = "int64" } }
max_quarantined = "60%"
to = [
  { path = "lake:month/{partition:%Y-%m}.jsonl", partition = "month" },
  { path = "lake:day/{partition:%Y-%m-%d}.jsonl", partition = "day" },
]
"#;

fn line(id: u64) -> String {
    format!("{{\"id\":{id}}}\n")
}

/// The first build is committed; then objects come late, one is overwritten, and a new month begins.
async fn filled() -> World {
    let world = World::new();
    world.put("in/2026-01-01_1.jsonl", line(1) + "broken\n").await;
    world.put("in/2026-01-02_1.jsonl", line(2)).await;
    world.put("in/2026-01-03_1.jsonl", line(3)).await;
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    world.put("in/2026-01-02_2.jsonl", line(20)).await;
    world.put("in/2026-01-03_1.jsonl", line(30)).await;
    world.put("in/2026-02-01_1.jsonl", line(40)).await;
    world
}

/// What every output may hold: before, and after.
fn builds() -> BTreeMap<&'static str, [Vec<u64>; 2]> {
    BTreeMap::from([
        ("month/2026-01.jsonl", [vec![1, 2, 3], vec![1, 2, 20, 30]]),
        ("month/2026-02.jsonl", [vec![], vec![40]]),
        ("day/2026-01-01.jsonl", [vec![1], vec![1]]),
        ("day/2026-01-02.jsonl", [vec![2], vec![2, 20]]),
        ("day/2026-01-03.jsonl", [vec![3], vec![30]]),
        ("day/2026-02-01.jsonl", [vec![], vec![40]]),
    ])
}

async fn seen(world: &World) -> BTreeMap<String, Vec<u64>> {
    let id = |line: &str| line.trim_start_matches("{\"id\":").trim_end_matches('}').parse().unwrap();
    let mut all = world.read("month/").await;
    all.extend(world.read("day/").await);
    all.into_iter().map(|(key, text)| (key, text.lines().map(id).collect())).collect()
}

async fn assert_whole(world: &World, what: &str) {
    for (key, ids) in seen(world).await {
        assert!(builds()[key.as_str()].contains(&ids), "{what}: `{key}` holds {ids:?}");
    }
}

async fn assert_final(world: &World, what: &str) {
    let expected: BTreeMap<String, Vec<u64>> =
        builds().into_iter().map(|(key, [_, after])| (key.to_owned(), after)).collect();
    assert_eq!(seen(world).await, expected, "{what}");
}

/// Everything fails from operation `stop` on; that one itself before or after its effect.
pub(crate) fn stops_at(stop: u64, at: Verdict, seen: Arc<AtomicU64>) -> Hook {
    Arc::new(move |_| {
        let n = seen.fetch_add(1, Ordering::SeqCst);
        let verdict = match n.cmp(&stop) {
            std::cmp::Ordering::Less => Verdict::Proceed,
            std::cmp::Ordering::Equal => at,
            std::cmp::Ordering::Greater => Verdict::Hang,
        };
        Box::pin(std::future::ready(verdict))
    })
}

async fn crash_everywhere(at: Verdict) {
    let mut stop = 0;
    loop {
        let what = format!("{at:?} at {stop}");
        let world = filled().await;
        let calls = Arc::new(AtomicU64::new(0));
        let first = world.process(FLOW, Some(stops_at(stop, at, Arc::clone(&calls))));
        let died = tokio::time::timeout(Duration::from_secs(20), first.run()).await.is_err();
        assert_whole(&world, &what).await;
        for _ in 0..2 {
            for report in world.process(FLOW, None).run().await.unwrap_or_else(|e| panic!("{what}: {e:?}")) {
                assert!(matches!(report.status, Status::Committed | Status::Nothing), "{what}: {report:#?}");
            }
        }
        assert_final(&world, &what).await;
        let sweeper = world.process(FLOW, None);
        gc(&sweeper.flow(), &sweeper.state().await, SignedDuration::ZERO, Effect::Remove).await.unwrap();
        assert!(world.lake.upload_ids().is_empty(), "{what}: uploads are left");
        if !died && calls.load(Ordering::SeqCst) <= stop {
            break;
        }
        stop += 1;
    }
    assert!(stop > 50, "the run has {stop} operations: too few to have been cut everywhere");
}

#[tokio::test(start_paused = true)]
async fn crash_before_any_operation_of_a_rebuild_loses_and_doubles_nothing() {
    crash_everywhere(Verdict::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn crash_after_any_operation_of_a_rebuild_loses_and_doubles_nothing() {
    crash_everywhere(Verdict::HangAfter).await;
}

#[tokio::test(start_paused = true)]
async fn one_lost_reply_anywhere_in_a_rebuild_loses_and_doubles_nothing() {
    for verdict in [Verdict::FailBefore, Verdict::FailAfter] {
        let mut stop = 0;
        loop {
            let what = format!("{verdict:?} at {stop}");
            let world = filled().await;
            let calls = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&calls);
            let hook: Hook = Arc::new(move |_| {
                let n = counter.fetch_add(1, Ordering::SeqCst);
                Box::pin(std::future::ready(if n == stop { verdict } else { Verdict::Proceed }))
            });
            drop(world.process(FLOW, Some(hook)).run().await);
            assert_whole(&world, &what).await;
            for _ in 0..2 {
                drop(world.process(FLOW, None).run().await.unwrap_or_else(|e| panic!("{what}: {e:?}")));
            }
            assert_final(&world, &what).await;
            if calls.load(Ordering::SeqCst) <= stop {
                break;
            }
            stop += 1;
        }
    }
}

/// A process stops at some operation and wakes when another has gone on; objects come meanwhile.
#[tokio::test(start_paused = true)]
async fn a_late_attempt_changes_nothing_that_was_built_since() {
    let mut stop = 0;
    loop {
        let what = format!("asleep at {stop}");
        let world = filled().await;
        let calls = Arc::new(AtomicU64::new(0));
        let counter = Arc::clone(&calls);
        let awake = Arc::new(tokio::sync::Notify::new());
        let wakes = Arc::clone(&awake);
        let hook: Hook = Arc::new(move |_| {
            let n = counter.fetch_add(1, Ordering::SeqCst);
            let wakes = Arc::clone(&wakes);
            Box::pin(async move {
                if n == stop {
                    wakes.notified().await;
                }
                Verdict::Proceed
            })
        });
        let sleeper = world.process(FLOW, Some(hook));
        let (slept, ()) = tokio::join!(sleeper.run(), async {
            // Others go on as soon as it sleeps; where it never does, it is done by then.
            world.clock.sleep(Duration::from_secs(5)).await;
            drop(world.process(FLOW, None).run().await);
            world.put("in/2026-01-01_2.jsonl", line(50)).await;
            drop(world.process(FLOW, None).run().await);
            awake.notify_one();
        });
        drop(slept);
        for _ in 0..2 {
            for report in world.process(FLOW, None).run().await.unwrap_or_else(|e| panic!("{what}: {e:?}")) {
                assert!(matches!(report.status, Status::Committed | Status::Nothing), "{what}: {report:#?}");
            }
        }
        let ids = seen(&world).await;
        assert_eq!(ids["month/2026-01.jsonl"], [1, 50, 2, 20, 30], "{what}");
        assert_eq!(ids["day/2026-01-01.jsonl"], [1, 50], "{what}");
        assert_eq!(ids["month/2026-02.jsonl"], [40], "{what}");
        if calls.load(Ordering::SeqCst) <= stop {
            break;
        }
        stop += 1;
    }
    assert!(stop > 50, "the run has {stop} operations: too few to have slept everywhere");
}

/// Converts January again.
async fn backfill(process: &Process) -> Result<Vec<RunReport>, EngineError> {
    let (from, to) = ("2026-01-01T00:00:00Z".parse().unwrap(), "2026-02-01T00:00:00Z".parse().unwrap());
    engine::run_asked(&process.flow(), Ask { again: Again::Between(from, to), ..Ask::default() }).await
}

/// An operator aborts whatever is open; where that cannot be, nothing happens.
async fn abort_all(process: &Process) {
    process.env.clock.sleep(Duration::from_millis(13)).await;
    let flow = process.flow();
    let mut state = process.state().await;
    let open: Vec<_> = state.open_runs().map(|run| run.run.clone()).collect();
    for run in open {
        let _aborted_or_too_late = abort(&flow, &mut state, &run, Withdraw::No).await;
    }
}

/// Processes run at once while objects come, and are overwritten; one converts a month again, one aborts.
#[tokio::test(start_paused = true)]
async fn processes_that_race_build_every_partition_from_all_its_sources() {
    for round in 0..20u64 {
        let world = World::new();
        let mut latest: BTreeMap<String, u64> = BTreeMap::new();
        for step in 0..6u64 {
            for n in 0..3 {
                let key = format!("in/2026-01-0{}_{}.jsonl", 1 + (round + step + n) % 4, (step * n) % 3);
                let id = round * 1000 + step * 10 + n;
                world.put(&key, line(id)).await;
                latest.insert(key, id);
            }
            let clock = Arc::clone(&world.clock);
            let late: Hook = Arc::new(move |op| {
                let clock = Arc::clone(&clock);
                let pause = Duration::from_millis((op.key.len() as u64 * 7 + round * 3 + step) % 11);
                Box::pin(async move {
                    clock.sleep(pause).await;
                    Verdict::Proceed
                })
            });
            let (a, b) = (world.process(FLOW, Some(Arc::clone(&late))), world.process(FLOW, None));
            let (c, d) = (world.process(FLOW, Some(late)), world.process(FLOW, None));
            let (one, two, three, ()) = tokio::join!(a.run(), b.run(), backfill(&c), abort_all(&d));
            for report in one.unwrap().into_iter().chain(two.unwrap()).chain(three.unwrap()) {
                let fine = [Status::Committed, Status::Nothing, Status::Contended, Status::Aborted]
                    .contains(&report.status)
                    || report.failures.iter().all(|failure| failure.error.contains("is being written by an open run"));
                assert!(fine, "round {round}, step {step}: {report:#?}");
            }
        }
        for _ in 0..2 {
            drop(world.process(FLOW, None).run().await.unwrap());
        }
        let ids = seen(&world).await;
        let month: BTreeSet<u64> = ids["month/2026-01.jsonl"].iter().copied().collect();
        assert_eq!(month, latest.values().copied().collect(), "round {round}");
        assert_eq!(ids["month/2026-01.jsonl"].len(), month.len(), "round {round}: doubled");
        for (key, id) in &latest {
            let day = format!("day/{}.jsonl", &key[3..13]);
            assert_eq!(ids[&day].iter().filter(|known| *known == id).count(), 1, "round {round}: {key}");
        }
    }
}
