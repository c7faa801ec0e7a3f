//! `baler schema`: the JSON Schema of `baler.toml`.

use crate::exit::Exit;
use crate::ui;

pub(super) fn execute() -> anyhow::Result<Exit> {
    ui::json(&baler_model::config::schema())?;
    Ok(Exit::Success)
}
