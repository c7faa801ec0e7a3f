//! Texts without the blanks around them, and texts that stand for null.

use std::sync::Arc;

use arrow_array::builder::StringBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, StringArray};
use arrow_buffer::{BooleanBufferBuilder, NullBuffer};
use arrow_schema::ArrowError;

/// Takes blanks off both ends; hands the same array back where there are none.
pub(super) fn trim(array: ArrayRef) -> ArrayRef {
    let texts = array.as_string::<i32>();
    if texts.iter().flatten().all(|text| text.trim().len() == text.len()) {
        return array;
    }
    let mut trimmed = StringBuilder::with_capacity(texts.len(), texts.value_data().len());
    texts.iter().for_each(|text| trimmed.append_option(text.map(str::trim)));
    Arc::new(trimmed.finish())
}

/// Makes null of texts; hands the same array back where there are none of them. Cost: one comparison per value and literal.
pub(super) fn nulls(array: ArrayRef, literals: &[String]) -> Result<ArrayRef, ArrowError> {
    let texts = array.as_string::<i32>();
    let is_null = |text: &str| literals.iter().any(|literal| literal == text);
    if !texts.iter().flatten().any(is_null) {
        return Ok(array);
    }
    let mut valid = BooleanBufferBuilder::new(texts.len());
    texts.iter().for_each(|text| valid.append(text.is_some_and(|text| !is_null(text))));
    let (offsets, values, _) = texts.clone().into_parts();
    Ok(Arc::new(StringArray::try_new(offsets, values, Some(NullBuffer::new(valid.finish())))?))
}
