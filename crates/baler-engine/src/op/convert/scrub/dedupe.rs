//! Of several records with one key, one stays.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use baler_model::scrub::Keep;

use super::identity::Identity;
use super::{ScrubError, Scrubbed};

/// Filters records whose key was seen before, over all batches of one output, fed in the order of records.
///
/// `first`: one pass of [`Dedupe::keep`]. `last`: a pass of [`Dedupe::learn`] over all batches, then one of
/// [`Dedupe::keep`] over the same. Rows that were rejected take no part, and a record that has no key stays.
///
/// How keys are told apart, and how certainly: see [`Identity`]. Memory: per key 20 to 39 bytes for `first`, 29 to 58 for
/// `last`, half as much again for the moment in which the table grows; [`Dedupe::bytes`] tells. A process that dies loses
/// it all, and begins anew.
#[derive(Debug)]
pub struct Dedupe {
    seen: Seen,
}

#[derive(Debug)]
enum Seen {
    First(HashSet<Identity>),
    Last {
        /// The number of each key's last row among those that have a key, over all batches.
        last: HashMap<Identity, u64>,
        learnt: u64,
        kept: u64,
        /// Rows with a key of the second pass so far.
        next: u64,
    },
}

impl Dedupe {
    /// Begins with no key seen.
    pub fn new(keep: Keep) -> Self {
        let seen = match keep {
            Keep::First => Seen::First(HashSet::new()),
            Keep::Last => Seen::Last { last: HashMap::new(), learnt: 0, kept: 0, next: 0 },
        };
        Self { seen }
    }

    /// Takes the next batch of the first pass, by [`Scrubber::identities`](super::Scrubber::identities). For `first` there
    /// is nothing to learn.
    pub fn learn(&mut self, identities: &[Option<Identity>]) {
        match &mut self.seen {
            Seen::First(_) => {}
            Seen::Last { last, learnt, .. } => {
                for identity in identities.iter().flatten() {
                    last.insert(*identity, *learnt);
                    *learnt += 1;
                }
            }
        }
    }

    /// Filters the next batch, and says how many rows went.
    ///
    /// Errors: the batch comes from a scrub without `dedupe`; the second pass holds other records than the first.
    pub fn keep(&mut self, scrubbed: Scrubbed) -> Result<(Scrubbed, u64), ScrubError> {
        let Some(identities) = &scrubbed.identities else {
            return Err(ScrubError::Internal("a batch is to be filtered and `dedupe` is not asked for".to_owned()));
        };
        let mut stays = Vec::with_capacity(identities.len());
        for identity in identities {
            let Some(identity) = identity else {
                stays.push(true);
                continue;
            };
            stays.push(match &mut self.seen {
                Seen::First(seen) => seen.insert(*identity),
                Seen::Last { last, kept, next, .. } => {
                    let row = *next;
                    *next += 1;
                    match last.entry(*identity) {
                        Entry::Occupied(last) if *last.get() >= row => {
                            let is_last = *last.get() == row;
                            *kept += u64::from(is_last);
                            is_last
                        }
                        Entry::Occupied(_) | Entry::Vacant(_) => return Err(ScrubError::Passes),
                    }
                }
            });
        }
        let filtered = stays.iter().filter(|stays| !**stays).count() as u64;
        match filtered {
            0 => Ok((scrubbed, 0)),
            _ => Ok((scrubbed.select(&stays)?, filtered)),
        }
    }

    /// Ends the last pass. Errors: `last`, and of some key no record was kept: the passes held other records.
    pub fn finish(self) -> Result<(), ScrubError> {
        match self.seen {
            Seen::First(_) => Ok(()),
            Seen::Last { last, kept, .. } => {
                if kept == last.len() as u64 {
                    Ok(())
                } else {
                    Err(ScrubError::Passes)
                }
            }
        }
    }

    /// Returns the number of different keys that were seen.
    pub fn keys(&self) -> u64 {
        match &self.seen {
            Seen::First(seen) => seen.len() as u64,
            Seen::Last { last, .. } => last.len() as u64,
        }
    }

    /// Returns the memory that is held, in bytes.
    pub fn bytes(&self) -> u64 {
        match &self.seen {
            Seen::First(seen) => table(seen.capacity(), size_of::<Identity>()),
            Seen::Last { last, .. } => table(last.capacity(), size_of::<(Identity, u64)>()),
        }
    }
}

/// Returns the bytes of a hash table by the entries that it has room for.
///
/// Source: the layout of the standard library's table (hashbrown): a power of two of slots, seven of eight of them used, a
/// byte for each besides.
fn table(capacity: usize, entry: usize) -> u64 {
    let slots = match capacity {
        0 => return 0,
        1..8 => capacity + 1,
        _ => capacity / 7 * 8,
    };
    (slots * (entry + 1) + 16) as u64
}
