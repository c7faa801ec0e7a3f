//! The engine over the memory store, on one simulated clock, under one seed for everything.
//!
//! A seed makes a world (`scenario`), orders all that happens in it (`scheduler`, `world`), and decides what people outside
//! and operators do (`actors`); `watch` holds every effect against the invariants of the design and counts every record at
//! the end. `BALER_SIM_SEED=N cargo nextest run -p baler-engine sim::replay --no-capture` shows one seed step by step.

mod actors;
mod regressions;
mod scenario;
mod schedule;
mod scheduler;
mod watch;
mod world;
