//! `kill -9` at random instants of a run. The seed is printed, and `BALER_KILL_SEED` replays the waits (not the scheduler).

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use baler_testkit::SplitMix;

/// Kills the binary until it was killed often enough while it ran.
pub(crate) struct Killer {
    /// For what a test does at random.
    pub(crate) random: SplitMix,
    wanted: u32,
    kills: u32,
    rounds: u32,
    /// How long an undisturbed run takes, so that kills fall everywhere into it.
    usual: Duration,
}

impl Killer {
    /// One that kills so often.
    pub(crate) fn new(wanted: u32) -> Self {
        let seed = std::env::var("BALER_KILL_SEED").ok().and_then(|s| s.parse().ok());
        let seed = seed.unwrap_or_else(|| u64::from(std::process::id()));
        println!("seed {seed}: replay with BALER_KILL_SEED={seed}");
        Self { random: SplitMix::new(seed), wanted, kills: 0, rounds: 0, usual: Duration::from_millis(80) }
    }

    /// The number of the next round, from 1; none when it was killed often enough.
    pub(crate) fn next_round(&mut self) -> Option<u32> {
        if self.kills >= self.wanted {
            let Self { kills, rounds, usual, .. } = self;
            println!("killed {kills} times in {rounds} rounds; an undisturbed run takes {usual:?}");
            return None;
        }
        self.rounds += 1;
        assert!(self.rounds < 3 * self.wanted, "the binary ends before it can be killed");
        Some(self.rounds)
    }

    /// Starts the command and kills it (SIGKILL: nothing of the process runs any more); whether it still ran.
    pub(crate) fn kill(&mut self, command: &mut Command) -> bool {
        let began = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let wait = self.usual.mul_f64(self.random.unit() * 1.1);
        while began.elapsed() < wait && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(500));
        }
        let was_running = child.try_wait().unwrap().is_none();
        child.kill().unwrap();
        child.wait().unwrap();
        self.kills += u32::from(was_running);
        was_running
    }

    /// Lets a run come to its end, and takes its time.
    pub(crate) fn undisturbed<T>(&mut self, run: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = run();
        self.usual = (self.usual * 3 + began.elapsed().max(Duration::from_millis(20))) / 4;
        done
    }
}
