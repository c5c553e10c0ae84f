//! A sample out of things that cannot be read at one moment: threads that live, threads
//! that have ended, and what was lost of them.

use crate::error::Error;
use crate::model::{Losses, ThreadRecord};
use crate::source::Sample;

/// What a sample is made of. Threads go on, end and begin while each of them is read.
pub(super) trait Parts {
    /// Looks at all threads, one after the other. One that lives all the while is seen.
    fn living(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// Takes the records of all threads that had ended when it was called.
    fn exited(&mut self) -> Result<Vec<ThreadRecord>, Error>;

    /// What was lost so far.
    fn losses(&mut self) -> Result<Losses, Error>;
}

/// How often something is tried that fails only while the kernel is busy with it.
pub(super) const TRIES: u32 = 100;

/// Takes a sample in which no thread is both alive and lost, in so many tries.
pub(super) fn sample(parts: &mut impl Parts, most: u32) -> Result<Sample, Error> {
    // Makes room, so that fewer are lost during the look.
    let mut exits = parts.exited()?;
    let mut tries = 0;
    loop {
        let before = parts.losses()?;
        // In this order: who ends during the look has left a record by the end of it.
        let living = parts.living()?;
        exits.extend(parts.exited()?);
        let after = parts.losses()?;
        tries += 1;
        // A thread that was seen alive and whose record was lost then would be in both.
        // Under a storm without end the older losses are the consistent ones: what came
        // since is in the next sample's.
        if after.exits_lost == before.exits_lost || tries >= most {
            let losses = Losses {
                exits: before.exits,
                exits_lost: before.exits_lost,
                ..after
            };
            return Ok(Sample {
                living,
                exits,
                losses,
            });
        }
    }
}
