//! The account: what went in equals what came out plus what was set aside (INV-ACCT-1).

use serde::{Deserialize, Serialize};

/// Counts of one output, one group or one run.
///
/// Units: objects, bytes, records. Record counts are `None` where nobody counted; they are never guessed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    /// Input objects.
    pub objects_in: u64,
    /// Output objects.
    pub objects_out: u64,
    /// Bytes of the inputs.
    pub bytes_in: u64,
    /// Bytes of the outputs.
    pub bytes_out: u64,
    /// Bytes that were added: separators between objects.
    pub bytes_inserted: u64,
    /// Bytes that were left out: repeated headers.
    pub bytes_removed: u64,
    /// Records read.
    pub records_in: Option<u64>,
    /// Records written.
    pub records_out: Option<u64>,
    /// Records set aside.
    pub quarantined: Option<u64>,
    /// Records left out on request.
    pub filtered: Option<u64>,
}

/// An account that does not balance.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Imbalance {
    /// Bytes out differ from bytes in, plus inserted, minus removed.
    #[error("{bytes_out} bytes came out, {expected} were expected")]
    Bytes {
        /// Bytes of the outputs.
        bytes_out: u64,
        /// In plus inserted minus removed.
        expected: i128,
    },
    /// Records out, set aside and left out do not add up to records in.
    #[error("{records_in} records went in, {accounted} are accounted for")]
    Records {
        /// Records read.
        records_in: u64,
        /// Written plus set aside plus left out.
        accounted: u64,
    },
    /// Records were to be counted and were not.
    #[error("the records were not counted")]
    Uncounted,
    /// A count differs from what the plan says.
    #[error("{what}: planned {planned}, found {found}")]
    Planned {
        /// Which count.
        what: &'static str,
        /// What the plan says.
        planned: u64,
        /// What the marks say.
        found: u64,
    },
}

impl Account {
    /// Checks that bytes balance, and records where they were counted.
    ///
    /// Errors: [`Imbalance`]. Source: INV-ACCT-1.
    pub fn check_bytes(&self) -> Result<(), Imbalance> {
        let expected = i128::from(self.bytes_in) + i128::from(self.bytes_inserted) - i128::from(self.bytes_removed);
        if i128::from(self.bytes_out) != expected {
            return Err(Imbalance::Bytes { bytes_out: self.bytes_out, expected });
        }
        match self.records_in {
            Some(_) => self.check_records(),
            None => Ok(()),
        }
    }

    /// Checks that records were counted and balance. Bytes of records that were decoded and encoded again do not.
    ///
    /// Errors: [`Imbalance`]. Source: INV-ACCT-1.
    pub fn check_records(&self) -> Result<(), Imbalance> {
        let (Some(records_in), Some(out)) = (self.records_in, self.records_out) else {
            return Err(Imbalance::Uncounted);
        };
        let accounted = out + self.quarantined.unwrap_or(0) + self.filtered.unwrap_or(0);
        if records_in != accounted {
            return Err(Imbalance::Records { records_in, accounted });
        }
        Ok(())
    }

    /// The sum of two accounts; a record count stays unknown if either side does not know it.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        let both = |a: Option<u64>, b: Option<u64>| Some(a? + b?);
        Self {
            objects_in: self.objects_in + other.objects_in,
            objects_out: self.objects_out + other.objects_out,
            bytes_in: self.bytes_in + other.bytes_in,
            bytes_out: self.bytes_out + other.bytes_out,
            bytes_inserted: self.bytes_inserted + other.bytes_inserted,
            bytes_removed: self.bytes_removed + other.bytes_removed,
            records_in: both(self.records_in, other.records_in),
            records_out: both(self.records_out, other.records_out),
            quarantined: both(self.quarantined, other.quarantined),
            filtered: both(self.filtered, other.filtered),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(bytes_in: u64, bytes_out: u64, bytes_inserted: u64, bytes_removed: u64) -> Account {
        Account { bytes_in, bytes_out, bytes_inserted, bytes_removed, ..Account::default() }
    }

    #[test]
    fn bytes_balance_with_separators_and_headers() {
        assert_eq!(bytes(10, 9, 1, 2).check_bytes(), Ok(()));
        assert_eq!(bytes(10, 10, 1, 2).check_bytes(), Err(Imbalance::Bytes { bytes_out: 10, expected: 9 }));
    }

    #[test]
    fn one_lost_record_is_noticed() {
        let account = Account {
            records_in: Some(5),
            records_out: Some(3),
            quarantined: Some(1),
            filtered: Some(0),
            ..Account::default()
        };
        assert_eq!(account.check_bytes(), Err(Imbalance::Records { records_in: 5, accounted: 4 }));
    }

    #[test]
    fn unknown_counts_stay_unknown_in_sums() {
        let known = Account { records_in: Some(5), ..Account::default() };
        assert_eq!(known.plus(&Account::default()).records_in, None);
        assert_eq!(known.plus(&known).records_in, Some(10));
    }
}
