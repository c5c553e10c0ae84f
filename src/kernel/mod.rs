//! The kernel's side, seen from here: loading and attaching the programs, and reading
//! what they counted as plain data. The only part that knows libbpf.

mod decode;
mod host;
mod liveness;
mod requirements;
mod setup;
mod skel;
mod tracer;

pub use host::HostFacts;
pub use requirements::{Finding, Standing, findings, missing};
pub use setup::{Capacity, Filter, MAX_CGROUPS, WantedCgroup};
pub use tracer::{Storage, Tracer, libbpf_messages};
