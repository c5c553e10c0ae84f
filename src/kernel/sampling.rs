//! Takes a consistent sample from parts that cannot be read at the same moment: living threads,
//! exit records and losses.

use crate::error::Error;
use crate::model::{Extent, Losses, RemoteRecord, TcpRecord, ThreadRecord};
use crate::source::Sample;

/// The parts of a sample. Threads run, start and end while the parts are read.
pub(super) trait SampleParts {
    /// Takes the traffic with remote ends, which is in no thread's counters. Later traffic is in the
    /// next call. Empty if it is not counted.
    fn remotes(&mut self) -> Result<Vec<RemoteRecord>, Error>;

    /// Takes TCP's own account of all sockets since the last call. Empty if it is not recorded.
    fn tcp(&mut self) -> Result<Vec<TcpRecord>, Error>;

    /// Reads the threads one after the other: all of them, or only those whose counters have
    /// changed since the last snapshot. A thread that lives during the whole call is not missed.
    fn living(&mut self, extent: Extent) -> Result<Vec<ThreadRecord>, Error>;

    /// Takes the records of all threads that had ended when the call began.
    fn exited(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// The losses since counting began.
    fn losses(&mut self) -> Result<Losses, Error>;
}

/// Maximum number of attempts for an operation that fails only transiently.
pub(super) const MAX_ATTEMPTS: u32 = 100;

/// The state kept between two samples.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// Number of exit records lost when the last sample began.
    lost: u64,
}

impl Sampling {
    /// Takes a sample in which no thread is both alive and lost, in at most `max_attempts` attempts.
    ///
    /// A changes-only snapshot is enough while no exit record is lost: every thread that was seen
    /// before and has ended has left a record. After a loss, all threads must be read to find those
    /// that have ended.
    pub(super) fn take(
        &mut self,
        parts: &mut impl SampleParts,
        mut extent: Extent,
        max_attempts: u32,
    ) -> Result<Sample, Error> {
        // Before the threads are read: the thread of each row is then in the snapshot, or has left an
        // exit record.
        let remotes = parts.remotes()?;
        let tcp = parts.tcp()?;
        // Makes room in the ring buffer, so that fewer records are lost during the snapshot.
        let mut exits = parts.exited()?;
        let mut attempts = 0;
        loop {
            let before = parts.losses()?;
            if before.exits_lost != self.lost {
                extent = Extent::All;
            }
            // The order matters: a thread that ends during the snapshot has left a record by its
            // end.
            let living = parts.living(extent)?;
            exits.extend(parts.exited()?);
            let after = parts.losses()?;
            attempts += 1;
            // If a thread was read alive and its record was lost afterwards, its counters would be in
            // the snapshot and in the losses. So the sample is read again, also while a loss is only
            // partly added. If losses continue in every attempt, the losses from before the snapshot
            // are used: the next sample contains the newer ones.
            if after.exits_losing == before.exits_lost || attempts >= max_attempts {
                self.lost = before.exits_lost;
                let losses = Losses {
                    exits: before.exits,
                    exits_lost: before.exits_lost,
                    ..after
                };
                return Ok(Sample {
                    remotes,
                    tcp,
                    living,
                    extent,
                    exits,
                    losses,
                });
            }
            // The next changes-only snapshot would not repeat what this one has returned.
            extent = Extent::All;
        }
    }
}
