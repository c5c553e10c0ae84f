//! The bytes that atop and its network daemon exchange (atop's `netatop.c` and
//! `netatop.h` of 2.10 and later).
//!
//! A request is 96 bytes of anything. The reply is a record for each process, and one
//! with the id 0 behind the last. Numbers are in the machine's own byte order.

use crate::model::{Comm, Counters};

/// Length of a request in bytes; what is in it means nothing.
pub const REQUEST: usize = 96;

/// Length of a record in bytes.
pub const RECORD: usize = 96;

/// The most bytes to put into one write. atop takes whatever one `recv` of 96 bytes
/// returns for a whole record. What one write puts on the socket arrives in one buffer of
/// the kernel as long as it is no longer than this; from 381 records on it is split at a
/// byte that is no record's first.
pub const LONGEST_WRITE: usize = 380 * RECORD;

/// What atop is told of a process.
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

/// Adds a record to a reply. One of process 0, or of a number that is no process id,
/// would end the reply for its reader, and is left out.
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

/// Adds the record behind the last.
pub fn push_end(reply: &mut Vec<u8>) {
    reply.extend_from_slice(&[0; RECORD]);
}

/// The most bytes to put into one write on a socket with so much room for sending (as
/// `SO_SNDBUF` says it), where an administrator has set a low `net.core.wmem_max`: the
/// kernel splits what is longer than half of it (net/unix/af_unix.c, unix_stream_sendmsg).
#[must_use]
pub fn longest_write(room: usize) -> usize {
    let whole = (room / 2).saturating_sub(64) / RECORD * RECORD;
    whole.clamp(RECORD, LONGEST_WRITE)
}

/// How much of a reply may go out in one write of at most `longest` bytes, when `sent`
/// bytes of it have: what is left of a record that was cut, alone; else whole records.
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
        /// However the kernel cuts writes short, no write crosses from a cut record into
        /// the next one, and all of it goes out.
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
