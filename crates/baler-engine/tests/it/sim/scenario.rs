//! What a seed makes of the world: its flows, its stores' limits, what may go wrong and how often.

use std::cell::RefCell;
use std::collections::HashMap;
use std::sync::Arc;

use baler_model::{Config, RawConfig};
use baler_store::PartLimits;
use baler_testkit::SplitMix;

use super::watch::Makes;

/// How work is started, and by how many flows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// One flow over what lies there.
    Plain,
    /// One flow that manifests trigger.
    Manifests,
    /// Two flows, the second over what the first writes.
    Chained,
}

/// How names of outputs are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Naming {
    Group,
    Index,
    FirstLast,
}

/// The days of sources of records: two of one month, and one of the next.
pub(crate) const DAYS: [&str; 3] = ["2026-01-30", "2026-01-31", "2026-02-01"];

/// One in so many grants; never at 0.
pub(crate) type OneIn = u64;

/// What the seed draws before the first step.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) shape: Shape,
    pub(crate) makes: Makes,
    pub(crate) text: String,
    pub(crate) csv: bool,
    pub(crate) target: &'static str,
    pub(crate) overwrite: bool,
    pub(crate) parts: PartLimits,
    pub(crate) page: usize,
    pub(crate) groups: u64,
    pub(crate) objects: u64,
    pub(crate) steps: u64,
    pub(crate) processes: usize,
    pub(crate) skew: i64,
    pub(crate) crash: OneIn,
    pub(crate) fail: OneIn,
    pub(crate) repeat: OneIn,
    pub(crate) freeze: OneIn,
    pub(crate) act: OneIn,
    pub(crate) storms: bool,
    pub(crate) consumes: bool,
    pub(crate) overwrites: bool,
    pub(crate) removes: bool,
    pub(crate) uploads: bool,
    pub(crate) expires: bool,
    pub(crate) foreign: bool,
    pub(crate) aborts: bool,
    pub(crate) withdraws: bool,
    pub(crate) retries: bool,
    pub(crate) collects: bool,
    pub(crate) interrupts: bool,
    pub(crate) jumps: bool,
    /// Processes that still sleep when the honest runner begins wake only when it is done.
    pub(crate) late: bool,
}

fn one_of<T: Copy>(random: &mut SplitMix, of: &[T]) -> T {
    of[usize::try_from(random.below(of.len() as u64)).unwrap()]
}

impl Scenario {
    pub(crate) fn draw(random: &mut SplitMix) -> Self {
        let shape = one_of(random, &[Shape::Plain, Shape::Plain, Shape::Plain, Shape::Manifests, Shape::Chained]);
        let naming = one_of(random, &[Naming::Group, Naming::Index, Naming::FirstLast]);
        let target = one_of(random, &["lake", "lake", "other"]);
        let mut yes = |one_in: u64| random.below(one_in) == 0;
        let (csv, redshift, overwrite) = (yes(4), yes(4), yes(4));
        let header = csv && yes(2);
        let sources = one_of(
            random,
            &[
                "{ after_commit = \"keep\" }",
                "{ after_commit = \"delete\" }",
                "{ after_commit = \"delete\" }",
                "{ after_commit = \"delete\", delay = \"1h\" }",
                "{ after_commit = \"archive\", archive_to = \"lake:old/\" }",
            ],
        );
        let most = one_of(random, &["", "max_objects = 2, ", "max_objects = 3, "]);
        let least = one_of(random, &[1, 1, 2]);
        let suffix = if csv { "csv" } else { "jsonl" };
        let mut common = format!("sources = {sources}\noverwrite = {overwrite}\nredshift_manifest = {redshift}\n");
        if header {
            common.push_str("header = \"first\"\n");
        }
        let batch = format!("batch = {{ {most}min_objects = {least} }}\norder_by = [\"n\"]\n");
        let name = match naming {
            Naming::Group => "{g}",
            Naming::Index => "{g}-{index}",
            Naming::FirstLast => "{g}-{n.first}-{n.last}",
        };
        let flows = match shape {
            Shape::Plain => format!(
                "[flows.daily]\ndo = \"combine\"\nfrom = \"lake:raw/{{g}}/{{n:int}}.{suffix}\"\n\
                 to = \"{target}:daily/{name}.{suffix}\"\n{batch}{common}"
            ),
            Shape::Manifests => format!(
                "[flows.daily]\ndo = \"combine\"\non = {{ manifests = \"lake:watch\" }}\n\
                 from = \"lake:{{manifest.source}}/{{n:int}}.{suffix}\"\nto = \"{target}:{{manifest.target}}\"\n\
                 order_by = [\"n\"]\n{common}"
            ),
            Shape::Chained => format!(
                "[flows.first]\ndo = \"combine\"\nfrom = \"lake:raw/{{g}}/{{n:int}}.{suffix}\"\n\
                 to = \"lake:mid/{{g}}/{{n.first}}-{{n.last}}.{suffix}\"\n\
                 batch = {{ max_objects = 2, min_objects = 1 }}\norder_by = [\"n\"]\n\
                 sources = {{ after_commit = \"{}\" }}\n\
                 [flows.second]\ndo = \"combine\"\nfrom = \"lake:mid/{{g}}/{{n:int}}-{{m:int}}.{suffix}\"\n\
                 to = \"{target}:daily/{{g}}-{{n.first}}-{{m.last}}.{suffix}\"\n\
                 batch = {{ {most}min_objects = 1 }}\norder_by = [\"n\"]\n{common}",
                one_of(random, &["keep", "delete"]),
            ),
        };
        let text = format!(
            "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\nother = \"s3://other\"\n{flows}"
        );
        let parts = one_of(
            random,
            &[
                PartLimits { min: 50, max: 5000, count: 100, object: 1 << 20 },
                PartLimits { min: 50, max: 5000, count: 100, object: 1 << 20 },
                PartLimits { min: 40, max: 200, count: 6, object: 1 << 20 },
                PartLimits::S3,
            ],
        );
        let mut yes = |one_in: u64| random.below(one_in) == 0;
        let (consumes, overwrites, removes, uploads) = (yes(2), yes(3), yes(6), yes(2));
        let (expires, foreign, aborts, withdraws) = (yes(2), yes(4), yes(4), yes(4));
        let (retries, collects, interrupts, jumps) = (yes(2), yes(4), yes(6), yes(2));
        let (storms, late) = (yes(5), yes(2));
        Self {
            shape,
            makes: Makes::Joined,
            text,
            csv: header,
            target,
            overwrite,
            parts,
            page: one_of(random, &[1000, 1000, 3, 2]),
            groups: 1 + random.below(2),
            objects: 1 + random.below(3),
            steps: 40 + random.below(220),
            processes: one_of(random, &[1, 2, 2, 3]),
            skew: one_of(random, &[0, 20_000, 20_000, 600_000]),
            crash: one_of(random, &[0, 150, 60]),
            fail: one_of(random, &[0, 0, 100, 30]),
            repeat: one_of(random, &[0, 60, 25]),
            freeze: one_of(random, &[0, 60, 20]),
            act: one_of(random, &[8, 15, 30]),
            storms,
            consumes,
            overwrites,
            removes,
            uploads,
            expires,
            foreign,
            aborts,
            withdraws,
            retries,
            collects,
            interrupts,
            jumps,
            late,
        }
    }

    /// A world whose flow converts records: partitions told apart by keys or by a column, or objects that each run adds.
    pub(crate) fn draw_conversion(random: &mut SplitMix) -> Self {
        let drawn = Self::draw(random);
        let suffix = one_of(random, &["jsonl", "jsonl", "csv"]);
        let out = one_of(random, &["jsonl", "csv", "jsonl.gz"]);
        let target = drawn.target;
        // About a line, some lines, or all of a day.
        let most = one_of(random, &[1, 60, 120]);
        let path = format!("path = \"{target}:daily/m/{{partition:%Y-%m}}.{out}\", partition = \"month\"");
        let (month, numbered) = (format!("{{ {path} }}"), format!("{{ {path}, max_bytes = \"{most}B\" }}"));
        let day = format!("{{ path = \"{target}:daily/d/{{partition:%Y-%m-%d}}.{out}\", partition = \"day\" }}");
        let part = format!("{{ path = \"{target}:daily/part={{part}}/x.{out}\", partition = \"part\" }}");
        let path = format!("path = \"{target}:daily/{{run}}.{out}\"");
        let limit = if random.below(2) == 0 { format!(", max_bytes = \"{most}B\"") } else { String::new() };
        let added = format!("{{ {path}{limit} }}");
        let (makes, to) = match random.below(12) {
            0..=1 => (Makes::Partitions, month),
            2..=3 => (Makes::Partitions, format!("[{month}, {day}]")),
            4 => (Makes::Partitions, part),
            5..=6 => (Makes::Partitions, format!("[{part}, {month}]")),
            7..=8 => (Makes::Partitions, numbered),
            9 => (Makes::Partitions, format!("[{numbered}, {day}]")),
            _ => (Makes::Added, added),
        };
        let sources = match makes {
            Makes::Added => one_of(random, &["keep", "delete"]),
            Makes::Partitions | Makes::Joined => "keep",
        };
        let text = format!(
            "version = 1\nstate = \"lake:_baler\"\n[stores]\nlake = \"s3://lake\"\nother = \"s3://other\"\n\
             [flows.daily]\ndo = \"convert\"\nfrom = \"lake:raw/{{day:%Y-%m-%d}}/{{n:int}}.{suffix}\"\n\
             schema = {{ columns = {{ id = \"int64 not null\", part = \"text\" }} }}\nmax_quarantined = \"100%\"\n\
             overwrite = {}\nsources = {{ after_commit = \"{sources}\" }}\nto = {to}\n",
            drawn.overwrite
        );
        // Who takes a partition away destroys it; objects that a run adds may be taken.
        let consumes = drawn.consumes && makes == Makes::Added;
        Self {
            shape: Shape::Plain,
            makes,
            text,
            csv: false,
            // Records are not joined part by part: what is set aside is written in one.
            parts: PartLimits::S3,
            consumes,
            groups: 1 + random.below(DAYS.len() as u64),
            ..drawn
        }
    }

    /// The suffix of all objects.
    pub(crate) fn suffix(&self) -> &'static str {
        let from = self.text.split("\nto = ").next().unwrap_or_default();
        if from.contains(".csv") { "csv" } else { "jsonl" }
    }

    /// The configuration; equal texts are read once.
    pub(crate) fn config(&self) -> Arc<Config> {
        thread_local! {
            static READ: RefCell<HashMap<String, Arc<Config>>> = RefCell::default();
        }
        READ.with_borrow_mut(|read| {
            let config = read.entry(self.text.clone()).or_insert_with(|| {
                let raw = RawConfig::parse(&self.text, "baler.toml", &|_| None, &[]).unwrap_or_else(|e| panic!("{e}"));
                Arc::new(raw.validate("/project").unwrap_or_else(|e| panic!("{e}\n{}", self.text)))
            });
            Arc::clone(config)
        })
    }
}
