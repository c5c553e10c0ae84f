//! Takes the rows of remote ends from the programs.

use std::mem;
use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::{AsFd, AsRawFd};

use libbpf_rs::{MapCore, MapFlags};
use plain::Plain;

use super::decode::read;
use super::setup::RemoteRows;
use super::shared;
use super::skel::{NetatopMaps, types};
use crate::error::Error;
use crate::model::{Counters, End, ProcessId, Protocol, Remote, RemoteMode, RemoteRecord, Role};

// SAFETY: generated from bpf/wire.h. The struct is #[repr(C)] and holds only integers and arrays of
// integers. Its padding is explicit, so every bit pattern is a valid value.
unsafe impl Plain for types::remote_key {}
// SAFETY: as above.
unsafe impl Plain for types::remote_counters {}

/// Number of rows that one system call takes.
const BATCH: u32 = 4096;

/// The rows taken so far, and the map that the programs use.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Whether the programs use `second_rows`.
    second: bool,
    taken: Vec<RemoteRecord>,
    /// `rows_made` when the rows were last taken.
    made: u64,
    /// Rows should be taken when this many more were made.
    wakeup: u64,
}

impl Rows {
    pub(super) fn new(remote: RemoteRows) -> Self {
        Self {
            wakeup: remote.wakeup().into(),
            ..Self::default()
        }
    }

    /// Whether the rows should be taken if `made` rows were made so far.
    pub(super) fn is_due(&self, made: u64) -> bool {
        made - self.made >= self.wakeup
    }

    /// Gives the programs the other map, and takes all rows from the one that they used.
    pub(super) fn take(&mut self, maps: &mut NetatopMaps<'_>, made: u64) -> Result<(), Error> {
        let failed = |error: libbpf_rs::Error| {
            Error::failed("the rows of remote ends could not be read", error)
        };
        shared::set_rows_taken(maps, made);
        let (full, next) = if self.second {
            (&maps.second_rows, &maps.first_rows)
        } else {
            (&maps.first_rows, &maps.second_rows)
        };
        let fd = next.as_fd().as_raw_fd().to_ne_bytes();
        // The call returns when no program uses the replaced map any more.
        maps.current_rows
            .update(&0u32.to_ne_bytes(), &fd, MapFlags::ANY)
            .map_err(failed)?;
        self.second = !self.second;
        self.made = made;
        // A batch ends before a bucket that does not fit, and the iterator takes a batch that is not
        // full for the last one. It also hides errors.
        loop {
            let before = self.taken.len();
            let rows = full
                .lookup_and_delete_batch(BATCH, MapFlags::ANY, MapFlags::ANY)
                .map_err(failed)?;
            self.taken
                .extend(rows.filter_map(|(key, value)| row(&key, &value)));
            if self.taken.len() == before {
                break;
            }
        }
        if full.keys().next().is_some() {
            return Err(Error::Failed(
                "the rows of remote ends could not be read completely".to_owned(),
            ));
        }
        Ok(())
    }

    /// Returns what was taken.
    pub(super) fn taken(&mut self) -> Vec<RemoteRecord> {
        mem::take(&mut self.taken)
    }
}

impl RemoteRows {
    /// Rows are taken when this many were made.
    fn wakeup(&self) -> u32 {
        (self.rows / 2).max(1)
    }

    /// Writes the settings into the programs' constants.
    pub(super) fn write_to(&self, raw: &mut types::remote_settings) {
        let mode = match self.mode {
            RemoteMode::Address => types::remote_mode::REMOTE_ADDRESS,
            RemoteMode::Service => types::remote_mode::REMOTE_SERVICE,
            RemoteMode::Socket => types::remote_mode::REMOTE_SOCKET,
        };
        raw.mode = mode;
        raw.threads = u32::from(self.threads);
        raw.host_netns = self.host_netns;
        raw.wakeup = self.wakeup();
    }
}

/// Decodes a row. `None` if there are too few bytes.
pub(crate) fn row(key: &[u8], counters: &[u8]) -> Option<RemoteRecord> {
    Some(record(&read(key)?, &read(counters)?))
}

fn record(key: &types::remote_key, row: &types::remote_counters) -> RemoteRecord {
    let protocol = if key.protocol == 0 {
        Protocol::Tcp
    } else {
        Protocol::Udp
    };
    let port = |port: u16| (port != 0).then_some(port);
    let ([sent, received], [sent_bytes, received_bytes]) = (row.msgs, row.bytes);
    let mut counters = Counters::default();
    match protocol {
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
        process: ProcessId {
            pid: key.tgid,
            start: key.start,
        },
        tid: (key.tid != 0).then_some(key.tid),
        remote: Remote {
            protocol,
            role: match key.role {
                1 => Some(Role::Client),
                2 => Some(Role::Server),
                _ => None,
            },
            local_address: Some(address(key.local_addr))
                .filter(|address| !address.is_unspecified()),
            local_port: port(key.local_port),
            remote: End {
                address: address(key.remote_addr),
                scope: key.scope,
                port: port(key.remote_port),
            },
            netns: (key.netns != 0).then_some(key.netns),
        },
        counters,
    }
}

fn address(bytes: [u8; 16]) -> IpAddr {
    Ipv6Addr::from(bytes).to_canonical()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    /// Each field of a row is read from its offset, and folded parts are absent.
    #[test]
    fn every_field_of_a_row_is_read_from_its_offset() {
        let mapped = |last: u8| Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped().octets();
        let mut key = types::remote_key {
            start: 1,
            tgid: 2,
            tid: 3,
            local_addr: mapped(4),
            remote_addr: mapped(5),
            scope: 6,
            netns: 7,
            local_port: 8,
            remote_port: 9,
            protocol: 1,
            role: 2,
            ..Default::default()
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
        (key.tid, key.netns, key.role, key.local_addr) = (0, 0, 0, [0; 16]);
        (key.local_port, key.remote_port, key.protocol) = (0, 0, 0);
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
