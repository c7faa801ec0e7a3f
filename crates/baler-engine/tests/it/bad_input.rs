//! What bad input gets: the rows of the design's section 8 that concern `combine`.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use baler_engine::EngineError;
use baler_engine::ledger::RunStatus;
use baler_engine::report::Status;
use baler_store::{Clock, Store};
use baler_testkit::fault::{Hook, Method, Verdict};
use baler_testkit::fixtures::{self, random_bytes};
use baler_testkit::s3::{Conditions, ErrorAnswer, Fault, Op, RandomFaults, S3Options, Scripted};

use crate::disk::Disk;
use crate::s3_world::S3World;
use crate::world::{Notes, SMALL_PARTS, World};

const FLOW: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:daily/{day}.jsonl"
"#;

const DELETING: &str = "sources = { after_commit = \"delete\" }\n";

fn verdict(of: impl Fn(&baler_testkit::fault::Op) -> Verdict + Send + Sync + 'static) -> Hook {
    Arc::new(move |op| Box::pin(std::future::ready(of(op))))
}

/// Something happens once, right before the first call of a method on a key with this part in it.
fn once_before(method: Method, part: &'static str, happens: impl Fn() + Send + Sync + 'static) -> Hook {
    let happened = AtomicBool::new(false);
    verdict(move |op| {
        if op.method == method && op.key.contains(part) && !happened.swap(true, Ordering::SeqCst) {
            happens();
        }
        Verdict::Proceed
    })
}

async fn filled() -> World {
    let world = World::with_parts(SMALL_PARTS);
    for day in ["a", "b"] {
        for n in 1..=2 {
            world.put(&format!("raw/{day}/{n}.jsonl"), format!("\"{day}{n}\"\n")).await;
        }
    }
    world
}

fn filled_s3(world: &S3World) {
    for day in ["a", "b"] {
        for n in 1..=2 {
            world.put(&format!("raw/{day}/{n}.jsonl"), format!("\"{day}{n}\"\n"));
        }
    }
}

fn gzip(text: &str) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(text.as_bytes()).unwrap();
    out.finish().unwrap()
}

// Damaged objects.

#[tokio::test(start_paused = true)]
async fn a_truncated_object_is_joined_unseen_unless_inputs_are_decoded() {
    let config = FLOW.replace(".jsonl", ".jsonl.gz");
    let fill = || async {
        let world = World::new();
        for (day, n) in [("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
            let mut body = gzip(&"{\"x\":1}\n".repeat(500));
            if (day, n) == ("a", 2) {
                body.truncate(body.len() - 6);
            }
            world.put(&format!("raw/{day}/{n}.jsonl.gz"), body).await;
        }
        world
    };
    let world = fill().await;
    assert_eq!(world.process(&config, None).run_one().await.status, Status::Committed);

    let world = fill().await;
    let checking = format!("{config}check = \"decode\"\n{DELETING}");
    let report = world.process(&checking, None).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    let failure = &report.failures[0];
    assert_eq!(failure.group, "daily/a.jsonl.gz");
    assert!(failure.error.contains("`raw/a/2.jsonl.gz` cannot be decoded: line "), "{failure:?}");
    assert!(failure.hint.as_ref().unwrap().contains("mend or move the object"), "{failure:?}");
    assert_eq!(world.read("daily/").await.keys().collect::<Vec<_>>(), ["daily/b.jsonl.gz"]);
    assert_eq!(world.read("raw/").await.keys().collect::<Vec<_>>(), ["raw/a/1.jsonl.gz", "raw/a/2.jsonl.gz"]);
    // Mended, it is a new version, and the group is combined.
    world.put("raw/a/2.jsonl.gz", gzip("{\"x\":2}\n")).await;
    assert_eq!(world.process(&checking, None).run_one().await.status, Status::Committed);
    assert!(world.read("raw/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_decompression_bomb_fails_its_group_and_no_other() {
    let config = FLOW.replace(".jsonl", ".csv.zst") + "check = \"decode\"\n";
    let world = World::new();
    let bomb = zstd::encode_all(std::io::repeat(b'\n').take(80 << 20), 1).unwrap();
    for (day, body) in [("a", bomb), ("b", zstd::encode_all(&b"1,2\n"[..], 1).unwrap())] {
        world.put(&format!("raw/{day}/1.csv.zst"), zstd::encode_all(&b"1,2\n"[..], 1).unwrap()).await;
        world.put(&format!("raw/{day}/2.csv.zst"), body).await;
    }
    let report = world.process(&config, None).run_one().await;
    assert_eq!((report.groups.committed, report.groups.failed), (1, 1), "{report:#?}");
    let error = &report.failures[0].error;
    assert!(error.contains("`raw/a/2.csv.zst`") && error.contains("expands beyond 1000:1"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn text_of_another_encoding_and_half_lines_are_named_with_their_place() {
    let config = format!("{FLOW}check = \"decode\"\n");
    for (body, words) in
        [(&b"\"x\"\n\"\xe4\"\n"[..], "line 2, byte 4: not UTF-8"), (b"\"x\"\n{\"y\":", "line 2, byte 4: not JSON")]
    {
        let world = filled().await;
        world.put("raw/a/2.jsonl", body.to_vec()).await;
        let report = world.process(&config, None).run_one().await;
        assert_eq!((report.groups.committed, report.groups.failed), (1, 1), "{report:#?}");
        let error = &report.failures[0].error;
        assert!(error.contains("`raw/a/2.jsonl`") && error.contains(words), "{error}");
    }
}

// Sources that move.

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_changed_before_it_was_copied_gives_up_its_group() {
    let world = S3World::start().await;
    for (day, n) in [("a", 1), ("a", 2), ("b", 1), ("b", 2)] {
        world.put(&format!("raw/{day}/{n}.jsonl"), random_bytes(n, 5 << 20));
    }
    let server = world.server.handle();
    let hook =
        once_before(Method::CopyPart, "daily/a", move || server.put("lake", "raw/a/1.jsonl", random_bytes(9, 5 << 20)));
    let config = format!("{FLOW}separator = \"none\"\n{DELETING}");
    let report = world.process(&config, Some(hook)).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    let error = &report.failures[0].error;
    assert!(error.contains("`raw/a/1.jsonl`") && error.contains("changed: version"), "{error}");
    assert!(world.server.object("lake", "daily/a.jsonl").is_none());
    assert!(world.server.uploads("lake").is_empty(), "the given up group left its upload");
    assert_eq!(world.server.keys("lake", "raw/"), ["raw/a/1.jsonl", "raw/a/2.jsonl"]);
    let next = world.process(&config, None).run_one().await;
    assert_eq!(next.status, Status::Committed, "{next:#?}");
    let joined = [random_bytes(9, 5 << 20), random_bytes(2, 5 << 20)].concat();
    assert!(world.server.object("lake", "daily/a.jsonl").unwrap() == joined);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_vanished_before_it_was_read_gives_up_its_group() {
    let world = S3World::start().await;
    filled_s3(&world);
    let server = world.server.handle();
    let hook = once_before(Method::Get, "raw/a/1", move || assert!(server.remove("lake", "raw/a/1.jsonl")));
    let report = world.process(FLOW, Some(hook)).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    assert!(report.failures[0].error.contains("no object `raw/a/1.jsonl`"), "{:?}", report.failures);
    assert_eq!(world.server.keys("lake", "daily/"), ["daily/b.jsonl"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_that_is_overwritten_between_commit_and_delete_is_kept() {
    let world = S3World::start().await;
    filled_s3(&world);
    let server = world.server.handle();
    let hook = once_before(Method::DeleteIf, "raw/a/1", move || server.put("lake", "raw/a/1.jsonl", "\"newer\"\n"));
    let config = format!("{FLOW}{DELETING}");
    let report = world.process(&config, Some(hook)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.server.keys("lake", "raw/"), ["raw/a/1.jsonl"]);
    assert_eq!(world.server.object("lake", "raw/a/1.jsonl").unwrap(), "\"newer\"\n");
}

// Outputs that are in the way.

#[tokio::test(flavor = "multi_thread")]
async fn an_output_that_is_not_ours_is_refused_and_named() {
    let world = S3World::start().await;
    filled_s3(&world);
    world.put("daily/a.jsonl", "foreign");
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    assert_eq!(report.failures[0].error, "`daily/a.jsonl` exists and is not Baler's");
    assert_eq!(report.failures[0].hint.as_deref(), Some("`overwrite = true`, or another template in `to`"));
    assert_eq!(world.server.object("lake", "daily/a.jsonl").unwrap(), "foreign");

    let disk = Disk::new();
    for n in 1..=2 {
        disk.write(&format!("lake/raw/a/{n}.jsonl"), "x\n");
    }
    disk.write("lake/daily/a.jsonl", "foreign");
    let report = disk.process(&format!("[stores]\nlake = \"./lake\"\n{FLOW}")).run_one().await;
    assert_eq!(report.failures[0].error, "`daily/a.jsonl` exists and is not Baler's", "{report:#?}");
    assert_eq!(disk.read("lake/daily/a.jsonl"), "foreign");
}

#[tokio::test(flavor = "multi_thread")]
async fn late_objects_get_a_further_output_or_a_hint_and_never_replace_records() {
    let world = S3World::start().await;
    filled_s3(&world);
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
    world.put("raw/a/3.jsonl", "\"late\"\n");
    world.put("raw/a/4.jsonl", "\"later\"\n");
    for overwrite in ["", "overwrite = true\n"] {
        let report = world.process(&format!("{FLOW}{overwrite}"), None).run_one().await;
        assert_eq!(report.status, Status::Failed, "{report:#?}");
        assert!(report.failures[0].error.starts_with("`daily/a.jsonl` exists: run `"), "{:?}", report.failures);
        assert!(report.failures[0].hint.as_ref().unwrap().contains("{index}"), "{:?}", report.failures);
        assert_eq!(world.server.object("lake", "daily/a.jsonl").unwrap(), "\"a1\"\n\"a2\"\n");
    }
    let ranged = FLOW.replace("daily/{day}", "daily/{day}_{n.first}-{n.last}");
    let report = world.process(&ranged, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.server.object("lake", "daily/a_3-4.jsonl").unwrap(), "\"late\"\n\"later\"\n");
}

// Duplicates.

#[tokio::test(start_paused = true)]
async fn a_manifest_that_two_watchers_see_at_once_makes_one_run_and_one_output() {
    let config = r#"
[flows.rollup]
do = "combine"
on = { manifests = "lake:watch" }
from = "lake:{manifest.source}/{part:int}.json"
order_by = ["part"]
to = "lake:{manifest.target}"
"#;
    for seed in 0..30 {
        let world = World::with_parts(SMALL_PARTS);
        for part in 1..=2 {
            world.put(&format!("src/{part}.json"), format!("{{\"part\":{part}}}")).await;
        }
        world.put("watch/queue/job.json", "{\"source\":\"src\",\"target\":\"out/all.json\",\"fileCount\":2}").await;
        let mut random = baler_testkit::SplitMix::new(seed);
        let delays: Vec<u64> = (0..997).map(|_| random.below(3)).collect();
        let hook = |offset: u64| -> Hook {
            let (delays, clock) = (delays.clone(), Arc::clone(&world.clock));
            Arc::new(move |op| {
                let delay = delays[((op.index * 7 + offset) % 997) as usize];
                let clock = Arc::clone(&clock);
                Box::pin(async move {
                    clock.sleep(Duration::from_millis(delay)).await;
                    Verdict::Proceed
                })
            })
        };
        let (one, two) = (world.process(config, Some(hook(1))), world.process(config, Some(hook(500))));
        let (a, b) = tokio::join!(one.run(), two.run());
        for report in a.unwrap().into_iter().chain(b.unwrap()) {
            assert!(matches!(report.status, Status::Committed | Status::Nothing), "seed {seed}: {report:#?}");
        }
        let state = world.process(config, None).state().await;
        assert_eq!(state.runs().len(), 1, "seed {seed}: one trigger, one run");
        assert_eq!(state.runs()[0].status, RunStatus::Disposed);
        let out = world.read("out/").await.into_iter().collect::<Vec<_>>();
        assert_eq!(out, [("out/all.json".into(), "{\"part\":1}\n{\"part\":2}".into())], "seed {seed}");
        assert_eq!(world.read("watch/").await.keys().collect::<Vec<_>>(), ["watch/done/job.json"], "seed {seed}");
        // The same message once more, after the fact: the queue is empty, so nothing is there to do.
        let again = world.process(config, None).run_one().await;
        assert_eq!(again.status, Status::Nothing, "{again:#?}");
    }
}

// Stores that break their word.

fn forgetful() -> S3Options {
    S3Options { conditions: Conditions::Ignored, ..S3Options::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditional_writes_is_refused_as_the_ledgers_place() {
    let world = S3World::unproven(forgetful()).await;
    filled_s3(&world);
    let mut process = world.process(FLOW, None);
    // The same configuration, its ledger in the bucket.
    let text = format!("version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\n{FLOW}");
    let stores = std::collections::HashMap::from([("lake".to_owned(), world.store("lake") as Arc<dyn Store>)]);
    process = crate::world::Process::over(&text, "/project", stores, process.env.clock.clone(), 7);
    let error = process.run().await.unwrap_err();
    assert!(matches!(error, EngineError::Unfit { .. }), "{error:?}");
    assert!(error.to_string().starts_with("`lake` is refused as the place of `state`: "), "{error}");
    assert!(error.hint().unwrap().contains("S3, Azure, GCS, or a directory"), "{error:?}");
    assert_eq!(world.server.keys("lake", "daily/"), [""; 0]);
    let left: Vec<String> =
        world.server.keys("lake", "_baler/").into_iter().filter(|k| !k.contains("/_probe/")).collect();
    assert_eq!(left, [""; 0], "no entry of a log was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditional_writes_is_fine_as_source_and_as_target_with_a_warning() {
    let world = S3World::unproven(forgetful()).await;
    filled_s3(&world);
    let notes = Arc::new(Notes::default());
    let mut process = world.process(FLOW, None);
    process.env.progress = notes.clone();
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.server.object("lake", "daily/a.jsonl").unwrap(), "\"a1\"\n\"a2\"\n");
    let warned = notes.all().iter().any(|note| note.starts_with("warning: target `lake` does not honour"));
    assert!(warned, "{:?}", notes.all());
    assert_eq!(world.server.keys("lake", "raw/").len(), 4);
    assert!(world.server.uploads("lake").is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_ignores_conditional_deletes_loses_no_source_unless_told_so() {
    let world = S3World::unproven(forgetful()).await;
    filled_s3(&world);
    let config = format!("{FLOW}{DELETING}");
    let error = world.process(&config, None).run().await.unwrap_err();
    assert!(error.to_string().contains("`lake` is refused as a place to delete from"), "{error}");
    assert!(error.hint().unwrap().contains("unconditional_delete = true"), "{error:?}");
    assert_eq!(world.server.keys("lake", "daily/"), [""; 0]);
    let told = format!("{FLOW}sources = {{ after_commit = \"delete\", unconditional_delete = true }}\n");
    let report = world.process(&told, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.server.keys("lake", "raw/"), [""; 0]);
}

// Odd keys.

/// Names that are one piece of a path, each different from all others byte for byte.
const ODD: [&str; 12] =
    ["a b", "a+b", "a%2Fb", "a%20b", "a..b", "ä→漢字", "a\u{308}", "ä", "a?b=c&d#e", "a\"b'<c>", "a\\b", "a\tb~(1)*"];

const ODD_FLOW: &str = r#"
[flows.odd]
do = "combine"
from = "lake:raw/{name}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:out/{name}.jsonl"
sources = { after_commit = "delete" }
"#;

const LONG_FLOW: &str = r#"
[flows.long]
do = "combine"
from = "lake:raw/{a}/{b}/{c}/{d}/{n:int}"
order_by = ["n"]
to = "lake:out/{a}/{b}/{c}/{d}/{count}"
"#;

/// The key of 1,024 bytes, `raw/…/{n}`, whose output has as many.
fn long_key(top: &str, n: u32) -> String {
    let piece = "ü".repeat(127);
    let rest = 1024 - (4 + 3 * 255 + 1 + 1);
    format!("{top}/{piece}/{piece}/{piece}/{}/{n}", "x".repeat(rest))
}

async fn expect_odd(store: &dyn Store) {
    let out = fixtures::read_all(store, "out/").await.unwrap();
    let mut expected: Vec<String> = ODD.iter().map(|name| format!("out/{name}.jsonl")).collect();
    expected.sort();
    assert_eq!(out.keys().cloned().collect::<Vec<_>>(), expected);
    for name in ODD {
        assert_eq!(out[&format!("out/{name}.jsonl")], format!("{name} 1\n{name} 2\n"), "{name}");
    }
    assert!(fixtures::list_all(store, "raw/").await.unwrap().is_empty(), "sources are deleted under their own names");
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_keys_are_kept_byte_for_byte_on_every_store() {
    let memory = World::new();
    let s3 = S3World::start().await;
    let disk = Disk::new();
    for name in ODD {
        for n in 1..=2 {
            let (key, body) = (format!("raw/{name}/{n}.jsonl"), format!("{name} {n}\n"));
            memory.put(&key, body.clone()).await;
            s3.put(&key, body.clone());
            disk.write(&format!("lake/{key}"), body);
        }
    }
    let on_disk = format!("state = \"./state\"\n[stores]\nlake = \"./lake\"\n{ODD_FLOW}");
    let processes = [memory.process(ODD_FLOW, None), s3.process(ODD_FLOW, None), disk.process(&on_disk)];
    for process in processes {
        let report = process.run_one().await;
        assert_eq!((report.status, report.groups.committed), (Status::Committed, ODD.len() as u64), "{report:#?}");
        expect_odd(&*process.flow().target).await;
    }
    let outside: Vec<String> =
        disk.files("").into_iter().filter(|f| !f.starts_with("state/") && !f.starts_with("lake/out/")).collect();
    assert_eq!(outside, [""; 0], "nothing lies anywhere else");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_1024_bytes_is_combined_on_every_store() {
    assert_eq!(long_key("raw", 1).len(), 1024);
    let memory = World::new();
    let s3 = S3World::start().await;
    let disk = Disk::new();
    for n in 1..=2 {
        memory.put(&long_key("raw", n), "x").await;
        s3.put(&long_key("raw", n), "x");
        disk.write(&format!("lake/{}", long_key("raw", n)), "x");
    }
    let on_disk = format!("state = \"./state\"\n[stores]\nlake = \"./lake\"\n{LONG_FLOW}");
    for process in [memory.process(LONG_FLOW, None), s3.process(LONG_FLOW, None), disk.process(&on_disk)] {
        let report = process.run_one().await;
        assert_eq!(report.status, Status::Committed, "{report:#?}");
        let out = fixtures::read_all(&*process.flow().target, "out/").await.unwrap();
        assert_eq!(out.into_iter().collect::<Vec<_>>(), [(long_key("out", 2), "xx".into())]);
    }
}

#[tokio::test(start_paused = true)]
async fn pieces_of_dots_are_keys_like_others_where_a_store_has_no_directories() {
    let config = r#"
[flows.dots]
do = "combine"
from = "lake:raw/../{n:int}"
order_by = ["n"]
to = "lake:out/../{count}"
"#;
    let world = World::new();
    for n in 1..=2 {
        world.put(&format!("raw/../{n}"), "x").await;
        world.put(&format!("{n}"), "not this").await;
    }
    let report = world.process(config, None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("out/").await.into_iter().collect::<Vec<_>>(), [("out/../2".into(), "xx".into())]);
}

/// What a manifest names is not checked before it comes: it may not lead out of a directory, nor into its own rooms.
#[tokio::test(flavor = "multi_thread")]
async fn a_directory_is_never_left_whatever_a_manifest_names() {
    let config = r#"
state = "./state"
[stores]
lake = "./lake"
[flows.rollup]
do = "combine"
on = { manifests = "lake:watch" }
from = "lake:{manifest.source}/{part:int}.json"
to = "lake:{manifest.target}"
"#;
    let targets = [
        "../escaped.json",
        "/tmp/../escaped.json",
        "out/../../escaped.json",
        "out//escaped.json",
        ".baler-tmp/escaped.json",
        "out/",
    ];
    for target in targets {
        let disk = Disk::new();
        disk.write("lake/src/1.json", "{}");
        disk.write("lake/watch/queue/job.json", format!("{{\"source\":\"src\",\"target\":\"{target}\"}}"));
        let before: Vec<String> = disk.files("").into_iter().filter(|f| !f.starts_with("state/")).collect();
        let report = disk.process(config).run().await;
        let failed = match &report {
            Ok(reports) => reports.iter().all(|r| r.status == Status::Failed),
            Err(_) => true,
        };
        assert!(failed, "{target}: {report:#?}");
        let after: Vec<String> =
            disk.files("").into_iter().filter(|f| !f.starts_with("state/") && !f.contains("/watch/run/")).collect();
        assert_eq!(after, before, "{target}: something was written");
    }
    for source in ["../outside", "/outside", "src/../../outside"] {
        let disk = Disk::new();
        disk.write("outside/1.json", "secret");
        disk.write("lake/watch/queue/job.json", format!("{{\"source\":\"{source}\",\"target\":\"out/all.json\"}}"));
        drop(disk.process(config).run().await);
        assert_eq!(disk.files("lake/out"), [""; 0], "{source} was read");
    }
}

// Servers that stumble.

#[tokio::test(flavor = "multi_thread")]
async fn throttling_resets_and_lost_replies_are_retried_until_they_pass() {
    let world = S3World::start().await;
    filled_s3(&world);
    world.server.script([
        Scripted::new(Op::ListObjectsV2, 1, Fault::ErrorBefore(ErrorAnswer::SlowDown)),
        Scripted::new(Op::GetObject, 1, Fault::ErrorBefore(ErrorAnswer::SlowDown)),
        Scripted::new(Op::GetObject, 2, Fault::ResetBefore),
        Scripted::new(Op::GetObject, 3, Fault::TruncateBody(2)),
        Scripted::new(Op::CreateMultipartUpload, 1, Fault::ErrorBefore(ErrorAnswer::Internal)),
        Scripted::new(Op::UploadPart, 1, Fault::ResetAfter),
        Scripted::new(Op::UploadPart, 2, Fault::ErrorBefore(ErrorAnswer::RequestTimeout)),
        Scripted::new(Op::CompleteMultipartUpload, 1, Fault::ResetAfter),
        Scripted::new(Op::CompleteMultipartUpload, 2, Fault::ErrorInBody),
        Scripted::new(Op::DeleteObject, 1, Fault::ErrorBefore(ErrorAnswer::SlowDown)),
    ]);
    let report = world.process(&format!("{FLOW}{DELETING}"), None).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.server.pending_faults(), 0, "every fault has struck");
    for day in ["a", "b"] {
        let out = world.server.object("lake", &format!("daily/{day}.jsonl")).unwrap();
        assert_eq!(out, format!("\"{day}1\"\n\"{day}2\"\n"));
    }
    assert_eq!(world.server.keys("lake", "raw/"), [""; 0]);
    assert!(world.server.uploads("lake").is_empty());
}

fn always(ops: &[Op], fault: Fault) -> Option<RandomFaults> {
    Some(RandomFaults { seed: 1, probability: 1.0, ops: ops.to_vec(), faults: vec![fault] })
}

#[tokio::test(flavor = "multi_thread")]
async fn throttling_that_does_not_end_fails_with_the_request_id_and_a_later_run_succeeds() {
    let world = S3World::start().await;
    filled_s3(&world);
    world.server.random_faults(always(&[Op::GetObject], Fault::ErrorBefore(ErrorAnswer::SlowDown)));
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!((report.status, report.groups.failed), (Status::Failed, 2), "{report:#?}");
    for failure in &report.failures {
        let error = &failure.error;
        let named = ["after 4 tries", "SlowDown", "HTTP 503", "request id ", "`raw/"].iter().all(|w| error.contains(w));
        assert!(named, "{error}");
        assert!(failure.hint.is_some());
    }
    assert_eq!(world.server.keys("lake", "daily/"), [""; 0]);
    assert!(world.server.uploads("lake").is_empty());
    world.server.clear_faults();
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_resets_or_never_answers_fails_the_run_and_not_its_successor() {
    for fault in [Fault::ResetBefore, Fault::Delay(Duration::from_secs(30))] {
        let mut world = S3World::start().await;
        world.read_timeout = Duration::from_millis(300);
        filled_s3(&world);
        world.server.random_faults(always(&[Op::GetObject], fault));
        let report = world.process(FLOW, None).run_one().await;
        assert_eq!((report.status, report.groups.failed), (Status::Failed, 2), "{fault:?}: {report:#?}");
        assert!(report.failures[0].error.contains("after 4 tries"), "{fault:?}: {:?}", report.failures);
        world.server.clear_faults();
        assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed, "{fault:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_during_a_run_fail_it_with_a_hint_and_nothing_is_visible() {
    let world = S3World::start().await;
    filled_s3(&world);
    let ops = [Op::GetObject, Op::UploadPart];
    world.server.random_faults(always(&ops, Fault::ErrorBefore(ErrorAnswer::ExpiredToken)));
    let report = world.process(FLOW, None).run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    for failure in &report.failures {
        assert!(failure.error.contains("ExpiredToken") && failure.error.contains("request id "), "{failure:?}");
        assert!(failure.hint.as_ref().unwrap().contains("sign in again"), "{failure:?}");
    }
    assert_eq!(world.server.keys("lake", "daily/"), [""; 0]);
    world.server.clear_faults();
    assert_eq!(world.process(FLOW, None).run_one().await.status, Status::Committed);
}

/// Credentials that expire behind the seal: what is staged waits, and the run is finished with new ones.
#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_expire_while_publishing_leave_the_run_open() {
    let world = S3World::start().await;
    filled_s3(&world);
    world.server.random_faults(always(&[Op::CompleteMultipartUpload], Fault::ErrorBefore(ErrorAnswer::ExpiredToken)));
    let error = world.process(FLOW, None).run().await.unwrap_err();
    assert!(error.hint().unwrap().contains("sign in again"), "{error:?}");
    assert_eq!(world.server.keys("lake", "daily/"), [""; 0]);
    world.server.clear_faults();
    let reports = world.process(FLOW, None).run().await.unwrap();
    assert_eq!(reports[0].status, Status::Committed, "{reports:#?}");
    assert_eq!(world.server.keys("lake", "daily/").len(), 2);
    assert_eq!(world.process(FLOW, None).state().await.runs().len(), 1, "the same run");
}

// No room.

#[tokio::test(start_paused = true)]
async fn a_target_without_room_fails_its_task_before_the_mark_and_a_later_run_completes() {
    for (refusal, words) in [(Verdict::NoRoom, "has no room"), (Verdict::Denied, "refuses to")] {
        for method in [Method::Stage, Method::WritePart, Method::Finish] {
            let world = filled().await;
            let marks = Arc::new(AtomicU64::new(0));
            let seen = Arc::clone(&marks);
            let hook = verdict(move |op| {
                if op.method == Method::PutIfAbsent && op.key.contains("/mark/0/0.0") {
                    seen.fetch_add(1, Ordering::SeqCst);
                }
                let ours = op.key == "daily/a.jsonl" || op.key == "daily/b.jsonl";
                if op.method == method && ours { refusal } else { Verdict::Proceed }
            });
            let process = world.process(&format!("{FLOW}{DELETING}"), Some(hook));
            let report = process.run_one().await;
            assert_eq!((report.status, report.groups.failed), (Status::Failed, 2), "{method:?}: {report:#?}");
            assert!(report.failures[0].error.contains(words), "{:?}", report.failures);
            assert_eq!(process.state().await.runs()[0].status, RunStatus::Aborted);
            assert_eq!(marks.load(Ordering::SeqCst), 1, "one mark, that gives the group up");
            assert!(world.read("daily/").await.is_empty(), "{method:?}: something is visible");
            assert_eq!(world.read("raw/").await.len(), 4, "{method:?}: a source is gone");
            let next = world.process(&format!("{FLOW}{DELETING}"), None).run_one().await;
            assert_eq!(next.status, Status::Committed, "{method:?}: {next:#?}");
            assert_eq!(world.read("daily/").await["daily/a.jsonl"], "\"a1\"\n\"a2\"\n");
        }
    }
}

/// A file system of a test's own, gone with it.
struct Mounted(std::path::PathBuf);

impl Mounted {
    /// `None` where this user may not mount.
    fn tmpfs(at: std::path::PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir_all(&at).unwrap();
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&at).stderr(std::process::Stdio::null());
        mount.status().is_ok_and(|status| status.success()).then_some(Self(at))
    }

    fn remount(&self, options: &str) {
        let mut mount = std::process::Command::new("mount");
        assert!(mount.arg("-o").arg(format!("remount,{options}")).arg(&self.0).status().unwrap().success());
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking());
    }
}

#[expect(clippy::print_stderr, reason = "a test that cannot run says so")]
fn cannot_mount() {
    eprintln!("skipped: this user may not mount; the same refusals are played by a store in another test");
}

const TO_OTHER: &str = r#"
state = "./state"
[stores]
lake = "./lake"
small = "./small"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.bin"
order_by = ["n"]
to = "small:daily/{day}.bin"
sources = { after_commit = "delete" }
"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_shows_nothing_and_a_later_run_with_room_completes() {
    let disk = Disk::new();
    let Some(small) = Mounted::tmpfs(disk.path("small"), "size=1m") else { return cannot_mount() };
    let body = random_bytes(1, 700_000);
    for n in 1..=2 {
        disk.write(&format!("lake/raw/a/{n}.bin"), &body);
        disk.write(&format!("lake/raw/b/{n}.bin"), "fits\n");
    }
    let report = disk.process(TO_OTHER).run_one().await;
    assert_eq!((report.status, report.groups.committed, report.groups.failed), (Status::Failed, 1, 1), "{report:#?}");
    assert!(report.failures[0].error.contains("has no room"), "{:?}", report.failures);
    assert!(report.failures[0].hint.as_ref().unwrap().contains("free some space"), "{:?}", report.failures);
    assert_eq!(disk.files("small"), ["daily/b.bin"], "not even a temporary file is left");
    assert_eq!(disk.files("lake"), ["raw/a/1.bin", "raw/a/2.bin"]);
    small.remount("size=4m");
    let report = disk.process(TO_OTHER).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(std::fs::read(disk.path("small/daily/a.bin")).unwrap(), [&body[..], &body[..]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_target_shows_nothing_and_a_later_run_completes() {
    let disk = Disk::new();
    let Some(small) = Mounted::tmpfs(disk.path("small"), "size=4m") else { return cannot_mount() };
    let fill = |day: &str| (1..=2).for_each(|n| disk.write(&format!("lake/raw/{day}/{n}.bin"), "x\n"));
    // The first run proves the store; for the second one it has become read-only.
    fill("a");
    assert_eq!(disk.process(TO_OTHER).run_one().await.status, Status::Committed);
    fill("b");
    small.remount("ro");
    let report = disk.process(TO_OTHER).run_one().await;
    assert_eq!((report.status, report.groups.failed), (Status::Failed, 1), "{report:#?}");
    assert!(report.failures[0].error.contains("has no room"), "{:?}", report.failures);
    assert_eq!(disk.files("lake"), ["raw/b/1.bin", "raw/b/2.bin"]);
    small.remount("rw");
    assert_eq!(disk.process(TO_OTHER).run_one().await.status, Status::Committed);
    assert_eq!(disk.files("small"), ["daily/a.bin", "daily/b.bin"]);
}

/// The ledger's own disk is full: nothing can be stated, so nothing is done; with room, all of it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_ledger_fails_the_run_and_loses_nothing() {
    let disk = Disk::new();
    let Some(ledger) = Mounted::tmpfs(disk.path("ledger"), "size=256k,nr_inodes=200") else { return cannot_mount() };
    for n in 0..200 {
        disk.write(&format!("lake/raw/{}/{n}.bin", n % 100), "x\n");
    }
    let config =
        &TO_OTHER.replace("\"./state\"", "\"ledger:_baler\"").replace("[stores]", "[stores]\nledger = \"./ledger\"");
    let error = disk.process(config).run().await.unwrap_err();
    let causes = format!("{error:?}");
    assert!(causes.contains("NoRoom"), "{causes}");
    assert_eq!(disk.files("small/daily"), [""; 0]);
    assert_eq!(disk.files("lake/raw").len(), 200);
    ledger.remount("size=16m,nr_inodes=100000");
    for report in disk.process(config).run().await.unwrap() {
        assert!(matches!(report.status, Status::Committed | Status::Nothing), "{report:#?}");
    }
    assert_eq!(disk.files("small/daily").len(), 100);
    assert_eq!(disk.files("lake/raw"), [""; 0]);
}
