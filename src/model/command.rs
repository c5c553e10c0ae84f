//! Command lines of processes, as the kernel reports them.

use super::ProcessId;

/// What a process has for a command line from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandChange {
    /// The process.
    pub process: ProcessId,
    /// Where its command line comes from.
    pub source: CommandSource,
}

/// Where the command line of a process comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandSource {
    /// It has executed a program with these arguments.
    Exec {
        /// The arguments, each with a 0 at its end. They can be in any encoding.
        arguments: Vec<u8>,
        /// Whether there are more of them.
        is_cut: bool,
    },
    /// It has executed a program whose arguments the kernel could not read.
    Unread,
    /// It is new, and has the command line of this process.
    Fork(ProcessId),
}
