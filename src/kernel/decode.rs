//! Decodes the structs of `bpf/wire.h` into the types of the model.

use plain::Plain;

use super::skel::types;
use crate::model::{CgroupChange, Comm, Counters, Identity, ProcessId, ThreadRecord};

// SAFETY: generated from bpf/wire.h. The struct is #[repr(C)] and holds only integers and arrays of
// integers. Its padding is explicit, so every bit pattern is a valid value.
unsafe impl Plain for types::thread_record {}
// SAFETY: as above.
unsafe impl Plain for types::cgroup_record {}
// SAFETY: as above.
unsafe impl Plain for types::losses {}

/// Size of a thread record in bytes.
pub(super) const RECORD_SIZE: usize = size_of::<types::thread_record>();

/// Flags of [`types::thread_record`]: `enum record_flag` of `bpf/wire.h`.
mod flag {
    use super::types::record_flag;

    pub(super) const EXITED: u32 = record_flag::RECORD_EXITED.0;
    pub(super) const GROUP_DEAD: u32 = record_flag::RECORD_GROUP_DEAD.0;
    pub(super) const UNOWNED: u32 = record_flag::RECORD_UNOWNED.0;
}

/// Reads one value from the start of `bytes`, which need not be aligned. `None` if there are too
/// few bytes.
pub(super) fn read<T: Plain + Default>(bytes: &[u8]) -> Option<T> {
    let mut value = T::default();
    value.copy_from_bytes(bytes).ok()?;
    Some(value)
}

/// Decodes one thread record. `None` if there are too few bytes.
pub(crate) fn thread_record(bytes: &[u8]) -> Option<ThreadRecord> {
    let record: types::thread_record = read(bytes)?;
    let is = |flag| record.flags.0 & flag != 0;
    Some(ThreadRecord {
        block: record.block,
        identity: Identity {
            process: ProcessId {
                pid: record.tgid,
                start: record.start,
            },
            tid: record.tid,
            comm: comm(&record.comm),
            thread_comm: comm(&record.thread_comm),
            uid: record.uid,
            cgroup: record.cgroup,
            owner: (!is(flag::UNOWNED)).then_some(record.owner),
        },
        exited: is(flag::EXITED),
        group_dead: is(flag::GROUP_DEAD),
        counters: counters(&record.counters),
    })
}

/// Decodes the creation or removal of a cgroup. `None` if there are too few bytes.
pub(crate) fn cgroup(bytes: &[u8]) -> Option<CgroupChange> {
    const PATH: usize = std::mem::offset_of!(types::cgroup_record, path);
    let (head, path) = bytes.split_at_checked(PATH)?;
    let mut whole = [0; size_of::<types::cgroup_record>()];
    whole.get_mut(..PATH)?.copy_from_slice(head);
    let record: types::cgroup_record = read(&whole)?;
    let end = path.iter().position(|byte| *byte == 0);
    Some(CgroupChange {
        id: record.id,
        path: end
            .and_then(|end| path.get(..end))
            .map(|path| String::from_utf8_lossy(path).into_owned()),
        removed: record.removed != 0,
    })
}

/// Decodes the loss counters at the start of the programs' `.bss`.
pub(crate) fn losses(bytes: &[u8]) -> Option<types::losses> {
    read(bytes)
}

pub(super) fn counters(raw: &types::counters) -> Counters {
    Counters {
        tcp_send_msgs: raw.tcp_send_msgs,
        tcp_send_bytes: raw.tcp_send_bytes,
        tcp_recv_msgs: raw.tcp_recv_msgs,
        tcp_recv_bytes: raw.tcp_recv_bytes,
        udp_send_msgs: raw.udp_send_msgs,
        udp_send_bytes: raw.udp_send_bytes,
        udp_recv_msgs: raw.udp_recv_msgs,
        udp_recv_bytes: raw.udp_recv_bytes,
    }
}

/// Converts a C string to a name. C's `char` is signed on this platform, but names are bytes.
pub(super) fn comm<T: Copy + Into<i64>>(name: &[T]) -> Comm {
    let bytes: Vec<u8> = name.iter().map(|c| ((*c).into() & 0xff) as u8).collect();
    Comm::new(&bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_field_is_read_from_its_offset() {
        let mut raw = types::thread_record {
            block: 1,
            start: 2,
            cgroup: 3,
            tgid: 4,
            tid: 5,
            uid: 6,
            owner: 8,
            flags: types::record_flag(flag::EXITED),
            ..Default::default()
        };
        raw.comm[..2].copy_from_slice(&[b'n' as _, 0xffu8 as _]);
        raw.thread_comm[0] = b't' as _;
        raw.counters.tcp_send_msgs = 7;
        raw.counters.udp_recv_bytes = u64::MAX;
        // SAFETY: plain integers, read as the bytes they are.
        let bytes = unsafe { plain::as_bytes(&raw) };
        // An offset of one byte breaks the alignment.
        let mut shifted = vec![0];
        shifted.extend_from_slice(bytes);
        let record = thread_record(&shifted[1..]).expect("long enough");
        assert_eq!(record.identity.process, ProcessId { pid: 4, start: 2 });
        assert_eq!((record.block, record.identity.cgroup), (1, 3));
        assert_eq!((record.identity.tid, record.identity.uid), (5, 6));
        assert_eq!(record.identity.owner, Some(8));
        assert!(record.exited && !record.group_dead);
        assert_eq!(record.identity.comm.as_bytes(), b"n\xff");
        assert_eq!(record.identity.thread_comm.as_bytes(), b"t");
        assert_eq!(record.counters.tcp_send_msgs, 7);
        assert_eq!(record.counters.udp_recv_bytes, u64::MAX);
    }

    #[test]
    fn a_cgroup_is_read_to_the_end_of_its_path() {
        let record = |path: &[u8]| {
            let mut bytes = 7u64.to_ne_bytes().to_vec();
            bytes.extend([1u32.to_ne_bytes(), 0u32.to_ne_bytes()].concat());
            bytes.extend(path);
            cgroup(&bytes).expect("long enough")
        };
        let whole = record(b"/a/b\xff\0\0\0");
        assert_eq!((whole.id, whole.removed), (7, true));
        assert_eq!(whole.path.as_deref(), Some("/a/b\u{fffd}"));
        assert_eq!(record(b"/too/long").path, None);
    }

    /// Records grow. Inputs that are too short for them would test nothing.
    #[test]
    fn the_inputs_kept_by_fuzzing_are_long_enough() {
        let decoded = |name: &str, decodes: fn(&[u8]) -> bool| {
            let corpus = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
            let inputs = std::fs::read_dir(corpus.join(name)).expect("the inputs");
            let inputs = inputs.map(|input| std::fs::read(input.expect("an input").path()));
            inputs
                .filter(|input| decodes(input.as_ref().expect("its bytes")))
                .count()
        };
        assert!(decoded("thread_record", |bytes| thread_record(bytes).is_some()) > 5);
        assert!(decoded("losses", |bytes| losses(bytes).is_some()) > 1);
        assert!(decoded("cgroup", |bytes| cgroup(bytes).is_some()) > 1);
    }

    proptest! {
        #[test]
        fn bytes_of_any_content_are_decoded_if_long_enough(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(thread_record(&bytes).is_some(), bytes.len() >= RECORD_SIZE);
            prop_assert_eq!(cgroup(&bytes).is_some(), bytes.len() >= 16);
            prop_assert_eq!(losses(&bytes).is_some(), bytes.len() >= size_of::<types::losses>());
        }
    }
}
