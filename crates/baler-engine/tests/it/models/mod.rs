//! The protocol as small models, explored whole (`docs/protocol.md`, section 12).
//!
//! Each file is a specification: a world, actors that do one request at a time and may stop or sleep between any two,
//! and what must never happen. Decisions are made by the engine's own pure functions, on values built from the model's
//! small state, so that model and code cannot drift apart. Every rule that the protocol rests on is a switch: switched
//! off, the checker must find what the rule is there to prevent, or the model would prove nothing.

mod checker;
mod groups;
mod log;
mod open;
mod real;
mod run;
mod swap;
mod task;
