//! Looks ahead without writing anything: what a run would do now, and what becomes of one key.

use baler_model::{Captures, InputVersion, Partition, Pattern, RenderContext, RunId, Template, Value};
use baler_store::ListRequest;
use serde::Serialize;

use crate::error::EngineError;
use crate::flow::Flow;
use crate::inputs::{self, Skip};
use crate::ledger::LedgerState;
use crate::manifests::{self, Completeness, Queued};
use crate::plan::{Ask, ManifestRequest, Planned, bind, held, plan};
use crate::report::FailureReport;

/// What a flow would do for one trigger.
#[derive(Debug)]
pub enum Prospect {
    /// It would open this plan; one without tasks does nothing.
    Planned(Box<Planned>),
    /// It would wait, for what it says.
    Waits(String),
    /// It would fail.
    Fails(FailureReport),
}

/// What a run of this flow would do now: one prospect, or one per manifest in the queue.
///
/// Cost: the listings and HEADs of planning.
pub async fn prospects(flow: &Flow, state: &LedgerState) -> Result<Vec<Prospect>, EngineError> {
    if flow.manifests.is_none() {
        return Ok(vec![Prospect::Planned(Box::new(plan(flow, state, Ask::default()).await?))]);
    }
    let mut prospects = Vec::new();
    for queued in manifests::queued(flow).await? {
        prospects.push(match queued {
            Queued::Faulty(failure) => Prospect::Fails(failure),
            Queued::Request(request) => prospect_of(flow, state, &request).await?,
        });
    }
    Ok(prospects)
}

async fn prospect_of(flow: &Flow, state: &LedgerState, request: &ManifestRequest) -> Result<Prospect, EngineError> {
    let fails = |error: String, hint: Option<String>| {
        Prospect::Fails(FailureReport { group: request.manifest.key.to_string(), error, hint })
    };
    match plan(flow, state, Ask { manifest: Some(request), ..Ask::default() }).await {
        Ok(planned) => Ok(match manifests::completeness(flow, request, &planned) {
            Completeness::Complete => Prospect::Planned(Box::new(planned)),
            Completeness::Waits(note) => Prospect::Waits(note),
            Completeness::Wrong(failure) => fails(failure.error, failure.hint),
        }),
        Err(error @ EngineError::Unfit { .. }) => Ok(fails(error.to_string(), error.hint())),
        Err(error) => Err(error),
    }
}

/// What a flow makes of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The pattern that the key was held against.
    pub pattern: String,
    /// What the placeholders of the pattern captured: names with texts.
    pub captures: Vec<(String, String)>,
    /// What becomes of it.
    pub verdict: Verdict,
}

/// What becomes of one key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Verdict {
    /// `from` depends on a manifest, and none is in the queue.
    NoManifest,
    /// The pattern does not match.
    Differs {
        /// The first piece that does not.
        reason: String,
    },
    /// The pattern matches; the store has no such object now.
    NotThere,
    /// The pattern matches, and the object is passed over now.
    PassedOver {
        /// Why.
        why: Skip,
        /// The condition of `where` that does not hold, if that is why.
        condition: Option<String>,
    },
    /// It is an input of the next run.
    Taken {
        /// The output that it goes to, where its name can be told from this key alone.
        output: Option<String>,
    },
}

/// Says whether a flow takes a key of its source store, and if not, why. For manifest flows, each manifest in the queue
/// is asked.
///
/// Cost: one LIST, and what reading the claims of committed runs costs.
pub async fn explain(flow: &Flow, state: &LedgerState, key: &str) -> Result<Vec<Explanation>, EngineError> {
    let mut bound: Vec<(Pattern, Template)> = Vec::new();
    match &flow.manifests {
        None => bound.push(bind(flow, None)?),
        Some(_) => {
            for queued in manifests::queued(flow).await? {
                if let Queued::Request(request) = queued {
                    bound.extend(bind(flow, Some(&request)).ok());
                }
            }
        }
    }
    if bound.is_empty() {
        let pattern = flow.config.from.pattern.to_string();
        return Ok(vec![Explanation { pattern, captures: Vec::new(), verdict: Verdict::NoManifest }]);
    }
    let mut explanations = Vec::new();
    for (pattern, template) in &bound {
        let (captures, verdict) = match pattern.matches(key) {
            Err(mismatch) => (Vec::new(), Verdict::Differs { reason: mismatch.to_string() }),
            Ok(captures) => (named(pattern, &captures), of_match(flow, state, pattern, template, &captures).await?),
        };
        explanations.push(Explanation { pattern: pattern.to_string(), captures, verdict });
    }
    Ok(explanations)
}

fn named(pattern: &Pattern, captures: &Captures<'_>) -> Vec<(String, String)> {
    pattern
        .names()
        .map(|name| {
            let value = match captures.value(name) {
                Some(Value::Time { timestamp, .. }) => timestamp.to_string(),
                Some(Value::Text(_) | Value::Int { .. }) | None => captures.text(name).unwrap_or_default().to_owned(),
            };
            (name.to_owned(), value)
        })
        .collect()
}

async fn of_match(
    flow: &Flow,
    state: &LedgerState,
    pattern: &Pattern,
    template: &Template,
    captures: &Captures<'_>,
) -> Result<Verdict, EngineError> {
    let key = captures.key();
    let Some(object) = find(flow, key).await? else { return Ok(Verdict::NotThere) };
    let consumed = flow.ledger.consumed(state).await.map_err(flow.ledger_error())?;
    let held = held(flow, state).await?;
    if let Some(why) = inputs::why_not_now(flow, &object, captures, &consumed, &held) {
        let now = flow.env.template_time();
        let condition = match why {
            Skip::Condition => flow.config.conditions.iter().find(|c| !c.holds(captures, now)).map(ToString::to_string),
            Skip::NoMatch
            | Skip::DirectoryMarker
            | Skip::Empty
            | Skip::Unsettled
            | Skip::Consumed
            | Skip::Held
            | Skip::Uncommitted
            | Skip::Own
            | Skip::TooFew
            | Skip::Unreadable => None,
        };
        return Ok(Verdict::PassedOver { why, condition });
    }
    // What other inputs of the group decide, one key cannot tell.
    let others = [".first", ".last", ".min", ".max", "{count", "{run}", "{index"];
    let by_records = template.uses_partition() || template.columns().next().is_some();
    let output = match by_records || others.iter().any(|part| template.as_str().contains(part)) {
        true => None,
        false => {
            let run = RunId::try_new("unopened").expect("letters are a name");
            let now = flow.env.template_time();
            let partition = Partition::default();
            let context = RenderContext { pattern, keys: &[key], index: 0, now, run: &run, partition };
            template.render(&context).ok().map(|key| key.to_string())
        }
    };
    Ok(Verdict::Taken { output })
}

/// The object as a listing shows it: a HEAD may show another time, by less than a second.
async fn find(flow: &Flow, key: &str) -> Result<Option<InputVersion>, EngineError> {
    let page = flow.source.list(&ListRequest { prefix: key.to_owned(), ..ListRequest::default() }).await?;
    // Of all keys that begin with this text, the text itself comes first.
    Ok(page.objects.into_iter().find(|object| object.key.as_str() == key))
}
