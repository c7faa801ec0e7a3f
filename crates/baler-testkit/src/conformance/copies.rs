//! Parts made from ranges of objects, server-side.

use baler_store::{ByteRange, CopySource, OutputAttributes, Precondition, PublishOutcome, StagedWriter, StoreError};
use bytes::Bytes;

use super::Subject;
use crate::fixtures::{random_bytes, read, stamp};

impl Subject {
    async fn source(&self, name: &str, bytes: Bytes) -> CopySource {
        let size = bytes.len() as u64;
        let version = self.store.put(&self.key(name), bytes).await.unwrap();
        CopySource { store: self.store.clone(), key: self.key(name), version, size }
    }

    /// A writer, or nothing where the store does not copy at all, which it must say by `Unsupported`.
    async fn copying_writer(&self, source: &CopySource) -> Option<Box<dyn StagedWriter>> {
        let writer = self.store.stage(&self.key("out"), &stamp("a1"), &OutputAttributes::default()).await.unwrap();
        if self.store.info().copy_domain.is_some() {
            return Some(writer);
        }
        let error = writer.copy_part(1, source, ByteRange::new(0, source.size)).await;
        let error = error.expect_err("a store without a copy domain does not copy");
        assert!(matches!(error, StoreError::Unsupported { .. }), "{error}");
        writer.abort().await.unwrap();
        None
    }
}

pub(super) async fn copied_parts_hold_their_ranges(s: Subject) {
    let first = s.part(1);
    let bytes = Bytes::from([first.clone(), s.part(2)].concat());
    let source = s.source("source", bytes.clone()).await;
    let Some(writer) = s.copying_writer(&source).await else { return };
    let (size, cut) = (bytes.len() as u64, first.len() as u64);
    let ranges = [(0, size), (3, cut), (cut, size), (size - 1, size)];
    for (index, (start, end)) in ranges.into_iter().enumerate() {
        writer.copy_part(index as u32 + 1, &source, ByteRange::new(start, end)).await.unwrap();
    }
    let staged = writer.finish(None).await.unwrap();
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    let expected: Vec<u8> =
        ranges.iter().flat_map(|&(start, end)| bytes[start as usize..end as usize].to_vec()).collect();
    assert!(read(&*s.store, &s.name("out")).await.unwrap() == expected, "the ranges are joined in their order");
}

pub(super) async fn copied_and_written_parts_mix(s: Subject) {
    let (bytes, own) = (s.part(1), s.part(2));
    let source = s.source("source with+odd%2Fkey é", bytes.clone()).await;
    let Some(writer) = s.copying_writer(&source).await else { return };
    writer.write_part(1, vec![own.clone()]).await.unwrap();
    writer.copy_part(2, &source, ByteRange::new(0, source.size)).await.unwrap();
    writer.write_part(3, vec![Bytes::from_static(b"end")]).await.unwrap();
    let expected = [own, bytes, Bytes::from_static(b"end")].concat();
    let crc = crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &expected);
    let staged = writer.finish(Some(crc)).await.unwrap();
    assert_eq!((staged.size, staged.crc64nvme), (expected.len() as u64, Some(crc)));
    assert_eq!(s.store.publish(&staged, &Precondition::Absent).await.unwrap(), PublishOutcome::Published);
    let confirmed = s.store.confirm(&staged).await.unwrap();
    assert!(matches!(confirmed, baler_store::Confirmation::Ours { .. }), "{confirmed:?}");
    assert!(read(&*s.store, &s.name("out")).await.unwrap() == expected, "parts of both kinds are joined");
}

pub(super) async fn a_changed_source_is_not_copied(s: Subject) {
    let source = s.source("source", random_bytes(1, 1000)).await;
    let Some(writer) = s.copying_writer(&source).await else { return };
    s.store.put(&source.key, random_bytes(2, 1000)).await.unwrap();
    let error = writer.copy_part(1, &source, ByteRange::new(0, 1000)).await;
    let error = error.expect_err("the source has another version than planned");
    assert!(matches!(&error, StoreError::Changed { key, .. } if *key == source.key), "{error}");
    writer.abort().await.unwrap();
}

pub(super) async fn a_missing_source_is_not_copied(s: Subject) {
    let source = s.source("source", random_bytes(1, 1000)).await;
    let Some(writer) = s.copying_writer(&source).await else { return };
    s.store.delete(&source.key).await.unwrap();
    let error = writer.copy_part(1, &source, ByteRange::new(0, 1000)).await.expect_err("the source is gone");
    assert!(matches!(&error, StoreError::NotFound { key, .. } if *key == source.key), "{error}");
    writer.abort().await.unwrap();
}
