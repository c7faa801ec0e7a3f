//! A directory of the file system that temporary files lie on.

use std::sync::Arc;

use baler_store::{DirectoryOptions, DirectoryStore, SystemClock, SystemIds};
use baler_testkit::conformance::{self, Expect};

#[tokio::test(flavor = "multi_thread")]
async fn a_directory_keeps_the_contract() {
    let root = tempfile::tempdir().unwrap();
    let options = DirectoryOptions::default();
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let store = DirectoryStore::new("directory", root.path().join("store"), options, clock, ids).unwrap();
    conformance::run(Arc::new(store), Expect::directory()).await;
    let outside: Vec<_> = std::fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(outside, ["store"], "no key leads out of the root");
}
