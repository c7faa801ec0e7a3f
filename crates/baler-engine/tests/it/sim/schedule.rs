//! Runs seeds: chaos first, then an honest runner with truthful operators, then the reckoning.

#![allow(clippy::print_stderr, reason = "a schedule is shown to whoever asks for it")]

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use baler_engine::ledger::decide::Assume;
use baler_engine::plan::Missing;
use baler_engine::report::Status;
use baler_engine::run::Withdraw;
use parking_lot::Mutex;

use super::actors::Job;
use super::scheduler::Wish;
use super::watch::{Left, Makes, RESIDUE, STUCK, Stage};
use super::world::{CONVERSIONS, Told, World};

/// What a seed came to.
pub(crate) struct Ended {
    hash: u64,
    steps: u64,
    counts: BTreeMap<&'static str, u64>,
}

/// Most rounds of an honest runner until all is quiet.
const ROUNDS: u32 = 20;
/// Most steps of one process that nobody disturbs.
const ALONE: u32 = 400;

impl World {
    /// Runs one process to its end, alone and without faults.
    fn alone(&mut self, index: usize) -> Result<Told, String> {
        for _ in 0..ALONE {
            if let Some(told) = self.run(index)? {
                return Ok(told);
            }
            // Only time is waited for.
            let mine = self.gate.waiting().into_iter().filter(|w| w.process == index);
            let times = mine.filter_map(|w| match w.wish {
                Wish::Time(until) => Some((until, w.ticket)),
                Wish::Op(..) => None,
            });
            let Some((until, ticket)) = times.min() else { return Err(format!("wedge: p{index} waits for nothing")) };
            self.gate.advance_to(until);
            self.gate.grant(ticket, baler_testkit::fault::Verdict::Proceed);
        }
        Err(format!("wedge: p{index} runs without end"))
    }

    /// Runs in which something is left to do. One of which a consumer took an output while it was being taken back stays as
    /// it is, its sources held.
    fn open_runs(&self) -> Vec<String> {
        let open = self.watch.runs.iter().filter(|(id, run)| run.stage.is_open() && !self.watch.is_held_for_good(id));
        open.map(|(id, _)| id.clone()).collect()
    }

    /// Operators move away what somebody else wrote where partitions go.
    fn clear(&mut self) {
        let store = self.scenario.target;
        let foreign: Vec<String> = ["daily/", "_quarantine/"]
            .into_iter()
            .flat_map(|prefix| self.watch.under(store, prefix))
            .filter(|(_, object)| object.stamp.is_none())
            .map(|(key, _)| key)
            .collect();
        for key in foreign {
            self.trace.step(&("move", &key), || format!("an operator moves `{key}` away"));
            self.take(store, &key);
        }
    }

    /// Every partition holds what its sources hold; first those of which no source is gone, then, built again, all.
    fn reckon_partitions(&mut self) -> Result<(), String> {
        if self.scenario.makes != Makes::Partitions {
            return Ok(());
        }
        // By a clock that is late, what was written last has not been written yet.
        let now = self.gate.now() + 2 * 3_600_000;
        self.gate.advance_to(now);
        self.finish()?;
        self.watch.reckon_partitions(Left::Given)?;
        self.gate.set_open(true);
        let index = self.start(Job::Again(0, 4_000_000_000, Missing::Drop));
        for told in self.alone(index)? {
            let report = told.map_err(|error| format!("wedge: an honest backfill fails: {error:?}"))?;
            if !matches!(report.status, Status::Committed | Status::Nothing) {
                return Err(format!("wedge: an honest backfill is {:?}: {report:?}", report.status));
            }
        }
        self.gate.set_open(false);
        self.watch.reckon_partitions(Left::Nothing)
    }

    /// An honest runner, and operators who say the truth, until nothing is left to do.
    fn finish(&mut self) -> Result<(), String> {
        self.gate.set_open(true);
        for _ in 0..ROUNDS {
            let before = self.watch.heads().clone();
            let index = self.start(Job::Run);
            for told in self.alone(index)? {
                let report = told.map_err(|error| format!("wedge: an honest run fails: {error:?}"))?;
                if report.status == Status::Interrupted {
                    return Err(format!("wedge: an honest run is interrupted: {report:?}"));
                }
            }
            let open = self.open_runs();
            if open.is_empty() && *self.watch.heads() == before {
                self.gate.set_open(false);
                return Ok(());
            }
            for run in open {
                if self.watch.runs[&run].stage != Stage::Committed {
                    // A build that cannot be made again is taken back; what was lost of it never appeared.
                    let never = self.lost(&run).iter().all(|(_, ever)| !ever);
                    if self.scenario.makes != Makes::Joined && self.watch.cannot_be_made(&run) && self.chance(2) {
                        let assume = if never { Assume::Lost } else { Assume::Nothing };
                        let index = self.start(Job::Abort(run.clone(), Withdraw::Yes { assume }));
                        drop(self.alone(index)?);
                        continue;
                    }
                    let index = self.settle(&run);
                    drop(self.alone(index)?);
                }
            }
            let now = self.gate.now() + 2 * 3_600_000;
            self.gate.advance_to(now);
        }
        let open = self.open_runs();
        match open.iter().all(|run| self.watch.is_half_published(run)) {
            true => Err(format!("{STUCK}: {open:?}")),
            false => Err(format!("wedge: still open after {ROUNDS} rounds: {open:?}")),
        }
    }

    /// The garbage of all that happened goes, and nothing else.
    fn sweep(&mut self) -> Result<(), String> {
        self.gate.set_open(true);
        let index = self.start(Job::Gc(0));
        for told in self.alone(index)? {
            told.map_err(|error| format!("gc fails: {error:?}"))?;
        }
        self.gate.set_open(false);
        let left = [self.lake.upload_ids(), self.other.upload_ids()].concat();
        // By clocks that disagree a lot, gc cannot tell an upload of a run from an older one.
        if self.scenario.skew < 30_000 && !left.is_empty() {
            return Err(format!("uploads are left: {left:?}"));
        }
        if self.scenario.makes == Makes::Partitions {
            let left = self.watch.left_over();
            if !left.is_empty() {
                return Err(format!("objects are left that no build counts any more: {left:?}"));
            }
        }
        Ok(())
    }

    /// Everything from the first step to the reckoning.
    fn live(&mut self) -> Result<(), String> {
        self.start(Job::Run);
        if self.scenario.processes > 1 && self.chance(2) {
            self.start(Job::Run);
        }
        for _ in 0..self.scenario.steps {
            let acts = self.chance(self.scenario.act) || self.alive().is_empty();
            if acts && self.speaks.is_none_or(|p| self.processes[p].is_none()) {
                self.act();
            }
            self.step(true)?;
        }
        // Faults end. Some who sleep die; the others wake up late, before an honest runner or after it.
        let late = self.scenario.late;
        for index in self.alive() {
            if self.chance(3) {
                self.crash(index);
            } else if late {
                self.processes[index].as_mut().unwrap().sleeps = true;
            }
        }
        if !late {
            self.let_end()?;
        }
        if self.scenario.makes == Makes::Partitions {
            self.clear();
        }
        self.finish()?;
        if late {
            self.let_end()?;
            self.finish()?;
        }
        self.watch.reckon()?;
        self.reckon_partitions()?;
        self.sweep()?;
        self.watch.reckon()
    }

    /// Everybody wakes and goes on to the end, without further faults.
    fn let_end(&mut self) -> Result<(), String> {
        for index in self.alive() {
            if self.processes[index].as_ref().unwrap().sleeps {
                self.wake(index);
            }
        }
        for _ in 0..4000 {
            if self.alive().is_empty() {
                return Ok(());
            }
            self.step(false)?;
        }
        Err(format!("wedge: processes {:?} do not end", self.alive()))
    }
}

fn run(seed: u64, is_shown: bool) -> Result<Ended, String> {
    let mut world = World::new(seed);
    if is_shown {
        eprintln!("{:#?}", world.scenario);
        eprintln!("{}", world.scenario.text);
        world.trace.words = Some(Vec::new());
    }
    let lived = catch_unwind(AssertUnwindSafe(|| world.live()));
    if let Some(words) = &world.trace.words {
        eprintln!("{}", words.join("\n"));
    }
    lived
        .map_err(|panic| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned())).unwrap_or_default()
        })?
        .or_else(|broken| {
            let what = if broken.starts_with(RESIDUE) {
                "residue"
            } else if broken.starts_with(STUCK) {
                "stuck"
            } else {
                return Err(broken);
            };
            world.watch.count(what);
            Ok(())
        })?;
    Ok(Ended { hash: world.trace.hash(), steps: world.trace.steps, counts: world.watch.counts })
}

/// Runs a seed; a failure says how to see it again.
pub(crate) fn holds(seed: u64) -> Ended {
    run(seed, false).unwrap_or_else(|broken| panic!("{}", failed(seed, &broken)))
}

fn failed(seed: u64, broken: &str) -> String {
    format!(
        "seed {seed}: {broken}\nshow it: BALER_SIM_SEED={seed} cargo nextest run -p baler-engine --no-capture \
         sim::schedule::replay"
    )
}

/// Seeds of one test of the ordinary run; ten such tests join, three others convert.
const SEEDS: u64 = 1_000;
/// Seeds of a test that converts.
const CONVERTED: u64 = 700;

/// What must have happened in those schedules, and how often at least: a simulation in which nothing happens shows nothing.
const HAPPENED: &[(&str, u64)] = &[
    ("409", 250),
    ("503", 150),
    ("aborted", 25),
    ("blocked", 15),
    ("committed", 500),
    ("consumed", 15),
    ("contended", 25),
    ("dies after an effect", 50),
    ("dies before an effect", 50),
    ("disposed", 500),
    ("disposed source", 500),
    ("fails", 100),
    ("foreign object", 50),
    ("gc", 50),
    ("hours pass", 150),
    ("interrupted", 5),
    ("late object", 100),
    ("opened", 600),
    ("published", 750),
    ("released", 7),
    ("reply lost", 10),
    ("said: lost", 5),
    ("said: overwrite", 2),
    ("said: published", 5),
    ("sealed again", 5),
    ("sent twice", 25),
    ("sleeps", 200),
    ("source overwritten", 100),
    ("source taken away", 25),
    ("taken back", 2),
    ("taken over", 50),
    ("upload expired", 40),
    ("wakes late", 200),
    ("withdrawing", 2),
];

/// The same of schedules that convert.
const CONVERSIONS_HAPPENED: &[(&str, u64)] = &[
    ("409", 300),
    ("503", 300),
    ("aborted", 100),
    ("backfill", 200),
    ("blocked", 20),
    ("built", 300),
    ("built anew", 400),
    ("committed", 400),
    ("contended", 50),
    ("dies after an effect", 60),
    ("dies before an effect", 60),
    ("disposed source", 20),
    ("foreign object", 100),
    ("late object", 100),
    ("published", 1_000),
    ("released", 3),
    ("reply lost", 10),
    ("said: lost", 10),
    ("sealed again", 5),
    ("sent twice", 30),
    ("sleeps", 200),
    ("source overwritten", 150),
    ("source taken away", 40),
    ("superseded", 100),
    ("taken over", 60),
    ("upload expired", 50),
    ("withdrawing", 2),
];

fn add(sum: &mut BTreeMap<&'static str, u64>, counts: BTreeMap<&'static str, u64>) {
    for (what, times) in counts {
        *sum.entry(what).or_default() += times;
    }
}

fn schedules(seeds: std::ops::Range<u64>, happened: &[(&str, u64)]) {
    let converts = seeds.start >= CONVERSIONS;
    let (mut counts, mut steps, count) = (BTreeMap::new(), 0, seeds.end - seeds.start);
    for seed in seeds {
        let ended = holds(seed);
        steps += ended.steps;
        add(&mut counts, ended.counts);
    }
    eprintln!("{count} schedules, {steps} steps: {counts:?}");
    for (what, least) in happened {
        let times = counts.get(what).copied().unwrap_or_default();
        assert!(times >= *least, "`{what}` happened {times} times in {count} schedules, at least {least} are wanted");
    }
    let residues = counts.get("residue").copied().unwrap_or_default();
    assert!(residues <= count / 200, "{residues} of {count} schedules ended with what nobody can help");
    let stuck = counts.get("stuck").copied().unwrap_or_default();
    // Only groups of several outputs can be half published.
    let most = if converts { count / 100 } else { 0 };
    assert!(stuck <= most, "{stuck} of {count} schedules ended with groups that are half published");
}

macro_rules! parts {
    ($($name:ident = $part:literal),*) => {$(
        #[test]
        fn $name() {
            schedules($part * SEEDS..($part + 1) * SEEDS, HAPPENED);
        }
    )*};
}

macro_rules! conversions {
    ($($name:ident = $part:literal),*) => {$(
        #[test]
        fn $name() {
            let start = CONVERSIONS + $part * CONVERTED;
            schedules(start..start + CONVERTED, CONVERSIONS_HAPPENED);
        }
    )*};
}

parts!(
    schedules_00 = 0,
    schedules_01 = 1,
    schedules_02 = 2,
    schedules_03 = 3,
    schedules_04 = 4,
    schedules_05 = 5,
    schedules_06 = 6,
    schedules_07 = 7,
    schedules_08 = 8,
    schedules_09 = 9
);

conversions!(conversions_00 = 0, conversions_01 = 1, conversions_02 = 2);

/// `BALER_SIM_SEED=N`: shows the schedule of one seed. Without it, of seed 0, unseen.
#[test]
fn replay() {
    let wanted = asked("BALER_SIM_SEED");
    let seed = wanted.unwrap_or_default();
    if let Err(broken) = run(seed, wanted.is_some()) {
        panic!("seed {seed}: {broken}");
    }
}

#[test]
fn one_seed_is_one_schedule() {
    let mut seen = std::collections::BTreeSet::new();
    for seed in (0..20).chain(CONVERSIONS..CONVERSIONS + 20) {
        let (one, two) = (holds(seed), holds(seed));
        assert_eq!((one.hash, one.steps), (two.hash, two.steps), "seed {seed} went two ways");
        seen.insert(one.hash);
    }
    assert_eq!(seen.len(), 40, "seeds that differ make schedules that differ");
}

/// A number from the environment.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Seeds from `BALER_SIM_START` on, for `BALER_SIM_MINUTES` or `BALER_SIM_SEEDS`, on every core: `scripts/soak`.
#[test]
#[ignore = "runs as long as it is told: scripts/soak"]
fn soak() {
    let start = asked("BALER_SIM_START").unwrap_or_default();
    let (minutes, most) = (asked("BALER_SIM_MINUTES"), asked("BALER_SIM_SEEDS").unwrap_or(u64::MAX));
    assert!(minutes.is_some() || most < u64::MAX, "say how long: scripts/soak MINUTES, or scripts/soak --seeds N");
    let began = std::time::Instant::now();
    let is_over = || minutes.is_some_and(|minutes| began.elapsed().as_secs() >= minutes * 60);
    let next = AtomicU64::new(0);
    let broken = AtomicU64::new(0);
    let counts = Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while !is_over() && broken.load(Ordering::Relaxed) == 0 {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= most {
                        return;
                    }
                    // Every third world converts.
                    let seed = start.wrapping_add(number) | if number.is_multiple_of(3) { CONVERSIONS } else { 0 };
                    match run(seed, false) {
                        Ok(ended) => add(&mut counts.lock(), ended.counts),
                        Err(words) => {
                            broken.fetch_add(1, Ordering::Relaxed);
                            eprintln!("{}", failed(seed, &words));
                        }
                    }
                }
            });
        }
    });
    let done = next.load(Ordering::Relaxed).min(most);
    let rate = done as f64 * 60.0 / began.elapsed().as_secs_f64();
    eprintln!("{done} schedules from seed {start}, {rate:.0} a minute: {:?}", counts.lock());
    assert_eq!(broken.load(Ordering::Relaxed), 0, "a schedule failed");
}
