//! The operations that a flow can do, one folder each.

pub mod combine;
