//! What `convert` is held to: every object that appears holds the records of its planned inputs and no others, a replaced
//! one is the one that the plan knew, and in the end each partition holds the records of its sources as they lie there.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;

use baler_model::ledger::{ConvertTask, PlannedOutput, SealedOutput, Task};
use baler_model::{InputVersion, Stamp};
use baler_store::MemoryObject;

use super::{At, Checked, Fate, Makes, Stage, Watch, Watched, attempt_of};

/// The column that tells partitions apart, and what a key says before its value.
const PART: &str = "part=";

/// What the key of a manifest of numbered objects ends with.
const MANIFEST: &str = ".manifest";

/// A record: its number, and the value of its column `part`.
type Record = (u64, String);

/// What a partition, or all partitions under a prefix, were last built from.
#[derive(Debug)]
pub(super) struct Build {
    run: String,
    /// The versions of its inputs, by key.
    inputs: BTreeMap<String, String>,
    /// The objects: key and attempt.
    objects: Vec<(String, String)>,
}

/// What is left of partitions when the honest runner is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// Those of which a source is gone stay as they were.
    Given,
    /// They were built again without it.
    Nothing,
}

/// The text of an object, decompressed where its key says so.
fn text(key: &str, body: &[u8]) -> String {
    let mut text = String::new();
    match key.ends_with(".gz") {
        true => drop(flate2::read::MultiGzDecoder::new(body).read_to_string(&mut text).expect("an output is whole")),
        false => text.push_str(std::str::from_utf8(body).expect("text")),
    }
    text
}

/// The records of a source or an output, and how many lines of it are none.
pub(super) fn records(key: &str, body: &[u8]) -> (Vec<Record>, usize) {
    let text = text(key, body);
    let (mut records, mut broken) = (Vec::new(), 0);
    let is_csv = key.contains(".csv");
    for line in text.lines().skip(usize::from(is_csv)).filter(|line| !line.is_empty()) {
        let record = match is_csv {
            true => {
                let (id, part) = line.split_once(',').unwrap_or((line, ""));
                id.parse().ok().map(|id| (id, part.to_owned()))
            }
            false => serde_json::from_str::<serde_json::Value>(line)
                .ok()
                .and_then(|value| Some((value["id"].as_u64()?, value["part"].as_str().unwrap_or_default().to_owned()))),
        };
        match record {
            Some(record) => records.push(record),
            None => broken += 1,
        }
    }
    (records, broken)
}

/// The numbers of the records of an output.
fn ids(key: &str, body: &[u8]) -> Vec<u64> {
    records(key, body).0.into_iter().map(|(id, _)| id).collect()
}

/// The partition of a column that a key belongs to.
fn part_of(key: &str) -> Option<&str> {
    key.split('/').find_map(|piece| piece.strip_prefix(PART))
}

fn at(input: &InputVersion) -> At {
    ("lake".to_owned(), input.key.to_string(), input.etag.to_string())
}

impl Watch {
    /// Holds an output of `convert` that appeared against the records of its inputs; yields their numbers.
    pub(super) fn converted(
        &self,
        run: &Watched,
        line: &SealedOutput,
        after: &MemoryObject,
    ) -> Result<Vec<u64>, String> {
        let key = line.staged.key.as_str();
        let task = &run.tasks[line.task.0 as usize];
        let Some(convert) = &task.convert else { return Err(format!("`{key}` is of no conversion")) };
        if convert.quarantine == line.staged.key {
            let mut broken = 0;
            for input in &task.inputs {
                broken += self.broken(input, key)?;
            }
            let found = text(key, &after.body).lines().count();
            ensure!(
                found == broken,
                "INV-ACCT-1: `{key}` holds {found} records that were set aside, {broken} are broken"
            );
            return Ok(Vec::new());
        }
        let Some(output) = planned(convert, key) else { return Err(format!("`{key}` is of no planned output")) };
        let wanted = self.wanted(task, output, key)?;
        let Some(numbered) = &output.numbered else {
            let found = ids(key, &after.body);
            ensure!(found == wanted, "INV-ACCT-1: `{key}` holds {found:?}, its sources {wanted:?}");
            return Ok(found);
        };
        // Its objects lie side by side: those before this one tell where it begins.
        let beside = run.seal.iter().filter(|other| other.task == line.task);
        let mut beside: Vec<&SealedOutput> =
            beside.filter(|other| other.staged.key.as_str().starts_with(&numbered.before)).collect();
        beside.sort_by_key(|other| &other.staged.key);
        if output.key == line.staged.key && numbered.manifest {
            return self.names(key, &after.body, &beside, &wanted).map(|()| Vec::new());
        }
        let found = ids(key, &after.body);
        let is_part = found.is_empty() && wanted.is_empty() || wanted.windows(found.len().max(1)).any(|w| w == found);
        ensure!(is_part, "INV-ACCT-1: `{key}` holds {found:?}, no part of {wanted:?}");
        Ok(found)
    }

    /// A manifest names the objects of its build, in order, when all of them are there; together they hold what it must.
    fn names(&self, key: &str, manifest: &[u8], objects: &[&SealedOutput], wanted: &[u64]) -> Checked {
        let manifest: serde_json::Value = serde_json::from_slice(manifest).map_err(|e| format!("`{key}`: {e}"))?;
        let entries = manifest["entries"].as_array().into_iter().flatten();
        let named: Vec<(&str, Option<u64>)> = entries
            .map(|entry| (entry["url"].as_str().unwrap_or_default(), entry["meta"]["content_length"].as_u64()))
            .collect();
        ensure!(named.len() == objects.len(), "`{key}` names {named:?}, its build made {} objects", objects.len());
        let mut found = Vec::new();
        for ((url, bytes), object) in named.into_iter().zip(objects) {
            let staged = &object.staged;
            ensure!(url.ends_with(&format!("/{}", staged.key)), "`{key}` names `{url}`, not `{}`", staged.key);
            let there = self.object(&self.target, staged.key.as_str());
            let Some(there) = there.filter(|there| there.stamp.as_ref() == Some(&staged.stamp)) else {
                return Err(format!("INV-VISIBLE-1: `{key}` names `{url}`, which has not appeared"));
            };
            ensure!(bytes == Some(there.body.len() as u64), "`{key}` says {bytes:?} bytes of `{url}`");
            found.extend(ids(staged.key.as_str(), &there.body));
        }
        ensure!(found == wanted, "INV-ACCT-1: what `{key}` names holds {found:?}, its sources {wanted:?}");
        Ok(())
    }

    fn broken(&self, input: &InputVersion, of: &str) -> Result<usize, String> {
        let version = self.history.get(&at(input));
        let Some(version) = version else {
            return Err(format!("`{of}` is made of a version that never was: {input:?}"));
        };
        Ok(records(input.key.as_str(), &version.body).1)
    }

    /// The records that an output must hold, in their order.
    fn wanted(&self, task: &Task, output: &PlannedOutput, key: &str) -> Result<Vec<u64>, String> {
        let mut wanted = Vec::new();
        for (_, input) in (0u32..).zip(&task.inputs).filter(|(number, _)| output.takes(*number)) {
            let Some(version) = self.history.get(&at(input)) else {
                return Err(format!("`{key}` is made of a version that never was: `{}`", input.key));
            };
            let (all, _) = records(input.key.as_str(), &version.body);
            let part = output.split.as_ref().and_then(|_| part_of(key));
            wanted.extend(all.into_iter().filter(|(_, of)| part.is_none_or(|part| part == of)).map(|(id, _)| id));
        }
        Ok(wanted)
    }

    /// A replaced output is ours in the version that the plan knew; or one of somebody else that may be replaced.
    pub(super) fn replaced(&self, key: &str, id: &str, line: &SealedOutput, before: &MemoryObject) -> Checked {
        let planned = line.replaces.as_ref().is_some_and(|old| *old.etag == *before.etag);
        if before.stamp.is_some() {
            ensure!(planned, "INV-OWN-1: `{key}` was overwritten in a version that its run did not plan");
            let known = self.builds.values().flat_map(|build| &build.objects).any(|(known, _)| known == key);
            ensure!(known, "INV-OWN-1: `{key}` was overwritten, and no committed run made it");
            return Ok(());
        }
        let may = planned && self.overwrite || self.replacing.contains(id);
        ensure!(may, "INV-OWN-1: `{key}`, which is not ours, was overwritten");
        Ok(())
    }

    /// What a seal of a conversion covers: every output of its tasks but those that have no records, and the account.
    pub(super) fn covers(&self, task: &Task, lines: &[&SealedOutput]) -> Checked {
        let Some(convert) = &task.convert else { return Ok(()) };
        for output in convert.outputs.iter().filter(|output| output.exact_key().is_some() && output.span.is_none()) {
            let is_there = lines.iter().any(|line| line.staged.key == output.key);
            ensure!(is_there, "INV-ACCT-1: `{}` is not sealed", output.key);
        }
        let mut broken = 0;
        for input in &task.inputs {
            broken += self.broken(input, task.key.as_str())?;
        }
        let aside = lines.iter().any(|line| line.staged.key == convert.quarantine);
        ensure!(aside == (broken > 0), "INV-ACCT-1: {broken} broken records of `{}`, set aside: {aside}", task.key);
        for line in lines {
            let is_planned =
                line.staged.key == convert.quarantine || planned(convert, line.staged.key.as_str()).is_some();
            ensure!(is_planned, "INV-ACCT-1: `{}` is sealed and was not planned", line.staged.key);
        }
        Ok(())
    }

    /// Whether a source of a sealed run is not there any more as it was planned.
    pub(crate) fn cannot_be_made(&self, id: &str) -> bool {
        let run = &self.runs[id];
        let mut inputs =
            run.tasks.iter().filter(|task| !run.released.contains(&task.group)).flat_map(|task| &task.inputs);
        run.stage == Stage::Sealed
            && inputs
                .any(|input| self.object("lake", input.key.as_str()).is_none_or(|there| *there.etag != *input.etag))
    }

    /// Whether such a run has replaced an output, or a consumer took one, so that it cannot be taken back either, and has not
    /// published another.
    pub(crate) fn is_half_published(&self, id: &str) -> bool {
        let run = &self.runs[id];
        let instance =
            |line: &SealedOutput| self.instances.get(&(line.staged.key.to_string(), attempt_of(&line.staged)));
        let is_final =
            |line: &SealedOutput| instance(line).is_some_and(|i| line.replaces.is_some() || i.fate == Fate::Taken);
        self.cannot_be_made(id) && run.seal.iter().any(is_final) && run.seal.iter().any(|line| instance(line).is_none())
    }

    /// Whether an object is one of an earlier build, which the manifest that is there does not name.
    pub(super) fn is_superseded(&self, key: &str, stamp: &Stamp) -> bool {
        let Some(run) = self.runs.get(stamp.run.as_str()) else { return false };
        let mut lines = run.seal.iter().filter(|line| line.staged.key.as_str() == key && line.staged.stamp == *stamp);
        let Some(convert) = lines.next().and_then(|line| run.tasks[line.task.0 as usize].convert.as_ref()) else {
            return false;
        };
        let Some(output) = planned(convert, key).filter(|output| output.key.as_str() != key) else { return false };
        let build = self.builds.get(output.key.as_str());
        let is_done = matches!(run.stage, Stage::Committed | Stage::Disposed);
        is_done
            && output.numbered.as_ref().is_some_and(|numbered| numbered.manifest)
            && build.is_some_and(|build| build.run != stamp.run.as_str())
    }

    /// Objects of ours in the place of partitions, which no build that counts made.
    pub(crate) fn left_over(&self) -> Vec<String> {
        let known: BTreeSet<&(String, String)> = self.builds.values().flat_map(|build| &build.objects).collect();
        self.visible().into_iter().filter(|object| !known.contains(object)).map(|(key, _)| key).collect()
    }

    /// Takes what a committed run built into the books.
    pub(super) fn built(&mut self, id: &str) {
        if self.makes != Makes::Partitions {
            return;
        }
        let run = &self.runs[id];
        let mut builds = Vec::new();
        for task in run.tasks.iter().filter(|task| !run.released.contains(&task.group)) {
            let Some(convert) = &task.convert else { continue };
            for output in &convert.outputs {
                let inputs = (0u32..).zip(&task.inputs).filter(|(number, _)| output.takes(*number));
                let inputs = inputs.map(|(_, input)| (input.key.to_string(), input.etag.to_string())).collect();
                let lines = run.seal.iter().filter(|line| line.task == task.task);
                let of = |line: &&SealedOutput| {
                    planned(convert, line.staged.key.as_str()).is_some_and(|o| o.key == output.key)
                };
                let objects = lines.filter(of).map(|line| (line.staged.key.to_string(), attempt_of(&line.staged)));
                builds.push((output.key.to_string(), Build { run: id.to_owned(), inputs, objects: objects.collect() }));
            }
        }
        for (key, build) in builds {
            let again = self.builds.insert(key, build).is_some();
            self.count(if again { "built anew" } else { "built" });
        }
    }

    /// Holds every partition against its sources as they lie there now.
    pub(crate) fn reckon_partitions(&self, left: Left) -> Checked {
        let now: BTreeMap<String, String> =
            self.under("lake", "raw/").into_iter().map(|(key, object)| (key, object.etag)).collect();
        // What shares a month is built together: where one source of it is gone, none of it is built.
        let month = |key: &str| key["raw/".len()..].chars().take(7).collect::<String>();
        let gone: BTreeSet<String> = self
            .builds
            .values()
            .flat_map(|build| build.inputs.keys())
            .filter(|key| !now.contains_key(*key))
            .map(|key| month(key))
            .collect();
        let by_column = self.builds.keys().any(|key| key.ends_with(PART));
        let is_excused = |month: &str| left == Left::Given && (gone.contains(month) || by_column && !gone.is_empty());
        for (key, build) in &self.builds {
            let objects = build.objects.iter().map(|(key, attempt)| {
                let there = self.object(&self.target, key);
                let ours = there
                    .filter(|there| there.stamp.as_ref().is_some_and(|stamp| stamp.attempt.to_string() == *attempt));
                ours.map(|there| (key.as_str(), there)).ok_or_else(|| {
                    format!("loss: `{key}` is not what run `{}` made of it: {:?}", build.run, there.map(|o| &o.stamp))
                })
            });
            let objects = objects.collect::<Result<Vec<_>, String>>()?;
            // The multiset of what is there, and of what its sources held when it was built.
            let mut found: Vec<u64> = Vec::new();
            for (key, object) in &objects {
                if !key.ends_with(MANIFEST) {
                    found.extend(ids(key, &object.body));
                }
            }
            let mut wanted: Vec<u64> = Vec::new();
            for (source, etag) in &build.inputs {
                let version = &self.history[&("lake".to_owned(), source.clone(), etag.clone())];
                wanted.extend(records(source, &version.body).0.into_iter().map(|(id, _)| id));
            }
            found.sort_unstable();
            wanted.sort_unstable();
            ensure!(found == wanted, "loss: partition `{key}` holds {found:?}, its sources held {wanted:?}");
            // Its sources are those that lie there.
            let months: BTreeSet<String> = build.inputs.keys().map(|key| month(key)).collect();
            if months.iter().any(|month| is_excused(month)) {
                continue;
            }
            let feeds = |source: &&String| key.ends_with(PART) || key.contains(&partition(key, source));
            let fed: BTreeMap<String, String> =
                now.iter().filter(|(source, _)| feeds(source)).map(|(k, v)| (k.clone(), v.clone())).collect();
            // Of a partition without any source nothing is left to build it of.
            let is_orphan = fed.is_empty();
            ensure!(
                is_orphan || fed == build.inputs,
                "loss: partition `{key}` was built of {:?}, its sources are {fed:?}",
                build.inputs
            );
        }
        for source in now.keys().filter(|source| !is_excused(&month(source))) {
            let used = self.builds.values().any(|build| build.inputs.contains_key(source));
            ensure!(used, "loss: `{source}` is in no partition of {:?}", self.builds);
        }
        Ok(())
    }
}

/// What stands in the key of the partition that a source belongs to: its month, or its day.
fn partition(key: &str, source: &str) -> String {
    let day = &source["raw/".len().."raw/2026-01-01".len()];
    let length = match key.bytes().filter(|byte| *byte == b'-').count() {
        1 => "2026-01".len(),
        _ => day.len(),
    };
    day[..length].to_owned()
}

/// The planned output that a key is of.
fn planned<'a>(convert: &'a ConvertTask, key: &str) -> Option<&'a PlannedOutput> {
    convert.outputs.iter().find(|output| match (&output.split, &output.numbered) {
        (Some(split), _) => split.may_be(key),
        (None, Some(numbered)) => output.key.as_str() == key || key.starts_with(&numbered.before),
        (None, None) => output.key.as_str() == key,
    })
}
