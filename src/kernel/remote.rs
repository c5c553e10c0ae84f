//! Decodes the rows of remote ends.

use std::net::{IpAddr, Ipv6Addr};

use plain::Plain;

use super::decode::read;
use super::skel::types;
use crate::model::{Counters, End, ProcessId, Protocol, Remote, RemoteRecord, Role};

// SAFETY: generated from bpf/wire.h. The struct is #[repr(C)] and holds only integers and arrays of
// integers. Its padding is explicit, so every bit pattern is a valid value.
unsafe impl Plain for types::remote_key {}
// SAFETY: as above.
unsafe impl Plain for types::remote_counters {}

/// Decodes a row. `None` if there are too few bytes.
pub(crate) fn row(key: &[u8], counters: &[u8]) -> Option<RemoteRecord> {
    Some(record(&read(key)?, &read(counters)?))
}

fn record(key: &types::remote_key, row: &types::remote_counters) -> RemoteRecord {
    let remote = remote(key);
    let ([sent, received], [sent_bytes, received_bytes]) = (row.msgs, row.bytes);
    let mut counters = Counters::default();
    match remote.protocol {
        Protocol::Tcp => {
            (counters.tcp_send_msgs, counters.tcp_send_bytes) = (sent, sent_bytes);
            (counters.tcp_recv_msgs, counters.tcp_recv_bytes) = (received, received_bytes);
        }
        Protocol::Udp => {
            (counters.udp_send_msgs, counters.udp_send_bytes) = (sent, sent_bytes);
            (counters.udp_recv_msgs, counters.udp_recv_bytes) = (received, received_bytes);
        }
    }
    RemoteRecord {
        process: process(key),
        tid: thread(key),
        remote,
        counters,
    }
}

/// A half of a word of a key.
fn part(word: u64, shift: u32) -> u32 {
    (word >> shift) as u32
}

/// The process of a key.
pub(super) fn process(key: &types::remote_key) -> ProcessId {
    ProcessId {
        pid: part(key.task, 32),
        start: key.start,
    }
}

/// The thread of a key, if rows are threads.
pub(super) fn thread(key: &types::remote_key) -> Option<u32> {
    Some(part(key.task, 0)).filter(|&tid| tid != 0)
}

/// The remote end of a key.
pub(super) fn remote(key: &types::remote_key) -> Remote {
    let port = |shift: u32| Some((key.ends >> shift) as u16).filter(|&port| port != 0);
    Remote {
        protocol: if key.ends & 0xff == 0 {
            Protocol::Tcp
        } else {
            Protocol::Udp
        },
        role: match key.ends >> 8 & 0xff {
            1 => Some(Role::Client),
            2 => Some(Role::Server),
            _ => None,
        },
        local_address: Some(address(key.local)).filter(|address| !address.is_unspecified()),
        local_port: port(48),
        remote: End {
            address: address(key.remote),
            scope: part(key.place, 0),
            port: port(32),
        },
        netns: Some(part(key.place, 32)).filter(|&netns| netns != 0),
    }
}

/// An address from the words of a key, whose bytes lie in memory as in the address.
fn address(words: [u64; 2]) -> IpAddr {
    let [first, second] = words.map(u64::to_ne_bytes);
    let mut bytes = [0; 16];
    let (left, right) = bytes.split_at_mut(first.len());
    left.copy_from_slice(&first);
    right.copy_from_slice(&second);
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Each field of a row is read from its offset, and folded parts are absent.
    #[test]
    fn every_field_of_a_row_is_read_from_its_offset() {
        let mapped = |last: u8| {
            let bytes = Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets();
            let (words, _) = bytes.as_chunks();
            [words[0], words[1]].map(u64::from_ne_bytes)
        };
        let mut key = types::remote_key {
            start: 1,
            task: 2 << 32 | 3,
            local: mapped(4),
            remote: mapped(5),
            place: 7 << 32 | 6,
            ends: 8 << 48 | 9 << 32 | 2 << 8 | 1,
        };
        let counters = types::remote_counters {
            msgs: [10, 11],
            bytes: [12, 13],
        };
        let decoded = |key: &types::remote_key| {
            // SAFETY: plain integers, read as the bytes they are.
            let (key, counters) = unsafe { (plain::as_bytes(key), plain::as_bytes(&counters)) };
            assert_eq!(row(&key[..63], counters), None);
            row(key, counters).expect("long enough")
        };
        let all = decoded(&key);
        assert_eq!(all.process, ProcessId { pid: 2, start: 1 });
        assert_eq!(all.tid, Some(3));
        let remote = Remote {
            protocol: Protocol::Udp,
            role: Some(Role::Server),
            local_address: Some(Ipv4Addr::new(192, 0, 2, 4).into()),
            local_port: Some(8),
            remote: End {
                address: Ipv4Addr::new(192, 0, 2, 5).into(),
                scope: 6,
                port: Some(9),
            },
            netns: Some(7),
        };
        assert_eq!(all.remote, remote);
        let c = all.counters;
        assert_eq!((c.udp_send_msgs, c.udp_recv_msgs), (10, 11));
        assert_eq!((c.udp_send_bytes, c.udp_recv_bytes), (12, 13));
        (key.task, key.place, key.ends, key.local) = (2 << 32, 6, 0, [0; 2]);
        let folded = decoded(&key);
        assert_eq!((folded.tid, folded.remote.netns), (None, None));
        assert_eq!(
            (folded.remote.role, folded.remote.local_address),
            (None, None)
        );
        assert_eq!(
            (folded.remote.local_port, folded.remote.remote.port),
            (None, None)
        );
        assert_eq!(folded.counters.tcp_recv_bytes, 13);
    }
}
