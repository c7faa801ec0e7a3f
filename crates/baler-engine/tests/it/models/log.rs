//! Model `log`: two writers on one log, with snapshots.
//!
//! Every run wants the same input, so at most one may ever hold or consume it. Writers load from the newest snapshot,
//! fold, decide and put the next entry; any of them may stop anywhere, sleep with an old view and wake, lose a reply,
//! and leave a request behind that the network delivers late, or twice.

use std::cell::RefCell;
use std::collections::HashMap;

use baler_engine::ledger::RunStatus;
use baler_engine::ledger::decide::{Overlap, may_open};
use baler_model::ledger::{Event, Trigger};

use super::checker::{Model, breaks, holds};
use super::real::{self, Folder};

/// How many runs each writer may plan.
const TRIES: [u8; 2] = [2, 1];

/// Aborts after which nobody decides on another.
const ABORTS: u8 = 1;

/// What the model can do without, to show what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// Entries are never removed, not even those that a snapshot covers.
    EntriesStay,
    /// An entry is created only where none is.
    CreateOnly,
    /// A writer that was not first folds what is there and decides again.
    DecideAgain,
    /// A plan that does not know what was written since its base is refused.
    PlanAgain,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Says {
    Opened,
    Sealed,
    Committed,
    Aborted,
}

/// An entry; `writer` and `run` stand for its write id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Wrote {
    writer: u8,
    run: u8,
    says: Says,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
struct Writer {
    /// What it has folded.
    view: Vec<Wrote>,
    /// The head when it planned the run that it wants to open.
    plan: Option<u8>,
    /// What it is putting behind its view; it stays so while no reply arrived.
    put: Option<Wrote>,
    /// Runs that it has planned so far.
    planned: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// Entries from number 1; `None` is one that was removed.
    log: Vec<Option<Wrote>>,
    /// How many entries the newest snapshot covers, and what they said when they were folded.
    snapshot: Vec<Wrote>,
    writers: [Writer; 2],
    /// A request whose sender is gone, with its number.
    late: Option<(u8, Wrote)>,
    /// Aborts that the store has taken.
    aborts: u8,
    /// Runs whose `Opened` the store has taken, and that have not ended without effect since.
    holding: Vec<u8>,
    /// Runs whose `Committed` the store has taken.
    committed: Vec<u8>,
}

/// A view, a run and the base of its plan.
type Question = (Vec<Wrote>, u8, u8);

struct Log {
    without: Option<Rule>,
    folder: Folder<Wrote>,
    decided: RefCell<HashMap<Question, bool>>,
}

fn event(wrote: &Wrote) -> Event {
    match wrote.says {
        Says::Opened => {
            let output = real::output_claim(wrote.run, 0);
            real::opened(wrote.run, Trigger::Request, 0, "the input", vec![output])
        }
        Says::Sealed => real::sealed(wrote.run, []),
        Says::Committed => real::committed(wrote.run, []),
        Says::Aborted => real::aborted(wrote.run),
    }
}

impl Log {
    fn new(without: Option<Rule>) -> Self {
        Self { without, folder: Folder::new(event), decided: RefCell::default() }
    }

    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// The engine's decision, once per view.
    fn may_open(&self, view: &[Wrote], run: u8, base: u8) -> bool {
        let base = if self.has(Rule::PlanAgain) { base } else { u8::MAX };
        *self.decided.borrow_mut().entry((view.to_vec(), run, base)).or_insert_with(|| {
            let state = self.folder.fold(view).expect("a view was folded before");
            let base = real::log_seq(usize::from(base));
            // Every run claims the one input.
            let overlap = |_: &_, _| Overlap::Shares("the input".into());
            may_open(&state, &real::run_id(run), base, false, overlap).is_ok()
        })
    }

    /// What a writer could decide to put, going by its view.
    fn decisions(&self, world: &World, me: usize) -> Vec<Wrote> {
        let writer = &world.writers[me];
        let view = &writer.view;
        let state = self.folder.fold(view).expect("a view was folded before");
        let by = me as u8;
        let mut puts = Vec::new();
        if let Some(base) = writer.plan {
            let run = own_run(me, writer.planned);
            if self.may_open(view, run, base) {
                puts.push(Wrote { writer: by, run, says: Says::Opened });
            }
        }
        for run in 0..TRIES[0] + TRIES[1] {
            let Some(known) = state.run(&real::run_id(run)) else { continue };
            let mut says = |says| puts.push(Wrote { writer: by, run, says });
            match known.status {
                RunStatus::Opened => {
                    says(Says::Sealed);
                    if world.aborts < ABORTS {
                        says(Says::Aborted);
                    }
                }
                RunStatus::Sealed => says(Says::Committed),
                RunStatus::Withdrawing | RunStatus::Committed | RunStatus::Disposed | RunStatus::Aborted => {}
            }
        }
        puts.retain(|put| self.folder.accepts(view, put));
        puts
    }

    /// A request reaches the store: the entry that is there afterwards.
    fn arrive(&self, world: &mut World, number: usize, put: Wrote) -> Wrote {
        let slot = number - 1;
        if world.log.len() == slot {
            world.log.push(None);
        }
        let is_free = world.log[slot].is_none();
        if is_free || !self.has(Rule::CreateOnly) {
            world.log[slot] = Some(put);
            match put.says {
                Says::Opened if !world.holding.contains(&put.run) => world.holding.push(put.run),
                Says::Opened | Says::Sealed => {}
                Says::Committed if !world.committed.contains(&put.run) => world.committed.push(put.run),
                Says::Committed => {}
                Says::Aborted => {
                    world.aborts += 1;
                    world.holding.retain(|run| *run != put.run);
                }
            }
            world.holding.sort_unstable();
            world.committed.sort_unstable();
        }
        world.log[slot].expect("it was there or has just been created")
    }
}

fn own_run(writer: usize, planned: u8) -> u8 {
    writer as u8 * TRIES[0] + planned - 1
}

/// Takes every entry behind a view; `None` when one is missing.
fn refreshed(view: &[Wrote], log: &[Option<Wrote>]) -> Option<Vec<Wrote>> {
    let mut view = view.to_vec();
    for entry in log.iter().skip(view.len()) {
        view.push((*entry)?);
    }
    Some(view)
}

impl Model for Log {
    type State = World;

    fn starts(&self) -> Vec<World> {
        vec![World {
            log: Vec::new(),
            snapshot: Vec::new(),
            writers: [Writer::default(), Writer::default()],
            late: None,
            aborts: 0,
            holding: Vec::new(),
            committed: Vec::new(),
        }]
    }

    fn next(&self, world: &World, step: &mut dyn FnMut(String, World)) {
        for (me, writer) in world.writers.iter().enumerate() {
            let with = |change: &dyn Fn(&mut World, &mut Writer)| {
                let mut next = world.clone();
                let mut writer = writer.clone();
                change(&mut next, &mut writer);
                next.writers[me] = writer;
                next
            };
            let view = &writer.view;
            let restarted = refreshed(&world.snapshot, &world.log).map(|view| Writer {
                view,
                planned: writer.planned,
                ..Writer::default()
            });
            let Some(put) = writer.put else {
                if let Some(newer) = refreshed(view, &world.log) {
                    step(format!("{me} refreshes"), with(&|_, w| w.view.clone_from(&newer)));
                }
                if let Some(restarted) = &restarted {
                    step(format!("{me} restarts and loads"), with(&|_, w| w.clone_from(restarted)));
                }
                if view.len() > world.snapshot.len() {
                    step(format!("{me} writes a snapshot"), with(&|n, _| n.snapshot.clone_from(view)));
                }
                let state = self.folder.fold(view).expect("a view was folded before");
                if writer.planned < TRIES[me] && !state.runs().iter().any(|run| run.consumes()) {
                    let plan = Some(view.len() as u8);
                    step(format!("{me} plans"), with(&|_, w| (w.planned, w.plan) = (w.planned + 1, plan)));
                }
                for put in self.decisions(world, me) {
                    step(format!("{me} decides on {put:?}"), with(&|_, w| w.put = Some(put)));
                }
                continue;
            };
            let number = view.len() + 1;
            let heard = with(&|n, w| {
                let there = self.arrive(n, number, put);
                w.view.push(there);
                let insists = !self.has(Rule::DecideAgain) && self.folder.accepts(&w.view, &put);
                if there == put || !insists {
                    w.put = None;
                }
                if there == put && matches!(put.says, Says::Opened) {
                    w.plan = None;
                }
            });
            step(format!("{me} puts {number} and hears of it"), heard);
            let lost = with(&|n, _| {
                self.arrive(n, number, put);
            });
            step(format!("{me} puts {number}, the reply is lost"), lost);
            if let (Some(restarted), None) = (restarted, world.late) {
                let gone = with(&|n, w| {
                    n.late = Some((number as u8, put));
                    w.clone_from(&restarted);
                });
                step(format!("{me} restarts, its request for {number} is on its way"), gone);
            }
        }
        if let Some((number, put)) = world.late {
            let mut next = world.clone();
            self.arrive(&mut next, usize::from(number), put);
            step(format!("a late request for {number} arrives, and may come again"), next);
        }
        if !self.has(Rule::EntriesStay) {
            let mut next = world.clone();
            next.log.iter_mut().take(world.snapshot.len()).for_each(|entry| *entry = None);
            step("entries that the snapshot covers are removed".into(), next);
        }
    }

    fn violation(&self, world: &World) -> Option<&'static str> {
        if world.holding.len() > 1 {
            return Some("double claim");
        }
        if world.committed.len() > 1 {
            return Some("taken twice");
        }
        let view_differs = |writer: &Writer| {
            writer.view.iter().zip(&world.log).any(|(seen, entry)| entry.is_some_and(|entry| entry != *seen))
        };
        if world.writers.iter().any(view_differs) {
            return Some("two readers of one log saw different entries");
        }
        let cannot_fold = |writer: &Writer| self.folder.fold(&writer.view).is_err();
        world.writers.iter().any(cannot_fold).then_some("the log cannot be folded")
    }

    fn is_done(&self, world: &World) -> bool {
        !world.committed.is_empty()
            || world.holding.is_empty() && world.writers.iter().zip(TRIES).all(|(w, tries)| w.planned == tries)
    }
}

#[test]
fn one_of_two_writers_holds_the_claim() {
    holds("log", &Log::new(None), 200_000);
}

#[test]
fn a_log_from_which_entries_are_removed_lets_two_runs_hold_one_claim() {
    breaks("log without its entries", &Log::new(Some(Rule::EntriesStay)), &["double claim"]);
}

#[test]
fn entries_that_can_be_overwritten_let_two_runs_hold_one_claim() {
    breaks("log without create-only", &Log::new(Some(Rule::CreateOnly)), &["double claim"]);
}

#[test]
fn appending_an_old_decision_lets_two_runs_hold_one_claim() {
    breaks("log without deciding again", &Log::new(Some(Rule::DecideAgain)), &["double claim"]);
}

#[test]
fn a_plan_older_than_its_base_lets_an_input_be_taken_twice() {
    breaks("log without base_seq", &Log::new(Some(Rule::PlanAgain)), &["double claim", "taken twice"]);
}
