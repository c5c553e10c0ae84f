//! The numbers of a row, and how those of several rows become one.

/// How the values of several rows are merged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Merge {
    /// The values are added.
    Sum,
    /// The least value counts.
    Least,
    /// The greatest value counts.
    Greatest,
}

/// A column of numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measure {
    /// The name of the column.
    pub id: &'static str,
    /// How the values of several rows are merged.
    pub merge: Merge,
}

const fn sum(id: &'static str) -> Measure {
    Measure {
        id,
        merge: Merge::Sum,
    }
}

/// How many of [`MEASURES`] every recording has: messages and bytes.
pub const BASIC: usize = 8;

/// The number of `tcp_retrans_segs` in [`MEASURES`].
pub const RETRANSMITTED: usize = 10;

/// The number of `tcp_attempt_fails` in [`MEASURES`].
pub const FAILED: usize = 16;

/// All columns of numbers. The first [`BASIC`] are in every recording, and the others in recordings
/// with `--tcp`.
///
/// Averages are not among them. A row does not say how many values its average stands for, so the
/// averages of several rows cannot be merged.
pub const MEASURES: [Measure; 21] = [
    sum("tcp_send_msgs"),
    sum("tcp_send_bytes"),
    sum("tcp_recv_msgs"),
    sum("tcp_recv_bytes"),
    sum("udp_send_msgs"),
    sum("udp_send_bytes"),
    sum("udp_recv_msgs"),
    sum("udp_recv_bytes"),
    sum("tcp_out_segs"),
    sum("tcp_in_segs"),
    sum("tcp_retrans_segs"),
    sum("tcp_retrans_bytes"),
    sum("tcp_out_bytes"),
    sum("tcp_in_bytes"),
    sum("tcp_active_opens"),
    sum("tcp_passive_opens"),
    sum("tcp_attempt_fails"),
    sum("tcp_estab_resets"),
    Measure {
        id: "tcp_rtt_us_min",
        merge: Merge::Least,
    },
    Measure {
        id: "tcp_rtt_us_max",
        merge: Merge::Greatest,
    },
    Measure {
        id: "tcp_connect_us_max",
        merge: Merge::Greatest,
    },
];

/// The numbers of one row, in the order of [`MEASURES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Values {
    /// The values; 0 where a value is absent.
    pub numbers: [u64; MEASURES.len()],
    /// Which values are there, as bits.
    pub present: u32,
}

impl Values {
    /// No values.
    pub const NONE: Self = Self {
        numbers: [0; MEASURES.len()],
        present: 0,
    };

    /// The value of the measure with the number `index`. `None` if it is absent.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<u64> {
        let is_present = self.present >> index & 1 == 1;
        self.numbers.get(index).copied().filter(|_| is_present)
    }

    /// Sets the value of the measure with the number `index`.
    pub(super) fn set(&mut self, index: usize, value: u64) {
        if let Some(number) = self.numbers.get_mut(index) {
            *number = value;
            self.present |= 1 << index;
        }
    }

    /// Removes the value of the measure with the number `index`.
    pub(super) fn clear(&mut self, index: usize) {
        if let Some(number) = self.numbers.get_mut(index) {
            *number = 0;
            self.present &= !(1 << index);
        }
    }

    /// Bytes sent over TCP and UDP. The sum of two 64-bit numbers may need more than 64 bits.
    #[must_use]
    pub fn sent(&self) -> u128 {
        let [_, tcp, _, _, _, udp, ..] = self.numbers;
        u128::from(tcp) + u128::from(udp)
    }

    /// Bytes received over TCP and UDP.
    #[must_use]
    pub fn received(&self) -> u128 {
        let [_, _, _, tcp, _, _, _, udp, ..] = self.numbers;
        u128::from(tcp) + u128::from(udp)
    }

    /// Messages sent and received over TCP and UDP.
    #[must_use]
    pub fn messages(&self) -> u128 {
        let [a, _, b, _, c, _, d, ..] = self.numbers;
        [a, b, c, d].map(u128::from).iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_names() {
        assert_eq!(MEASURES[RETRANSMITTED].id, "tcp_retrans_segs");
        assert_eq!(MEASURES[FAILED].id, "tcp_attempt_fails");
    }
}
