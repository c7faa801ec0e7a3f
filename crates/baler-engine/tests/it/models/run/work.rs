//! What a worker does: attempt, mark, seal, publish, commit, dispose. One request at a time.

use baler_engine::ledger::RunStatus;
use baler_engine::ledger::decide::{Assume, SealDecision, may_publish, may_seal};

use super::{LINES, Machine, Marked, Object, Rule, Says, Source, Step, Told, Worker, World, bits, is_staged};

pub(super) type Go<'a> = dyn FnMut(&'static str, u8, &mut dyn FnMut(&mut World, &mut Worker)) + 'a;

/// Where a label names no line or task.
const NO: u8 = u8::MAX;

/// What a worker did, for people. Put together by hand: formatting would take as long as all the rest.
fn label(who: usize, what: &str, which: u8) -> String {
    let mut label = String::with_capacity(64);
    label.push(char::from(b'0' + u8::try_from(who).unwrap()));
    label.push_str(": ");
    label.push_str(what);
    if which != NO {
        label.push(' ');
        label.push(char::from(b'0' + which));
    }
    label
}

impl Machine {
    /// The next step of a publisher: the first line from `line` on, else what becomes of all of them.
    pub(super) fn publish_from(&self, worker: &mut Worker, line: u8) {
        worker.step = match (line..self.lines()).find(|&l| worker.lines[usize::from(l)].is_some()) {
            Some(line) => Step::LineUpload(line),
            None if worker.lost != 0 => Step::LostMarks,
            None if worker.is_blocked => Step::Start,
            None => Step::Append(Says::Committed),
        };
    }

    /// The next step of a sealer: is the next line staged still?
    pub(super) fn check_from(&self, worker: &mut Worker, line: u8) {
        worker.step = match (line..self.lines()).find(|&l| worker.lines[usize::from(l)].is_some()) {
            Some(line) => Step::Check(line),
            None if worker.lost != 0 => return self.redo_from(worker, 0),
            None => Step::Append(Says::Sealed { lines: worker.lines, released: worker.released }),
        };
    }

    pub(super) fn delete_from(&self, worker: &mut Worker, released: u8, task: u8) {
        let tasks = u8::try_from(self.run.tasks).unwrap();
        worker.step = match (task..tasks).find(|t| released >> t & 1 == 0) {
            Some(task) => Step::Delete(task),
            None => Step::Append(Says::Disposed),
        };
    }

    /// Where a process begins: it reads the log.
    pub(super) fn start(&self, world: &World, worker: &mut Worker) -> bool {
        worker.view = u8::try_from(world.log.len()).unwrap();
        let (status, released) = self.stand(&world.log);
        match status {
            RunStatus::Opened => worker.step = Step::ReadMarks,
            RunStatus::Sealed => {
                assert!(may_publish(status), "a sealed run is published");
                worker.publishes = true;
                worker.lines = match self.keeps(Rule::SealNames) {
                    true => Self::last_seal(&world.log),
                    false => self.lines_of_marks(&Self::marks(world), released),
                };
                self.publish_from(worker, 0);
            }
            RunStatus::Withdrawing => {
                worker.lines = Self::last_seal(&world.log);
                self.take_back_from(worker, 0);
            }
            RunStatus::Committed => self.delete_from(worker, released, 0),
            RunStatus::Disposed | RunStatus::Aborted => return false,
        }
        true
    }

    /// All that a worker can do next: one request.
    pub(super) fn work(&self, world: &World, who: usize, emit: &mut dyn FnMut(String, World)) {
        let me = world.workers[who];
        let view = &world.log[..usize::from(me.view)];
        let mut go = |what: &'static str, which: u8, change: &mut dyn FnMut(&mut World, &mut Worker)| {
            let mut next = world.clone();
            let mut worker = me;
            change(&mut next, &mut worker);
            next.workers[who] = worker;
            self.tidy(&mut next);
            emit(label(who, what, which), next);
        };
        match me.step {
            Step::Start => {
                let mut begun = me;
                if self.start(world, &mut begun) {
                    go("reads the log", NO, &mut |_, w| *w = begun);
                }
                let operator = Worker { view: begun.view, ..Worker::default() };
                match self.stand(&world.log).0 {
                    RunStatus::Opened if world.chances.aborts > 0 => go("an operator aborts", NO, &mut |n, w| {
                        n.chances.aborts -= 1;
                        *w = Worker { step: Step::Append(Says::Aborted), ..operator };
                    }),
                    RunStatus::Sealed if world.chances.aborts > 0 => go("an operator withdraws", NO, &mut |n, w| {
                        n.chances.aborts -= 1;
                        *w = Worker { lines: Self::last_seal(&n.log), ..operator };
                        self.may_withdraw_from(w, 0);
                    }),
                    _ => {}
                }
            }
            Step::ReadMarks => go("reads the marks", NO, &mut |n, w| {
                w.seen = Self::marks(n);
                let released = self.stand(view).1;
                let (unmarked, _) = self.tally(w, released);
                w.step = match bits(unmarked).next() {
                    Some(task) => Step::Stage(task),
                    None => Step::Seal,
                };
            }),
            Step::Stage(task) => match world.sources[usize::from(task)] {
                Source::Planned => go("stages task", task, &mut |n, w| {
                    let attempt = self.new_attempt(n, task);
                    let mut by = [0; LINES];
                    for line in self.lines_of(task) {
                        n.staged[usize::from(attempt)] |= 1 << line;
                        by[usize::from(line)] = attempt;
                    }
                    w.step = Step::CreateMark { task, generation: 0, mark: Marked::Staged(attempt, by) };
                }),
                Source::Overwritten | Source::TakenAway | Source::Disposed | Source::Destroyed => {
                    go("finds the source gone of task", task, &mut |_, w| self.give_up(w, task, 0, false));
                }
            },
            Step::CreateMark { task, generation, mark } => self.create_mark(world, task, generation, mark, &mut go),
            Step::Seal => go("seal: reads the marks", NO, &mut |n, w| {
                *w = Worker { seen: Self::marks(n), decided: w.view, lost: 0, again: 0, is_newer: false, ..*w };
                let (status, released) = self.stand(view);
                if w.publishes && Self::last_seal(view) != me.lines && self.keeps(Rule::SealNames) {
                    // Somebody else sealed anew already.
                    w.step = Step::Start;
                    return;
                }
                w.publishes = false;
                let (_, tally) = self.tally(w, released);
                let groups = u32::try_from(self.run.tasks).unwrap();
                match may_seal(status, groups, &tally) {
                    SealDecision::Seal { released } => {
                        w.released = released.iter().fold(0, |mask, group| mask | 1 << group.0);
                        w.lines = self.lines_of_marks(&w.seen, w.released);
                        self.check_from(w, 0);
                    }
                    SealDecision::Abort => w.step = Step::Append(Says::Aborted),
                    SealDecision::NotYet | SealDecision::WrongStatus => w.step = Step::Start,
                }
            }),
            Step::Check(line) => go("seal: looks for the upload of line", line, &mut |n, w| {
                let (_, attempt) = w.lines[usize::from(line)].unwrap();
                w.lost |= u8::from(!is_staged(n, line, attempt)) << line;
                self.check_from(w, line + 1);
            }),
            Step::RedoUpload(_)
            | Step::RedoKey(_)
            | Step::RedoLog(..)
            | Step::RedoPub(..)
            | Step::StageAgain(_)
            | Step::FreezeAbort(_)
            | Step::FreezeKey(_)
            | Step::FreezePub(_) => self.redo(&me, world, &mut go),
            Step::LineUpload(_)
            | Step::LineKey(_)
            | Step::LinePub(_)
            | Step::LineComplete(_)
            | Step::LineConfirm(..)
            | Step::LostMarks => self.publish(&me, world, &mut go),
            Step::Append(says) => self.append(&me, says, world, &mut go),
            Step::AbortUploads => go("aborts all marked uploads", NO, &mut |n, w| {
                for (_, mark) in Self::marks(n).into_iter().flatten() {
                    if let Marked::Staged(_, by) = mark {
                        (0u8..).zip(by).for_each(|(line, a)| n.staged[usize::from(a)] &= !(1 << line));
                    }
                }
                w.step = Step::Start;
            }),
            Step::MayWithdraw(_)
            | Step::MayWithdrawUpload(_)
            | Step::MayWithdrawKey(_)
            | Step::BackAbort(_)
            | Step::BackKey(_)
            | Step::BackDelete(..)
            | Step::BackPub(_) => self.withdraw(&me, &mut go),
            Step::Delete(task) if self.keeps(Rule::ConditionalDelete) => {
                go("deletes the planned source of task", task, &mut |n, w| {
                    let source = &mut n.sources[usize::from(task)];
                    if *source == Source::Planned {
                        *source = Source::Disposed;
                    }
                    self.delete_from(w, self.stand(view).1, task + 1);
                });
            }
            Step::Delete(task) => {
                go("looks at the source of task", task, &mut |n, w| match n.sources[usize::from(task)] {
                    Source::Planned => w.step = Step::DeleteSeen(task),
                    _ => self.delete_from(w, self.stand(view).1, task + 1),
                })
            }
            Step::DeleteSeen(task) => go("deletes the source of task", task, &mut |n, w| {
                let source = &mut n.sources[usize::from(task)];
                *source = match *source {
                    Source::Planned => Source::Disposed,
                    Source::Overwritten => Source::Destroyed,
                    other => other,
                };
                self.delete_from(w, self.stand(view).1, task + 1);
            }),
            Step::Blocked { line, attempt } => {
                let taken = world.taken[usize::from(line)];
                let is_published = taken.times > 0 && taken.attempt == attempt;
                let what = match is_published {
                    true => "an operator says that it was published: line",
                    false => "an operator says that it was lost: line",
                };
                go(what, line, &mut |_, w| {
                    let told = Told { attempt, is_published };
                    w.step = Step::Start;
                    w.told[usize::from(line)] = Some(told);
                    if !self.keeps(Rule::StatementNamesUpload) {
                        w.told = [Some(told); LINES];
                    }
                });
            }
        }
        if me.step != Step::Start || me.told != [None; LINES] {
            go("dies", NO, &mut |_, w| *w = Worker::default());
        }
    }

    pub(super) fn create_mark(&self, world: &World, task: u8, generation: u8, mark: Marked, go: &mut Go<'_>) {
        let t = usize::from(task);
        let is_redo = generation > 0;
        let then = |w: &mut Worker| match is_redo {
            true => self.staged_again(w, task),
            false => w.step = Step::ReadMarks,
        };
        // Without generations there is one mark, and staging again replaces it.
        let slot = if self.keeps(Rule::MarkGenerations) { usize::from(generation) } else { 0 };
        let replaces = generation > 0 && !self.keeps(Rule::MarkGenerations);
        if world.marks[t][slot].is_some() && !replaces {
            // Ours after a lost reply, or another's that was first: that one counts.
            go("finds a mark there of task", task, &mut |_, w| then(w));
            return;
        }
        let said = match mark {
            Marked::Staged(..) => "marks as staged task",
            Marked::GivenUp => "marks as given up task",
        };
        go(said, task, &mut |n, w| {
            n.marks[t][slot] = Some(mark);
            then(w);
        });
        go("marks, and the reply is lost: task", task, &mut |n, _| {
            n.marks[t][slot] = Some(mark);
        });
    }

    pub(super) fn publish(&self, me: &Worker, world: &World, go: &mut Go<'_>) {
        let line_of = |line: u8| me.lines[usize::from(line)].expect("a published line is a line");
        match me.step {
            Step::LineUpload(line) => go("publish: looks for the upload of line", line, &mut |n, w| {
                w.step = match is_staged(n, line, line_of(line).1) {
                    true if self.keeps(Rule::Pub) => Step::LinePub(line),
                    true => Step::LineComplete(line),
                    false => Step::LineKey(line),
                }
            }),
            Step::LineKey(line) => go("publish: looks at the key of line", line, &mut |n, w| {
                let (generation, attempt) = line_of(line);
                let is_ours = n.keys[usize::from(line)] == Object::Ours(attempt) && self.keeps(Rule::LookBeforeRedo);
                let was_published =
                    self.assumed(w, line, attempt) == Assume::Published && self.publishing_began(n, line, generation);
                if !is_ours && !was_published {
                    w.lost |= 1 << line;
                }
                self.publish_from(w, line + 1);
            }),
            Step::LinePub(line) => go("publish: writes pub/ of line", line, &mut |n, w| {
                n.begun[usize::from(line_of(line).0)] |= 1 << line;
                w.step = Step::LineComplete(line);
            }),
            Step::LineComplete(line) => go("publish: completes line", line, &mut |n, w| {
                let (_, attempt) = line_of(line);
                let key = &mut n.keys[usize::from(line)];
                let is_free = *key == Object::Nothing || !self.keeps(Rule::CreateOnlyPublish);
                if is_staged(world, line, attempt) && is_free {
                    n.trampled |= *key == Object::Foreign;
                    *key = Object::Ours(attempt);
                    n.staged[usize::from(attempt)] &= !(1 << line);
                }
                w.step = Step::LineConfirm(line, !is_free);
            }),
            Step::LineConfirm(line, was_occupied) => go("publish: confirms line", line, &mut |n, w| {
                let (_, attempt) = line_of(line);
                match n.keys[usize::from(line)] {
                    Object::Ours(there) if there == attempt => {}
                    Object::Foreign | Object::Ours(_) if was_occupied => w.is_blocked = true,
                    Object::Foreign | Object::Ours(_) | Object::Nothing => w.lost |= 1 << line,
                }
                self.publish_from(w, line + 1);
            }),
            Step::LostMarks => go("publish: some are lost, reads the marks", NO, &mut |n, w| {
                w.seen = Self::marks(n);
                w.is_blocked = false;
                self.redo_from(w, 0);
            }),
            _ => unreachable!("steps of publish only"),
        }
    }

    pub(super) fn append(&self, me: &Worker, says: Says, world: &World, go: &mut Go<'_>) {
        if usize::from(me.view) != world.log.len() {
            go("cannot append: the log moved", NO, &mut |_, w| w.step = Step::Start);
            return;
        }
        if !self.accepts(&world.log, &says) {
            go("may not append that", NO, &mut |_, w| w.step = Step::Start);
            return;
        }
        go(says.appended(), NO, &mut |n, w| {
            let was = self.stand(&n.log).0;
            n.log.push(says);
            w.step = match (says, was) {
                (Says::Aborted, RunStatus::Opened) => Step::AbortUploads,
                _ => Step::Start,
            };
        });
    }
}
