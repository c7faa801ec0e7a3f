//! One seed's world: stores, processes, people outside, and the loop that lets one of them do one thing at a time.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::Rc;
use std::sync::Arc;

use baler_engine::ledger::LedgerError;
use baler_engine::report::{RunReport, Status};
use baler_engine::{EngineError, Env, Identity, Limits, Liveness, Processes, Silent, Stores};
use baler_model::ledger::Heartbeat;
use baler_model::{Config, StoreId};
use baler_store::{MemoryOptions, MemoryStore, Store, StoreError};
use baler_testkit::fault::{Method, Verdict};
use baler_testkit::{FaultStore, SeededIds, SplitMix};
use bytes::Bytes;
use futures::FutureExt as _;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::actors::Job;
use super::scenario::Scenario;
use super::scheduler::{Gate, Task, Wish};
use super::watch::Watch;

/// Seeds with this bit are of worlds that convert records.
pub(crate) const CONVERSIONS: u64 = 1 << 40;

/// What driving came to, report by report.
pub(crate) type Told = Vec<Result<RunReport, EngineError>>;

/// One process.
pub(crate) struct Process {
    pub(crate) task: Task<Told>,
    pub(crate) job: Job,
    pub(crate) cancel: CancellationToken,
    /// It sleeps until it is woken.
    pub(crate) sleeps: bool,
    has_begun: bool,
}

/// Which processes live, for those who look at heartbeats.
#[derive(Debug, Default, Clone)]
struct Living(Arc<Mutex<std::collections::BTreeSet<String>>>);

/// What one machine sees of the others' processes.
#[derive(Debug)]
struct Seen {
    host: String,
    living: Living,
}

impl Processes for Seen {
    fn liveness(&self, beat: &Heartbeat) -> Liveness {
        if beat.host != self.host {
            return Liveness::Elsewhere;
        }
        if self.living.0.lock().contains(&beat.process) { Liveness::Alive } else { Liveness::Dead }
    }
}

#[derive(Debug)]
struct Opened(HashMap<String, Arc<dyn Store>>);

impl Stores for Opened {
    fn open(&self, id: &StoreId) -> Result<Arc<dyn Store>, StoreError> {
        Ok(Arc::clone(&self.0[&id.to_string()]))
    }
}

/// What happened, as a hash of all steps, and in words where somebody reads along.
pub(crate) struct Trace {
    hash: DefaultHasher,
    pub(crate) words: Option<Vec<String>>,
    pub(crate) steps: u64,
}

impl Trace {
    pub(crate) fn step(&mut self, what: &impl Hash, words: impl FnOnce() -> String) {
        what.hash(&mut self.hash);
        self.steps += 1;
        if let Some(all) = &mut self.words {
            all.push(format!("{:>5}  {}", self.steps, words()));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.hash.finish()
    }
}

pub(crate) struct World {
    pub(crate) random: SplitMix,
    pub(crate) scenario: Scenario,
    pub(crate) config: Arc<Config>,
    pub(crate) gate: Gate,
    pub(crate) lake: MemoryStore,
    pub(crate) other: MemoryStore,
    pub(crate) watch: Watch,
    pub(crate) trace: Trace,
    pub(crate) processes: Vec<Option<Process>>,
    pub(crate) next_record: u64,
    pub(crate) manifests: u64,
    pub(crate) storm_until: u64,
    /// An operator's command that has not looked yet at what it speaks of: nobody else goes on before it has.
    pub(crate) speaks: Option<usize>,
    living: Living,
    last: usize,
}

thread_local! {
    /// Proofs of the two stores, as every world's ledger remembers them.
    static PROOFS: Rc<Vec<(String, Bytes)>> = Rc::new(proofs());
}

/// Proves both stores once, ten days before any world begins.
fn proofs() -> Vec<(String, Bytes)> {
    let gate = Gate::default();
    gate.set_open(true);
    let early = gate.clock(0, -10 * 24 * 3_600_000);
    let lake = MemoryStore::new("lake", MemoryOptions::default(), early, Arc::new(SeededIds::new(0)));
    let mut random = SplitMix::new(0);
    let mut scenario = Scenario::draw(&mut random);
    scenario.text = "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\nother = \"s3://other\"\n\
                     [flows.daily]\ndo = \"combine\"\nfrom = \"lake:raw/{g}/{n:int}.jsonl\"\n\
                     to = \"other:daily/{g}.jsonl\"\noverwrite = true\n"
        .into();
    let mut world = World::over(random, scenario, gate, lake);
    let index = world.start(Job::Run);
    world.processes[index].as_mut().unwrap().task.run().expect("nothing waits");
    let request = baler_store::ListRequest { prefix: "_baler/_probe/".into(), ..Default::default() };
    let keys = world.lake.list(&request).now_or_never().unwrap().unwrap().objects;
    let body = |key: &str| (key.to_owned(), world.lake.peek(key).unwrap());
    keys.iter().filter(|o| o.key.as_str().ends_with(".json")).map(|o| body(o.key.as_str())).collect()
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = SplitMix::new(seed);
        let scenario = match seed & CONVERSIONS {
            0 => Scenario::draw(&mut random),
            _ => Scenario::draw_conversion(&mut random),
        };
        let gate = Gate::default();
        let options =
            MemoryOptions { parts: scenario.parts, page: scenario.page, chunk: 64, ..MemoryOptions::default() };
        let ids = Arc::new(SeededIds::new(random.next_u64()));
        let lake = MemoryStore::new("lake", options, gate.clock(usize::MAX, 0), ids);
        let mut world = Self::over(random, scenario, gate, lake);
        for (key, body) in PROOFS.with(Rc::clone).iter() {
            world.put("lake", key, body.clone());
        }
        world.fill();
        world
    }

    fn over(random: SplitMix, scenario: Scenario, gate: Gate, lake: MemoryStore) -> Self {
        let options =
            MemoryOptions { parts: scenario.parts, page: scenario.page, copy_domain: None, ..MemoryOptions::default() };
        let other = lake.sibling("other", options);
        lake.take_changes();
        let watch = Watch::new(scenario.target, scenario.overwrite, scenario.makes);
        Self {
            random,
            config: scenario.config(),
            scenario,
            gate,
            lake,
            other,
            watch,
            trace: Trace { hash: DefaultHasher::new(), words: None, steps: 0 },
            processes: Vec::new(),
            next_record: 0,
            manifests: 0,
            storm_until: 0,
            speaks: None,
            living: Living::default(),
            last: 0,
        }
    }

    pub(crate) fn store(&self, name: &str) -> &MemoryStore {
        if name == "lake" { &self.lake } else { &self.other }
    }

    /// One in so many; never at 0.
    pub(crate) fn chance(&mut self, one_in: u64) -> bool {
        one_in > 0 && self.random.below(one_in) == 0
    }

    pub(crate) fn pick<T>(&mut self, of: &mut Vec<T>) -> Option<T> {
        if of.is_empty() {
            return None;
        }
        let at = usize::try_from(self.random.below(of.len() as u64)).unwrap();
        Some(of.swap_remove(at))
    }

    /// Somebody outside writes an object.
    pub(crate) fn put(&mut self, store: &str, key: &str, body: impl Into<Bytes>) {
        let key = baler_testkit::fixtures::key(key);
        self.store(store).put(&key, body.into()).now_or_never().expect("memory never waits").unwrap();
        self.see_outside();
    }

    /// Somebody outside takes an object away.
    pub(crate) fn take(&mut self, store: &str, key: &str) {
        let key = baler_testkit::fixtures::key(key);
        self.store(store).delete(&key).now_or_never().expect("memory never waits").unwrap();
        self.see_outside();
    }

    fn see_outside(&mut self) {
        for change in self.lake.take_changes() {
            self.watch.outside(&change);
        }
    }

    fn see_engine(&mut self) -> Result<(), String> {
        for change in self.lake.take_changes() {
            self.watch.engine(&change)?;
        }
        Ok(())
    }

    /// Starts a process that does a job.
    pub(crate) fn start(&mut self, job: Job) -> usize {
        let index = self.processes.len();
        let skew = match self.scenario.skew {
            0 => 0,
            most => i64::try_from(self.random.below(2 * most.unsigned_abs())).unwrap() - most,
        };
        let host = format!("host{}", self.random.below(2));
        let name = format!("p{index}");
        self.living.0.lock().insert(name.clone());
        let store = |store: &MemoryStore, name| -> Arc<dyn Store> {
            Arc::new(FaultStore::with_hook(Arc::new(store.clone()), self.gate.hook(index, name)))
        };
        let stores = HashMap::from([
            ("lake".to_owned(), store(&self.lake, "lake")),
            ("other".to_owned(), store(&self.other, "other")),
        ]);
        let cancel = CancellationToken::new();
        let concurrency = usize::try_from(1 + self.random.below(3)).unwrap();
        let env = Env {
            clock: self.gate.clock(index, skew),
            ids: Arc::new(SeededIds::new(self.random.next_u64())),
            stores: Arc::new(Opened(stores)),
            progress: Arc::new(Silent),
            identity: Identity { host: host.clone(), pid: u32::try_from(index).unwrap(), process: name },
            processes: Arc::new(Seen { host, living: self.living.clone() }),
            cancel: cancel.clone(),
            secrets: Arc::new(baler_engine::NoSecrets),
            limits: Limits::new(concurrency, 64 << 20),
            as_of: None,
        };
        self.trace.step(&(index, "starts"), || format!("p{index} starts: {job:?} (clock {skew:+} ms)"));
        let task = Task::new(job.clone().work(Arc::clone(&self.config), env));
        self.processes.push(Some(Process { task, job, cancel, sleeps: false, has_begun: false }));
        index
    }

    /// A process dies where it stands.
    pub(crate) fn crash(&mut self, index: usize) {
        self.living.0.lock().remove(&format!("p{index}"));
        self.processes[index] = None;
        self.trace.step(&(index, "dies"), || format!("p{index} dies"));
    }

    pub(crate) fn alive(&self) -> Vec<usize> {
        (0..self.processes.len()).filter(|i| self.processes[*i].is_some()).collect()
    }

    /// Lets a process run until it waits, and watches what it did. Its reports, if it ended.
    pub(crate) fn run(&mut self, index: usize) -> Result<Option<Told>, String> {
        let Some(process) = &mut self.processes[index] else { return Ok(None) };
        let ended = process.task.run();
        process.has_begun = true;
        self.see_engine()?;
        let Some(told) = ended else { return Ok(None) };
        self.living.0.lock().remove(&format!("p{index}"));
        self.processes[index] = None;
        self.trace.step(&(index, "ends"), || {
            let mut words = format!("p{index} ends:");
            for told in &told {
                match told {
                    Ok(r) => write!(words, " {} {:?} {:?}", r.flow, r.status, r.failures).unwrap(),
                    Err(error) => write!(words, " {error:?}").unwrap(),
                }
            }
            words
        });
        for told in &told {
            match told {
                Ok(report) if report.status == Status::Blocked => self.watch.count("blocked"),
                Ok(report) if report.status == Status::Contended => self.watch.count("contended"),
                Ok(report) if report.status == Status::Interrupted => self.watch.count("interrupted"),
                Ok(_) => {}
                Err(error) => tolerable(error)?,
            }
        }
        Ok(Some(told))
    }

    /// One thing happens: somebody outside acts, or one process goes one step.
    pub(crate) fn step(&mut self, has_faults: bool) -> Result<(), String> {
        let now = self.gate.now() + 1 + i64::try_from(self.random.below(15)).unwrap();
        self.gate.advance_to(now);
        for index in self.alive() {
            if !self.processes[index].as_ref().unwrap().has_begun {
                self.run(index)?;
            }
        }
        let waiting = self.gate.waiting();
        self.speaks = self.speaks.filter(|p| self.processes[*p].is_some());
        let awake = |p: usize| {
            self.speaks.is_none_or(|speaks| speaks == p)
                && self.processes.get(p).is_some_and(|p| p.as_ref().is_some_and(|p| !p.sleeps))
        };
        let ready: Vec<_> = waiting
            .iter()
            .filter(|w| awake(w.process))
            .filter(|w| match &w.wish {
                Wish::Op(..) => true,
                Wish::Time(until) => *until <= now,
            })
            .collect();
        if ready.is_empty() {
            let times = waiting.iter().filter(|w| awake(w.process)).filter_map(|w| match w.wish {
                Wish::Time(until) => Some(until),
                Wish::Op(..) => None,
            });
            if let Some(until) = times.min() {
                self.gate.advance_to(until);
            }
            return Ok(());
        }
        // Mostly the one who went last goes on, so that schedules differ by who is late and not only by noise.
        let same: Vec<_> = ready.iter().filter(|w| w.process == self.last).copied().collect();
        let among = if !same.is_empty() && self.random.below(10) < 6 { &same } else { &ready };
        let chosen = among[usize::try_from(self.random.below(among.len() as u64)).unwrap()].clone();
        let index = chosen.process;
        self.last = index;
        let Wish::Op(store, op) = &chosen.wish else {
            self.trace.step(&(index, "wakes"), || format!("p{index} wakes at its time"));
            self.gate.grant(chosen.ticket, Verdict::Proceed);
            self.run(index)?;
            return Ok(());
        };
        let verdict = if has_faults { self.verdict(index, op.method) } else { Some(Verdict::Proceed) };
        let Some(verdict) = verdict else { return Ok(()) };
        // A heartbeat aside, it first reads; what it writes comes behind its look.
        if self.speaks == Some(index) && op.method.writes() && !op.key.ends_with("heartbeat.json") {
            self.speaks = None;
        }
        self.trace.step(&(index, op.method, op.key.as_str(), verdict), || {
            let how = if verdict == Verdict::Proceed { String::new() } else { format!("  -> {verdict:?}") };
            format!("p{index} {:?} {store}:{}{how}", op.method, op.key)
        });
        self.gate.grant(chosen.ticket, verdict);
        self.run(index)?;
        match verdict {
            Verdict::Hang | Verdict::HangAfter => self.crash(index),
            Verdict::Proceed
            | Verdict::FailBefore
            | Verdict::FailAfter
            | Verdict::NoRoom
            | Verdict::Denied
            | Verdict::Retry
            | Verdict::Repeat
            | Verdict::EndEarly => {}
        }
        Ok(())
    }

    /// What becomes of an operation; `None` when its process falls asleep before it.
    fn verdict(&mut self, index: usize, method: Method) -> Option<Verdict> {
        let Scenario { freeze, crash, fail, repeat, .. } = self.scenario;
        if self.chance(freeze) && self.speaks != Some(index) {
            self.processes[index].as_mut().unwrap().sleeps = true;
            self.watch.count("sleeps");
            self.trace.step(&(index, "sleeps"), || format!("p{index} falls asleep"));
            return None;
        }
        if self.chance(crash) {
            let after = self.chance(2);
            self.watch.count(if after { "dies after an effect" } else { "dies before an effect" });
            return Some(if after { Verdict::HangAfter } else { Verdict::Hang });
        }
        if self.trace.steps < self.storm_until && self.chance(2) {
            self.watch.count("503");
            return Some(if self.chance(2) { Verdict::FailBefore } else { Verdict::Retry });
        }
        if self.chance(fail) {
            let after = self.chance(2);
            self.watch.count(if after && method.writes() { "reply lost" } else { "fails" });
            return Some(if after { Verdict::FailAfter } else { Verdict::FailBefore });
        }
        if self.chance(repeat) {
            let repeats = self.chance(2) && method.writes();
            self.watch.count(if repeats { "sent twice" } else { "409" });
            return Some(if repeats { Verdict::Repeat } else { Verdict::Retry });
        }
        Some(Verdict::Proceed)
    }
}

/// What may come back under faults. Anything that says that a promise was broken may not.
fn tolerable(error: &EngineError) -> Result<(), String> {
    match error {
        EngineError::Ledger { source: LedgerError::Store(_), .. }
        | EngineError::Store(_)
        | EngineError::WrongState { .. }
        | EngineError::Interrupted => Ok(()),
        EngineError::Ledger { .. }
        | EngineError::Unfit { .. }
        | EngineError::Moved { .. }
        | EngineError::NoRun { .. }
        | EngineError::Broken { .. } => Err(format!("the engine gave up: {error:?}")),
    }
}
