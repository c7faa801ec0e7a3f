//! What a worker does about lost uploads: in this order it looks for the upload, at the key, into the log, for `pub/…`.

use baler_engine::ledger::RunStatus;
use baler_engine::ledger::decide::{Assume, LostUpload, RedoDecision, may_redo};

use super::work::Go;
use super::{Machine, Marked, Object, Rule, Says, Source, Step, Worker, World, bits, is_staged};

impl Machine {
    /// The next lost line to look into, else what becomes of all of them.
    pub(super) fn redo_from(&self, worker: &mut Worker, line: u8) {
        for line in (line..self.lines()).filter(|l| worker.lost >> l & 1 == 1) {
            let seen = worker.seen[usize::from(self.task_of(line))];
            let generation = worker.lines[usize::from(line)].expect("a lost line is a line").0;
            match seen {
                Some((now, _)) if now == generation => {
                    // A sealer has just looked, and an upload that is gone never comes back, unless attempts share their
                    // names. A publisher may have found the key taken, and its upload is there still.
                    let looks = worker.publishes && self.keeps(Rule::UploadFirst) || !self.keeps(Rule::AttemptId);
                    worker.step = match (looks, self.keeps(Rule::LookBeforeRedo)) {
                        (true, _) => Step::RedoUpload(line),
                        (false, true) => Step::RedoKey(line),
                        (false, false) => Step::RedoPub(line, false),
                    };
                    return;
                }
                // Somebody else marked the next generation.
                Some(_) => worker.is_newer = true,
                // `gc` took the marks away: the run has ended.
                None => {
                    worker.step = Step::Start;
                    return;
                }
            }
        }
        match bits(worker.again).next() {
            Some(line) => self.stage_again(worker, self.task_of(line)),
            None if worker.unclear != 0 => self.ask(worker),
            None if worker.is_newer => self.decide_again(worker),
            None if worker.publishes => worker.step = Step::Start,
            None if worker.decided == worker.view || !self.keeps(Rule::ReleasedOnlyGrows) => {
                worker.step = Step::Append(Says::Sealed { lines: worker.lines, released: worker.released });
            }
            None => worker.step = Step::Seal,
        }
    }

    /// An operator is asked about the first unclear line.
    pub(super) fn ask(&self, worker: &mut Worker) {
        let line = bits(worker.unclear).next().expect("a line is unclear");
        let (_, attempt) = worker.lines[usize::from(line)].expect("an unclear line is a line");
        worker.step = Step::Blocked { line, attempt };
    }

    pub(super) fn stage_again(&self, worker: &mut Worker, task: u8) {
        worker.step = match self.run.outputs > 1 && self.keeps(Rule::RedoFreezes) {
            true => Step::FreezeAbort(task),
            false => Step::StageAgain(task),
        };
    }

    /// Marks changed: seal anew, unless somebody has.
    pub(super) fn decide_again(&self, worker: &mut Worker) {
        worker.step = Step::Seal;
    }

    /// A task was staged again, or given up: the next one, else seal anew.
    pub(super) fn staged_again(&self, worker: &mut Worker, task: u8) {
        for line in self.lines_of(task) {
            worker.again &= !(1 << line);
        }
        match bits(worker.again).next() {
            Some(line) => self.stage_again(worker, self.task_of(line)),
            None if worker.unclear != 0 => self.ask(worker),
            None => self.decide_again(worker),
        }
    }

    pub(super) fn give_up(&self, worker: &mut Worker, task: u8, generation: u8, is_redo: bool) {
        if self.keeps(Rule::GiveUpByMark) {
            worker.step = Step::CreateMark { task, generation, mark: Marked::GivenUp };
        } else {
            worker.given_up |= 1 << task;
            match is_redo {
                true => self.staged_again(worker, task),
                false => worker.step = Step::ReadMarks,
            }
        }
    }

    /// The next line of a task that is being frozen, else what becomes of the task.
    pub(super) fn freeze_from(&self, worker: &mut Worker, task: u8, line: u8) {
        if let Some(line) = self.lines_of(task).find(|&l| l >= line) {
            worker.step = Step::FreezeKey(line);
            return;
        }
        let of_task = self.lines_of(task).fold(0, |mask, line| mask | 1 << line);
        if worker.unclear & of_task != 0 {
            worker.again &= !of_task;
            self.staged_again(worker, task);
        } else if self.run.outputs > 1 && self.keeps(Rule::RedoFreezes) {
            worker.step = Step::StageAgain(task);
        } else {
            let generation = worker.seen[usize::from(task)].expect("a mark was seen").0 + 1;
            self.give_up(worker, task, generation, true);
        }
    }

    pub(super) fn redo(&self, me: &Worker, world: &World, go: &mut Go<'_>) {
        let attempt_of = |line: u8| me.lines[usize::from(line)].expect("a lost line is a line");
        match me.step {
            Step::RedoUpload(line) => go("lost? looks for the upload of line", line, &mut |n, w| {
                let (_, attempt) = attempt_of(line);
                match is_staged(n, line, attempt) {
                    true => self.redo_from(w, line + 1),
                    false if self.keeps(Rule::LookBeforeRedo) => w.step = Step::RedoKey(line),
                    false => w.step = Step::RedoPub(line, false),
                }
            }),
            Step::RedoKey(line) => go("lost? looks at the key of line", line, &mut |n, w| {
                let is_ours = n.keys[usize::from(line)] == Object::Ours(attempt_of(line).1);
                w.step = Step::RedoLog(line, is_ours);
            }),
            Step::RedoLog(line, is_ours) => go("lost? reads the log for line", line, &mut |n, w| {
                w.view = u8::try_from(n.log.len()).unwrap();
                w.step = Step::RedoPub(line, is_ours);
            }),
            Step::RedoPub(line, is_ours) => go("lost? looks for pub/ of line", line, &mut |n, w| {
                let (generation, attempt) = attempt_of(line);
                let (status, released) = self.stand(&n.log[..usize::from(w.view)]);
                let seen = LostUpload {
                    ours_is_there: is_ours,
                    status,
                    released: released >> self.task_of(line) & 1 == 1,
                    publishing_began: self.publishing_began(n, line, generation),
                    assume: self.assumed(w, line, attempt),
                };
                match may_redo(seen) {
                    RedoDecision::Published | RedoDecision::Stop => w.lost &= !(1 << line),
                    RedoDecision::Redo => w.again |= 1 << line,
                    RedoDecision::Blocked => {
                        w.unclear |= 1 << line;
                        n.needless |= n.keys[usize::from(line)] == Object::Ours(attempt);
                    }
                }
                self.redo_from(w, line + 1);
            }),
            Step::StageAgain(task) => {
                let Some((generation, Marked::Staged(_, before))) = me.seen[usize::from(task)] else {
                    go("finds it given up: task", task, &mut |_, w| self.staged_again(w, task));
                    return;
                };
                if world.sources[usize::from(task)] == Source::Planned {
                    go("stages again task", task, &mut |n, w| {
                        let attempt = self.new_attempt(n, task);
                        let mut by = before;
                        for line in self.lines_of(task).filter(|l| w.again >> l & 1 == 1) {
                            n.staged[usize::from(attempt)] |= 1 << line;
                            by[usize::from(line)] = attempt;
                        }
                        let mark = Marked::Staged(attempt, by);
                        w.step = Step::CreateMark { task, generation: generation + 1, mark };
                    });
                    return;
                }
                let status = self.stand(&world.log[..usize::from(me.view)]).0;
                let is_frozen = self.run.outputs > 1 && self.keeps(Rule::RedoFreezes);
                go("finds the source gone too of task", task, &mut |_, w| match status {
                    // Some outputs are there, the others cannot be made: they can be taken back, and nothing else.
                    _ if is_frozen && self.lines_of(task).any(|l| w.there >> l & 1 == 1) => w.step = Step::Start,
                    RunStatus::Sealed if !is_frozen => w.step = Step::FreezeAbort(task),
                    _ => self.give_up(w, task, generation + 1, true),
                });
            }
            Step::FreezeAbort(task) => go("freeze: aborts the uploads of task", task, &mut |n, w| {
                let Some((_, Marked::Staged(_, by))) = w.seen[usize::from(task)] else { return };
                let newest = Self::marks(n)[usize::from(task)];
                for line in self.lines_of(task) {
                    let attempt = by[usize::from(line)];
                    if let (Some((generation, Marked::Staged(_, now))), Some((known, _))) =
                        (newest, w.seen[usize::from(task)])
                    {
                        let is_named = generation > known && now[usize::from(line)] == attempt;
                        n.spoiled |= is_named && is_staged(n, line, attempt);
                    }
                    n.staged[usize::from(attempt)] &= !(1 << line);
                }
                self.freeze_from(w, task, 0);
            }),
            Step::FreezeKey(line) => go("freeze: looks at the key of line", line, &mut |n, w| {
                let task = usize::from(self.task_of(line));
                let Some((_, Marked::Staged(_, by))) = w.seen[task] else { return };
                let attempt = by[usize::from(line)];
                if n.keys[usize::from(line)] != Object::Ours(attempt) {
                    w.step = Step::FreezePub(line);
                } else if self.run.outputs > 1 && self.keeps(Rule::RedoFreezes) {
                    w.there |= 1 << line;
                    w.again &= !(1 << line);
                    self.freeze_from(w, self.task_of(line), line + 1);
                } else {
                    // It is there and the rest cannot be made: it can be taken back, and nothing else.
                    w.step = Step::Start;
                }
            }),
            Step::FreezePub(line) => go("freeze: looks for pub/ of line", line, &mut |n, w| {
                let task = self.task_of(line);
                let Some((generation, Marked::Staged(_, by))) = w.seen[usize::from(task)] else { return };
                let attempt = by[usize::from(line)];
                let assume = match self.keeps(Rule::GiveUpHears) {
                    true => self.assumed(w, line, attempt),
                    false => Assume::Nothing,
                };
                match (self.publishing_began(n, line, generation), assume) {
                    (false, _) | (true, Assume::Lost) => w.again |= 1 << line,
                    (true, Assume::Published) if self.run.outputs > 1 && self.keeps(Rule::RedoFreezes) => {
                        w.there |= 1 << line;
                        w.again &= !(1 << line);
                    }
                    (true, Assume::Nothing | Assume::Published) => w.unclear |= 1 << line,
                }
                self.freeze_from(w, task, line + 1);
            }),
            _ => unreachable!("steps of redo only"),
        }
    }
}
