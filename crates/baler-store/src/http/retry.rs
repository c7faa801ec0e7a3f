//! How long to wait before trying again.

use std::time::Duration;

#[cfg(feature = "s3")]
use jiff::SignedDuration;

use crate::IdSource;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// How long a server that answered before may be away: it is being started anew, or its address is being moved.
#[cfg(feature = "s3")]
pub(crate) const RESTART: SignedDuration = SignedDuration::from_secs(30);
/// Longest pause between two looks whether it is back.
#[cfg(feature = "s3")]
pub(crate) const KNOCK: Duration = Duration::from_secs(1);

/// Tries for a server that does not even answer the door: a wrong endpoint should be told soon.
pub(crate) const CONNECT_TRIES: u32 = 4;

/// Exponential backoff with full jitter: anything between nothing and the double of the last bound.
///
/// Source: AWS Architecture Blog, "Exponential Backoff And Jitter".
pub(crate) fn backoff(tries: u32, ids: &dyn IdSource) -> Duration {
    let bound = FIRST_WAIT.saturating_mul(1 << tries.saturating_sub(1).min(20)).min(LONGEST_WAIT);
    let nanos = u64::try_from(bound.as_nanos()).unwrap_or(u64::MAX);
    Duration::from_nanos(ids.next_u64() % nanos.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Fixed(u64);

    impl IdSource for Fixed {
        fn next_u64(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn waits_stay_below_a_bound_that_doubles_to_twenty_seconds() {
        let largest = |tries: u32| {
            let bound = (100_000_000u64 << (tries - 1).min(20)).min(20_000_000_000);
            let wait = backoff(tries, &Fixed(bound));
            assert_eq!(wait, Duration::from_nanos(bound));
            assert_eq!(backoff(tries, &Fixed(bound + 1)), Duration::ZERO);
            wait.as_millis()
        };
        assert_eq!([1, 2, 3, 8, 9, 40].map(largest), [100, 200, 400, 12_800, 20_000, 20_000]);
    }
}
