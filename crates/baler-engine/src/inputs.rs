//! Lists the sources of a flow and sorts out what is an input now, and why the rest is not.

use std::collections::BTreeMap;

use baler_model::{Captures, Pattern};
use baler_model::{InputVersion, StoreId};
use baler_store::{ListRequest, list_all};
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::env::Phase;
use crate::error::EngineError;
use crate::flow::Flow;
use crate::ledger::{ConsumedSet, PRIVATE_PREFIX};
use crate::parallel::{PIECE, in_parallel};

/// Why a listed object is not an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Skip {
    /// The pattern does not match, or a hidden piece is where a placeholder would match it.
    NoMatch,
    /// A condition of `where` does not hold.
    Condition,
    /// A key that ends in `/`.
    DirectoryMarker,
    /// It has no bytes.
    Empty,
    /// Younger than `settle`.
    Unsettled,
    /// A committed run consumed this version.
    Consumed,
    /// An open run holds this version.
    Held,
    /// An output of another flow whose run is not committed yet.
    Uncommitted,
    /// An output of this flow, its state, or another private object (INV-LOOP-1).
    Own,
    /// Its group has fewer than `min_objects`.
    TooFew,
    /// A file name that is not UTF-8.
    Unreadable,
}

impl Skip {
    /// Words for people.
    pub fn words(self) -> &'static str {
        match self {
            Self::NoMatch => "not matched by `from`",
            Self::Condition => "left out by `where`",
            Self::DirectoryMarker => "directory markers",
            Self::Empty => "empty",
            Self::Unsettled => "younger than `settle`",
            Self::Consumed => "consumed by an earlier run",
            Self::Held => "held by an open run",
            Self::Uncommitted => "outputs of a run of another flow that is not committed yet",
            Self::Own => "Baler's own",
            Self::TooFew => "in groups below `min_objects`",
            Self::Unreadable => "with names that are not UTF-8",
        }
    }
}

/// How many objects were passed over for one reason, with a few of their keys.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Skipped {
    /// Objects.
    pub objects: u64,
    /// Bytes.
    pub bytes: u64,
    /// A few of their keys.
    pub examples: Vec<String>,
}

/// Everything passed over, by reason.
pub type Skips = BTreeMap<Skip, Skipped>;

/// Notes one object that is passed over.
pub(crate) fn skip(skips: &mut Skips, why: Skip, input: &InputVersion) {
    let skipped = skips.entry(why).or_default();
    skipped.objects += 1;
    skipped.bytes += input.size;
    if skipped.examples.len() < 3 {
        skipped.examples.push(input.key.to_string());
    }
}

/// What a listing gave.
#[derive(Debug)]
pub(crate) struct Inputs {
    /// Inputs, sorted by key bytes.
    pub(crate) inputs: Vec<InputVersion>,
    /// Versions that are consumed already and would be inputs else, sorted by key bytes.
    pub(crate) consumed: Vec<InputVersion>,
    pub(crate) skips: Skips,
    /// How many objects the store listed.
    pub(crate) listed: u64,
    /// How long the store took to list them.
    pub(crate) listing: SignedDuration,
}

/// Lists the sources of a flow by a bound pattern.
///
/// Cost: one LIST per 1,000 objects under the pattern's literal prefix, a few more to list in parallel, and one more when
/// nothing was found. Memory: one entry per input.
pub(crate) async fn list(
    flow: &Flow,
    pattern: &Pattern,
    consumed: &ConsumedSet,
    held: &ConsumedSet,
) -> Result<Inputs, EngineError> {
    let settled_before = flow.env.clock.now() - settle(flow);
    let now = flow.env.template_time();
    let private = private_prefixes(flow);
    flow.env.progress.begin(flow.name(), Phase::List, 0, 0);
    let may_contain = |prefix: &str| pattern.may_contain(prefix);
    let began = flow.env.clock.now();
    let listed = list_all(&flow.source, pattern.literal_prefix(), flow.env.limits.concurrency, &may_contain).await;
    flow.env.progress.end();
    let listing = flow.env.clock.now().duration_since(began);
    let listed = listed?;
    let mut skips = Skips::new();
    if listed.unreadable > 0 {
        skips.entry(Skip::Unreadable).or_default().objects += listed.unreadable;
    }
    let mut objects = listed.objects;
    if objects.is_empty() {
        // Prefixes under which no key can match were not looked into: what lies there is the nearest that there is.
        let request = ListRequest { prefix: pattern.literal_prefix().to_owned(), ..ListRequest::default() };
        objects = flow.source.list(&request).await?.objects;
        objects.retain(|object| !private.iter().any(|prefix| object.key.as_str().starts_with(prefix)));
    }
    let count = objects.len() as u64;
    let why_not = |object: &InputVersion| match pattern.try_match(object.key.as_str()) {
        None if object.key.as_str().ends_with('/') => Some(Skip::DirectoryMarker),
        None => Some(Skip::NoMatch),
        Some(captures) => why_not(flow, object, &captures, now, settled_before, &private, consumed, held),
    };
    let pieces: Vec<&[InputVersion]> = objects.chunks(PIECE).collect();
    let reasons = in_parallel(&pieces, |piece| piece.iter().map(why_not).collect::<Vec<Option<Skip>>>());
    let (mut inputs, mut again) = (Vec::with_capacity(objects.len()), Vec::new());
    for (object, why) in objects.into_iter().zip(reasons.into_iter().flatten()) {
        match why {
            Some(Skip::Consumed) => {
                skip(&mut skips, Skip::Consumed, &object);
                again.push(object);
            }
            Some(why) => skip(&mut skips, why, &object),
            None => inputs.push(object),
        }
    }
    Ok(Inputs { inputs, consumed: again, skips, listed: count, listing })
}

/// Why one listed object that the bound pattern matches is not an input now; `None` when it is.
pub(crate) fn why_not_now(
    flow: &Flow,
    object: &InputVersion,
    captures: &Captures<'_>,
    consumed: &ConsumedSet,
    held: &ConsumedSet,
) -> Option<Skip> {
    let settled_before = flow.env.clock.now() - settle(flow);
    why_not(flow, object, captures, flow.env.template_time(), settled_before, &private_prefixes(flow), consumed, held)
}

#[expect(clippy::too_many_arguments, reason = "every reason has its own source")]
fn why_not(
    flow: &Flow,
    object: &InputVersion,
    captures: &Captures<'_>,
    now: Timestamp,
    settled_before: Timestamp,
    private: &[String],
    consumed: &ConsumedSet,
    held: &ConsumedSet,
) -> Option<Skip> {
    let key = object.key.as_str();
    if private.iter().any(|prefix| key.starts_with(prefix.as_str())) {
        Some(Skip::Own)
    } else if key.ends_with('/') {
        Some(Skip::DirectoryMarker)
    } else if object.size == 0 {
        Some(Skip::Empty)
    } else if !flow.config.conditions.iter().all(|c| c.holds(captures, now)) {
        Some(Skip::Condition)
    } else if consumed.contains(object) {
        Some(Skip::Consumed)
    } else if held.contains(object) {
        Some(Skip::Held)
    } else if object.modified > settled_before {
        Some(Skip::Unsettled)
    } else {
        None
    }
}

fn settle(flow: &Flow) -> SignedDuration {
    SignedDuration::try_from(flow.config.batch.settle.duration()).unwrap_or(SignedDuration::MAX)
}

/// Prefixes of the source store that hold Baler's own objects, never inputs (INV-LOOP-1).
fn private_prefixes(flow: &Flow) -> Vec<String> {
    let mut private = vec![PRIVATE_PREFIX.to_owned()];
    let same = |id: &StoreId| *id == flow.config.from.store;
    let state = flow.ledger.store().info();
    if state.url == flow.source.info().url {
        private.push(flow.ledger.state_prefix().to_owned());
    }
    if let Some(archive) = flow.archive.as_ref().filter(|a| same(&a.id)) {
        private.push(archive.prefix.clone());
    }
    private.retain(|prefix| !prefix.is_empty());
    private
}
