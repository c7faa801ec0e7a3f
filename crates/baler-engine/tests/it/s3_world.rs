//! A world over HTTP: two buckets of the testkit's S3 server with S3's own limits, the ledger in memory.
//!
//! Time is real, and pauses between tries are cut short.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use baler_model::ledger::ContentHash;
use baler_store::s3::{S3Options, S3Store, StaticCredentials};
use baler_store::{Clock, MemoryOptions, MemoryStore, Store, SystemIds};
use baler_testkit::fault::Hook;
use baler_testkit::s3::S3Options as ServerOptions;
use baler_testkit::{FaultStore, S3Server, SeededIds, fixtures};
use serde_json::json;

use crate::world::{HurriedClock, Process};

/// A server that all processes share.
pub(crate) struct S3World {
    pub(crate) server: S3Server,
    pub(crate) state: MemoryStore,
    pub(crate) clock: Arc<HurriedClock>,
    /// How long a process waits for an answer.
    pub(crate) read_timeout: Duration,
    seed: AtomicU64,
}

impl S3World {
    /// A server that does as S3 does, and is known to: it is not proven again.
    pub(crate) async fn start() -> Self {
        let world = Self::unproven(ServerOptions::default()).await;
        for name in ["lake", "other"] {
            world.trust(name).await;
        }
        world
    }

    /// A server that has yet to prove what it is worth.
    pub(crate) async fn unproven(options: ServerOptions) -> Self {
        let buckets = vec!["lake".to_owned(), "other".to_owned()];
        let server = S3Server::start(ServerOptions { buckets, ..options }).await.unwrap();
        let clock = Arc::new(HurriedClock);
        let state = MemoryStore::new("state", MemoryOptions::default(), clock.clone(), Arc::new(SeededIds::new(1)));
        Self { server, state, clock, read_timeout: Duration::from_secs(60), seed: AtomicU64::new(100) }
    }

    /// Keeps a proof of a bucket, as an earlier run would have.
    async fn trust(&self, name: &str) {
        let store = self.store(name);
        store.head(&fixtures::key("_baler_tmp/_probe/identity")).await.unwrap();
        let identity = store.identity();
        let file = format!("_baler/_probe/{}.json", &ContentHash::of(identity.as_bytes()).as_str()[..20]);
        let proven = json!({
            "ledger": "proven", "publish_create": "proven", "publish_replace": "proven", "conditional_delete": "proven"
        });
        let remembered = json!({ "version": 1, "identity": identity, "at": self.clock.now(), "proven": proven });
        self.state.put(&fixtures::key(&file), remembered.to_string().into()).await.unwrap();
    }

    /// A bucket as a process opens it.
    pub(crate) fn store(&self, name: &str) -> Arc<S3Store> {
        let options = S3Options {
            endpoint: Some(self.server.endpoint.clone()),
            storage_class: Some("STANDARD_IA".into()),
            tags: vec![("team".into(), "lake & more".into()), ("made-by".into(), "baler".into())],
            max_tries: 4,
            read_timeout: self.read_timeout,
            ..S3Options::new(name, name, "us-east-1")
        };
        let credentials = Arc::new(StaticCredentials::new("test", "testtest"));
        Arc::new(S3Store::new(options, credentials, self.clock.clone(), Arc::new(SystemIds)).unwrap())
    }

    /// Writes an object of the bucket `lake`.
    pub(crate) fn put(&self, key: &str, body: impl Into<bytes::Bytes>) {
        self.server.put("lake", key, body);
    }

    /// A new process with its own ids; `hook` stands before all buckets.
    pub(crate) fn process(&self, config: &str, hook: Option<Hook>) -> Process {
        let seed = self.seed.fetch_add(1, Ordering::Relaxed);
        let text = format!(
            "version = 1\nstate = \"state:_baler\"\n[stores]\nstate = \"s3://state\"\nlake = \"s3://lake\"\n\
             other = \"s3://other\"\n{config}"
        );
        let open = |name: &str| -> (String, Arc<dyn Store>) {
            let store: Arc<dyn Store> = self.store(name);
            match &hook {
                Some(hook) => (name.to_owned(), Arc::new(FaultStore::with_hook(store, Arc::clone(hook)))),
                None => (name.to_owned(), store),
            }
        };
        let state: Arc<dyn Store> = Arc::new(self.state.clone());
        let stores = HashMap::from([("state".to_owned(), state), open("lake"), open("other")]);
        Process::over(&text, "/project", stores, self.clock.clone(), seed)
    }
}
