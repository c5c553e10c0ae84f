//! Traffic over time, in bins of equal length.
//!
//! A bin has the traffic of all intervals whose middle is in it. Longer bins are sums of shorter
//! ones, so that no value is ever lost or estimated.

/// Lengths of bins in milliseconds. Each is a multiple of the one before.
const LENGTHS: [i64; 20] = [
    10,
    100,
    1_000,
    5_000,
    10_000,
    30_000,
    60_000,
    300_000,
    600_000,
    1_800_000,
    3_600_000,
    3 * 3_600_000,
    6 * 3_600_000,
    12 * 3_600_000,
    DAY,
    7 * DAY,
    28 * DAY,
    364 * DAY,
    3_640 * DAY,
    36_400 * DAY,
];
const DAY: i64 = 24 * 3_600_000;

/// The length of bins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Length {
    milliseconds: i64,
    /// Whether the user has chosen it.
    is_fixed: bool,
}

impl Length {
    /// The shortest length.
    pub(super) const SHORTEST: Self = Self {
        milliseconds: LENGTHS[0],
        is_fixed: false,
    };

    /// A length that does not change.
    pub(super) fn fixed(milliseconds: i64) -> Self {
        Self {
            milliseconds: milliseconds.max(1),
            is_fixed: true,
        }
    }

    pub(super) fn milliseconds(self) -> i64 {
        self.milliseconds
    }

    pub(super) fn seconds(self) -> f64 {
        self.milliseconds as f64 / 1e3
    }

    /// The next length. `None` if there is none, or if the user has chosen this one.
    pub(super) fn next(self) -> Option<Self> {
        let mut longer = LENGTHS.iter();
        let next = longer.find(|length| **length > self.milliseconds)?;
        (!self.is_fixed).then_some(Self {
            milliseconds: *next,
            is_fixed: false,
        })
    }

    /// The number of the bin that contains a moment.
    pub(super) fn bin(self, milliseconds: i64) -> i64 {
        milliseconds.div_euclid(self.milliseconds)
    }

    /// When a bin begins, in milliseconds since 1970.
    pub(super) fn begin(self, bin: i64) -> i64 {
        bin.saturating_mul(self.milliseconds)
    }

    /// Whether bins of this length are sums of bins of the length `other`.
    #[cfg(test)]
    fn divides(self, other: Self) -> bool {
        self.milliseconds % other.milliseconds == 0
    }
}

/// The traffic of one bin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bin {
    /// The number of the bin.
    pub(super) number: i64,
    /// Bytes.
    pub(super) sent: u64,
    /// Bytes.
    pub(super) received: u64,
}

/// The bins that have traffic, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Series(Vec<Bin>);

/// A sum that needs more than 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooLarge;

impl Series {
    pub(super) fn bins(&self) -> &[Bin] {
        &self.0
    }

    /// Adds traffic. Returns whether there is a bin more than before.
    pub(super) fn add(&mut self, bin: Bin) -> Result<bool, TooLarge> {
        let place = match self.0.last_mut() {
            Some(last) if last.number == bin.number => return last.add(bin).map(|()| false),
            Some(last) if last.number > bin.number => {
                self.0.binary_search_by_key(&bin.number, |bin| bin.number)
            }
            _ => Err(self.0.len()),
        };
        match place {
            Ok(there) => match self.0.get_mut(there) {
                Some(there) => there.add(bin).map(|()| false),
                None => Ok(false),
            },
            Err(place) => {
                self.0.insert(place, bin);
                Ok(true)
            }
        }
    }

    /// The same traffic in longer bins.
    pub(super) fn merge(&mut self, from: Length, to: Length) -> Result<(), TooLarge> {
        let mut merged: Vec<Bin> = Vec::new();
        for bin in &self.0 {
            let bin = Bin {
                number: to.bin(from.begin(bin.number)),
                ..*bin
            };
            match merged.last_mut() {
                Some(last) if last.number == bin.number => last.add(bin)?,
                _ => merged.push(bin),
            }
        }
        merged.shrink_to_fit();
        self.0 = merged;
        Ok(())
    }

    /// Adds another series.
    pub(super) fn add_all(&mut self, other: &Self) -> Result<(), TooLarge> {
        for bin in &other.0 {
            self.add(*bin)?;
        }
        Ok(())
    }

    /// The first bin with the most traffic.
    pub(super) fn peak(&self) -> Option<Bin> {
        self.peak_by(Bin::bytes)
    }

    /// The first bin with the greatest value of `of`. `None` if all values are 0.
    pub(super) fn peak_by(&self, of: impl Fn(&Bin) -> u128) -> Option<Bin> {
        let mut peak: Option<(u128, Bin)> = None;
        for bin in &self.0 {
            let value = of(bin);
            if value > peak.map_or(0, |(most, _)| most) {
                peak = Some((value, *bin));
            }
        }
        peak.map(|(_, bin)| bin)
    }

    /// Bytes sent and received in the bins from `from` to before `to`.
    pub(super) fn between(&self, from: i64, to: i64) -> u128 {
        let bins = self.0.iter();
        bins.filter(|bin| (from..to).contains(&bin.number))
            .map(Bin::bytes)
            .sum()
    }
}

impl Bin {
    /// Bytes sent and received.
    pub(super) fn bytes(&self) -> u128 {
        u128::from(self.sent) + u128::from(self.received)
    }

    fn add(&mut self, other: Self) -> Result<(), TooLarge> {
        self.sent = self.sent.checked_add(other.sent).ok_or(TooLarge)?;
        self.received = self.received.checked_add(other.received).ok_or(TooLarge)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_length_is_a_multiple_of_the_one_before() {
        let mut length = Length::SHORTEST;
        while let Some(next) = length.next() {
            assert!(next.divides(length), "{next:?}");
            length = next;
        }
        assert_eq!(Length::fixed(7).next(), None);
    }

    #[test]
    fn a_sum_beyond_64_bits_is_an_error() {
        let bin = |sent| Bin {
            number: 1,
            sent,
            received: 0,
        };
        let mut series = Series::default();
        assert_eq!(series.add(bin(u64::MAX)), Ok(true));
        assert_eq!(series.add(bin(0)), Ok(false));
        assert_eq!(series.add(bin(1)), Err(TooLarge));
    }

    proptest! {
        #[test]
        fn in_any_order_and_length_the_sums_are_the_same(
            bins in prop::collection::vec((0..5000_i64, 0..1000_u64, 0..1000_u64), 0..200),
            longer in 0..8_usize,
        ) {
            let mut series = Series::default();
            for &(number, sent, received) in &bins {
                series.add(Bin { number, sent, received }).expect("small");
            }
            let mut length = Length::SHORTEST;
            for _ in 0..longer {
                let next = length.next().expect("one more");
                series.merge(length, next).expect("small");
                length = next;
            }
            let mut wanted = std::collections::BTreeMap::new();
            for &(number, sent, received) in &bins {
                let sum: &mut (u64, u64) = wanted.entry(length.bin(number * 10)).or_default();
                sum.0 += sent;
                sum.1 += received;
            }
            let found: Vec<_> = series.bins().iter().map(|b| (b.number, (b.sent, b.received))).collect();
            prop_assert_eq!(found, wanted.into_iter().collect::<Vec<_>>());
        }
    }
}
