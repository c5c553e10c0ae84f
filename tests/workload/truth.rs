//! The workload's own counts: a tally of the return values of its calls, and the JSON line with the
//! result.

use std::io::Write;

use nix::sys::socket::MsgFlags;
use serde_json::{Map, Value};

use crate::call::Result;

/// The names of the counters, in the order of the tally.
pub const NAMES: [&str; 8] = [
    "tcp_send_msgs",
    "tcp_send_bytes",
    "tcp_recv_msgs",
    "tcp_recv_bytes",
    "udp_send_msgs",
    "udp_send_bytes",
    "udp_recv_msgs",
    "udp_recv_bytes",
];

/// The kind of a socket for the rules of counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A stream socket of TCP or MPTCP.
    Tcp,
    /// A datagram socket of UDP.
    Udp,
    /// Anything else (Unix, raw): never counted.
    Other,
}

/// The tally of one process or thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Truth {
    counts: [u64; 8],
    tcp_send_msgs_unknown: bool,
}

impl Truth {
    /// A tally that starts at these counts.
    pub fn from_counts(counts: [u64; 8]) -> Self {
        Self {
            counts,
            tcp_send_msgs_unknown: false,
        }
    }

    /// The counters, in the order of [`NAMES`].
    pub fn counts(&self) -> [u64; 8] {
        self.counts
    }

    /// A send call returned `bytes`.
    pub fn sent(&mut self, kind: Kind, bytes: usize) {
        self.tally(kind, 0, bytes);
    }

    /// A receive call made with `flags` returned `bytes`.
    pub fn received(&mut self, kind: Kind, bytes: usize, flags: MsgFlags) {
        // Peeks, and errors of earlier sends, move no data.
        if !flags.intersects(MsgFlags::MSG_PEEK | MsgFlags::MSG_ERRQUEUE) {
            self.tally(kind, 2, bytes);
        }
    }

    /// TCP sent these bytes in a number of steps that only the kernel knows.
    pub fn sent_tcp_in_unknown_steps(&mut self, bytes: usize) {
        self.tcp_send_msgs_unknown = true;
        self.counts[1] += bytes as u64;
    }

    /// Adds the tally of another thread, or of an earlier program of the same process.
    pub fn add(&mut self, other: &Truth) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.tcp_send_msgs_unknown |= other.tcp_send_msgs_unknown;
    }

    /// The counters as one argument, for the program that this process executes.
    pub fn to_argument(self) -> String {
        self.counts.map(|count| count.to_string()).join(",")
    }

    /// Parses the text from [`Truth::to_argument`].
    pub fn from_argument(text: &str) -> Result<Self> {
        let counts = text
            .split(',')
            .map(str::parse)
            .collect::<std::result::Result<Vec<u64>, _>>()?;
        let counts = <[u64; 8]>::try_from(counts)
            .map_err(|_| format!("'{text}' is not a list of 8 counters"))?;
        Ok(Self::from_counts(counts))
    }

    fn tally(&mut self, kind: Kind, direction: usize, bytes: usize) {
        let first = match kind {
            // The end of a TCP stream is not a message; an empty datagram is a message.
            Kind::Tcp if bytes == 0 => return,
            Kind::Tcp => direction,
            Kind::Udp => 4 + direction,
            Kind::Other => return,
        };
        self.counts[first] += 1;
        self.counts[first + 1] += bytes as u64;
    }

    fn write_into(&self, fields: &mut Map<String, Value>) {
        for (name, count) in NAMES.iter().zip(self.counts) {
            fields.insert((*name).to_owned(), count.into());
        }
        if self.tcp_send_msgs_unknown {
            fields.insert(NAMES[0].to_owned(), Value::Null);
        }
    }
}

/// One line of the workload's output.
pub struct Line(Map<String, Value>);

impl Line {
    /// The line of one process.
    pub fn process(pid: i32, comm: &str, truth: &Truth) -> Self {
        Self::identified("pid", pid.into(), comm, truth)
    }

    /// The line of the calling process, when its leading thread's name is `comm`.
    pub fn this_process(comm: &str, truth: &Truth) -> Self {
        Self::process(nix::unistd::getpid().as_raw(), comm, truth)
    }

    /// One entry of a process line's `threads`.
    pub fn thread(tid: i32, comm: &str, truth: &Truth) -> Self {
        Self::identified("tid", tid.into(), comm, truth)
    }

    /// The sum over many processes.
    pub fn aggregate(processes: usize, comm: &str, truth: &Truth) -> Self {
        Self::identified("processes", processes.into(), comm, truth)
    }

    fn identified(key: &str, id: Value, comm: &str, truth: &Truth) -> Self {
        let mut fields = Map::new();
        fields.insert(key.to_owned(), id);
        fields.insert("comm".to_owned(), comm.into());
        truth.write_into(&mut fields);
        Self(fields)
    }

    /// The line with one more field.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// The line as a value, for nesting in another line.
    pub fn into_value(self) -> Value {
        Value::Object(self.0)
    }

    /// Writes the line to standard output at once.
    pub fn print(self) -> Result {
        print_value(&self.into_value())
    }
}

/// Writes one JSON value and a line feed with a single write, so that lines of several processes are
/// not mixed.
pub fn print_value(value: &Value) -> Result {
    let mut text = value.to_string();
    text.push('\n');
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()?;
    Ok(())
}
