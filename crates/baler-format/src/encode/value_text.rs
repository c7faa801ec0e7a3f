//! Values as text, as CSV writes them.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;

use super::json::push_value;
use super::values::push_scalar;

/// Appends the text of a value: scalars as CSV has them, lists and structs as JSON. A null has none.
///
/// Errors: dates and times beyond the years 0000 to 9999; in lists and structs also floats that JSON does not have.
pub fn push_text(out: &mut String, array: &ArrayRef, row: usize) -> Result<(), String> {
    if array.is_null(row) {
        return Ok(());
    }
    match array.data_type() {
        DataType::Utf8 => {
            out.push_str(array.as_string::<i32>().value(row));
            Ok(())
        }
        DataType::List(_) | DataType::Struct(_) => push_value(out, array, row),
        _ => push_scalar(out, array, row),
    }
}
