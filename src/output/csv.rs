//! CSV (RFC 4180), with a header.

use super::column::Context;
use super::{Column, Format, Value, columns};
use crate::model::{Layout, Report};

/// Writes rows as CSV.
pub struct Csv {
    columns: Vec<Column>,
    host: String,
    header: bool,
}

impl Csv {
    /// Makes a writer for rows of `layout` on `host`; `header` is unset if the file has a header.
    #[must_use]
    pub fn new(layout: Layout, host: String, header: bool) -> Self {
        Self {
            columns: columns(layout),
            host,
            header,
        }
    }

    /// The header line for `layout`, with its line end.
    #[must_use]
    pub fn header(layout: Layout) -> Vec<u8> {
        let mut out = Vec::new();
        Self::new(layout, String::new(), true).begin(&mut out);
        out
    }

    fn write(
        out: &mut Vec<u8>,
        fill: impl FnOnce(&mut csv::Writer<&mut Vec<u8>>) -> csv::Result<()>,
    ) {
        let mut writer = csv::Writer::from_writer(out);
        // Writing to memory cannot fail, and all records have the same number of fields.
        let written = fill(&mut writer).and_then(|()| Ok(writer.flush()?));
        debug_assert!(written.is_ok());
    }
}

impl Format for Csv {
    fn names_cgroups(&self) -> bool {
        columns::name_cgroups(&self.columns)
    }

    fn rows_are_independent(&self) -> bool {
        true
    }

    fn begin(&mut self, out: &mut Vec<u8>) {
        if self.header {
            Self::write(out, |csv| {
                csv.write_record(self.columns.iter().map(|c| c.id))
            });
        }
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) {
        let mut number = itoa::Buffer::new();
        Self::write(out, |csv| {
            for row in &report.rows {
                let context = Context {
                    host: &self.host,
                    report,
                    row,
                };
                for column in &self.columns {
                    match column.value(&context) {
                        Value::Absent => csv.write_field("")?,
                        Value::Text(text) => csv.write_field(text.as_bytes())?,
                        Value::Unsigned(value) => csv.write_field(number.format(value))?,
                        Value::Seconds(value) => csv.write_field(value.to_string())?,
                    }
                }
                csv.write_record(None::<&[u8]>)?;
            }
            Ok(())
        });
    }
}
