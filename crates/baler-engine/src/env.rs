//! Everything that the engine is handed: clock, randomness, stores, limits, a face to talk to.

use std::fmt;
use std::sync::Arc;

use baler_model::StoreId;
use baler_model::ledger::Heartbeat;
use baler_store::{Clock, IdSource, Store, StoreError};
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// Opens the stores of a configuration; each is opened once.
pub trait Stores: fmt::Debug + Send + Sync {
    /// The store of this id.
    fn open(&self, id: &StoreId) -> Result<Arc<dyn Store>, StoreError>;
}

/// Finds secrets, which are never in `baler.toml` and never in a plan.
pub trait Secrets: fmt::Debug + Send + Sync {
    /// The secret of this name; nothing where there is none.
    fn secret(&self, name: &str) -> Option<String>;

    /// The account whose tables of DynamoDB are meant. Errors: why there is none, for people.
    #[cfg(feature = "dynamodb")]
    fn dynamodb(&self, asked: DynamoAsked<'_>) -> Result<DynamoAccount, String> {
        let DynamoAsked { .. } = asked;
        Err("there is no account of AWS here".to_owned())
    }
}

/// What the configuration says of tables of DynamoDB.
#[cfg(feature = "dynamodb")]
#[derive(Debug, Clone, Copy)]
pub struct DynamoAsked<'a> {
    /// The region.
    pub region: Option<&'a str>,
    /// The server, where it is not Amazon's.
    pub endpoint: Option<&'a str>,
    /// The profile.
    pub profile: Option<&'a str>,
}

/// What tables of DynamoDB are reached with.
#[cfg(feature = "dynamodb")]
#[derive(Debug, Clone)]
pub struct DynamoAccount {
    /// Where they are.
    pub options: baler_store::dynamodb::DynamoOptions,
    /// Credentials.
    pub credentials: Arc<dyn baler_store::s3::S3Credentials>,
}

/// Knows no secret.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn secret(&self, _name: &str) -> Option<String> {
        None
    }
}

/// Who is executing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Name of the machine.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Identity of the process beyond its id: boot id and start time.
    pub process: String,
}

/// Whether the author of a heartbeat still runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Liveness {
    /// It runs on this machine.
    Alive,
    /// It ran on this machine and ended.
    Dead,
    /// It is on another machine: only the age of its heartbeat tells.
    Elsewhere,
}

/// Looks at the processes of this machine.
pub trait Processes: fmt::Debug + Send + Sync {
    /// Whether the author of this heartbeat still runs.
    fn liveness(&self, heartbeat: &Heartbeat) -> Liveness;
}

/// What a face shows while work goes on. Every call is cheap and may come from any task.
pub trait Progress: fmt::Debug + Send + Sync {
    /// A phase of a flow begins; `objects` and `bytes` are the whole of it, 0 where unknown.
    fn begin(&self, flow: &str, phase: Phase, objects: u64, bytes: u64);
    /// So much more is done.
    fn advance(&self, objects: u64, bytes: u64);
    /// The phase ended.
    fn end(&self);
    /// A line for people.
    fn note(&self, note: &str);
}

/// The phases that a face can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Listing the sources.
    List,
    /// Joining objects.
    Combine,
    /// Converting records.
    Convert,
    /// Taking records in chunks.
    Scatter,
    /// Publishing outputs.
    Publish,
    /// Deleting or archiving sources.
    Dispose,
    /// Reading again.
    Verify,
}

/// Shows nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn begin(&self, _flow: &str, _phase: Phase, _objects: u64, _bytes: u64) {}
    fn advance(&self, _objects: u64, _bytes: u64) {}
    fn end(&self) {}
    fn note(&self, _note: &str) {}
}

/// Bounds of one process, shared by all its flows.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Requests at once.
    pub concurrency: usize,
    /// Bytes of objects held in memory at once.
    pub memory: u64,
    requests: Arc<Semaphore>,
    memory_units: Arc<Semaphore>,
}

/// Memory is granted in units of this many bytes.
const MEMORY_UNIT: u64 = 64 << 10;

impl Limits {
    /// Bounds of so many requests at once and so many bytes in memory; at least 1 and 64 MiB.
    pub fn new(concurrency: usize, memory: u64) -> Self {
        let (concurrency, memory) = (concurrency.max(1), memory.max(64 << 20));
        let units = usize::try_from(memory / MEMORY_UNIT).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            concurrency,
            memory,
            requests: Arc::new(Semaphore::new(concurrency)),
            memory_units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Waits until one more request may be sent.
    pub(crate) async fn request(&self) -> tokio::sync::OwnedSemaphorePermit {
        Arc::clone(&self.requests).acquire_owned().await.expect("the semaphore is never closed")
    }

    /// Waits until so many bytes may be held; a larger wish than the whole budget gets the whole budget.
    pub(crate) async fn memory(&self, bytes: u64) -> tokio::sync::OwnedSemaphorePermit {
        let most = u32::try_from(self.memory / MEMORY_UNIT).unwrap_or(u32::MAX);
        let units = u32::try_from(bytes.div_ceil(MEMORY_UNIT)).unwrap_or(u32::MAX).clamp(1, most);
        Arc::clone(&self.memory_units).acquire_many_owned(units).await.expect("the semaphore is never closed")
    }

    /// The size in which bytes that pass through this machine are uploaded: an eighth of the budget, 8 to 64 MiB.
    pub(crate) fn read_part(&self) -> u64 {
        (self.memory / 8).clamp(8 << 20, 64 << 20)
    }
}

/// Everything that the engine is handed.
#[derive(Debug, Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub ids: Arc<dyn IdSource>,
    /// Stores.
    pub stores: Arc<dyn Stores>,
    /// The face.
    pub progress: Arc<dyn Progress>,
    /// Who we are.
    pub identity: Identity,
    /// Who else runs here.
    pub processes: Arc<dyn Processes>,
    /// Set when the user wants to stop.
    pub cancel: CancellationToken,
    /// Secrets that flows name.
    pub secrets: Arc<dyn Secrets>,
    /// Bounds.
    pub limits: Limits,
    /// The time that templates and conditions see instead of now (`--as-of`); never `settle` or `gc`.
    pub as_of: Option<Timestamp>,
}

impl Env {
    /// The time that templates and conditions see.
    pub fn template_time(&self) -> Timestamp {
        self.as_of.unwrap_or_else(|| self.clock.now())
    }

    /// `host/pid`, as log entries name their author.
    pub(crate) fn author(&self) -> String {
        format!("{}/{}", self.identity.host, self.identity.pid)
    }
}
