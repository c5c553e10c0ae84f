//! Tries what a recording does, with the smallest maps.

use super::facts::HostFacts;
use super::kind::TracepointKind;
use super::load::Storage;
use super::setup::{Capacity, Filter, TcpRows};
use super::socket_walk::SocketWalk;
use super::tracer::Tracer;
use crate::error::Error;
use crate::host::can_name_cgroups;

/// Loads the programs with the smallest maps, attaches them, and detaches them again.
///
/// # Errors
///
/// If the kernel refuses the programs, with the cause and remedy if they are known.
pub fn try_programs(facts: &HostFacts) -> Result<(), Error> {
    try_with(facts, None).map(drop)
}

/// The same with those of TCP's own account. Returns how they find living sockets.
///
/// # Errors
///
/// As [`try_programs`].
pub fn try_tcp(facts: &HostFacts) -> Result<SocketWalk, Error> {
    let rows = TcpRows {
        rows: 1,
        ..TcpRows::new(false)
    };
    Ok(try_with(facts, Some(rows))?.unwrap_or(rows.walk))
}

fn try_with(facts: &HostFacts, tcp: Option<TcpRows>) -> Result<Option<SocketWalk>, Error> {
    let smallest = Capacity {
        slots: 16,
        ring_bytes: page_size(),
        overflow: 1,
        spare: 1,
        remote: None,
        tcp,
        unit_cgroups: 1,
        command_bytes: 0,
        cgroup_bytes: if can_name_cgroups() { page_size() } else { 0 },
    };
    let mut storage = Storage::default();
    let kind = TracepointKind::for_host(facts);
    let tracer = Tracer::attach_kind(&mut storage, smallest, &Filter::default(), kind)?;
    Ok(tracer.socket_walk())
}

fn page_size() -> u32 {
    u32::try_from(rustix::param::page_size()).unwrap_or(4096)
}
