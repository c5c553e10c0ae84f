//! Access to the BPF programs: loads and attaches them, and returns their counters as plain data.
//! The only module that uses libbpf.

mod attach;
mod automaton;
mod commands;
mod decode;
mod ends;
mod facts;
mod finding;
mod hints;
mod iter;
mod kind;
mod liveness;
mod load;
mod misses;
mod refusal;
mod remote;
mod requirements;
#[cfg(test)]
mod requirements_tests;
mod ring;
mod row_sets;
mod rows;
mod sampling;
#[cfg(test)]
mod sampling_tests;
mod seccomp;
mod setup;
mod shared;
mod skel;
mod snapshot;
mod socket_walk;
mod tcp;
mod tracefs;
mod tracer;
mod trial;
mod udp_ends;
mod unit_paths;
mod unslotted;
mod who;
mod words;

pub use automaton::{Automaton, TooComplex};
pub use commands::COMMAND_BYTES;
pub use ends::EndFilter;
pub use facts::{HostFacts, is_realtime};
pub use finding::{Finding, Status};
pub use kind::TracepointKind;
pub use load::Storage;
pub use requirements::{findings, missing, remedy_for_misses, tcp_trial, trial, udp_remote};
pub use seccomp::Seccomp;
pub use setup::{Capacity, Filter, MAX_CGROUPS, RemoteRows, TcpRows, WantedCgroup};
pub use socket_walk::SocketWalk;
pub use tracer::{Tracer, libbpf_messages};
pub use trial::{try_programs, try_tcp};
pub use udp_ends::UdpEnds;
pub use unit_paths::UnitPattern;
pub use unslotted::UnslottedBlocks;
pub use who::{MAX_UIDS, TaskFilter};

/// Parsers of records, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::commands::change as command;
    pub(crate) use super::decode::{cgroup, losses, thread_record};
    pub(crate) use super::remote::row;
    pub(crate) use super::tcp::row as tcp_row;
}
