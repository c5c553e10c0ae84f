//! A sample out of things that cannot be read at one moment: threads that live, threads
//! that have ended, and what was lost of them.

use crate::error::Error;
use crate::model::{Extent, Losses, ThreadRecord};
use crate::source::Sample;

/// What a sample is made of. Threads go on, end and begin while each of them is read.
pub(super) trait SampleParts {
    /// Looks at the threads, one after the other: at all of them, or at those with other
    /// counters than at the last look. One that lives all the while is not missed.
    fn living(&mut self, extent: Extent) -> Result<Vec<ThreadRecord>, Error>;

    /// Takes the records of all threads that had ended when it was called.
    fn exited(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// What was lost so far.
    fn losses(&mut self) -> Result<Losses, Error>;
}

/// How often something is tried that fails only while the kernel is busy with it.
pub(super) const TRIES: u32 = 100;

/// Takes samples one after the other.
#[derive(Debug, Default)]
pub(super) struct Sampling {
    /// The exits that were lost by the beginning of the last sample.
    lost: u64,
}

impl Sampling {
    /// Takes a sample in which no thread is both alive and lost, in so many tries.
    ///
    /// Changes alone are enough as long as no exit is lost: every thread that was seen and
    /// is not there any more has left a record. Else all threads have to be looked at, to
    /// find out who is gone.
    pub(super) fn take(
        &mut self,
        parts: &mut impl SampleParts,
        mut extent: Extent,
        most: u32,
    ) -> Result<Sample, Error> {
        // Makes room, so that fewer are lost during the look.
        let mut exits = parts.exited()?;
        let mut tries = 0;
        loop {
            let before = parts.losses()?;
            if before.exits_lost != self.lost {
                extent = Extent::All;
            }
            // In this order: who ends during the look has left a record by the end of it.
            let living = parts.living(extent)?;
            exits.extend(parts.exited()?);
            let after = parts.losses()?;
            tries += 1;
            // A thread that was seen alive and whose record was lost then would be in both.
            // Under a storm without end the older losses are the consistent ones: what came
            // since is in the next sample's. Nor may a loss have begun by then of which only
            // a part was there to be read.
            if after.exits_losing == before.exits_lost || tries >= most {
                self.lost = before.exits_lost;
                let losses = Losses {
                    exits: before.exits,
                    exits_lost: before.exits_lost,
                    ..after
                };
                return Ok(Sample {
                    living,
                    extent,
                    exits,
                    losses,
                });
            }
            // What this look has shown is not shown again as a change.
            extent = Extent::All;
        }
    }
}
