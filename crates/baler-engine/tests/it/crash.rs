//! A process stops at every single operation in turn, before its effect and after it; the next one finishes the work.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baler_engine::gc::{Effect, gc};
use baler_engine::report::Status;
use baler_testkit::fault::{Hook, Verdict};

use jiff::SignedDuration;

use crate::world::{SMALL_PARTS, World};

const DELETE: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day:%Y-%m-%d}/{n:int}.jsonl"
to = "lake:daily/{day:%Y-%m-%d}.jsonl"
sources = { after_commit = "delete" }
"#;

const ARCHIVE: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day:%Y-%m-%d}/{n:int}.jsonl"
to = "other:daily/{day:%Y-%m-%d}.jsonl"
redshift_manifest = true
sources = { after_commit = "archive", archive_to = "lake:old/" }
"#;

/// Everything fails from operation `stop` on; that one itself before or after its effect.
fn stops_at(stop: u64, at: Verdict, seen: Arc<AtomicU64>) -> Hook {
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

async fn filled() -> World {
    let world = World::with_parts(SMALL_PARTS);
    for day in 1..=2 {
        for n in 1..=3 {
            let line = format!("{{\"day\":{day},\"n\":{n},\"fill\":\"{}\"}}\n", "x".repeat(n * 30));
            world.put(&format!("raw/2026-01-0{day}/{n}.jsonl"), line).await;
        }
    }
    world
}

fn target_uploads(config: &str, world: &World) -> Vec<String> {
    if config.contains("other:daily") { world.other.upload_ids() } else { world.lake.upload_ids() }
}

async fn crash_everywhere(config: &str, at: Verdict) {
    let reference = filled().await;
    let mut expected: Vec<String> = reference.read("raw/").await.into_values().collect();
    expected.sort();
    let mut stop = 0;
    loop {
        let world = filled().await;
        let seen = Arc::new(AtomicU64::new(0));
        let first = world.process(config, Some(stops_at(stop, at, Arc::clone(&seen))));
        // A process that hangs is one that died: it is dropped after an hour of its time.
        let died = tokio::time::timeout(std::time::Duration::from_secs(20), first.run()).await.is_err();
        let target = if config.contains("other:daily") { &world.other } else { &world.lake };
        // Nothing unsealed and nothing partial is ever visible.
        let visible = baler_testkit::fixtures::read_all(target, "daily/").await.unwrap();
        for (key, body) in visible.iter().filter(|(key, _)| key.ends_with(".jsonl")) {
            assert_eq!(body.iter().filter(|b| **b == b'\n').count(), 3, "stop {stop}: partial {key}");
        }
        // Later processes finish, whatever the first left behind.
        for _ in 0..2 {
            for report in world.process(config, None).run().await.unwrap_or_else(|e| panic!("stop {stop}: {e:?}")) {
                let fine = matches!(report.status, Status::Committed | Status::Nothing);
                assert!(fine, "stop {stop}: {report:#?}");
            }
        }
        let outputs = baler_testkit::fixtures::read_all(target, "daily/").await.unwrap();
        let mut lines: Vec<String> = outputs
            .iter()
            .filter(|(key, _)| key.ends_with(".jsonl"))
            .flat_map(|(_, body)| {
                let text = String::from_utf8(body.to_vec()).unwrap();
                text.lines().map(|l| format!("{l}\n")).collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        assert_eq!(lines, expected, "stop {stop}: records lost or doubled");
        assert!(world.read("raw/").await.is_empty(), "stop {stop}: sources are left");
        // What the dead process staged in vain is garbage, and all of it is collected.
        let sweeper = world.process(config, None);
        gc(&sweeper.flow(), &sweeper.state().await, SignedDuration::ZERO, Effect::Remove).await.unwrap();
        assert!(target_uploads(config, &world).is_empty(), "stop {stop}: uploads are left");
        if !died && seen.load(Ordering::SeqCst) <= stop {
            break;
        }
        stop += 1;
    }
    assert!(stop > 50, "the run has {stop} operations: too few to have been cut everywhere");
}

#[tokio::test(start_paused = true)]
async fn crash_before_any_operation_loses_and_doubles_nothing() {
    crash_everywhere(DELETE, Verdict::Hang).await;
}

#[tokio::test(start_paused = true)]
async fn crash_after_any_operation_loses_and_doubles_nothing() {
    crash_everywhere(DELETE, Verdict::HangAfter).await;
}

#[tokio::test(start_paused = true)]
async fn crash_while_archiving_across_stores_loses_and_doubles_nothing() {
    crash_everywhere(ARCHIVE, Verdict::Hang).await;
    crash_everywhere(ARCHIVE, Verdict::HangAfter).await;
}

/// One operation fails, once: before its effect, or after it with its reply lost. The same process or the next finishes.
#[tokio::test(start_paused = true)]
async fn one_lost_reply_anywhere_loses_and_doubles_nothing() {
    for verdict in [Verdict::FailBefore, Verdict::FailAfter] {
        for config in [DELETE, ARCHIVE] {
            let mut stop = 0;
            loop {
                let world = filled().await;
                let seen = Arc::new(AtomicU64::new(0));
                let counter = Arc::clone(&seen);
                let hook: Hook = Arc::new(move |_| {
                    let n = counter.fetch_add(1, Ordering::SeqCst);
                    Box::pin(std::future::ready(if n == stop { verdict } else { Verdict::Proceed }))
                });
                let first = world.process(config, Some(hook));
                // It may finish, or say what failed; it may not panic or lose anything.
                drop(first.run().await);
                for _ in 0..2 {
                    let reports = world.process(config, None).run().await;
                    drop(reports.unwrap_or_else(|e| panic!("{verdict:?} at {stop}: {e:?}")));
                }
                let target = if config.contains("other:daily") { &world.other } else { &world.lake };
                let outputs = baler_testkit::fixtures::read_all(target, "daily/").await.unwrap();
                let lines: usize = outputs
                    .iter()
                    .filter(|(key, _)| key.ends_with(".jsonl"))
                    .map(|(_, body)| body.iter().filter(|b| **b == b'\n').count())
                    .sum();
                assert_eq!(lines, 6, "{verdict:?} at {stop}: {outputs:?}");
                assert!(world.read("raw/").await.is_empty(), "{verdict:?} at {stop}: sources are left");
                if seen.load(Ordering::SeqCst) <= stop {
                    break;
                }
                stop += 1;
            }
        }
    }
}
