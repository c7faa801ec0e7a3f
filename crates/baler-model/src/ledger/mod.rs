//! What the ledger persists, file by file. The protocol that these files follow is `docs/protocol.md`.
//!
//! Every file carries `version`; golden files in `tests/golden/` keep old versions readable. Nothing here is ever
//! changed in place: log entries, plans, claims, marks and seals are created once.

mod account;
mod convert;
mod event;
mod mark;
mod numbered;
mod plan;
mod scatter;
mod seal;

pub use account::{Account, Imbalance};
pub use convert::{
    ConvertOptions, ConvertTask, DriftPolicy, EpochUnit, FormatOptions, PlannedOutput, PlannedSchema, PlannedSplit,
    Provenance, QuarantineLimit, TargetOptions, ranges,
};
pub use event::{CommittedObject, Counts, Entry, Event, Manifest, OutputClaim, Trigger};
pub use mark::{
    ChunkDone, FailedAttempt, FailedRecord, Failure, Failures, Heartbeat, Mark, Outcome, OutputRecords, PrivateObject,
    Work,
};
pub use numbered::Numbered;
pub use plan::{
    Claim, ClaimsHeader, CombineOptions, DisposalPlan, GroupId, OperationOptions, PlanHeader, PlannedStore,
    SeparatorRule, Task, redshift_manifest_key,
};
pub use scatter::{
    ChunkExtent, ChunkTask, EachOptions, GatherTask, ResultOptions, ResultShape, ScatterOptions, ScatterTask,
    UpsertOptions,
};
pub use seal::{SealHeader, SealedOutput};

/// The format version that this build writes.
pub const FORMAT_VERSION: u32 = 1;

/// A SHA-256 in hexadecimal, by which a file is named and chosen.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ContentHash(Box<str>);

impl ContentHash {
    /// The hash of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        use sha2::{Digest, Sha256};
        use std::fmt::Write;
        let digest = Sha256::digest(bytes);
        let hex = digest.iter().fold(String::with_capacity(64), |mut hex, byte| {
            write!(hex, "{byte:02x}").expect("writing to a string cannot fail");
            hex
        });
        Self(hex.into_boxed_str())
    }

    /// The 64 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for ContentHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
