//! Test parts: an S3 server, fault-injecting stores, a simulated clock, conformance suites.
//!
//! - [`s3`]: an S3 server in memory, exact about conditions and able to fail on request;
//! - [`azurite`]: Azure's emulator, started for a test;
//! - [`fault`]: a store that fails as a test asks, before an effect or after it;
//! - [`conformance`]: holds a store to the promises of its contract;
//! - [`clock`]: time that moves when told to, ids from a seed;
//! - [`moto`]: AWS's services as others wrote them, started for a test;
//! - [`postgres`]: PostgreSQL, started for a test;
//! - [`power`]: a disk that forgets what was not fsynced;
//! - [`fixtures`]: fills stores and reads them back.

pub mod azurite;
pub mod clock;
pub mod conformance;
pub mod fault;
pub mod fixtures;
pub mod moto;
pub mod postgres;
pub mod power;
pub mod s3;

pub use clock::{SeededIds, SimClock, SplitMix};
pub use fault::FaultStore;
pub use power::Recorder;
pub use s3::{S3Handle, S3Options, S3Server};
