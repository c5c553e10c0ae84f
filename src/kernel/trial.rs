//! Tries what a recording does, with the smallest maps.

use super::attach::Storage;
use super::facts::HostFacts;
use super::kind::TracepointKind;
use super::setup::{Capacity, Filter, TcpRows};
use super::tracer::Tracer;
use crate::error::Error;
use crate::host::can_name_cgroups;

/// Loads the programs with the smallest maps, attaches them, and detaches them again. With `tcp`, also
/// those of TCP's own account.
///
/// # Errors
///
/// If the kernel refuses the programs, with the cause and remedy if they are known.
pub fn try_programs(facts: &HostFacts, tcp: bool) -> Result<(), Error> {
    let smallest = Capacity {
        slots: 16,
        ring_bytes: page_size(),
        overflow: 1,
        spare: 1,
        remote: None,
        tcp: tcp.then_some(TcpRows {
            threads: false,
            rows: 1,
        }),
        unit_cgroups: 1,
        command_bytes: 0,
        cgroup_bytes: if can_name_cgroups() { page_size() } else { 0 },
    };
    let mut storage = Storage::default();
    let kind = TracepointKind::for_host(facts);
    Tracer::attach_kind(&mut storage, smallest, &Filter::default(), kind).map(drop)
}

fn page_size() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(4096)
}
