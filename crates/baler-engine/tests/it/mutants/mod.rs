//! Claims that no other test made: each fails under a small fault that all others let pass (`docs/mutation.md`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use baler_engine::gc::{Effect, gc};
use baler_engine::ledger::decide::{
    Assume, LostUpload, OpenRefusal, Overlap, RedoDecision, SealDecision, TakenBack, Tally, group_account, may_open,
    may_publish, may_redo, may_seal, outputs_overlap, tally, was_taken_back,
};
use baler_engine::ledger::{Appended, Ledger, LedgerError, LedgerState, Marks, Plan, PlanClaims, RunState, RunStatus};
use baler_engine::report::Status;
use baler_engine::run::{DriveOptions, Withdraw, abort};
use baler_engine::{EngineError, Env, Phase, Progress, engine};
use baler_model::ledger::{
    Account, Claim, ContentHash, Counts, Event, FORMAT_VERSION, FailedAttempt, Failure, GroupId, Heartbeat, Mark,
    Outcome, OutputClaim, SealedOutput, Trigger, Work,
};
use baler_model::{AttemptId, InputVersion, Kind, LogSeq, RunId, TaskId};
use baler_store::{Clock, Store};
use baler_testkit::fault::{Hook, Method, Verdict};
use baler_testkit::fixtures;
use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::review::{
    FLOW, Gate, MANIFESTS, all, at, dies_at, drives_the_run, expire, expires_when_sealed, filled, job, options,
    run_or_die, withdraw,
};
use crate::world::{Process, World};

mod decisions;
mod joining;
mod ledger;
mod operators;
mod publishing;
mod sources;

/// Counts the calls of a method on keys with this part in them.
fn counts(method: Method, part: &'static str) -> (Hook, Arc<AtomicU64>) {
    let count = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&count);
    let hook: Hook = Arc::new(move |op| {
        if op.method == method && op.key.contains(part) {
            seen.fetch_add(1, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(Verdict::Proceed))
    });
    (hook, count)
}

fn run_id(run: &str) -> RunId {
    RunId::try_new(run).unwrap()
}

/// An `Opened` that names a plan and claims of these bytes.
fn opened(run: &str, plan: &[u8], claims: &[u8]) -> Event {
    Event::Opened {
        run: run_id(run),
        trigger: Trigger::Request,
        generation: 0,
        plan: ContentHash::of(plan),
        claims: ContentHash::of(claims),
        outputs: vec![OutputClaim::Key(fixtures::key("out/0"), GroupId(0))],
        base_seq: LogSeq(0),
        counts: Counts::default(),
    }
}

/// A ledger whose run `r` has a plan and claims of these bytes.
async fn with_files(world: &World, plan: &[u8], claims: &[u8]) -> (Ledger, LedgerState) {
    let ledger = world.process(FLOW, None).flow().ledger;
    let mut state = LedgerState::default();
    ledger.try_append(&mut state, opened("r", plan, claims)).await.unwrap();
    for (name, bytes) in [("plan", plan), ("claims", claims)] {
        let suffix = if name == "plan" { "jsonl" } else { "jsonl.zst" };
        let key = format!("_baler/daily/runs/r/{name}-{}.{suffix}", ContentHash::of(bytes));
        world.put(&key, bytes.to_vec()).await;
    }
    (ledger, state)
}

fn mark(task: u32, generation: u32, attempt: &str) -> Mark {
    Mark {
        version: FORMAT_VERSION,
        run: run_id("r"),
        task: TaskId(task),
        generation,
        attempt: AttemptId::try_new(attempt).unwrap(),
        at: Timestamp::UNIX_EPOCH,
        outcome: Outcome::Staged {
            outputs: Vec::new(),
            account: Box::default(),
            work: Work::default(),
            records: Vec::new(),
        },
    }
}

/// A plan as a run wrote it.
async fn real_plan(world: &World) -> String {
    world.process(FLOW, None).run_one().await;
    let files = world.read("_baler/daily/runs/").await;
    files.into_iter().find(|(key, _)| key.contains("/plan-")).unwrap().1
}

fn claim(key: &str) -> Claim {
    let input = InputVersion { key: fixtures::key(key), etag: "e".into(), size: 1, modified: Timestamp::UNIX_EPOCH };
    Claim { input, groups: vec![GroupId(0)] }
}

/// Once a call was seen, something happens before the next call of another kind, once.
fn after(
    first: (Method, &'static str),
    then: (Method, &'static str),
    happens: impl Fn() -> BoxFuture<'static, ()> + Send + Sync + 'static,
) -> Hook {
    let (seen, done) = (AtomicBool::new(false), AtomicBool::new(false));
    Arc::new(move |op| {
        let is = |(method, part): (Method, &str)| op.method == method && op.key.contains(part);
        if seen.load(Ordering::SeqCst) && is(then) && !done.swap(true, Ordering::SeqCst) {
            let happens = happens();
            return Box::pin(async move {
                happens.await;
                Verdict::Proceed
            });
        }
        if is(first) {
            seen.store(true, Ordering::SeqCst);
        }
        Box::pin(std::future::ready(Verdict::Proceed))
    })
}

const SEALS: (Method, &str) = (Method::PutIfAbsent, "log/00000000000000000002");

const READS_LOG: (Method, &str) = (Method::List, "/log/");

/// Keeps what a face would show: of each phase what was announced, and what was done.
#[derive(Debug, Default)]
struct Shown(parking_lot::Mutex<Vec<(Phase, [u64; 4], bool)>>);

impl Progress for Shown {
    fn begin(&self, _flow: &str, phase: Phase, objects: u64, bytes: u64) {
        self.0.lock().push((phase, [objects, bytes, 0, 0], false));
    }
    fn advance(&self, objects: u64, bytes: u64) {
        if let Some((_, [_, _, done, read], _)) = self.0.lock().last_mut() {
            *done += objects;
            *read += bytes;
        }
    }
    fn end(&self) {
        if let Some((.., ended)) = self.0.lock().last_mut() {
            *ended = true;
        }
    }
    fn note(&self, _note: &str) {}
}

const WITH_MANIFEST: &str = r#"
[flows.daily]
do = "combine"
from = "lake:raw/{day}/{n:int}.jsonl"
to = "lake:daily/{day}.jsonl"
redshift_manifest = true
"#;

/// A consumer takes every output away before anybody looks at it.
fn consumes_all(world: &World) -> Hook {
    let lake = world.lake.clone();
    Arc::new(move |op| {
        let (lake, op) = (lake.clone(), op.clone());
        Box::pin(async move {
            if op.method == Method::Confirm && op.key.starts_with("daily/") {
                lake.delete(&fixtures::key(&op.key)).await.unwrap();
            }
            Verdict::Proceed
        })
    })
}
