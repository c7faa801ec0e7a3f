//! A query that takes records one by one, as a step of `scatter`: what it keeps comes out once, in the same order, so that each
//! record has an answer. It is a list of expressions that are evaluated over batches; nothing is held back.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::SchemaRef;
use arrow_select::filter::filter_record_batch;
use baler_format::schema::Schema;
use baler_model::ledger::Failure;
use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::{Expr, LogicalPlan};
use datafusion::optimizer::simplify_expressions::SimplifyExpressions;
use datafusion::physical_expr::PhysicalExpr;

use super::{fault, fitted, parse, planned};
use crate::error::TaskError;

/// Constant parts of a query take no memory to speak of. Units: bytes.
const MEMORY: usize = 32 << 20;

/// A query over single records, planned over their columns.
pub(crate) struct OneByOne {
    stages: Vec<Stage>,
    output: Schema,
    arrow: SchemaRef,
}

/// What is done to records, in this order.
enum Stage {
    /// Those for which this is true stay.
    Keep(Arc<dyn PhysicalExpr>),
    /// They become these columns.
    Become(Vec<Arc<dyn PhysicalExpr>>, SchemaRef),
}

/// What came out of a batch.
pub(crate) struct Kept {
    /// In the order of the records.
    pub(crate) batch: RecordBatch,
    /// Of which row each was made.
    pub(crate) rows: Vec<usize>,
}

impl OneByOne {
    /// Plans a query over records of these columns.
    ///
    /// Errors: as of [`super::Sql::try_new`], and what looks at several records.
    pub(crate) fn try_new(text: &str, input: &Schema) -> Result<Self, Failure> {
        super::deep(|| Self::planned(text, input))
    }

    fn planned(text: &str, input: &Schema) -> Result<Self, Failure> {
        let refused = |error: DataFusionError| fault::planning(&error);
        let statement = parse::parse(text)?;
        let state = planned::state(&input.to_arrow(), MEMORY).map_err(refused)?;
        // Nothing is moved from step to step: functions become what can be evaluated, and that is all.
        let state = SessionStateBuilder::new_from_existing(state)
            .with_optimizer_rules(vec![Arc::new(SimplifyExpressions::new())])
            .build();
        let plan = planned::logical(&state, statement)?;
        let mut stages = Vec::new();
        alone(&plan)?;
        let plan = state.optimize(&plan).map_err(refused)?;
        add(&state, &plan, &mut stages).map_err(refused)?;
        let output = planned::columns(plan.schema().as_arrow())?;
        Ok(Self { stages, arrow: output.to_arrow(), output })
    }

    /// The columns that come out. Any value may be missing.
    pub(crate) fn output(&self) -> &Schema {
        &self.output
    }

    /// Takes records. Errors: of any one of them.
    pub(crate) fn take(&self, batch: &RecordBatch) -> Result<Kept, TaskError> {
        let mut kept = Kept { batch: batch.clone(), rows: (0..batch.num_rows()).collect() };
        super::deep(|| self.stages.iter().try_for_each(|stage| kept.go_through(stage)))
            .map_err(|error| fault::running(&error))?;
        kept.batch = fitted(&kept.batch, &self.arrow)?;
        Ok(kept)
    }
}

impl Kept {
    fn go_through(&mut self, stage: &Stage) -> Result<()> {
        let rows = self.batch.num_rows();
        match stage {
            Stage::Keep(predicate) => {
                let truth = predicate.evaluate(&self.batch)?.into_array(rows)?;
                let truth =
                    true_alone(truth.as_boolean_opt().ok_or_else(|| {
                        DataFusionError::Internal(format!("`{predicate}` is neither true nor false"))
                    })?);
                self.batch = filter_record_batch(&self.batch, &truth)?;
                self.rows =
                    self.rows.iter().zip(truth.values()).filter(|(_, kept)| *kept).map(|(row, _)| *row).collect();
            }
            Stage::Become(columns, schema) => {
                let column = |column: &Arc<dyn PhysicalExpr>| column.evaluate(&self.batch)?.into_array(rows);
                let columns = columns.iter().map(column).collect::<Result<Vec<ArrayRef>>>()?;
                self.batch = RecordBatch::try_new(Arc::clone(schema), columns)?;
            }
        }
        Ok(())
    }
}

/// What is neither true nor false is not true.
fn true_alone(truth: &BooleanArray) -> BooleanArray {
    match truth.nulls() {
        Some(nulls) => BooleanArray::new(truth.values() & nulls.inner(), None),
        None => truth.clone(),
    }
}

/// Refuses what looks at more than one record.
fn alone(plan: &LogicalPlan) -> Result<(), Failure> {
    let mut found: Option<&str> = None;
    let mut look = |plan: &LogicalPlan| {
        found = match plan {
            LogicalPlan::Projection(_) | LogicalPlan::Filter(_) | LogicalPlan::TableScan(_) => None,
            LogicalPlan::SubqueryAlias(_) => None,
            LogicalPlan::Sort(_) => Some("`ORDER BY`"),
            LogicalPlan::Limit(_) => Some("`LIMIT`"),
            LogicalPlan::Aggregate(_) => Some("`GROUP BY` and sums"),
            LogicalPlan::Window(_) => Some("windows (`OVER`)"),
            LogicalPlan::Distinct(_) => Some("`DISTINCT`"),
            LogicalPlan::Join(_) => Some("joins"),
            LogicalPlan::Union(_) => Some("`UNION`"),
            LogicalPlan::Unnest(_) => Some("`unnest`"),
            _ => Some("such a query"),
        };
        let mut ends = found.is_some();
        if !ends {
            plan.apply_expressions(|expr| {
                expr.apply(|expr| {
                    Ok(match expr {
                        Expr::ScalarSubquery(_) | Expr::InSubquery(_) | Expr::Exists(_) | Expr::SetComparison(_) => {
                            found = Some("queries within the query");
                            ends = true;
                            TreeNodeRecursion::Stop
                        }
                        _ => TreeNodeRecursion::Continue,
                    })
                })
            })?;
        }
        Ok(if ends { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    };
    plan.apply(&mut look).map_err(|error| fault::planning(&error))?;
    match found {
        None => Ok(()),
        Some(found) => Err(Failure {
            error: format!("a step of `each` takes records one by one: {found} would look at several, or make several of one"),
            hint: Some("select columns and leave records out: `SELECT … FROM input WHERE …`; groups and joins are for `do = \"convert\"`".to_owned()),
        }),
    }
}

/// Adds the steps of a plan, the first one first.
fn add(state: &SessionState, plan: &LogicalPlan, stages: &mut Vec<Stage>) -> Result<()> {
    match plan {
        LogicalPlan::TableScan(_) => Ok(()),
        LogicalPlan::SubqueryAlias(alias) => add(state, &alias.input, stages),
        LogicalPlan::Filter(filter) => {
            add(state, &filter.input, stages)?;
            let predicate = state.create_physical_expr(filter.predicate.clone(), filter.input.schema())?;
            stages.push(Stage::Keep(predicate));
            Ok(())
        }
        LogicalPlan::Projection(projection) => {
            add(state, &projection.input, stages)?;
            let within = projection.input.schema();
            let columns = projection.expr.iter().map(|expr| state.create_physical_expr(expr.clone(), within));
            let columns = columns.collect::<Result<Vec<_>>>()?;
            // What a query says of missing values holds for no reader.
            let fields = projection.schema.fields().iter().map(|field| field.as_ref().clone().with_nullable(true));
            let schema = arrow_schema::Schema::new(fields.collect::<Vec<_>>());
            stages.push(Stage::Become(columns, Arc::new(schema)));
            Ok(())
        }
        other => Err(DataFusionError::Internal(format!("a step that was refused before: {}", other.display()))),
    }
}
