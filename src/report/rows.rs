//! The rows of a report as CSV and JSON Lines.
//!
//! The columns are those of a recording, so that a report can be read like one. `first` and `last`
//! follow them.

use std::io::{self, Write};

use serde::Serializer;
use serde::ser::SerializeMap;

use super::bins::Length;
use super::collect::Collector;
use super::details::DETAILS;
use super::keys::{Key, Who};
use super::lines::{Kind, Line, Lines};
use super::names::rfc3339;
use crate::output::Value;
use crate::recording::{BASIC, MEASURES};

/// Writes rows as CSV.
pub(super) fn write_csv(
    collector: &Collector,
    lines: &Lines,
    to: &mut dyn Write,
) -> io::Result<()> {
    let mut csv = csv::Writer::from_writer(to);
    let rows = Rows::new(collector);
    csv.write_record(&rows.columns)?;
    let mut number = itoa::Buffer::new();
    for line in &lines.lines {
        for value in rows.values(line) {
            match value {
                Value::Absent => csv.write_field("")?,
                Value::Text(text) => csv.write_field(text.as_bytes())?,
                Value::Unsigned(value) => csv.write_field(number.format(value))?,
                Value::Seconds(value) => csv.write_field(value.to_string())?,
            }
        }
        csv.write_record(None::<&[u8]>)?;
    }
    csv.flush()
}

/// Writes rows as JSON Lines.
pub(super) fn write_json(
    collector: &Collector,
    lines: &Lines,
    to: &mut dyn Write,
) -> io::Result<()> {
    let rows = Rows::new(collector);
    for line in &lines.lines {
        let mut json = serde_json::Serializer::new(&mut *to);
        let mut map = json.serialize_map(Some(rows.columns.len()))?;
        for (column, value) in rows.columns.iter().zip(rows.values(line)) {
            map.serialize_entry(column, &value)?;
        }
        map.end()?;
        to.write_all(b"\n")?;
    }
    Ok(())
}

struct Rows<'c> {
    collector: &'c Collector,
    columns: Vec<&'static str>,
    /// The end of the whole time, in milliseconds since 1970, and its length in seconds.
    whole: (i64, f64),
}

/// The columns of remote ends, as in recordings.
const REMOTE: [&str; 8] = [
    "protocol",
    "role",
    "local_addr",
    "local_port",
    "remote_addr",
    "remote_port",
    "netns",
    "remote_name",
];

impl<'c> Rows<'c> {
    fn new(collector: &'c Collector) -> Self {
        let mut columns = vec!["time", "interval", "host"];
        match collector.key() {
            Key::Process => {
                columns.extend(["pid", "comm", "uid", "cgroup", "start", "start_ns", "state"])
            }
            Key::Thread => columns.extend([
                "pid", "tid", "comm", "uid", "cgroup", "start", "start_ns", "state",
            ]),
            Key::Host => columns.push("processes"),
            key => columns.extend([key.column(), "processes"]),
        }
        let measures = if collector.table.has_tcp() {
            MEASURES.len()
        } else {
            BASIC
        };
        let ids: Vec<_> = MEASURES.iter().map(|measure| measure.id).collect();
        let (basic, tcp) = ids.split_at(BASIC);
        columns.extend(basic);
        if collector.wanted.split.is_some() {
            columns.extend(REMOTE);
        }
        if measures > BASIC {
            columns.extend(tcp);
        }
        if collector.key().is_single() {
            columns.extend(["unit", "container"]);
        }
        columns.extend(["first", "last"]);
        let (from, to) = collector.recorded().unwrap_or((0, 0));
        Self {
            collector,
            columns,
            whole: (to, (to - from) as f64 / 1e3),
        }
    }

    /// The values of a line, in the order of the columns.
    fn values<'a>(&'a self, line: &'a Line) -> Vec<Value<'a>> {
        let text = |text: Option<&'a str>| match text {
            Some(text) if !text.is_empty() => Value::Text(text.into()),
            _ => Value::Absent,
        };
        let number = |number: Option<u64>| number.map_or(Value::Absent, Value::Unsigned);
        let (time, interval) = match self.collector.wanted.every {
            Some(every) if self.collector.wanted.has_rows_by_bin => {
                let length = Length::fixed(every);
                (length.begin(line.bin + 1), length.seconds())
            }
            _ => self.whole,
        };
        let mut values = Vec::with_capacity(self.columns.len());
        values.push(Value::Text(rfc3339(time).into()));
        values.push(Value::Seconds(interval));
        let host = line
            .host
            .and_then(|host| self.collector.hosts.get(host as usize));
        values.push(text(host.map(|host| &*host.name)));
        self.push_who(line, &mut values);
        for number in line.values.numbers.iter().take(BASIC) {
            values.push(Value::Unsigned(*number));
        }
        if self.collector.wanted.split.is_some() {
            let remote = line
                .remote
                .and_then(|number| self.collector.remotes.get_index(number as usize));
            let name = line
                .remote
                .and_then(|number| self.collector.remote_names.get(&number));
            values.extend([
                text(remote.and_then(|remote| remote.protocol.as_deref())),
                text(remote.and_then(|remote| remote.role.as_deref())),
                text(remote.and_then(|remote| remote.local_addr.as_deref())),
                number(remote.and_then(|remote| remote.local_port)),
                text(remote.and_then(|remote| remote.remote_addr.as_deref())),
                number(remote.and_then(|remote| remote.remote_port)),
                number(remote.and_then(|remote| remote.netns)),
                text(name.map(|name| &**name)),
            ]);
        }
        if self.collector.table.has_tcp() {
            for index in BASIC..MEASURES.len() {
                values.push(number(line.values.get(index)));
            }
        }
        if self.collector.key().is_single() {
            let details = line
                .owner
                .and_then(|owner| self.collector.details.get(owner));
            for index in DETAILS.len() - 2..DETAILS.len() {
                let detail = details.and_then(|details| details.texts.get(index));
                values.push(text(detail.and_then(Option::as_deref)));
            }
        }
        values.push(Value::Text(rfc3339(line.first).into()));
        values.push(Value::Text(rfc3339(line.last).into()));
        values
    }

    /// The columns of the key.
    fn push_who<'a>(&'a self, line: &'a Line, values: &mut Vec<Value<'a>>) {
        let special = match line.kind {
            Kind::Row => None,
            Kind::Other => Some("(other)"),
            Kind::Unattributed => Some("(unattributed)"),
        };
        let owner = line
            .owner
            .and_then(|owner| self.collector.owners.get_index(owner as usize));
        let key = self.collector.key();
        if !key.is_single() {
            let name = match owner.map(|owner| &owner.who) {
                Some(Who::Group(name)) => name.as_deref(),
                _ => None,
            };
            if key != Key::Host {
                let name = special.or(name);
                values.push(name.map_or(Value::Absent, |name| Value::Text(name.into())));
            }
            values.push(line.processes.map_or(Value::Absent, Value::Unsigned));
            return;
        }
        let Some(Who::Process(pid, _, tid)) = owner.map(|owner| &owner.who) else {
            values.push(Value::Absent);
            if key == Key::Thread {
                values.push(Value::Absent);
            }
            values.push(special.map_or(Value::Absent, |name| Value::Text(name.into())));
            values.extend([const { Value::Absent }; 5]);
            return;
        };
        values.push(Value::Unsigned(*pid));
        if key == Key::Thread {
            values.push(tid.map_or(Value::Absent, Value::Unsigned));
        }
        let details = line
            .owner
            .and_then(|owner| self.collector.details.get(owner));
        for (index, name) in DETAIL_NAMES.into_iter().enumerate() {
            let detail = details.and_then(|details| details.texts.get(index));
            let detail = detail.and_then(Option::as_deref);
            let is_number = ["uid", "start_ns"].contains(&name);
            values.push(
                match (detail, detail.and_then(|detail| detail.parse().ok())) {
                    (Some(_), Some(number)) if is_number => Value::Unsigned(number),
                    (Some(detail), _) => Value::Text(detail.into()),
                    (None, _) => Value::Absent,
                },
            );
        }
    }
}

/// The names of the first fields of [`DETAILS`].
const DETAIL_NAMES: [&str; 6] = ["comm", "uid", "cgroup", "start", "start_ns", "state"];
