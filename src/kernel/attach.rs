//! Attaches the programs, in the order that loses nothing.

use std::fs::File;
use std::os::fd::AsRawFd;

use libbpf_rs::{Link, MapCore, MapFlags, ProgramMut};

use super::iter;
use super::kind::TracepointKind;
use super::refusal::refused;
use super::setup::{Capacity, Filter};
use super::skel::{NetatopProgs, NetatopSkel};
use super::udp_ends::{self, UdpEnds};
use crate::error::Error;
use crate::host::{NO_CGROUPS, cgroup_mount};

/// Which of the programs count. Each contains only what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Those that count by thread.
    All,
    /// Those that count by remote end.
    Remote,
    /// Those that look at the ends first, and count by thread or by remote end.
    Matching,
    /// Those that also keep TCP's own account, and count in whichever way is asked for.
    WithTcp,
}

impl Counting {
    pub(super) fn of(capacity: Capacity, filter: &Filter, kind: TracepointKind) -> Self {
        match capacity.remote {
            // Classic programs cannot keep accounts.
            _ if capacity.tcp.is_some() && kind == TracepointKind::Typed => Self::WithTcp,
            _ if filter.ends.is_used() => Self::Matching,
            Some(_) => Self::Remote,
            None => Self::All,
        }
    }
}

/// Where the remote ends of unconnected UDP sockets come from.
pub(super) fn udp_ends(capacity: Capacity, filter: &Filter) -> UdpEnds {
    match capacity.remote {
        Some(remote) => remote.udp_ends,
        None if filter.ends.is_used() => filter.ends.udp_ends,
        None => UdpEnds::NotNeeded,
    }
}

/// The tracepoint programs that can miss events, in the order in which they are attached.
pub(super) fn programs<'s, 'o>(
    progs: &'s NetatopProgs<'o>,
    kind: TracepointKind,
    tracked: bool,
    counting: Counting,
    with_tcp: bool,
) -> Vec<&'s ProgramMut<'o>> {
    let [exit, new_task] = match kind {
        TracepointKind::Typed => [&progs.on_exit, &progs.on_newtask],
        TracepointKind::Classic => [&progs.classic_exit, &progs.classic_newtask],
    };
    let [send, recv] = match (kind, counting) {
        (TracepointKind::Typed, Counting::All) => [&progs.on_send, &progs.on_recv],
        (TracepointKind::Typed, Counting::Remote) => [&progs.on_send_remote, &progs.on_recv_remote],
        (TracepointKind::Typed, Counting::Matching) => {
            [&progs.on_send_matching, &progs.on_recv_matching]
        }
        (TracepointKind::Typed, Counting::WithTcp) => [&progs.on_send_tcp, &progs.on_recv_tcp],
        (TracepointKind::Classic, Counting::All | Counting::WithTcp) => {
            [&progs.classic_send, &progs.classic_recv]
        }
        (TracepointKind::Classic, Counting::Remote) => {
            [&progs.classic_send_remote, &progs.classic_recv_remote]
        }
        (TracepointKind::Classic, Counting::Matching) => {
            [&progs.classic_send_matching, &progs.classic_recv_matching]
        }
    };
    let mut all = vec![exit];
    if tracked {
        all.push(new_task);
    }
    if with_tcp {
        all.extend([&progs.tcp_destroy, &progs.tcp_reset, &progs.tcp_set_state]);
        if counting != Counting::WithTcp {
            all.extend([&progs.tcp_send, &progs.tcp_recv]);
        }
    }
    all.extend([send, recv]);
    all
}

/// The attached programs. Dropping the links detaches them.
pub(super) struct Links {
    pub(super) _events: Vec<Link>,
    pub(super) dump_tasks: Link,
}

/// Attaches all programs. Counting has begun when this returns.
pub(super) fn attach(
    skel: &NetatopSkel<'_>,
    filter: &Filter,
    kind: TracepointKind,
    capacity: Capacity,
) -> Result<Links, Error> {
    let attached = |result: libbpf_rs::Result<Link>| {
        result.map_err(|error| refused("attach the programs", &error))
    };
    let dump_tasks = attached(skel.progs.dump_tasks.attach())?;
    let mut events = Vec::new();
    filter
        .ends
        .fill(&skel.maps)
        .and_then(|()| filter.who.fill(&skel.maps))
        .map_err(|error| refused("set the filter", &error))?;
    if filter.who.units.is_some() {
        for program in [&skel.progs.unit_mkdir, &skel.progs.unit_rmdir] {
            events.push(attached(program.attach())?);
        }
        filter.who.add_existing(&skel.maps)?;
    }
    if capacity.cgroup_bytes > 0 {
        for program in [&skel.progs.on_cgroup_mkdir, &skel.progs.on_cgroup_rmdir] {
            events.push(attached(program.attach())?);
        }
    }
    if udp_ends(capacity, filter) == UdpEnds::Functions {
        for program in udp_ends::functions(&skel.progs) {
            events.push(attached(program.attach())?);
        }
    }
    if udp_ends(capacity, filter).is_from_hooks() {
        let mount = cgroup_mount().ok_or_else(|| Error::Failed(NO_CGROUPS.join("\n")))?;
        let root = File::open(&mount).map_err(|error| Error::failed("the cgroups", error))?;
        for program in [
            &skel.progs.note_send4,
            &skel.progs.note_send6,
            &skel.progs.note_recv4,
            &skel.progs.note_recv6,
        ] {
            events.push(attached(program.attach_cgroup(root.as_raw_fd()))?);
        }
    }
    // The exit program comes first: no counted thread may end unseen. The wanted processes are
    // marked next, together with the tasks that they create meanwhile. Then come the programs at the
    // end of sockets, so that no account ends unseen either, and last those that count.
    let tracked = filter.is_tracked();
    let before = if tracked { 2 } else { 1 };
    let marking = |error| refused("mark the processes", &error);
    if tracked {
        add_wanted(skel, &filter.pids).map_err(marking)?;
    }
    let counting = Counting::of(capacity, filter, kind);
    let with_tcp = capacity.tcp.is_some();
    let programs = programs(&skel.progs, kind, tracked, counting, with_tcp);
    for (place, program) in programs.iter().enumerate() {
        if place == before && tracked {
            mark(skel, &filter.pids).map_err(marking)?;
        }
        events.push(attached(program.attach())?);
    }
    Ok(Links {
        _events: events,
        dump_tasks,
    })
}

fn add_wanted(skel: &NetatopSkel<'_>, pids: &[u32]) -> libbpf_rs::Result<()> {
    for pid in pids {
        skel.maps
            .wanted
            .update(&pid.to_ne_bytes(), &[0; 4], MapFlags::ANY)?;
    }
    Ok(())
}

/// Marks all threads of `pids`. Threads that they create meanwhile are marked at creation.
fn mark(skel: &NetatopSkel<'_>, pids: &[u32]) -> libbpf_rs::Result<()> {
    iter::run(&skel.progs.mark.attach()?)?;
    for pid in pids {
        skel.maps.wanted.delete(&pid.to_ne_bytes())?;
    }
    Ok(())
}
