//! Errors as people see them: `error: …`, causes indented, then `hint: …` on a line of its own.

use std::fmt;

use baler_engine::EngineError;
use baler_engine::ledger::LedgerError;
use baler_model::{ConfigError, Kind};
use baler_store::StoreError;

use crate::exit::Exit;
use crate::ui;

/// A command line that asks for something that is not there.
#[derive(Debug)]
pub(crate) struct UsageError {
    message: String,
    hint: Option<String>,
}

impl UsageError {
    /// Says what is wrong and what to do.
    pub(crate) fn new(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { message: message.into(), hint: Some(hint.into()) }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UsageError {}

/// Prints an error with its causes and its hint to stderr.
pub(crate) fn print(error: &anyhow::Error) {
    ui::talk(&format!("{}\n", render(error)));
}

fn render(error: &anyhow::Error) -> String {
    if let Some(config) = error.downcast_ref::<ConfigError>() {
        let problems: Vec<String> = config.problems().iter().map(|problem| format!("error: {problem}")).collect();
        return problems.join("\n\n");
    }
    let mut text = String::new();
    let mut last = String::new();
    for (depth, cause) in error.chain().enumerate() {
        let words = cause.to_string();
        // A wrapper that only passes its cause on says the same again.
        if words == last {
            continue;
        }
        match depth {
            0 => text.push_str(&format!("error: {words}")),
            _ => text.push_str(&format!("\n  because: {words}")),
        }
        last = words;
    }
    if let Some(hint) = hint(error) {
        text.push_str(&format!("\nhint: {hint}"));
    }
    text
}

fn hint(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(error) = cause.downcast_ref::<EngineError>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<StoreError>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<LedgerError>() {
            error.hint()
        } else if let Some(error) = cause.downcast_ref::<UsageError>() {
            error.hint.clone()
        } else {
            None
        }
    })
}

/// The exit code that an error calls for.
pub(crate) fn exit(error: &anyhow::Error) -> Exit {
    if error.is::<UsageError>() || error.is::<ConfigError>() {
        return Exit::Usage;
    }
    match error.downcast_ref::<EngineError>() {
        Some(EngineError::Interrupted) => Exit::Interrupted,
        // What `baler.toml` or the command line asks for cannot be done.
        Some(EngineError::Unfit { .. } | EngineError::Moved { .. } | EngineError::NoRun { .. }) => Exit::Usage,
        Some(error @ (EngineError::Ledger { .. } | EngineError::Store(_) | EngineError::Broken { .. })) => {
            exit_of_kind(error.kind())
        }
        Some(EngineError::WrongState { .. }) => Exit::Failed,
        None => match error.downcast_ref::<StoreError>() {
            Some(StoreError::Unsupported { .. }) => Exit::Usage,
            Some(_) | None => Exit::Failed,
        },
    }
}

fn exit_of_kind(kind: Kind) -> Exit {
    match kind {
        Kind::Contended => Exit::Contended,
        Kind::Transient | Kind::Invalid | Kind::Data => Exit::Failed,
        Kind::Internal => Exit::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_stands_on_its_own_line_behind_the_causes() {
        let store = StoreError::NoRoom { store: "lake".into(), doing: "write `a`".into(), detail: "full".into() };
        let error = anyhow::Error::from(EngineError::from(store)).context("flow `audit`");
        let expected = "error: flow `audit`\n  because: `lake` has no room to write `a`: full\n\
                        hint: free some space (or remount what is read-only) or choose another target, then run again";
        assert_eq!(render(&error), expected);
    }

    #[test]
    fn a_broken_promise_of_ours_is_not_the_users_fault() {
        let flow = baler_model::FlowName::try_new("f").unwrap();
        let run = baler_model::RunId::try_new("r").unwrap();
        let error = anyhow::Error::from(EngineError::Broken { flow, run, detail: "x".into() });
        assert_eq!(exit(&error), Exit::Internal);
        assert_eq!(exit(&UsageError::new("no", "yes").into()), Exit::Usage);
    }
}
