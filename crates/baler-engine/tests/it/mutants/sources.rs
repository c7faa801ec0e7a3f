//! What becomes of sources, and of their headers.

use super::*;

// --- Sources ---

/// A flow that archives, under a prefix of this store.
fn archives(to: &str) -> String {
    format!("{FLOW}sources = {{ after_commit = \"archive\", archive_to = \"{to}\" }}\n")
}

#[tokio::test(start_paused = true)]
async fn an_archived_object_is_copied_in_as_few_even_parts_as_the_store_allows() {
    let world = World::with_parts(crate::world::SMALL_PARTS);
    let sizes = [1, 4999, 5000, 5001, 9999, 10_000, 10_001, 12_345];
    let mut copies = Vec::new();
    for (n, size) in sizes.into_iter().enumerate() {
        let body = fixtures::random_bytes(n as u64, size);
        world.put("raw/a/1.jsonl", body.clone()).await;
        world.put("raw/a/2.jsonl", "x\n").await;
        let (hook, copied) = counts(Method::CopyPart, "old/");
        let config = archives("lake:old/").replace("{day}.jsonl\"", &format!("{{day}}{n}.jsonl\""));
        let report = world.process(&config, Some(hook)).run_one().await;
        assert_eq!(report.status, Status::Committed, "{size}: {report:#?}");
        let key = format!("old/{}/raw/a/1.jsonl", report.run.unwrap());
        assert_eq!(world.lake.peek(&key), Some(body), "{size} bytes");
        assert!(world.lake.peek("raw/a/1.jsonl").is_none(), "{size} bytes");
        copies.push(copied.load(Ordering::SeqCst));
    }
    assert_eq!(copies, [2, 2, 2, 3, 3, 3, 4, 4]);
    assert!(world.lake.upload_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_object_archived_in_another_store_passes_through_in_parts() {
    let world = World::new();
    // Bytes that pass through are uploaded in parts of 8 MiB.
    let part = 8 << 20;
    for (n, size) in [1, part - 1, part, part + 1, 2 * part + 7].into_iter().enumerate() {
        let body = fixtures::random_bytes(n as u64, size);
        world.put("raw/a/1.jsonl", body.clone()).await;
        world.put("raw/a/2.jsonl", "x\n").await;
        let (hook, writes) = counts(Method::WritePart, "old/");
        let config = archives("other:old/").replace("{day}.jsonl\"", &format!("{{day}}{n}.jsonl\""));
        let report = world.process(&config, Some(hook)).run_one().await;
        assert_eq!(report.status, Status::Committed, "{size}: {report:#?}");
        let key = format!("old/{}/raw/a/1.jsonl", report.run.unwrap());
        assert!(world.other.peek(&key) == Some(body), "{size} bytes");
        assert!(world.lake.peek("raw/a/1.jsonl").is_none(), "{size} bytes");
        assert_eq!(writes.load(Ordering::SeqCst), size.div_ceil(part) as u64 + 1, "{size} bytes");
    }
    assert!(world.other.upload_ids().is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_call_archived_is_known_again_by_its_bytes() {
    for to in ["lake:old/", "other:old/"] {
        let world = filled(&["a"]).await;
        let hook: Hook = Arc::new(|op| {
            let fails = op.method == Method::DeleteIf && op.key.starts_with("raw/");
            Box::pin(std::future::ready(if fails { Verdict::FailBefore } else { Verdict::Proceed }))
        });
        let report = world.process(&archives(to), Some(hook)).run_one().await;
        assert_eq!(report.status, Status::Failed, "{report:#?}");
        assert_eq!(world.read("raw/").await.len(), 2);
        let calls = Arc::new(parking_lot::Mutex::new(Vec::<(Method, String)>::new()));
        let noted = Arc::clone(&calls);
        let hook: Hook = Arc::new(move |op| {
            noted.lock().push((op.method, op.key.to_string()));
            Box::pin(std::future::ready(Verdict::Proceed))
        });
        let process = world.process(&archives(to), Some(hook));
        let report = process.run().await.unwrap().remove(0);
        assert_eq!(report.status, Status::Committed, "{report:#?}");
        // Who archived it may have died before it was durable: that is seen to before the source goes.
        for source in ["raw/a/1.jsonl", "raw/a/2.jsonl"] {
            let at = |method: Method, start: &str| {
                let calls = calls.lock();
                calls.iter().position(|(m, key)| *m == method && key.starts_with(start) && key.ends_with(source))
            };
            let (synced, deleted) = (at(Method::Sync, "old/"), at(Method::DeleteIf, "raw/"));
            assert!(synced.is_some() && synced < deleted, "{source}: {synced:?}, {deleted:?}");
        }
        assert!(world.read("raw/").await.is_empty());
        assert!(
            world.lake.upload_ids().is_empty() && world.other.upload_ids().is_empty(),
            "the second copy is given up"
        );
        let consumed = process.flow().ledger.consumed(&process.state().await).await.unwrap();
        assert!(consumed.is_empty(), "what is gone is forgotten");
    }
}

/// A source is archived while something happens to its copy; it must stay, and the run must stay open.
async fn archiving_fails(config: &str, hook: Hook, world: &World) -> String {
    let process = world.process(config, Some(hook));
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Failed, "{report:#?}");
    assert!(world.lake.peek("raw/a/1.jsonl").is_some(), "a source without its copy in the archive is never deleted");
    assert_eq!(process.state().await.runs()[0].status, RunStatus::Committed);
    report.failures[0].error.clone()
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_vanishes_from_the_archive_or_is_of_another_size_keeps_its_source() {
    for body in [None, Some("longer than the source\n"), Some("x1\n")] {
        let world = filled(&["a"]).await;
        let lake = world.lake.clone();
        let hook: Hook = Arc::new(move |op| {
            let (lake, op) = (lake.clone(), op.clone());
            Box::pin(async move {
                if op.method == Method::Confirm && op.key.starts_with("old/") && op.key.ends_with("a/1.jsonl") {
                    let key = fixtures::key(&op.key);
                    match body {
                        None => lake.delete(&key).await.unwrap(),
                        Some(body) => drop(lake.put(&key, body.into()).await.unwrap()),
                    }
                }
                Verdict::Proceed
            })
        });
        let error = archiving_fails(&archives("lake:old/"), hook, &world).await;
        assert!(error.contains("is taken by another object"), "{error}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_changes_while_it_is_archived_is_not_ours_to_move() {
    let world = filled(&["a"]).await;
    let lake = world.lake.clone();
    let hook = at(Method::Stage, "old/", 1, move || {
        let lake = lake.clone();
        Box::pin(async move {
            lake.put(&fixtures::key("raw/a/1.jsonl"), "new\n".into()).await.unwrap();
            lake.put(&fixtures::key("raw/a/2.jsonl"), "new\n".into()).await.unwrap();
            Verdict::Proceed
        })
    });
    let process = world.process(&archives("lake:old/"), Some(hook));
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("raw/").await.into_values().collect::<Vec<_>>(), ["new\n", "new\n"]);
    assert_eq!(process.state().await.runs()[0].status, RunStatus::Disposed);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_only_seemed_to_be_gone_is_archived_later() {
    let world = filled(&["a"]).await;
    let (gone, back) = (world.lake.clone(), world.lake.clone());
    let hook = all(vec![
        at(Method::CopyPart, "old/", 1, move || {
            let lake = gone.clone();
            Box::pin(async move {
                lake.delete(&fixtures::key("raw/a/1.jsonl")).await.unwrap();
                lake.delete(&fixtures::key("raw/a/2.jsonl")).await.unwrap();
                Verdict::Proceed
            })
        }),
        after((Method::CopyPart, "old/"), (Method::Head, "raw/a/"), move || {
            let lake = back.clone();
            Box::pin(async move {
                lake.put(&fixtures::key("raw/a/1.jsonl"), "a1\n".into()).await.unwrap();
                lake.put(&fixtures::key("raw/a/2.jsonl"), "a2\n".into()).await.unwrap();
            })
        }),
    ]);
    archiving_fails(&archives("lake:old/"), hook, &world).await;
    let report = world.process(&archives("lake:old/"), None).run().await.unwrap().remove(0);
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("old/").await.into_values().collect::<Vec<_>>(), ["a1\n", "a2\n"]);
    assert!(world.read("raw/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_run_is_archived_where_its_plan_says_and_a_delay_names_its_end() {
    let config = |to: &str| {
        let sources = format!("{{ after_commit = \"archive\", archive_to = \"{to}\", delay = \"1h\" }}");
        format!("{FLOW}sources = {sources}\n")
    };
    let world = filled(&["a"]).await;
    let report = world.process(&config("lake:old/"), None).run_one().await;
    assert_eq!(report.status, Status::Committed);
    assert!(report.notes.iter().any(|note| note.contains("stay until 2026-01-01 01:00:00Z")), "{report:#?}");
    tokio::time::advance(std::time::Duration::from_secs(3600)).await;
    let moved = world.process(&config("other:old/"), None).run().await;
    assert!(moved.is_err() || moved.unwrap()[0].status != Status::Committed);
    assert_eq!((world.read("raw/").await.len(), world.read("old/").await.len()), (2, 0));
    assert!(fixtures::list_all(&world.other, "").await.unwrap().is_empty());
    world.process(&config("lake:old/"), None).run().await.unwrap();
    assert_eq!((world.read("raw/").await.len(), world.read("old/").await.len()), (0, 2));
}

#[tokio::test(start_paused = true)]
async fn an_interrupt_while_sources_are_deleted_stops_soon_and_the_next_call_goes_on() {
    let config = format!("{FLOW}sources = {{ after_commit = \"delete\" }}\n");
    let world = World::new();
    for n in 1..=40 {
        world.put(&format!("raw/a/{n}.jsonl"), "x\n").await;
    }
    let process = world.process(&config, None);
    let cancel = process.env.cancel.clone();
    let hook = at(Method::DeleteIf, "raw/", 1, move || {
        cancel.cancel();
        Box::pin(std::future::ready(Verdict::Proceed))
    });
    let hooked = world.process(&config, Some(hook));
    let process = Process { env: Env { cancel: process.env.cancel.clone(), ..hooked.env }, config: hooked.config };
    let report = process.run_one().await;
    assert_eq!(report.status, Status::Interrupted, "{report:#?}");
    let left = world.read("raw/").await.len();
    assert!(left > 20, "{left} sources are left");
    assert_eq!(world.process(&config, None).run().await.unwrap()[0].status, Status::Committed);
    assert!(world.read("raw/").await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_unconditional_delete_looks_first_and_leaves_what_changed() {
    let config = format!("{FLOW}sources = {{ after_commit = \"delete\", unconditional_delete = true }}\n");
    let world = filled(&["a"]).await;
    let committed = after((Method::PutIfAbsent, "log/00000000000000000003"), (Method::Head, "raw/a/1"), {
        let lake = world.lake.clone();
        move || {
            let lake = lake.clone();
            Box::pin(async move {
                lake.put(&fixtures::key("raw/a/1.jsonl"), "new\n".into()).await.unwrap();
            })
        }
    });
    let report = world.process(&config, Some(committed)).run_one().await;
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(world.read("raw/").await.into_values().collect::<Vec<_>>(), ["new\n"]);
}

// --- Headers ---

#[tokio::test(start_paused = true)]
async fn a_header_may_be_long_and_its_end_is_looked_for_in_one_mebibyte() {
    let config = r#"
[flows.csv]
do = "combine"
from = "lake:raw/{n:int}.csv"
to = "lake:out/all_{count}.csv"
order_by = ["n"]
header = "first"
"#;
    for (length, found) in
        [(100, true), (16 << 10, true), (20_000, true), (140_000, true), ((1 << 20) - 1, true), ((1 << 20) + 1, false)]
    {
        let header = "h".repeat(length);
        let world = World::new();
        world.put("raw/1.csv", format!("{header}\n1\n")).await;
        world.put("raw/2.csv", format!("{header}\n2\n")).await;
        let report = world.process(config, None).run_one().await;
        assert_eq!(report.status == Status::Committed, found, "{length}");
        if found {
            assert!(world.read("out/").await["out/all_2.csv"] == format!("{header}\n1\n2\n"), "{length}");
        } else {
            assert!(report.failures[0].error.contains("has no line end in its first"), "{length}");
        }
    }
}
