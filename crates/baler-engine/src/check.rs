//! `baler check`: whether a flow's stores are there, fit, and not swept by a rule that would take what Baler needs.

use std::sync::Arc;

use baler_model::config::Operation;
use baler_store::{LifecycleRule, ListRequest, Store, StoreKind};
use serde::Serialize;

use crate::error::EngineError;
use crate::fitness;
use crate::flow::Flow;
use crate::ledger::PRIVATE_PREFIX;

/// An upload must survive this many days, as a blocked run may wait so long for an operator.
const UPLOAD_DAYS: u32 = 7;

/// What was found out about one flow.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// The flow.
    pub flow: String,
    /// What is right, for people.
    pub fine: Vec<String>,
    /// What deserves a look.
    pub warnings: Vec<String>,
    /// What keeps the flow from running.
    pub errors: Vec<String>,
    /// One output as it would be named now, if there is an input.
    pub example_output: Option<String>,
}

/// Checks one flow. Writes only under `{state}/_probe/` and `_baler_tmp/_probe/`.
///
/// Cost: a proof of each store that is not remembered, one LIST and one GET per store.
pub async fn check(flow: &Flow) -> Result<CheckReport, EngineError> {
    let mut report = CheckReport { flow: flow.name().to_owned(), ..CheckReport::default() };
    report.warnings = untested(flow);
    let from = flow.config.from.pattern.literal_prefix().to_owned();
    let request = ListRequest { prefix: from.clone(), folded: true, ..ListRequest::default() };
    match flow.source.list(&request).await {
        Ok(page) if page.objects.is_empty() && page.prefixes.is_empty() => {
            report.warnings.push(format!("nothing lies under `{from}` in `{}` yet", flow.source.info().url))
        }
        Ok(_) => report.fine.push(format!("source `{}` can be listed", flow.source.info().url)),
        Err(error) => report.errors.push(described(&error.to_string(), error.hint())),
    }
    match fitness::ensure(flow).await {
        Ok(warnings) => {
            report.warnings.extend(warnings);
            report.fine.push(format!("state `{}` holds a ledger safely", flow.ledger.store().info().url));
            report.fine.push(format!("target `{}` can be written", flow.target.info().url));
        }
        Err(error) => report.errors.push(described(&error.to_string(), error.hint())),
    }
    if let Operation::Convert(options) = &flow.config.operation {
        let paths = options.targets.iter().map(|target| format!("outputs are named `{}`", target.template.as_str()));
        report.fine.extend(paths);
    }
    lifecycle(flow, &mut report).await;
    if report.errors.is_empty() {
        let state = flow.ledger.load().await.map_err(flow.ledger_error())?;
        if flow.manifests.is_none() {
            let planned = crate::plan::plan(flow, &state, crate::plan::Ask::default()).await?;
            report.example_output = planned.plan.tasks.first().map(|t| t.key.to_string());
            report.warnings.extend(planned.refused.iter().map(|f| described(&f.error, f.hint.clone())));
        }
    }
    Ok(report)
}

/// Stores of a kind that Baler was built for from its documentation, and never tried on.
fn untested(flow: &Flow) -> Vec<String> {
    let mut stores = vec![&flow.source, flow.ledger.store(), &flow.target];
    stores.extend(flow.archive.as_ref().map(|archive| &archive.store));
    let stores = stores.into_iter().map(|store| store.info()).filter(|info| match info.kind {
        StoreKind::Gcs => true,
        StoreKind::Directory | StoreKind::S3 | StoreKind::Azure | StoreKind::Memory => false,
    });
    let mut urls: Vec<&str> = stores.map(|info| info.url.as_str()).collect();
    urls.sort_unstable();
    urls.dedup();
    let warning = |url| {
        format!(
            "`{url}` is on Google Cloud Storage, where Baler is untested: begin with objects that you have elsewhere too"
        )
    };
    urls.into_iter().map(warning).collect()
}

fn described(error: &str, hint: Option<String>) -> String {
    match hint {
        Some(hint) => format!("{error} (hint: {hint})"),
        None => error.to_owned(),
    }
}

/// Reports rules that reach the ledger, or that abort uploads younger than a run may last.
async fn lifecycle(flow: &Flow, report: &mut CheckReport) {
    let state = (flow.ledger.store(), flow.ledger.state_prefix().to_owned(), "the ledger");
    let target = (&flow.target, String::new(), "staged outputs");
    for (store, prefix, what) in [state, target] {
        match rules(store).await {
            Ok(rules) => {
                for rule in rules {
                    report.warnings.extend(fault(&rule, &prefix, what));
                }
            }
            Err(error) => {
                report.warnings.push(format!("lifecycle rules of `{}` cannot be read: {error}", store.info().url));
            }
        }
    }
}

async fn rules(store: &Arc<dyn Store>) -> Result<Vec<LifecycleRule>, baler_store::StoreError> {
    store.lifecycle().await
}

fn fault(rule: &LifecycleRule, prefix: &str, what: &str) -> Option<String> {
    let LifecycleRule { id, prefix: reach, expires_after, aborts_uploads_after } = rule;
    let reaches = prefix.starts_with(reach.as_str()) || reach.starts_with(prefix);
    match (what, expires_after, aborts_uploads_after) {
        ("the ledger", Some(days), _) if reaches => Some(format!(
            "lifecycle rule `{id}` removes objects under `{reach}` after {days} days, and the ledger with them: \
             exclude `{prefix}`"
        )),
        ("staged outputs", _, Some(days)) if *days < UPLOAD_DAYS && !reach.starts_with(PRIVATE_PREFIX) => {
            Some(format!(
                "lifecycle rule `{id}` aborts uploads under `{reach}` after {days} days; a run that lasts longer, or \
                 that waits for an operator, stages them again: {UPLOAD_DAYS} days or more are safe"
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(prefix: &str, expires: Option<u32>, aborts: Option<u32>) -> LifecycleRule {
        LifecycleRule { id: "r".into(), prefix: prefix.into(), expires_after: expires, aborts_uploads_after: aborts }
    }

    #[test]
    fn a_rule_that_reaches_the_ledger_is_reported() {
        assert!(fault(&rule("", Some(30), None), "_baler/", "the ledger").is_some());
        assert!(fault(&rule("_baler/audit/", Some(30), None), "_baler/", "the ledger").is_some());
        assert!(fault(&rule("raw/", Some(30), None), "_baler/", "the ledger").is_none());
    }

    #[test]
    fn a_rule_that_aborts_young_uploads_is_reported() {
        assert!(fault(&rule("", None, Some(1)), "", "staged outputs").is_some());
        assert!(fault(&rule("", None, Some(7)), "", "staged outputs").is_none());
        assert!(fault(&rule("_baler_tmp/", None, Some(1)), "", "staged outputs").is_none());
    }
}
