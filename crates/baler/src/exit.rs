//! Exit codes, and which one counts when several apply.

use std::process::ExitCode;

use crate::ui;

/// How the process ends; the greater one counts when several apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Done, or nothing was there to do.
    Success,
    /// Done, and records were set aside.
    Quarantined,
    /// Somebody else is executing it.
    Contended,
    /// Something failed.
    Failed,
    /// The command line or the configuration is wrong.
    Usage,
    /// The user stopped it.
    Interrupted,
    /// A bug in Baler.
    Internal,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Quarantined => 3,
            Self::Contended => 4,
            Self::Internal => 70,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Makes a panic say that it is a bug, and what to do about it.
pub(crate) fn announce_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        default(panic);
        ui::talk(&format!(
            "error: this is a bug in Baler (version {})\n\
             hint: please report it with the lines above; no data is lost, `baler run` goes on where it stopped\n",
            env!("CARGO_PKG_VERSION")
        ));
    }));
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn the_worst_code_counts() {
        let ranks = [Exit::Success, Exit::Contended, Exit::Failed, Exit::Usage, Exit::Interrupted, Exit::Internal];
        assert!(ranks.is_sorted());
        assert_eq!(ranks.map(Exit::code), [0, 4, 1, 2, 130, 70]);
    }
}
