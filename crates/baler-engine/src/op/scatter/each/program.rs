//! Records answered for by a program: a line in, a line out, in the same order.
//!
//! Processes are kept and used again; a chunk has one to itself. Where one ends or does not answer in time it is ended and
//! another begun, and records are handed over one by one from then on, so that the one to blame is known: it fails with what the
//! program said last. A program that does this to many records of a chunk fails the chunk.
//!
//! Answers are known by their place. So nothing may stand before the first answer to a question or behind the last one: a line
//! that nobody asked for fails the chunk, since nothing tells which answer was of which record. The first question to a process
//! is a single record, behind whose answer it must be silent for a moment; that finds a program which greets, logs, or answers
//! twice, before anything of it is believed. An answer that names its record by `index` or `key` is held against it.
//!
//! A process leads a group of its own, which is killed as a whole: what a script started would hold its pipes open. Such a group
//! gets no Ctrl-C from a terminal: it ends when its [`Process`] is dropped, or by [`end_programs`] where a thread that nobody waits
//! for holds it. No thread is joined, since a pipe that someone else holds never ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use baler_model::Kind;
use baler_model::ledger::Failure;
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};

use super::super::records::Window;
use super::{Answer, Identity, not_now, question};
use crate::error::TaskError;

/// Restarts for the sake of one window. A record that ends a program costs up to two.
const RESTARTS: u32 = 40;
/// A program that has never answered is not asked again after so many records.
const SILENT: u32 = 3;
/// What is kept of what a program says beside its answers.
const SAID: usize = 4 << 10;
/// For so long a program may end by itself, and one that was killed is waited for.
const ENDING: Duration = Duration::from_secs(2);
/// For so long a program may end by itself whose output has ended, and for its last words to arrive.
const LEAVING: Duration = Duration::from_millis(500);
/// So much of what programs print at their end is taken before it is looked which have ended. Units: lines.
const AT_THE_END: usize = 10_000;
/// An answer may be so long, with its line end. Units: bytes.
const ANSWER: usize = 16 << 20;
/// So many answers wait to be taken; a program that says more waits, too.
const WAITING: usize = 64;
/// For so long nothing may follow the first answer of a process.
const SILENCE: Duration = Duration::from_millis(20);
/// Behind the answers to many records nothing may follow for as long as two of them took, and no longer than this.
const SILENCE_BEHIND_MANY: Duration = Duration::from_millis(10);
/// For so long an answer is waited for behind a line that is none.
const BABBLING: Duration = Duration::from_millis(500);
/// So much is shown of a line that nobody asked for. Units: characters.
const SHOWN: usize = 100;

const HINT_LINES: &str = "let it print one line for each record and nothing else on stdout; write logs to stderr";
const HINT_FLUSH: &str = "let it flush each answer, since output to a pipe is held back by default (`python3 -u`), or give \
                          it a longer `timeout`";
const HINT_RESTARTS: &str = "run it by hand and give it one record on stdin: look at how it ends, what it writes to stderr, \
                             and whether it prints and flushes one line";

/// The groups of this process that were not waited for yet; nothing once all were ended for good.
static RUNNING: Mutex<Option<Vec<Pid>>> = Mutex::new(Some(Vec::new()));

/// Ends every program that answers for records, wherever it is in use, and lets none start any more: for a face that leaves
/// without waiting for its threads.
pub fn end_programs() {
    let mut running = RUNNING.lock();
    for group in running.take().into_iter().flatten() {
        // It may have ended already.
        kill_process_group(group, Signal::KILL).ok();
    }
}

pub(crate) struct Program {
    command: Vec<String>,
    directory: PathBuf,
    timeout: Duration,
    idle: Mutex<Vec<Process>>,
    /// Whether any process of it has ever answered.
    has_answered: AtomicBool,
}

/// A running program. It ends when this is dropped, with everything that it started in its group.
struct Process {
    child: Child,
    /// The child leads it.
    group: Pid,
    /// How it ended, as soon as it was waited for: from then on the number of its group may be another's.
    ended: Option<ExitStatus>,
    /// What it is asked. Nothing at all: it is at the end of its input.
    questions: Option<SyncSender<Vec<u8>>>,
    /// How the writing of each question ended.
    written: Receiver<std::io::Result<()>>,
    answers: Receiver<Line>,
    /// Answers that were taken.
    answered: u64,
    said: Arc<Mutex<Vec<u8>>>,
    /// Takes what it says, to its end.
    listening: JoinHandle<()>,
}

/// What a program prints.
enum Line {
    Whole(Vec<u8>),
    /// The rest of it is not read.
    TooLong,
}

/// Why a record has no answer, and what the program did.
enum Fault {
    /// The program ended.
    Ended,
    /// It takes too long.
    TimedOut,
    /// It printed something else, or the answer to another record.
    Babbled(String),
    /// It prints more than it is asked for, or without reading: no answer can be trusted.
    OutOfStep(String),
}

impl Program {
    pub(super) fn new(command: &[String], directory: &str, timeout_millis: u64) -> Self {
        Self {
            command: command.to_vec(),
            directory: directory.into(),
            timeout: Duration::from_millis(timeout_millis),
            idle: Mutex::default(),
            has_answered: AtomicBool::new(false),
        }
    }

    pub(super) fn take(&self, window: &mut Window, identity: &Identity) -> Result<(), TaskError> {
        let open = window.open();
        if open.is_empty() {
            return Ok(());
        }
        let idle = self.idle.lock().pop();
        let mut process = match idle {
            Some(process) => process,
            None => self.start()?,
        };
        let (mut restarts, mut silent) = (0, 0);
        let mut at_once = true;
        let mut next = 0;
        while next < open.len() {
            let is_new = process.answered == 0;
            let batch = if at_once && !is_new { &open[next..] } else { &open[next..=next] };
            let before = process.is_silent(Duration::ZERO);
            // It may end between two questions: then nothing was asked of it.
            let is_over = !is_new && matches!(before, Err(Fault::Ended));
            let mut answered = 0;
            let taken = before.and_then(|()| self.ask(&mut process, window, batch, identity, &mut answered));
            next += answered;
            let Err(fault) = taken else { continue };
            let is_alone = batch.len() == 1;
            let is_late = matches!(fault, Fault::TimedOut);
            // The first of several is to blame, too, that the program was silent about for so long. A process that answered
            // before may have ended for another reason: the record is asked of a new one.
            let (is_blamed, what) = match fault {
                Fault::TimedOut => (true, self.late()),
                Fault::Babbled(what) => (is_alone, what),
                Fault::Ended => (is_alone && is_new, format!("ended without an answer: {}", process.last_words())),
                Fault::OutOfStep(what) => return Err(self.out_of_step(&what)),
            };
            let reason = format!("`{}` {what}", self.command[0]);
            restarts += 1;
            if restarts > RESTARTS {
                let error = format!("{reason}; it was started {restarts} times for one stretch of records");
                return Err(not_now(error, HINT_RESTARTS));
            }
            if is_late && !self.has_answered.load(Ordering::Relaxed) {
                silent += 1;
                if silent >= SILENT {
                    return Err(not_now(format!("{reason}; it has never answered"), HINT_FLUSH));
                }
            }
            if is_blamed {
                window.fail(open[next], reason);
                next += 1;
            }
            at_once &= is_over || is_alone;
            drop(process);
            process = self.start()?;
        }
        let grace = if at_once { Duration::ZERO } else { SILENCE };
        match process.is_silent(grace) {
            Ok(()) => self.idle.lock().push(process),
            Err(Fault::OutOfStep(what)) => return Err(self.out_of_step(&what)),
            // It has answered for everything.
            Err(Fault::Ended | Fault::TimedOut | Fault::Babbled(_)) => {}
        }
        Ok(())
    }

    fn out_of_step(&self, what: &str) -> TaskError {
        TaskError::data(format!("`{}` {what}", self.command[0]), Some(HINT_LINES))
    }

    fn late(&self) -> String {
        let late = format!("did not answer within {:?}", self.timeout);
        match self.has_answered.load(Ordering::Relaxed) {
            true => late,
            false => format!("{late}; it must flush each answer"),
        }
    }

    fn start(&self) -> Result<Process, TaskError> {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).current_dir(&self.directory).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| TaskError {
            kind: Kind::Invalid,
            failure: Failure {
                error: format!("`{}` cannot be started: {error}", self.command[0]),
                hint: Some("`program` names a program and its arguments; it starts beside `baler.toml`".to_owned()),
            },
        })?;
        let group = Pid::from_child(&child);
        match &mut *RUNNING.lock() {
            Some(groups) => groups.push(group),
            None => {
                kill_process_group(group, Signal::KILL).ok();
                child.wait().ok();
                return Err(not_now("programs were ended".to_owned(), "run again"));
            }
        }
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(mut stdin), Some(stdout), Some(mut stderr)) = (stdin, stdout, stderr) else {
            unreachable!("all three were asked for right above")
        };
        // Written beside the reading: a program may answer before it has read everything, and wait for its answers to be taken.
        let (questions, asked) = sync_channel::<Vec<u8>>(1);
        let (done, written) = sync_channel(1);
        std::thread::spawn(move || {
            for question in asked {
                let wrote = stdin.write_all(&question).and_then(|()| stdin.flush());
                if done.send(wrote).is_err() {
                    return;
                }
            }
        });
        let (to, answers) = sync_channel(WAITING);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(stdout);
            while let Some(line) = Line::read(&mut lines) {
                let is_last = matches!(line, Line::TooLong);
                if to.send(line).is_err() || is_last {
                    return;
                }
            }
        });
        let said = Arc::new(Mutex::new(Vec::new()));
        let keeps = Arc::clone(&said);
        let listening = std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = stderr.read(&mut buffer) {
                let mut kept = keeps.lock();
                kept.extend_from_slice(&buffer[..n]);
                let over = kept.len().saturating_sub(SAID);
                kept.drain(..over);
            }
        });
        let questions = Some(questions);
        Ok(Process { child, group, ended: None, questions, written, answers, answered: 0, said, listening })
    }

    /// Hands records over and takes their answers; `answered` counts those that were.
    fn ask(
        &self,
        process: &mut Process,
        window: &mut Window,
        batch: &[usize],
        identity: &Identity,
        answered: &mut usize,
    ) -> Result<(), Fault> {
        let is_new = process.answered == 0;
        let mut questions = Vec::new();
        for item in batch {
            let item = &window.items[*item];
            if let Some(record) = item.text(&window.text) {
                question(identity, item.index, record, &mut questions);
            }
            questions.push(b'\n');
        }
        let began = Instant::now();
        process.questions.as_ref().and_then(|to| to.send(questions).ok()).ok_or(Fault::Ended)?;
        for item in batch {
            let line = match process.line(self.timeout)? {
                Line::Whole(line) => line,
                Line::TooLong => {
                    return Err(Fault::Babbled(format!("answered more than {} MiB in a line", ANSWER >> 20)));
                }
            };
            let answer =
                serde_json::from_slice::<Answer<'_>>(&line).map_err(|error| format!("answered no answer: {error}"));
            let answer = answer.and_then(|answer| match answer.is_of(identity, window.items[*item].index) {
                true => Ok(answer),
                false => Err("answered to another record, by `index` or `key`".to_owned()),
            });
            match answer {
                Ok(answer) => window.answer(*item, &answer),
                // Of several it may be any other that follows.
                Err(_) if batch.len() == 1 && process.answers_within(BABBLING) => {
                    return Err(Fault::OutOfStep(unasked(&line)));
                }
                Err(reason) => return Err(Fault::Babbled(reason)),
            }
            process.answered += 1;
            *answered += 1;
        }
        self.has_answered.store(true, Ordering::Relaxed);
        let grace = match batch.len() {
            1 if is_new => SILENCE,
            // The next question finds it, or the end of the window.
            1 => Duration::ZERO,
            many => (2 * began.elapsed() / u32::try_from(many).unwrap_or(u32::MAX)).min(SILENCE_BEHIND_MANY),
        };
        match process.is_silent(grace) {
            Ok(()) | Err(Fault::Ended) => {}
            Err(fault) => return Err(fault),
        }
        match process.written.recv_timeout(self.timeout) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Fault::OutOfStep("answered before it had read what it was asked".to_owned())),
        }
    }
}

/// A line that nobody asked for, as people are told of it.
fn unasked(line: &[u8]) -> String {
    let shown: String = String::from_utf8_lossy(line).trim().chars().take(SHOWN).collect();
    format!("printed a line that nobody asked for: `{shown}`; which answer is of which record, nobody knows")
}

impl Line {
    /// The next line; nothing where there is none to its end.
    fn read(lines: &mut impl BufRead) -> Option<Self> {
        let mut line = Vec::new();
        lines.take(ANSWER as u64).read_until(b'\n', &mut line).ok()?;
        match line.last() {
            Some(b'\n') => Some(Self::Whole(line)),
            _ if line.len() == ANSWER => Some(Self::TooLong),
            _ => None,
        }
    }
}

impl Process {
    /// The next line that it prints.
    fn line(&self, patience: Duration) -> Result<Line, Fault> {
        self.answers.recv_timeout(patience).map_err(|error| match error {
            RecvTimeoutError::Timeout => Fault::TimedOut,
            RecvTimeoutError::Disconnected => Fault::Ended,
        })
    }

    /// Checks that it prints nothing while nothing is asked.
    fn is_silent(&self, grace: Duration) -> Result<(), Fault> {
        match self.line(grace) {
            Err(Fault::TimedOut) => Ok(()),
            Err(fault) => Err(fault),
            Ok(Line::Whole(line)) => Err(Fault::OutOfStep(unasked(&line))),
            Ok(Line::TooLong) => Err(Fault::OutOfStep(unasked("…".as_bytes()))),
        }
    }

    /// Whether it prints an answer yet.
    fn answers_within(&self, patience: Duration) -> bool {
        let began = Instant::now();
        while let Ok(Line::Whole(line)) = self.line(patience.saturating_sub(began.elapsed())) {
            if serde_json::from_slice::<Answer<'_>>(&line).is_ok() {
                return true;
            }
        }
        false
    }

    fn last_words(&mut self) -> String {
        within(LEAVING, || self.has_ended().then_some(()));
        let how = self.end().map_or_else(|| "it does not end".to_owned(), |status| status.to_string());
        // What left its group may hold the pipe open for longer.
        within(LEAVING, || self.listening.is_finished().then_some(()));
        let said = String::from_utf8_lossy(&self.said.lock()).trim().to_owned();
        if said.is_empty() { how } else { format!("{how}: {said}") }
    }

    /// Whether the program itself has ended. It is not waited for yet, so that the number of its group stays its own.
    fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        self.ended.is_some() || !matches!(waitid(WaitId::Pid(self.group), options), Ok(None))
    }

    /// Ends what runs in its group.
    fn kill(&self) {
        if self.ended.is_none() {
            // It may have ended already.
            kill_process_group(self.group, Signal::KILL).ok();
        }
    }

    /// Ends it, and tells how it ended.
    fn end(&mut self) -> Option<ExitStatus> {
        self.kill();
        if self.ended.is_none() {
            if let Some(groups) = &mut *RUNNING.lock() {
                groups.retain(|group| *group != self.group);
            }
            self.ended = within(ENDING, || self.child.try_wait().ok().flatten());
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut idle = std::mem::take(self.idle.get_mut());
        // At the end of its input a program ends by itself, what it holds back written; one that does not is ended. All have the
        // same time.
        for process in &mut idle {
            process.questions = None;
        }
        within(ENDING, || {
            // What is printed at the end is taken, so that nothing waits for it.
            for process in &idle {
                let printed = std::iter::from_fn(|| process.line(Duration::from_millis(1)).ok());
                printed.take(AT_THE_END).for_each(drop);
            }
            idle.iter().all(Process::has_ended).then_some(())
        });
        idle.iter().for_each(Process::kill);
    }
}

/// Looks for something again and again, for so long.
fn within<T>(patience: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let began = Instant::now();
    loop {
        match look() {
            None if began.elapsed() < patience => std::thread::sleep(Duration::from_millis(5)),
            found => return found,
        }
    }
}
