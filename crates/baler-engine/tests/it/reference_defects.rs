//! What the systems before Baler get wrong about combining (`docs/conventions.md`), and Baler may not.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baler_engine::Limits;
use baler_engine::report::Status;
use baler_model::LogSeq;
use baler_model::ledger::Event;
use baler_store::Clock;
use baler_testkit::fault::{Hook, Method, Verdict};
use baler_testkit::fixtures;
use bytes::Bytes;

use crate::held::HeldStore;
use crate::world::{SMALL_PARTS, World};

const DELETING: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:daily/{day}.jsonl"
sources = { after_commit = "delete" }
"#;

fn verdict(of: impl Fn(&baler_testkit::fault::Op) -> Verdict + Send + Sync + 'static) -> Hook {
    Arc::new(move |op| Box::pin(std::future::ready(of(op))))
}

fn line(day: &str, n: usize, len: usize) -> String {
    format!("{day}{n}{}\n", "x".repeat(len))
}

async fn filled(sizes: &[usize]) -> World {
    let world = World::with_parts(SMALL_PARTS);
    for day in ["a", "b"] {
        for (n, &size) in sizes.iter().enumerate() {
            world.put(&format!("raw/{day}/{n}.jsonl"), line(day, n, size)).await;
        }
    }
    world
}

/// The coalescer prints a failed GET, uploads the batch without that object, then deletes every source.
#[tokio::test(start_paused = true)]
async fn a_failed_read_neither_leaves_its_object_out_nor_deletes_a_source_of_its_batch() {
    // Read whole; copied by the store; and both.
    for (sizes, fails) in [(&[1, 2, 3][..], Method::Get), (&[200, 300], Method::CopyPart), (&[300, 5, 9], Method::Get)]
    {
        let world = filled(sizes).await;
        let hook = verdict(move |op| {
            let ours = op.key.contains("raw/a/1") || (op.method == Method::CopyPart && op.key.contains("daily/a"));
            if op.method == fails && ours { Verdict::FailBefore } else { Verdict::Proceed }
        });
        let report = world.process(DELETING, Some(hook)).run_one().await;
        assert_eq!(
            (report.status, report.groups.committed, report.groups.failed),
            (Status::Failed, 1, 1),
            "{report:#?}"
        );
        assert_eq!(report.failures[0].group, "daily/a.jsonl");
        assert_eq!(world.read("daily/").await.keys().collect::<Vec<_>>(), ["daily/b.jsonl"]);
        assert_eq!(world.read("raw/a/").await.len(), sizes.len(), "every source of the failed batch is kept");
        assert_eq!(world.read("raw/b/").await.len(), 0);
        // Nothing was lost: the next run combines what the failed one released.
        let next = world.process(DELETING, None).run_one().await;
        assert_eq!(next.status, Status::Committed, "{next:#?}");
        let whole: String = sizes.iter().enumerate().map(|(n, &size)| line("a", n, size)).collect();
        assert_eq!(world.read("daily/").await["daily/a.jsonl"], whole);
        assert!(world.read("raw/").await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_read_that_fails_once_costs_nothing_but_time() {
    let world = filled(&[1, 2, 3]).await;
    let failed = AtomicU64::new(0);
    let hook = verdict(move |op| {
        let first =
            op.method == Method::Get && op.key.contains("raw/a/1") && failed.fetch_add(1, Ordering::SeqCst) == 0;
        if first { Verdict::FailBefore } else { Verdict::Proceed }
    });
    let report = world.process(DELETING, Some(hook)).run_one().await;
    assert_eq!((report.status, report.account.objects_in), (Status::Committed, 6), "{report:#?}");
}

/// The combiner moves every object of 5.5 MB or less behind the larger ones.
#[tokio::test(start_paused = true)]
async fn small_objects_keep_their_place_among_large_ones() {
    // Least part 50 bytes: copied, read, copied with a borrow, read in a row, copied, read.
    let sizes = [400, 3, 60, 1, 1, 1, 4000, 20, 7000, 2];
    let world = filled(&sizes).await;
    let report = world.process(DELETING, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert!(report.bytes_copied_server_side > 2 * 11_000, "large objects are copied: {report:#?}");
    let whole: String = sizes.iter().enumerate().map(|(n, &size)| line("a", n, size)).collect();
    assert_eq!(world.read("daily/").await["daily/a.jsonl"], whole);
}

/// The combiner keeps all small objects in memory.
#[tokio::test(start_paused = true)]
async fn memory_holds_the_budget_and_not_all_small_objects() {
    const OBJECT: usize = 1 << 20;
    const OBJECTS: usize = 160;
    let config = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.bin"
order_by = ["n"]
to = "lake:daily/{day}.bin"
"#;
    let world = World::new();
    let body: Bytes = fixtures::random_bytes(1, OBJECT);
    for n in 0..OBJECTS {
        world.put(&format!("raw/{}/{n}.bin", n % 2), body.clone()).await;
    }
    let held = HeldStore::new(Arc::new(world.lake.clone()));
    let mut process = world.process_over(config, held.clone());
    process.env.limits = Limits::new(64, 1);
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(report.account.bytes_out, (OBJECTS * OBJECT) as u64);
    let (peak, read) = (held.peak(), held.total());
    assert_eq!(read, report.bytes_through_client, "nothing is read twice");
    assert!(
        read > ((OBJECTS - 4) * OBJECT) as u64,
        "all but the last of each output are too small to be copied: {read}"
    );
    assert!(peak <= 64 << 20, "{peak} bytes were held at once, the budget is 64 MiB");
    assert!(peak >= 16 << 20, "{peak} bytes at most: the budget is hardly used, or not metered");
    assert_eq!(held.now(), 0, "nothing is held behind the run");
}

const MANIFESTS: &str = r#"
[flows.rollup]
do = "combine"
on = { manifests = "lake:watch" }
from = "lake:{manifest.source}/{part:int}.json"
order_by = ["part"]
to = "lake:{manifest.target}"
"#;

/// The combiner moves its manifest to `done` when work was submitted, not when it succeeded.
#[tokio::test(start_paused = true)]
async fn a_manifest_is_done_only_when_its_result_is_published() {
    for verdict_at in [Verdict::Hang, Verdict::HangAfter] {
        let (mut stop, mut undone, mut done) = (0, 0, 0);
        loop {
            let world = World::with_parts(SMALL_PARTS);
            for part in 1..=3 {
                world.put(&format!("scrubbed/rollup/{part}.json"), format!("{{\"part\":{part}}}")).await;
            }
            let manifest = "{\"source\":\"scrubbed/rollup\",\"target\":\"out/rollup.json\",\"fileCount\":3}";
            world.put("watch/queue/job.json", manifest).await;
            let whole = "{\"part\":1}\n{\"part\":2}\n{\"part\":3}";
            let seen = Arc::new(AtomicU64::new(0));
            let counter = Arc::clone(&seen);
            let hook: Hook = Arc::new(move |_| {
                let n = counter.fetch_add(1, Ordering::SeqCst);
                let verdict = match n.cmp(&stop) {
                    std::cmp::Ordering::Less => Verdict::Proceed,
                    std::cmp::Ordering::Equal => verdict_at,
                    std::cmp::Ordering::Greater => Verdict::Hang,
                };
                Box::pin(std::future::ready(verdict))
            });
            let first = world.process(MANIFESTS, Some(hook));
            let died = tokio::time::timeout(std::time::Duration::from_secs(20), first.run()).await.is_err();
            let published = world.read("out/").await.get("out/rollup.json").map(String::as_str) == Some(whole);
            match world.read("watch/done/").await.len() {
                0 => undone += 1,
                _ => {
                    assert!(published, "stop {stop}: the manifest is done and its result is not there");
                    done += 1;
                }
            }
            if !published {
                assert_eq!(world.read("watch/queue/").await.len(), 1, "stop {stop}: the job is lost");
            }
            // The next process finishes it, once.
            for _ in 0..2 {
                drop(world.process(MANIFESTS, None).run().await.unwrap_or_else(|e| panic!("stop {stop}: {e:?}")));
            }
            assert_eq!(
                world.read("out/").await.into_iter().collect::<Vec<_>>(),
                [("out/rollup.json".into(), whole.into())]
            );
            let watch: Vec<String> = world.read("watch/").await.into_keys().collect();
            assert_eq!(watch, ["watch/done/job.json"], "stop {stop}");
            if !died && seen.load(Ordering::SeqCst) <= stop {
                break;
            }
            stop += 1;
        }
        assert!(stop > 30 && undone > 10 && done > 1, "{stop} stops, {undone} before it was done, {done} behind");
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

/// Readers that stop at the first gzip member read 4 MB of 318 MB.
#[tokio::test(start_paused = true)]
async fn every_gzip_member_is_joined_and_none_is_touched() {
    let config = DELETING.replace(".jsonl", ".jsonl.gz");
    for check in ["", "check = \"decode\"\n"] {
        let world = World::with_parts(SMALL_PARTS);
        let texts: Vec<String> =
            (0..8).map(|n| format!("{{\"n\":{n},\"x\":\"{}\"}}\n", "y".repeat(n * n * 100))).collect();
        let mut bytes = Vec::new();
        for (n, text) in texts.iter().enumerate() {
            let member = gzip(text);
            bytes.extend_from_slice(&member);
            world.put(&format!("raw/a/{n}.jsonl.gz"), member).await;
        }
        let report = world.process(&format!("{}{check}", config), None).run_one().await;
        assert_eq!(report.status, Status::Committed, "{report:#?}");
        let out = fixtures::read(&world.lake, "daily/a.jsonl.gz").await.unwrap();
        assert_eq!(out, bytes, "no byte between members, none recompressed");
        let (mut all, mut first) = (String::new(), String::new());
        flate2::read::MultiGzDecoder::new(&*out).read_to_string(&mut all).unwrap();
        flate2::read::GzDecoder::new(&*out).read_to_string(&mut first).unwrap();
        assert_eq!(all, texts.concat());
        assert_eq!(first, texts[0], "a reader of the first member alone would not notice");
    }
}

#[tokio::test(start_paused = true)]
async fn decoding_does_not_stop_at_the_first_gzip_member() {
    let config = DELETING.replace(".jsonl", ".jsonl.gz") + "check = \"decode\"\n";
    let world = World::new();
    world.put("raw/a/1.jsonl.gz", gzip("{}\n")).await;
    let bad = [gzip("{\"n\":1}\n"), gzip("{\"n\":2}\n{\"n\":")].concat();
    world.put("raw/a/2.jsonl.gz", bad).await;
    let report = world.process(&config, None).run_one().await;
    assert_eq!(report.status, Status::Failed);
    let error = &report.failures[0].error;
    assert!(error.contains("`raw/a/2.jsonl.gz`") && error.contains("line 3, byte 16"), "{error}");
}

/// In the scatter-gather system, completion is a race between listings.
#[tokio::test(start_paused = true)]
async fn completion_is_decided_by_the_log_and_no_listing_of_the_target_is_asked() {
    for seed in 0..20 {
        let world = filled(&[1, 2, 3]).await;
        let mut random = baler_testkit::SplitMix::new(seed);
        let delays: Vec<u64> = (0..997).map(|_| random.below(4)).collect();
        let slow = |offset: u64| -> Hook {
            let (delays, clock) = (delays.clone(), Arc::clone(&world.clock));
            Arc::new(move |op| {
                let listed = op.method == Method::List && (op.key.starts_with("daily") || op.key.is_empty());
                assert!(!listed, "the target was listed: {op:?}");
                let delay = delays[((op.index * 7 + offset) % 997) as usize];
                let clock = Arc::clone(&clock);
                Box::pin(async move {
                    clock.sleep(std::time::Duration::from_millis(delay)).await;
                    Verdict::Proceed
                })
            })
        };
        // One run, executed by two processes that both notice its end: both see the other's heartbeat as dead.
        let first = world.process(DELETING, Some(slow(1)));
        let second = world.process(DELETING, Some(slow(500)));
        let later = async {
            world.clock.sleep(std::time::Duration::from_millis(random.below(60))).await;
            second.run().await
        };
        let (a, b) = tokio::join!(first.run(), later);
        for report in a.unwrap().into_iter().chain(b.unwrap()) {
            assert!(matches!(report.status, Status::Committed | Status::Nothing), "seed {seed}: {report:#?}");
        }
        let whole = |day: &str| [1, 2, 3].iter().enumerate().map(|(n, &s)| line(day, n, s)).collect::<String>();
        let daily = world.read("daily/").await;
        assert_eq!(daily.len(), 2);
        for day in ["a", "b"] {
            assert_eq!(daily[&format!("daily/{day}.jsonl")], whole(day), "seed {seed}");
        }
        let process = world.process(DELETING, None);
        let (flow, state) = (process.flow(), process.state().await);
        let (mut sealed, mut committed) = (0, 0);
        for seq in 1..=state.head().0 {
            match flow.ledger.read_entry(LogSeq(seq)).await.unwrap().event {
                Event::Sealed { .. } => sealed += 1,
                Event::Committed { .. } => committed += 1,
                Event::Opened { .. }
                | Event::Staged { .. }
                | Event::Withdrawing { .. }
                | Event::Aborted { .. }
                | Event::Disposed { .. } => {}
            }
        }
        assert_eq!((sealed, committed), (1, 1), "seed {seed}: whoever comes second finds it done");
    }
}
