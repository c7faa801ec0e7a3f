//! Tests of the engine over real stores, with faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod combine;
mod crash;
mod lifecycle;
mod world;
