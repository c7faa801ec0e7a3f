//! Model `open`: two planners of one flow with different templates.
//!
//! Two sources, overwritten twice in all; they are kept after a commit, so that every listing shows them again. One
//! planner combines both sources, the other makes a group of each. A planner may sleep after any request and go on with
//! what it knew; whoever finds a run open stages its groups, or gives up those whose sources are no longer what was
//! planned, seals and commits; an operator aborts. Appending is one step here: model `log` shows that it may be.
//!
//! The flow is either triggered (both planners saw the same trigger, which gives runs their ids) or asked for.

use std::collections::BTreeMap;

use baler_engine::ledger::decide::{Overlap, Reach, SealDecision, may_open, may_seal, tally};
use baler_engine::ledger::{LedgerState, Marks, RunState, RunStatus};
use baler_model::ledger::{Event, GroupId, Manifest, Trigger};
use baler_model::{Key, TaskId};
use jiff::Timestamp;

use super::checker::{Model, WEDGE, breaks, holds};
use super::real::{self, Folder};

/// What the model can do without, to show what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    /// The log names a plan by its content, not by its run.
    PlanByHash,
    /// A trigger whose run ended early gives its next run another id.
    Generation,
    /// What is consumed is no input.
    ConsumedIsNoInput,
    /// What is held is no input, and a plan that shares it is refused.
    ClaimsAreExclusive,
    /// A plan is refused that shares an input with a run of which something was written since its base.
    RefusedAfterBase,
}

/// What starts runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    /// One trigger, which both planners saw.
    Trigger,
    /// Requests: every run has an id of its own.
    Request,
}

/// When a sealed run is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Commit {
    /// Some time later.
    Later,
    /// With its seal, which keeps a larger world small.
    AtOnce,
}

/// Versions of the two sources: three bits each.
type Versions = u8;

/// Of each group, what it reads; the second may be empty.
type Groups = [Versions; 2];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Says {
    Opened { run: u8, groups: Groups },
    Sealed { run: u8, released: u8 },
    Committed { run: u8 },
    Aborted { run: u8 },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Planner {
    Idle,
    /// Has read the log up to here.
    Based {
        base: u8,
    },
    /// Has listed the sources, and made its plan.
    Planned {
        base: u8,
        run: u8,
        groups: Groups,
    },
    /// Has written its plan.
    Written {
        base: u8,
        run: u8,
        groups: Groups,
    },
}

/// What became of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Mark {
    None,
    /// Made of these.
    Staged(Versions),
    GivenUp,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    /// The version of each source that is there now.
    current: [u8; 2],
    log: Vec<Says>,
    planners: [Planner; 2],
    /// The marks of each run, in the order in which runs were opened.
    marks: Vec<[Mark; 2]>,
    /// The plan that lies at each run's name, where plans are named so.
    files: BTreeMap<u8, Groups>,
    aborts: u8,
}

struct Open {
    start: Start,
    commit: Commit,
    /// How often sources are overwritten, in all.
    overwrites: u8,
    /// How often an operator aborts a run.
    aborts: u8,
    without: Option<Rule>,
    folder: Folder<Says>,
}

fn trigger() -> Trigger {
    Trigger::Manifest(Manifest {
        store: "memory:".into(),
        key: Key::from_listed("queue/a.json"),
        etag: "e".into(),
        modified: Timestamp::UNIX_EPOCH,
        version_id: None,
    })
}

fn event(says: &Says, trigger: Trigger) -> Event {
    match *says {
        // Nothing is decided by another run's base: it is left out, and fewer states differ.
        Says::Opened { run, groups } => real::opened(run, trigger, 0, &format!("{groups:?}"), Vec::new()),
        Says::Sealed { run, released } => real::sealed(run, (0..2).filter(|group| released & (1 << group) != 0)),
        Says::Committed { run } => real::committed(run, []),
        Says::Aborted { run } => real::aborted(run),
    }
}

fn version(source: usize, number: u8) -> Versions {
    1 << (source as u8 * 3 + number)
}

/// The run and the groups that an entry opened.
fn planned(log: &[Says], run: &RunState) -> (u8, Groups) {
    match log[run.opened.0 as usize - 1] {
        Says::Opened { run, groups, .. } => (run, groups),
        Says::Sealed { .. } | Says::Committed { .. } | Says::Aborted { .. } => {
            unreachable!("a run begins with `Opened`")
        }
    }
}

/// What of a run's inputs is claimed: what feeds groups that are not released.
fn claims(log: &[Says], run: &RunState) -> Versions {
    let (_, groups) = planned(log, run);
    let kept = |group: &usize| !run.released.contains(&GroupId(*group as u32));
    (0..2).filter(kept).map(|group| groups[group]).fold(0, |all, one| all | one)
}

impl Open {
    /// One trigger; sources are overwritten twice, runs aborted twice.
    fn triggered(without: Option<Rule>) -> Self {
        let folder = Folder::new(|says| event(says, trigger()));
        Self { start: Start::Trigger, commit: Commit::Later, overwrites: 2, aborts: 2, without, folder }
    }

    /// Requests; a source is overwritten once, and a run aborted once.
    fn requested(without: Option<Rule>) -> Self {
        let folder = Folder::new(|says| event(says, Trigger::Request));
        Self { start: Start::Request, commit: Commit::Later, overwrites: 1, aborts: 1, without, folder }
    }

    fn has(&self, rule: Rule) -> bool {
        self.without != Some(rule)
    }

    /// Lists the sources and plans, knowing the log up to `base`.
    fn plan(&self, world: &World, me: usize, base: u8) -> Planner {
        let log = &world.log[..usize::from(base)];
        let state = self.folder.fold(log).expect("the log was folded before");
        let mut inputs = version(0, world.current[0]) | version(1, world.current[1]);
        for run in state.runs() {
            let is_out = run.consumes() && self.has(Rule::ConsumedIsNoInput)
                || run.status.holds_claims() && self.has(Rule::ClaimsAreExclusive);
            if is_out {
                inputs &= !claims(log, run);
            }
        }
        let groups = match me {
            0 => [inputs, 0],
            _ => match [inputs & 0b000_111, inputs & 0b111_000] {
                [0, second] => [second, 0],
                both => both,
            },
        };
        let run = match self.start {
            Start::Trigger if self.has(Rule::Generation) => state.generation(&trigger()) as u8,
            Start::Trigger => 0,
            // Free at opening as well: an id that nobody else has.
            Start::Request => u8::MAX,
        };
        match groups {
            [0, _] => Planner::Idle,
            groups if self.has(Rule::PlanByHash) => Planner::Written { base, run, groups },
            groups => Planner::Planned { base, run, groups },
        }
    }

    /// Whether a plan may be opened now: the engine's decision.
    fn may_open(&self, log: &[Says], state: &LedgerState, run: u8, groups: Groups, base: u8) -> bool {
        let base = if self.has(Rule::RefusedAfterBase) { usize::from(base) } else { log.len() };
        let inputs = groups[0] | groups[1];
        let overlap = |rival: &RunState, reach: Reach| {
            let theirs = match reach {
                Reach::Held if self.has(Rule::ClaimsAreExclusive) => claims(log, rival),
                Reach::Held => 0,
                Reach::Everything => {
                    let (_, groups) = planned(log, rival);
                    groups[0] | groups[1]
                }
            };
            match theirs & inputs {
                0 => Overlap::Nothing,
                shared => Overlap::Shares(format!("{shared:06b}")),
            }
        };
        may_open(state, &real::run_id(run), real::log_seq(base), false, overlap).is_ok()
    }

    /// What a planner does next.
    fn planner(&self, world: &World, state: &LedgerState, me: usize, step: &mut dyn FnMut(String, World)) {
        let mut go = |what: &str, planner: Planner, change: &dyn Fn(&mut World)| {
            let mut next = world.clone();
            next.planners[me] = planner;
            change(&mut next);
            step(format!("planner {me} {what}"), next);
        };
        match world.planners[me] {
            Planner::Idle => {
                let base = world.log.len() as u8;
                let is_known = match self.start {
                    // A run of this trigger is there, and has not ended early: nothing is planned.
                    Start::Trigger if self.has(Rule::Generation) => {
                        state.run(&real::run_id(state.generation(&trigger()) as u8)).is_some()
                    }
                    Start::Trigger => state.run(&real::run_id(0)).is_some(),
                    Start::Request => false,
                };
                if !is_known {
                    go("reads the log", Planner::Based { base }, &|_| {});
                }
            }
            Planner::Based { base } => go("lists the sources", self.plan(world, me, base), &|_| {}),
            Planner::Planned { base, run, groups } => {
                go("writes its plan", Planner::Written { base, run, groups }, &|next| {
                    next.files.insert(run, groups);
                });
            }
            Planner::Written { base, run, groups } => {
                let run = if run == u8::MAX { state.runs().len() as u8 } else { run };
                if self.may_open(&world.log, state, run, groups, base) {
                    go("opens its run", Planner::Idle, &|next| {
                        next.log.push(Says::Opened { run, groups });
                        next.marks.push([Mark::None; 2]);
                    });
                } else {
                    go("is refused", Planner::Idle, &|_| {});
                }
            }
        }
    }

    /// What anybody can do for a run.
    fn drive(&self, world: &World, known: &RunState, index: usize, step: &mut dyn FnMut(String, World)) {
        let (run, chosen) = planned(&world.log, known);
        let mut append = |says: Says| {
            let mut next = world.clone();
            next.log.push(says);
            if self.commit == Commit::AtOnce
                && let Says::Sealed { run, .. } = says
            {
                next.log.push(Says::Committed { run });
            }
            if matches!(says, Says::Aborted { .. }) {
                next.marks[index] = [Mark::None; 2];
            }
            step(format!("{says:?}"), next);
        };
        match known.status {
            RunStatus::Sealed => return append(Says::Committed { run }),
            RunStatus::Opened => {}
            RunStatus::Withdrawing | RunStatus::Committed | RunStatus::Disposed | RunStatus::Aborted => return,
        }
        let groups = if self.has(Rule::PlanByHash) { chosen } else { world.files.get(&run).copied().unwrap_or(chosen) };
        let marks: Marks = (0..)
            .zip(world.marks[index])
            .filter_map(|(task, mark)| Some((TaskId(task), Box::new(real_mark(run, task, mark)?))))
            .collect();
        let tasks = (0u32..).zip(groups).filter(|(_, inputs)| *inputs != 0).map(|(n, _)| (TaskId(n), GroupId(n)));
        let count = tasks.clone().count() as u32;
        match may_seal(known.status, count, &tally(tasks, &marks, &known.released)) {
            SealDecision::Seal { released } => {
                append(Says::Sealed { run, released: released.iter().fold(0, |all, group| all | 1 << group.0) });
            }
            SealDecision::Abort => append(Says::Aborted { run }),
            SealDecision::NotYet | SealDecision::WrongStatus => {}
        }
        let current = version(0, world.current[0]) | version(1, world.current[1]);
        let unmarked = |group: &usize| groups[*group] != 0 && world.marks[index][*group] == Mark::None;
        if let Some(group) = (0..2).find(unmarked) {
            let mut next = world.clone();
            let is_there = groups[group] & !current == 0;
            next.marks[index][group] = if is_there { Mark::Staged(groups[group]) } else { Mark::GivenUp };
            step(format!("group {group} of run {run}: {:?}", next.marks[index][group]), next);
        }
        if world.aborts < self.aborts {
            let mut next = world.clone();
            next.log.push(Says::Aborted { run });
            next.marks[index] = [Mark::None; 2];
            next.aborts += 1;
            step(format!("an operator aborts run {run}"), next);
        }
    }
}

fn real_mark(run: u8, task: u32, mark: Mark) -> Option<baler_model::ledger::Mark> {
    match mark {
        Mark::None => None,
        Mark::Staged(_) => Some(real::staged_mark(run, task)),
        Mark::GivenUp => Some(real::given_up_mark(run, task)),
    }
}

impl Model for Open {
    type State = World;

    fn starts(&self) -> Vec<World> {
        vec![World {
            current: [0; 2],
            log: Vec::new(),
            planners: [Planner::Idle; 2],
            marks: Vec::new(),
            files: BTreeMap::new(),
            aborts: 0,
        }]
    }

    fn next(&self, world: &World, step: &mut dyn FnMut(String, World)) {
        let Ok(state) = self.folder.fold(&world.log) else { return };
        for me in 0..2 {
            self.planner(world, &state, me, step);
        }
        for (index, run) in state.runs().iter().enumerate() {
            self.drive(world, run, index, step);
        }
        if world.current[0] + world.current[1] < self.overwrites {
            for source in 0..2 {
                let mut next = world.clone();
                next.current[source] += 1;
                step(format!("source {source} is overwritten"), next);
            }
        }
    }

    fn violation(&self, world: &World) -> Option<&'static str> {
        let Ok(state) = self.folder.fold(&world.log) else { return Some("the log cannot be folded") };
        let (mut claimed, mut taken) = (0, 0);
        for (run, marks) in state.runs().iter().zip(&world.marks) {
            let (_, groups) = planned(&world.log, run);
            for (inputs, mark) in groups.iter().zip(marks) {
                if matches!(mark, Mark::Staged(made_of) if made_of != inputs) {
                    return Some("a run followed another plan than the log chose");
                }
            }
            let is_committed = run.committed.is_some();
            for mark in marks.iter().filter(|_| is_committed) {
                if let Mark::Staged(made_of) = mark {
                    if taken & made_of != 0 {
                        return Some("an input was taken twice");
                    }
                    taken |= made_of;
                }
            }
            if run.status.holds_claims() || run.consumes() {
                let claims = claims(&world.log, run);
                if claimed & claims != 0 {
                    return Some("double claim");
                }
                claimed |= claims;
            }
        }
        None
    }

    fn is_done(&self, world: &World) -> bool {
        let Ok(state) = self.folder.fold(&world.log) else { return false };
        let ended = |run: &RunState| !run.status.holds_claims();
        let is_complete = match self.start {
            Start::Trigger => state.runs().iter().any(|run| run.committed.is_some() && !run.ended_early()),
            Start::Request => {
                let consumed = state.runs().iter().filter(|run| run.consumes());
                let consumed = consumed.fold(0, |all, run| all | claims(&world.log, run));
                (version(0, world.current[0]) | version(1, world.current[1])) & !consumed == 0
            }
        };
        is_complete && state.runs().iter().all(ended)
    }
}

#[test]
fn requested_runs_take_every_version_once() {
    holds("open, requested", &Open::requested(None), 100_000);
}

#[test]
fn sources_overwritten_twice_are_taken_once_in_every_version_that_lasts() {
    let model = Open { commit: Commit::AtOnce, overwrites: 2, aborts: 0, ..Open::requested(None) };
    holds("open, requested, overwritten twice", &model, 100_000);
}

#[test]
fn a_trigger_seen_by_two_planners_takes_every_version_once_and_ends() {
    holds("open, triggered", &Open::triggered(None), 50_000);
}

#[test]
fn a_plan_named_by_its_run_is_not_the_one_that_was_opened() {
    let model = Open::triggered(Some(Rule::PlanByHash));
    breaks("open with plans named by run", &model, &["a run followed another plan than the log chose"]);
}

#[test]
fn a_trigger_without_generations_never_runs_again() {
    breaks("open without generations", &Open::triggered(Some(Rule::Generation)), &[WEDGE]);
}

#[test]
fn a_kept_input_is_taken_again_unless_consumed_ones_are_left_out() {
    breaks("open with consumed inputs", &Open::requested(Some(Rule::ConsumedIsNoInput)), &["double claim"]);
}

#[test]
fn runs_that_share_claims_take_inputs_twice() {
    breaks("open with shared claims", &Open::requested(Some(Rule::ClaimsAreExclusive)), &["double claim"]);
}

#[test]
fn an_old_plan_takes_again_what_was_consumed_since() {
    breaks("open without base_seq", &Open::requested(Some(Rule::RefusedAfterBase)), &["double claim"]);
}
