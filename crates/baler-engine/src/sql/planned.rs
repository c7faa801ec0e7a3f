//! A query that was planned over the columns of records: what comes out, and that it may.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow_schema::{DataType, SchemaRef};
use baler_format::schema::{Column, Schema, Type};
use baler_model::ledger::Failure;
use datafusion::catalog::streaming::StreamingTable;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::disk_manager::DiskManager;
use datafusion::execution::memory_pool::{FairSpillPool, MemoryPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{SessionState, SessionStateBuilder, SessionStateDefaults};
use datafusion::logical_expr::{Expr, LogicalPlan, Volatility};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::parser::Statement;
use futures::FutureExt;

use super::arithmetic::CheckedArithmetic;
use super::fault;
use super::parse::{self, INPUT};
use super::running::Query;
use super::source::{Reading, Records};
use crate::error::TaskError;

/// Rows of a batch within a query.
pub(super) const ROWS: usize = 8_192;
/// The least memory that a query may take. Units: bytes.
const LEAST: u64 = 32 << 20;
/// Steps of a plan that read what is below them again and again.
const REPEATS: [&str; 1] = ["RecursiveQueryExec"];

/// A query over records of one schema.
#[derive(Debug)]
pub(crate) struct Sql {
    state: SessionState,
    plan: LogicalPlan,
    input: SchemaRef,
    output: Schema,
    /// The most that rows may hold which wait to be read twice. Units: bytes.
    held: usize,
}

impl Sql {
    /// Plans a query over records of these columns, with a pool of so many bytes, or a little more.
    ///
    /// Errors: what is no query, reads anything but `input`, gives another result each time it is asked, or gives columns
    /// that cannot be written.
    pub(crate) fn try_new(text: &str, input: &Schema, memory: u64) -> Result<Self, Failure> {
        super::deep(|| Self::planned(text, input, memory))
    }

    fn planned(text: &str, input: &Schema, memory: u64) -> Result<Self, Failure> {
        let statement = parse::parse(text)?;
        let arrow = input.to_arrow();
        let memory = usize::try_from(memory.max(LEAST)).unwrap_or(usize::MAX);
        let state = state(&arrow, memory).map_err(|error| fault::planning(&error))?;
        let plan = logical(&state, statement)?;
        let plan = state.optimize(&plan).map_err(|error| fault::planning(&error))?;
        let physical = physical(&state, &plan).map_err(|error| fault::planning(&error))?;
        let output = columns(&physical.schema())?;
        Ok(Self { state, plan, input: arrow, output, held: memory / 2 })
    }

    /// The columns that come out. Any value may be missing: what a query says of that holds for no reader.
    pub(crate) fn output(&self) -> &Schema {
        &self.output
    }

    /// Begins to query the records of one output.
    pub(crate) fn begin(&self) -> Result<Query, TaskError> {
        super::deep(|| self.begun())
    }

    fn begun(&self) -> Result<Query, TaskError> {
        // Planned anew for each output: steps of a plan may keep what they saw.
        let plan = physical(&self.state, &self.plan).map_err(|error| fault::running(&error))?;
        let reading = match scans(&plan) {
            (0, _) => Reading::Never,
            (1, false) => Reading::Once,
            (_, _) => Reading::Again,
        };
        Query::new(&self.state, plan, reading, &self.input, &self.output, self.held)
    }
}

/// How often the records are read, and whether anything reads them again and again.
fn scans(plan: &Arc<dyn ExecutionPlan>) -> (usize, bool) {
    let own = usize::from(plan.name() == "StreamingTableExec");
    let repeats = REPEATS.contains(&plan.name());
    let below = plan.children().into_iter().map(scans);
    below.fold((own, repeats), |(sum, repeats), (n, more)| (sum + n, repeats || more))
}

/// Everything that a query may use: functions, the table `input`, a pool of memory.
pub(super) fn state(input: &SchemaRef, memory: usize) -> Result<SessionState> {
    let mut config = SessionConfig::new()
        // Order is kept, and all processors are at work already: decoding and encoding.
        .with_target_partitions(1)
        .with_batch_size(ROWS)
        .with_information_schema(false);
    let options = config.options_mut();
    // Names are those of the records, byte for byte.
    options.sql_parser.enable_ident_normalization = false;
    options.sql_parser.map_string_types_to_utf8view = false;
    options.execution.planning_concurrency = 1;
    options.execution.sort_spill_reservation_bytes = (memory / 8).clamp(2 << 20, 10 << 20);
    options.execution.spill_compression = "lz4_frame".parse()?;
    let pool: Arc<dyn MemoryPool> = Arc::new(FairSpillPool::new(memory));
    let runtime: Arc<RuntimeEnv> = RuntimeEnvBuilder::new()
        .with_memory_pool(pool)
        .with_disk_manager_builder(DiskManager::builder().with_max_temp_directory_size(u64::MAX))
        .build_arc()?;
    let mut planners = SessionStateDefaults::default_expr_planners();
    // The first that plans an operator wins.
    planners.insert(0, Arc::new(CheckedArithmetic));
    // No formats of files, no functions that are tables: records come from `input` alone.
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_expr_planners(planners)
        .with_scalar_functions(SessionStateDefaults::default_scalar_functions())
        .with_higher_order_functions(SessionStateDefaults::default_higher_order_functions())
        .with_aggregate_functions(SessionStateDefaults::default_aggregate_functions())
        .with_window_functions(SessionStateDefaults::default_window_functions())
        .build();
    let table = StreamingTable::try_new(Arc::clone(input), vec![Arc::new(Records::new(Arc::clone(input)))])?;
    state.schema_for_ref(INPUT)?.register_table(INPUT.to_owned(), Arc::new(table))?;
    Ok(state)
}

pub(super) fn logical(state: &SessionState, statement: Statement) -> Result<LogicalPlan, Failure> {
    let plan = at_once(state.statement_to_plan(statement)).map_err(|error| fault::planning(&error))?;
    if let Some(function) = changing(&plan).map_err(|error| fault::planning(&error))? {
        return Err(Failure {
            error: format!("`{function}()` gives another value each time: a task that is tried again would differ"),
            hint: Some("take a column of the records instead; `provenance` gives each its key and line".to_owned()),
        });
    }
    Ok(plan)
}

/// The first function whose value depends on more than its arguments.
fn changing(plan: &LogicalPlan) -> Result<Option<String>> {
    let mut found = None;
    let mut look = |expr: &Expr| {
        let (name, volatility) = match expr {
            Expr::ScalarFunction(call) => (call.func.name(), call.func.signature().volatility),
            Expr::AggregateFunction(call) => (call.func.name(), call.func.signature().volatility),
            Expr::WindowFunction(call) => (call.fun.name(), call.fun.signature().volatility),
            _ => return Ok(TreeNodeRecursion::Continue),
        };
        Ok(match volatility {
            Volatility::Immutable => TreeNodeRecursion::Continue,
            Volatility::Stable | Volatility::Volatile => {
                found = Some(name.to_owned());
                TreeNodeRecursion::Stop
            }
        })
    };
    plan.apply_with_subqueries(|plan| plan.apply_expressions(|expr| expr.apply(&mut look)))?;
    Ok(found)
}

fn physical(state: &SessionState, plan: &LogicalPlan) -> Result<Arc<dyn ExecutionPlan>> {
    at_once(state.query_planner().create_physical_plan(plan, state))
}

/// What is asynchronous in its form alone: nothing is waited for where tables lie in memory.
fn at_once<T>(planning: impl Future<Output = Result<T>>) -> Result<T> {
    planning.now_or_never().unwrap_or_else(|| Err(DataFusionError::Internal("planning has to wait".to_owned())))
}

/// The columns that come out, in the types that can be written.
pub(super) fn columns(result: &arrow_schema::Schema) -> Result<Schema, Failure> {
    let mut names = BTreeSet::new();
    let mut columns = Vec::with_capacity(result.fields().len());
    for field in result.fields() {
        let name = field.name();
        if !names.insert(name.as_str()) {
            return Err(Failure {
                error: format!("two columns come out with the name `{name}`"),
                hint: Some(format!("give one of them another: `AS {name}_2`")),
            });
        }
        let Some(kind) = writable(field.data_type()) else {
            let cast = match field.data_type() {
                DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
                    format!("write it as text: `encode({name}, 'hex') AS {name}`")
                }
                DataType::Decimal128(..) | DataType::Decimal256(..) => {
                    format!("cast it: `CAST(… AS DECIMAL(38, 9)) AS {name}`")
                }
                _ => format!("cast it: `CAST(… AS VARCHAR) AS {name}`, or to a type that can be written"),
            };
            return Err(Failure {
                error: format!("column `{name}` is {}, which cannot be written", field.data_type()),
                hint: Some(cast),
            });
        };
        columns.push(Column::new(name, kind));
    }
    Schema::try_new(columns).map_err(|error| Failure { error: error.to_string(), hint: None })
}

/// The type that a result is written in.
fn writable(kind: &DataType) -> Option<Type> {
    match kind {
        // Bytes are no text unless somebody says how.
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView => None,
        // Numbers of rows, ranks and counts: what is larger than 64 bits with a sign fails when it is cast.
        DataType::UInt64 => Some(Type::Int64),
        other => Type::of_arrow(other).map(any_may_be_missing),
    }
}

fn any_may_be_missing(kind: Type) -> Type {
    match kind {
        Type::List(item) => Type::List(Box::new(any_may_be_missing(*item))),
        Type::Struct(columns) => {
            let column = |column: Column| Column::new(column.name, any_may_be_missing(column.kind));
            Type::Struct(columns.into_iter().map(column).collect())
        }
        other => other,
    }
}
