//! `combine` over Azurite: ledger, sources and outputs in containers of Azure; processes that die there, and the next.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baler_engine::gc::{Effect, gc};
use baler_engine::report::{RunReport, Status};
use baler_model::ledger::ContentHash;
use baler_store::azure::{AzureOptions, AzureSecret, AzureStore};
use baler_store::{Clock, Store, SystemClock, SystemIds};
use baler_testkit::azurite::{ACCOUNT, Azurite, KEY};
use baler_testkit::fault::{Hook, Verdict};
use baler_testkit::{FaultStore, fixtures};
use jiff::SignedDuration;
use serde_json::json;

use crate::world::{HurriedClock, Process};

/// Two containers of one emulator.
struct AzureWorld<'a> {
    azurite: &'a Azurite,
    name: String,
    clock: Arc<HurriedClock>,
    seed: AtomicU64,
}

impl<'a> AzureWorld<'a> {
    /// Empty containers, known to honour conditions (that they do is proven in the tests of the store).
    async fn start(azurite: &'a Azurite, name: &str) -> Self {
        let clock = Arc::new(HurriedClock);
        let world = Self { azurite, name: name.into(), clock, seed: AtomicU64::new(100) };
        for part in ["lake", "other"] {
            let store = world.store(part);
            store.create_container().await.unwrap();
            store.head(&fixtures::key("identity")).await.unwrap();
            let identity = store.identity();
            let file = format!("_baler/_probe/{}.json", &ContentHash::of(identity.as_bytes()).as_str()[..20]);
            let proven = json!({
                "ledger": "proven", "publish_create": "proven", "publish_replace": "proven",
                "conditional_delete": "proven"
            });
            let remembered = json!({ "version": 1, "identity": identity, "at": world.clock.now(), "proven": proven });
            world.store("lake").put(&fixtures::key(&file), remembered.to_string().into()).await.unwrap();
        }
        world
    }

    fn store(&self, part: &str) -> Arc<AzureStore> {
        let container = format!("{}-{part}", self.name);
        let options = AzureOptions {
            endpoint: Some(self.azurite.endpoint.clone()),
            max_tries: 4,
            ..AzureOptions::new(part, ACCOUNT, container, AzureSecret::SharedKey(KEY.into()))
        };
        Arc::new(AzureStore::new(options, self.clock.clone(), Arc::new(SystemIds)).unwrap())
    }

    fn process(&self, config: &str, hook: Option<&Hook>) -> Process {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"az://lake\"\nother = \"az://other\"\n{config}"
        );
        let open = |part: &str| -> (String, Arc<dyn Store>) {
            let store: Arc<dyn Store> = self.store(part);
            match hook {
                Some(hook) => (part.to_owned(), Arc::new(FaultStore::with_hook(store, Arc::clone(hook)))),
                None => (part.to_owned(), store),
            }
        };
        let stores = HashMap::from([open("lake"), open("other")]);
        Process::over(&text, "/project", stores, self.clock.clone(), seed)
    }

    async fn put(&self, key: &str, body: impl Into<bytes::Bytes>) {
        self.store("lake").put(&fixtures::key(key), body.into()).await.unwrap();
    }

    async fn keys(&self, part: &str, prefix: &str) -> Vec<String> {
        let all = fixtures::list_all(&*self.store(part), prefix).await.unwrap();
        all.into_iter().map(|object| object.key.to_string()).collect()
    }
}

const BLOBS: &str = r#"
[flows.blobs]
do = "combine"
from = "lake:raw/{n:int}.bin"
order_by = ["n"]
to = "other:out/{count}.bin"
content_type = "application/x-blob"
"#;

fn committed(report: &RunReport) {
    assert_eq!(report.status, Status::Committed, "{report:#?}");
    assert_eq!(report.account.check_bytes(), Ok(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_of_azure_are_joined_in_order_and_kept_deleted_or_archived() {
    let Some(azurite) = Azurite::start() else { return };
    let cases = [("kept", "keep"), ("deleted", "delete"), ("archived", "archive\", archive_to = \"other:old/")];
    for (name, sources) in cases {
        let world = AzureWorld::start(&azurite, name).await;
        let mut expected = Vec::new();
        // Larger than what one part holds, and smaller.
        for (n, size) in [9 << 20, 17, 5, 3 << 20, 1].into_iter().enumerate() {
            let body = fixtures::random_bytes(n as u64 + 1, size);
            expected.extend_from_slice(&body);
            world.put(&format!("raw/{n}.bin"), body).await;
        }
        let config = format!("{BLOBS}sources = {{ after_commit = \"{sources}\" }}\n");
        let report = world.process(&config, None).run_one().await;
        committed(&report);
        let out = fixtures::read(&*world.store("other"), "out/5.bin").await.unwrap();
        assert!(out == expected, "{name}: {} bytes of {} are as they should be", out.len(), expected.len());
        let left = world.keys("lake", "raw/").await;
        let archived = world.keys("other", "old/").await;
        let raw: Vec<String> = (0..5).map(|n| format!("raw/{n}.bin")).collect();
        let run = report.run.unwrap();
        let old: Vec<String> = raw.iter().map(|key| format!("old/{run}/{key}")).collect();
        match name {
            "kept" => assert_eq!((left, archived), (raw, vec![])),
            "deleted" => assert_eq!((left, archived), (vec![], vec![])),
            _ => assert_eq!((left, archived), (vec![], old)),
        }
        for part in ["lake", "other"] {
            assert_eq!(world.store(part).list_staged("").await.unwrap(), [], "{name}: nothing is left staged");
        }
        assert_eq!(world.process(&config, None).run_one().await.status, Status::Nothing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_object_on_azure_is_replaced_only_when_asked() {
    let Some(azurite) = Azurite::start() else { return };
    let world = AzureWorld::start(&azurite, "replaced").await;
    let refusing = BLOBS.replace("out/{count}.bin", "out.bin");
    let overwriting = format!("{refusing}overwrite = true\n");
    world.store("other").put(&fixtures::key("out.bin"), "another's".into()).await.unwrap();
    for n in [1, 2] {
        world.put(&format!("raw/{n}.bin"), n.to_string()).await;
    }
    assert_eq!(world.process(&refusing, None).run_one().await.status, Status::Failed);
    assert_eq!(fixtures::read(&*world.store("other"), "out.bin").await.unwrap(), "another's");
    committed(&world.process(&overwriting, None).run_one().await);
    assert_eq!(fixtures::read(&*world.store("other"), "out.bin").await.unwrap(), "12");
    assert_eq!(world.store("other").list_staged("").await.unwrap(), []);
}

const DELETE: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day:%Y-%m-%d}/{n:int}.jsonl"
to = "other:daily/{day:%Y-%m-%d}.jsonl"
sources = { after_commit = "delete" }
"#;

/// A hook that lets so many operations pass and then lets none return; the first of those happens or not.
fn stops_at(stop: u64, at: Verdict, seen: Arc<AtomicU64>, died: Arc<tokio::sync::Notify>) -> Hook {
    Arc::new(move |_| {
        let n = seen.fetch_add(1, Ordering::SeqCst);
        let verdict = match n.cmp(&stop) {
            std::cmp::Ordering::Less => Verdict::Proceed,
            std::cmp::Ordering::Equal => at,
            std::cmp::Ordering::Greater => Verdict::Hang,
        };
        if n == stop {
            died.notify_one();
        }
        Box::pin(std::future::ready(verdict))
    })
}

/// Every fifth operation in turn, cut off before its effect or after it; all of them are cut in memory elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_dies_on_azure_loses_and_doubles_nothing() {
    let Some(azurite) = Azurite::start() else { return };
    let (mut stop, mut cut) = (0, 0);
    loop {
        let at = if cut % 2 == 0 { Verdict::HangAfter } else { Verdict::Hang };
        let world = AzureWorld::start(&azurite, &format!("crash{stop}")).await;
        let mut expected = Vec::new();
        for day in 1..=2 {
            for n in 1..=2 {
                let line = format!("{{\"day\":{day},\"n\":{n}}}\n");
                world.put(&format!("raw/2026-01-0{day}/{n}.jsonl"), line.clone()).await;
                expected.push(line);
            }
        }
        let (seen, died) = (Arc::new(AtomicU64::new(0)), Arc::new(tokio::sync::Notify::new()));
        let hook = stops_at(stop, at, Arc::clone(&seen), Arc::clone(&died));
        let first = world.process(DELETE, Some(&hook));
        let finished = tokio::select! {
            reports = first.run() => { reports.unwrap(); true }
            () = async {
                died.notified().await;
                // What was sent before it died takes effect.
                SystemClock.sleep(Duration::from_millis(200)).await;
            } => false,
        };
        for _ in 0..2 {
            for report in world.process(DELETE, None).run().await.unwrap_or_else(|e| panic!("stop {stop}: {e:?}")) {
                let fine = matches!(report.status, Status::Committed | Status::Nothing);
                assert!(fine, "stop {stop}: {report:#?}");
            }
        }
        let outputs = fixtures::read_all(&*world.store("other"), "daily/").await.unwrap();
        let mut lines: Vec<String> = outputs
            .values()
            .flat_map(|body| {
                String::from_utf8(body.to_vec()).unwrap().lines().map(|l| format!("{l}\n")).collect::<Vec<_>>()
            })
            .collect();
        lines.sort();
        assert_eq!(lines, expected, "stop {stop}, {at:?}: records lost or doubled");
        assert_eq!(world.keys("lake", "raw/").await, [""; 0], "stop {stop}: sources are left");
        let sweeper = world.process(DELETE, None);
        gc(&sweeper.flow(), &sweeper.state().await, SignedDuration::ZERO, Effect::Remove).await.unwrap();
        assert_eq!(world.store("other").list_staged("").await.unwrap(), [], "stop {stop}: staged outputs are left");
        if finished {
            break;
        }
        (stop, cut) = (stop + 5, cut + 1);
    }
    assert!(cut > 10, "{cut} cuts are too few to have been made everywhere");
}
