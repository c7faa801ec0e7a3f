//! Watches every effect on the stores and holds it against the invariants; at the end, counts every record.
//!
//! It keeps a fold of the logs, the objects and the history of source versions of its own, made from the changes that the
//! stores report, so that a fault in the engine's own fold or decisions is not believed.

use std::collections::{BTreeMap, BTreeSet};

use baler_model::ledger::{
    DisposalPlan, Entry, Event, GroupId, Mark, Outcome, OutputClaim, PlanHeader, SealHeader, SealedOutput, Task,
};
use baler_model::{InputVersion, Key, Staged, Stamp};
use baler_store::{MemoryChange, MemoryObject};

macro_rules! ensure {
    ($holds:expr, $($words:tt)*) => {
        if !$holds {
            return Err(format!($($words)*));
        }
    };
}

mod partitions;

use partitions::Build;
pub(crate) use partitions::Left;

/// What the flows of a world make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Makes {
    /// Objects of bytes, joined.
    #[default]
    Joined,
    /// Partitions of records, built anew when a source of them appears or changes.
    Partitions,
    /// Objects of records, which each run adds.
    Added,
}

/// Where a run stands, by the watcher's own fold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Opened,
    Sealed,
    Withdrawing,
    Committed,
    Disposed,
    Aborted,
}

impl Stage {
    pub(crate) fn is_open(self) -> bool {
        !matches!(self, Self::Disposed | Self::Aborted)
    }

    fn holds(self) -> bool {
        matches!(self, Self::Opened | Self::Sealed | Self::Withdrawing)
    }
}

/// One run.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) flow: String,
    pub(crate) stage: Stage,
    pub(crate) by: String,
    header: PlanHeader,
    tasks: Vec<Task>,
    outputs: Vec<OutputClaim>,
    identity: Option<String>,
    released: BTreeSet<GroupId>,
    seal: Vec<SealedOutput>,
}

/// One published output of ours.
#[derive(Debug)]
struct Instance {
    flow: String,
    run: String,
    task: usize,
    /// Which of its task's outputs: 0 holds the records, what lies beside it tells of it.
    output: u32,
    records: Vec<u64>,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Visible,
    /// A consumer, or a flow that consumed it, took it away.
    Taken,
    /// We took it back.
    Withdrawn,
}

/// A version that lay where a flow reads.
#[derive(Debug)]
struct Version {
    body: bytes::Bytes,
    records: Vec<u64>,
    /// Somebody outside replaced it or took it away.
    gone_outside: bool,
}

/// A place and a version.
type At = (String, String, String);

#[derive(Debug, Default)]
pub(crate) struct Watch {
    target: String,
    overwrite: bool,
    makes: Makes,
    builds: BTreeMap<String, Build>,
    pub(crate) runs: BTreeMap<String, Watched>,
    objects: BTreeMap<(String, String), MemoryObject>,
    history: BTreeMap<At, Version>,
    instances: BTreeMap<(String, String), Instance>,
    consumed: BTreeMap<(String, At), String>,
    heads: BTreeMap<String, u64>,
    /// Runs for which an operator allowed that foreign objects are replaced.
    pub(crate) replacing: BTreeSet<String>,
    pub(crate) counts: BTreeMap<&'static str, u64>,
}

/// What nobody can help (ADR 0008): a schedule ends with it.
pub(crate) const RESIDUE: &str = "residue: a late withdrawal deleted the same bytes that the next run published";

/// What nobody can help yet: outputs of a group were replaced or consumed, uploads of others are lost, and a source has changed
/// since. The group can be neither made, nor taken back, nor given up.
pub(crate) const STUCK: &str = "stuck: a group is half published, and the rest cannot be made again";

/// What was broken, in words that begin with the invariant.
pub(crate) type Checked = Result<(), String>;

/// The records of a body: lines `r00042…`.
fn records(body: &[u8]) -> Vec<u64> {
    let lines = body.split(|b| *b == b'\n').filter(|line| line.first() == Some(&b'r'));
    lines.filter_map(|line| std::str::from_utf8(line.get(1..6)?).ok()?.parse().ok()).collect()
}

fn lines<H: serde::de::DeserializeOwned, L: serde::de::DeserializeOwned>(body: &[u8]) -> (H, Vec<L>) {
    let mut lines = body.split(|b| *b == b'\n').filter(|line| !line.is_empty());
    let header = serde_json::from_slice(lines.next().unwrap()).unwrap();
    (header, lines.map(|line| serde_json::from_slice(line).unwrap()).collect())
}

impl Watch {
    pub(crate) fn new(target: &str, overwrite: bool, makes: Makes) -> Self {
        Self { target: target.to_owned(), overwrite, makes, ..Self::default() }
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn is_source(store: &str, key: &str) -> bool {
        store == "lake" && (key.starts_with("raw/") || key.starts_with("mid/"))
    }

    fn is_output(&self, store: &str, key: &str) -> bool {
        let is_of_target =
            key.starts_with("daily/") || (self.makes != Makes::Joined && key.starts_with("_quarantine/"));
        (store == self.target && is_of_target) || (store == "lake" && key.starts_with("mid/"))
    }

    fn object(&self, store: &str, key: &str) -> Option<&MemoryObject> {
        self.objects.get(&(store.to_owned(), key.to_owned()))
    }

    /// Objects under a prefix, in order.
    pub(crate) fn under(&self, store: &str, prefix: &str) -> Vec<(String, MemoryObject)> {
        let from = (store.to_owned(), prefix.to_owned());
        let within = self.objects.range(from..).take_while(|((s, k), _)| s == store && k.starts_with(prefix));
        within.map(|((_, key), object)| (key.clone(), object.clone())).collect()
    }

    fn store_of(&self, key: &str) -> String {
        if key.starts_with("mid/") { "lake".into() } else { self.target.clone() }
    }

    /// Takes a change into the history of sources.
    fn remember(&mut self, change: &MemoryChange, is_outside: bool) {
        let at = (change.store.clone(), change.key.clone());
        if Self::is_source(&change.store, &change.key) {
            if let Some(before) = &change.before
                && is_outside
                && let Some(version) = self.history.get_mut(&(at.0.clone(), at.1.clone(), before.etag.clone()))
            {
                version.gone_outside = true;
            }
            if let Some(after) = &change.after {
                let records = match self.makes {
                    Makes::Joined => records(&after.body),
                    Makes::Partitions | Makes::Added => {
                        partitions::records(&change.key, &after.body).0.into_iter().map(|(id, _)| id).collect()
                    }
                };
                let version = Version { body: after.body.clone(), records, gone_outside: false };
                self.history.insert((at.0.clone(), at.1.clone(), after.etag.clone()), version);
            }
        }
        match &change.after {
            Some(after) => drop(self.objects.insert(at, after.clone())),
            None => drop(self.objects.remove(&at)),
        }
    }

    /// Somebody outside did it.
    pub(crate) fn outside(&mut self, change: &MemoryChange) {
        if let Some(stamp) = change.before.as_ref().and_then(|before| before.stamp.as_ref())
            && let Some(instance) = self.instances.get_mut(&(change.key.clone(), stamp.attempt.to_string()))
        {
            instance.fate = Fate::Taken;
        }
        self.remember(change, true);
    }

    /// A process of ours did it.
    pub(crate) fn engine(&mut self, change: &MemoryChange) -> Checked {
        let (store, key) = (change.store.as_str(), change.key.as_str());
        let checked = if let Some(rest) = key.strip_prefix("_baler/").filter(|_| store == "lake") {
            self.state(change, rest)
        } else if key.starts_with("_baler_tmp/") {
            Ok(())
        } else if key.starts_with("old/") {
            ensure!(change.before.is_none(), "INV-KEEP-1: `{key}` of the archive was changed");
            Ok(())
        } else if key.starts_with("watch/") {
            self.manifest(change)
        } else {
            match (&change.before, &change.after) {
                (before, Some(after)) => self.published(change, before.as_ref(), after),
                (Some(before), None) => self.deleted(store, key, before),
                (None, None) => Ok(()),
            }
        };
        self.remember(change, false);
        checked?;
        if key.starts_with("_baler/") && key.contains("/log/") {
            return self.entry(change);
        }
        Ok(())
    }

    /// A file of the ledger.
    fn state(&mut self, change: &MemoryChange, rest: &str) -> Checked {
        let key = &change.key;
        let Some((flow, file)) = rest.split_once('/') else { return Ok(()) };
        if let Some(number) = file.strip_prefix("log/") {
            ensure!(change.before.is_none() && change.after.is_some(), "INV-LOG-1: `{key}` was changed or removed");
            let seq: u64 = number.trim_end_matches(".json").parse().unwrap();
            let head = self.heads.entry(flow.to_owned()).or_default();
            ensure!(seq == *head + 1, "INV-LOG-1: entry {seq} follows {head}");
            *head = seq;
            return Ok(());
        }
        let Some((run, file)) = file.strip_prefix("runs/").and_then(|rest| rest.split_once('/')) else { return Ok(()) };
        let stage = self.runs.get(run).map(|run| run.stage);
        let changed = change.before.is_some() && change.after.is_some();
        let removed = change.after.is_none();
        if file.starts_with("mark/") {
            ensure!(!changed, "INV-MARK-1: `{key}` was overwritten");
            ensure!(!removed || !stage.is_some_and(Stage::is_open), "INV-MARK-1: `{key}` of an open run was removed");
        } else if file.starts_with("pub/") {
            ensure!(!removed || !stage.is_some_and(Stage::is_open), "`{key}` of an open run was removed");
        } else if file.starts_with("plan-") || file.starts_with("claims-") || file.starts_with("seal-") {
            ensure!(!changed, "`{key}` was overwritten");
            ensure!(!removed || stage.is_none(), "`{key}`, which the log names, was removed");
        }
        Ok(())
    }

    fn manifest(&mut self, change: &MemoryChange) -> Checked {
        let key = &change.key;
        if !key.starts_with("watch/queue/") {
            return Ok(());
        }
        let Some(before) = change.before.as_ref().filter(|_| change.after.is_none()) else {
            return Err(format!("a manifest was written: `{key}`"));
        };
        let done = self.runs.values().any(|run| {
            run.header.manifest.as_ref().is_some_and(|m| m.key.as_str() == key && *m.etag == *before.etag)
                && matches!(run.stage, Stage::Committed | Stage::Disposed)
                && run.released.is_empty()
        });
        ensure!(done, "INV-KEEP-1: manifest `{key}` was taken out of the queue, and its run is not done");
        Ok(())
    }

    /// Something became visible outside the ledger.
    fn published(&mut self, change: &MemoryChange, before: Option<&MemoryObject>, after: &MemoryObject) -> Checked {
        let key = &change.key;
        ensure!(self.is_output(&change.store, key), "an object appeared where no flow writes: `{key}`");
        let Some(stamp) = &after.stamp else { return Err(format!("an object without a stamp appeared: `{key}`")) };
        let (id, attempt) = (stamp.run.to_string(), stamp.attempt.to_string());
        let Some(run) = self.runs.get(&id) else {
            return Err(format!("INV-VISIBLE-1: `{key}` appeared, its run is not in the log"));
        };
        ensure!(
            matches!(run.stage, Stage::Sealed | Stage::Withdrawing),
            "INV-VISIBLE-1: `{key}` appeared while its run is {:?}",
            run.stage
        );
        let line = run.seal.iter().find(|line| line.staged.key.as_str() == key && line.staged.stamp == *stamp);
        let Some(line) = line else { return Err(format!("INV-VISIBLE-1: `{key}` appeared, no seal covers it")) };
        ensure!(!run.released.contains(&line.group), "INV-VISIBLE-1: `{key}` of a released group appeared");
        if let Some(before) = before.filter(|_| self.makes != Makes::Joined) {
            self.replaced(key, &id, line, before)?;
        } else if let Some(before) = before {
            let planned = line.replaces.as_ref().is_some_and(|old| *old.etag == *before.etag) && self.overwrite;
            ensure!(before.stamp.is_none(), "INV-OWN-1: `{key}`, an output of ours, was overwritten");
            ensure!(planned || self.replacing.contains(&id), "INV-OWN-1: `{key}`, which is not ours, was overwritten");
        }
        let task = line.task.0 as usize;
        let mut found = Vec::new();
        if self.makes != Makes::Joined {
            found = self.converted(run, line, after)?;
        } else if line.output == 0 {
            found = records(&after.body);
            let mut wanted: Vec<u64> = Vec::new();
            for input in &run.tasks[task].inputs {
                let at = ("lake".to_owned(), input.key.to_string(), input.etag.to_string());
                let Some(version) = self.history.get(&at) else {
                    return Err(format!("`{key}` is made of a version that never was: `{}`", input.key));
                };
                wanted.extend(&version.records);
            }
            ensure!(found == wanted, "INV-ACCT-1: `{key}` holds {found:?}, its sources {wanted:?}");
        } else {
            let body = String::from_utf8_lossy(&after.body);
            ensure!(body.contains("entries"), "`{key}` is no manifest: {body}");
        }
        let twice = self
            .instances
            .iter()
            .any(|((at, other), i)| at == key && i.run == id && (*other == attempt || i.fate != Fate::Withdrawn));
        ensure!(!twice, "doubling: `{key}` of run `{id}` appeared twice");
        let (flow, output) = (run.flow.clone(), line.output);
        let instance = Instance { flow, run: id, task, output, records: found, fate: Fate::Visible };
        self.instances.insert((key.clone(), attempt), instance);
        self.count("published");
        Ok(())
    }

    /// A process of ours deleted an object outside the ledger.
    fn deleted(&mut self, store: &str, key: &str, before: &MemoryObject) -> Checked {
        let at = (store.to_owned(), key.to_owned(), before.etag.clone());
        if let Some(stamp) = &before.stamp
            && self.may_take_back(stamp)
        {
            if let Some(instance) = self.instances.get_mut(&(key.to_owned(), stamp.attempt.to_string())) {
                instance.fate = Fate::Withdrawn;
            }
            self.count("taken back");
            return Ok(());
        }
        if let Some(stamp) = before.stamp.as_ref().filter(|stamp| self.is_superseded(key, stamp)) {
            if let Some(instance) = self.instances.get_mut(&(key.to_owned(), stamp.attempt.to_string())) {
                instance.fate = Fate::Taken;
            }
            self.count("superseded");
            return Ok(());
        }
        let is_same = |((at, _), other): (&(String, String), &Instance)| {
            let aborted = self.runs.get(&other.run).is_some_and(|run| run.stage == Stage::Aborted);
            at == key && other.fate == Fate::Withdrawn && aborted && other.records == records(&before.body)
        };
        ensure!(before.stamp.is_none() || !self.instances.iter().any(is_same), "{RESIDUE} at `{key}`");
        ensure!(Self::is_source(store, key), "`{key}` was deleted, and no run may do that");
        for (id, run) in &self.runs {
            if !matches!(run.stage, Stage::Committed | Stage::Disposed) {
                continue;
            }
            let planned = |task: &&Task| {
                !run.released.contains(&task.group)
                    && task.inputs.iter().any(|i| i.key.as_str() == key && *i.etag == *before.etag)
            };
            let Some(task) = run.tasks.iter().find(planned) else { continue };
            for line in run.seal.iter().filter(|line| line.task == task.task) {
                let instance = self.instances.get(&(line.staged.key.to_string(), attempt_of(&line.staged)));
                ensure!(
                    instance.is_some_and(|i| i.fate != Fate::Withdrawn),
                    "INV-KEEP-1: `{key}` was deleted, `{}` was never published",
                    line.staged.key
                );
            }
            match &run.header.sources {
                DisposalPlan::Keep => continue,
                DisposalPlan::Delete { .. } => {}
                DisposalPlan::Archive { prefix, .. } => {
                    let archived = self.object("lake", &format!("{prefix}{id}/{key}"));
                    ensure!(
                        archived.is_some_and(|a| a.body == before.body),
                        "INV-KEEP-1: `{key}` was deleted and is not in the archive"
                    );
                }
            }
            if let Some(stamp) = &before.stamp
                && let Some(instance) = self.instances.get_mut(&(key.to_owned(), stamp.attempt.to_string()))
            {
                instance.fate = Fate::Taken;
            }
            self.count("disposed source");
            return Ok(());
        }
        Err(format!("INV-KEEP-1: `{key}` was deleted in a version that no committed run planned ({})", at.2))
    }

    /// Whether an output of ours may be deleted: its run is taken back, or gives up a group that was sealed.
    fn may_take_back(&self, stamp: &Stamp) -> bool {
        let Some(run) = self.runs.get(stamp.run.as_str()) else { return false };
        let is_joined = self.makes == Makes::Joined;
        let beside = |line: &&SealedOutput| is_joined && line.staged.stamp == *stamp && line.output > 0;
        match run.stage {
            Stage::Withdrawing => true,
            Stage::Sealed => run.seal.iter().any(|line| beside(&line)),
            Stage::Opened | Stage::Committed | Stage::Disposed | Stage::Aborted => false,
        }
    }

    /// A log entry.
    fn entry(&mut self, change: &MemoryChange) -> Checked {
        let Some(after) = &change.after else { return Ok(()) };
        let entry: Entry = serde_json::from_slice(&after.body).unwrap();
        let flow = change.key.split('/').nth(1).unwrap().to_owned();
        let id = entry.event.run().to_string();
        let stage = self.runs.get(&id).map(|run| run.stage);
        let order = |allowed: &[Stage]| -> Checked {
            let fits = stage.is_some_and(|stage| allowed.contains(&stage));
            if fits { Ok(()) } else { Err(format!("{} of run `{id}`, which is {stage:?}", entry.event.name())) }
        };
        match &entry.event {
            Event::Opened { .. } => {
                ensure!(stage.is_none(), "INV-RUN-1: run `{id}` was opened twice");
                self.opened(flow, &id, &entry)?;
            }
            Event::Staged { .. } => order(&[Stage::Opened])?,
            Event::Sealed { seal, released, .. } => {
                order(&[Stage::Opened, Stage::Sealed])?;
                let released: BTreeSet<GroupId> = released.iter().copied().collect();
                self.sealed(&flow, &id, &format!("_baler/{flow}/runs/{id}/seal-{seal}.jsonl"), released)?;
            }
            Event::Committed { .. } => {
                order(&[Stage::Sealed])?;
                self.committed(&id, &entry.by)?;
            }
            Event::Withdrawing { .. } => {
                order(&[Stage::Sealed])?;
                self.run(&id).stage = Stage::Withdrawing;
                self.count("withdrawing");
            }
            Event::Aborted { .. } => {
                order(&[Stage::Opened, Stage::Withdrawing])?;
                self.run(&id).stage = Stage::Aborted;
                self.freed(&id, |_| true)?;
                self.count("aborted");
            }
            Event::Disposed { sources_gone, .. } => {
                order(&[Stage::Committed])?;
                self.run(&id).stage = Stage::Disposed;
                if *sources_gone {
                    let run = &self.runs[&id];
                    for task in run.tasks.iter().filter(|t| !run.released.contains(&t.group)) {
                        for input in &task.inputs {
                            let there = self.object("lake", input.key.as_str());
                            let gone = there.is_none_or(|there| *there.etag != *input.etag);
                            ensure!(gone, "INV-KEEP-1: `{}` leaves the consumed set and is there", input.key);
                        }
                    }
                }
                self.count("disposed");
            }
        }
        Ok(())
    }

    fn run(&mut self, id: &str) -> &mut Watched {
        self.runs.get_mut(id).unwrap()
    }

    fn opened(&mut self, flow: String, id: &str, entry: &Entry) -> Checked {
        let Event::Opened { plan, outputs, trigger, .. } = &entry.event else { return Ok(()) };
        let key = format!("_baler/{flow}/runs/{id}/plan-{plan}.jsonl");
        let Some(object) = self.object("lake", &key) else { return Err(format!("`{key}` was opened and is missing")) };
        let (header, tasks): (PlanHeader, Vec<Task>) = lines(&object.body);
        let identity = trigger.identity();
        let mut wanted: BTreeSet<At> = BTreeSet::new();
        for (task, number, input) in inputs_of(&tasks) {
            let at = ("lake".to_owned(), input.key.to_string(), input.etag.to_string());
            if task.is_reread(number) {
                let before = self.consumed.get(&(flow.clone(), at));
                ensure!(before.is_some(), "INV-CLAIM-1: `{}` is read again, and was never consumed", input.key);
                continue;
            }
            ensure!(Self::is_source(&at.0, &at.1), "INV-LOOP-1: `{}` was claimed", input.key);
            ensure!(wanted.insert(at.clone()), "INV-CLAIM-1: `{}` is claimed twice by one run", input.key);
            if let Some(stamp) = self.object(&at.0, &at.1).filter(|o| o.etag == at.2).and_then(|o| o.stamp.as_ref()) {
                let before = self.runs.get(stamp.run.as_str()).map(|run| run.stage);
                let is_done = matches!(before, Some(Stage::Committed | Stage::Disposed));
                ensure!(is_done, "`{}` was claimed while the run that wrote it is {before:?}", input.key);
            }
            if let Some(other) = self.consumed.get(&(flow.clone(), at)) {
                return Err(format!(
                    "INV-CLAIM-1: `{}` was consumed by run `{other}`, run `{id}` claims it",
                    input.key
                ));
            }
        }
        for (other, rival) in self.runs.iter().filter(|(_, rival)| rival.flow == flow) {
            if identity.is_some() && rival.identity == identity {
                let may = rival.stage == Stage::Aborted || !rival.released.is_empty();
                ensure!(may, "INV-RUN-1: runs `{other}` and `{id}` were started by one thing");
            }
            if !rival.stage.holds() {
                continue;
            }
            for (task, number, input) in inputs_of(&rival.tasks) {
                if !rival.released.contains(&task.group) && !task.is_reread(number) {
                    let at = ("lake".to_owned(), input.key.to_string(), input.etag.to_string());
                    ensure!(!wanted.contains(&at), "INV-CLAIM-1: runs `{other}` and `{id}` hold `{}`", input.key);
                }
            }
            for claim in outputs {
                let held = |theirs: &&OutputClaim| match theirs {
                    OutputClaim::Key(_, group) => !rival.released.contains(group),
                    OutputClaim::Prefix(_) => true,
                };
                let shared = rival.outputs.iter().filter(held).any(|theirs| theirs.overlaps(claim));
                ensure!(!shared, "INV-CLAIM-1: runs `{other}` and `{id}` hold output `{claim}`");
            }
        }
        let watched = Watched {
            flow,
            stage: Stage::Opened,
            by: entry.by.clone(),
            header,
            tasks,
            outputs: outputs.clone(),
            identity,
            released: BTreeSet::new(),
            seal: Vec::new(),
        };
        self.runs.insert(id.to_owned(), watched);
        self.count("opened");
        Ok(())
    }

    /// The marks of a run, by task and generation.
    fn marks(&self, flow: &str, id: &str) -> BTreeMap<(u32, u32), Mark> {
        let marks = self.under("lake", &format!("_baler/{flow}/runs/{id}/mark/"));
        let read = |(_, object): (String, MemoryObject)| -> Mark { serde_json::from_slice(&object.body).unwrap() };
        marks.into_iter().map(read).map(|mark| ((mark.task.0, mark.generation), mark)).collect()
    }

    fn sealed(&mut self, flow: &str, id: &str, key: &str, released: BTreeSet<GroupId>) -> Checked {
        let Some(object) = self.object("lake", key) else { return Err(format!("`{key}` was sealed and is missing")) };
        let (_, seal): (SealHeader, Vec<SealedOutput>) = lines(&object.body);
        let marks = self.marks(flow, id);
        let run = &self.runs[id];
        ensure!(run.released.is_subset(&released), "run `{id}` takes back groups that it released");
        let first = run.seal.is_empty();
        let mut sizes: BTreeMap<u32, u64> = BTreeMap::new();
        for line in &seal {
            let key = &line.staged.key;
            ensure!(!released.contains(&line.group), "INV-ACCT-1: `{key}` of a released group is sealed");
            let Some(mark) = marks.get(&(line.task.0, line.generation)) else {
                return Err(format!("INV-MARK-1: `{key}` is sealed without a mark"));
            };
            let Outcome::Staged { outputs, account, .. } = &mark.outcome else {
                return Err(format!("INV-MARK-1: `{key}` is sealed, its task is given up"));
            };
            ensure!(
                outputs.get(line.output as usize) == Some(&line.staged),
                "INV-MARK-1: the mark names another `{key}`"
            );
            let task = &run.tasks[line.task.0 as usize];
            let agrees = account.objects_in == task.inputs.len() as u64 && account.bytes_in == task.bytes();
            let agrees = agrees && (self.makes == Makes::Joined || account.check_records().is_ok());
            ensure!(agrees, "INV-ACCT-1: the account of `{key}` does not balance");
            *sizes.entry(line.task.0).or_default() += 1;
        }
        let covered = run.tasks.iter().filter(|task| !released.contains(&task.group));
        for task in covered {
            if self.makes != Makes::Joined {
                self.covers(task, &seal.iter().filter(|line| line.task == task.task).collect::<Vec<_>>())?;
                continue;
            }
            let wanted = task.output_keys(&run.header.operation).len() as u64;
            ensure!(sizes.get(&task.task.0) == Some(&wanted), "INV-ACCT-1: `{}` is not sealed as a whole", task.key);
        }
        for task in run.tasks.iter().filter(|t| released.contains(&t.group) && !run.released.contains(&t.group)) {
            let given_up = |mark: &&Mark| mark.task == task.task && matches!(mark.outcome, Outcome::GivenUp { .. });
            ensure!(marks.values().any(|m| given_up(&m)), "`{}` is released and no mark gives it up", task.key);
        }
        let newly: BTreeSet<GroupId> = released.difference(&run.released).copied().collect();
        let run = self.run(id);
        run.stage = Stage::Sealed;
        run.seal = seal;
        run.released = released;
        self.freed(id, |group| newly.contains(&group))?;
        self.count(if first { "sealed" } else { "sealed again" });
        if !newly.is_empty() {
            self.count("released");
        }
        Ok(())
    }

    /// Claims of some groups of a run end without being consumed: nothing of them may be visible, no record delivered.
    ///
    /// What lies beside an output and was taken away cannot be brought back when the output itself can never appear, its
    /// upload and its source being lost; it holds no records.
    fn freed(&self, id: &str, groups: impl Fn(GroupId) -> bool) -> Checked {
        let run = &self.runs[id];
        for ((key, _), instance) in self.instances.iter().filter(|(_, i)| i.run == id) {
            let freed = groups(run.tasks[instance.task].group);
            let is_dangling = self.makes == Makes::Joined && instance.output > 0 && instance.fate == Fate::Taken;
            ensure!(
                !freed || instance.fate == Fate::Withdrawn || is_dangling,
                "doubling: claims behind `{key}` are free while it is {:?}",
                instance.fate
            );
        }
        Ok(())
    }

    fn committed(&mut self, id: &str, by: &str) -> Checked {
        let run = &self.runs[id];
        for line in &run.seal {
            let key = line.staged.key.to_string();
            let published = self.instances.get(&(key.clone(), attempt_of(&line.staged)));
            ensure!(
                published.is_some_and(|i| i.fate != Fate::Withdrawn),
                "loss: `{key}` never appeared, `{id}` is committed"
            );
        }
        let flow = run.flow.clone();
        let took_over = run.by != by;
        let covered = run.tasks.iter().filter(|task| !run.released.contains(&task.group));
        let claimed = inputs_of(covered).filter(|(task, number, _)| !task.is_reread(*number));
        let inputs: Vec<_> = claimed.map(|(_, _, input)| input).cloned().collect();
        for input in inputs {
            let at = ("lake".to_owned(), input.key.to_string(), input.etag.to_string());
            if let Some(other) = self.consumed.insert((flow.clone(), at), id.to_owned()) {
                return Err(format!("doubling: runs `{other}` and `{id}` both consumed `{}`", input.key));
            }
        }
        self.run(id).stage = Stage::Committed;
        self.built(id);
        self.count("committed");
        if took_over {
            self.count("taken over");
        }
        Ok(())
    }

    /// Outputs of ours that a consumer can see: where, and the attempt that wrote it.
    pub(crate) fn visible(&self) -> Vec<(String, String)> {
        let seen = |((store, key), object): (&(String, String), &MemoryObject)| {
            let stamp = object.stamp.as_ref().filter(|_| *store == self.target && key.starts_with("daily/"))?;
            Some((key.clone(), stamp.attempt.to_string()))
        };
        self.objects.iter().filter_map(seen).collect()
    }

    /// Keys that open runs will write, with their stores.
    pub(crate) fn wanted_keys(&self) -> Vec<(String, String)> {
        let open = self.runs.values().filter(|run| run.stage.is_open());
        let key = |claim: &OutputClaim| match claim {
            OutputClaim::Key(key, _) => Some((self.store_of(key.as_str()), key.to_string())),
            OutputClaim::Prefix(_) => None,
        };
        open.flat_map(|run| &run.outputs).filter_map(key).collect()
    }

    /// Outputs of an open run that are neither staged nor there, and whether each was ever published.
    pub(crate) fn lost_outputs(&self, id: &str, is_staged: impl Fn(&Staged) -> bool) -> Vec<(Key, bool)> {
        let run = &self.runs[id];
        let mut newest: BTreeMap<u32, Mark> = BTreeMap::new();
        for ((task, _), mark) in self.marks(&run.flow, id) {
            newest.insert(task, mark);
        }
        let mut staged: Vec<Staged> = run.seal.iter().map(|line| line.staged.clone()).collect();
        for mark in newest.into_values() {
            if let Outcome::Staged { outputs, .. } = mark.outcome {
                staged.extend(outputs);
            }
        }
        staged.retain(|s| {
            let there = self.object(&self.store_of(s.key.as_str()), s.key.as_str());
            !is_staged(s) && there.is_none_or(|there| there.stamp.as_ref() != Some(&s.stamp))
        });
        // What a withdrawal took back itself, before it died, nobody has.
        let instance = |s: &Staged| self.instances.get(&(s.key.to_string(), attempt_of(s)));
        let ever = |s: &Staged| instance(s).is_some_and(|instance| instance.fate != Fate::Withdrawn);
        staged.iter().map(|s| (s.key.clone(), ever(s))).collect()
    }

    /// Keys of a run where something else is than it may replace: where, and whether an object of somebody else is there.
    pub(crate) fn in_the_way(&self, id: &str) -> Vec<(String, String, bool)> {
        let key = |line: &SealedOutput| {
            let key = line.staged.key.to_string();
            let store = self.store_of(&key);
            let (is_foreign, is_planned) = match (self.object(&store, &key), &line.replaces) {
                (Some(there), replaces) => {
                    (there.stamp.is_none(), replaces.as_ref().is_some_and(|r| *r.etag == *there.etag))
                }
                (None, Some(_)) => (false, self.instances.contains_key(&(key.clone(), attempt_of(&line.staged)))),
                (None, None) => (false, true),
            };
            let is_ours = self.object(&store, &key).is_some_and(|there| there.stamp.is_some());
            (!is_planned && !is_ours).then_some((store, key, is_foreign))
        };
        self.runs[id].seal.iter().filter_map(key).collect()
    }

    /// Counts every record: each of a consumed version is delivered once, of every other version not at all, and every
    /// version that was not consumed is still there, unless somebody outside took it away.
    pub(crate) fn reckon(&self) -> Checked {
        if self.makes == Makes::Partitions {
            return Ok(());
        }
        let held = self.held_for_good();
        let flows: BTreeSet<&String> = self.runs.values().map(|run| &run.flow).collect();
        for flow in flows {
            let mut delivered: BTreeMap<u64, u64> = BTreeMap::new();
            for ((key, _), instance) in self.instances.iter().filter(|(_, i)| i.flow == *flow) {
                if instance.fate == Fate::Visible {
                    let there = self.object(&self.store_of(key), key);
                    ensure!(there.is_some_and(|o| o.stamp.is_some()), "loss: `{key}` was published and is gone");
                }
                if instance.fate != Fate::Withdrawn {
                    instance.records.iter().for_each(|record| *delivered.entry(*record).or_default() += 1);
                }
            }
            let reads = if flow == "second" { "mid/" } else { "raw/" };
            // What the first flow took back and made again has the same records in several versions: consumed ones first.
            let (consumed, other): (Vec<_>, Vec<_>) = self
                .history
                .iter()
                .filter(|(at, _)| at.1.starts_with(reads))
                .partition(|(at, _)| self.consumed.contains_key(&(flow.clone(), (*at).clone())));
            let wants = consumed.into_iter().map(|v| (v, 1)).chain(other.into_iter().map(|v| (v, 0)));
            for ((at, version), wanted) in wants {
                let is_held = held.contains(&(flow, at));
                for record in &version.records {
                    let times = delivered.remove(record).unwrap_or_default();
                    ensure!(
                        times == wanted || is_held && times <= 1,
                        "record {record} of `{}` ({}) is delivered {times} times, {wanted} wanted",
                        at.1,
                        at.2
                    );
                }
                let there = self.object(&at.0, &at.1).is_some_and(|o| o.etag == at.2 && o.body == version.body);
                let kept = there || wanted == 1 || version.gone_outside || self.taken_back(at);
                ensure!(kept, "loss: `{}` ({}) is neither there nor consumed", at.1, at.2);
            }
            ensure!(delivered.is_empty(), "records out of nowhere: {delivered:?}");
        }
        Ok(())
    }

    /// Whether a run is being taken back, and somebody took an output of it away meanwhile: its claims stay.
    pub(crate) fn is_held_for_good(&self, id: &str) -> bool {
        self.runs[id].stage == Stage::Withdrawing
            && self.instances.values().any(|instance| instance.run == id && instance.fate == Fate::Taken)
    }

    /// The versions that such runs hold, by flow.
    fn held_for_good(&self) -> BTreeSet<(&String, &At)> {
        let runs = self.runs.iter().filter(|(id, _)| self.is_held_for_good(id));
        let inputs =
            runs.flat_map(|(_, run)| run.tasks.iter().flat_map(move |t| t.inputs.iter().map(move |i| (run, i))));
        let at = |(run, input): (_, &baler_model::InputVersion)| {
            let run: &Watched = run;
            let at = ("lake".to_owned(), input.key.to_string(), input.etag.to_string());
            self.history.get_key_value(&at).map(|(at, _)| (&run.flow, at))
        };
        inputs.filter_map(at).collect()
    }

    /// Whether a version that a second flow could have read was an output that the first took back.
    fn taken_back(&self, at: &At) -> bool {
        let records = &self.history[at].records;
        at.1.starts_with("mid/")
            && self
                .instances
                .iter()
                .any(|((key, _), i)| *key == at.1 && i.fate == Fate::Withdrawn && i.records == *records)
    }

    pub(crate) fn heads(&self) -> &BTreeMap<String, u64> {
        &self.heads
    }
}

/// The inputs of tasks, with their numbers.
fn inputs_of<'a>(tasks: impl IntoIterator<Item = &'a Task>) -> impl Iterator<Item = (&'a Task, u32, &'a InputVersion)> {
    tasks.into_iter().flat_map(|task| (0u32..).zip(&task.inputs).map(move |(number, input)| (task, number, input)))
}

fn attempt_of(staged: &Staged) -> String {
    staged.stamp.attempt.to_string()
}
