//! Which kind of tracepoint the programs use, and what the better kind for new kernels needs.

use super::facts::{HostFacts, parse_release};

/// The kind of tracepoint to which the counting programs are attached. Both kinds share the same
/// counting code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TracepointKind {
    /// Tracepoints with typed arguments (`tp_btf`). They are cheaper, and always available.
    Typed,
    /// Classic tracepoints, for which the kernel first builds a record. They are opened through
    /// tracefs.
    Classic,
}

/// From this release on, a thread can be preempted inside a program on a typed tracepoint. Until it
/// continues, the kernel skips that program for all other threads on that CPU. Programs on classic
/// tracepoints still run with preemption disabled.
const PREEMPTIBLE: (u32, u32) = (7, 0);

impl TracepointKind {
    /// The kind that misses the fewest events on this host.
    #[must_use]
    pub fn for_host(facts: &HostFacts) -> Self {
        if wants_classic(facts) && facts.tracefs.is_ok() {
            Self::Classic
        } else {
            Self::Typed
        }
    }
}

/// Whether programs on typed tracepoints can miss events on this host.
pub(super) fn wants_classic(facts: &HostFacts) -> bool {
    parse_release(&facts.release).is_some_and(|release| release >= PREEMPTIBLE)
}
