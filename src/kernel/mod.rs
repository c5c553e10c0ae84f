//! The kernel's side, seen from here: loading and attaching the programs, and reading
//! what they counted as plain data. The only part that knows libbpf.

mod attach;
mod decode;
mod host;
mod kind;
mod liveness;
mod requirements;
mod sampling;
#[cfg(test)]
mod sampling_tests;
mod setup;
mod shared;
mod skel;
mod tracer;

pub use attach::Storage;
pub use host::{HostFacts, is_realtime};
pub use kind::Kind;
pub use requirements::{Finding, Standing, against_misses, findings, missing};
pub use setup::{Capacity, Filter, MAX_CGROUPS, WantedCgroup};
pub use tracer::{Outside, Tracer, libbpf_messages};

use crate::fuzzing::{Target, text};

/// For `fuzz/`.
pub(crate) const PARSERS: [Target; 5] = [
    ("thread_record", |bytes| {
        // Also for `benches/rows.rs`, where it must not be found out to be useless.
        std::hint::black_box(decode::thread_record(bytes));
    }),
    ("losses", |bytes| {
        let _ = decode::losses(bytes);
    }),
    ("proc_stat", |bytes| {
        let _ = liveness::parse(&text(bytes), bytes.len() as u64, 100);
    }),
    ("proc_status", |bytes| {
        let _ = host::parse_capabilities(&text(bytes));
    }),
    ("fdinfo", |bytes| {
        let _ = tracer::recursion_misses(&text(bytes));
    }),
];
