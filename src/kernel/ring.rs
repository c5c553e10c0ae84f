//! The ring buffers, and where their records go.

use std::cell::RefCell;
use std::rc::Rc;

use libbpf_rs::{RingBuffer, RingBufferBuilder};

use super::commands::Commands;
use super::decode;
use super::kind::TracepointKind;
use super::setup::Capacity;
use super::skel::NetatopSkel;
use crate::model::{CgroupChange, ThreadRecord};

/// Opens the ring buffers that `capacity` has. Exit records are read first. What a thread has reported
/// before its end is then in one of the later buffers already, and is read in the same turn.
pub(super) fn open<'a>(
    skel: &NetatopSkel<'_>,
    capacity: Capacity,
    kind: TracepointKind,
    exits: Rc<RefCell<Vec<ThreadRecord>>>,
    cgroups: Rc<RefCell<Vec<CgroupChange>>>,
) -> libbpf_rs::Result<(RingBuffer<'a>, Option<Commands>)> {
    let mut builder = RingBufferBuilder::new();
    builder.add(&skel.maps.exits, move |bytes| {
        exits.borrow_mut().extend(decode::thread_record(bytes));
        0
    })?;
    if capacity.cgroup_bytes > 0 {
        builder.add(&skel.maps.cgroups, move |bytes| {
            cgroups.borrow_mut().extend(decode::cgroup(bytes));
            0
        })?;
    }
    let commands = if capacity.command_bytes > 0 {
        Some(Commands::read_by(&mut builder, skel, kind)?)
    } else {
        None
    };
    Ok((builder.build()?, commands))
}
