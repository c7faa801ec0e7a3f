//! Plans, claims, marks, seals: written once, named by content or by task, read back as types.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, BufWriter, Write};

use baler_model::ledger::{
    Claim, ClaimsHeader, ContentHash, FORMAT_VERSION, FailedAttempt, GroupId, Heartbeat, Mark, PlanHeader, SealHeader,
    SealedOutput, Task,
};
use baler_model::{InputVersion, Key, RunId, TaskId};
use baler_store::{ListRequest, PutOutcome};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::fold::{LedgerState, RunState};
use super::{FAN_OUT, Ledger, LedgerError, paths};
use crate::parallel::{PIECE, in_parallel};

/// A plan as the ledger holds it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its header.
    pub header: PlanHeader,
    /// Its tasks, dense from 0.
    pub tasks: Vec<Task>,
}

/// The claims of a run.
#[derive(Debug, Clone)]
pub struct Claims {
    /// Claimed versions, sorted by key.
    pub claims: Vec<Claim>,
}

/// A seal as the ledger holds it.
#[derive(Debug, Clone)]
pub struct Seal {
    /// Its header.
    pub header: SealHeader,
    /// What may be published.
    pub outputs: Vec<SealedOutput>,
}

/// The winning marks of a run: of each task the highest generation. Each by itself: a map has room for nearly twice what it
/// holds, and a run may have tens of thousands.
pub type Marks = BTreeMap<TaskId, Box<Mark>>;

/// The input versions that committed runs consumed, sorted.
#[derive(Debug, Clone, Default)]
pub struct ConsumedSet {
    sorted: Vec<InputVersion>,
}

impl ConsumedSet {
    pub(crate) fn from_sorted(sorted: Vec<InputVersion>) -> Self {
        debug_assert!(sorted.is_sorted(), "consumed versions are kept sorted");
        Self { sorted }
    }

    /// Whether this very version is consumed. Cost: a binary search.
    pub fn contains(&self, input: &InputVersion) -> bool {
        self.sorted.binary_search(input).is_ok()
    }

    /// How many versions are consumed.
    pub fn len(&self) -> usize {
        self.sorted.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.sorted.is_empty()
    }

    /// Leaves some versions out.
    pub(crate) fn leave_out(&mut self, versions: &[InputVersion]) {
        let out: BTreeSet<&InputVersion> = versions.iter().collect();
        self.sorted.retain(|input| !out.contains(input));
    }

    pub(super) fn sorted(&self) -> &[InputVersion] {
        &self.sorted
    }
}

/// On such lines it takes 0.6 of the time of level 3 and makes them a fifth smaller: measured on 140 MB of them.
const LEVEL: i32 = 1;

/// One zstd frame of lines.
fn frame(lines: impl IntoIterator<Item = impl Serialize>) -> Vec<u8> {
    let compress = || {
        // A line is written token by token; the encoder has a price for each call.
        let mut out = BufWriter::with_capacity(64 << 10, zstd::Encoder::new(Vec::new(), LEVEL)?);
        lines.into_iter().try_for_each(|line| write_line(&mut out, &line))?;
        out.into_inner().map_err(std::io::IntoInnerError::into_error)?.finish()
    };
    compress().expect("compressing memory cannot fail")
}

/// Lines in memory, for which room is made beforehand: they may be hundreds of megabytes.
fn lines<H: Serialize, L: Serialize>(header: &H, lines: &[L], room: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(room);
    let written =
        write_line(&mut out, header).and_then(|()| lines.iter().try_for_each(|line| write_line(&mut out, line)));
    written.expect("writing to memory cannot fail");
    out
}

fn write_line(out: &mut impl Write, line: &impl Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn parse_lines<H: DeserializeOwned, L: DeserializeOwned>(bytes: &[u8]) -> Result<(H, Vec<L>), String> {
    let mut lines = bytes.split(|&b| b == b'\n').filter(|line| !line.is_empty());
    let header = lines.next().ok_or("it is empty")?;
    let header = serde_json::from_slice(header).map_err(|e| format!("line 1: {e}"))?;
    let lines = lines
        .enumerate()
        .map(|(i, line)| serde_json::from_slice(line).map_err(|e| format!("line {}: {e}", i + 2)))
        .collect::<Result<_, _>>()?;
    Ok((header, lines))
}

impl Plan {
    /// The bytes that the ledger holds, and by which it is named.
    pub fn to_bytes(&self) -> Bytes {
        /// Field names, numbers, time and punctuation of an input in JSON.
        const AROUND_INPUT: usize = 96;
        let inputs = self.tasks.iter().flat_map(|task| &task.inputs);
        let room: usize = inputs.map(|input| input.key.as_str().len() + input.etag.len() + AROUND_INPUT).sum();
        lines(&self.header, &self.tasks, room + 4096).into()
    }

    /// What it claims.
    pub fn claims(&self) -> PlanClaims<'_> {
        PlanClaims::new(self.tasks.iter().flat_map(|task| {
            let claimed = (0u32..).zip(&task.inputs).filter(|(number, _)| !task.is_reread(*number));
            claimed.map(|(_, input)| (input, task.group))
        }))
    }

    /// Inputs and bytes of each group, as planned.
    pub fn group_sizes(&self) -> BTreeMap<GroupId, (u64, u64)> {
        let mut sizes = BTreeMap::new();
        for task in &self.tasks {
            let entry: &mut (u64, u64) = sizes.entry(task.group).or_default();
            entry.0 += task.inputs.len() as u64;
            entry.1 += task.bytes();
        }
        sizes
    }

    /// The number of stages.
    pub fn stages(&self) -> u32 {
        self.tasks.iter().map(|t| t.stage + 1).max().unwrap_or(0)
    }
}

/// What a plan claims: each input version with the groups that it feeds.
#[derive(Debug)]
pub struct PlanClaims<'a> {
    /// Sorted, as the ledger holds them; an input that feeds several groups stands there once for each.
    sorted: Vec<(&'a InputVersion, GroupId)>,
}

impl<'a> PlanClaims<'a> {
    /// Sorts what is claimed.
    pub fn new(claims: impl IntoIterator<Item = (&'a InputVersion, GroupId)>) -> Self {
        let mut sorted: Vec<_> = claims.into_iter().collect();
        sorted.sort();
        Self { sorted }
    }

    /// Whether this very version is claimed. Cost: a binary search.
    pub fn contains(&self, input: &InputVersion) -> bool {
        self.sorted.binary_search_by(|(claimed, _)| (*claimed).cmp(input)).is_ok()
    }

    /// The bytes that the ledger holds: JSON lines in zstd frames that were made in parallel.
    pub fn to_bytes(&self, run: &RunId) -> Bytes {
        let claims: Vec<&[(&InputVersion, GroupId)]> = self.sorted.chunk_by(|a, b| a.0 == b.0).collect();
        let header = ClaimsHeader { version: FORMAT_VERSION, run: run.clone(), claims: claims.len() as u64 };
        let mut compressed = frame(std::iter::once(&header));
        let pieces: Vec<&[&[(&InputVersion, GroupId)]]> = claims.chunks(PIECE).collect();
        let frames = in_parallel(&pieces, |piece| {
            frame(piece.iter().map(|claim| ClaimLine::new(claim[0].0, claim.iter().map(|(_, group)| *group).collect())))
        });
        compressed.extend(frames.concat());
        compressed.into()
    }
}

/// A claim as its line is written: the fields of [`Claim`], whose flattening by serde would go through a map.
#[derive(Serialize)]
struct ClaimLine<'a> {
    key: &'a Key,
    etag: &'a str,
    size: u64,
    modified: Timestamp,
    groups: Vec<GroupId>,
}

impl<'a> ClaimLine<'a> {
    fn new(input: &'a InputVersion, mut groups: Vec<GroupId>) -> Self {
        let InputVersion { key, etag, size, modified } = input;
        groups.dedup();
        Self { key, etag, size: *size, modified: *modified, groups }
    }
}

impl Ledger {
    /// Writes a plan and its claims; their names are chosen by `Opened`. Cost: two PUTs.
    pub async fn write_plan(
        &self,
        plan: &Plan,
        claims: &PlanClaims<'_>,
    ) -> Result<(ContentHash, ContentHash), LedgerError> {
        let run = &plan.header.run;
        let hashed = |bytes: Bytes| (ContentHash::of(&bytes), bytes);
        // A million inputs take a second each.
        let ((plan_sha, plan_bytes), (claims_sha, claims_bytes)) = std::thread::scope(|scope| {
            let claims = scope.spawn(|| hashed(claims.to_bytes(run)));
            let plan = hashed(plan.to_bytes());
            (plan, claims.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        });
        futures::try_join!(
            self.write_content(self.paths.plan(run, &plan_sha), plan_bytes),
            self.write_content(self.paths.claims(run, &claims_sha), claims_bytes),
        )?;
        Ok((plan_sha, claims_sha))
    }

    /// Reads the plan that the log chose. Cost: one GET.
    pub async fn read_plan(&self, run: &RunState) -> Result<Plan, LedgerError> {
        let key = self.paths.plan(&run.run, &run.plan);
        let bytes = self.read_content(&key, &run.plan).await?;
        let broken = |detail: String| LedgerError::Broken { key: key.clone(), detail };
        check_version(&key, first_line(&bytes))?;
        let (header, tasks): (PlanHeader, Vec<Task>) = parse_lines(&bytes).map_err(broken)?;
        if tasks.iter().enumerate().any(|(i, t)| t.task.0 as usize != i) {
            return Err(broken("its tasks are not numbered densely".into()));
        }
        Ok(Plan { header, tasks })
    }

    /// Reads the claims that the log chose. Cost: one GET.
    pub async fn read_claims(&self, run: &RunState) -> Result<Claims, LedgerError> {
        let key = self.paths.claims(&run.run, &run.claims);
        let bytes = self.read_content(&key, &run.claims).await?;
        let broken = |detail: String| LedgerError::Broken { key: key.clone(), detail };
        let plain = zstd::decode_all(&*bytes).map_err(|e| broken(e.to_string()))?;
        check_version(&key, first_line(&plain))?;
        let (header, claims): (ClaimsHeader, Vec<Claim>) = parse_lines(&plain).map_err(broken)?;
        if header.claims != claims.len() as u64 {
            return Err(broken(format!("{} claims announced, {} found", header.claims, claims.len())));
        }
        Ok(Claims { claims })
    }

    /// Writes a seal; its name is chosen by `Sealed`. Cost: one PUT.
    pub async fn write_seal(&self, seal: &Seal) -> Result<ContentHash, LedgerError> {
        let bytes = Bytes::from(lines(&seal.header, &seal.outputs, 0));
        let sha = ContentHash::of(&bytes);
        self.write_content(self.paths.seal(&seal.header.run, &sha), bytes).await?;
        Ok(sha)
    }

    /// Reads a seal that the log chose. Cost: one GET.
    pub async fn read_seal(&self, run: &RunId, sha: &ContentHash) -> Result<Seal, LedgerError> {
        let key = self.paths.seal(run, sha);
        let bytes = self.read_content(&key, sha).await?;
        check_version(&key, first_line(&bytes))?;
        let (header, outputs): (SealHeader, Vec<SealedOutput>) =
            parse_lines(&bytes).map_err(|detail| LedgerError::Broken { key: key.clone(), detail })?;
        Ok(Seal { header, outputs })
    }

    /// Creates a mark. `None`: it is ours; else the one that was first. Cost: one PUT.
    pub async fn create_mark(&self, mark: &Mark) -> Result<Option<Mark>, LedgerError> {
        let key = self.paths.mark(&mark.run, mark.task, mark.generation);
        let body = Bytes::from(serde_json::to_vec(mark).expect("a mark is plain data"));
        loop {
            match self.store.put_if_absent(&key, body.clone(), &self.ids.write_id()).await? {
                PutOutcome::Created(_) => return Ok(None),
                PutOutcome::Exists { .. } => {
                    // There and gone: the run ended, and `gc` takes its marks away.
                    let Some(bytes) = self.read_if_there(&key).await? else { continue };
                    let theirs: Mark = parse_versioned(&key, &bytes)?;
                    return Ok((theirs.attempt != mark.attempt).then_some(theirs));
                }
            }
        }
    }

    /// Reads the winning marks of a run. Marks already known are not read again.
    ///
    /// Cost: one LIST per 1,000 marks, one GET per unknown mark.
    pub async fn read_marks(&self, run: &RunId, known: Marks) -> Result<Marks, LedgerError> {
        let prefix = self.paths.mark_prefix(run);
        let keys = self.list(ListRequest { prefix, ..ListRequest::default() }).await?;
        let mut highest: BTreeMap<TaskId, u32> = BTreeMap::new();
        for (task, generation) in keys.iter().filter_map(paths::parse_mark) {
            let entry = highest.entry(task).or_insert(generation);
            *entry = generation.max(*entry);
        }
        // What is known stays where it is: a run of many tasks has as many marks.
        let mut marks = known;
        marks.retain(|task, mark| highest.get(task) == Some(&mark.generation));
        highest.retain(|task, _| !marks.contains_key(task));
        let reads = highest.into_iter().map(|(task, generation)| async move {
            let key = self.paths.mark(run, task, generation);
            // Listed and gone: the run ended, and `gc` takes its marks away.
            let Some(bytes) = self.read_if_there(&key).await? else { return Ok(None) };
            Ok::<_, LedgerError>(Some((task, Box::new(parse_versioned::<Mark>(&key, &bytes)?))))
        });
        let mut read = stream::iter(reads).buffer_unordered(FAN_OUT);
        while let Some(mark) = read.try_next().await? {
            marks.extend(mark);
        }
        Ok(marks)
    }

    /// Makes marks durable, whoever created them, before a seal rests on them. Free elsewhere than on a disk.
    pub async fn sync_marks(&self, run: &RunId, marks: &Marks) -> Result<(), LedgerError> {
        let mut bucket = None;
        for (task, mark) in marks {
            // Marks of a bucket share a directory.
            if bucket.replace(task.bucket()) != Some(task.bucket()) {
                self.store.sync(&self.paths.mark(run, *task, mark.generation)).await?;
            }
        }
        Ok(())
    }

    /// States that a bucket of tasks is full. Cost: one PUT.
    pub async fn mark_full(&self, run: &RunId, stage: u32, bucket: u32) -> Result<(), LedgerError> {
        let key = self.paths.full(run, stage, bucket);
        self.store.put_if_absent(&key, Bytes::from_static(b"full\n"), &self.ids.write_id()).await?;
        Ok(())
    }

    /// States that publishing of an output begins. Cost: one PUT.
    pub async fn begin_publishing(&self, output: &SealedOutput, run: &RunId) -> Result<(), LedgerError> {
        let key = self.paths.publishing(run, output.task, output.generation, output.output);
        let body = Bytes::from(format!("{}\n", self.author));
        self.create(&key, body).await
    }

    /// Whether publishing of an output ever began, in this generation or before.
    ///
    /// A mark of a later generation repeats the outputs that were not lost: what began under the mark before counts for
    /// it too. Cost: one HEAD per generation.
    pub async fn publishing_began(
        &self,
        run: &RunId,
        task: TaskId,
        generation: u32,
        output: u32,
    ) -> Result<bool, LedgerError> {
        for generation in (0..=generation).rev() {
            let key = self.paths.publishing(run, task, generation, output);
            if self.store.head(&key).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Takes away what was written for a plan that can never be opened: nobody else may know its run id.
    pub async fn discard_plan(&self, run: &RunId, plan: &ContentHash, claims: &ContentHash) -> Result<(), LedgerError> {
        self.store.delete(&self.paths.plan(run, plan)).await?;
        Ok(self.store.delete(&self.paths.claims(run, claims)).await?)
    }

    /// Keeps the reason of a failed attempt: information.
    pub async fn write_failed(&self, run: &RunId, failed: &FailedAttempt) -> Result<(), LedgerError> {
        let key = self.paths.failed(run, failed.task, &failed.attempt);
        let body = Bytes::from(serde_json::to_vec_pretty(failed).expect("plain data"));
        self.store.put(&key, body).await?;
        Ok(())
    }

    /// Reads the reasons of failed attempts.
    pub async fn read_failed(&self, run: &RunId) -> Result<Vec<FailedAttempt>, LedgerError> {
        let prefix = self.paths.failed_prefix(run);
        let keys = self.list(ListRequest { prefix, ..ListRequest::default() }).await?;
        stream::iter(keys.into_iter().map(|key| async move { self.read_json(&key).await }))
            .buffered(FAN_OUT)
            .try_collect()
            .await
    }

    /// Shows who is executing: information, never a lock.
    pub async fn write_heartbeat(&self, run: &RunId, heartbeat: &Heartbeat) -> Result<(), LedgerError> {
        let body = Bytes::from(serde_json::to_vec(heartbeat).expect("plain data"));
        self.store.put(&self.paths.heartbeat(run), body).await?;
        Ok(())
    }

    /// Takes the heartbeat away: nobody is executing any more.
    pub async fn clear_heartbeat(&self, run: &RunId) -> Result<(), LedgerError> {
        Ok(self.store.delete(&self.paths.heartbeat(run)).await?)
    }

    /// Reads who was last seen executing.
    pub async fn read_heartbeat(&self, run: &RunId) -> Result<Option<Heartbeat>, LedgerError> {
        let bytes = self.read_if_there(&self.paths.heartbeat(run)).await?;
        // A heartbeat is information: one that cannot be read says nothing.
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps a run's report.
    pub async fn write_report(&self, run: &RunId, report: &impl Serialize) -> Result<(), LedgerError> {
        #[derive(Serialize)]
        struct Versioned<'a, T> {
            version: u32,
            #[serde(flatten)]
            report: &'a T,
        }
        let report = Versioned { version: FORMAT_VERSION, report };
        let body = Bytes::from(serde_json::to_vec_pretty(&report).expect("plain data"));
        self.store.put(&self.paths.report(run), body).await?;
        Ok(())
    }

    /// Reads a run's report, if there is one.
    pub async fn read_report(&self, run: &RunId) -> Result<Option<serde_json::Value>, LedgerError> {
        let bytes = self.read_if_there(&self.paths.report(run)).await?;
        let mut report: Option<serde_json::Value> = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
        // The version is the file's, not the report's.
        if let Some(report) = report.as_mut().and_then(|report| report.as_object_mut()) {
            report.shift_remove("version");
        }
        Ok(report)
    }

    /// The versions that committed runs consumed, as of `state`.
    ///
    /// Cost: one GET for the snapshot, one per run committed since.
    pub async fn consumed(&self, state: &LedgerState) -> Result<ConsumedSet, LedgerError> {
        let snapshot = self.newest_snapshot(Some(state.head())).await?;
        let (base, seq) = match snapshot {
            Some(s) => (s.consumed, s.seq),
            None => (Vec::new(), baler_model::LogSeq(0)),
        };
        let changed: Vec<&RunState> = state.runs().iter().filter(|r| r.last > seq && r.committed.is_some()).collect();
        let loaded: Vec<(&RunState, Claims)> = stream::iter(
            changed.into_iter().map(|run| async move { self.read_claims(run).await.map(|claims| (run, claims)) }),
        )
        .buffered(FAN_OUT)
        .try_collect()
        .await?;
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (run, claims) in loaded {
            let committed = claims
                .claims
                .into_iter()
                .filter(|c| c.groups.iter().all(|g| !run.released.contains(g)))
                .map(|c| c.input);
            match run.consumes() {
                true => added.extend(committed),
                false => removed.extend(committed),
            }
        }
        let mut sorted = base;
        sorted.extend(added);
        sorted.sort_unstable();
        sorted.dedup();
        if !removed.is_empty() {
            removed.sort_unstable();
            sorted.retain(|input| removed.binary_search(input).is_err());
        }
        Ok(ConsumedSet::from_sorted(sorted))
    }

    async fn write_content(&self, key: Key, bytes: Bytes) -> Result<(), LedgerError> {
        // Named by content: whoever was first wrote the same bytes.
        self.create(&key, bytes).await
    }

    /// Makes sure that a small object is there, durably, whoever created it: its author may have lost power since.
    async fn create(&self, key: &Key, bytes: Bytes) -> Result<(), LedgerError> {
        match self.store.put_if_absent(key, bytes, &self.ids.write_id()).await? {
            PutOutcome::Created(_) => Ok(()),
            PutOutcome::Exists { .. } => Ok(self.store.sync(key).await?),
        }
    }

    async fn read_content(&self, key: &Key, sha: &ContentHash) -> Result<Bytes, LedgerError> {
        let bytes = self.read(key).await?;
        match ContentHash::of(&bytes) == *sha {
            true => Ok(bytes),
            false => {
                Err(LedgerError::Broken { key: key.clone(), detail: "its bytes are not those it is named by".into() })
            }
        }
    }

    async fn read_json<T: DeserializeOwned>(&self, key: &Key) -> Result<T, LedgerError> {
        let bytes = self.read(key).await?;
        parse_versioned(key, &bytes)
    }
}

/// Reads JSON that carries `version`; fields that this build does not know are passed over.
pub(super) fn parse_versioned<T: DeserializeOwned>(key: &Key, bytes: &[u8]) -> Result<T, LedgerError> {
    check_version(key, bytes)?;
    serde_json::from_slice(bytes).map_err(|e| LedgerError::Broken { key: key.clone(), detail: e.to_string() })
}

/// Refuses a format that this build does not know, before anything but its `version` is looked at: a later format may
/// have other fields, and would else be called broken.
fn check_version(key: &Key, json: &[u8]) -> Result<(), LedgerError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let broken = |e: serde_json::Error| LedgerError::Broken { key: key.clone(), detail: e.to_string() };
    match serde_json::from_slice(json).map_err(broken)? {
        Versioned { version: 1..=FORMAT_VERSION } => Ok(()),
        Versioned { version } => Err(LedgerError::Version { key: key.clone(), version }),
    }
}

fn first_line(bytes: &[u8]) -> &[u8] {
    bytes.split(|&b| b == b'\n').next().unwrap_or_default()
}

/// Reads JSON lines from a reader, one value a line, with the line's number in errors.
pub(super) fn read_lines<T: DeserializeOwned>(reader: impl std::io::Read) -> impl Iterator<Item = Result<T, String>> {
    BufReader::new(reader).lines().enumerate().map(|(i, line)| {
        let line = line.map_err(|e| format!("line {}: {e}", i + 1))?;
        serde_json::from_str(&line).map_err(|e| format!("line {}: {e}", i + 1))
    })
}
