//! Sums, differences and products of whole numbers that fail where they would wrap around.
//!
//! DataFusion's own wrap silently, and a wrong number that nobody notices is worse than a group that fails.

use std::sync::Arc;

use arrow_schema::DataType;
use datafusion::arrow::compute::kernels::numeric;
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::planner::{ExprPlanner, PlannerResult, RawBinaryExpr};
use datafusion::logical_expr::{
    ColumnarValue, ExprSchemable, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::ast::BinaryOperator;

/// Plans arithmetic of whole numbers as functions that check.
#[derive(Debug)]
pub(super) struct CheckedArithmetic;

impl ExprPlanner for CheckedArithmetic {
    fn plan_binary_op(&self, expr: RawBinaryExpr, schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let operation = match expr.op {
            BinaryOperator::Plus => Operation::Add,
            BinaryOperator::Minus => Operation::Subtract,
            BinaryOperator::Multiply => Operation::Multiply,
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let is_whole = |kind: DataType| kind.is_integer();
        let both = expr.left.get_type(schema).is_ok_and(is_whole) && expr.right.get_type(schema).is_ok_and(is_whole);
        if !both {
            return Ok(PlannerResult::Original(expr));
        }
        let function = ScalarUDF::from(Checked {
            operation,
            signature: Signature::exact(vec![DataType::Int64; 2], Volatility::Immutable),
        });
        Ok(PlannerResult::Planned(Arc::new(function).call(vec![expr.left, expr.right])))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
}

/// One operation on whole numbers of 64 bits.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Checked {
    operation: Operation,
    signature: Signature,
}

impl ScalarUDFImpl for Checked {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "add",
            Operation::Subtract => "subtract",
            Operation::Multiply => "multiply",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arguments: &[DataType]) -> Result<DataType> {
        Ok(DataType::Int64)
    }

    fn invoke_with_args(&self, arguments: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let operation = match self.operation {
            Operation::Add => numeric::add,
            Operation::Subtract => numeric::sub,
            Operation::Multiply => numeric::mul,
        };
        datafusion::physical_expr_common::datum::apply(&arguments.args[0], &arguments.args[1], operation)
    }
}
