//! Which kind of programs counts, and what the better one for new kernels needs.

use super::facts::{HostFacts, parse_release};

/// What the programs that count are attached to. Both kinds count the same, by the same code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracepointKind {
    /// Tracepoints whose arguments have types. The cheaper kind, and always there.
    Typed,
    /// Classic ones, which write a record first. They are opened through tracefs.
    Classic,
}

/// From here on a thread can lose the processor in the midst of a program of the typed kind,
/// and until it goes on, the kernel leaves that program out for all other threads there.
/// Classic ones still run with preemption off.
const PREEMPTIBLE: (u32, u32) = (7, 0);

impl TracepointKind {
    /// The one that misses least on this host.
    #[must_use]
    pub fn for_host(facts: &HostFacts) -> Self {
        if wants_classic(facts) && facts.tracefs.is_ok() {
            Self::Classic
        } else {
            Self::Typed
        }
    }
}

/// Whether programs of the typed kind can miss events on this host.
pub(super) fn wants_classic(facts: &HostFacts) -> bool {
    parse_release(&facts.release).is_some_and(|release| release >= PREEMPTIBLE)
}
