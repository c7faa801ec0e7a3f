//! One contract over directories, S3, Azure Blob, Google Cloud Storage and memory.
//!
//! [`Store`] is the port; its module states the promises that every implementation keeps.

#[cfg(feature = "azure")]
pub mod azure;
mod clock;
mod contract;
mod crc;
mod directory;
#[cfg(feature = "s3")]
pub mod dynamodb;
mod error;
#[cfg(feature = "gcs")]
pub mod gcs;
#[cfg(feature = "net")]
mod http;
mod listing;
mod memory;
mod meter;
mod proof;
#[cfg(feature = "s3")]
pub mod s3;

pub use clock::{Clock, IdSource, SystemClock, SystemIds};
pub use contract::{
    AbortOutcome, Appended, Appender, ByteRange, Confirmation, CopySource, DeleteOutcome, Get, Head, LifecycleRule,
    ListRequest, OutputAttributes, Page, PartLimits, Precondition, Proof, PublishOutcome, PutOutcome, Result,
    StagedListing, StagedWriter, Store, StoreInfo, StoreKind,
};
pub use crc::Crc64;
pub use directory::{DirectoryOptions, DirectoryStore, Disk, DiskEntry, Renaming, SweptTrash, SystemDisk};
pub use error::StoreError;
#[cfg(feature = "net")]
pub use http::{PostError, Posted, Poster, tls_config};
pub use listing::{Listing, Wanted, list_all};
pub use memory::{MemoryChange, MemoryObject, MemoryOptions, MemoryStore};
pub use meter::{Meter, Metered};
pub use proof::{ProofFailure, Proven, Verdict, prove};
