//! Tests of the engine over real stores, with faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod azure_combine;
mod bad_input;
mod combine;
mod convert;
mod convert_crash;
mod convert_objects;
mod crash;
mod ddl_glue;
mod directory;
mod disk;
mod golden;
mod held;
mod lifecycle;
mod models;
mod mutants;
mod odd_sizes;
mod power;
mod prop_combine;
mod prop_scrub;
mod reference_defects;
mod review;
mod s3_combine;
mod s3_failing;
mod s3_world;
#[cfg(all(feature = "json_schema", feature = "sqlite"))]
mod scatter;
mod sim;
#[cfg(feature = "sql")]
mod sql;
#[cfg(all(feature = "postgres", feature = "sqlite"))]
mod upsert;
mod world;
