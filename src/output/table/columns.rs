//! The columns of a table, and the order in which they are left out on narrow terminals.

use super::shorten::Ellipsis;
use crate::model::{Counters, GroupBy, Layout};
use crate::text::{bits_per_second, count};

/// The contents of a column.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    /// A number, right-aligned.
    Number(fn(&Counters, f64) -> String),
    /// The name of the user; only for rows of processes.
    User,
    /// The path of the cgroup; only for rows of processes.
    Cgroup,
}

/// A column after the identity columns.
#[derive(Clone, Copy)]
pub(super) struct Column {
    pub(super) title: &'static str,
    /// The lowest level that shows the column.
    pub(super) level: Level,
    /// Width of the widest usual value, so that successive tables have the same column widths.
    pub(super) widest: usize,
    pub(super) cell: Cell,
}

/// How many columns a table shows. Each level includes all levels before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    /// Identity, bytes sent and received, and bandwidth.
    Bytes,
    /// Messages of each protocol.
    Messages,
    /// Average sizes of messages.
    Sizes,
    /// Users of processes.
    Users,
    /// Cgroups of processes.
    Cgroups,
}

impl Level {
    /// All levels, from the widest table to the narrowest.
    pub(super) const ALL: [Self; 5] = [
        Self::Cgroups,
        Self::Users,
        Self::Sizes,
        Self::Messages,
        Self::Bytes,
    ];
}

const fn number(
    title: &'static str,
    level: Level,
    widest: usize,
    value: fn(&Counters, f64) -> String,
) -> Column {
    Column {
        title,
        level,
        widest,
        cell: Cell::Number(value),
    }
}

/// The columns in the order of csv and json: TCP before UDP, and sent before received. atop has the
/// same order for messages, and the opposite order for bandwidth.
const COLUMNS: [Column; 14] = [
    number("SENT", Level::Bytes, 5, |c, _| count(c.sent_bytes())),
    number("RCVD", Level::Bytes, 5, |c, _| count(c.received_bytes())),
    number("BANDWO", Level::Bytes, 9, |c, s| {
        bits_per_second(c.sent_bytes(), s)
    }),
    number("BANDWI", Level::Bytes, 9, |c, s| {
        bits_per_second(c.received_bytes(), s)
    }),
    number("TCPSND", Level::Messages, 6, |c, _| count(c.tcp_send_msgs)),
    number("TCPSASZ", Level::Sizes, 7, |c, _| {
        average(c.tcp_send_bytes, c.tcp_send_msgs)
    }),
    number("TCPRCV", Level::Messages, 6, |c, _| count(c.tcp_recv_msgs)),
    number("TCPRASZ", Level::Sizes, 7, |c, _| {
        average(c.tcp_recv_bytes, c.tcp_recv_msgs)
    }),
    number("UDPSND", Level::Messages, 6, |c, _| count(c.udp_send_msgs)),
    number("UDPSASZ", Level::Sizes, 7, |c, _| {
        average(c.udp_send_bytes, c.udp_send_msgs)
    }),
    number("UDPRCV", Level::Messages, 6, |c, _| count(c.udp_recv_msgs)),
    number("UDPRASZ", Level::Sizes, 7, |c, _| {
        average(c.udp_recv_bytes, c.udp_recv_msgs)
    }),
    Column {
        title: "USER",
        level: Level::Users,
        widest: 8,
        cell: Cell::User,
    },
    Column {
        title: "CGROUP",
        level: Level::Cgroups,
        widest: MIN_CGROUP_WIDTH,
        cell: Cell::Cgroup,
    },
];

/// The minimum width of the cgroup column: a shorter path would be meaningless.
pub(super) const MIN_CGROUP_WIDTH: usize = 24;

/// Bytes per message, rounded; `-` without messages.
fn average(bytes: u64, msgs: u64) -> String {
    match bytes.checked_div(msgs) {
        Some(whole) => {
            let rest = bytes % msgs;
            count(whole + u64::from(rest >= msgs.div_ceil(2) && rest > 0))
        }
        None => "-".to_owned(),
    }
}

/// The columns of `level`, in order.
pub(super) fn columns(level: Level) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| column.level <= level)
}

/// The identity columns of a row: ids, and then the name.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    /// Titles and widest values of the ids.
    pub(super) ids: &'static [(&'static str, usize)],
    /// Title of the name.
    pub(super) name: &'static str,
    /// If a name of up to this width does not fit, the table leaves out the columns of a level.
    pub(super) wanted: usize,
    /// Initial width of the name column in successive tables. A wider name makes the column wider.
    pub(super) usual: usize,
    /// Where to shorten names that do not fit.
    pub(super) ellipsis: Ellipsis,
}

/// The minimum width of the name column, even if this makes the table wider than the terminal.
pub(super) const MIN_NAME_WIDTH: usize = 4;

/// Process ids have up to 7 digits (`PID_MAX_LIMIT`, include/linux/threads.h).
const PID: (&str, usize) = ("PID", 7);
const TID: (&str, usize) = ("TID", 7);
const PROCS: (&str, usize) = ("PROCS", 5);

impl Identity {
    pub(super) fn of(layout: Layout) -> Self {
        // A name has at most 15 bytes (TASK_COMM_LEN), plus two brackets if the process has ended.
        let comm = |ids, name| Self {
            ids,
            name,
            wanted: 12,
            usual: 17,
            ellipsis: Ellipsis::End,
        };
        match (layout.group_by, layout.threads) {
            (GroupBy::Process, false) => comm(&[PID], "COMMAND"),
            (GroupBy::Process, true) => comm(&[PID, TID], "THREAD"),
            (GroupBy::Comm, _) => comm(&[PROCS], "COMMAND"),
            (GroupBy::User, _) => comm(&[PROCS], "USER"),
            (GroupBy::Cgroup, _) => Self {
                ids: &[PROCS],
                name: "CGROUP",
                wanted: 40,
                usual: 24,
                ellipsis: Ellipsis::Middle,
            },
        }
    }
}
