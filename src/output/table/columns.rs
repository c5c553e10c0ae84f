//! The columns of a table, and the order in which they are left out on narrow terminals.

use super::shorten::Ellipsis;
use crate::model::{Counters, GroupBy, Layout, Remote, RemoteMode, Tcp};
use crate::output::ends;
use crate::text::{bits_per_second, count, microseconds};

/// The contents of a column.
#[derive(Clone, Copy)]
pub(super) enum Cell {
    /// A number, right-aligned.
    Number(fn(&Counters, f64) -> String),
    /// A number of TCP's own account, right-aligned; only if there is one.
    Tcp(fn(&Tcp) -> String),
    /// The name of the user; only for rows of processes.
    User,
    /// The container, the unit or the cgroup; only for rows of processes.
    Place,
    /// A property of the remote end, from it and its name; only if rows are split by it.
    Remote(fn(&Remote, Option<&str>) -> Option<String>),
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
    /// Identity, both ends, and bytes sent and received.
    Ends,
    /// Protocols, and the health of TCP.
    Protocols,
    /// Roles.
    Roles,
    /// Bandwidth. Tables without remote ends and without TCP's own account have at least this level.
    Bytes,
    /// Messages of each protocol.
    Messages,
    /// Average sizes of messages, or more of TCP's own account.
    Sizes,
    /// Users of processes.
    Users,
    /// Containers or units of processes.
    Places,
}

impl Level {
    /// All levels, from the widest table to the narrowest.
    const ALL: [Self; 8] = [
        Self::Places,
        Self::Users,
        Self::Sizes,
        Self::Messages,
        Self::Bytes,
        Self::Roles,
        Self::Protocols,
        Self::Ends,
    ];

    /// The lowest level of tables with rows of `layout`.
    pub(super) fn lowest(layout: Layout) -> Self {
        match layout.remote {
            Some(_) => Self::Ends,
            None if layout.tcp => Self::Protocols,
            None => Self::Bytes,
        }
    }

    /// The levels from `most` to the lowest.
    pub(super) fn down_from(most: Self, layout: Layout) -> impl Iterator<Item = Self> {
        let levels = Self::lowest(layout)..=most;
        Self::ALL
            .into_iter()
            .filter(move |level| levels.contains(level))
    }
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

const fn remote(
    title: &'static str,
    level: Level,
    widest: usize,
    value: fn(&Remote, Option<&str>) -> Option<String>,
) -> Column {
    Column {
        title,
        level,
        widest,
        cell: Cell::Remote(value),
    }
}

const fn tcp(
    title: &'static str,
    level: Level,
    widest: usize,
    value: fn(&Tcp) -> String,
) -> Column {
    Column {
        title,
        level,
        widest,
        cell: Cell::Tcp(value),
    }
}

/// The local end. A server's port is before the address of its client.
const LOCAL: &str = "LOCAL";
/// The remote end.
const REMOTE: &str = "REMOTE";
/// The network namespace, if a row has another one than the host.
pub(super) const NETNS: &str = "NETNS";

/// The columns of the remote end, followed by the columns in the order of csv and json: TCP before
/// UDP, and sent before received. atop has the same order for messages, and the opposite order for
/// bandwidth.
const COLUMNS: [Column; 27] = [
    remote("PROTO", Level::Protocols, 5, |r, _| {
        Some(ends::protocol(r).to_owned())
    }),
    remote("ROLE", Level::Roles, 6, |r, _| {
        ends::role(r).map(str::to_owned)
    }),
    remote(LOCAL, Level::Ends, 6, |r, _| ends::local_end(r)),
    remote(REMOTE, Level::Ends, 15, |r, name| {
        Some(ends::remote_end(r, name))
    }),
    number("SENT", Level::Ends, 5, |c, _| count(c.sent_bytes())),
    number("RCVD", Level::Ends, 5, |c, _| count(c.received_bytes())),
    tcp("RETRANS", Level::Protocols, 7, |t| {
        retransmitted(t.retrans_segs, t.out_segs)
    }),
    tcp("RTT", Level::Protocols, 6, |t| time(t.rtt_us_avg())),
    tcp("FAILED", Level::Protocols, 6, |t| marked(t.attempt_fails)),
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
    tcp("OPENED", Level::Sizes, 6, |t| {
        count(t.active_opens.saturating_add(t.passive_opens))
    }),
    tcp("RESET", Level::Sizes, 5, |t| count(t.estab_resets)),
    tcp("CONNECT", Level::Sizes, 7, |t| time(t.connect_us_avg())),
    tcp("OUTSEGS", Level::Sizes, 7, |t| count(t.out_segs)),
    tcp("INSEGS", Level::Sizes, 6, |t| count(t.in_segs)),
    remote(NETNS, Level::Sizes, 10, |r, _| {
        r.netns.map(|inode| inode.to_string())
    }),
    Column {
        title: "USER",
        level: Level::Users,
        widest: 8,
        cell: Cell::User,
    },
    Column {
        title: "UNIT/CONTAINER",
        level: Level::Places,
        widest: MIN_PLACE_WIDTH,
        cell: Cell::Place,
    },
];

/// The minimum width of the column of places: a shorter name or path would be meaningless.
pub(super) const MIN_PLACE_WIDTH: usize = 24;

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

/// What needs attention. The mark is a character, for a colour alone is not seen by everybody, and
/// not on every terminal.
const MARK: char = '!';

/// The share of segments that were sent again, in percent; marked if it is more than 1 %.
fn retransmitted(again: u64, first: u64) -> String {
    let all = again.saturating_add(first);
    if all == 0 {
        return "-".to_owned();
    }
    let share = 100.0 * again as f64 / all as f64;
    let mark = if again.saturating_mul(100) > all {
        MARK.to_string()
    } else {
        String::new()
    };
    match again {
        0 => "0%".to_owned(),
        _ if share < 0.1 => "<0.1%".to_owned(),
        _ => format!("{mark}{share:.1}%"),
    }
}

/// A number that should be 0, marked if it is not.
fn marked(number: u64) -> String {
    match number {
        0 => "0".to_owned(),
        _ => format!("{MARK}{}", count(number)),
    }
}

fn time(time: Option<u64>) -> String {
    time.map_or_else(|| "-".to_owned(), microseconds)
}

/// The columns of `level` for rows of `layout`, in order.
pub(super) fn columns(layout: Layout, level: Level) -> impl Iterator<Item = &'static Column> {
    COLUMNS.iter().filter(move |column| {
        let is_there = match (column.cell, layout.remote) {
            (Cell::Tcp(_), _) => layout.tcp,
            // The columns of TCP's own account take their place.
            (Cell::Number(_), _) => !layout.tcp || column.level != Level::Sizes,
            (Cell::Remote(_), None) => false,
            (Cell::Remote(_), Some(RemoteMode::Address)) => {
                column.level != Level::Roles && column.title != LOCAL
            }
            _ => true,
        };
        is_there && column.level <= level
    })
}

impl Column {
    /// The width to which its values can be shortened, if the terminal is too narrow for the lowest
    /// level.
    pub(super) fn narrowest(&self) -> Option<usize> {
        match self.title {
            LOCAL => Some(8),
            REMOTE => Some(12),
            _ => None,
        }
    }
}

/// The identity columns of a row: ids, and then the name.
#[derive(Clone, Copy)]
pub(super) struct Identity {
    /// Titles and widest values of the ids.
    pub(super) ids: &'static [(&'static str, usize)],
    /// Title of the name.
    pub(super) name: &'static str,
    /// If a name of up to this width does not fit, the table leaves out the columns of a level.
    wanted: usize,
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
    /// If a name of up to this width does not fit, the table leaves out the columns of `level`.
    pub(super) fn wanted(&self, level: Level) -> usize {
        // Remote ends are more important than a long name.
        if level < Level::Bytes {
            (self.wanted / 2).max(8)
        } else {
            self.wanted
        }
    }

    pub(super) fn of(layout: Layout) -> Self {
        // A name has at most 15 bytes (TASK_COMM_LEN), plus two brackets if the process has ended.
        let comm = |ids, name| Self {
            ids,
            name,
            wanted: 12,
            usual: 17,
            ellipsis: Ellipsis::End,
        };
        let place = |name| Self {
            ids: &[PROCS],
            name,
            wanted: 40,
            usual: 24,
            ellipsis: Ellipsis::Middle,
        };
        match (layout.group_by, layout.threads) {
            // A command line takes the place of the name.
            (GroupBy::Process, false) if layout.cmdline => Self {
                wanted: 40,
                ..comm(&[PID], "COMMAND")
            },
            (GroupBy::Process, false) => comm(&[PID], "COMMAND"),
            (GroupBy::Process, true) => comm(&[PID, TID], "THREAD"),
            (GroupBy::Comm, _) => comm(&[PROCS], "COMMAND"),
            (GroupBy::Command, _) => place("PROGRAM"),
            (GroupBy::User, _) => comm(&[PROCS], "USER"),
            (GroupBy::Cgroup, _) => place("CGROUP"),
            (GroupBy::Unit, _) => place("UNIT"),
            (GroupBy::Container, _) => place("CONTAINER"),
        }
    }
}
