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
    /// Records given to the flow's SQL, each counted once; `None` where it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_in: Option<u64>,
    /// Records that came out of it, for all outputs together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sql_out: Option<u64>,
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
    /// Where SQL stands between, what went in is held against what it was given, and what came out against what it gave.
    ///
    /// Errors: [`Imbalance`]. Source: INV-ACCT-1.
    pub fn check_records(&self) -> Result<(), Imbalance> {
        let (Some(records_in), Some(out)) = (self.records_in, self.records_out) else {
            return Err(Imbalance::Uncounted);
        };
        let taken = match (self.sql_in, self.sql_out) {
            (None, None) => out,
            (Some(taken), Some(given)) if given == out => taken,
            (_, _) => return Err(Imbalance::Uncounted),
        };
        let accounted = taken + self.quarantined.unwrap_or(0) + self.filtered.unwrap_or(0);
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
            sql_in: both(self.sql_in, other.sql_in),
            sql_out: both(self.sql_out, other.sql_out),
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
    fn records_that_go_through_sql_are_held_against_what_it_took_and_gave() {
        let account = |sql_in, sql_out, records_out| Account {
            records_in: Some(10),
            records_out: Some(records_out),
            quarantined: Some(2),
            filtered: Some(1),
            sql_in,
            sql_out,
            ..Account::default()
        };
        assert_eq!(account(Some(7), Some(3), 3).check_records(), Ok(()));
        let lost = Imbalance::Records { records_in: 10, accounted: 9 };
        assert_eq!(account(Some(6), Some(3), 3).check_records(), Err(lost));
        assert_eq!(account(Some(7), Some(3), 4).check_records(), Err(Imbalance::Uncounted));
        assert_eq!(account(Some(7), None, 3).check_records(), Err(Imbalance::Uncounted));
        assert!(account(None, None, 3).check_records().is_err());
        let sum = account(Some(7), Some(3), 3).plus(&account(Some(7), Some(4), 4));
        assert_eq!((sum.sql_in, sum.sql_out, sum.check_records()), (Some(14), Some(7), Ok(())));
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
