//! Time that moves when it is told to, and randomness that repeats.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use baler_store::{Clock, IdSource};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

/// A clock that stands still until it is advanced; sleepers wake when their time has come.
#[derive(Debug)]
pub struct SimClock {
    now: watch::Sender<Timestamp>,
}

impl SimClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        Self { now: watch::Sender::new(start) }
    }

    /// Moves the clock forward and wakes whoever has slept long enough.
    pub fn advance(&self, by: Duration) {
        self.now.send_modify(|now| *now = after(*now, by));
    }

    /// Sets the clock, backwards as well: clocks of real machines do that.
    pub fn set(&self, to: Timestamp) {
        self.now.send_replace(to);
    }

    /// How many calls of [`Clock::sleep`] are waiting.
    pub fn sleepers(&self) -> usize {
        self.now.receiver_count()
    }
}

impl Default for SimClock {
    /// A clock that shows the first of January 2026, midnight.
    fn default() -> Self {
        Self::new(Timestamp::from_second(1_767_225_600).expect("2026 lies within the range of timestamps"))
    }
}

#[async_trait]
impl Clock for SimClock {
    fn now(&self) -> Timestamp {
        *self.now.borrow()
    }

    async fn sleep(&self, duration: Duration) {
        let mut watched = self.now.subscribe();
        let until = after(*watched.borrow(), duration);
        // An error would mean that the sender is gone, and `self` holds it.
        watched.wait_for(|now| *now >= until).await.expect("the clock outlives its sleepers");
    }
}

fn after(now: Timestamp, by: Duration) -> Timestamp {
    now.saturating_add(SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX)).unwrap_or(Timestamp::MAX)
}

/// Ids from a seed: equal seeds give equal ids in equal order.
#[derive(Debug)]
pub struct SeededIds {
    state: AtomicU64,
}

impl SeededIds {
    /// A source that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }
}

impl IdSource for SeededIds {
    fn next_u64(&self) -> u64 {
        mix(self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN))
    }
}

/// A small seeded generator. Source: Steele, Lea and Flood, "Fast splittable pseudorandom number generators" (2014).
#[derive(Debug, Clone)]
pub struct SplitMix {
    state: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl SplitMix {
    /// A generator that begins at `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(GOLDEN);
        mix(self.state)
    }

    /// A number below `bound`, which is not zero. (The bias of the remainder does not matter for tests.)
    pub fn below(&mut self, bound: u64) -> u64 {
        self.next_u64() % bound
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// That many bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(len + 8);
        while bytes.len() < len {
            bytes.extend_from_slice(&self.next_u64().to_le_bytes());
        }
        bytes.truncate(len);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_sleeper_wakes_when_its_time_has_come_and_not_before() {
        let clock = Arc::new(SimClock::default());
        let start = clock.now();
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep(Duration::from_secs(10)).await }
        });
        while clock.sleepers() == 0 {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_secs(9));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.unwrap();
        assert_eq!(clock.now().duration_since(start), SignedDuration::from_secs(10));
        assert_eq!(clock.sleepers(), 0);
    }

    #[test]
    fn equal_seeds_give_equal_ids() {
        let draw = |seed| {
            let ids = SeededIds::new(seed);
            (0..10).map(|_| ids.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        let mut generator = SplitMix::new(1);
        assert_eq!(draw(1), (0..10).map(|_| generator.next_u64()).collect::<Vec<_>>());
    }
}
