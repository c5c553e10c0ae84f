//! What TCP itself says of the sockets of a process: segments, retransmissions, times, connections.

use std::ops::AddAssign;

use super::{Identity, Remote};

/// TCP's own account of the sockets of a process, thread or group, over a time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tcp {
    /// Segments sent, as `OutSegs` of the kernel counts them: without those that only repeat data.
    pub out_segs: u64,
    /// Segments received. Of what the network card or the kernel has joined, each counts.
    pub in_segs: u64,
    /// Segments sent again, as `RetransSegs` counts them.
    pub retrans_segs: u64,
    /// Bytes of payload sent again.
    pub retrans_bytes: u64,
    /// Bytes of payload that the other end has confirmed.
    pub out_bytes: u64,
    /// Bytes of payload that have arrived, read or not, in whatever way they are read.
    pub in_bytes: u64,
    /// Connections that were begun.
    pub active_opens: u64,
    /// Connections that were accepted by the kernel.
    pub passive_opens: u64,
    /// Connections that failed before they were established.
    pub attempt_fails: u64,
    /// Established connections that ended by a reset, of either end.
    pub estab_resets: u64,
    /// Those of `attempt_fails` that the other end has refused.
    pub refused: u64,
    /// Those of `attempt_fails` that nobody answered.
    pub timed_out: u64,
    /// Those of `attempt_fails` whose host or network could not be reached.
    pub unreachable: u64,
    /// Begun connections that were established.
    pub connects: u64,
    /// How long these took, from SYN to ESTABLISHED: the sum, in microseconds.
    pub connect_us: u64,
    /// The longest of these, in microseconds.
    pub connect_us_max: u64,
    /// Segments that were confirmed while the round trip was known.
    pub rtt_weight: u64,
    /// The sum of the smoothed round trips at each of these, in microseconds.
    pub rtt_us: u64,
    /// The smallest round trip, in microseconds; 0 if there is none.
    pub rtt_us_min: u64,
    /// The largest smoothed round trip, in microseconds.
    pub rtt_us_max: u64,
}

impl Tcp {
    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The average round trip in microseconds: of each confirmed segment. `None` without any.
    #[must_use]
    pub fn rtt_us_avg(&self) -> Option<u64> {
        self.rtt_us.checked_div(self.rtt_weight)
    }

    /// The average time of connecting in microseconds. `None` if nothing was connected.
    #[must_use]
    pub fn connect_us_avg(&self) -> Option<u64> {
        self.connect_us.checked_div(self.connects)
    }

    /// What was added since `earlier`. Extremes are those of the whole time.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// Combines the sums by `sum`. The extremes are those of both.
    fn zip(self, other: Self, sum: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            out_segs: sum(self.out_segs, other.out_segs),
            in_segs: sum(self.in_segs, other.in_segs),
            retrans_segs: sum(self.retrans_segs, other.retrans_segs),
            retrans_bytes: sum(self.retrans_bytes, other.retrans_bytes),
            out_bytes: sum(self.out_bytes, other.out_bytes),
            in_bytes: sum(self.in_bytes, other.in_bytes),
            active_opens: sum(self.active_opens, other.active_opens),
            passive_opens: sum(self.passive_opens, other.passive_opens),
            attempt_fails: sum(self.attempt_fails, other.attempt_fails),
            estab_resets: sum(self.estab_resets, other.estab_resets),
            refused: sum(self.refused, other.refused),
            timed_out: sum(self.timed_out, other.timed_out),
            unreachable: sum(self.unreachable, other.unreachable),
            connects: sum(self.connects, other.connects),
            connect_us: sum(self.connect_us, other.connect_us),
            connect_us_max: self.connect_us_max.max(other.connect_us_max),
            rtt_weight: sum(self.rtt_weight, other.rtt_weight),
            rtt_us: sum(self.rtt_us, other.rtt_us),
            rtt_us_min: match (self.rtt_us_min, other.rtt_us_min) {
                (0, least) | (least, 0) => least,
                (one, two) => one.min(two),
            },
            rtt_us_max: self.rtt_us_max.max(other.rtt_us_max),
        }
    }
}

impl AddAssign for Tcp {
    fn add_assign(&mut self, other: Self) {
        *self = self.zip(other, u64::saturating_add);
    }
}

/// TCP's account of a row, if there is one. Most recordings have none, so it takes no room in them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health(Option<Box<Tcp>>);

impl Health {
    /// The account. `None` if nothing was recorded.
    #[must_use]
    pub fn get(&self) -> Option<&Tcp> {
        self.0.as_deref()
    }
}

impl From<Tcp> for Health {
    fn from(tcp: Tcp) -> Self {
        Self((!tcp.is_zero()).then(|| Box::new(tcp)))
    }
}

impl AddAssign for Health {
    fn add_assign(&mut self, other: Self) {
        match (&mut self.0, other.0) {
            (_, None) => {}
            (Some(sum), Some(more)) => **sum += *more,
            (none, more) => *none = more,
        }
    }
}

/// TCP's account of a process (or thread), and of one remote end if rows are split, since the last
/// record of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpRecord {
    /// Who the sockets belonged to, as of the first time since the last record. It may have ended
    /// long ago, and may never have made a socket call that counts.
    pub owner: Identity,
    /// Rows are threads.
    pub by_thread: bool,
    /// The remote end, if rows are split by it and it is known.
    pub remote: Option<Remote>,
    /// The account.
    pub tcp: Tcp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(rtt: u64) -> Tcp {
        Tcp {
            out_segs: 1,
            connects: 1,
            connect_us: rtt,
            connect_us_max: rtt,
            rtt_weight: 2,
            rtt_us: 2 * rtt,
            rtt_us_min: rtt,
            rtt_us_max: rtt,
            ..Tcp::default()
        }
    }

    #[test]
    fn sums_are_added_and_extremes_are_kept() {
        let mut sum = Health::default();
        assert!(sum.get().is_none());
        sum += Health::from(Tcp::default());
        assert!(sum.get().is_none());
        for rtt in [30, 10, 20] {
            sum += one(rtt).into();
        }
        sum += Health::default();
        let tcp = sum.get().expect("an account");
        assert_eq!((tcp.out_segs, tcp.rtt_us_min, tcp.rtt_us_max), (3, 10, 30));
        assert_eq!(
            (tcp.rtt_us_avg(), tcp.connect_us_avg()),
            (Some(20), Some(20))
        );
        assert_eq!(tcp.connect_us_max, 30);
        assert_eq!(tcp.since(one(30)).out_segs, 2);
        assert_eq!(Tcp::default().rtt_us_avg(), None);
    }
}
