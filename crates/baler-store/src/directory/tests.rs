use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use baler_model::{InputVersion, StagedPlace};
use futures::StreamExt;
use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::memory::tests::{clock, key, read, stage, stamp};
use crate::{CopySource, MemoryOptions, MemoryStore, Proof, SystemClock, SystemIds};

fn open(root: &Path) -> DirectoryStore {
    let options = DirectoryOptions::default();
    DirectoryStore::new("d", root.into(), options, Arc::new(SystemClock), Arc::new(SystemIds)).unwrap()
}

fn store() -> (TempDir, DirectoryStore) {
    let root = tempfile::tempdir().unwrap();
    let store = open(root.path());
    (root, store)
}

fn write(root: &TempDir, name: &str, body: impl AsRef<[u8]>) {
    let path = root.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, body).unwrap();
}

async fn version(store: &DirectoryStore, name: &str) -> ObjectVersion {
    store.head(&key(name)).await.unwrap().unwrap().version
}

async fn input(store: &DirectoryStore, name: &str) -> InputVersion {
    let head = store.head(&key(name)).await.unwrap().unwrap();
    InputVersion { key: key(name), etag: head.version.etag, size: head.size, modified: head.modified }
}

async fn keys(store: &DirectoryStore, prefix: &str) -> Vec<String> {
    let page = store.list(&ListRequest { prefix: prefix.into(), ..ListRequest::default() }).await.unwrap();
    assert_eq!(page.next, None);
    page.objects.iter().map(|o| o.key.to_string()).collect()
}

fn body(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn temp(staged: &Staged) -> &str {
    match &staged.place {
        StagedPlace::File { temp, .. } => temp,
        StagedPlace::Multipart { .. } => panic!("a directory stages files"),
    }
}

/// All files below the root, relative to it.
fn files(root: &TempDir) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![root.path().to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => waiting.push(entry.path()),
                false => {
                    found.insert(entry.path().strip_prefix(root.path()).unwrap().display().to_string());
                }
            }
        }
    }
    found
}

#[tokio::test]
async fn a_root_that_does_not_exist_is_empty_and_created_by_the_first_write() {
    let parent = tempfile::tempdir().unwrap();
    let store = open(&parent.path().join("a/b"));
    assert_eq!(keys(&store, "").await, [""; 0]);
    assert_eq!(store.head(&key("x")).await.unwrap(), None);
    assert!(matches!(store.get(&key("x"), None, None).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.list_staged("").await.unwrap(), []);
    store.delete(&key("x")).await.unwrap();
    assert!(!parent.path().join("a").exists());
    store.put(&key("x/y"), body("1")).await.unwrap();
    assert_eq!(fs::read(parent.path().join("a/b/x/y")).unwrap(), b"1");
}

#[tokio::test]
async fn keys_that_no_path_can_keep_are_absent_and_refused() {
    let (root, store) = store();
    fs::write(root.path().parent().unwrap().join("baler-outside"), "secret").unwrap();
    write(&root, "a/b", "1");
    let long = "n".repeat(256);
    let bad = [
        "../baler-outside",
        "a/../a/b",
        "./a/b",
        "a//b",
        "/a/b",
        "a/b/",
        "a/.",
        "..",
        &long,
        ".baler-tmp/x",
        ".baler-trash/x",
    ];
    for bad in bad {
        let bad = key(bad);
        assert_eq!(store.head(&bad).await.unwrap(), None, "{bad}");
        assert!(matches!(store.get(&bad, None, None).await, Err(StoreError::NotFound { .. })), "{bad}");
        let any = ObjectVersion::new("any");
        assert_eq!(store.delete_if(&bad, &any).await.unwrap(), DeleteOutcome::Absent, "{bad}");
        store.delete(&bad).await.unwrap();
        assert!(matches!(store.put(&bad, body("2")).await, Err(StoreError::Unsupported { .. })), "{bad}");
        let refused = store.put_if_absent(&bad, body("2"), &SystemIds.write_id()).await;
        assert!(matches!(refused, Err(StoreError::Unsupported { .. })), "{bad}");
        let refused = store.stage(&bad, &stamp("a"), &OutputAttributes::default()).await;
        assert!(matches!(refused, Err(StoreError::Unsupported { .. })), "{bad}");
        assert_eq!(keys(&store, bad.as_str()).await, [""; 0], "{bad}");
    }
    assert_eq!(files(&root), ["a/b".to_owned()].into());
}

#[tokio::test]
async fn odd_names_are_kept_byte_for_byte() {
    let (root, store) = store();
    let long = "n".repeat(255);
    for name in ["a b+c%2F", "ä/ö", "...", "a\\b", ".hidden/.x", "-", "new\nline", &long] {
        store.put(&key(name), body(name)).await.unwrap();
        assert_eq!(fs::read(root.path().join(name)).unwrap(), name.as_bytes());
        assert_eq!(read(&store, name).await, name.as_bytes());
        assert_eq!(keys(&store, name).await, [name]);
        let planned = version(&store, name).await;
        assert_eq!(store.delete_if(&key(name), &planned).await.unwrap(), DeleteOutcome::Deleted);
    }
    assert_eq!(files(&root), BTreeSet::new());
}

#[tokio::test]
async fn no_symbolic_link_below_the_root_is_followed() {
    let (root, store) = store();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "secret").unwrap();
    write(&root, "inside/f", "1");
    symlink(outside.path(), root.path().join("dir")).unwrap();
    symlink(outside.path().join("f"), root.path().join("file")).unwrap();
    symlink("inside", root.path().join("alias")).unwrap();
    for name in ["dir/f", "file", "alias/f"] {
        assert_eq!(store.head(&key(name)).await.unwrap(), None, "{name}");
        assert!(matches!(store.get(&key(name), None, None).await, Err(StoreError::NotFound { .. })), "{name}");
    }
    for name in ["dir/f", "dir/new", "alias/new"] {
        assert!(matches!(store.put(&key(name), body("2")).await, Err(StoreError::Unsupported { .. })), "{name}");
    }
    store.delete(&key("dir/f")).await.unwrap();
    let refused = store.put_if_absent(&key("file"), body("2"), &SystemIds.write_id()).await;
    assert!(matches!(refused, Err(StoreError::Unsupported { .. })));
    assert_eq!(fs::read(outside.path().join("f")).unwrap(), b"secret");
    let page = store.list(&ListRequest::default()).await.unwrap();
    assert_eq!((page.objects.len(), page.unreadable), (1, 3));
}

#[tokio::test]
async fn without_openat2_the_walk_refuses_the_same_links() {
    let (root, store) = store();
    store.tree.pretend_no_openat2();
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("f"), "secret").unwrap();
    symlink(outside.path(), root.path().join("dir")).unwrap();
    symlink(outside.path().join("f"), root.path().join("file")).unwrap();
    for name in ["dir/f", "file"] {
        assert!(matches!(store.get(&key(name), None, None).await, Err(StoreError::NotFound { .. })), "{name}");
    }
    assert!(matches!(store.put(&key("dir/new"), body("2")).await, Err(StoreError::Unsupported { .. })));
    store.put(&key("a/b/c"), body("3")).await.unwrap();
    assert_eq!(read(&store, "a/b/c").await, b"3");
    assert_eq!(keys(&store, "").await, ["a/b/c"]);
}

#[tokio::test]
async fn names_that_are_not_utf8_are_counted_not_dropped_in_silence() {
    let (root, store) = store();
    write(&root, "a/good", "");
    fs::write(root.path().join("a").join(std::ffi::OsStr::from_bytes(b"b\xff")), "").unwrap();
    let page = store.list(&ListRequest { prefix: "a/".into(), ..ListRequest::default() }).await.unwrap();
    assert_eq!((page.objects.len(), page.unreadable), (1, 1));
    let page = store.list(&ListRequest { prefix: "a/g".into(), ..ListRequest::default() }).await.unwrap();
    assert_eq!((page.objects.len(), page.unreadable), (1, 0));
}

#[tokio::test]
async fn a_pipe_is_no_object_and_blocks_nobody() {
    let (root, store) = store();
    let pipe = root.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    assert_eq!(store.head(&key("pipe")).await.unwrap(), None);
    assert!(matches!(store.get(&key("pipe"), None, None).await, Err(StoreError::NotFound { .. })));
    assert_eq!(store.list(&ListRequest::default()).await.unwrap().unreadable, 1);
}

#[tokio::test]
async fn a_large_directory_is_listed_whole_and_sorted() {
    let (root, store) = store();
    let mut expected = Vec::new();
    fs::create_dir_all(root.path().join("in/below")).unwrap();
    for n in 0..10_000 {
        let name = if n % 1000 == 999 { format!("in/d{n:05}/x") } else { format!("in/f{n:05}") };
        write(&root, &name, "");
        expected.push(name);
    }
    expected.sort();
    assert_eq!(keys(&store, "in/").await, expected);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn listings_equal_those_of_an_object_store(
        names in prop::collection::vec("[ab.-]{1,2}(/[ab0.-]{1,2}){0,2}", 0..24),
        prefix in "[ab]?[-./]?[ab]?",
        after in prop::option::of("[ab.]{0,2}/?[ab]{0,2}"),
        folded in any::<bool>(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (_root, store) = store();
            let memory = MemoryStore::new("m", MemoryOptions::default(), clock(), crate::memory::tests::ids());
            for name in &names {
                // Refused where a file and a directory would have one name, or a piece is `.` or `..`.
                if store.put(&key(name), Bytes::new()).await.is_ok() {
                    memory.put(&key(name), Bytes::new()).await.unwrap();
                }
            }
            let request = ListRequest { prefix, folded, start_after: after, token: None };
            let (found, expected) = (store.list(&request).await.unwrap(), memory.list(&request).await.unwrap());
            let keys = |page: &Page| page.objects.iter().map(|o| o.key.clone()).collect::<Vec<_>>();
            prop_assert_eq!(keys(&found), keys(&expected));
            prop_assert_eq!(found.prefixes, expected.prefixes);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn an_empty_directory_is_no_prefix() {
    let (root, store) = store();
    fs::create_dir_all(root.path().join("a/b/c")).unwrap();
    write(&root, "d/e/f", "");
    let page = store.list(&ListRequest { folded: true, ..ListRequest::default() }).await.unwrap();
    assert_eq!(page.prefixes, ["d/"]);
}

#[tokio::test]
async fn equal_bytes_are_our_own_lost_reply_and_others_are_not() {
    let (root, store) = store();
    let id = SystemIds.write_id();
    let PutOutcome::Created(first) = store.put_if_absent(&key("k"), body("mine"), &id).await.unwrap() else { panic!() };
    assert_eq!(store.put_if_absent(&key("k"), body("mine"), &id).await.unwrap(), PutOutcome::Created(first));
    for other in ["other", "min", "mine2"] {
        let outcome = store.put_if_absent(&key("k"), body(other), &id).await.unwrap();
        assert_eq!(outcome, PutOutcome::Exists { owner: None });
    }
    assert_eq!(files(&root), ["k".to_owned()].into(), "no temporary file is left");
}

#[tokio::test]
async fn a_file_where_a_directory_must_be_is_said_so() {
    let (_root, store) = store();
    store.put(&key("x"), body("1")).await.unwrap();
    let refused = store.put(&key("x/y"), body("2")).await.unwrap_err();
    assert!(refused.hint().unwrap().contains("cannot both be keys"), "{refused}");
    store.put(&key("d/y"), body("2")).await.unwrap();
    assert!(matches!(store.put(&key("d"), body("3")).await, Err(StoreError::Unsupported { .. })));
    let refused = store.put_if_absent(&key("d"), body("3"), &SystemIds.write_id()).await;
    assert!(matches!(refused, Err(StoreError::Unsupported { .. })));
}

#[tokio::test]
async fn a_read_is_pinned_to_its_version_to_the_end() {
    let (root, store) = store();
    write(&root, "k", vec![b'x'; 3 << 20]);
    let planned = version(&store, "k").await;
    let mut get = store.get(&key("k"), Some(ByteRange::new(1, u64::MAX)), Some(&planned)).await.unwrap();
    assert_eq!((get.range, get.size), (ByteRange::new(1, 3 << 20), 3 << 20));
    assert_eq!(get.body.next().await.unwrap().unwrap().len(), 1 << 20);
    write(&root, "k", "short");
    assert!(matches!(get.body.next().await.unwrap(), Err(StoreError::Changed { .. })));
    assert!(matches!(store.get(&key("k"), None, Some(&planned)).await, Err(StoreError::Changed { .. })));
}

#[tokio::test]
async fn a_file_replaced_by_renaming_is_read_to_its_end() {
    let (root, store) = store();
    write(&root, "k", vec![b'x'; 3 << 20]);
    let get = store.get(&key("k"), None, None).await.unwrap();
    store.put(&key("k"), body("new")).await.unwrap();
    let chunks: Vec<Bytes> = get.body.map(|chunk| chunk.unwrap()).collect().await;
    assert_eq!(chunks.concat(), vec![b'x'; 3 << 20]);
}

#[tokio::test]
async fn nothing_staged_is_visible_and_publishing_twice_revives_nothing() {
    let (root, store) = store();
    let staged = stage(&store, "out/k", "a1", "body").await;
    assert!(temp(&staged).starts_with(".baler-tmp/flow/run/7-a1-"), "{staged:?}");
    assert_eq!(keys(&store, "").await, [""; 0]);
    assert_eq!(store.head(&key(temp(&staged))).await.unwrap(), None);
    assert!(store.staged_exists(&staged).await.unwrap());
    assert_eq!(store.list_staged(".baler-tmp/flow/run").await.unwrap().len(), 1);
    assert_eq!(store.list_staged(".baler-tmp/other/").await.unwrap(), []);
    assert_eq!(store.confirm(&staged).await.unwrap(), Confirmation::Absent);

    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert!(!store.staged_exists(&staged).await.unwrap());
    let published = version(&store, "out/k").await;
    let ours = Confirmation::Ours { version: published.clone(), proof: Proof::SameFile };
    assert_eq!(store.confirm(&staged).await.unwrap(), ours);

    assert_eq!(store.delete_if(&key("out/k"), &published).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::StagedGone);
    assert_eq!(store.confirm(&staged).await.unwrap(), Confirmation::Absent);
    assert_eq!(files(&root), BTreeSet::new());
    assert!(!root.path().join(".baler-tmp/flow").exists(), "directories of a published run are gone");
}

#[tokio::test]
async fn a_foreign_file_keeps_its_key() {
    let (root, store) = store();
    let staged = stage(&store, "k", "a1", "body").await;
    write(&root, "k", "foreign");
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Occupied);
    assert!(matches!(store.confirm(&staged).await.unwrap(), Confirmation::Foreign { .. }));
    let outcome = store.publish(&staged, &Precondition::Matches(ObjectVersion::new("x"))).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Replaced { found: Some(version(&store, "k").await) });
    assert_eq!(read(&store, "k").await, b"foreign");
    assert!(store.staged_exists(&staged).await.unwrap());
    assert_eq!(store.publish(&staged, &Precondition::Whatever).await.unwrap(), PublishOutcome::Published);
    assert_eq!(read(&store, "k").await, b"body");
    assert_eq!(files(&root), ["k".to_owned()].into());
}

#[tokio::test]
async fn a_temporary_that_was_written_to_is_lost() {
    let (root, store) = store();
    for precondition in [Precondition::Absent, Precondition::Whatever] {
        let staged = stage(&store, "k", "a1", "body").await;
        fs::write(root.path().join(temp(&staged)), "longer body").unwrap();
        assert!(!store.staged_exists(&staged).await.unwrap());
        assert_eq!(store.publish(&staged, &precondition).await.unwrap(), PublishOutcome::StagedGone);
        assert_eq!(keys(&store, "").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_crash_between_link_and_unlink_publishes_once() {
    let (root, store) = store();
    let staged = stage(&store, "k", "a1", "body").await;
    let (from, to) = (root.path().join(temp(&staged)), root.path().join("k"));
    fs::hard_link(&from, &to).unwrap();
    assert_eq!(store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    assert!(!from.exists(), "or it could be published again after a consumer took the object away");

    fs::create_dir_all(from.parent().unwrap()).unwrap();
    fs::hard_link(&to, &from).unwrap();
    assert!(matches!(store.confirm(&staged).await.unwrap(), Confirmation::Ours { .. }));
    assert!(!from.exists());
}

#[tokio::test]
async fn a_replacement_goes_on_where_a_publisher_died() {
    let (root, store) = store();
    for stop in ["taken", "exchanged"] {
        let old = store.put(&key("k"), body("old")).await.unwrap();
        let staged = stage(&store, "k", "a1", "new").await;
        let own = format!("{}.pub-0123", temp(&staged));
        fs::rename(root.path().join(temp(&staged)), root.path().join(&own)).unwrap();
        assert!(store.staged_exists(&staged).await.unwrap(), "{stop}");
        assert_eq!(store.list_staged("").await.unwrap(), [], "what a publisher holds is not for `gc`");
        if stop == "exchanged" {
            exchange(&root, &own, "k");
        }
        let matching = Precondition::Matches(old);
        assert_eq!(store.publish(&staged, &matching).await.unwrap(), PublishOutcome::Published, "{stop}");
        assert_eq!(store.publish(&staged, &matching).await.unwrap(), PublishOutcome::Published, "{stop}");
        assert!(matches!(store.confirm(&staged).await.unwrap(), Confirmation::Ours { .. }), "{stop}");
        assert_eq!(files(&root), ["k".to_owned()].into(), "{stop}");
    }
}

fn exchange(root: &TempDir, a: &str, b: &str) {
    let flags = rustix::fs::RenameFlags::EXCHANGE;
    let cwd = rustix::fs::CWD;
    rustix::fs::renameat_with(cwd, root.path().join(a), cwd, root.path().join(b), flags).unwrap();
}

#[tokio::test]
async fn what_was_not_to_be_replaced_is_exchanged_back() {
    let (root, store) = store();
    let old = store.put(&key("k"), body("old")).await.unwrap();
    let staged = stage(&store, "k", "a1", "new").await;
    let own = format!("{}.pub-0123", temp(&staged));
    fs::rename(root.path().join(temp(&staged)), root.path().join(&own)).unwrap();
    // Between the publisher's look and its exchange somebody overwrote the target; then the publisher died.
    write(&root, "foreign", "foreign");
    fs::rename(root.path().join("foreign"), root.path().join("k")).unwrap();
    let foreign = version(&store, "k").await;
    exchange(&root, &own, "k");

    let outcome = store.publish(&staged, &Precondition::Matches(old)).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Replaced { found: Some(foreign.clone()) });
    assert_eq!(version(&store, "k").await, foreign);
    assert!(store.staged_exists(&staged).await.unwrap());
    store.abort_staged(&staged).await.unwrap();
    assert_eq!(files(&root), ["k".to_owned()].into());
}

#[tokio::test]
async fn what_came_out_is_put_back_when_ours_was_consumed() {
    let (root, store) = store();
    let old = store.put(&key("k"), body("old")).await.unwrap();
    let staged = stage(&store, "k", "a1", "new").await;
    let own = format!("{}.pub-0123", temp(&staged));
    fs::rename(root.path().join(temp(&staged)), root.path().join(&own)).unwrap();
    write(&root, "k2", "foreign");
    fs::rename(root.path().join("k2"), root.path().join("k")).unwrap();
    exchange(&root, &own, "k");
    fs::remove_file(root.path().join("k")).unwrap();
    let outcome = store.publish(&staged, &Precondition::Matches(old)).await.unwrap();
    assert!(matches!(outcome, PublishOutcome::Replaced { found: Some(_) }), "{outcome:?}");
    assert_eq!(read(&store, "k").await, b"foreign");
}

#[tokio::test]
async fn a_replacement_whose_object_is_gone_waits() {
    let (_root, store) = store();
    let old = store.put(&key("k"), body("old")).await.unwrap();
    let staged = stage(&store, "k", "a1", "new").await;
    store.delete(&key("k")).await.unwrap();
    let outcome = store.publish(&staged, &Precondition::Matches(old)).await.unwrap();
    assert_eq!(outcome, PublishOutcome::Replaced { found: None });
    assert!(store.staged_exists(&staged).await.unwrap());
    assert_eq!(store.publish(&staged, &Precondition::Whatever).await.unwrap(), PublishOutcome::Published);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn publishers_of_one_output_race_without_loss() {
    let (root, store) = store();
    for round in 0..20 {
        let old = store.put(&key("k"), body("old")).await.unwrap();
        let staged = stage(&store, "k", "a1", "new").await;
        for precondition in [Precondition::Matches(old), Precondition::Whatever] {
            let racers = (0..6).map(|_| store.publish(&staged, &precondition));
            for outcome in futures::future::join_all(racers).await {
                assert_eq!(outcome.unwrap(), PublishOutcome::Published, "{round}");
            }
        }
        assert_eq!(read(&store, "k").await, b"new", "{round}");
        assert_eq!(files(&root), ["k".to_owned()].into(), "{round}");
    }
}

#[tokio::test]
async fn a_mark_that_points_out_of_the_temporary_directory_is_refused() {
    let (root, store) = store();
    write(&root, "source", "precious");
    let mut staged = stage(&store, "k", "a1", "body").await;
    for bad in ["source", ".baler-tmp/../source", "/etc/passwd", ".baler-tmp"] {
        if let StagedPlace::File { temp, .. } = &mut staged.place {
            *temp = bad.into();
        }
        assert!(matches!(store.abort_staged(&staged).await, Err(StoreError::Unsupported { .. })), "{bad}");
        let refused = store.publish(&staged, &Precondition::Whatever).await;
        assert!(matches!(refused, Err(StoreError::Unsupported { .. })), "{bad}");
        let (key, handle, started) = (key("x"), bad.to_owned(), clock().now());
        let refused = store.abort_listed(&StagedListing { key, handle, started }).await;
        assert!(matches!(refused, Err(StoreError::Unsupported { .. })), "{bad}");
    }
    assert_eq!(fs::read(root.path().join("source")).unwrap(), b"precious");
}

#[tokio::test]
async fn only_the_planned_version_is_deleted_and_its_directory_stays() {
    let (root, store) = store();
    write(&root, "in/k", "first");
    let planned = version(&store, "in/k").await;
    write(&root, "in/k", "second one");
    let found = version(&store, "in/k").await;
    let outcome = store.delete_if(&key("in/k"), &planned).await.unwrap();
    assert_eq!(outcome, DeleteOutcome::Changed { found: found.clone() });
    assert_eq!(store.delete_if(&key("in/k"), &found).await.unwrap(), DeleteOutcome::Deleted);
    assert_eq!(store.delete_if(&key("in/k"), &found).await.unwrap(), DeleteOutcome::Absent);
    assert!(root.path().join("in").is_dir(), "an inbox is not ours to remove");
    store.put(&key("own/a/b"), body("1")).await.unwrap();
    store.delete(&key("own/a/b")).await.unwrap();
    assert!(!root.path().join("own").exists());
}

#[tokio::test]
async fn a_sweep_finishes_what_deleters_began() {
    let (root, store) = store();
    let long = "n".repeat(250);
    for (name, planned) in [("in/a.b.c", true), ("in/other", false), ("x", false), (&*long, true), ("in/taken", false)]
    {
        write(&root, name, "body");
        let etag = if planned { version(&store, name).await.etag.to_string() } else { "1-2-3-4".to_owned() };
        let (parent, last) = tree::split(name);
        let to = if name == long {
            format!(".baler-trash/long/{etag}.0f/{last}")
        } else {
            format!(".baler-trash/short/{parent}/{etag}.0f.{last}")
        };
        let to = root.path().join(to);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::rename(root.path().join(name), to).unwrap();
    }
    write(&root, "in/taken", "newer");
    assert_eq!(keys(&store, "").await, ["in/taken"]);
    let mut swept = store.sweep_trash().await.unwrap();
    swept.put_back.sort();
    assert_eq!(swept.removed, 2);
    assert_eq!(swept.put_back, [key("in/other"), key("x")]);
    assert_eq!(swept.kept, [".baler-trash/short/in/1-2-3-4.0f.taken"]);
    assert_eq!(read(&store, "in/taken").await, b"newer");
    assert_eq!(keys(&store, "").await, ["in/other", "in/taken", "x"]);
    assert!(!root.path().join(".baler-trash/long").exists());
    assert_eq!(store.sweep_trash().await.unwrap().put_back, []);
}

#[tokio::test]
async fn parts_come_in_order_and_a_failed_one_leaves_nothing() {
    let (root, store) = store();
    write(&root, "s", "0123456789");
    let source: Arc<dyn Store> = Arc::new(open(root.path()));
    let version = version(&store, "s").await;
    let copy = CopySource { store: source, key: key("s"), version, size: 10 };
    let writer = store.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap();
    assert!(writer.in_order());
    writer.write_part(1, vec![body("<"), body("(")]).await.unwrap();
    let beyond = writer.copy_part(2, &copy, ByteRange::new(8, 12)).await;
    assert!(matches!(beyond, Err(StoreError::Failed { .. })), "{beyond:?}");
    writer.copy_part(2, &copy, ByteRange::new(2, 5)).await.unwrap();
    assert!(matches!(writer.write_part(2, vec![body("?")]).await, Err(StoreError::Unsupported { .. })));
    let stale = CopySource { version: ObjectVersion::new("x"), ..copy.clone() };
    assert!(matches!(writer.copy_part(3, &stale, ByteRange::new(0, 1)).await, Err(StoreError::Changed { .. })));
    let missing = CopySource { key: key("none"), ..copy.clone() };
    assert!(matches!(writer.copy_part(3, &missing, ByteRange::new(0, 1)).await, Err(StoreError::NotFound { .. })));
    let memory: Arc<dyn Store> =
        Arc::new(MemoryStore::new("m", MemoryOptions::default(), clock(), crate::memory::tests::ids()));
    let foreign = CopySource { store: memory, ..copy };
    assert!(matches!(writer.copy_part(3, &foreign, ByteRange::new(0, 1)).await, Err(StoreError::Unsupported { .. })));
    writer.write_part(3, vec![body(">")]).await.unwrap();
    let staged = writer.finish(Some(5)).await.unwrap();
    assert_eq!((staged.size, staged.crc64nvme), (6, Some(5)));
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    assert_eq!(read(&store, "k").await, b"<(234>");
    let metered = store.meter().read();
    assert!(metered.copy >= 3 && metered.bytes_copied >= 3, "{metered:?}");
}

#[tokio::test]
async fn an_aborted_writer_leaves_nothing_and_a_dropped_one_something_for_gc() {
    let (root, store) = store();
    let writer = store.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap();
    writer.abort().await.unwrap();
    assert_eq!(files(&root), BTreeSet::new());
    drop(store.stage(&key("k"), &stamp("a"), &OutputAttributes::default()).await.unwrap());
    let left = store.list_staged("").await.unwrap();
    assert_eq!(left.len(), 1);
    store.abort_listed(&left[0]).await.unwrap();
    store.abort_listed(&left[0]).await.unwrap();
    assert_eq!(files(&root), BTreeSet::new());
}

#[tokio::test]
async fn an_appender_joins_small_and_large_files_of_another_directory() {
    let (root, store) = store();
    let (other, source) = self::store();
    let mut expected = b"head\n".to_vec();
    let mut inputs = Vec::new();
    for n in 0..300 {
        let size = if n % 50 == 7 { 300_000 + n } else { 5000 + n };
        let content: Vec<u8> = (0..size).map(|i| (i * 31 + n) as u8).collect();
        let name = format!("in/{}/{n}", n % 3);
        write(&other, &name, &content);
        expected.extend_from_slice(&content[n % 4..]);
        inputs.push((input(&source, &name).await, n % 4, content));
    }
    write(&other, "in/empty", "");
    let empty = input(&source, "in/empty").await;
    let mut appender = store.appender(&key("k"), &stamp("a"), &source).unwrap().unwrap();
    appender.append_bytes(b"head\n").unwrap();
    for (input, skip, content) in &inputs {
        let appended = appender.append_object(input, *skip as u64).unwrap();
        let rest = &content[*skip..];
        assert_eq!((appended.bytes, appended.last), (rest.len() as u64, rest.last().copied()));
        assert_eq!(appended.head[..usize::from(appended.head_len)], rest[..10]);
        let peeked = appender.peek(&input.key, &input.version(), 3).unwrap();
        assert_eq!(peeked, content[..3]);
    }
    let appended = appender.append_object(&empty, 0).unwrap();
    assert_eq!((appended.bytes, appended.head_len, appended.last), (0, 0, None));
    let staged = appender.finish().unwrap();
    assert_eq!(staged.size, expected.len() as u64);
    store.publish(&staged, &Precondition::Absent).await.unwrap();
    assert!(read(&store, "k").await == expected);
    assert_eq!(files(&root), ["k".to_owned()].into());
}

#[tokio::test]
async fn an_appender_takes_only_planned_versions_and_goes_on_after_a_refusal() {
    let (root, store) = store();
    for (name, size) in [("small", 100), ("large", 400_000)] {
        write(&root, name, vec![b'a'; size]);
        let planned = input(&store, name).await;
        write(&root, name, vec![b'b'; size + 1]);
        let mut appender = store.appender(&key("k"), &stamp("a"), &store).unwrap().unwrap();
        appender.append_bytes(b"<").unwrap();
        assert!(matches!(appender.append_object(&planned, 0), Err(StoreError::Changed { .. })), "{name}");
        assert!(matches!(appender.peek(&planned.key, &planned.version(), 1), Err(StoreError::Changed { .. })));
        let gone = InputVersion { key: key("gone/x"), ..planned };
        assert!(matches!(appender.append_object(&gone, 0), Err(StoreError::NotFound { .. })), "{name}");
        let directory = InputVersion { key: key(".baler-tmp"), ..gone };
        assert!(matches!(appender.append_object(&directory, 0), Err(StoreError::NotFound { .. })), "{name}");
        appender.append_bytes(b">").unwrap();
        assert_eq!(appender.finish().unwrap().size, 2, "{name}");
    }
}

#[tokio::test]
async fn an_appender_finds_a_directory_that_was_made_again() {
    let (root, store) = store();
    write(&root, "in/a", "1");
    let first = input(&store, "in/a").await;
    let mut appender = store.appender(&key("k"), &stamp("a"), &store).unwrap().unwrap();
    appender.append_object(&first, 0).unwrap();
    fs::remove_dir_all(root.path().join("in")).unwrap();
    write(&root, "in/b", "2");
    let second = input(&store, "in/b").await;
    assert_eq!(appender.append_object(&second, 0).unwrap().bytes, 1);
    drop(appender);
    assert_eq!(files(&root), ["in/b".to_owned()].into(), "dropped unfinished, it removes its temporary file");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_make_directories_again_that_deleters_removed() {
    let (_root, store) = store();
    let store = Arc::new(store);
    let tasks = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move {
            for round in 0..20 {
                let key = key(&format!("state/deep/{n}"));
                store.put(&key, body(&format!("{round}"))).await.unwrap();
                store.delete(&key).await.unwrap();
            }
        })
    });
    for outcome in futures::future::join_all(tasks).await {
        outcome.unwrap();
    }
}

#[test]
fn errors_of_the_system_say_what_to_do() {
    use baler_model::Kind;
    use rustix::io::Errno;
    let (_root, store) = store();
    for (errno, kind) in [
        (Errno::NOSPC, Kind::Transient),
        (Errno::ROFS, Kind::Transient),
        (Errno::DQUOT, Kind::Transient),
        (Errno::ACCESS, Kind::Invalid),
        (Errno::XDEV, Kind::Invalid),
        (Errno::MFILE, Kind::Transient),
        (Errno::IO, Kind::Invalid),
    ] {
        let error = store.tree.fail(errno, "write", "a/b");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains("write `a/b`"), "{error}");
    }
    assert!(matches!(store.tree.fail(Errno::NOSPC, "write", "k"), StoreError::NoRoom { .. }));
    assert!(store.tree.fail(Errno::XDEV, "write", "k").hint().is_some());
}
