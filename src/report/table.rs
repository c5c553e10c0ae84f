//! The rows of a report: sums of the numbers, and traffic over time.

use super::bins::{Bin, Length, Series};
use super::trouble::Trouble;
use crate::recording::{BASIC, MEASURES, Merge, Values};

/// The number of an entry that stands for no entry.
pub(super) const NONE: u32 = u32::MAX;

/// How many bins all rows together may have before bins get longer.
const MOST_BINS: usize = 1_000_000;

/// What a row of a report is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct EntryKey {
    /// The number of the owner.
    pub(super) owner: u32,
    /// The number of the remote end; [`NONE`] if it is not known, or if rows are not split.
    pub(super) remote: u32,
    /// The bin, in rows of a series; otherwise 0.
    pub(super) bin: i64,
}

/// One row of a report, without its numbers.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) key: EntryKey,
    /// When the first interval with its traffic began, in milliseconds since 1970.
    pub(super) first: i64,
    /// When the last interval with its traffic ended.
    pub(super) last: i64,
    pub(super) series: Series,
    pub(super) trouble: Trouble,
}

/// All rows of a report.
pub(super) struct Table {
    pub(super) entries: Vec<Entry>,
    /// The numbers of all entries, one entry after the other.
    numbers: Vec<u64>,
    /// Which numbers are there.
    present: Vec<u32>,
    /// How many numbers an entry has.
    stride: usize,
    /// The length of bins. `None` if the traffic over time is not needed.
    pub(super) length: Option<Length>,
    bins: usize,
}

impl Table {
    pub(super) fn new(length: Option<Length>) -> Self {
        Self {
            entries: Vec::new(),
            numbers: Vec::new(),
            present: Vec::new(),
            stride: BASIC,
            length,
            bins: 0,
        }
    }

    /// Whether rows have columns of TCP health.
    pub(super) fn has_tcp(&self) -> bool {
        self.stride > BASIC
    }

    /// Makes room for the columns of TCP health.
    pub(super) fn widen(&mut self) {
        if self.has_tcp() {
            return;
        }
        let old = std::mem::take(&mut self.numbers);
        for numbers in old.chunks(self.stride) {
            self.numbers.extend_from_slice(numbers);
            self.numbers.extend([0; MEASURES.len() - BASIC]);
        }
        self.stride = MEASURES.len();
    }

    /// Makes a row without numbers, and returns its number.
    pub(super) fn push(&mut self, key: EntryKey) -> u32 {
        let number = self.entries.len() as u32;
        self.entries.push(Entry {
            key,
            first: i64::MAX,
            last: i64::MIN,
            series: Series::default(),
            trouble: Trouble::default(),
        });
        self.present.push(0);
        self.numbers.resize(self.numbers.len() + self.stride, 0);
        number
    }

    /// Adds numbers to the row `number`, in the interval from `begin` to `end`.
    #[inline]
    pub(super) fn add(
        &mut self,
        number: u32,
        values: &Values,
        (begin, end): (i64, i64),
    ) -> Result<(), String> {
        let index = number as usize;
        let at = index * self.stride;
        let (Some(entry), Some(numbers), Some(present)) = (
            self.entries.get_mut(index),
            self.numbers.get_mut(at..at + self.stride),
            self.present.get_mut(index),
        ) else {
            return Ok(());
        };
        merge(numbers, present, values)?;
        entry.first = entry.first.min(begin);
        entry.last = entry.last.max(end);
        if let Some(length) = self.length {
            let bin = Bin {
                number: length.bin(middle(begin, end)),
                sent: narrow(values.sent())?,
                received: narrow(values.received())?,
            };
            let is_new = entry.series.add(bin).map_err(|_| too_large("bytes"))?;
            self.bins += usize::from(is_new);
            let trouble = entry.trouble.add(bin.number, values);
            self.bins += usize::from(trouble.map_err(|_| too_large("segments"))?);
            if self.bins > MOST_BINS && self.bins / 4 > self.entries.len() {
                self.lengthen()?;
            }
        }
        Ok(())
    }

    /// Makes bins longer, if the user has not chosen their length. Returns whether they are longer
    /// now.
    pub(super) fn lengthen(&mut self) -> Result<bool, String> {
        let Some(from) = self.length else {
            return Ok(false);
        };
        let Some(to) = from.next() else {
            return Ok(false);
        };
        self.bins = 0;
        for entry in &mut self.entries {
            let merged = entry.series.merge(from, to);
            merged.map_err(|_| too_large("bytes"))?;
            let merged = entry.trouble.merge(from, to);
            merged.map_err(|_| too_large("segments"))?;
            self.bins += entry.series.bins().len() + entry.trouble.bins();
        }
        self.length = Some(to);
        Ok(true)
    }

    /// The numbers of a row.
    pub(super) fn values(&self, number: usize) -> Values {
        let mut values = Values::NONE;
        let at = number * self.stride;
        let numbers = self.numbers.get(at..at + self.stride).unwrap_or_default();
        for (to, from) in values.numbers.iter_mut().zip(numbers) {
            *to = *from;
        }
        values.present = self.present.get(number).copied().unwrap_or_default();
        values
    }
}

/// The middle of an interval: it decides to which bin and span the interval belongs.
pub(super) fn middle(begin: i64, end: i64) -> i64 {
    // An interval contains its end, but not its beginning.
    begin + (end - begin + 1) / 2 - 1
}

/// Merges `values` into `sums`.
pub(super) fn add_values(sums: &mut Values, values: &Values) -> Result<(), String> {
    merge(&mut sums.numbers, &mut sums.present, values)
}

#[inline]
fn merge(numbers: &mut [u64], present: &mut u32, values: &Values) -> Result<(), String> {
    let mut overflows = false;
    let (basic, more) = numbers.split_at_mut(BASIC.min(numbers.len()));
    for (sum, value) in basic.iter_mut().zip(&values.numbers) {
        let (added, overflow) = sum.overflowing_add(*value);
        *sum = added;
        overflows |= overflow;
    }
    if values.present >> BASIC != 0 {
        for (index, number) in (BASIC..).zip(more) {
            let Some(value) = values.get(index) else {
                continue;
            };
            let is_first = *present >> index & 1 == 0;
            match MEASURES.get(index).map(|measure| measure.merge) {
                Some(Merge::Least) if is_first => *number = value,
                Some(Merge::Least) => *number = value.min(*number),
                Some(Merge::Greatest) => *number = value.max(*number),
                _ => {
                    let (added, overflow) = number.overflowing_add(value);
                    *number = added;
                    overflows |= overflow;
                }
            }
        }
    }
    *present |= values.present;
    if overflows {
        return Err(too_large("a column"));
    }
    Ok(())
}

/// A sum of two columns that has to fit 64 bits.
fn narrow(value: u128) -> Result<u64, String> {
    u64::try_from(value).map_err(|_| too_large("bytes"))
}

#[cold]
fn too_large(what: &str) -> String {
    format!(
        "the sum of {what} up to this line is more than {}",
        u64::MAX
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_belongs_to_the_bin_of_its_middle() {
        let length = Length::fixed(1000);
        assert_eq!(length.bin(middle(0, 1000)), 0);
        assert_eq!(length.bin(middle(400, 1400)), 0);
        assert_eq!(length.bin(middle(1000, 1000)), 0);
        assert_eq!(length.bin(middle(600, 1600)), 1);
        assert_eq!(length.bin(middle(1000, 2000)), 1);
    }
}
