//! What a row of a report stands for.

use std::fmt;

use clap::ValueEnum;

use crate::recording::{Field, Row, Schema};
use crate::text::{shown, up_to_depth};

/// What each row of a report stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Key {
    /// A process
    #[value(alias = "pid")]
    Process,
    /// A thread, in recordings with --threads
    #[value(alias = "tid")]
    Thread,
    /// All processes with the same name
    #[value(alias = "name")]
    Comm,
    /// All processes in the same cgroup
    Cgroup,
    /// All processes of the same user
    #[value(alias = "uid")]
    User,
    /// All processes of the same systemd unit
    Unit,
    /// All processes in the same container
    Container,
    /// All processes with the same command
    Command,
    /// All processes of the same host
    Host,
}

impl Key {
    /// The keys of grouped recordings, and the name of a key for one with processes.
    const GROUPS: [Self; 6] = [
        Self::Comm,
        Self::Cgroup,
        Self::User,
        Self::Unit,
        Self::Container,
        Self::Command,
    ];

    /// What rows stand for if the user does not say it: the group of a grouped recording, and
    /// otherwise the name. Over hours, processes end and start again, and keep their names.
    pub(super) fn of(schema: &Schema) -> Self {
        let mut groups = Self::GROUPS.into_iter();
        groups
            .find(|key| schema.has(key.field()))
            .unwrap_or(Self::Host)
    }

    /// The column that contains the key. For a user it can also be [`Field::Uid`].
    fn field(self) -> Field {
        match self {
            Self::Process => Field::Pid,
            Self::Thread => Field::Tid,
            Self::Comm => Field::Comm,
            Self::Cgroup => Field::Cgroup,
            Self::User => Field::UserName,
            Self::Unit => Field::Unit,
            Self::Container => Field::Container,
            Self::Command => Field::Command,
            Self::Host => Field::Host,
        }
    }

    /// Whether rows of `schema` can be grouped by this key.
    fn is_possible(self, schema: &Schema) -> bool {
        match self {
            Self::User => schema.has(Field::UserName) || schema.has(Field::Uid),
            Self::Host => true,
            key => schema.has(key.field()),
        }
    }

    /// Checks that rows of `schema` can be grouped by this key.
    pub(super) fn check(self, schema: &Schema) -> Result<(), String> {
        if self.is_possible(schema) {
            return Ok(());
        }
        let mut possible: Vec<String> = Self::value_variants()
            .iter()
            .filter(|key| key.is_possible(schema))
            .map(ToString::to_string)
            .collect();
        possible.sort();
        Err(format!(
            "rows of {self} are wanted, but there is no column {}; possible with -g: {}",
            self.column(),
            possible.join(", ")
        ))
    }

    /// The name of the column of the key.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Process => "pid",
            Self::Thread => "tid",
            Self::Comm => "comm",
            Self::Cgroup => "cgroup",
            Self::User => "user_name",
            Self::Unit => "unit",
            Self::Container => "container",
            Self::Command => "command",
            Self::Host => "host",
        }
    }

    /// The title of the column for people.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Process | Self::Thread | Self::Comm => "COMMAND",
            Self::Cgroup => "CGROUP",
            Self::User => "USER",
            Self::Unit => "UNIT",
            Self::Container => "CONTAINER",
            Self::Command => "PROGRAM",
            Self::Host => "HOST",
        }
    }

    /// Whether rows are single processes or threads.
    pub(super) fn is_single(self) -> bool {
        matches!(self, Self::Process | Self::Thread)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value();
        to.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Whose traffic a row is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Who {
    /// A process or thread: id, start, and thread id. The start is absent in old recordings.
    Process(u64, Start, Option<u64>),
    /// A group by its key. `None` if it is not known, such as the path of a removed cgroup.
    Group(Option<Box<str>>),
    /// The rows that `--top` left out of the recording.
    Other,
    /// Traffic that could not be attributed.
    Unattributed,
}

/// When a process started, as far as the recording says it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Start {
    Unknown,
    /// Nanoseconds since boot.
    Boot(u64),
    /// The date, in old recordings.
    Date(Box<str>),
}

/// Which process a row belongs to: id and start.
pub(super) type ProcessKey = (u64, Start);

/// The fields that [`who`] and [`process`] read.
pub(super) const FIELDS: [Field; 13] = [
    Field::Host,
    Field::Pid,
    Field::Tid,
    Field::Comm,
    Field::Uid,
    Field::Cgroup,
    Field::Start,
    Field::StartNs,
    Field::UserName,
    Field::Unit,
    Field::Container,
    Field::Command,
    Field::State,
];

/// The process of a row. `None` for groups and special rows.
pub(super) fn process(row: &Row<'_>) -> Result<Option<ProcessKey>, String> {
    let Some(pid) = row.number(Field::Pid)? else {
        return Ok(None);
    };
    let start = match (row.number(Field::StartNs)?, row.text(Field::Start)?) {
        (Some(start), _) => Start::Boot(start),
        (None, Some(date)) => Start::Date(date.into()),
        (None, None) => Start::Unknown,
    };
    Ok(Some((pid, start)))
}

/// Whose traffic a row is, by `key`. Cgroups are those up to `depth` below the root.
pub(super) fn who(row: &Row<'_>, key: Key, depth: Option<usize>) -> Result<Who, String> {
    let process = process(row)?;
    let is_of_process = row.schema.has(Field::Pid);
    if is_of_process && process.is_none() {
        return special(row.text(Field::Comm)?).ok_or_else(|| {
            let comm = row.text(Field::Comm).ok().flatten();
            format!("a row of {} without pid", shown(comm.unwrap_or("no name")))
        });
    }
    let name = match key {
        Key::Process | Key::Thread => {
            let Some((pid, start)) = process else {
                return Err("a row without pid".to_owned());
            };
            let tid = match key {
                Key::Thread => row.number(Field::Tid)?,
                _ => None,
            };
            return Ok(Who::Process(pid, start, tid));
        }
        Key::User => match row.text(Field::UserName)? {
            Some(name) => Some(name),
            None => row.text(Field::Uid)?,
        },
        Key::Cgroup => row
            .text(Field::Cgroup)?
            .map(|path| up_to_depth(path, depth)),
        Key::Host => row.text(Field::Host)?,
        key => row.text(key.field())?,
    };
    // In rows of groups, the key says that a row is special.
    if !is_of_process {
        let column = Key::of(row.schema).field();
        if let Some(special) = special(row.text(column)?) {
            return Ok(special);
        }
    }
    Ok(Who::Group(name.map(Into::into)))
}

fn special(name: Option<&str>) -> Option<Who> {
    match name {
        Some("(other)") => Some(Who::Other),
        Some("(unattributed)") => Some(Who::Unattributed),
        _ => None,
    }
}
