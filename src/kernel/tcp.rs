//! TCP's own account of sockets: its programs, and the rows that they make.

use std::mem;

use plain::Plain;

use super::decode::{comm, read};
use super::iter;
use super::remote::{process, remote, thread};
use super::rows::{exchange, take_all};
use super::setup::TcpRows;
use super::shared;
use super::skel::{NetatopMaps, NetatopSkel, types};
use super::socket_walk::{Charging, SocketWalk};
use crate::error::Error;
use crate::model::{Identity, Tcp, TcpRecord};

// SAFETY: generated from bpf/wire.h. The struct is #[repr(C)] and holds only integers and arrays of
// integers. Its padding is explicit, so every bit pattern is a valid value.
unsafe impl Plain for types::tcp_row {}
// SAFETY: as above.
unsafe impl Plain for types::tcp_losses {}

impl TcpRows {
    fn wakeup(self) -> u32 {
        (self.rows / 2).max(1)
    }

    /// Writes the settings into the programs' constants.
    pub(super) fn write_to(self, walk: SocketWalk, raw: &mut types::tcp_settings) {
        raw.by_files = u32::from(walk == SocketWalk::OpenFiles);
        raw.threads = u32::from(self.threads);
        raw.wakeup = self.wakeup();
    }
}

/// The programs that charge living sockets, and the rows.
pub(super) struct Accounts {
    charging: Charging,
    /// Whether the programs use `second_tcp_rows`.
    second: bool,
    taken: Vec<TcpRecord>,
    /// The number of rows ever made, when they were last taken.
    made: u64,
    /// Rows should be taken when this many more were made.
    wakeup: u64,
}

impl Accounts {
    /// Finds the owners of older sockets. The programs on events are attached.
    pub(super) fn attach(
        skel: &NetatopSkel<'_>,
        rows: TcpRows,
        walk: SocketWalk,
    ) -> libbpf_rs::Result<Self> {
        let charging = Charging::attach(skel, walk)?;
        iter::run(&skel.progs.tcp_find.attach()?)?;
        Ok(Self {
            charging,
            second: false,
            taken: Vec::new(),
            made: 0,
            wakeup: rows.wakeup().into(),
        })
    }

    /// Charges all living sockets, and returns the rows since the last call.
    pub(super) fn sample(&mut self, maps: &mut NetatopMaps<'_>) -> Result<Vec<TcpRecord>, Error> {
        self.charging
            .run(maps)
            .map_err(|error| Error::failed("the sockets could not be read", error))?;
        self.take(maps, true)?;
        Ok(mem::take(&mut self.taken))
    }

    /// How living sockets are found.
    pub(super) fn walk(&self) -> SocketWalk {
        self.charging.walk()
    }

    /// Number of living sockets that could not be charged in the last sample.
    pub(super) fn unseen(&self) -> u64 {
        self.charging.unseen()
    }

    /// Takes the rows. Without `always`, only if there are many.
    pub(super) fn take(&mut self, maps: &mut NetatopMaps<'_>, always: bool) -> Result<(), Error> {
        let made = losses(maps)?.rows_made;
        if !always && made - self.made < self.wakeup {
            return Ok(());
        }
        shared::set_tcp_rows_taken(maps, made);
        self.second = !self.second;
        shared::set_tcp_rows_second(maps, self.second);
        let (full, next) = if self.second {
            (&maps.first_tcp_rows, &maps.second_tcp_rows)
        } else {
            (&maps.second_tcp_rows, &maps.first_tcp_rows)
        };
        // It does not matter what the map contains. The kernel waits for the programs that run.
        exchange(&maps.tcp_rows_in_use, next)?;
        self.made = made;
        take_all(full, &mut self.taken, row)
    }
}

/// What could not be attributed so far.
pub(super) fn losses(maps: &NetatopMaps<'_>) -> Result<types::tcp_losses, Error> {
    shared::tcp_losses(maps)
        .ok_or_else(|| Error::Failed("the loss counters could not be read".to_owned()))
}

/// Decodes a row. `None` if there are too few bytes.
pub(crate) fn row(key: &[u8], row: &[u8]) -> Option<TcpRecord> {
    let (key, row): (types::remote_key, types::tcp_row) = (read(key)?, read(row)?);
    let owner = &row.owner;
    let tid = thread(&key);
    Some(TcpRecord {
        owner: Identity {
            process: process(&key),
            tid: tid.unwrap_or(process(&key).pid),
            comm: comm(&owner.comm),
            thread_comm: comm(&owner.thread_comm),
            uid: owner.uid,
            cgroup: owner.cgroup,
            owner: None,
        },
        by_thread: tid.is_some(),
        remote: Some(remote(&key)).filter(|end| !end.remote.address.is_unspecified()),
        tcp: tcp(&row.counters),
    })
}

pub(super) fn tcp(raw: &types::tcp_counters) -> Tcp {
    Tcp {
        out_segs: raw.out_segs,
        in_segs: raw.in_segs,
        retrans_segs: raw.retrans_segs,
        retrans_bytes: raw.retrans_bytes,
        out_bytes: raw.out_bytes,
        in_bytes: raw.in_bytes,
        active_opens: raw.active_opens,
        passive_opens: raw.passive_opens,
        attempt_fails: raw.attempt_fails,
        estab_resets: raw.estab_resets,
        refused: raw.refused,
        timed_out: raw.timed_out,
        unreachable: raw.unreachable,
        connects: raw.connects,
        connect_us: raw.connect_us,
        connect_us_max: raw.connect_us_max,
        rtt_weight: raw.rtt_weight,
        rtt_us: raw.rtt_us,
        rtt_us_min: raw.rtt_us_min,
        rtt_us_max: raw.rtt_us_max,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::ProcessId;

    fn bytes<T: Plain>(value: &T) -> &[u8] {
        // SAFETY: plain integers, read as the bytes they are.
        unsafe { plain::as_bytes(value) }
    }

    #[test]
    fn every_field_of_a_row_is_read_from_its_offset() {
        let mut key = types::remote_key {
            start: 1,
            task: 2 << 32 | 3,
            ends: 443 << 32,
            ..Default::default()
        };
        let mut row = types::tcp_row::default();
        (row.owner.cgroup, row.owner.uid) = (4, 5);
        (row.owner.comm[0], row.owner.thread_comm[0]) = (b'p' as _, b't' as _);
        row.counters = types::tcp_counters {
            out_segs: 10,
            in_segs: 11,
            retrans_segs: 12,
            retrans_bytes: 13,
            out_bytes: 14,
            in_bytes: 15,
            active_opens: 16,
            passive_opens: 17,
            attempt_fails: 18,
            estab_resets: 19,
            refused: 20,
            timed_out: 21,
            unreachable: 22,
            connects: 23,
            connect_us: 24,
            connect_us_max: 25,
            rtt_weight: 26,
            rtt_us: 27,
            rtt_us_min: 28,
            rtt_us_max: 29,
        };
        let decoded = |key: &types::remote_key| {
            let (key, row) = (bytes(key), bytes(&row));
            assert_eq!(super::row(key, &row[1..]), None);
            super::row(key, row).expect("long enough")
        };
        let all = decoded(&key);
        let owner = all.owner;
        assert_eq!(owner.process, ProcessId { pid: 2, start: 1 });
        assert_eq!((owner.tid, owner.cgroup, owner.uid), (3, 4, 5));
        assert_eq!(owner.comm.as_bytes(), b"p");
        assert_eq!(owner.thread_comm.as_bytes(), b"t");
        assert!(all.by_thread && all.remote.is_none());
        let wanted = Tcp {
            out_segs: 10,
            in_segs: 11,
            retrans_segs: 12,
            retrans_bytes: 13,
            out_bytes: 14,
            in_bytes: 15,
            active_opens: 16,
            passive_opens: 17,
            attempt_fails: 18,
            estab_resets: 19,
            refused: 20,
            timed_out: 21,
            unreachable: 22,
            connects: 23,
            connect_us: 24,
            connect_us_max: 25,
            rtt_weight: 26,
            rtt_us: 27,
            rtt_us_min: 28,
            rtt_us_max: 29,
        };
        assert_eq!(all.tcp, wanted);
        (key.task, key.remote[1]) = (2 << 32, 1);
        let process = decoded(&key);
        assert_eq!((process.by_thread, process.owner.tid), (false, 2));
        assert_eq!(process.remote.and_then(|end| end.remote.port), Some(443));
    }

    proptest! {
        #[test]
        fn bytes_of_any_content_are_decoded_if_long_enough(
            key in prop::collection::vec(any::<u8>(), 0..80),
            value in prop::collection::vec(any::<u8>(), 0..240),
        ) {
            let is_whole = key.len() >= size_of::<types::remote_key>()
                && value.len() >= size_of::<types::tcp_row>();
            prop_assert_eq!(row(&key, &value).is_some(), is_whole);
        }
    }
}
