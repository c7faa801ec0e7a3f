use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::memory::tests::{clock, ids};
use crate::{DirectoryOptions, DirectoryStore, MemoryOptions, MemoryStore, SystemClock, SystemIds};
use baler_model::Key;

async fn store_of(page: usize, keys: impl IntoIterator<Item = String>) -> Arc<dyn Store> {
    let store = MemoryStore::new("m", MemoryOptions { page, ..MemoryOptions::default() }, clock(), ids());
    for key in keys {
        store.put(&Key::try_new(key).unwrap(), Bytes::new()).await.unwrap();
    }
    Arc::new(store)
}

fn keys_of(listing: &Listing) -> Vec<&str> {
    listing.objects.iter().map(|o| o.key.as_str()).collect()
}

fn all(_: &str) -> bool {
    true
}

#[tokio::test]
async fn few_objects_cost_one_request() {
    let store = store_of(1000, (0..1000).map(|n| format!("in/{}/{n}", n % 7))).await;
    assert_eq!(list_all(&store, "in/", 16, &all).await.unwrap().objects.len(), 1000);
    assert_eq!(store.meter().read().list, 1);
}

#[tokio::test]
async fn many_small_prefixes_share_their_pages() {
    // 5,000 objects in 2,500 prefixes: 50 pages if listed one by one.
    let store = store_of(100, (0..5000).map(|n| format!("in/{:04}/{n}", n / 2))).await;
    let listing = list_all(&store, "in/", 4, &all).await.unwrap();
    assert_eq!(listing.objects.len(), 5000);
    let requests = store.meter().read().list;
    assert!(requests <= 50 + 1 + 4 + 17, "{requests}");
}

#[tokio::test]
async fn a_flat_prefix_costs_one_request_more_than_a_sequential_listing() {
    let store = store_of(100, (0..5000).map(|n| format!("in/{n:05}"))).await;
    assert_eq!(list_all(&store, "in/", 16, &all).await.unwrap().objects.len(), 5000);
    assert_eq!(store.meter().read().list, 51);
}

#[tokio::test]
async fn a_deep_narrow_tree_is_expanded_until_it_is_wide() {
    let store = store_of(10, (0..400).map(|n| format!("a/b/c/{:02}/{n}", n % 20))).await;
    let listing = list_all(&store, "a", 2, &all).await.unwrap();
    assert_eq!(listing.objects.len(), 400);
    let requests = store.meter().read().list;
    // 40 pages, one that was in vain, 4 levels of which the last has 2 pages, and one overshoot for each of 8 ranges.
    assert!(requests <= 40 + 1 + 5 + 10, "{requests}");
}

#[tokio::test]
async fn unwanted_prefixes_are_not_listed() {
    let store = store_of(10, (0..1000).map(|n| format!("in/day={:02}/{n}", n % 10))).await;
    let listing = list_all(&store, "in/", 4, &|p| p == "in/day=03/").await.unwrap();
    assert_eq!(listing.objects.len(), 100);
    assert!(listing.objects.iter().all(|o| o.key.as_str().starts_with("in/day=03/")));
    assert!(store.meter().read().list <= 1 + 1 + 11, "{:?}", store.meter().read());
}

#[tokio::test]
async fn directory_markers_and_neighbours_of_a_slash_are_found_once() {
    let keys = ["d", "d/", "d/x", "d.", "d.~", "d.~z", "d-/a", "d0", "d0/", "d/0/", "e/", "e/1"];
    let store = store_of(1, keys.map(String::from)).await;
    let mut sorted = keys;
    sorted.sort_unstable();
    for concurrency in [1, 2, 8] {
        assert_eq!(keys_of(&list_all(&store, "", concurrency, &all).await.unwrap()), sorted);
    }
}

#[tokio::test]
async fn a_directory_is_walked_only_where_something_may_be_wanted() {
    let root = tempfile::tempdir().unwrap();
    let (clock, ids) = (Arc::new(SystemClock), Arc::new(SystemIds));
    let store = DirectoryStore::new("d", root.path().into(), DirectoryOptions::default(), clock, ids).unwrap();
    for name in ["in/a/1/x", "in/a/2/x", "in/b/1/x", "in/b/2/y/z", "in/c.jsonl", "other/x"] {
        store.put(&Key::try_new(name).unwrap(), Bytes::new()).await.unwrap();
    }
    let store: Arc<dyn Store> = Arc::new(store);
    let everything = list_all(&store, "in/", 4, &all).await.unwrap();
    assert_eq!(keys_of(&everything), ["in/a/1/x", "in/a/2/x", "in/b/1/x", "in/b/2/y/z", "in/c.jsonl"]);
    let wanted = |p: &str| "in/b/2/".starts_with(p) || p.starts_with("in/b/2/");
    let some = list_all(&store, "in/", 4, &wanted).await.unwrap();
    assert_eq!(keys_of(&some), ["in/b/2/y/z", "in/c.jsonl"]);
    let partial = list_all(&store, "in/b/2", 4, &all).await.unwrap();
    assert_eq!(keys_of(&partial), ["in/b/2/y/z"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_parallel_listing_equals_a_sequential_one(
        keys in prop::collection::btree_set("[a./0~-]{1,6}|[ab]/[ab]/[ab0.]{1,2}|[ab]{1,2}/ü[a/]?", 0..80),
        prefix in "[a./]{0,2}",
        page in 1usize..8,
        concurrency in 1usize..5,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = store_of(page, keys.iter().cloned()).await;
            let listing = list_all(&store, &prefix, concurrency, &all).await.unwrap();
            let expected: Vec<&str> = keys.iter().map(String::as_str).filter(|k| k.starts_with(&prefix)).collect();
            prop_assert_eq!(keys_of(&listing), expected);
            Ok(())
        })?;
    }

    #[test]
    fn pruning_loses_nothing_that_is_wanted(
        keys in prop::collection::btree_set("[abc]/[abc]/[abc]{1,3}|[abc]{1,2}", 0..80),
        chosen in "[abc]/",
        page in 1usize..8,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let store = store_of(page, keys.iter().cloned()).await;
            let wanted = |p: &str| p.starts_with(&chosen) || chosen.starts_with(p);
            let listing = list_all(&store, "", 3, &wanted).await.unwrap();
            let found = keys_of(&listing);
            for key in keys.iter().filter(|k| k.starts_with(&chosen) || !k.contains('/')) {
                prop_assert!(found.contains(&key.as_str()), "{} of {:?}", key, found);
            }
            Ok(())
        })?;
    }
}
