//! Command lines: their programs, and the records that they make.

use std::cell::RefCell;
use std::mem;
use std::os::fd::AsFd;
use std::rc::Rc;

use libbpf_rs::{Link, ProgramMut, RingBufferBuilder};
use plain::Plain;

use super::decode::read;
use super::kind::TracepointKind;
use super::misses::recursion_misses;
use super::shared;
use super::skel::{NetatopMaps, NetatopProgs, NetatopSkel, types};
use crate::error::Error;
use crate::model::{CommandChange, CommandSource, Losses, ProcessId};

// SAFETY: generated from bpf/wire.h. The struct is #[repr(C)] and holds only integers and arrays of
// integers. Its padding is explicit, so every bit pattern is a valid value.
unsafe impl Plain for types::command_record {}
// SAFETY: as above.
unsafe impl Plain for types::command_losses {}

/// Size of the ring buffer of command lines, in bytes. It holds thousands of them between two reads.
pub const COMMAND_BYTES: u32 = 1 << 21;

/// Bytes of a record before the arguments.
const HEAD: usize = mem::offset_of!(types::command_record, text);

/// The programs on new processes and on exec(2), in the order in which they are attached.
fn programs<'s, 'o>(progs: &'s NetatopProgs<'o>, kind: TracepointKind) -> [&'s ProgramMut<'o>; 2] {
    match kind {
        TracepointKind::Typed => [&progs.on_fork, &progs.on_exec],
        TracepointKind::Classic => [&progs.classic_fork, &progs.classic_exec],
    }
}

/// The records that were taken out of the ring buffer.
#[derive(Default)]
struct Taken {
    changes: Vec<CommandChange>,
    /// How many records were ever taken.
    total: u64,
}

/// The attached programs, and their records.
pub(super) struct Commands {
    events: Vec<Link>,
    kind: TracepointKind,
    taken: Rc<RefCell<Taken>>,
}

impl Commands {
    /// Adds the ring buffer. It must come after that of exit records: whoever has ended has executed
    /// its program before.
    pub(super) fn read_by<'s, 'b: 's>(
        builder: &mut RingBufferBuilder<'s, 'b>,
        skel: &'s NetatopSkel<'_>,
        kind: TracepointKind,
    ) -> libbpf_rs::Result<Self> {
        let taken = Rc::new(RefCell::new(Taken::default()));
        let to = Rc::clone(&taken);
        builder.add(&skel.maps.commands, move |bytes| {
            let mut taken = to.borrow_mut();
            taken.total += 1;
            taken.changes.extend(change(bytes));
            0
        })?;
        Ok(Self {
            events: Vec::new(),
            kind,
            taken,
        })
    }

    /// Attaches the programs.
    pub(super) fn attach(&mut self, skel: &NetatopSkel<'_>) -> libbpf_rs::Result<()> {
        let events = programs(&skel.progs, self.kind).map(ProgramMut::attach);
        self.events = events.into_iter().collect::<libbpf_rs::Result<_>>()?;
        Ok(())
    }

    /// Takes what was read from the ring buffer.
    pub(super) fn take(&mut self) -> Vec<CommandChange> {
        mem::take(&mut self.taken.borrow_mut().changes)
    }

    /// Whether this many records were read from the ring buffer.
    pub(super) fn has_taken(&self, records: u64) -> bool {
        self.taken.borrow().total >= records
    }

    /// Adds what the programs could not hand over, and what the kernel skipped.
    pub(super) fn add_losses(
        &self,
        skel: &NetatopSkel<'_>,
        losses: &mut Losses,
    ) -> Result<(), Error> {
        let raw = to_read(&skel.maps)?;
        losses.commands_lost = raw.lost;
        losses.commands_unread = raw.unread;
        for program in programs(&skel.progs, self.kind) {
            losses.commands_lost += recursion_misses(program.as_fd())?;
        }
        Ok(())
    }
}

/// How many records the programs have put into the ring buffer, and what they could not put there.
pub(super) fn to_read(maps: &NetatopMaps<'_>) -> Result<types::command_losses, Error> {
    shared::command_losses(maps)
        .ok_or_else(|| Error::Failed("the loss counters could not be read".to_owned()))
}

/// Decodes a record. `None` if there are too few bytes, or if it is of no known kind.
pub(crate) fn change(bytes: &[u8]) -> Option<CommandChange> {
    let (head, text) = bytes.split_at_checked(HEAD)?;
    let mut whole = [0; size_of::<types::command_record>()];
    whole.get_mut(..HEAD)?.copy_from_slice(head);
    let record: types::command_record = read(&whole)?;
    let source = match record.kind {
        types::command_kind::COMMAND_EXEC => {
            let bytes = usize::try_from(record.bytes).ok()?;
            CommandSource::Exec {
                // The ring buffer makes records longer, to whole words.
                arguments: text.get(..bytes.min(text.len()))?.to_vec(),
                is_cut: bytes > text.len(),
            }
        }
        types::command_kind::COMMAND_UNREAD => CommandSource::Unread,
        types::command_kind::COMMAND_FORK => CommandSource::Fork(ProcessId {
            pid: record.parent,
            start: record.parent_start,
        }),
        _ => return None,
    };
    Some(CommandChange {
        process: ProcessId {
            pid: record.tgid,
            start: record.start,
        },
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(kind: types::command_kind, bytes: u32, text: &[u8]) -> Vec<u8> {
        let raw = types::command_record {
            start: 1,
            parent_start: 2,
            tgid: 3,
            parent: 4,
            kind,
            bytes,
            ..Default::default()
        };
        // SAFETY: plain integers, read as the bytes they are.
        let head = &unsafe { plain::as_bytes(&raw) }[..HEAD];
        [head, text].concat()
    }

    #[test]
    fn every_field_is_read_from_its_offset() {
        let process = ProcessId { pid: 3, start: 1 };
        let exec = types::command_kind::COMMAND_EXEC;
        for (bytes, text, arguments, is_cut) in [
            (4, &b"a\0b\0"[..], &b"a\0b\0"[..], false),
            (5, b"a\0b\0", b"a\0b\0", true),
            (2, b"a\0xx", b"a\0", false),
            (0, b"", b"", false),
        ] {
            let found = change(&record(exec, bytes, text));
            let arguments = arguments.to_vec();
            let source = CommandSource::Exec { arguments, is_cut };
            assert_eq!(found, Some(CommandChange { process, source }));
        }
        let source = |kind| change(&record(kind, 0, b"")).map(|change| change.source);
        let parent = ProcessId { pid: 4, start: 2 };
        let fork = source(types::command_kind::COMMAND_FORK);
        assert_eq!(fork, Some(CommandSource::Fork(parent)));
        let unread = source(types::command_kind::COMMAND_UNREAD);
        assert_eq!(unread, Some(CommandSource::Unread));
        assert_eq!(source(types::command_kind(0)), None);
        assert_eq!(change(&record(exec, 0, b"")[..HEAD - 1]), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_change_or_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = change(&bytes);
        }
    }
}
