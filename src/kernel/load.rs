//! Loads the programs and maps of one kind: only those that are needed.

use std::mem::MaybeUninit;

use libbpf_rs::skel::{OpenSkel, SkelBuilder};
use libbpf_rs::{MapType, OpenObject};

use super::attach::{Counting, udp_ends};
use super::facts::is_realtime;
use super::hints::HintSizes;
use super::kind::TracepointKind;
use super::refusal::refused;
use super::setup::{Capacity, Filter};
use super::skel::{NetatopSkel, NetatopSkelBuilder};
use super::socket_walk::SocketWalk;
use super::udp_ends::{HASHED_NOTES, UdpEnds};
use crate::error::Error;

/// Storage for the loaded object. It must outlive the [`Tracer`](super::Tracer) made from it.
#[derive(Default)]
pub struct Storage {
    object: ObjectStorage,
    /// For a second attempt.
    retried: ObjectStorage,
}

type ObjectStorage = Option<Box<MaybeUninit<OpenObject>>>;

/// Loads the programs and maps that this kind and this filter need. Returns how living sockets are
/// found, if they are looked at.
pub(super) fn load<'a>(
    storage: &'a mut Storage,
    capacity: Capacity,
    filter: &Filter,
    kind: TracepointKind,
) -> Result<(NetatopSkel<'a>, Option<SocketWalk>), Error> {
    let walk = capacity.tcp.map(|tcp| tcp.walk);
    match load_for(&mut storage.object, capacity, filter, kind, walk) {
        // Which program was refused is not known. If it was another one, the second attempt fails
        // for the same reason.
        Err(_) if walk == Some(SocketWalk::Accounts) => {
            let walk = Some(SocketWalk::OpenFiles);
            let skel = load_for(&mut storage.retried, capacity, filter, kind, walk)?;
            Ok((skel, walk))
        }
        loaded => Ok((loaded?, walk)),
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
    let has_notes = capacity.remote.is_some() || ends.is_used();
    if has_notes {
        maps.slot_notes
            .set_max_entries(capacity.slots)
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.push(&mut maps.slot_notes);
    }
    if notes_are_hashed || !has_notes {
        left_out.push(&mut maps.notes);
    }
    if let Some(remote) = capacity.remote {
        let hints = HintSizes::of_host();
        maps.first_rows
            .set_max_entries(remote.rows)
            .and_then(|()| maps.second_rows.set_max_entries(remote.rows))
            .and_then(|()| maps.row_sets.set_max_entries(2 * remote.sets()))
            .and_then(|()| maps.set_rows.set_max_entries(2 * remote.set_rows()))
            .and_then(|()| maps.hints.set_max_entries(hints.all()))
            .and_then(|()| maps.hints_made.set_max_entries(hints.words()))
            .map_err(|error| refused("size the maps", &error))?;
    } else {
        left_out.extend([
            &mut maps.first_rows,
            &mut maps.second_rows,
            &mut maps.current_rows,
            &mut maps.row_sets,
            &mut maps.set_rows,
            &mut maps.hints,
            &mut maps.hints_made,
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
    let counting = Counting::of(capacity, filter, kind);
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
        (&mut progs.on_send_tcp, is(Counting::WithTcp)),
        (&mut progs.on_recv_tcp, is(Counting::WithTcp)),
        (&mut progs.tcp_send, tcp && !typed),
        (&mut progs.tcp_recv, tcp && !typed),
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
