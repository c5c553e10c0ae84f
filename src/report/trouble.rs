//! TCP segments retransmitted and connections failed, over time and by remote end.

use foldhash::HashMap;

use super::bins::{Bin, Length, Series, TooLarge};
use crate::recording::{FAILED, RETRANSMITTED, Values};

/// Segments retransmitted and connections failed, over time.
///
/// It is a series like that of traffic: retransmitted segments are in the place of bytes sent, and
/// failed connections in the place of bytes received. Most bins have neither, and take no memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Trouble(Series);

/// What a sentence is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    /// Retransmitted segments.
    Retransmitted,
    /// Connections that failed.
    Failed,
}

impl What {
    fn of(self, (retransmitted, failed): (u64, u64)) -> u64 {
        match self {
            Self::Retransmitted => retransmitted,
            Self::Failed => failed,
        }
    }
}

/// Segments retransmitted and connections failed in a row. `None` if there are none.
fn counts(values: &Values) -> Option<(u64, u64)> {
    let of = |index| values.get(index).unwrap_or(0);
    Some((of(RETRANSMITTED), of(FAILED))).filter(|counts| *counts != (0, 0))
}

impl Trouble {
    /// Adds the numbers of a row to the bin with this number. Returns whether there is a bin more
    /// than before.
    pub(super) fn add(&mut self, number: i64, values: &Values) -> Result<bool, TooLarge> {
        let Some((sent, received)) = counts(values) else {
            return Ok(false);
        };
        self.0.add(Bin {
            number,
            sent,
            received,
        })
    }

    /// The same in longer bins.
    pub(super) fn merge(&mut self, from: Length, to: Length) -> Result<(), TooLarge> {
        self.0.merge(from, to)
    }

    pub(super) fn add_all(&mut self, other: &Self) -> Result<(), TooLarge> {
        self.0.add_all(&other.0)
    }

    /// How many bins there are.
    pub(super) fn bins(&self) -> usize {
        self.0.bins().len()
    }

    /// The first and the last bin with any. `None` if there is nothing.
    pub(super) fn span(&self, what: What) -> Option<(i64, i64)> {
        let bins = self.0.bins().iter();
        let mut some = bins.filter(|bin| what.of((bin.sent, bin.received)) > 0);
        let first = some.next()?;
        Some((first.number, some.next_back().unwrap_or(first).number))
    }

    /// The first bin with the most, and its count. `None` if there is nothing.
    pub(super) fn peak(&self, what: What) -> Option<(i64, u64)> {
        let of = |bin: &Bin| what.of((bin.sent, bin.received));
        let bin = self.0.peak_by(|bin| of(bin).into())?;
        Some((bin.number, of(&bin)))
    }
}

/// Segments retransmitted and connections failed, by owner and remote end.
#[derive(Clone, Debug, Default)]
pub(super) struct Ends(HashMap<(u32, u32), (u64, u64)>);

impl Ends {
    /// Adds the numbers of a row.
    pub(super) fn add(&mut self, owner: u32, remote: u32, values: &Values) -> Result<(), TooLarge> {
        let Some(counts) = counts(values) else {
            return Ok(());
        };
        let sums = self.0.entry((owner, remote)).or_default();
        sums.0 = sums.0.checked_add(counts.0).ok_or(TooLarge)?;
        sums.1 = sums.1.checked_add(counts.1).ok_or(TooLarge)?;
        Ok(())
    }

    /// The remote end with the most of an owner, and its count. `None` if there is nothing, or if
    /// no remote ends are known.
    pub(super) fn most(&self, owner: u32, what: What) -> Option<(u32, u64)> {
        let own = self.0.iter().filter(|((of, _), _)| *of == owner);
        let counts = own.map(|((_, remote), counts)| (*remote, what.of(*counts)));
        counts
            .filter(|(_, count)| *count > 0)
            .max_by_key(|(remote, count)| (*count, std::cmp::Reverse(*remote)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(retransmitted: u64, failed: u64) -> Values {
        let mut values = Values::NONE;
        for (index, number) in [(RETRANSMITTED, retransmitted), (FAILED, failed)] {
            values.numbers[index] = number;
            values.present |= 1 << index;
        }
        values
    }

    #[test]
    fn the_bin_and_the_remote_end_with_the_most_are_found() {
        let mut trouble = Trouble::default();
        let mut ends = Ends::default();
        for (bin, remote, retransmitted, failed) in [
            (1, 7, 2, 0),
            (3, 8, 5, 0),
            (3, 7, 4, 1),
            (9, 7, 9, 1),
            (10, 8, 0, 0),
        ] {
            let values = values(retransmitted, failed);
            trouble.add(bin, &values).expect("small");
            ends.add(1, remote, &values).expect("small");
        }
        assert_eq!(trouble.bins(), 3);
        assert_eq!(trouble.peak(What::Retransmitted), Some((3, 9)));
        assert_eq!(trouble.peak(What::Failed), Some((3, 1)));
        assert_eq!(trouble.span(What::Retransmitted), Some((1, 9)));
        assert_eq!(trouble.span(What::Failed), Some((3, 9)));
        assert_eq!(ends.most(1, What::Retransmitted), Some((7, 15)));
        assert_eq!(ends.most(1, What::Failed), Some((7, 2)));
        assert_eq!(ends.most(2, What::Failed), None);
        trouble
            .merge(Length::SHORTEST, Length::SHORTEST.next().expect("longer"))
            .expect("small");
        assert_eq!(trouble.peak(What::Retransmitted), Some((0, 20)));
        assert_eq!(Trouble::default().peak(What::Failed), None);
    }

    #[test]
    fn sums_beyond_64_bits_are_errors() {
        let mut trouble = Trouble::default();
        let mut ends = Ends::default();
        assert_eq!(trouble.add(1, &values(u64::MAX, 0)), Ok(true));
        assert_eq!(trouble.add(1, &values(1, 0)), Err(TooLarge));
        assert_eq!(ends.add(1, 1, &values(0, u64::MAX)), Ok(()));
        assert_eq!(ends.add(1, 1, &values(0, 1)), Err(TooLarge));
    }
}
