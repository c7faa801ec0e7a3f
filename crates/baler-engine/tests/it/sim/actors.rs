//! Who does what: processes of ours, operators, and people outside who write, overwrite, consume and let things expire.

use std::collections::BTreeSet;
use std::sync::Arc;

use baler_engine::gc::{Effect, gc};
use baler_engine::ledger::decide::Assume;
use baler_engine::plan::{Again, Ask, Missing};
use baler_engine::run::{DriveOptions, Foreign, Rival, Withdraw, abort};
use baler_engine::{Env, Flow, engine};
use baler_model::{Config, Key, RunId, Staged, StagedPlace};
use jiff::{SignedDuration, Timestamp};

use super::scenario::{DAYS, Shape};
use super::watch::{Makes, Stage};
use super::world::{Process, Told, World};

/// An operator takes a run back, before anything of it is known to be lost.
const WITHDRAW: Withdraw = Withdraw::Yes { assume: Assume::Nothing };

/// `retry --assume` counts for what is missing when the command begins. An operator who looked before that, while somebody
/// else staged the output anew, published it and a consumer took it away, says "lost" of an output that was delivered:
/// while this stands, nobody does anything between an operator's look and his command's (`run/said.rs`).
pub(crate) const OPERATORS_SPEAK_AT_ONCE: bool = true;

/// What somebody does.
type Act = fn(&mut World);

/// What a process is started for.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// `baler run`.
    Run,
    /// `baler backfill` over these instants, in seconds; the last says whether sources that are gone are let go of.
    Again(i64, i64, Missing),
    /// `baler gc`, for what is older than so many hours.
    Gc(i64),
    /// `baler abort`.
    Abort(String, Withdraw),
    /// `baler retry`.
    Retry(String, DriveOptions),
}

impl Job {
    pub(crate) async fn work(self, config: Arc<Config>, env: Env) -> Told {
        let mut told = Vec::new();
        for flow in &config.flows {
            let flow = Flow::open(&config, flow, &env).unwrap();
            match &self {
                Self::Run => match engine::run_flow(&flow).await {
                    Ok(reports) => told.extend(reports.into_iter().map(Ok)),
                    Err(error) => told.push(Err(error)),
                },
                Self::Again(from, to, missing) => {
                    let instant = |seconds: &i64| Timestamp::from_second(*seconds).unwrap();
                    let again = Again::Between(instant(from), instant(to));
                    match engine::run_asked(&flow, Ask { again, missing: *missing, ..Ask::default() }).await {
                        Ok(reports) => told.extend(reports.into_iter().map(Ok)),
                        Err(error) => told.push(Err(error)),
                    }
                }
                Self::Gc(hours) => {
                    let loaded = flow.ledger.load().await;
                    let Ok(state) = loaded else { continue };
                    if let Err(error) = gc(&flow, &state, SignedDuration::from_hours(*hours), Effect::Remove).await {
                        told.push(Err(error));
                    }
                }
                Self::Abort(run, withdraw) => {
                    let run = RunId::try_new(run.as_str()).unwrap();
                    let Ok(mut state) = flow.ledger.load().await else { continue };
                    if state.run(&run).is_some()
                        && let Err(error) = abort(&flow, &mut state, &run, *withdraw).await
                    {
                        told.push(Err(error));
                    }
                }
                Self::Retry(run, options) => {
                    let run = RunId::try_new(run.as_str()).unwrap();
                    let Ok(state) = flow.ledger.load().await else { continue };
                    if state.run(&run).is_some() {
                        told.push(engine::retry(&flow, &run, options.clone()).await);
                    }
                }
            }
        }
        told
    }
}

impl World {
    /// The first objects, and a manifest for each group where manifests are what starts runs.
    pub(crate) fn fill(&mut self) {
        for group in 0..self.scenario.groups {
            for number in 0..self.scenario.objects {
                self.upload(group, number);
            }
            self.ask_for(group);
        }
    }

    fn source_key(&self, group: u64, number: u64) -> String {
        if self.scenario.makes != Makes::Joined {
            let day = DAYS[usize::try_from(group).unwrap()];
            return format!("raw/{day}/{number}.{}", self.scenario.suffix());
        }
        format!("raw/{}/{number}.{}", char::from(b'a' + u8::try_from(group).unwrap()), self.scenario.suffix())
    }

    /// Somebody writes a source object with records of its own, over whatever is there.
    fn upload(&mut self, group: u64, number: u64) {
        if self.scenario.makes != Makes::Joined {
            let key = self.source_key(group, number);
            return self.upload_records(&key);
        }
        let mut body = String::new();
        if self.scenario.csv {
            body.push_str("id,fill\n");
        }
        for _ in 0..1 + self.random.below(3) {
            let fill = usize::try_from(self.random.below(70)).unwrap();
            body.push_str(&format!("r{:05}{}\n", self.next_record, "x".repeat(fill)));
            self.next_record += 1;
        }
        if self.chance(4) {
            body.pop();
        }
        let key = self.source_key(group, number);
        self.trace.step(&("upload", &key), || format!("outside: `{key}` is written: {body:?}"));
        self.put("lake", &key, body);
    }

    /// Somebody writes records of their own to a source, now and then one that is none.
    fn upload_records(&mut self, key: &str) {
        let is_csv = key.ends_with(".csv");
        let mut body = if is_csv { "id,part\n".to_owned() } else { String::new() };
        for _ in 0..self.random.below(4) {
            let (id, part) = (self.next_record, ["a", "b", "c"][usize::try_from(self.random.below(3)).unwrap()]);
            self.next_record += 1;
            match (self.chance(10), is_csv) {
                (true, true) => body.push_str(&format!("broken{id},a\n")),
                (true, false) => body.push_str(&format!("{{\"id\":\"broken{id}\"}}\n")),
                (false, true) => body.push_str(&format!("{id},{part}\n")),
                (false, false) => body.push_str(&format!("{{\"id\":{id},\"part\":\"{part}\"}}\n")),
            }
        }
        // Bytes that never were before: the watcher tells versions apart by them. Blank lines are no records.
        body.push_str(&"\n".repeat(usize::try_from(self.next_record % 64).unwrap() + 1));
        self.next_record += 1;
        self.trace.step(&("upload", key), || format!("outside: `{key}` is written: {body:?}"));
        self.put("lake", key, body);
    }

    /// Somebody asks for a stretch of days to be converted again.
    fn convert_again(&mut self) {
        let day = |n: u64| 1_769_731_200 + i64::try_from(n).unwrap() * 86_400;
        let (from, days) = (self.random.below(3), 1 + self.random.below(3));
        let missing = if self.chance(2) { Missing::Drop } else { Missing::GiveUp };
        self.watch.count("backfill");
        self.start(Job::Again(day(from), day(from + days), missing));
    }

    /// Somebody puts a manifest into the queue for all that lies in a group.
    fn ask_for(&mut self, group: u64) {
        if self.scenario.shape != Shape::Manifests {
            return;
        }
        let name = char::from(b'a' + u8::try_from(group).unwrap());
        let prefix = format!("raw/{name}");
        let count = self.watch.under("lake", &format!("{prefix}/")).len();
        let number = self.manifests;
        self.manifests += 1;
        let target = format!("daily/{name}-{number}.{}", self.scenario.suffix());
        let again = self.chance(3);
        let body = match again {
            true => format!("{{\"source\": \"{prefix}\", \"target\": \"{target}\"}}"),
            false => format!("{{\"source\": \"{prefix}\", \"target\": \"{target}\", \"fileCount\": {count}}}"),
        };
        let key = format!("watch/queue/{name}{}.json", number % 3);
        self.trace.step(&("manifest", &key), || format!("outside: manifest `{key}`: {body}"));
        self.put("lake", &key, body);
    }

    /// Somebody does something now and then: one of what this world has.
    pub(crate) fn act(&mut self) {
        let s = &self.scenario;
        let asleep = self.processes.iter().flatten().any(|process| process.sleeps);
        let withdraws = |process: &Process| matches!(process.job, Job::Abort(_, Withdraw::Yes { .. }));
        let tempts = self.processes.iter().flatten().any(withdraws);
        let chances: [(bool, &[Act]); 14] = [
            (s.makes == Makes::Partitions && self.alive().len() < s.processes, &[Self::convert_again as Act]),
            (s.consumes && tempts, &[Self::consume as Act; 8]),
            (self.alive().len() < s.processes, &[Self::run_one, Self::run_one]),
            (asleep, &[Self::wake_one, Self::wake_one]),
            (s.jumps, &[Self::hours_pass]),
            (s.uploads, &[Self::upload_late]),
            (s.overwrites, &[Self::overwrite]),
            (s.removes, &[Self::remove]),
            (s.consumes, &[Self::consume, Self::consume]),
            (s.expires, &[Self::expire, Self::expire]),
            (s.foreign, &[Self::trespass]),
            (s.collects || s.interrupts || s.storms, &[Self::collect, Self::interrupt, Self::storm]),
            (s.aborts || s.withdraws, &[Self::abort_one, Self::abort_one]),
            (s.retries, &[Self::answer_one]),
        ];
        let mut acts: Vec<Act> =
            chances.into_iter().filter(|(is_on, _)| *is_on).flat_map(|(_, acts)| acts).copied().collect();
        if let Some(act) = self.pick(&mut acts) {
            act(self);
        }
    }

    fn run_one(&mut self) {
        self.start(Job::Run);
    }

    fn wake_one(&mut self) {
        let mut asleep: Vec<usize> = self.alive();
        asleep.retain(|i| self.processes[*i].as_ref().is_some_and(|p| p.sleeps));
        if let Some(index) = self.pick(&mut asleep) {
            self.wake(index);
        }
    }

    fn hours_pass(&mut self) {
        let hours = 1 + self.random.below(20);
        let now = self.gate.now() + i64::try_from(hours).unwrap() * 3_600_000;
        self.watch.count("hours pass");
        self.trace.step(&("hours", hours), || format!("{hours} hours pass"));
        self.gate.advance_to(now);
    }

    fn upload_late(&mut self) {
        let (group, number) = (self.random.below(self.scenario.groups), self.random.below(6));
        let key = self.source_key(group, number);
        let is_there = self.watch.under("lake", &key).iter().any(|(at, _)| *at == key);
        if !is_there || self.scenario.overwrites {
            self.watch.count(if is_there { "source overwritten" } else { "late object" });
            self.upload(group, number);
            self.ask_for(group);
        }
    }

    fn overwrite(&mut self) {
        let mut there = self.watch.under("lake", "raw/");
        if let Some((key, _)) = self.pick(&mut there) {
            self.watch.count("source overwritten");
            if self.scenario.makes != Makes::Joined {
                return self.upload_records(&key);
            }
            let (group, number) = (u64::from(key.as_bytes()[4] - b'a'), u64::from(key.as_bytes()[6] - b'0'));
            self.upload(group, number);
        }
    }

    fn remove(&mut self) {
        let mut there = self.watch.under("lake", "raw/");
        if let Some((key, _)) = self.pick(&mut there) {
            self.watch.count("source taken away");
            self.trace.step(&("remove", &key), || format!("outside: `{key}` is taken away"));
            self.take("lake", &key);
        }
    }

    fn expire(&mut self) {
        let mut uploads: Vec<(&str, String)> = Vec::new();
        uploads.extend(self.lake.upload_ids().into_iter().map(|id| ("lake", id)));
        uploads.extend(self.other.upload_ids().into_iter().map(|id| ("other", id)));
        if let Some((store, id)) = self.pick(&mut uploads) {
            self.watch.count("upload expired");
            self.trace.step(&("expire", &id), || format!("outside: upload {id} of {store} expires"));
            self.store(store).expire_upload(&id);
        }
    }

    fn collect(&mut self) {
        if self.scenario.collects {
            let hours = if self.chance(2) { 0 } else { 24 };
            self.watch.count("gc");
            self.start(Job::Gc(hours));
        }
    }

    fn interrupt(&mut self) {
        let mut alive = self.alive();
        if self.scenario.interrupts
            && let Some(index) = self.pick(&mut alive)
        {
            self.trace.step(&("interrupt", index), || format!("outside: p{index} is interrupted"));
            self.processes[index].as_ref().unwrap().cancel.cancel();
        }
    }

    fn storm(&mut self) {
        if self.scenario.storms {
            self.storm_until = self.trace.steps + 20;
            self.trace.step(&"storm", || "outside: a storm of 503 begins".into());
        }
    }

    fn abort_one(&mut self) {
        if let Some(run) = self.some_run(|stage| stage.is_open() && stage != Stage::Committed) {
            let withdraw = if self.scenario.withdraws { WITHDRAW } else { Withdraw::No };
            self.start(Job::Abort(run, withdraw));
        }
    }

    fn answer_one(&mut self) {
        if let Some(run) = self.some_run(Stage::is_open) {
            self.answer(&run);
        }
    }

    /// A sleeper wakes.
    pub(crate) fn wake(&mut self, index: usize) {
        self.watch.count("wakes late");
        self.trace.step(&("wake", index), || format!("p{index} is awake again"));
        self.processes[index].as_mut().unwrap().sleeps = false;
    }

    fn some_run(&mut self, stage: impl Fn(Stage) -> bool) -> Option<String> {
        let runs = self.watch.runs.iter().filter(|(_, run)| stage(run.stage));
        let mut runs: Vec<String> = runs.map(|(id, _)| id.clone()).collect();
        self.pick(&mut runs)
    }

    /// A consumer takes an output away.
    fn consume(&mut self) {
        let mut visible = self.watch.visible();
        if let Some((key, _)) = self.pick(&mut visible) {
            let store = self.scenario.target;
            self.watch.count("consumed");
            self.trace.step(&("consume", &key), || format!("outside: a consumer takes `{key}` away"));
            self.take(store, &key);
        }
    }

    /// Somebody else writes at a key that a run is about to write, or will.
    fn trespass(&mut self) {
        let mut keys = self.watch.wanted_keys();
        let suffix = self.scenario.suffix();
        keys.push((self.scenario.target.to_owned(), format!("daily/a.{suffix}")));
        keys.push((self.scenario.target.to_owned(), format!("daily/a-0.{suffix}")));
        if self.scenario.makes == Makes::Partitions {
            // Where nobody has written yet.
            let out =
                self.scenario.text.rsplit_once("/x.").or(self.scenario.text.rsplit_once("}.")).unwrap_or_default().1;
            let out = out.split('"').next().unwrap_or_default();
            keys = ["daily/m/2026-01", "daily/d/2026-02-01", "daily/part=a/x", "daily/part=b/x"]
                .map(|key| (self.scenario.target.to_owned(), format!("{key}.{out}")))
                .into();
        }
        let Some((store, key)) = self.pick(&mut keys) else { return };
        let there = self.watch.under(&store, &key);
        // An output of ours that somebody destroys is lost, and nobody could help it.
        if key.starts_with("mid/") || there.iter().any(|(at, object)| *at == key && object.stamp.is_some()) {
            return;
        }
        self.watch.count("foreign object");
        let number = self.random.below(1000);
        self.trace.step(&("foreign", &key), || format!("outside: somebody else writes `{key}`"));
        self.put(&store, &key, format!("f{number}\n"));
    }

    /// Outputs of a run that are lost, as an operator can find out.
    pub(crate) fn lost(&self, run: &str) -> Vec<(Key, bool)> {
        let (lake, other) = (self.lake.upload_ids(), self.other.upload_ids());
        let is_staged = |staged: &Staged| match &staged.place {
            StagedPlace::Multipart { upload_id, .. } => lake.contains(upload_id) || other.contains(upload_id),
            StagedPlace::File { .. } => false,
        };
        self.watch.lost_outputs(run, is_staged)
    }

    /// An operator looks, and says the truth about one kind of what is missing; or joins in, or allows replacing.
    pub(crate) fn answer(&mut self, run: &str) -> usize {
        let lost = self.lost(run);
        let published: BTreeSet<Key> = lost.iter().filter(|(_, ever)| *ever).map(|(key, _)| key.clone()).collect();
        let unpublished: BTreeSet<Key> = lost.iter().filter(|(_, ever)| !*ever).map(|(key, _)| key.clone()).collect();
        let mut options = DriveOptions { rival: Rival::Join, ..DriveOptions::default() };
        if !published.is_empty() && (unpublished.is_empty() || self.chance(2)) {
            self.watch.count("said: published");
            options.assume = Assume::Published;
            options.assume_of = published;
        } else if !unpublished.is_empty() {
            self.watch.count("said: lost");
            options.assume = Assume::Lost;
            options.assume_of = unpublished;
        }
        if !self.watch.in_the_way(run).is_empty() && self.chance(2) {
            self.watch.count("said: overwrite");
            self.watch.replacing.insert(run.to_owned());
            options.foreign = Foreign::Replace;
        }
        let speaks = OPERATORS_SPEAK_AT_ONCE && options.assume != Assume::Nothing;
        let index = self.start(Job::Retry(run.to_owned(), options));
        self.speaks = speaks.then_some(index);
        index
    }

    /// An operator settles a run that waits for one: what is in the way is moved away, or replaced, or the run taken back.
    pub(crate) fn settle(&mut self, run: &str) -> usize {
        let foreign = self.watch.in_the_way(run);
        if foreign.is_empty() {
            return self.answer(run);
        }
        match self.random.below(3) {
            0 => {
                for (store, key, _) in foreign.into_iter().filter(|(_, _, is_there)| *is_there) {
                    self.trace.step(&("move", &key), || format!("an operator moves `{key}` away"));
                    self.take(&store, &key);
                }
                self.answer(run)
            }
            1 => self.start(Job::Abort(run.to_owned(), WITHDRAW)),
            _ => self.answer(run),
        }
    }
}
