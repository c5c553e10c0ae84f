//! The owners of traffic: processes and threads.

use std::borrow::Cow;

use super::Counters;

/// Identifies a process, and distinguishes it from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Process id (the kernel's tgid) in the initial pid namespace.
    pub pid: u32,
    /// Start of its first thread in nanoseconds since boot, including suspended time. exec does not
    /// change it.
    pub start: u64,
}

/// A task's name: at most 15 bytes of any value except 0, in no particular encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm([u8; 16]);

impl Comm {
    /// Creates a name from the bytes before the first 0. Later bytes are ignored.
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let mut name = [0; 16];
        for (to, from) in name.iter_mut().zip(bytes.iter().take_while(|b| **b != 0)) {
            *to = *from;
        }
        Self(name)
    }

    /// The name's bytes, without a terminating 0.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let end = self.0.iter().position(|b| *b == 0).unwrap_or(self.0.len());
        self.0.get(..end).unwrap_or_default()
    }

    /// The name as text. Bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

/// Whether a process was alive at the end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At least one of its threads was alive.
    Running,
    /// All of its threads had ended. Its parent may not have reaped it yet.
    Exited,
}

/// A record of one block of counters from the BPF programs. It covers one thread since counting
/// began, or a part of that time if the thread has more than one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadRecord {
    /// Id of the block. While the programs are loaded, no other block gets the same id.
    pub block: u64,
    /// The owner of the block.
    pub identity: Identity,
    /// The thread has ended, and these are its final counters.
    pub exited: bool,
    /// Every thread of the process has ended, or is about to.
    pub group_dead: bool,
    /// Totals since counting began.
    pub counters: Counters,
}

/// The owner of a record, with the data for a row's identity columns. It is separate from the
/// counters because the ledger stores it for every process, and it is half the size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The process of the thread.
    pub process: ProcessId,
    /// Thread id. It can change: exec gives the calling thread the id of its process.
    pub tid: u32,
    /// Name of the process (of its first thread).
    pub comm: Comm,
    /// Name of the thread.
    pub thread_comm: Comm,
    /// Real user id.
    pub uid: u32,
    /// Inode number of the cgroup v2 directory; 1 is the root.
    pub cgroup: u64,
    /// The user who may see the traffic, besides root, by the rules of /proc/PID/io. `None` if the
    /// task's rights differ from its user's, as in a set-user-id program.
    pub owner: Option<u32>,
}

#[cfg(test)]
impl ThreadRecord {
    /// A record of a living thread with default values.
    pub(crate) fn of_test(block: u64, process: ProcessId, tid: u32, counters: Counters) -> Self {
        Self {
            block,
            identity: Identity {
                process,
                tid,
                comm: Comm::new(b"test"),
                thread_comm: Comm::new(b"test"),
                uid: 0,
                cgroup: 1,
                owner: Some(0),
            },
            exited: false,
            group_dead: false,
            counters,
        }
    }
}
