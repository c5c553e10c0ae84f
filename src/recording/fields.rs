//! One row of a recording, as the reader found it.

use super::measures::Values;
use super::schema::{Field, Schema};

/// Separates fields that were taken out of quotes or of JSON. It never occurs in UTF-8, so a value
/// cannot contain it.
pub(super) const SEPARATOR: u8 = 0xff;

/// The text of a record. A separator of one byte follows each field except the last.
#[derive(Clone, Copy)]
pub(super) struct Record<'a> {
    pub(super) text: &'a [u8],
    /// Where each field ends.
    pub(super) ends: &'a [u32],
}

impl<'a> Record<'a> {
    fn begin(&self, column: usize) -> usize {
        let before = column
            .checked_sub(1)
            .and_then(|before| self.ends.get(before));
        before.map_or(0, |end| *end as usize + 1)
    }

    /// The bytes of the columns from `first` to `last`, with the separators between them.
    pub(super) fn range(&self, first: usize, last: usize) -> &'a [u8] {
        let end = self.ends.get(last).map_or(0, |end| *end as usize);
        self.text.get(self.begin(first)..end).unwrap_or_default()
    }

    pub(super) fn field(&self, column: usize) -> &'a [u8] {
        self.range(column, column)
    }
}

/// One row.
#[derive(Clone, Copy)]
pub struct Row<'a> {
    /// The columns of the recording.
    pub schema: &'a Schema,
    /// Counts the headers of the file. Rows with the same number have the same columns.
    pub header: u32,
    /// The end of the interval, in milliseconds since 1970 in UTC.
    pub time: i64,
    /// The length of the interval in microseconds.
    pub interval: u64,
    /// The numbers.
    pub values: &'a Values,
    pub(super) record: Record<'a>,
}

impl<'a> Row<'a> {
    /// The text of a field. `None` if the value is absent.
    ///
    /// # Errors
    ///
    /// A text that names the column, if the value is not UTF-8.
    pub fn text(&self, field: Field) -> Result<Option<&'a str>, String> {
        let Some(column) = self.schema.column(field) else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.record.field(column)).map_err(|_| {
            let name = self.schema.names().get(column).map_or("", String::as_str);
            format!("{name} is not UTF-8")
        })?;
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    /// A number that is not a measure. `None` if the value is absent.
    ///
    /// # Errors
    ///
    /// A text that names the column, if the value is not a number.
    pub fn number(&self, field: Field) -> Result<Option<u64>, String> {
        let Some(column) = self.schema.column(field) else {
            return Ok(None);
        };
        let text = self.record.field(column);
        let name = self.schema.names().get(column).map_or("", String::as_str);
        number(text).map_err(|error| format!("{name}: {error}"))
    }

    /// The bytes of several fields. Two rows of one recording with equal bytes have equal fields.
    #[must_use]
    pub fn bytes<'b>(&self, span: &Span, scratch: &'b mut Vec<u8>) -> &'b [u8]
    where
        'a: 'b,
    {
        match *span {
            Span::Empty => &[],
            Span::Range(first, last) => self.record.range(first, last),
            Span::Columns(ref columns) => {
                scratch.clear();
                for column in columns {
                    scratch.extend_from_slice(self.record.field(*column));
                    scratch.push(SEPARATOR);
                }
                scratch
            }
        }
    }
}

/// Where several fields are in the rows of a schema.
#[derive(Clone, Debug)]
pub enum Span {
    /// The recording has none of the fields.
    Empty,
    /// Between two columns, without measures in between.
    Range(usize, usize),
    /// In these columns.
    Columns(Vec<usize>),
}

impl Span {
    /// Finds `fields` in the rows of `schema`.
    #[must_use]
    pub fn of(schema: &Schema, fields: &[Field]) -> Self {
        let mut columns: Vec<usize> = fields
            .iter()
            .filter_map(|field| schema.column(*field))
            .collect();
        columns.sort_unstable();
        let (Some(&first), Some(&last)) = (columns.first(), columns.last()) else {
            return Self::Empty;
        };
        let varies = |column: usize| {
            let mut measures = schema.measures.iter();
            measures.any(|(_, measure)| *measure == column)
                || schema.column(Field::Time) == Some(column)
                || schema.column(Field::Interval) == Some(column)
        };
        if (first..=last).any(varies) {
            Self::Columns(columns)
        } else {
            Self::Range(first, last)
        }
    }
}

/// Parses a decimal number of 64 bits. An empty text is an absent value.
pub(super) fn number(text: &[u8]) -> Result<Option<u64>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    let mut value = 0_u64;
    // Nineteen digits always fit.
    if text.len() <= 19 {
        for byte in text {
            let digit = byte.wrapping_sub(b'0');
            if digit > 9 {
                return Err(not_a_number(text));
            }
            value = value * 10 + u64::from(digit);
        }
        return Ok(Some(value));
    }
    let digits = std::str::from_utf8(text).ok();
    let digits = digits.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(value) => Ok(Some(value)),
        None => Err(not_a_number(text)),
    }
}

#[cold]
fn not_a_number(text: &[u8]) -> String {
    let text = crate::text::shortened(&String::from_utf8_lossy(text), 60);
    format!(
        "{} is not a number from 0 to {}",
        crate::text::shown(&text),
        u64::MAX
    )
}
