//! A world in memory: stores that all processes share, and processes that each see them through their own faults.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use baler_engine::ledger::LedgerState;
use baler_engine::report::RunReport;
use baler_engine::{
    EngineError, Env, Flow, Identity, Limits, Liveness, Phase, Processes, Progress, Silent, Stores, engine,
};
use baler_model::ledger::Heartbeat;
use baler_model::{Config, RawConfig, StoreId};
use baler_store::{Clock, MemoryOptions, MemoryStore, PartLimits, Store, StoreError, SystemClock};
use baler_testkit::fault::Hook;
use baler_testkit::{FaultStore, SeededIds, fixtures};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use tokio_util::sync::CancellationToken;

/// Time that passes when everything waits: tokio's paused clock, from a fixed start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PausedClock {
    zero: tokio::time::Instant,
}

impl PausedClock {
    pub(crate) fn start() -> Self {
        Self { zero: tokio::time::Instant::now() }
    }
}

#[async_trait::async_trait]
impl Clock for PausedClock {
    fn now(&self) -> Timestamp {
        let start = Timestamp::from_second(1_767_225_600).unwrap();
        start + SignedDuration::try_from(self.zero.elapsed()).unwrap()
    }

    #[expect(clippy::disallowed_methods, reason = "this clock is tokio's")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Parts of a hundredth of S3's sizes, so that small tests meet every limit.
pub(crate) const SMALL_PARTS: PartLimits = PartLimits { min: 50, max: 5000, count: 100, object: 1 << 20 };

/// Real time, in which nobody waits long: pauses between tries are cut short.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HurriedClock;

#[async_trait::async_trait]
impl Clock for HurriedClock {
    fn now(&self) -> Timestamp {
        SystemClock.now()
    }

    async fn sleep(&self, duration: Duration) {
        // A heartbeat's pause is no try's: it stays long, so that it does not spin.
        let most = if duration > Duration::from_secs(4) { duration } else { Duration::from_millis(5) };
        SystemClock.sleep(duration.min(most)).await;
    }
}

/// Keeps what a run tells people.
#[derive(Debug, Default)]
pub(crate) struct Notes(parking_lot::Mutex<Vec<String>>);

impl Notes {
    pub(crate) fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl Progress for Notes {
    fn begin(&self, _flow: &str, _phase: Phase, _objects: u64, _bytes: u64) {}
    fn advance(&self, _objects: u64, _bytes: u64) {}
    fn end(&self) {}
    fn note(&self, note: &str) {
        self.0.lock().push(note.to_owned());
    }
}

/// Stores that all processes share.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) clock: Arc<PausedClock>,
    pub(crate) lake: MemoryStore,
    pub(crate) other: MemoryStore,
    seed: std::sync::atomic::AtomicU64,
}

#[derive(Debug)]
struct Opened(HashMap<String, Arc<dyn Store>>);

impl Stores for Opened {
    fn open(&self, id: &StoreId) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::clone(&self.0[&id.to_string()]))
    }
}

/// Heartbeats of processes that are named `dead…` are dead, all others alive.
#[derive(Debug)]
struct Known;

impl Processes for Known {
    fn liveness(&self, beat: &Heartbeat) -> Liveness {
        if beat.process.starts_with("dead") { Liveness::Dead } else { Liveness::Alive }
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with_parts(PartLimits::S3)
    }

    pub(crate) fn with_parts(parts: PartLimits) -> Self {
        Self::over(MemoryOptions { parts, ..MemoryOptions::default() })
    }

    /// Two stores like this, of which `other` cannot copy from any.
    pub(crate) fn over(options: MemoryOptions) -> Self {
        let clock = Arc::new(PausedClock::start());
        let lake = MemoryStore::new("lake", options.clone(), clock.clone(), Arc::new(SeededIds::new(1)));
        let other = lake.sibling("other", MemoryOptions { copy_domain: None, ..options });
        Self { clock, lake, other, seed: std::sync::atomic::AtomicU64::new(100) }
    }

    /// Writes an object.
    pub(crate) async fn put(&self, key: &str, body: impl Into<Bytes>) {
        self.lake.put(&fixtures::key(key), body.into()).await.unwrap();
    }

    /// Everything under a prefix of the lake.
    pub(crate) async fn read(&self, prefix: &str) -> BTreeMap<String, String> {
        let all = fixtures::read_all(&self.lake, prefix).await.unwrap();
        all.into_iter().map(|(key, body)| (key, String::from_utf8_lossy(&body).into_owned())).collect()
    }

    /// A new process with its own ids, whose `lake` is seen through another store.
    pub(crate) fn process_over(&self, config: &str, lake: impl Store + 'static) -> Process {
        let seed = self.seed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = format!("version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\n{config}");
        let stores = HashMap::from([("lake".to_owned(), fixtures::shared(lake))]);
        Process::over(&text, "/project", stores, self.clock.clone(), seed)
    }

    /// A new process with its own ids, that sees the stores through a hook.
    pub(crate) fn process(&self, config: &str, hook: Option<Hook>) -> Process {
        let seed = self.seed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let text = format!(
            "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\nother = \"s3://other\"\n{config}"
        );
        let wrap = |store: &MemoryStore| -> Arc<dyn Store> {
            let shared: Arc<dyn Store> = Arc::new(store.clone());
            match &hook {
                Some(hook) => Arc::new(FaultStore::with_hook(shared, Arc::clone(hook))),
                None => shared,
            }
        };
        let stores = HashMap::from([("lake".to_owned(), wrap(&self.lake)), ("other".to_owned(), wrap(&self.other))]);
        Process::over(&text, "/project", stores, self.clock.clone(), seed)
    }
}

/// One process: a configuration and what it is handed.
pub(crate) struct Process {
    pub(crate) config: Arc<Config>,
    pub(crate) env: Env,
}

impl Process {
    /// A process over any stores, named as in the configuration's text, whose file lies in `base`.
    pub(crate) fn over(
        text: &str,
        base: &str,
        stores: HashMap<String, Arc<dyn Store>>,
        clock: Arc<dyn Clock>,
        seed: u64,
    ) -> Self {
        let raw = RawConfig::parse(text, "baler.toml", &|_| None, &[]).unwrap_or_else(|e| panic!("{e}"));
        let config = Arc::new(raw.validate(base).unwrap_or_else(|e| panic!("{e}")));
        let env = Env {
            clock,
            ids: Arc::new(SeededIds::new(seed)),
            stores: Arc::new(Opened(stores)),
            progress: Arc::new(Silent),
            identity: Identity {
                host: "test".into(),
                pid: u32::try_from(seed).unwrap(),
                process: format!("dead{seed}"),
            },
            processes: Arc::new(Known),
            cancel: CancellationToken::new(),
            secrets: Arc::new(baler_engine::NoSecrets),
            limits: Limits::new(4, 64 << 20),
            as_of: None,
        };
        Self { config, env }
    }

    pub(crate) fn flow(&self) -> Flow {
        Flow::open(&self.config, &self.config.flows[0], &self.env).unwrap()
    }

    /// `baler run` of the first flow.
    pub(crate) async fn run(&self) -> Result<Vec<RunReport>, EngineError> {
        engine::run_flow(&self.flow()).await
    }

    /// The only report of a run.
    pub(crate) async fn run_one(&self) -> RunReport {
        let mut reports = self.run().await.unwrap_or_else(|e| panic!("{e:?}"));
        assert_eq!(reports.len(), 1, "{reports:#?}");
        reports.remove(0)
    }

    /// What the log says.
    pub(crate) async fn state(&self) -> LedgerState {
        self.flow().ledger.load().await.unwrap()
    }
}
