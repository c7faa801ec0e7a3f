//! One run from its first attempt to its end: the machine that the models `task` and `groups` explore.
//!
//! A worker is one process that drives the run, or an operator's `abort`; it does one request at a time, and between
//! any two it may die or sleep. It knows only what it read (`view`: how much of the log; `seen`: marks). Around it: a
//! source that somebody overwrites or takes away, uploads that expire, a consumer that takes outputs away as soon as they
//! are visible, somebody else who writes at the same keys, `gc`, and an operator who answers truthfully when asked.
//!
//! A *line* is one output; every task is a group of its own. Attempts are numbered by the smallest number that nothing
//! refers to any more, and workers are kept sorted: which of them is which makes no difference.

mod redo;
mod withdraw;
mod work;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use baler_engine::ledger::RunStatus;
use baler_engine::ledger::decide::{Assume, Tally, tally};
use baler_model::ledger::{Event, GroupId, Trigger};
use baler_model::{RunId, TaskId};

use super::checker::Model;
use super::real::{self, Folder};

const LINES: usize = 2;
/// One of something per line, or per task.
type Lines<T> = [T; 2];
type Marks = Lines<Option<(u8, Marked)>>;
const ATTEMPTS: usize = 8;
const GENERATIONS: usize = 4;

pub(crate) const SOURCE_LOST: &str = "loss: a source went that no visible output holds";
pub(crate) const NEWER_LOST: &str = "loss: a version of the source went that was never planned";
pub(crate) const NOT_PUBLISHED: &str = "loss: committed, and an output never appeared";
pub(crate) const TRAMPLED: &str = "loss: somebody else's object was overwritten";
pub(crate) const TWICE: &str = "doubling: an output appeared twice";
pub(crate) const FREED: &str = "doubling: claims were freed while an output was visible or delivered";
pub(crate) const HELD_AGAIN: &str = "double claim: a released group is sealed again";
pub(crate) const EARLY: &str = "visible before sealed";
pub(crate) const SPOILED: &str = "loss: an upload that the newest mark names was aborted";
pub(crate) const NEEDLESS: &str = "an operator is asked about an output that is there";

/// What the model can do without, to show what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A source is deleted only in the version that was planned.
    ConditionalDelete,
    /// Publishing creates; it never replaces what is there.
    CreateOnlyPublish,
    /// What is staged again is marked as the next generation.
    MarkGenerations,
    /// An attempt's things carry its own id.
    AttemptId,
    /// `pub/…` is written before an output is revealed.
    Pub,
    /// `pub/…` of an earlier generation counts for the outputs that a later mark repeats.
    EarlierPub,
    /// Nothing is staged again while its upload is there.
    UploadFirst,
    /// The key and the log are looked at before an output is staged again.
    LookBeforeRedo,
    /// A group is given up by a mark, which everybody sees.
    GiveUpByMark,
    /// Groups once released stay so: the fold refuses anything else, and what was decided before the log moved is
    /// decided again.
    ReleasedOnlyGrows,
    /// What is published is what the seal names, not what the marks say now.
    SealNames,
    /// Before a task with several outputs is staged again, all its uploads are aborted and all its keys looked at: the
    /// next mark repeats only what is published already.
    RedoFreezes,
    /// What an operator says of an output is said of the upload that was lost, not of a later one.
    StatementNamesUpload,
    /// What an operator says is heard where the source is gone too.
    GiveUpHears,
    /// A withdrawal ends only when no output can have been taken away.
    WithdrawalLooks,
    /// Uploads of an ended withdrawal are aborted before its outputs are looked for.
    AbortBeforeDelete,
}

/// Sizes of the world, and how much may go wrong in it.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) workers: usize,
    pub(crate) tasks: usize,
    /// Outputs of each task.
    pub(crate) outputs: usize,
    pub(crate) chances: Chances,
    /// Lines that a consumer takes away, as a mask.
    pub(crate) consumed: u8,
    /// Lines whose uploads may expire, as a mask.
    pub(crate) expiring: u8,
    /// Whether `gc` runs once the run has ended.
    pub(crate) gc: bool,
    pub(crate) without: Option<Rule>,
}

/// How often each thing may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(crate) struct Chances {
    /// An upload expires.
    pub(crate) expiries: u8,
    /// A source is overwritten.
    pub(crate) overwrites: u8,
    /// A source is taken away.
    pub(crate) removals: u8,
    /// Somebody else writes at an output's key.
    pub(crate) foreign: u8,
    /// An operator begins to abort or to withdraw.
    pub(crate) aborts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Source {
    Planned,
    Overwritten,
    TakenAway,
    /// We deleted what was planned.
    Disposed,
    /// We deleted something else.
    Destroyed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Object {
    Nothing,
    Ours(u8),
    Foreign,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
struct Taken {
    times: u8,
    attempt: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Marked {
    /// By which attempt, and whose upload stands at each line of this task.
    Staged(u8, Lines<u8>),
    GivenUp,
}

/// Per line the mark's generation and the attempt that staged it.
type Seal = Lines<Option<(u8, u8)>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Says {
    Opened,
    Sealed { lines: Seal, released: u8 },
    Withdrawing,
    Committed,
    Aborted,
    Disposed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
enum Step {
    #[default]
    Start,
    ReadMarks,
    Stage(u8),
    CreateMark {
        task: u8,
        generation: u8,
        mark: Marked,
    },
    Seal,
    Check(u8),
    /// Is a lost upload really gone; is our object there; what does the log say; did publishing begin.
    RedoUpload(u8),
    RedoKey(u8),
    RedoLog(u8, bool),
    RedoPub(u8, bool),
    StageAgain(u8),
    /// After a seal, a source gone too: abort all uploads, look at every key, then for `pub/…`.
    FreezeAbort(u8),
    FreezeKey(u8),
    FreezePub(u8),
    LineUpload(u8),
    LineKey(u8),
    LinePub(u8),
    LineComplete(u8),
    LineConfirm(u8, bool),
    LostMarks,
    Append(Says),
    AbortUploads,
    MayWithdraw(u8),
    MayWithdrawUpload(u8),
    MayWithdrawKey(u8),
    BackAbort(u8),
    BackKey(u8),
    BackDelete(u8, u8),
    BackPub(u8),
    Delete(u8),
    DeleteSeen(u8),
    Blocked {
        line: u8,
        attempt: u8,
    },
}

/// What an operator said of a line: which attempt's upload it was about, and whether that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Told {
    attempt: u8,
    is_published: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
struct Worker {
    step: Step,
    /// Entries of the log that it has folded.
    view: u8,
    /// The view that its seal was decided on.
    decided: u8,
    /// The newest marks that it has read, with their generations.
    seen: Marks,
    /// The lines that it publishes, or is about to seal.
    lines: Seal,
    /// The groups that it is about to release.
    released: u8,
    lost: u8,
    again: u8,
    publishes: bool,
    is_blocked: bool,
    /// Lines that an operator has to be asked about.
    unclear: u8,
    /// Lines found published when their task was frozen.
    there: u8,
    /// A newer mark was seen.
    is_newer: bool,
    told: Lines<Option<Told>>,
    /// Groups that it gave up on its own, where giving up leaves no mark.
    given_up: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct World {
    sources: Lines<Source>,
    /// Lines that are staged, by attempt.
    staged: [u8; ATTEMPTS],
    keys: Lines<Object>,
    taken: Lines<Taken>,
    marks: Lines<[Option<Marked>; GENERATIONS]>,
    /// `pub/…`, by generation and line.
    begun: [u8; GENERATIONS],
    log: Vec<Says>,
    workers: Vec<Worker>,
    chances: Chances,
    trampled: bool,
    needless: bool,
    spoiled: bool,
}

/// What kind of mark each task has, and the released groups.
type MarkedKinds = (Lines<u8>, u8);
/// Tasks without a mark, as a mask, and the engine's tally.
type Unmarked = (u8, Tally);
/// A status and the released groups.
type Stand = (RunStatus, u8);

pub(crate) struct Machine {
    run: Run,
    id: RunId,
    folder: Folder<Says>,
    stands: RefCell<HashMap<Vec<Says>, Stand>>,
    tallies: RefCell<HashMap<MarkedKinds, Unmarked>>,
}

fn bits(mask: u8) -> impl Iterator<Item = u8> {
    (0..8).filter(move |bit| mask >> bit & 1 == 1)
}

fn event(says: &Says) -> Event {
    match says {
        Says::Opened => real::opened(0, Trigger::Request, 0, "claims", Vec::new()),
        Says::Sealed { released, .. } => real::sealed(0, bits(*released)),
        Says::Withdrawing => Event::Withdrawing { run: real::run_id(0) },
        Says::Committed => real::committed(0, []),
        Says::Aborted => real::aborted(0),
        Says::Disposed => Event::Disposed { run: real::run_id(0), sources_gone: true },
    }
}

impl Says {
    fn appended(self) -> &'static str {
        match self {
            Self::Opened => "appends Opened",
            Self::Sealed { .. } => "appends Sealed",
            Self::Withdrawing => "appends Withdrawing",
            Self::Committed => "appends Committed",
            Self::Aborted => "appends Aborted",
            Self::Disposed => "appends Disposed",
        }
    }
}

impl Run {
    pub(crate) fn machine(&self) -> Machine {
        Machine {
            run: self.clone(),
            id: real::run_id(0),
            folder: Folder::new(event),
            stands: RefCell::default(),
            tallies: RefCell::default(),
        }
    }

    pub(crate) fn without(&self, rule: Rule) -> Machine {
        Self { without: Some(rule), ..self.clone() }.machine()
    }
}

impl Machine {
    fn keeps(&self, rule: Rule) -> bool {
        self.run.without != Some(rule)
    }

    fn lines(&self) -> u8 {
        u8::try_from(self.run.tasks * self.run.outputs).expect("a model is small")
    }

    fn task_of(&self, line: u8) -> u8 {
        line / u8::try_from(self.run.outputs).expect("a model is small")
    }

    fn lines_of(&self, task: u8) -> impl Iterator<Item = u8> + use<> {
        let outputs = u8::try_from(self.run.outputs).expect("a model is small");
        task * outputs..(task + 1) * outputs
    }

    /// The log as it is folded. A fold that compares no seal with the one before is one that sees the last seal only.
    fn folded(&self, log: &[Says]) -> Vec<Says> {
        let is_seal = |says: &Says| matches!(says, Says::Sealed { .. });
        let last = log.iter().rposition(is_seal);
        let left =
            |&(at, says): &(usize, &Says)| self.keeps(Rule::ReleasedOnlyGrows) || !is_seal(says) || Some(at) == last;
        log.iter().enumerate().filter(left).map(|(_, says)| *says).collect()
    }

    /// Where the run stands after these entries, by the engine's fold.
    fn stand(&self, log: &[Says]) -> Stand {
        if let Some(known) = self.stands.borrow().get(log) {
            return *known;
        }
        let state = self.folder.fold(&self.folded(log)).expect("only what the fold accepts is appended");
        let run = state.run(&self.id).expect("the run was opened");
        let stand = (run.status, run.released.iter().fold(0, |mask, group| mask | 1 << group.0));
        self.stands.borrow_mut().insert(log.to_vec(), stand);
        stand
    }

    /// Whether the engine's fold takes this entry next.
    fn accepts(&self, log: &[Says], says: &Says) -> bool {
        let mut next = log.to_vec();
        next.push(*says);
        self.folder.fold(&self.folded(&next)).is_ok()
    }

    /// What the marks that a worker has seen add up to, by the engine's tally. The first value: tasks without a mark.
    fn tally(&self, worker: &Worker, released: u8) -> (u8, Tally) {
        let kind = |task: usize| match worker.seen[task] {
            _ if worker.given_up >> task & 1 == 1 => 2,
            None => 0,
            Some((_, Marked::Staged(..))) => 1,
            Some((_, Marked::GivenUp)) => 2,
        };
        let kinds: Lines<u8> = std::array::from_fn(kind);
        let released = if self.keeps(Rule::ReleasedOnlyGrows) { released } else { 0 };
        if let Some(known) = self.tallies.borrow().get(&(kinds, released)) {
            return known.clone();
        }
        let mut marks = BTreeMap::new();
        for (task, kind) in (0u32..).zip(kinds) {
            match kind {
                1 => drop(marks.insert(TaskId(task), Box::new(real::staged_mark(0, task)))),
                2 => drop(marks.insert(TaskId(task), Box::new(real::given_up_mark(0, task)))),
                _ => {}
            }
        }
        let tasks = (0..u32::try_from(self.run.tasks).unwrap()).map(|task| (TaskId(task), GroupId(task)));
        let released_set: BTreeSet<GroupId> = bits(released).map(|group| GroupId(group.into())).collect();
        let tally = tally(tasks, &marks, &released_set);
        let unmarked = tally.unmarked.iter().fold(0, |mask, task| mask | 1 << task.0);
        self.tallies.borrow_mut().insert((kinds, released), (unmarked, tally.clone()));
        (unmarked, tally)
    }

    /// The winning marks: of each task the highest generation.
    fn marks(world: &World) -> Marks {
        world.marks.map(|marks| (0u8..).zip(marks).filter_map(|(g, mark)| Some((g, mark?))).last())
    }

    fn last_seal(log: &[Says]) -> Seal {
        let lines = log.iter().rev().find_map(|says| match says {
            Says::Sealed { lines, .. } => Some(*lines),
            Says::Opened | Says::Withdrawing | Says::Committed | Says::Aborted | Says::Disposed => None,
        });
        lines.unwrap_or_default()
    }

    /// The lines of marks whose groups are not in `released`.
    fn lines_of_marks(&self, seen: &Marks, released: u8) -> Seal {
        let mut lines = Seal::default();
        for line in 0..self.lines() {
            let task = self.task_of(line);
            if let (0, Some((generation, Marked::Staged(_, by)))) = (released >> task & 1, seen[usize::from(task)]) {
                lines[usize::from(line)] = Some((generation, by[usize::from(line)]));
            }
        }
        lines
    }

    fn publishing_began(&self, world: &World, line: u8, generation: u8) -> bool {
        let from = if self.keeps(Rule::EarlierPub) { 0 } else { generation };
        (from..=generation).any(|g| world.begun[usize::from(g)] >> line & 1 == 1)
    }

    fn assumed(&self, worker: &Worker, line: u8, attempt: u8) -> Assume {
        match worker.told[usize::from(line)] {
            Some(told) if told.attempt == attempt || !self.keeps(Rule::StatementNamesUpload) => match told.is_published
            {
                true => Assume::Published,
                false => Assume::Lost,
            },
            Some(_) | None => Assume::Nothing,
        }
    }

    /// An attempt's number: one that nothing refers to.
    fn new_attempt(&self, world: &World, task: u8) -> u8 {
        if !self.keeps(Rule::AttemptId) {
            return task;
        }
        let named = referred(world, Objects::Counted);
        let free = bits(!named).find(|&a| usize::from(a) < ATTEMPTS);
        free.expect("there are enough attempts for what may go wrong")
    }

    /// What others do.
    fn others(&self, world: &World, emit: &mut dyn FnMut(String, World)) {
        let mut go = |what: String, change: &mut dyn FnMut(&mut World)| {
            let mut next = world.clone();
            change(&mut next);
            self.tidy(&mut next);
            emit(what, next);
        };
        let chances = world.chances;
        if chances.expiries > 0 {
            for (attempt, &lines) in world.staged.iter().enumerate() {
                for line in bits(lines & self.run.expiring) {
                    go(format!("upload {line} of attempt {attempt} expires"), &mut |n| {
                        n.chances.expiries -= 1;
                        n.staged[attempt] &= !(1 << line);
                    });
                }
            }
        }
        for task in (0..self.run.tasks).filter(|&t| world.sources[t] == Source::Planned) {
            if chances.overwrites > 0 {
                go(format!("the source of task {task} is overwritten"), &mut |n| {
                    n.chances.overwrites -= 1;
                    n.sources[task] = Source::Overwritten;
                });
            }
            if chances.removals > 0 && task == 0 {
                go(format!("the source of task {task} is taken away"), &mut |n| {
                    n.chances.removals -= 1;
                    n.sources[task] = Source::TakenAway;
                });
            }
        }
        for line in 0..usize::from(self.lines()) {
            match world.keys[line] {
                Object::Nothing if chances.foreign > 0 => go(format!("somebody writes at key {line}"), &mut |n| {
                    n.chances.foreign -= 1;
                    n.keys[line] = Object::Foreign;
                }),
                Object::Foreign => {
                    go(format!("somebody moves their object at key {line} away"), &mut |n| {
                        n.keys[line] = Object::Nothing;
                    });
                }
                Object::Ours(attempt) if self.run.consumed >> line & 1 == 1 => {
                    go(format!("a consumer takes {line}"), &mut |n| {
                        n.keys[line] = Object::Nothing;
                        n.taken[line] = Taken { times: n.taken[line].times + 1, attempt };
                    })
                }
                Object::Nothing | Object::Ours(_) => {}
            }
        }
        let has_files = world.marks.iter().flatten().any(Option::is_some) || world.begun != [0; GENERATIONS];
        if self.run.gc && has_files {
            match self.stand(&world.log).0 {
                RunStatus::Disposed | RunStatus::Aborted => go("gc removes what the run left".into(), &mut |n| {
                    n.marks = Default::default();
                    n.begun = Default::default();
                    n.staged = Default::default();
                }),
                RunStatus::Opened | RunStatus::Sealed | RunStatus::Withdrawing | RunStatus::Committed => {}
            }
        }
    }

    /// Forgets what makes no difference.
    fn tidy(&self, world: &mut World) {
        for worker in &mut world.workers {
            match worker.step {
                Step::Start => {
                    let (told, given_up) = (worker.told, worker.given_up);
                    *worker = Worker { told, given_up, ..Worker::default() };
                }
                Step::ReadMarks | Step::Seal => worker.seen = Default::default(),
                Step::Blocked { .. } => {
                    let Worker { step, told, given_up, .. } = *worker;
                    *worker = Worker { step, told, given_up, ..Worker::default() };
                }
                _ => {}
            }
        }
        // What nobody can name any more is never completed.
        let named = referred(world, Objects::Left);
        for (attempt, lines) in world.staged.iter_mut().enumerate() {
            if named >> attempt & 1 == 0 {
                *lines = 0;
            }
        }
        world.workers.sort_unstable();
    }

    /// Whether the world took both the upload and the source of an output whose sibling is visible or delivered.
    fn is_beyond_repair(&self, world: &World) -> bool {
        let is_delivered = |line: u8| {
            let line = usize::from(line);
            world.taken[line].times > 0 || matches!(world.keys[line], Object::Ours(_))
        };
        let is_lost = |line: u8| !is_delivered(line) && !world.staged.iter().any(|lines| lines >> line & 1 == 1);
        (0..u8::try_from(self.run.tasks).unwrap()).any(|task| {
            let is_gone = matches!(world.sources[usize::from(task)], Source::Overwritten | Source::TakenAway);
            is_gone && self.lines_of(task).any(is_lost) && self.lines_of(task).any(is_delivered)
        })
    }

    /// The invariant that the outputs of one line break.
    fn line_violation(&self, world: &World, line: u8, (status, released): Stand) -> Option<&'static str> {
        let (at, taken) = (usize::from(line), world.taken[usize::from(line)]);
        let visible = match world.keys[at] {
            Object::Ours(attempt) => Some(attempt),
            Object::Nothing | Object::Foreign => None,
        };
        if taken.times + u8::from(visible.is_some()) > 1 {
            return Some(TWICE);
        }
        let is_delivered = visible.is_some() || taken.times > 0;
        let is_sealed = |attempt: u8| {
            world.log.iter().any(|says| match says {
                Says::Sealed { lines, .. } => lines[at].is_some_and(|(_, by)| by == attempt),
                Says::Opened | Says::Withdrawing | Says::Committed | Says::Aborted | Says::Disposed => false,
            })
        };
        if visible.is_some_and(|attempt| !is_sealed(attempt)) {
            return Some(EARLY);
        }
        let is_released = released >> self.task_of(line) & 1 == 1;
        if is_delivered && (is_released || status == RunStatus::Aborted) {
            return Some(FREED);
        }
        if world.sources[usize::from(self.task_of(line))] == Source::Disposed && !is_delivered {
            return Some(SOURCE_LOST);
        }
        let is_committed = matches!(status, RunStatus::Committed | RunStatus::Disposed);
        (is_committed && !is_released && !is_delivered).then_some(NOT_PUBLISHED)
    }
}

/// Whether objects and what was said of them count as naming an attempt.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Objects {
    Counted,
    Left,
}

/// Attempts that something names, as a mask.
fn referred(world: &World, objects: Objects) -> u8 {
    let mut mask = 0;
    let mut mark = |marked: &Marked| {
        if let Marked::Staged(attempt, by) = marked {
            mask |= 1 << attempt;
            by.iter().for_each(|a| mask |= 1 << a);
        }
    };
    world.marks.iter().flatten().flatten().for_each(&mut mark);
    for worker in &world.workers {
        worker.seen.iter().flatten().for_each(|(_, marked)| mark(marked));
        if let Step::CreateMark { mark: marked, .. } = &worker.step {
            mark(marked);
        }
    }
    let mut seal = |lines: &Seal| lines.iter().flatten().for_each(|(_, by)| mask |= 1 << by);
    world.workers.iter().for_each(|worker| seal(&worker.lines));
    for says in &world.log {
        if let Says::Sealed { lines, .. } = says {
            seal(lines);
        }
    }
    for worker in &world.workers {
        match worker.step {
            Step::BackDelete(_, attempt) | Step::Blocked { attempt, .. } => mask |= 1 << attempt,
            Step::Append(Says::Sealed { lines, .. }) => {
                lines.iter().flatten().for_each(|(_, by)| mask |= 1 << by);
            }
            _ => {}
        }
    }
    if objects == Objects::Counted {
        world.staged.iter().enumerate().filter(|(_, lines)| **lines != 0).for_each(|(a, _)| mask |= 1 << a);
        for key in world.keys {
            if let Object::Ours(attempt) = key {
                mask |= 1 << attempt;
            }
        }
        world.taken.iter().filter(|t| t.times > 0).for_each(|t| mask |= 1 << t.attempt);
        world.workers.iter().flat_map(|w| w.told).flatten().for_each(|told| mask |= 1 << told.attempt);
    }
    mask
}

fn is_staged(world: &World, line: u8, attempt: u8) -> bool {
    world.staged[usize::from(attempt)] >> line & 1 == 1
}

impl Model for Machine {
    type State = World;

    fn starts(&self) -> Vec<World> {
        vec![World {
            sources: [Source::Planned; LINES],
            staged: Default::default(),
            keys: [Object::Nothing; LINES],
            taken: Default::default(),
            marks: Default::default(),
            begun: Default::default(),
            log: vec![Says::Opened],
            workers: vec![Worker::default(); self.run.workers],
            chances: self.run.chances,
            trampled: false,
            needless: false,
            spoiled: false,
        }]
    }

    fn next(&self, world: &World, step: &mut dyn FnMut(String, World)) {
        for who in 0..self.run.workers {
            if who > 0 && world.workers[who] == world.workers[who - 1] {
                continue;
            }
            self.work(world, who, step);
        }
        self.others(world, step);
    }

    fn violation(&self, world: &World) -> Option<&'static str> {
        if world.trampled {
            return Some(TRAMPLED);
        }
        if world.sources.contains(&Source::Destroyed) {
            return Some(NEWER_LOST);
        }
        let stand = self.stand(&world.log);
        let mut released = 0;
        for says in &world.log {
            if let Says::Sealed { released: now, .. } = says {
                if released & !now != 0 {
                    return Some(HELD_AGAIN);
                }
                released = *now;
            }
        }
        let broken = (0..self.lines()).find_map(|line| self.line_violation(world, line, stand));
        broken.or(world.needless.then_some(NEEDLESS)).or(world.spoiled.then_some(SPOILED))
    }

    fn is_done(&self, world: &World) -> bool {
        match self.stand(&world.log).0 {
            RunStatus::Disposed | RunStatus::Aborted => true,
            // A consumer took an output while it was being taken back: the claims stay, for an operator to see.
            RunStatus::Withdrawing => world.taken.iter().any(|taken| taken.times > 0),
            RunStatus::Opened | RunStatus::Sealed | RunStatus::Committed => self.is_beyond_repair(world),
        }
    }
}
