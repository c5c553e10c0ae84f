//! Reads a recording, row by row.

use std::io::Read;
use std::rc::Rc;

use chrono::DateTime;

use super::csv::{Quoted, Taken, split};
use super::fields::{Record, Row, SEPARATOR, number};
use super::input::{Input, MOST_BYTES, Part, Parts};
use super::json;
use super::measures::{MEASURES, Values};
use super::schema::{Field, Schema};
use crate::error::Error;
use crate::text::{shortened, shown};

/// What the taker of a row returns: a text ends the reading as an error of this line.
pub type Stop = Result<(), String>;

/// How a recording ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// The number of rows.
    pub rows: u64,
    /// Whether a last line without a line end was left out.
    pub is_unfinished: bool,
    /// Whether compressed data ends in the middle of a member.
    pub is_cut: bool,
    /// Columns that are not known, and were not read.
    pub ignored: Vec<String>,
}

/// Reads a recording and gives each row to `take`.
///
/// # Errors
///
/// If the input cannot be opened or read; [`Error::Usage`] with file and line if it is not a
/// recording, or if `take` refuses a row.
pub fn read(input: &Input, take: &mut dyn FnMut(&Row<'_>) -> Stop) -> Result<Ending, Error> {
    read_from(input.open()?, &input.name(), take)
}

/// Like [`read`], from any reader.
pub(crate) fn read_from(
    input: Box<dyn Read + Send>,
    name: &str,
    take: &mut dyn FnMut(&Row<'_>) -> Stop,
) -> Result<Ending, Error> {
    let parts = Parts::new(input)?;
    let mut reader = Reader::new(take);
    let refuse = |line: u64, what: &str| Error::Usage(format!("{name}:{line}: {what}"));
    let mut carried = Vec::new();
    loop {
        match parts.next() {
            Some(Part::Lines(mut block)) => {
                if !carried.is_empty() {
                    carried.extend_from_slice(&block);
                    std::mem::swap(&mut carried, &mut block);
                }
                let taken = reader
                    .block(&block)
                    .map_err(|what| refuse(reader.line, &what))?;
                let left = block.get(taken..).unwrap_or_default();
                if left.len() > MOST_BYTES {
                    return Err(refuse(reader.line, &too_long()));
                }
                carried.clear();
                carried.extend_from_slice(left);
                parts.recycle(block);
            }
            Some(Part::End { rest, is_cut }) => {
                carried.extend_from_slice(&rest);
                let is_unfinished = reader
                    .rest(&carried, is_cut)
                    .map_err(|what| refuse(reader.line, &what))?;
                let mut ending = reader.ending;
                ending.is_cut = is_cut;
                ending.is_unfinished = is_unfinished;
                return Ok(ending);
            }
            Some(Part::TooLong) => return Err(refuse(reader.line, &too_long())),
            Some(Part::Failed(error)) => {
                return Err(Error::failed(format!("{name} could not be read"), error));
            }
            None => return Err(Error::Failed(format!("{name} could not be read"))),
        }
    }
}

fn too_long() -> String {
    format!(
        "a line of more than {} KiB: not a recording",
        MOST_BYTES >> 10
    )
}

/// The format of the lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Csv,
    Json,
}

/// A text with its meaning, for values that are often the same as in the row before.
struct Last<T> {
    /// `None` before the first row: an empty text is one too.
    text: Option<Vec<u8>>,
    value: T,
}

struct Reader<'t> {
    take: &'t mut dyn FnMut(&Row<'_>) -> Stop,
    kind: Option<Kind>,
    schema: Option<Rc<Schema>>,
    headers: u32,
    quoted: Quoted,
    text: Vec<u8>,
    ends: Vec<u32>,
    time: Last<i64>,
    interval: Last<u64>,
    values: Values,
    /// The number of the line that is being read.
    line: u64,
    ending: Ending,
}

impl<'t> Reader<'t> {
    fn new(take: &'t mut dyn FnMut(&Row<'_>) -> Stop) -> Self {
        Self {
            take,
            kind: None,
            schema: None,
            headers: 0,
            quoted: Quoted::new(),
            text: Vec::new(),
            ends: Vec::new(),
            time: Last {
                text: None,
                value: 0,
            },
            interval: Last {
                text: None,
                value: 0,
            },
            values: Values::NONE,
            line: 1,
            ending: Ending::default(),
        }
    }

    /// Finds out the format by the beginning of the recording. Returns how many bytes to skip.
    fn start(&mut self, text: &[u8]) -> usize {
        if self.kind.is_some() {
            return 0;
        }
        // Other programs begin UTF-8 with a byte order mark.
        let skipped = if text.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        let begin = text.get(skipped..).unwrap_or_default().trim_ascii_start();
        self.kind = Some(if begin.starts_with(b"{") {
            Kind::Json
        } else {
            Kind::Csv
        });
        skipped
    }

    /// Reads the records of whole lines. Returns how many bytes belong to whole records.
    fn block(&mut self, block: &[u8]) -> Result<usize, String> {
        let mut at = self.start(block);
        // Of the lines that are split here, none may have the separator of fields with quotes.
        let is_special = |text| memchr::memchr2(b'"', SEPARATOR, text).is_some();
        let has_special = self.kind == Some(Kind::Csv) && is_special(block);
        while let Some(rest) = block.get(at..)
            && let Some(length) = memchr::memchr(b'\n', rest)
        {
            let line = rest.get(..length).unwrap_or_default();
            if has_special && is_special(line) {
                match self.quoted(rest)? {
                    Some(taken) => {
                        let taken = rest.get(..taken).unwrap_or_default();
                        self.line += memchr::memchr_iter(b'\n', taken).count() as u64;
                        at += taken.len();
                        continue;
                    }
                    None => return Ok(at),
                }
            }
            self.whole_line(line.strip_suffix(b"\r").unwrap_or(line))?;
            self.line += 1;
            at += length + 1;
        }
        Ok(at)
    }

    /// Handles the text behind the last line end. Returns whether it was left out. `is_cut` says
    /// that compressed data is incomplete.
    fn rest(&mut self, rest: &[u8], is_cut: bool) -> Result<bool, String> {
        if rest.trim_ascii().is_empty() {
            return Ok(false);
        }
        let skipped = self.start(rest);
        let rest = rest.get(skipped..).unwrap_or_default();
        match self.kind {
            // An object has an end.
            Some(Kind::Json) if rest.trim_ascii_end().ends_with(b"}") => {
                self.whole_line(rest)?;
                Ok(false)
            }
            // A file of one line that is no header: this names what is wrong with it.
            Some(Kind::Csv) if self.schema.is_none() && !is_cut => {
                self.block(&[rest, b"\n"].concat())?;
                Ok(true)
            }
            // The last number of a line of CSV can be cut off.
            _ => Ok(true),
        }
    }

    /// Reads a line without quotes.
    #[inline]
    fn whole_line(&mut self, line: &[u8]) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        if self.kind == Some(Kind::Json) {
            return self.object(line);
        }
        let mut ends = std::mem::take(&mut self.ends);
        split(line, &mut ends);
        let done = self.record(Record {
            text: line,
            ends: &ends,
        });
        self.ends = ends;
        done
    }

    /// Reads a record with quotes at the beginning of `rest`. `None` if it ends in a later block.
    fn quoted(&mut self, rest: &[u8]) -> Result<Option<usize>, String> {
        let (mut text, mut ends) = (
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.ends),
        );
        let taken = self.quoted.split(rest, &mut text, &mut ends);
        let done = match taken {
            Taken::Record(taken) => self
                .record(Record {
                    text: &text,
                    ends: &ends,
                })
                .map(|()| Some(taken)),
            Taken::Unfinished => Ok(None),
            Taken::TooMany => Err(format!("more than {} columns", super::MOST_COLUMNS)),
        };
        (self.text, self.ends) = (text, ends);
        done
    }

    fn object(&mut self, line: &[u8]) -> Result<(), String> {
        let (mut text, mut ends) = (
            std::mem::take(&mut self.text),
            std::mem::take(&mut self.ends),
        );
        let mut other = None;
        let schema = self.schema.clone();
        json::parse(
            line,
            json::Object {
                names: schema.as_deref().map_or(&[], Schema::names),
                text: &mut text,
                ends: &mut ends,
                other: &mut other,
            },
        )?;
        if schema.is_none() || other.is_some() {
            self.columns(other.unwrap_or_default())?;
        }
        let done = self.row(Record {
            text: &text,
            ends: &ends,
        });
        (self.text, self.ends) = (text, ends);
        done
    }

    /// Takes note of the columns.
    fn columns(&mut self, names: Vec<String>) -> Result<(), String> {
        let schema = Schema::new(names)?;
        for name in schema.ignored() {
            if !self.ending.ignored.contains(name) && self.ending.ignored.len() < 100 {
                self.ending.ignored.push(name.clone());
            }
        }
        // A header that stands for the same columns changes nothing.
        if self.schema.as_deref() != Some(&schema) {
            self.schema = Some(Rc::new(schema));
            self.headers += 1;
        }
        Ok(())
    }

    /// Reads a header or a row of CSV.
    #[inline]
    fn record(&mut self, record: Record<'_>) -> Result<(), String> {
        // A file can have several headers, if files were put together. No time begins with a `t`.
        let is_header = match &self.schema {
            None => true,
            Some(schema) => {
                schema.column(Field::Time) == Some(0) && record.text.starts_with(b"time")
            }
        };
        if is_header {
            let names = 0..record.ends.len();
            let names: Result<Vec<_>, _> = names
                .map(|column| String::from_utf8(record.field(column).to_vec()))
                .collect();
            return self.columns(names.map_err(|_| "the header is not UTF-8".to_owned())?);
        }
        self.row(record)
    }

    #[inline]
    fn row(&mut self, record: Record<'_>) -> Result<(), String> {
        let Some(schema) = &self.schema else {
            return Ok(());
        };
        if record.ends.len() != schema.names().len() {
            return Err(format!(
                "{} values, but {} columns",
                record.ends.len(),
                schema.names().len()
            ));
        }
        let field = |field| schema.column(field).map(|column| record.field(column));
        let time = field(Field::Time).unwrap_or_default();
        if self.time.text.as_deref() != Some(time) {
            self.time.value = parse_time(time)?;
            self.time.text = Some(time.to_owned());
        }
        let interval = field(Field::Interval).unwrap_or_default();
        if self.interval.text.as_deref() != Some(interval) {
            self.interval.value = parse_interval(interval)?;
            self.interval.text = Some(interval.to_owned());
        }
        self.values.present = 0;
        for &(measure, column) in &schema.measures {
            let value = number(record.field(column)).map_err(|error| {
                let name = MEASURES.get(measure).map_or("", |measure| measure.id);
                format!("{name}: {error}")
            })?;
            match value {
                Some(value) => self.values.set(measure, value),
                None => self.values.clear(measure),
            }
        }
        self.ending.rows += 1;
        (self.take)(&Row {
            schema,
            header: self.headers,
            time: self.time.value,
            interval: self.interval.value,
            values: &self.values,
            record,
        })
    }
}

/// Parses a time in RFC 3339 to milliseconds.
fn parse_time(text: &[u8]) -> Result<i64, String> {
    let text = String::from_utf8_lossy(text);
    let time = DateTime::parse_from_rfc3339(&text);
    let time = time.ok().map(|time| time.timestamp_millis());
    // RFC 3339 has years of four digits. A clock that was never set is in 1970, not before.
    time.filter(|time| *time >= 0)
        .ok_or_else(|| format!("time: {} is not a time", shown(&shortened(&text, 60))))
}

/// Parses seconds to microseconds.
fn parse_interval(text: &[u8]) -> Result<u64, String> {
    let text = String::from_utf8_lossy(text);
    let seconds: Option<f64> = text.parse().ok();
    seconds
        .filter(|seconds| (0.0..1e10).contains(seconds))
        .map(|seconds| (seconds * 1e6).round() as u64)
        .ok_or_else(|| {
            format!(
                "interval: {} is not a length of time",
                shown(&shortened(&text, 60))
            )
        })
}
