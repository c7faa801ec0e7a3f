//! What a run did, where the result lies, what failed, and what to do next.

use baler_engine::report::{FailureReport, RunReport, Status};
use baler_model::ledger::Account;

use super::quantity;
use super::table::{Align, Table};
use crate::exit::Exit;

/// Outputs shown per run; the rest is counted.
const SHOWN: usize = 5;

/// A run's report, and the address of its target.
#[derive(Debug)]
pub(crate) struct Told {
    /// The report.
    pub(crate) report: RunReport,
    /// The address of the target store.
    pub(crate) target: String,
}

/// The word for a status.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::Committed => "committed",
        Status::Failed => "failed",
        Status::Blocked => "blocked",
        Status::Aborted => "aborted",
        Status::Interrupted => "interrupted",
        Status::Nothing => "nothing",
        Status::Contended => "contended",
    }
}

/// The exit code that a report calls for.
pub(crate) fn exit(report: &RunReport) -> Exit {
    match report.status {
        Status::Committed if report.account.quarantined.is_some_and(|records| records > 0) => Exit::Quarantined,
        Status::Committed | Status::Nothing => Exit::Success,
        Status::Failed | Status::Blocked | Status::Aborted => Exit::Failed,
        // Stopped by somebody's Ctrl-C, here or in the process that executes it.
        Status::Interrupted => Exit::Failed,
        Status::Contended => Exit::Contended,
    }
}

/// Everything that goes to stdout about some runs.
pub(crate) fn summary(told: &[Told]) -> String {
    let mut text = String::new();
    let (acted, idle): (Vec<&Told>, Vec<&Told>) = told.iter().partition(|t| t.report.run.is_some());
    if !acted.is_empty() {
        text.push_str(&table(&acted));
    }
    for told in &acted {
        let report = &told.report;
        if !report.outputs.is_empty() {
            text.push_str(&format!("\n{} wrote to {}\n{}", report.flow, told.target, outputs(report)));
        }
        for note in &report.notes {
            text.push_str(&format!("\n{}: {note}\n", report.flow));
        }
    }
    if !acted.is_empty() && !idle.is_empty() {
        text.push('\n');
    }
    for told in idle {
        let report = &told.report;
        let first = !acted.iter().any(|other| other.report.flow == report.flow);
        let said = match report.status {
            Status::Nothing if first => "nothing to do",
            Status::Nothing => "nothing else to do",
            Status::Contended => "others were faster",
            Status::Failed | Status::Blocked | Status::Aborted | Status::Interrupted | Status::Committed => {
                "nothing was done"
            }
        };
        text.push_str(&format!("{}: {said}\n", report.flow));
        for note in &report.notes {
            text.push_str(&format!("  {note}\n"));
        }
    }
    text
}

fn table(told: &[&Told]) -> String {
    use Align::{Left, Right};
    let mut table = Table::new(&[
        ("flow", Left),
        ("run", Left),
        ("status", Left),
        ("groups", Right),
        ("objects", Right),
        ("bytes", Right),
        ("records", Right),
        ("server-side", Right),
        ("through here", Right),
        ("requests", Right),
        ("time", Right),
    ]);
    for told in told {
        let RunReport { flow, run, status, groups, account, requests, seconds, .. } = &told.report;
        let sent = requests.list + requests.get + requests.put + requests.copy + requests.head + requests.delete;
        let all = groups.committed + groups.failed;
        table.row([
            flow.to_string(),
            run.as_ref().map(ToString::to_string).unwrap_or_default(),
            word(*status).to_owned(),
            match groups.failed {
                0 => quantity::count(groups.committed),
                _ => format!("{} of {}", quantity::count(groups.committed), quantity::count(all)),
            },
            format!("{} → {}", quantity::count(account.objects_in), quantity::count(account.objects_out)),
            quantity::bytes(account.bytes_out),
            records(account),
            quantity::bytes(told.report.bytes_copied_server_side),
            quantity::bytes(told.report.bytes_through_client),
            quantity::count(sent),
            quantity::seconds(*seconds),
        ]);
    }
    table.render(0)
}

/// Records in and out; nothing where they were not counted.
fn records(account: &Account) -> String {
    match (account.records_in, account.records_out) {
        (Some(read), Some(written)) => format!("{} → {}", quantity::count(read), quantity::count(written)),
        (_, _) => String::new(),
    }
}

fn outputs(report: &RunReport) -> String {
    let mut table = Table::headless(&[Align::Left, Align::Right, Align::Right]);
    for output in report.outputs.iter().take(SHOWN) {
        let records = output.records.map_or_else(String::new, |records| quantity::things(records, "record"));
        table.row([output.key.to_string(), quantity::bytes(output.bytes), records]);
    }
    let mut text = table.render(2);
    if report.outputs.len() > SHOWN {
        text.push_str(&format!("  … and {} more\n", quantity::count((report.outputs.len() - SHOWN) as u64)));
    }
    text
}

/// Everything that goes to stderr about some runs: failures with hints, then what to do next. `baler` is how the program
/// is called for this configuration.
pub(crate) fn talk(told: &[Told], baler: &str) -> String {
    failures(told) + &next_steps(told, baler)
}

/// Failures with their hints: what even `--quiet` shows.
pub(crate) fn failures(told: &[Told]) -> String {
    told.iter().map(|told| failed(told.report.flow.as_str(), &told.report.failures)).collect()
}

/// `error: …` for every failure, then `hint: …`; failures that share a hint stand together, and the first few are shown.
pub(crate) fn failed(flow: &str, failures: &[FailureReport]) -> String {
    let mut text = String::new();
    for alike in failures.chunk_by(|a, b| a.hint == b.hint) {
        for failure in alike.iter().take(SHOWN) {
            text.push_str(&format!("error: {flow}: {}\n", failure.error));
        }
        if alike.len() > SHOWN {
            let more = quantity::things((alike.len() - SHOWN) as u64, "failure");
            text.push_str(&format!("error: {flow}: … and {more} more of this kind\n"));
        }
        if let Some(hint) = &alike[0].hint {
            text.push_str(&format!("hint: {hint}\n"));
        }
    }
    text
}

fn next_steps(told: &[Told], baler: &str) -> String {
    let mut text = String::new();
    for report in told.iter().map(|t| &t.report) {
        let Some(run) = &report.run else { continue };
        text.push_str(&match report.status {
            Status::Committed if exit(report) == Exit::Quarantined => {
                let aside = quantity::things(report.account.quarantined.unwrap_or(0), "record");
                format!(
                    "next: {aside} set aside, `{baler} quarantine {}` shows why; `{baler} show {run}` tells how to undo it\n",
                    report.flow
                )
            }
            Status::Committed => {
                format!("next: `{baler} verify {run}` proves it again, `{baler} show {run}` tells how to undo it\n")
            }
            Status::Failed => format!("next: `{baler} show {run}` tells what happened; `{baler} run` plans it again\n"),
            Status::Blocked => format!("next: `{baler} show {run}` tells what happened; it waits for you, as hinted\n"),
            Status::Interrupted | Status::Contended | Status::Aborted | Status::Nothing => String::new(),
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_that_share_a_hint_get_it_once_and_the_rest_is_counted() {
        let failure = |n: usize, hint: &str| FailureReport {
            group: format!("out/{n}"),
            error: format!("`out/{n}` exists"),
            hint: Some(hint.into()),
        };
        let mut failures: Vec<FailureReport> = (0..SHOWN + 2).map(|n| failure(n, "move it")).collect();
        failures.push(failure(99, "mend it"));
        let text = failed("f", &failures);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), SHOWN + 1 + 1 + 2, "{text}");
        assert_eq!(
            lines[SHOWN..],
            [
                "error: f: … and 2 failures more of this kind",
                "hint: move it",
                "error: f: `out/99` exists",
                "hint: mend it",
            ]
        );
    }
}
