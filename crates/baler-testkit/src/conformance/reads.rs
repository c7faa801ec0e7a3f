//! Reads: whole, by range, pinned to a version.

use baler_store::{ByteRange, StoreError};
use bytes::Bytes;

use super::Subject;
use crate::fixtures::{body, random_bytes};

pub(super) async fn a_read_returns_what_was_written(s: Subject) {
    let (key, bytes) = (s.key("k"), random_bytes(1, 300_001));
    let version = s.store.put(&key, bytes.clone()).await.unwrap();
    let get = s.store.get(&key, None, None).await.unwrap();
    assert_eq!((&get.version, get.size, get.range), (&version, 300_001, ByteRange::new(0, 300_001)));
    assert_eq!(body(get).await.unwrap(), bytes);
    let pinned = s.store.get(&key, None, Some(&version)).await.unwrap();
    assert_eq!(body(pinned).await.unwrap(), bytes);
}

pub(super) async fn a_range_returns_its_bytes(s: Subject) {
    let (key, bytes) = (s.key("k"), random_bytes(2, 200_000));
    let version = s.store.put(&key, bytes.clone()).await.unwrap();
    for (start, end) in [(0, 1), (0, 200_000), (199_999, 200_000), (1, 2), (65_535, 131_073)] {
        let range = ByteRange::new(start, end);
        let get = s.store.get(&key, Some(range), Some(&version)).await.unwrap();
        assert_eq!((get.size, get.range), (200_000, range));
        assert_eq!(body(get).await.unwrap(), bytes.slice(start as usize..end as usize), "{start}..{end}");
    }
}

pub(super) async fn a_range_is_clipped_at_the_end(s: Subject) {
    let key = s.key("k");
    s.store.put(&key, Bytes::from_static(b"0123456789")).await.unwrap();
    let get = s.store.get(&key, Some(ByteRange::new(7, 1 << 40)), None).await.unwrap();
    assert_eq!((get.size, get.range), (10, ByteRange::new(7, 10)));
    assert_eq!(body(get).await.unwrap(), "789");
}

/// S3 refuses such ranges with a 416, so that a store must know better.
pub(super) async fn a_range_behind_the_end_is_empty(s: Subject) {
    s.store.put(&s.key("ten"), Bytes::from_static(b"0123456789")).await.unwrap();
    s.store.put(&s.key("empty"), Bytes::new()).await.unwrap();
    for (name, start, end) in [("ten", 10, 12), ("ten", 4, 4), ("empty", 0, 5), ("empty", 0, 0)] {
        let get = s.store.get(&s.key(name), Some(ByteRange::new(start, end)), None).await;
        let get = get.unwrap_or_else(|error| panic!("{name} {start}..{end}: {error}"));
        assert!(get.range.is_empty(), "{name} {start}..{end}: {:?}", get.range);
        assert_eq!(body(get).await.unwrap(), "", "{name} {start}..{end}");
    }
}

pub(super) async fn a_pinned_read_refuses_another_version(s: Subject) {
    let key = s.key("k");
    let old = s.store.put(&key, Bytes::from_static(b"old")).await.unwrap();
    let new = s.store.put(&key, Bytes::from_static(b"newer")).await.unwrap();
    for range in [None, Some(ByteRange::new(0, 2))] {
        match s.store.get(&key, range, Some(&old)).await {
            Err(StoreError::Changed { planned, .. }) => assert_eq!(planned, &*old.etag),
            Err(error) => panic!("another error: {error}"),
            Ok(get) => panic!("read {:?}", body(get).await),
        }
    }
    assert_eq!(body(s.store.get(&key, None, Some(&new)).await.unwrap()).await.unwrap(), "newer");
}

pub(super) async fn a_missing_object_is_not_found(s: Subject) {
    let key = s.key("k");
    assert_eq!(s.store.head(&key).await.unwrap(), None);
    let version = s.store.put(&key, Bytes::from_static(b"x")).await.unwrap();
    s.store.delete(&key).await.unwrap();
    assert_eq!(s.store.head(&key).await.unwrap(), None);
    for version in [None, Some(&version)] {
        let error = s.store.get(&key, None, version).await.expect_err("nothing is there");
        assert!(matches!(error, StoreError::NotFound { .. }), "{error}");
    }
}
