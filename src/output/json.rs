//! JSON Lines: one object for each row.

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::column::Context;
use super::{Column, Format, Value, columns};
use crate::model::{Layout, Report};

/// Writes rows as JSON Lines.
pub struct Json {
    columns: Vec<Column>,
    host: String,
}

impl Json {
    /// Makes a writer for rows of `layout` on `host`.
    #[must_use]
    pub fn new(layout: Layout, host: String) -> Self {
        Self {
            columns: columns(layout),
            host,
        }
    }
}

struct Object<'a> {
    columns: &'a [Column],
    context: Context<'a>,
}

impl Serialize for Object<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.columns.len()))?;
        for column in self.columns {
            map.serialize_entry(column.id, &column.value(&self.context))?;
        }
        map.end()
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Absent => serializer.serialize_none(),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Unsigned(value) => serializer.serialize_u64(*value),
            Self::Seconds(value) => serializer.serialize_f64(*value),
        }
    }
}

impl Format for Json {
    fn names_cgroups(&self) -> bool {
        columns::name_cgroups(&self.columns)
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) {
        for row in &report.rows {
            let object = Object {
                columns: &self.columns,
                context: Context {
                    host: &self.host,
                    report,
                    row,
                },
            };
            // Writing to memory cannot fail, and every key is text.
            let written = serde_json::to_writer(&mut *out, &object);
            debug_assert!(written.is_ok());
            out.push(b'\n');
        }
    }
}
