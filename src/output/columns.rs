//! The row schema, defined once for csv, json and the documentation.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};

use super::column::{Column, Context, Value};
use super::ends;
use super::tcp::TCP;
use crate::model::{GroupBy, Layout, Remote, State, Who};

macro_rules! counter {
    ($field:ident, $unit:literal, $doc:literal) => {
        Column::new(stringify!($field), $unit, $doc, |c| {
            Value::Unsigned(c.row.counters.$field)
        })
    };
}

/// The counter columns, in order.
pub const COUNTERS: [Column; 8] = [
    counter!(tcp_send_msgs, "messages", "TCP send calls"),
    counter!(tcp_send_bytes, "bytes", "bytes accepted by TCP send calls"),
    counter!(
        tcp_recv_msgs,
        "messages",
        "TCP receive calls that returned data"
    ),
    counter!(
        tcp_recv_bytes,
        "bytes",
        "bytes returned by TCP receive calls"
    ),
    counter!(
        udp_send_msgs,
        "messages",
        "UDP send calls, empty datagrams included"
    ),
    counter!(udp_send_bytes, "bytes", "bytes accepted by UDP send calls"),
    counter!(
        udp_recv_msgs,
        "messages",
        "UDP receive calls, empty datagrams included"
    ),
    counter!(
        udp_recv_bytes,
        "bytes",
        "bytes returned by UDP receive calls"
    ),
];

/// The columns of the remote end, in order. Rows have them with [`Layout::remote`].
pub const REMOTE: [Column; 7] = [
    Column::new(
        "protocol",
        "",
        "tcp or udp; absent if the remote end is not known",
        |c| remote(c, |r| Value::Text(ends::protocol(r).into())),
    ),
    Column::new(
        "role",
        "",
        "client if the process connected, server if it accepted the connection. \
         A UDP socket is a server if the process chose its port. \
         Absent with --remote=address",
        |c| {
            remote(c, |r| {
                ends::role(r).map_or(Value::Absent, |role| Value::Text(role.into()))
            })
        },
    ),
    Column::new(
        "local_addr",
        "",
        "address of the process's end; only with --remote=socket",
        |c| {
            remote(c, |r| {
                let address = r.local_address;
                address.map_or(Value::Absent, |a| Value::Text(a.to_string().into()))
            })
        },
    ),
    Column::new(
        "local_port",
        "",
        "port of the process's end; only for servers, and for clients with --remote=socket",
        |c| remote(c, |r| port(r.local_port)),
    ),
    Column::new(
        "remote_addr",
        "",
        "address of the remote end; absent if it is not known. \
         An IPv6 address that stands for an IPv4 address is written as the IPv4 address. \
         An address that is valid on one interface only ends with the interface's index: fe80::1%3",
        |c| remote(c, |r| Value::Text(ends::remote_address(r).into())),
    ),
    Column::new(
        "remote_port",
        "",
        "port of the remote end; only for clients, and for servers with --remote=socket",
        |c| remote(c, |r| port(r.remote.port)),
    ),
    Column::new(
        "netns",
        "",
        "inode number of the network namespace of the socket; absent if it is that of the host",
        |c| {
            remote(c, |r| {
                r.netns
                    .map_or(Value::Absent, |inode| Value::Unsigned(inode.into()))
            })
        },
    ),
];

/// The name of the remote end. Rows have it with [`Layout::names`].
pub const REMOTE_NAME: Column = Column::new(
    "remote_name",
    "",
    "name of the remote address, from the resolver of the host; only with --resolve; \
     absent if there is no name, or if it was not known yet when the row was written",
    |c| {
        let name = c.row.remote_name.as_deref();
        name.map_or(Value::Absent, |name| Value::Text(name.into()))
    },
);

const TIME: Column = Column::new("time", "RFC 3339, UTC", "end of the interval", |c| {
    Value::Text(timestamp(c.report.time).into())
});
const INTERVAL: Column = Column::new(
    "interval",
    "seconds",
    "length of the interval, measured with the monotonic clock, so setting the \
     system clock does not affect it",
    |c| Value::Seconds(seconds(c.report.interval)),
);
const HOST: Column = Column::new(
    "host",
    "",
    "name of the host; absent in a container in which netatop may not look it up",
    |c| match c.host {
        "" => Value::Absent,
        host => Value::Text(host.into()),
    },
);
const PID: Column = Column::new(
    "pid",
    "",
    "process id; absent in the rows (other) and (unattributed)",
    |c| process(c, |p| Value::Unsigned(p.pid.into())),
);
const TID: Column = Column::new("tid", "", "thread id; only with --threads", |c| {
    process(c, |p| {
        p.tid
            .map_or(Value::Absent, |tid| Value::Unsigned(tid.into()))
    })
});
const COMM: Column = Column::new(
    "comm",
    "",
    "name of the process, or of the thread with --threads; bytes that are \
     not UTF-8 are written as U+FFFD",
    |c| name(c, |p| Value::Text(p.comm.to_str_lossy())),
);
const UID: Column = Column::new("uid", "", "real user id", |c| {
    process(c, |p| Value::Unsigned(p.uid.into()))
});
const CGROUP: Column = Column::new(
    "cgroup",
    "",
    "path of the cgroup under the cgroup v2 root; absent if netatop could not look it \
     up, for example because the cgroup was removed",
    |c| process(c, |p| text(p.cgroup.as_deref())),
);
/// The systemd unit of a process. Rows have it after all other columns, unless they are groups.
const UNIT: Column = Column::new(
    "unit",
    "",
    "systemd unit, such as nginx.service; a unit of a user's own manager has the manager before it: \
     user@1000.service/pipewire.service; absent if the process belongs to no unit, or if its cgroup \
     is not known",
    |c| process(c, |p| text(p.unit.as_deref())),
);
/// The container of a process, as for [`UNIT`].
const CONTAINER: Column = Column::new(
    "container",
    "",
    "container: its name, in a pod of Kubernetes NAMESPACE/POD/CONTAINER; if its runtime leaves no \
     name, the first 12 digits of its id, in a pod podUID/ID; absent if the process is in no \
     container, or if its cgroup does not tell",
    |c| process(c, |p| text(p.container.as_deref())),
);
/// The command line of a process. Rows have it with [`Layout::cmdline`].
const CMDLINE: Column = Column::new(
    "cmdline",
    "",
    "command line, at most 4096 bytes of it: the arguments with blanks in between, in single quotes \
     where they contain white space, quotes or a backslash; a longer one ends with …; only with \
     --cmdline; absent for threads of the kernel, and if it was not known in time",
    |c| process(c, |p| text(p.cmdline.as_deref())),
);
const START: Column = Column::new(
    "start",
    "RFC 3339, UTC",
    "when the process started, according to the clock of the host at the start of the recording",
    |c| process(c, |p| Value::Text(timestamp(p.start).into())),
);
const START_NS: Column = Column::new(
    "start_ns",
    "nanoseconds since boot",
    "when the process started; the same in every recording, so \
     host, pid and start_ns identify a process",
    |c| process(c, |p| Value::Unsigned(p.start_ns)),
);
const STATE: Column = Column::new(
    "state",
    "",
    "state at the end of the interval: running or exited",
    |c| {
        process(c, |p| {
            Value::Text(match p.state {
                State::Running => "running".into(),
                State::Exited => "exited".into(),
            })
        })
    },
);
const GROUP_COMM: Column = Column::new("comm", "", "name that the processes share", |c| {
    name(c, |_| Value::Absent)
});
const GROUP_COMMAND: Column = Column::new(
    "command",
    "",
    "program that the processes share, such as nginx or python3 worker.py; absent for processes whose \
     command line is not known",
    key_or_absent,
);
const GROUP_CGROUP: Column = Column::new(
    "cgroup",
    "",
    "path of the cgroup that the processes share; absent if netatop could not look it up",
    key_or_absent,
);
const GROUP_UNIT: Column = Column::new(
    "unit",
    "",
    "systemd unit that the processes share; absent for processes without a unit",
    key_or_absent,
);
const GROUP_CONTAINER: Column = Column::new(
    "container",
    "",
    "container that the processes share; absent for processes that are in no known container",
    key_or_absent,
);
const GROUP_USER: Column = Column::new(
    "user_name",
    "",
    "name of the user that the processes share; the user id if the user has no name",
    |c| name(c, |_| Value::Absent),
);
const PROCESSES: Column = Column::new(
    "processes",
    "",
    "number of processes with traffic; absent in the row (unattributed)",
    |c| match c.row.who {
        Who::Group { processes, .. } | Who::Other { processes } => Value::Unsigned(processes),
        Who::Process(_) | Who::Unattributed => Value::Absent,
    },
);

/// The columns of `layout`, in order.
#[must_use]
pub fn columns(layout: Layout) -> Vec<Column> {
    let identity: &[Column] = match (layout.group_by, layout.threads) {
        (GroupBy::Process, false) => &[PID, COMM, UID, CGROUP, START, START_NS, STATE],
        (GroupBy::Process, true) => &[PID, TID, COMM, UID, CGROUP, START, START_NS, STATE],
        (GroupBy::Comm, _) => &[GROUP_COMM, PROCESSES],
        (GroupBy::Command, _) => &[GROUP_COMMAND, PROCESSES],
        (GroupBy::Cgroup, _) => &[GROUP_CGROUP, PROCESSES],
        (GroupBy::Unit, _) => &[GROUP_UNIT, PROCESSES],
        (GroupBy::Container, _) => &[GROUP_CONTAINER, PROCESSES],
        (GroupBy::User, _) => &[GROUP_USER, PROCESSES],
    };
    let remote: &[Column] = layout.remote.map_or(&[], |_| &REMOTE);
    let name: &[Column] = if layout.names { &[REMOTE_NAME] } else { &[] };
    let tcp: &[Column] = if layout.tcp { &TCP } else { &[] };
    let names: &[Column] = match layout.group_by {
        GroupBy::Process => &[UNIT, CONTAINER],
        _ => &[],
    };
    let cmdline: &[Column] = match layout.cmdline {
        true => &[CMDLINE],
        false => &[],
    };
    [
        &[TIME, INTERVAL, HOST],
        identity,
        &COUNTERS,
        remote,
        name,
        tcp,
        names,
        cmdline,
    ]
    .concat()
}

/// Whether the paths of cgroups are needed for any of these columns.
pub(super) fn name_cgroups(columns: &[Column]) -> bool {
    let mut ids = columns.iter().map(|column| column.id);
    ids.any(|id| matches!(id, "cgroup" | "unit" | "container"))
}

/// The value of a column that only rows with a known remote end have.
fn remote<'a>(context: &Context<'a>, value: impl FnOnce(&'a Remote) -> Value<'a>) -> Value<'a> {
    context.row.remote.as_deref().map_or(Value::Absent, value)
}

fn port(port: Option<u16>) -> Value<'static> {
    port.map_or(Value::Absent, |port| Value::Unsigned(port.into()))
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::Absent, |text| Value::Text(text.into()))
}

/// The value of a column that only rows of processes have.
fn process<'a>(
    context: &Context<'a>,
    value: impl FnOnce(&'a crate::model::Process) -> Value<'a>,
) -> Value<'a> {
    match &context.row.who {
        Who::Process(process) => value(process),
        Who::Group { .. } | Who::Other { .. } | Who::Unattributed => Value::Absent,
    }
}

/// The value of the name column, which every row has.
fn name<'a>(
    context: &Context<'a>,
    value: impl FnOnce(&'a crate::model::Process) -> Value<'a>,
) -> Value<'a> {
    match &context.row.who {
        Who::Process(process) => value(process),
        Who::Group { key, .. } => Value::Text(key.into()),
        Who::Other { .. } => Value::Text(OTHER.into()),
        Who::Unattributed => Value::Text(UNATTRIBUTED.into()),
    }
}

/// The key of a group by program, cgroup, unit or container: an empty one stands for processes without it.
/// None of them has an empty name: the path of the root is `/`.
fn key_or_absent<'a>(context: &Context<'a>) -> Value<'a> {
    match &context.row.who {
        Who::Group { key, .. } if key.is_empty() => Value::Absent,
        _ => name(context, |_| Value::Absent),
    }
}

/// Name of the row with the sum of all rows that `--top` leaves out.
pub(super) const OTHER: &str = "(other)";
/// Name of the row with the traffic that could not be attributed.
pub(super) const UNATTRIBUTED: &str = "(unattributed)";

fn timestamp(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Seconds, rounded down to whole microseconds so that the value prints in few digits.
fn seconds(interval: Duration) -> f64 {
    interval.as_micros() as f64 / 1e6
}
