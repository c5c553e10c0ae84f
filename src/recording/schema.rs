//! The columns of a recording, found by name.

use super::measures::MEASURES;
use crate::text::shown;

/// The most columns that a recording may have. Recordings have about fifty.
pub const MOST_COLUMNS: usize = 1000;

/// A column of text, or of a number that is not added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "netatop-recording(5) describes each column")]
pub enum Field {
    Time,
    Interval,
    Host,
    Pid,
    Tid,
    Comm,
    Uid,
    Cgroup,
    Start,
    StartNs,
    State,
    UserName,
    Unit,
    Container,
    Command,
    Cmdline,
    Processes,
    Protocol,
    Role,
    LocalAddr,
    LocalPort,
    RemoteAddr,
    RemotePort,
    Netns,
    RemoteName,
}

/// The names of the columns. `user` is the name that `user_name` had in older recordings.
const FIELDS: [(&str, Field); 26] = [
    ("time", Field::Time),
    ("interval", Field::Interval),
    ("host", Field::Host),
    ("pid", Field::Pid),
    ("tid", Field::Tid),
    ("comm", Field::Comm),
    ("uid", Field::Uid),
    ("cgroup", Field::Cgroup),
    ("start", Field::Start),
    ("start_ns", Field::StartNs),
    ("state", Field::State),
    ("user_name", Field::UserName),
    ("user", Field::UserName),
    ("unit", Field::Unit),
    ("container", Field::Container),
    ("command", Field::Command),
    ("cmdline", Field::Cmdline),
    ("processes", Field::Processes),
    ("protocol", Field::Protocol),
    ("role", Field::Role),
    ("local_addr", Field::LocalAddr),
    ("local_port", Field::LocalPort),
    ("remote_addr", Field::RemoteAddr),
    ("remote_port", Field::RemotePort),
    ("netns", Field::Netns),
    ("remote_name", Field::RemoteName),
];

/// Columns that are known, but not read: averages, and what `netatop report` adds to its rows.
const SKIPPED: [&str; 4] = ["tcp_rtt_us_avg", "tcp_connect_us_avg", "first", "last"];

/// The columns of a recording.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schema {
    names: Vec<String>,
    fields: [Option<usize>; FIELDS.len()],
    /// The number of a measure, and its column.
    pub(super) measures: Vec<(usize, usize)>,
    ignored: Vec<String>,
}

impl Schema {
    /// Finds the columns by their names.
    ///
    /// # Errors
    ///
    /// A text that says why these are not the columns of a recording.
    pub(super) fn new(names: Vec<String>) -> Result<Self, String> {
        if names.len() > MOST_COLUMNS {
            return Err(format!("more than {MOST_COLUMNS} columns"));
        }
        let mut schema = Self {
            names: Vec::new(),
            fields: [None; FIELDS.len()],
            measures: Vec::new(),
            ignored: Vec::new(),
        };
        for (column, name) in names.iter().enumerate() {
            if let Some((_, field)) = FIELDS.iter().find(|(known, _)| known == name) {
                let place = schema.fields.get_mut(*field as usize);
                if place.is_some_and(|place| place.replace(column).is_some()) {
                    return Err(format!("two columns {}", shown(name)));
                }
            } else if let Some(measure) = MEASURES.iter().position(|known| known.id == name) {
                if schema.measures.iter().any(|(there, _)| *there == measure) {
                    return Err(format!("two columns {}", shown(name)));
                }
                schema.measures.push((measure, column));
            } else if !SKIPPED.contains(&name.as_str()) {
                schema.ignored.push(name.clone());
            }
        }
        if !schema.has(Field::Time) || schema.measures.is_empty() {
            return Err(
                "not a recording: netatop record writes CSV with a header, or JSON Lines"
                    .to_owned(),
            );
        }
        if !schema.has(Field::Interval) {
            return Err("not a recording: there is no column interval".to_owned());
        }
        schema.names = names;
        Ok(schema)
    }

    /// The names of all columns, in order.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Columns that are not known.
    #[must_use]
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The number of the column of a field. `None` if the recording does not have it.
    #[must_use]
    pub fn column(&self, field: Field) -> Option<usize> {
        self.fields.get(field as usize).copied().flatten()
    }

    /// Whether the recording has a column.
    #[must_use]
    pub fn has(&self, field: Field) -> bool {
        self.column(field).is_some()
    }

    /// Whether the recording has columns of TCP health.
    #[must_use]
    pub fn has_tcp(&self) -> bool {
        let mut measures = self.measures.iter();
        measures.any(|(measure, _)| *measure >= super::BASIC)
    }
}
