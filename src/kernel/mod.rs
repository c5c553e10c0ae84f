//! The kernel's side, seen from here: loading and attaching the programs, and reading
//! what they counted as plain data. The only part that knows libbpf.

mod decode;
mod host;
mod liveness;
mod requirements;
mod skel;
mod tracer;

pub use host::HostFacts;
pub use requirements::{Requirement, missing, requirements};
pub use tracer::{Capacity, Filter, MAX_CGROUPS, Storage, Tracer, WantedCgroup, libbpf_messages};
