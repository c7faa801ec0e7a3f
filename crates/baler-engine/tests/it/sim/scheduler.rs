//! One thread and one generator: whatever a process waits for is a ticket, and the schedule says which is granted next.
//!
//! A process is a future. It runs until every branch of it waits at the gate: for a store operation, or for a time. One
//! grant lets one operation happen, so between two grants at most one effect lies. Nothing here reads a real clock.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use baler_store::Clock;
use baler_testkit::fault::{Hook, Op, Verdict};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;

/// The first of January 2026, midnight, in milliseconds.
const START: i64 = 1_767_225_600_000;

/// More operations than any honest end of a schedule needs.
const ENDLESS: u64 = 100_000;

/// What a process waits for.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    /// An operation of the store of this name.
    Op(&'static str, Op),
    /// This time, by the world's clock in milliseconds.
    Time(i64),
}

#[derive(Debug)]
struct Ticket {
    process: usize,
    wish: Wish,
    verdict: Option<Verdict>,
    waker: Option<Waker>,
}

#[derive(Debug, Default)]
struct Tickets {
    waiting: BTreeMap<u64, Ticket>,
    next: u64,
    now: i64,
    is_open: bool,
    /// Operations that passed since it was opened.
    passed: u64,
}

/// Where processes wait.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<Mutex<Tickets>>);

/// One ticket, as the schedule sees it.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) ticket: u64,
    pub(crate) process: usize,
    pub(crate) wish: Wish,
}

impl Gate {
    /// Lets operations pass without asking; sleeps still wait.
    pub(crate) fn set_open(&self, is_open: bool) {
        let mut tickets = self.0.lock();
        (tickets.is_open, tickets.passed) = (is_open, 0);
    }

    /// All that is waited for, in the order in which it was asked.
    pub(crate) fn waiting(&self) -> Vec<Waiting> {
        let tickets = self.0.lock();
        let ungranted = tickets.waiting.iter().filter(|(_, t)| t.verdict.is_none());
        ungranted.map(|(id, t)| Waiting { ticket: *id, process: t.process, wish: t.wish.clone() }).collect()
    }

    pub(crate) fn grant(&self, ticket: u64, verdict: Verdict) {
        let mut tickets = self.0.lock();
        let Some(ticket) = tickets.waiting.get_mut(&ticket) else { return };
        ticket.verdict = Some(verdict);
        if let Some(waker) = ticket.waker.take() {
            waker.wake();
        }
    }

    /// Milliseconds since the world began.
    pub(crate) fn now(&self) -> i64 {
        self.0.lock().now
    }

    pub(crate) fn advance_to(&self, now: i64) {
        let mut tickets = self.0.lock();
        tickets.now = tickets.now.max(now);
    }

    /// What a process sees its store through.
    pub(crate) fn hook(&self, process: usize, store: &'static str) -> Hook {
        let gate = self.clone();
        Arc::new(move |op| {
            // Proofs of stores are made once and for all worlds; looking them up orders nothing.
            let mut tickets = gate.0.lock();
            tickets.passed += u64::from(tickets.is_open);
            assert!(tickets.passed < ENDLESS, "wedge: p{process} asks without end, at last for {op:?}");
            let passes = tickets.is_open || op.key.contains("_probe/");
            drop(tickets);
            if passes {
                return Box::pin(std::future::ready(Verdict::Proceed));
            }
            Box::pin(gate.wait(process, Wish::Op(store, op.clone())))
        })
    }

    fn wait(&self, process: usize, wish: Wish) -> Wait {
        let mut tickets = self.0.lock();
        let ticket = tickets.next;
        tickets.next += 1;
        tickets.waiting.insert(ticket, Ticket { process, wish, verdict: None, waker: None });
        Wait { gate: self.clone(), ticket }
    }

    /// The clock of a process, so many milliseconds off the world's.
    pub(crate) fn clock(&self, process: usize, skew: i64) -> Arc<dyn Clock> {
        Arc::new(SkewedClock { gate: self.clone(), process, skew })
    }
}

/// Waits for a grant. Dropped, it takes its ticket back: its process died, or stopped waiting.
struct Wait {
    gate: Gate,
    ticket: u64,
}

impl Future for Wait {
    type Output = Verdict;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Verdict> {
        let mut tickets = self.gate.0.lock();
        let ticket = tickets.waiting.get_mut(&self.ticket).expect("a ticket lives as long as its wait");
        match ticket.verdict {
            Some(verdict) => Poll::Ready(verdict),
            None => {
                ticket.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.gate.0.lock().waiting.remove(&self.ticket);
    }
}

#[derive(Debug)]
struct SkewedClock {
    gate: Gate,
    process: usize,
    skew: i64,
}

#[async_trait::async_trait]
impl Clock for SkewedClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(START + self.gate.now() + self.skew).unwrap()
    }

    async fn sleep(&self, duration: Duration) {
        let millis = SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX).as_millis();
        let until = self.gate.now().saturating_add(i64::try_from(millis).unwrap_or(i64::MAX));
        self.gate.wait(self.process, Wish::Time(until)).await;
    }
}

/// Whether a process has something to do.
#[derive(Debug)]
pub(crate) struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A process: a future that is polled until it waits.
pub(crate) struct Task<T> {
    future: Pin<Box<dyn Future<Output = T>>>,
    woken: Arc<Woken>,
}

impl<T> Task<T> {
    pub(crate) fn new(future: impl Future<Output = T> + 'static) -> Self {
        Self { future: Box::pin(future), woken: Arc::new(Woken(AtomicBool::new(true))) }
    }

    /// Runs until all of it waits; what it came to, if it ended.
    pub(crate) fn run(&mut self) -> Option<T> {
        let waker = Waker::from(Arc::clone(&self.woken));
        let mut context = Context::from_waker(&waker);
        while self.woken.0.swap(false, Ordering::Relaxed) {
            if let Poll::Ready(value) = self.future.as_mut().poll(&mut context) {
                return Some(value);
            }
        }
        None
    }
}
