//! A limit on the rate of requests: a token bucket, kept as the time at which the next request may begin.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

use crate::Clock;

/// Lets at most so many requests begin per second, with a burst of a tenth of a second's worth.
#[derive(Debug)]
pub(crate) struct RateLimit {
    clock: Arc<dyn Clock>,
    interval: SignedDuration,
    burst: SignedDuration,
    next: Mutex<Timestamp>,
}

impl RateLimit {
    pub(crate) fn new(per_second: u32, clock: Arc<dyn Clock>) -> Self {
        let interval = SignedDuration::from_nanos(1_000_000_000 / i64::from(per_second.max(1)));
        let burst = SignedDuration::from_millis(100).max(interval);
        Self { clock, interval, burst, next: Mutex::new(Timestamp::MIN) }
    }

    /// Waits for a turn. Turns are given in the order of asking.
    pub(crate) async fn turn(&self) {
        let wait = self.take();
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
    }

    /// Takes the next turn and says how far away it is.
    fn take(&self) -> Duration {
        let now = self.clock.now();
        let mut next = self.next.lock();
        // Unused turns are kept for the length of the burst only.
        let turn = (*next).max(now - self.burst + self.interval);
        *next = turn + self.interval;
        Duration::try_from(turn.duration_since(now)).unwrap_or(Duration::ZERO)
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    #[derive(Debug, Default)]
    struct Stopped(Mutex<i64>);

    #[async_trait]
    impl Clock for Stopped {
        fn now(&self) -> Timestamp {
            Timestamp::from_millisecond(1_000_000 + *self.0.lock()).unwrap()
        }
        async fn sleep(&self, duration: Duration) {
            *self.0.lock() += i64::try_from(duration.as_millis()).unwrap();
        }
    }

    #[test]
    fn a_burst_passes_and_the_rest_waits_its_turn() {
        let limit = RateLimit::new(100, Arc::new(Stopped::default()));
        let waits: Vec<u128> = (0..13).map(|_| limit.take().as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 10, 20, 30]);
    }

    #[test]
    fn idle_time_is_not_saved_up_beyond_the_burst() {
        let clock = Arc::new(Stopped::default());
        let limit = RateLimit::new(10, Arc::clone(&clock) as Arc<dyn Clock>);
        assert_eq!(limit.take(), Duration::ZERO);
        *clock.0.lock() += 60_000;
        assert_eq!([limit.take(), limit.take()].map(|d| d.as_millis()), [0, 100]);
    }
}
