//! `baler completions SHELL`.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::exit::Exit;
use crate::ui;

#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell
    shell: Shell,
}

impl Completions {
    pub(super) fn execute(&self) -> anyhow::Result<Exit> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut super::Cli::command(), "baler", &mut script);
        ui::out(&String::from_utf8(script)?)?;
        Ok(Exit::Success)
    }
}
