//! Time and randomness, handed in everywhere.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use baler_model::{AttemptId, WriteId};
use jiff::Timestamp;

/// Where time comes from.
#[async_trait]
pub trait Clock: fmt::Debug + Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;
    /// Waits.
    async fn sleep(&self, duration: Duration);
}

/// Where randomness comes from.
pub trait IdSource: fmt::Debug + Send + Sync {
    /// 64 random bits.
    fn next_u64(&self) -> u64;

    /// A new attempt id: 16 hexadecimal digits.
    fn attempt_id(&self) -> AttemptId {
        AttemptId::try_new(format!("{:016x}", self.next_u64())).expect("hexadecimal digits are a name")
    }

    /// A new write id: 16 hexadecimal digits.
    fn write_id(&self) -> WriteId {
        WriteId::try_new(format!("{:016x}", self.next_u64())).expect("hexadecimal digits are a name")
    }
}

/// The clock of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

#[async_trait]
impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }

    #[expect(clippy::disallowed_methods, reason = "the one place where real time enters")]
    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Randomness from the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemIds;

impl IdSource for SystemIds {
    fn next_u64(&self) -> u64 {
        let mut bits = [0u8; 8];
        let mut filled = 0;
        while filled < bits.len() {
            // A signal may cut getrandom short; it never fails once the pool is seeded, and blocks before that.
            if let Ok(n) = rustix::rand::getrandom(&mut bits[filled..], rustix::rand::GetRandomFlags::empty()) {
                filled += n;
            }
        }
        u64::from_le_bytes(bits)
    }
}
