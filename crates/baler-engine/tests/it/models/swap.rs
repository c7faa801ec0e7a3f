//! Model `swap`: rebuilding a partition, one object that holds all its sources, in a directory and in an object store.
//!
//! The partition holds source 0 and is committed; sources 1 and 2 come later, and are kept. Two planners rebuild it, one
//! of them may also run a backfill, which takes exactly what its listing shows (`--drop-missing`); an operator aborts a
//! run. Two workers publish and commit; each may stop or sleep after any request and wake with what it knew. Where a
//! publish is blocked, an operator may say `retry --overwrite`. In one world, somebody else writes over the partition.
//!
//! Staging, marking and sealing are one step each here (model `task`), and so is appending (model `log`). Versions are as
//! weak as they come: in the object store the etag says nothing but what the object holds.

use baler_engine::ledger::decide::{Overlap, Reach, may_open, may_publish, outputs_overlap, reach};
use baler_engine::ledger::{LedgerState, RunState, RunStatus};
use baler_model::RunId;
use baler_model::ledger::{Event, OutputClaim, Trigger};

use super::checker::{Model, WEDGE, breaks, holds};
use super::real::{self, Folder};

/// The partition.
const PARTITION: u8 = 0;

/// All three sources.
const ALL: Sources = 0b111;

/// The name of the temporary of a run; a publisher's own name is one more than its number.
const TEMP: usize = 0;

const MISSING: &str = "a committed source is missing from the partition";
const DESTROYED: &str = "somebody else's object is gone";
const COMMITTED_OVER: &str = "committed over somebody else's object";
const UNSEALED: &str = "what is visible was never sealed";

/// What the model can do without, to show what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// A plan is refused that shares something with a run of which something was written since its base.
    RefusedAfterBase,
    /// Runs claim the keys that they write.
    OutputClaims,
    /// Nothing is published before `Sealed`, and nothing aborts after it.
    Seal,
    /// The log is read first, then the target, then the sources.
    OrderOfReads,
    /// A publisher in a directory renames the temporary to a name of its own, and acts only there.
    TakeOverByRename,
    /// Whoever finds the target published looks first at what another publisher may have left at its name.
    LeftoversFirst,
}

/// What holds the partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    ObjectStore,
    Directory,
}

/// A set of sources: a bit each.
type Sources = u8;

/// A run, by number.
type Run = u8;

/// In place of a run: somebody else's object.
const FOREIGN: Run = 7;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Says {
    /// `new` is claimed, `whole` is what the partition is to hold, `replaces` the run whose object is replaced.
    Opened {
        run: Run,
        new: Sources,
        whole: Sources,
        replaces: Run,
    },
    Sealed {
        run: Run,
    },
    Committed {
        run: Run,
        whole: Sources,
    },
    Aborted {
        run: Run,
    },
}

/// What a planner has read, in whichever order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Planner {
    is_backfill: bool,
    base: Option<u8>,
    /// The run whose object was at the target.
    target: Option<Run>,
    listed: Option<Sources>,
}

/// Where a worker stands with the run that it publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum At {
    /// The log says that it may, and the output is staged.
    Ready,
    /// The staged file has the worker's own name.
    Took,
    /// The target is what is to be replaced.
    SawOld,
    /// It exchanged, or found what an exchange left.
    Exchanged,
    /// What came out is what was replaced.
    SawOut,
    /// Something was done: look.
    Confirm,
    /// The target is ours.
    Ours,
    /// The target is not ours: an operator must decide.
    Blocked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    present: Sources,
    log: Vec<Says>,
    planners: [Planner; 2],
    /// Of each run: what lies at its temporary's name and at its publishers' names.
    staged: Vec<[Option<Run>; 3]>,
    is_marked: Vec<bool>,
    target: Run,
    workers: [Option<(Run, At)>; 2],
    aborts_left: u8,
    backfills_left: u8,
    /// Whether somebody else has written over the partition, or may yet.
    foreign: Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Foreign {
    Never,
    MayWrite,
    Wrote,
}

struct Swap {
    kind: Kind,
    /// The sources that there will be.
    sources: Sources,
    aborts: u8,
    backfills: u8,
    foreign: Foreign,
    without: Option<Rule>,
    folder: Folder<Says>,
}

/// What an `Opened` says.
#[derive(Debug, Clone, Copy)]
struct Opened {
    new: Sources,
    whole: Sources,
    replaces: Run,
}

fn opened(log: &[Says], wanted: Run) -> Opened {
    let opened = log.iter().find_map(|says| match *says {
        Says::Opened { run, new, whole, replaces } if run == wanted => Some(Opened { new, whole, replaces }),
        Says::Opened { .. } | Says::Sealed { .. } | Says::Committed { .. } | Says::Aborted { .. } => None,
    });
    opened.expect("a run is in the log")
}

/// Runs with their numbers: they are numbered as they are opened.
fn numbered(state: &LedgerState) -> impl Iterator<Item = (Run, &RunState)> {
    (0..).zip(state.runs())
}

fn number_of(state: &LedgerState, wanted: &RunId) -> Run {
    numbered(state).find(|(_, run)| run.run == *wanted).expect("the log knows the run").0
}

impl Swap {
    fn new(kind: Kind, without: Option<Rule>) -> Self {
        let folder = match kind {
            Kind::ObjectStore => Folder::new(|says| event(says, etag_of_content)),
            Kind::Directory => Folder::new(|says| event(says, etag_of_file)),
        };
        Self { kind, sources: ALL, aborts: 1, backfills: 1, foreign: Foreign::Never, without, folder }
    }

    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    fn etag(&self, log: &[Says], run: Run) -> String {
        match self.kind {
            Kind::ObjectStore => etag_of_content(run, opened(log, run).whole),
            Kind::Directory => etag_of_file(run, 0),
        }
    }

    /// A planner's next request, or its plan.
    fn planner(&self, world: &World, state: &LedgerState, me: usize, step: &mut dyn FnMut(String, World)) {
        let planner = world.planners[me];
        let mut go = |what: &str, planner: Planner, says: Option<Says>, is_backfill: bool| {
            let mut next = world.clone();
            next.planners[me] = planner;
            next.backfills_left -= u8::from(is_backfill);
            if let Some(says) = says {
                next.log.push(says);
                next.staged.push([None; 3]);
                next.is_marked.push(false);
            }
            step(format!("planner {me} {what}"), next);
        };
        let base = Planner { base: Some(world.log.len() as u8), ..planner };
        let target = Planner { target: Some(world.target), ..planner };
        let listed = Planner { listed: Some(world.present), ..planner };
        let (first, second, third) = match self.has(Rule::OrderOfReads) {
            true => (("reads the log", base), ("reads the target", target), ("lists the sources", listed)),
            false => (("lists the sources", listed), ("reads the target", target), ("reads the log", base)),
        };
        match [planner.base.is_some(), planner.target.is_some(), planner.listed.is_some()] {
            [false, false, false] => {
                go(first.0, first.1, None, false);
                if world.backfills_left > 0 && me == 1 {
                    go("begins a backfill", Planner { is_backfill: true, ..first.1 }, None, true);
                }
            }
            [true, true, true] => match self.plan(world, state, planner) {
                Some(says) => go(&format!("opens {says:?}"), Planner::default(), Some(says), false),
                None => go("has nothing to do, or is refused", Planner::default(), None, false),
            },
            [_, false, _] => go(second.0, second.1, None, false),
            [_, true, _] => go(third.0, third.1, None, false),
        }
    }

    /// Makes a plan of what was read, and asks the engine whether it may be opened now.
    fn plan(&self, world: &World, state: &LedgerState, planner: Planner) -> Option<Says> {
        let (base, listed, target) = (planner.base?, planner.listed?, planner.target?);
        let log = &world.log[..usize::from(base)];
        let known = self.folder.fold(log).expect("the log was folded before");
        let (mut held, mut consumed) = (0, 0);
        for (run, known) in numbered(&known) {
            let new = opened(log, run).new;
            held |= if known.status.holds_claims() { new } else { 0 };
            consumed |= if known.consumes() { new } else { 0 };
        }
        let recorded = known.object(&real::output(PARTITION)).expect("it was committed at first");
        let recorded = opened(log, number_of(&known, &recorded.run)).whole;
        let new = listed & !held & !consumed;
        let whole = match planner.is_backfill {
            true => listed & !held,
            // A recorded source that no longer lists gives the partition up.
            false if new == 0 || recorded & !listed != 0 => return None,
            false => recorded | new,
        };
        // A replaced output must still have the etag that the last commit recorded.
        let own = state.object(&real::output(PARTITION)).map(|object| object.etag.to_string());
        if own != Some(self.etag(&world.log, target)) {
            return None;
        }
        let ours = self.outputs();
        let base = if self.has(Rule::RefusedAfterBase) { usize::from(base) } else { world.log.len() };
        let overlap = |rival: &RunState, reach: Reach| {
            let theirs = match reach {
                Reach::Held => rival.outputs.clone(),
                Reach::Everything => self.outputs(),
            };
            match opened(&world.log, number_of(state, &rival.run)).new & new {
                0 => outputs_overlap(&ours, &theirs),
                shared => Overlap::Shares(format!("{shared:03b}")),
            }
        };
        let run = state.runs().len() as Run;
        may_open(state, &real::run_id(run), real::log_seq(base), false, overlap).ok()?;
        Some(Says::Opened { run, new, whole, replaces: target })
    }

    /// The same world with less to tell apart: states that differ in nothing that can ever matter are one.
    fn smaller(&self, mut world: World) -> World {
        let Ok(state) = self.folder.fold(&world.log) else { return world };
        // A plan of which something was written since its base will be refused whatever else it reads.
        if self.has(Rule::RefusedAfterBase) && self.has(Rule::OutputClaims) {
            let is_late = |base: u8| {
                let base = real::log_seq(usize::from(base));
                state.runs().iter().any(|run| reach(run, base) == Some(Reach::Everything))
            };
            for planner in &mut world.planners {
                if planner.base.is_some_and(is_late) {
                    *planner = Planner::default();
                }
            }
        }
        // What an ended run leaves behind is touched by none but those who do not know yet that it ended.
        for (run, _) in numbered(&state).filter(|(_, known)| !known.status.holds_claims()) {
            let names = &mut world.staged[usize::from(run)];
            if !names.contains(&Some(FOREIGN)) && world.workers.iter().flatten().all(|(at, _)| *at != run) {
                *names = [None; 3];
            }
        }
        // Workers are alike, but for their names.
        if world.workers[0] > world.workers[1] {
            world.workers.swap(0, 1);
            world.staged.iter_mut().for_each(|names| names.swap(1, 2));
        }
        world
    }

    fn outputs(&self) -> Vec<OutputClaim> {
        match self.has(Rule::OutputClaims) {
            true => vec![real::output_claim(PARTITION, 0)],
            false => Vec::new(),
        }
    }

    /// What anybody can do for a run that is not sealed, and what an operator can.
    fn drive(&self, world: &World, run: Run, status: RunStatus, step: &mut dyn FnMut(String, World)) {
        if status != RunStatus::Opened {
            return;
        }
        let index = usize::from(run);
        if !world.is_marked[index] {
            let mut next = world.clone();
            next.is_marked[index] = true;
            next.staged[index][TEMP] = Some(run);
            if self.has(Rule::Seal) {
                next.log.push(Says::Sealed { run });
            }
            let sealed = if self.has(Rule::Seal) { " and sealed" } else { "" };
            step(format!("run {run} is staged, marked{sealed}"), next);
        }
        if world.aborts_left > 0 {
            // Its operator dies before the staged output is taken away: the worst case.
            let mut next = world.clone();
            next.log.push(Says::Aborted { run });
            next.aborts_left -= 1;
            step(format!("an operator aborts run {run}"), next);
        }
    }

    fn may_publish(&self, world: &World, state: &LedgerState, run: Run) -> bool {
        let status = state.runs()[usize::from(run)].status;
        let is_early = !self.has(Rule::Seal) && status == RunStatus::Opened && world.is_marked[usize::from(run)];
        may_publish(status) || is_early
    }

    /// A worker's next request.
    fn worker(&self, world: &World, state: &LedgerState, me: usize, step: &mut dyn FnMut(String, World)) {
        let mut go = |what: &str, at: Option<(Run, At)>, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            next.workers[me] = at;
            change(&mut next);
            // Which of the two is not said: they change places to keep states few.
            step(format!("a worker {what}"), next);
        };
        let Some((run, at)) = world.workers[me] else {
            for run in 0..state.runs().len() as Run {
                if !self.may_publish(world, state, run) {
                    continue;
                }
                let names = &world.staged[usize::from(run)];
                let is_left = self.has(Rule::LeftoversFirst) && names.iter().any(Option::is_some);
                if is_left || names.contains(&Some(run)) {
                    go(&format!("begins to publish run {run}"), Some((run, At::Ready)), &|_| {});
                } else if world.target == run {
                    go(&format!("finds run {run} published"), Some((run, At::Ours)), &|_| {});
                }
            }
            return;
        };
        go("restarts", None, &|_| {});
        let index = usize::from(run);
        let own = if self.has(Rule::TakeOverByRename) { 1 + me } else { TEMP };
        let names = &world.staged[index];
        let Opened { whole, replaces: old, .. } = opened(&world.log, run);
        let is_old = self.etag(&world.log, world.target) == self.etag(&world.log, old);
        let to = |at| Some((run, at));
        match (at, self.kind) {
            (At::Ready, Kind::ObjectStore) => match names[TEMP] {
                Some(_) if is_old => {
                    let complete = |next: &mut World| {
                        next.target = run;
                        next.staged[index][TEMP] = None;
                    };
                    go("completes", to(At::Confirm), &complete);
                    go("completes, the reply is lost", to(At::Ready), &complete);
                }
                Some(_) | None => go("completes in vain", to(At::Confirm), &|_| {}),
            },
            (At::Ready, Kind::Directory) => match (0..3).find(|name| names[*name].is_some()) {
                Some(name) => go("takes over by renaming", to(At::Took), &|next| {
                    if own != TEMP {
                        let taken = next.staged[index][name].take();
                        next.staged[index][own] = taken;
                    }
                }),
                None => go("finds nothing to rename", to(At::Confirm), &|_| {}),
            },
            (At::Took, _) => match names[own] {
                None => go("was renamed away", to(At::Ready), &|_| {}),
                Some(held) if held != run => go("holds what an exchange left", to(At::Exchanged), &|_| {}),
                Some(_) if is_old => go("sees the old object", to(At::SawOld), &|_| {}),
                Some(_) => {
                    go("sees another object, and gives back", to(At::Confirm), &|next| give_back(next, index, own))
                }
            },
            (At::SawOld, _) => match names[own] {
                None => go("was renamed away", to(At::Ready), &|_| {}),
                Some(_) => go("exchanges", to(At::Exchanged), &|next| exchange(next, index, own)),
            },
            (At::Exchanged, _) => match names[own] {
                None => go("was renamed away", to(At::Ready), &|_| {}),
                Some(out) if out == old => go("sees the old object come out", to(At::SawOut), &|_| {}),
                Some(_) if world.target == run => go("exchanges back", to(At::Confirm), &|next| {
                    exchange(next, index, own);
                    give_back(next, index, own);
                }),
                Some(_) => go("leaves what came out", to(At::Confirm), &|_| {}),
            },
            (At::SawOut, _) => go("unlinks what came out", to(At::Confirm), &|next| next.staged[index][own] = None),
            (At::Confirm, _) if world.target == run => go("confirms", to(At::Ours), &|_| {}),
            (At::Confirm, _) if self.may_publish(world, state, run) => go("is blocked", to(At::Blocked), &|_| {}),
            (At::Confirm, _) => go("finds the run ended", None, &|_| {}),
            (At::Ours, _) => go("commits", None, &|next| {
                if self.may_publish(world, state, run) {
                    if !self.has(Rule::Seal) {
                        next.log.push(Says::Sealed { run });
                    }
                    next.log.push(Says::Committed { run, whole });
                }
            }),
            (At::Blocked, _) => {
                if let Some(name) = names.iter().position(|held| *held == Some(run))
                    && self.may_publish(world, state, run)
                    && world.foreign == Foreign::Never
                {
                    go("overwrites on an operator's word", to(At::Confirm), &|next| {
                        next.target = run;
                        next.staged[index][name] = None;
                    });
                }
            }
        }
    }
}

fn exchange(world: &mut World, run: usize, name: usize) {
    if let Some(held) = world.staged[run][name] {
        world.staged[run][name] = Some(world.target);
        world.target = held;
    }
}

fn give_back(world: &mut World, run: usize, name: usize) {
    if let Some(held) = world.staged[run][name].take() {
        world.staged[run][TEMP] = Some(held);
    }
}

fn etag_of_content(_: Run, whole: Sources) -> String {
    format!("{whole:03b}")
}

fn etag_of_file(run: Run, _: Sources) -> String {
    format!("inode {run}")
}

fn event(says: &Says, etag: fn(Run, Sources) -> String) -> Event {
    match *says {
        Says::Opened { run, new, .. } => {
            let outputs = vec![real::output_claim(PARTITION, 0)];
            real::opened(run, Trigger::Request, 0, &format!("{new:03b}"), outputs)
        }
        Says::Sealed { run } => real::sealed(run, []),
        Says::Committed { run, whole } => real::committed(run, [(PARTITION, etag(run, whole))]),
        Says::Aborted { run } => real::aborted(run),
    }
}

impl Model for Swap {
    type State = World;

    fn starts(&self) -> Vec<World> {
        let first = Says::Opened { run: 0, new: 1, whole: 1, replaces: 0 };
        vec![World {
            present: 1,
            log: vec![first, Says::Sealed { run: 0 }, Says::Committed { run: 0, whole: 1 }],
            planners: [Planner::default(); 2],
            staged: vec![[None; 3]],
            is_marked: vec![true],
            target: 0,
            workers: [None; 2],
            aborts_left: self.aborts,
            backfills_left: self.backfills,
            foreign: self.foreign,
        }]
    }

    fn next(&self, world: &World, step: &mut dyn FnMut(String, World)) {
        let Ok(state) = self.folder.fold(&world.log) else { return };
        let step = &mut |what: String, next: World| step(what, self.smaller(next));
        for me in 0..2 {
            self.planner(world, &state, me, step);
            self.worker(world, &state, me, step);
        }
        for (run, known) in numbered(&state) {
            self.drive(world, run, known.status, step);
        }
        if world.foreign == Foreign::MayWrite {
            let next = World { target: FOREIGN, foreign: Foreign::Wrote, ..world.clone() };
            step("somebody else writes over the partition".into(), next);
        }
        for source in [0b010, 0b100] {
            if self.sources & !world.present & source != 0 {
                let next = World { present: world.present | source, ..world.clone() };
                step(format!("source {source:03b} arrives"), next);
            }
        }
    }

    fn violation(&self, world: &World) -> Option<&'static str> {
        let Ok(state) = self.folder.fold(&world.log) else { return Some("the log cannot be folded") };
        if world.foreign == Foreign::Wrote {
            let holds_it = |(run, _): &(Run, &RunState)| world.staged[usize::from(*run)].contains(&Some(FOREIGN));
            if numbered(&state).filter(holds_it).any(|(_, run)| run.committed.is_some()) {
                return Some(COMMITTED_OVER);
            }
            let is_there = world.target == FOREIGN || world.staged.iter().flatten().any(|held| *held == Some(FOREIGN));
            return (!is_there).then_some(DESTROYED);
        }
        let consumed = numbered(&state).filter(|(_, run)| run.consumes());
        let consumed = consumed.fold(0, |all, (run, _)| all | opened(&world.log, run).new);
        if consumed & !opened(&world.log, world.target).whole != 0 {
            return Some(MISSING);
        }
        match state.runs()[usize::from(world.target)].status {
            RunStatus::Sealed | RunStatus::Committed | RunStatus::Disposed => {}
            // Without a seal, this is what is tried; the harm is done by the abort.
            RunStatus::Opened if !self.has(Rule::Seal) => {}
            RunStatus::Opened | RunStatus::Withdrawing | RunStatus::Aborted => return Some(UNSEALED),
        }
        let is_blocked = world.workers.iter().flatten().any(|(_, at)| *at == At::Blocked);
        (is_blocked && self.without.is_none()).then_some("a run is blocked, though nobody else writes here")
    }

    fn is_done(&self, world: &World) -> bool {
        let Ok(state) = self.folder.fold(&world.log) else { return false };
        if world.foreign == Foreign::Wrote {
            // An operator must decide.
            return true;
        }
        let is_over = state.runs().iter().all(|run| !run.status.holds_claims());
        is_over && opened(&world.log, world.target).whole == self.sources
    }
}

/// A smaller world, in which a rule is missing.
fn without(kind: Kind, rule: Rule) -> Swap {
    let aborts = u8::from(rule == Rule::Seal);
    Swap { sources: 0b011, aborts, ..Swap::new(kind, Some(rule)) }
}

#[test]
fn a_partition_in_an_object_store_holds_every_committed_source() {
    holds("swap, object store", &Swap::new(Kind::ObjectStore, None), 100_000);
}

#[test]
fn a_partition_in_a_directory_holds_every_committed_source() {
    holds("swap, directory", &Swap { aborts: 0, ..Swap::new(Kind::Directory, None) }, 100_000);
}

#[test]
fn an_abort_takes_nothing_from_a_partition_in_a_directory() {
    holds("swap, directory, abort", &Swap { sources: 0b011, ..Swap::new(Kind::Directory, None) }, 20_000);
}

#[test]
fn a_rebuild_planned_before_another_was_committed_drops_its_sources() {
    for kind in [Kind::ObjectStore, Kind::Directory] {
        breaks("swap without base_seq", &without(kind, Rule::RefusedAfterBase), &[MISSING]);
    }
}

#[test]
fn rebuilds_that_do_not_claim_their_key_drop_each_others_sources() {
    let model = without(Kind::ObjectStore, Rule::OutputClaims);
    breaks("swap without output claims", &model, &[MISSING]);
}

#[test]
fn a_run_published_before_its_seal_is_visible_though_it_was_aborted() {
    for kind in [Kind::ObjectStore, Kind::Directory] {
        breaks("swap without seal", &without(kind, Rule::Seal), &[UNSEALED]);
    }
}

#[test]
fn a_backfill_that_lists_before_it_reads_the_log_drops_sources() {
    for kind in [Kind::ObjectStore, Kind::Directory] {
        breaks("swap in another order of reads", &without(kind, Rule::OrderOfReads), &[MISSING]);
    }
}

#[test]
fn publishers_that_exchange_the_temporary_itself_bring_the_old_object_back() {
    let model = without(Kind::Directory, Rule::TakeOverByRename);
    breaks("swap without takeover by rename", &model, &[MISSING, WEDGE]);
}

#[test]
fn an_object_that_somebody_wrote_over_the_partition_in_a_directory_is_kept() {
    let model = Swap { sources: 0b011, aborts: 0, foreign: Foreign::MayWrite, ..Swap::new(Kind::Directory, None) };
    holds("swap, directory, somebody else writes", &model, 20_000);
}

#[test]
fn a_run_that_does_not_look_at_leftovers_commits_over_somebody_elses_object() {
    let model = Swap { foreign: Foreign::MayWrite, ..without(Kind::Directory, Rule::LeftoversFirst) };
    breaks("swap without a look at leftovers", &model, &[COMMITTED_OVER]);
}
