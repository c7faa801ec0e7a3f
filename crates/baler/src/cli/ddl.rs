//! `baler ddl`: the tables that Athena and Glue see in what a flow writes.

use baler_engine::op::convert::tables::{self, Asked};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::{Format, Global};
use crate::exit::Exit;
use crate::session::Session;
use crate::ui;

#[derive(Debug, clap::Args)]
pub(super) struct Ddl {
    /// The flow
    #[arg(value_name = "FLOW")]
    flow: String,
    /// The database of the tables
    #[arg(long, value_name = "NAME", default_value = "default")]
    database: String,
    /// Where the outputs lie, if not where the flow writes them: `s3://bucket/prefix`
    #[arg(long, value_name = "URL")]
    location: Option<String>,
    /// Print the `TableInput` of Glue instead of Athena's SQL
    #[arg(long)]
    glue: bool,
}

impl Ddl {
    pub(super) async fn execute(&self, global: &Global, cancel: &CancellationToken) -> anyhow::Result<Exit> {
        let session = Session::start(global, cancel)?;
        let mut exit = Exit::Success;
        for flow in session.flows(std::slice::from_ref(&self.flow))? {
            let state = session.ledger(&flow).await?;
            let asked = Asked { database: &self.database, location: self.location.as_deref() };
            let (tables, reasons) = tables::define(&flow, &state, asked).await?;
            if self.glue || session.format == Format::Json {
                ui::json(&tables.iter().map(|table| table.glue.clone()).collect::<Vec<Value>>())?;
            } else {
                ui::out(&tables.iter().map(|table| table.athena.as_str()).collect::<Vec<&str>>().join("\n"))?;
            }
            for reason in &reasons {
                ui::talk(&format!("left out: {reason}\n"));
            }
            if tables.is_empty() {
                exit = Exit::Failed;
            }
        }
        Ok(exit)
    }
}
