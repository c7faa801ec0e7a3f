//! `combine` in directories: where state and target may lie, and what a file system does that a bucket does not.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use baler_engine::ledger::RunStatus;
use baler_engine::report::Status;
use baler_testkit::fault::{Hook, Method, Verdict};

use crate::disk::Disk;

const LAKE: &str = "[stores]\nlake = \"./lake\"\n";

const FLOW: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
order_by = ["n"]
to = "lake:daily/{day}.jsonl"
"#;

fn filled() -> Disk {
    let disk = Disk::new();
    for day in ["a", "b"] {
        for n in 1..=2 {
            disk.write(&format!("lake/raw/{day}/{n}.jsonl"), format!("{day}{n}\n"));
        }
    }
    disk
}

/// Something happens once, between the plan and the first task.
fn once_opened(happens: impl Fn() + Send + Sync + 'static) -> Hook {
    let calls = AtomicU64::new(0);
    Arc::new(move |op| {
        let opened = op.method == Method::PutIfAbsent && op.key.ends_with("log/00000000000000000001.json");
        // The listing is done when `Opened` is written.
        if opened && calls.fetch_add(1, Ordering::SeqCst) == 0 {
            happens();
        }
        Box::pin(std::future::ready(Verdict::Proceed))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn state_and_data_share_a_directory_and_the_state_is_no_input() {
    let disk = filled();
    // It would match entries of the log, were those not hidden.
    let config = r#"
state = "lake:_baler"
[stores]
lake = "./lake"
[flows.all]
do = "combine"
from = "lake:**/{n}.json*"
to = "lake:out/all.txt"
"#;
    let report = disk.process(config).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(disk.read("lake/out/all.txt"), "a1\na2\nb1\nb2\n");
    assert!(disk.files("lake/_baler/all/log").len() >= 3);
    let again = disk.process(config).run_one().await;
    assert_eq!(again.status, Status::Nothing, "{again:#?}");
    assert_eq!(disk.files("lake/out"), ["all.txt"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ledger_lies_beside_the_file_where_nothing_else_is_said() {
    let disk = filled();
    let report = disk.process(&format!("{LAKE}{FLOW}")).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert!(disk.files(".baler/daily/log").len() >= 3, "{:?}", disk.files(""));
    assert_eq!(disk.files("lake/daily"), ["a.jsonl", "b.jsonl"]);
    let outside: Vec<String> =
        disk.files("").into_iter().filter(|f| !f.starts_with(".baler/") && !f.starts_with("lake/")).collect();
    assert_eq!(outside, [""; 0]);
    assert_eq!(disk.files("lake/.baler-tmp"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn places_are_relative_to_the_file() {
    let disk = Disk::new();
    for n in 1..=2 {
        disk.write(&format!("in/{n}.jsonl"), format!("{n}\n"));
    }
    let config = r#"
[flows.plain]
do = "combine"
from = "./in/{n:int}.jsonl"
order_by = ["n"]
to = "./out/{n.first}-{n.last}.jsonl"
sources = { after_commit = "archive", archive_to = "./old/" }
"#;
    let report = disk.process(config).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(disk.read("out/1-2.jsonl"), "1\n2\n");
    assert_eq!(disk.files("in"), [""; 0]);
    let run = report.run.unwrap();
    assert_eq!(disk.files("old"), [format!("{run}/in/1.jsonl"), format!("{run}/in/2.jsonl")]);
    assert_eq!(disk.read(&format!("old/{run}/in/2.jsonl")), "2\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_may_be_another_directory() {
    let disk = filled();
    let flow = FLOW.replace("to = \"lake:", "to = \"out:");
    let config = format!(
        "[stores]\nlake = \"./lake\"\nout = \"./deep/er/out\"\n{flow}sources = {{ after_commit = \"delete\" }}\n"
    );
    let report = disk.process(&config).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(disk.files("deep"), ["er/out/daily/a.jsonl", "er/out/daily/b.jsonl"]);
    assert_eq!(disk.read("deep/er/out/daily/b.jsonl"), "b1\nb2\n");
    assert_eq!(disk.files("lake"), [""; 0], "no source, no trash, no temporary file");
    assert!(disk.path("lake/raw/a").is_dir(), "whoever drops files into an inbox finds it again");
}

#[tokio::test(flavor = "multi_thread")]
async fn symbolic_links_are_neither_read_nor_deleted() {
    let disk = filled();
    disk.write("outside/3.jsonl", "secret\n");
    disk.write("outside/c/1.jsonl", "secret\n");
    disk.write("outside/c/2.jsonl", "secret\n");
    symlink(disk.path("outside/3.jsonl"), disk.path("lake/raw/a/3.jsonl")).unwrap();
    symlink("1.jsonl", disk.path("lake/raw/a/4.jsonl")).unwrap();
    symlink(disk.path("outside/c"), disk.path("lake/raw/c")).unwrap();
    let config = format!("{LAKE}{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let report = disk.process(&config).run_one().await;
    assert_eq!((report.status, report.account.objects_in), (Status::Committed, 4), "{report:#?}");
    assert_eq!(disk.read("lake/daily/a.jsonl"), "a1\na2\n");
    assert_eq!(disk.files("lake/raw"), ["a/3.jsonl", "a/4.jsonl", "c"], "the links are left as they are");
    assert_eq!(disk.files("outside"), ["3.jsonl", "c/1.jsonl", "c/2.jsonl"]);
}

/// The root itself may be a link: it is the user's own word for where the store is.
#[tokio::test(flavor = "multi_thread")]
async fn the_directory_of_a_store_may_be_a_link() {
    let disk = filled();
    std::fs::rename(disk.path("lake"), disk.path("elsewhere")).unwrap();
    symlink("elsewhere", disk.path("lake")).unwrap();
    let report = disk.process(&format!("{LAKE}{FLOW}")).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(disk.read("elsewhere/daily/a.jsonl"), "a1\na2\n");
}

/// A target directory that is a link leads outside: refused, and nothing is written there.
#[tokio::test(flavor = "multi_thread")]
async fn a_link_in_the_targets_path_is_not_followed() {
    let disk = filled();
    std::fs::create_dir_all(disk.path("outside")).unwrap();
    symlink(disk.path("outside"), disk.path("lake/daily")).unwrap();
    let config = format!("{LAKE}{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let reports = disk.process(&config).run().await;
    let committed = reports.is_ok_and(|reports| reports.iter().any(|r| r.groups.committed > 0));
    assert!(!committed, "something was committed behind a link");
    assert_eq!(disk.files("outside"), [""; 0]);
    assert_eq!(disk.files("lake/raw").len(), 4, "no source was deleted");
}

/// In place: the same inode and the same size; only its time and bytes are others.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_modified_in_place_between_plan_and_join_gives_up_its_group() {
    for (body, flags) in [("xx\n", "same size"), ("longer\n", "longer"), ("\n", "shorter")] {
        let disk = Arc::new(filled());
        let (config, inner) = (format!("{LAKE}{FLOW}sources = {{ after_commit = \"delete\" }}\n"), Arc::clone(&disk));
        let hook = once_opened(move || std::fs::write(inner.path("lake/raw/a/1.jsonl"), body).unwrap());
        let report = disk.process_through(&config, Some(hook)).run_one().await;
        assert_eq!(
            (report.status, report.groups.committed, report.groups.failed),
            (Status::Failed, 1, 1),
            "{flags}: {report:#?}"
        );
        let error = &report.failures[0].error;
        assert!(error.contains("`raw/a/1.jsonl`") && error.contains("changed"), "{flags}: {error}");
        assert_eq!(disk.files("lake"), ["daily/b.jsonl", "raw/a/1.jsonl", "raw/a/2.jsonl"], "{flags}");
        let next = disk.process(&config).run_one().await;
        assert_eq!(next.status, Status::Committed, "{flags}: {next:#?}");
        assert_eq!(disk.read("lake/daily/a.jsonl"), format!("{body}a2\n"), "{flags}");
    }
}

/// The same where files are joined on a thread of their own, within the kernel: no hook stands before that, so the file
/// is modified behind the plan of a run that another process opened and left.
#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_is_modified_while_its_run_lies_open_gives_up_its_group() {
    let disk = filled();
    let config = format!("{LAKE}{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    // The first process dies right behind `Opened`.
    let hook: Hook = Arc::new(move |op| {
        let opened = op.key.ends_with("log/00000000000000000001.json") && op.method == Method::PutIfAbsent;
        Box::pin(std::future::ready(if opened { Verdict::HangAfter } else { Verdict::Proceed }))
    });
    let first = disk.process_through(&config, Some(hook));
    assert!(tokio::time::timeout(std::time::Duration::from_secs(3), first.run()).await.is_err(), "it hangs");
    disk.write("lake/raw/a/1.jsonl", "xx\n");
    let reports = disk.process(&config).run().await.unwrap();
    assert_eq!((reports[0].groups.committed, reports[0].groups.failed), (1, 1), "{reports:#?}");
    assert!(reports[0].failures[0].error.contains("`raw/a/1.jsonl`"), "{reports:#?}");
    // The same call has planned the released group again, in its new version.
    assert_eq!(reports[1].status, Status::Committed, "{reports:#?}");
    assert_eq!(disk.read("lake/daily/a.jsonl"), "xx\na2\n");
    assert_eq!(disk.files("lake/raw"), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_appear_during_a_run_are_taken_by_the_next() {
    let disk = Arc::new(filled());
    let flow = FLOW.replace("daily/{day}.jsonl", "daily/{day}_{index}.jsonl");
    let config = format!("{LAKE}{flow}sources = {{ after_commit = \"delete\" }}\n");
    let inner = Arc::clone(&disk);
    let hook = once_opened(move || {
        inner.write("lake/raw/a/3.jsonl", "a3\n");
        inner.write("lake/raw/a/4.jsonl", "a4\n");
    });
    let report = disk.process_through(&config, Some(hook)).run_one().await;
    assert_eq!((report.status, report.account.objects_in), (Status::Committed, 4), "{report:#?}");
    assert_eq!(disk.read("lake/daily/a_0.jsonl"), "a1\na2\n");
    assert_eq!(disk.files("lake/raw"), ["a/3.jsonl", "a/4.jsonl"]);
    let next = disk.process(&config).run_one().await;
    assert_eq!((next.status, next.account.objects_in), (Status::Committed, 2), "{next:#?}");
    assert_eq!(disk.read("lake/daily/a_1.jsonl"), "a3\na4\n");
    assert_eq!(disk.files("lake/raw"), [""; 0]);
    let state = disk.process(&config).state().await;
    assert!(state.runs().iter().all(|run| run.status == RunStatus::Disposed));
}

/// Names that are no text, pipes and sockets lie in real directories too.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_object_is_passed_over_and_left() {
    use std::os::unix::ffi::OsStrExt;
    let disk = filled();
    let odd = disk.path("lake/raw/a").join(std::ffi::OsStr::from_bytes(b"\xff3.jsonl"));
    std::fs::write(&odd, "x\n").unwrap();
    let pipe = disk.path("lake/raw/a/5.jsonl");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    std::fs::create_dir(disk.path("lake/raw/a/6.jsonl")).unwrap();
    disk.write("lake/raw/a/7.jsonl", "");
    let config = format!("{LAKE}{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let report = disk.process(&config).run_one().await;
    assert_eq!((report.status, report.account.objects_in), (Status::Committed, 4), "{report:#?}");
    assert!(odd.exists() && std::fs::symlink_metadata(&pipe).is_ok());
    assert_eq!(disk.read("lake/raw/a/7.jsonl"), "");
}

/// A publisher that replaced died between its exchange and its look at what came out: a foreign, newer object. Whoever
/// takes over must not commit over it (found by the model `swap`).
#[tokio::test]
async fn regression_an_object_that_an_exchange_took_out_unseen_is_put_back() {
    use baler_store::{Clock, DirectoryOptions, DirectoryStore, IdSource, Precondition, Store, SystemClock};
    use baler_testkit::SeededIds;
    use std::sync::Arc;

    let root = tempfile::tempdir().unwrap();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let ids: Arc<dyn IdSource> = Arc::new(SeededIds::new(5));
    let path = root.path().to_path_buf();
    let store: Arc<dyn Store> =
        Arc::new(DirectoryStore::new("disk", path, DirectoryOptions::default(), clock, ids).unwrap());
    let old = store.put(&baler_testkit::fixtures::key("x"), "old".into()).await.unwrap();
    let staged = baler_testkit::fixtures::stage(&*store, "x", "a1", &["ours".into()]).await.unwrap();
    let baler_model::StagedPlace::File { temp, .. } = &staged.place else { panic!("a directory stages files") };
    // What the dead publisher did: took the temporary over, and exchanged it for what somebody wrote in between.
    let own = root.path().join(format!("{temp}.pub-0123"));
    std::fs::rename(root.path().join(temp), &own).unwrap();
    std::fs::write(root.path().join("foreign"), "foreign").unwrap();
    std::fs::rename(root.path().join("foreign"), own.with_extension("held")).unwrap();
    std::fs::rename(&own, root.path().join("x")).unwrap();
    std::fs::rename(own.with_extension("held"), &own).unwrap();
    assert!(!store.staged_exists(&staged).await.unwrap());
    // Publishing once more, as a run does before it commits a replacement, looks at what came out.
    let outcome = store.publish(&staged, &Precondition::Matches(old)).await.unwrap();
    assert!(matches!(outcome, baler_store::PublishOutcome::Replaced { found: Some(_) }), "{outcome:?}");
    assert_eq!(std::fs::read_to_string(root.path().join("x")).unwrap(), "foreign");
}
