//! The engine's own values, built from the models' small ones.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::Hash;
use std::rc::Rc;

use baler_engine::ledger::{FoldError, LedgerState};
use baler_model::ledger::{
    Account, CommittedObject, ContentHash, Counts, Entry, Event, FORMAT_VERSION, Failure, GroupId, Mark, Outcome,
    OutputClaim, Trigger, Work,
};
use baler_model::{AttemptId, Key, LogSeq, RunId, TaskId, WriteId};
use jiff::Timestamp;

/// A run's id.
pub(crate) fn run_id(run: u8) -> RunId {
    RunId::try_new(format!("r{run}")).unwrap()
}

/// A position in a log.
pub(crate) fn log_seq(n: usize) -> LogSeq {
    LogSeq(n as u64)
}

/// An output key.
pub(crate) fn output(key: u8) -> Key {
    Key::from_listed(format!("out/{key}"))
}

/// The claim of an output key for a group.
pub(crate) fn output_claim(key: u8, group: u8) -> OutputClaim {
    OutputClaim::Key(output(key), GroupId(u32::from(group)))
}

/// An `Opened` event; what it claims as inputs lies in a file of its own, which `claims` names.
pub(crate) fn opened(run: u8, trigger: Trigger, base_seq: usize, claims: &str, outputs: Vec<OutputClaim>) -> Event {
    Event::Opened {
        run: run_id(run),
        trigger,
        generation: 0,
        plan: ContentHash::of(claims.as_bytes()),
        claims: ContentHash::of(claims.as_bytes()),
        outputs,
        base_seq: log_seq(base_seq),
        counts: Counts::default(),
    }
}

/// A `Sealed` event that releases some groups.
pub(crate) fn sealed(run: u8, released: impl IntoIterator<Item = u8>) -> Event {
    Event::Sealed {
        run: run_id(run),
        account: Account::default(),
        seal: ContentHash::of(b"seal"),
        released: released.into_iter().map(|group| GroupId(u32::from(group))).collect(),
    }
}

/// A `Committed` event that records outputs with their etags.
pub(crate) fn committed(run: u8, outputs: impl IntoIterator<Item = (u8, String)>) -> Event {
    let object =
        |(key, etag): (u8, String)| CommittedObject { key: output(key), etag: etag.into(), size: 1, group: GroupId(0) };
    Event::Committed { run: run_id(run), objects: outputs.into_iter().map(object).collect() }
}

/// An `Aborted` event.
pub(crate) fn aborted(run: u8) -> Event {
    Event::Aborted { run: run_id(run), reason: "asked".into() }
}

/// A log entry.
pub(crate) fn entry(seq: usize, event: Event) -> Entry {
    Entry {
        version: FORMAT_VERSION,
        seq: log_seq(seq),
        write_id: WriteId::try_new("w").unwrap(),
        at: Timestamp::UNIX_EPOCH,
        by: "model".into(),
        event,
    }
}

/// Folds logs of small events with the engine's fold, each log once.
pub(crate) struct Folder<E> {
    event: fn(&E) -> Event,
    folded: RefCell<HashMap<Vec<E>, Rc<LedgerState>>>,
}

impl<E: Clone + Eq + Hash> Folder<E> {
    /// A folder of events that `event` turns into the engine's.
    pub(crate) fn new(event: fn(&E) -> Event) -> Self {
        Self { event, folded: RefCell::default() }
    }

    /// What a log says.
    ///
    /// Errors: those of the fold.
    pub(crate) fn fold(&self, log: &[E]) -> Result<Rc<LedgerState>, FoldError> {
        if let Some(known) = self.folded.borrow().get(log) {
            return Ok(Rc::clone(known));
        }
        let state = match log.split_last() {
            None => LedgerState::default(),
            Some((last, before)) => {
                let mut state = LedgerState::clone(&*self.fold(before)?);
                state.apply(&entry(log.len(), (self.event)(last)))?;
                state
            }
        };
        let state = Rc::new(state);
        self.folded.borrow_mut().insert(log.to_vec(), Rc::clone(&state));
        Ok(state)
    }

    /// Whether an event may come next.
    pub(crate) fn accepts(&self, log: &[E], event: &E) -> bool {
        let next = entry(log.len() + 1, (self.event)(event));
        self.fold(log).is_ok_and(|state| state.accepts(&next).is_ok())
    }
}

/// A mark that names staged outputs; which ones, the models keep themselves.
pub(crate) fn staged_mark(run: u8, task: u32) -> Mark {
    let outcome =
        Outcome::Staged { outputs: Vec::new(), account: Box::default(), work: Work::default(), records: Vec::new() };
    mark(run, task, outcome)
}

/// A mark that gives a task's group up.
pub(crate) fn given_up_mark(run: u8, task: u32) -> Mark {
    mark(run, task, Outcome::GivenUp { reason: Failure { error: "a source is gone".into(), hint: None } })
}

fn mark(run: u8, task: u32, outcome: Outcome) -> Mark {
    Mark {
        version: FORMAT_VERSION,
        run: run_id(run),
        task: TaskId(task),
        generation: 0,
        attempt: AttemptId::try_new("a").unwrap(),
        at: Timestamp::UNIX_EPOCH,
        outcome,
    }
}
