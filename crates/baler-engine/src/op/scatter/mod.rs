//! `scatter`: the records of one object taken in chunks, each answered for, upserted into a table, and gathered into one
//! result.
//!
//! - [`plan`] makes a batch of each object: [`split`] finds its chunks in one pass;
//! - [`reading`] brings the bytes of chunks, in one pass over the object; [`records`] makes records of them;
//! - [`each`] is what every record goes through, [`table`] takes those that went through; [`work`] does all of it to a chunk
//!   and keeps what came of it in private objects, in buffers that are [`spare`] afterwards;
//! - [`gather`] stitches these into the result, and writes the [`summary`] beside it.
//!
//! - INV-CHUNK-4: every record of the object stands in the result once, in order, whatever became of it.
//! - A crash leaves private objects that no mark names, and rows in the table that the next attempt writes again.

pub(crate) mod each;
pub(crate) mod gather;
pub(crate) mod plan;
pub(crate) mod reading;
pub(crate) mod records;
mod spare;
pub(crate) mod split;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod work;
mod workers;
