//! Records that a decoder refused, and why.

use std::fmt;
use std::ops::Range;

/// One record that could not be decoded or typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejected {
    /// The line on which the record begins, from 1.
    pub line: u64,
    /// The byte at which decoding stopped, from the start of the text.
    pub offset: u64,
    /// The column that was being decoded, where one was.
    pub column: Option<usize>,
    /// What is wrong.
    pub reason: Reason,
    /// The record's bytes in the text, without its line end.
    pub raw: Range<u64>,
}

/// What is wrong with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// A JSON line that holds something else than an object.
    NotAnObject,
    /// A byte that JSON does not allow at this place.
    Syntax,
    /// The line ends before its object does.
    Truncated,
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// An escape that JSON does not know, or half a surrogate pair.
    Escape,
    /// A control character inside a JSON string.
    ControlCharacter,
    /// A number that is not written as JSON or CSV numbers are.
    Number,
    /// `NaN` or an infinity, where none is allowed.
    NotFinite,
    /// A number with a fraction for a column of integers.
    Fraction,
    /// A value outside the range of the column's type.
    OutOfRange,
    /// A decimal with more digits behind the point than the column has.
    Scale,
    /// A value of another type than the column's.
    WrongType,
    /// A date or time that is not written as ISO 8601 writes them, or does not exist.
    Time,
    /// No value for a column that may not be null.
    Null,
    /// A key that stands twice in one object.
    DuplicateKey,
    /// Arrays and objects nested deeper than 128.
    TooDeep,
    /// More or fewer fields than columns.
    FieldCount {
        /// How many fields the record has.
        found: u32,
    },
    /// A quoted field that the text's end, or the record's length limit, leaves open.
    OpenQuote,
    /// Text behind the closing quote of a field.
    AfterQuote,
    /// A record longer than the limit.
    TooLong,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnObject => "the line is not a JSON object",
            Self::Syntax => "the line is not JSON",
            Self::Truncated => "the line ends inside the object",
            Self::NotUtf8 => "the bytes are not UTF-8",
            Self::Escape => "the escape stands for no character",
            Self::ControlCharacter => "a string holds a bare control character",
            Self::Number => "the text is not a number",
            Self::NotFinite => "the number is not finite",
            Self::Fraction => "the column holds integers and the number has a fraction",
            Self::OutOfRange => "the value is outside the range of the column's type",
            Self::Scale => "the decimal has more digits behind the point than the column",
            Self::WrongType => "the value is of another type than the column",
            Self::Time => "the text is not an ISO 8601 date or time",
            Self::Null => "the column may not be null",
            Self::DuplicateKey => "the object names a key twice",
            Self::TooDeep => "the value is nested deeper than 128",
            Self::FieldCount { found } => return write!(f, "the record has {found} fields"),
            Self::OpenQuote => "a quoted field is not closed",
            Self::AfterQuote => "text follows the closing quote of a field",
            Self::TooLong => "the record is longer than the limit",
        })
    }
}
