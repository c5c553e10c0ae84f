//! Loads the programs of one kind and attaches them.

use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsRawFd;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{Link, MapCore, MapFlags, MapType, OpenObject, ProgramMut};

use super::facts::is_realtime;
use super::iter;
use super::kind::TracepointKind;
use super::refusal::cause_of_refusal;
use super::rows;
use super::setup::{Capacity, Filter};
use super::skel::{NetatopProgs, NetatopSkel, NetatopSkelBuilder};
use super::socket_walk::SocketWalk;
use super::udp_ends::{self, HASHED_NOTES, UdpEnds};
use crate::error::Error;
use crate::host::proc::own_status;
use crate::host::{NO_CGROUPS, cgroup_mount};

/// Storage for the loaded object. It must outlive the [`Tracer`](super::Tracer) made from it.
#[derive(Default)]
pub struct Storage {
    object: ObjectStorage,
    /// For a second attempt.
    retried: ObjectStorage,
}

type ObjectStorage = Option<Box<MaybeUninit<OpenObject>>>;

/// The error for an operation that the kernel refused although no requirement was missing.
pub(super) fn refused(what: &str, error: &libbpf_rs::Error) -> Error {
    let kind = match error.kind() {
        libbpf_rs::ErrorKind::PermissionDenied => io::ErrorKind::PermissionDenied,
        libbpf_rs::ErrorKind::Unsupported => io::ErrorKind::Unsupported,
        libbpf_rs::ErrorKind::OutOfMemory => io::ErrorKind::OutOfMemory,
        _ => io::ErrorKind::Other,
    };
    let text = match cause_of_refusal(kind, own_status().seccomp_filter) {
        Some((cause, remedy)) => {
            format!("the kernel refused to {what} ({error:#}): {cause}\n{remedy}")
        }
        None => format!(
            "the kernel refused to {what}: {error:#}\n\
             --verbose shows libbpf's own messages, and the kernel's log may say more"
        ),
    };
    Error::Failed(text)
}

/// Loads the programs and maps that this kind and this filter need. Returns how living sockets are
/// found, if they are looked at.
pub(super) fn load<'a>(
    storage: &'a mut Storage,
    capacity: Capacity,
    filter: &Filter,
    kind: TracepointKind,
) -> Result<(NetatopSkel<'a>, Option<SocketWalk>), Error> {
    let best = capacity.tcp.map(|_| SocketWalk::Accounts);
    let object = &mut storage.object;
    match load_for(object, capacity, filter, kind, best) {
        // Which program was refused is not known. If it was another one, the second attempt fails
        // for the same reason.
        Err(_) if best.is_some() => {
            let walk = Some(SocketWalk::OpenFiles);
            let skel = load_for(&mut storage.retried, capacity, filter, kind, walk)?;
            Ok((skel, walk))
        }
        loaded => Ok((loaded?, best)),
    }
}

fn load_for<'a>(
    object: &'a mut ObjectStorage,
    capacity: Capacity,
    filter: &Filter,
    kind: TracepointKind,
    walk: Option<SocketWalk>,
) -> Result<NetatopSkel<'a>, Error> {
    let object = object.insert(Box::new(MaybeUninit::uninit()));
    let mut open = NetatopSkelBuilder::default()
        .open(object)
        .map_err(|error| refused("open the programs", &error))?;
    let maps = &mut open.maps;
    // Before Linux 6.13, the lock of an LPM trie can sleep on PREEMPT_RT (a spinlock_t in
    // kernel/bpf/lpm_trie.c). A thread must not sleep while it exits: the kernel would report
    // "scheduling while atomic".
    if is_realtime() {
        maps.overflow
            .set_type(MapType::Hash)
            .map_err(|error| refused("make the maps", &error))?;
    }
    maps.exits
        .set_max_entries(capacity.ring_bytes)
        .and_then(|()| maps.slots.set_max_entries(capacity.slot_sets()))
        .and_then(|()| maps.overflow.set_max_entries(capacity.overflow))
        .and_then(|()| maps.spare.set_max_entries(capacity.spare))
        .and_then(|()| maps.wanted.set_max_entries(filter.wanted_entries()))
        .map_err(|error| refused("size the maps", &error))?;
    let cgroups = capacity.cgroup_bytes > 0;
    let mut left_out = Vec::new();
    if cgroups {
        maps.cgroups
            .set_max_entries(capacity.cgroup_bytes)
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.push(&mut maps.cgroups);
    }
    let commands = capacity.command_bytes > 0;
    if commands {
        maps.commands
            .set_max_entries(capacity.command_bytes)
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.extend([&mut maps.commands, &mut maps.command_space]);
    }
    let ends = &filter.ends;
    if ends.ports.is_empty() {
        left_out.push(&mut maps.ports);
    }
    if ends.networks.is_empty() {
        left_out.push(&mut maps.networks);
    } else {
        maps.networks
            .set_max_entries(ends.network_entries())
            .map_err(|error| refused("size the maps", &error))?;
    }
    let udp_ends = udp_ends(capacity, filter);
    let notes_are_hashed = udp_ends == UdpEnds::HashedCgroupHooks;
    if notes_are_hashed {
        maps.hashed_notes
            .set_max_entries(HASHED_NOTES)
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.push(&mut maps.hashed_notes);
    }
    if notes_are_hashed || (capacity.remote.is_none() && !ends.is_used()) {
        left_out.push(&mut maps.notes);
    }
    if let Some(remote) = capacity.remote {
        maps.first_rows
            .set_max_entries(remote.rows)
            .and_then(|()| maps.second_rows.set_max_entries(remote.rows))
            .and_then(|()| maps.row_sets.set_max_entries(2 * remote.sets()))
            .and_then(|()| maps.set_rows.set_max_entries(2 * remote.set_rows()))
            .and_then(|()| maps.hints.set_max_entries(rows::hints()))
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.extend([
            &mut maps.first_rows,
            &mut maps.second_rows,
            &mut maps.current_rows,
            &mut maps.row_sets,
            &mut maps.set_rows,
            &mut maps.hints,
        ]);
    }
    if let Some(tcp) = capacity.tcp {
        maps.first_tcp_rows
            .set_max_entries(tcp.rows)
            .and_then(|()| maps.second_tcp_rows.set_max_entries(tcp.rows))
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.extend([
            &mut maps.first_tcp_rows,
            &mut maps.second_tcp_rows,
            &mut maps.tcp_rows_in_use,
            &mut maps.unattributed_lock,
            &mut maps.accounts,
        ]);
    }
    for map in left_out {
        map.set_autocreate(false)
            .map_err(|error| refused("leave out a map", &error))?;
    }
    filter
        .who
        .size(maps, capacity.unit_cgroups)
        .map_err(|error| refused("size the maps", &error))?;
    if let Some(rodata) = open.maps.rodata_data.as_deref_mut() {
        // Early enough to drain the ring buffer before it is full, late enough to be rare.
        rodata.ring_wakeup = u64::from(capacity.ring_bytes / 4);
        rodata.slot_sets_mask = capacity.slot_sets() - 1;
        rodata.cgroups_wakeup = u64::from(capacity.cgroup_bytes / 4);
        rodata.commands_wakeup = u64::from(capacity.command_bytes / 4);
        filter.write_to(&mut rodata.filter);
        filter.who.write_to(&mut rodata.who);
        rodata.notes_are_hashed = u32::from(notes_are_hashed);
        ends.write_to(&mut rodata.matching);
        if let Some(remote) = capacity.remote {
            remote.write_to(&mut rodata.remote);
            // Classic programs cannot.
            rodata.remote.makes_cookies = u32::from(kind == TracepointKind::Typed);
        }
        if let (Some(tcp), Some(walk)) = (capacity.tcp, walk) {
            tcp.write_to(walk, &mut rodata.tcp);
        }
    }
    let (typed, tracked) = (kind == TracepointKind::Typed, filter.is_tracked());
    let counting = Counting::of(capacity, filter);
    let is = |one| counting == one;
    let tcp = capacity.tcp.is_some();
    let units = filter.who.units.is_some();
    let progs = &mut open.progs;
    for (program, needed) in [
        (&mut progs.on_exit, typed),
        (&mut progs.on_newtask, typed && tracked),
        (&mut progs.on_send, typed && is(Counting::All)),
        (&mut progs.on_recv, typed && is(Counting::All)),
        (&mut progs.on_send_remote, typed && is(Counting::Remote)),
        (&mut progs.on_recv_remote, typed && is(Counting::Remote)),
        (&mut progs.on_send_matching, typed && is(Counting::Matching)),
        (&mut progs.on_recv_matching, typed && is(Counting::Matching)),
        (&mut progs.classic_exit, !typed),
        (&mut progs.classic_newtask, !typed && tracked),
        (&mut progs.classic_send, !typed && is(Counting::All)),
        (&mut progs.classic_recv, !typed && is(Counting::All)),
        (
            &mut progs.classic_send_remote,
            !typed && is(Counting::Remote),
        ),
        (
            &mut progs.classic_recv_remote,
            !typed && is(Counting::Remote),
        ),
        (
            &mut progs.classic_send_matching,
            !typed && is(Counting::Matching),
        ),
        (
            &mut progs.classic_recv_matching,
            !typed && is(Counting::Matching),
        ),
        (&mut progs.mark, tracked),
        (&mut progs.on_cgroup_mkdir, cgroups),
        (&mut progs.on_cgroup_rmdir, cgroups),
        (&mut progs.unit_mkdir, units),
        (&mut progs.unit_rmdir, units),
        (&mut progs.on_exec, typed && commands),
        (&mut progs.on_fork, typed && commands),
        (&mut progs.classic_exec, !typed && commands),
        (&mut progs.classic_fork, !typed && commands),
        (&mut progs.tcp_send, tcp),
        (&mut progs.tcp_recv, tcp),
        (&mut progs.tcp_set_state, tcp),
        (&mut progs.tcp_destroy, tcp),
        (&mut progs.tcp_reset, tcp),
        (&mut progs.tcp_find, tcp),
    ] {
        program.set_autoload(needed);
    }
    udp_ends.choose(progs);
    SocketWalk::choose(walk, progs);
    open.load()
        .map_err(|error| refused("load the programs", &error))
}

/// Which of the programs count. Each contains only what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counting {
    /// Those that count by thread.
    All,
    /// Those that count by remote end.
    Remote,
    /// Those that look at the ends first, and count by thread or by remote end.
    Matching,
}

impl Counting {
    pub(super) fn of(capacity: Capacity, filter: &Filter) -> Self {
        match capacity.remote {
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
        (TracepointKind::Classic, Counting::All) => [&progs.classic_send, &progs.classic_recv],
        (TracepointKind::Classic, Counting::Remote) => {
            [&progs.classic_send_remote, &progs.classic_recv_remote]
        }
        (TracepointKind::Classic, Counting::Matching) => {
            [&progs.classic_send_matching, &progs.classic_recv_matching]
        }
    };
    if tracked {
        vec![exit, new_task, send, recv]
    } else {
        vec![exit, send, recv]
    }
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
    // marked next, together with the tasks that they create meanwhile.
    let tracked = filter.is_tracked();
    let before = if tracked { 2 } else { 1 };
    let marking = |error| refused("mark the processes", &error);
    if tracked {
        add_wanted(skel, &filter.pids).map_err(marking)?;
    }
    let counting = Counting::of(capacity, filter);
    for (place, program) in programs(&skel.progs, kind, tracked, counting)
        .iter()
        .enumerate()
    {
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
