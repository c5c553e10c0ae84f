//! Who the traffic belongs to.

use std::borrow::Cow;

use super::Counters;

/// A process, told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessId {
    /// Process id (the kernel's tgid), as numbered in the initial pid namespace.
    pub pid: u32,
    /// Start of its first thread, nanoseconds since boot (suspended time included).
    /// Keeps its value over exec.
    pub start: u64,
}

/// A task's name: at most 15 bytes, of any value but 0, in no particular encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Comm([u8; 16]);

impl Comm {
    /// Takes the bytes up to the first 0; what is behind it means nothing.
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

    /// The name as text; what is not UTF-8 becomes U+FFFD.
    #[must_use]
    pub fn to_str_lossy(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(self.as_bytes())
    }
}

/// Whether a process was still there at the end of an interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// At least one of its threads had not ended.
    Running,
    /// All of its threads had ended; its parent may not have noticed yet.
    Exited,
}

/// The counters of one block, as the kernel's side hands them over: of one thread since
/// counting began, or, where a thread has more than one block, of a part of its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ThreadRecord {
    /// Identifies the block; never used for another one while the programs are loaded.
    pub block: u64,
    /// Whose block it is.
    pub identity: Identity,
    /// The thread has ended, and these are its last counters.
    pub exited: bool,
    /// Every thread of the process has ended, or is about to.
    pub group_dead: bool,
    /// Totals since counting began.
    pub counters: Counters,
}

/// Whose a record is: what a row can name. Without the counters it is half as large, and is
/// kept for every process there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The process of the thread.
    pub process: ProcessId,
    /// Thread id, which may change: exec gives the calling thread its process's id.
    pub tid: u32,
    /// Name of the process (of its first thread).
    pub comm: Comm,
    /// Name of the thread.
    pub thread_comm: Comm,
    /// Real user id.
    pub uid: u32,
    /// Inode number of the cgroup v2 directory; 1 is the root.
    pub cgroup: u64,
    /// The user who may see the traffic, besides root, by the rules of /proc/PID/io. `None` for
    /// a task with other rights than its user, such as a set-user-id program.
    pub owner: Option<u32>,
}

#[cfg(test)]
impl ThreadRecord {
    /// One of a living thread, where the rest does not matter.
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
