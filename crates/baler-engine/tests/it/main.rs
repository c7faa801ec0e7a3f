//! Tests of the engine over real stores, with faults.

mod combine;
mod crash;
mod lifecycle;
mod world;
