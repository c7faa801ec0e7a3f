//! The store in memory.

use std::sync::Arc;

use baler_store::{MemoryOptions, MemoryStore, PartLimits, SystemClock, SystemIds};
use baler_testkit::conformance::{self, Expect};

fn store(options: MemoryOptions) -> Arc<MemoryStore> {
    Arc::new(MemoryStore::new("memory", options, Arc::new(SystemClock), Arc::new(SystemIds)))
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    conformance::run(store(MemoryOptions::default()), Expect::object_store()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract_with_small_pages_and_no_copies() {
    let options = MemoryOptions { page: 4, chunk: 7, copy_domain: None, parts: PartLimits::NONE };
    conformance::run(store(options), Expect::object_store()).await;
}
