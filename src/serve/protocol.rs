//! The bytes that atop and its network daemon exchange (atop's `netatop.c` and
//! `netatop.h` of 2.10 and later).
//!
//! A request is 96 bytes with arbitrary content. The reply has one record per process, followed by
//! a record with the id 0. Numbers are in native byte order.

use crate::model::{Comm, Counters};

/// Length of a request in bytes. Its content has no meaning.
pub const REQUEST: usize = 96;

/// Length of a record in bytes.
pub const RECORD: usize = 96;

/// Maximum number of bytes in one write. atop takes the result of one `recv` of 96 bytes for a
/// whole record. The kernel keeps one write of up to this size in one buffer. From 381 records on,
/// it splits the write at a byte that is not the start of a record.
pub const LONGEST_WRITE: usize = 380 * RECORD;

/// The record of a process in a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Process id.
    pub pid: u32,
    /// Start of the process, seconds since the epoch. atop does not read it.
    pub btime: u64,
    /// Name of the process. atop does not read it.
    pub comm: Comm,
    /// Totals since the client connected.
    pub counters: Counters,
}

/// Adds a record to a reply. A record of process 0, or of a number that is not a valid pid, would
/// end the reply for its reader. It is left out.
pub fn push(reply: &mut Vec<u8>, record: &Record) {
    let Ok(id @ 1..) = i32::try_from(record.pid) else {
        return;
    };
    let c = &record.counters;
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().zip(record.comm.as_bytes()) {
        *to = *from;
    }
    reply.extend_from_slice(&id.to_ne_bytes());
    reply.extend_from_slice(&[0; 4]);
    reply.extend_from_slice(&record.btime.to_ne_bytes());
    reply.extend_from_slice(&comm);
    for number in [
        c.tcp_send_msgs,
        c.tcp_send_bytes,
        c.tcp_recv_msgs,
        c.tcp_recv_bytes,
        c.udp_send_msgs,
        c.udp_send_bytes,
        c.udp_recv_msgs,
        c.udp_recv_bytes,
    ] {
        reply.extend_from_slice(&number.to_ne_bytes());
    }
}

/// Adds the record that ends the reply.
pub fn push_end(reply: &mut Vec<u8>) {
    reply.extend_from_slice(&[0; RECORD]);
}

/// Maximum number of bytes in one write to a socket with a send buffer of `room` bytes (as
/// `SO_SNDBUF` returns it). The buffer is smaller than usual if `net.core.wmem_max` is low. The
/// kernel splits a write longer than half of it (net/unix/af_unix.c, unix_stream_sendmsg).
#[must_use]
pub fn longest_write(room: usize) -> usize {
    let whole = (room / 2).saturating_sub(64) / RECORD * RECORD;
    whole.clamp(RECORD, LONGEST_WRITE)
}

/// Number of bytes for the next write of at most `longest` bytes, after `sent` bytes of a reply. If
/// a record was cut, it is the rest of that record; otherwise, whole records.
#[must_use]
pub fn next_write(length: usize, sent: usize, longest: usize) -> usize {
    let left = length.saturating_sub(sent);
    match sent % RECORD {
        0 => left.min(longest),
        cut => left.min(RECORD - cut),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(pid: u32) -> Record {
        Record {
            pid,
            btime: 0x0102_0304_0506_0708,
            comm: Comm::new(b"fifteen-letters"),
            counters: Counters {
                tcp_send_msgs: 1,
                tcp_send_bytes: 2,
                tcp_recv_msgs: 3,
                tcp_recv_bytes: 4,
                udp_send_msgs: 5,
                udp_send_bytes: 6,
                udp_recv_msgs: 7,
                udp_recv_bytes: u64::MAX,
            },
        }
    }

    #[test]
    fn every_field_is_at_its_offset() {
        let mut bytes = Vec::new();
        push(&mut bytes, &record(4242));
        assert_eq!(bytes.len(), RECORD);
        let number = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8"));
        assert_eq!(bytes[..4], 4242i32.to_ne_bytes());
        assert_eq!(bytes[4..8], [0; 4]);
        assert_eq!(number(8), 0x0102_0304_0506_0708);
        assert_eq!(&bytes[16..32], b"fifteen-letters\0");
        assert_eq!(
            (32..96).step_by(8).map(number).collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6, 7, u64::MAX]
        );
    }

    #[test]
    fn process_0_is_never_sent() {
        let mut bytes = Vec::new();
        push(&mut bytes, &record(0));
        push(&mut bytes, &record(u32::MAX));
        assert!(bytes.is_empty());
        push_end(&mut bytes);
        assert_eq!(bytes, [0; 96]);
    }

    proptest! {
        /// If the kernel cuts writes at any byte, no write crosses from a cut record into the next
        /// one, and the whole reply is written.
        #[test]
        fn writes_keep_to_records(
            records in 1usize..2000,
            cuts in prop::collection::vec(1usize..40_000, 1..50),
            room in 0usize..600_000,
        ) {
            let longest = longest_write(room);
            prop_assert!(longest.is_multiple_of(RECORD) && longest > 0);
            prop_assert!(longest == RECORD || longest <= room / 2 - 64);
            let length = records * RECORD;
            let mut sent = 0;
            let mut cuts = cuts.into_iter().cycle();
            while sent < length {
                let next = next_write(length, sent, longest);
                prop_assert!(next > 0 && next <= longest && longest <= LONGEST_WRITE);
                prop_assert_eq!((sent + next) % RECORD, 0);
                prop_assert!(sent % RECORD == 0 || next < RECORD);
                sent += next.min(cuts.next().expect("endless"));
            }
            prop_assert_eq!(next_write(length, sent, longest), 0);
        }
    }
}
