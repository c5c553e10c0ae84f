//! The eight counters of a thread, process or group.

use std::iter::Sum;
use std::ops::{Add, AddAssign};

use serde::Serialize;

/// Messages and bytes, by protocol and direction.
///
/// A message is one successful socket call, including one for an empty UDP datagram. Bytes are the
/// return value of that call: they do not include headers or retransmissions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counters {
    /// TCP send calls.
    pub tcp_send_msgs: u64,
    /// Bytes accepted by TCP send calls.
    pub tcp_send_bytes: u64,
    /// TCP receive calls that returned data.
    pub tcp_recv_msgs: u64,
    /// Bytes returned by TCP receive calls.
    pub tcp_recv_bytes: u64,
    /// UDP send calls.
    pub udp_send_msgs: u64,
    /// Bytes accepted by UDP send calls.
    pub udp_send_bytes: u64,
    /// UDP receive calls.
    pub udp_recv_msgs: u64,
    /// Bytes returned by UDP receive calls.
    pub udp_recv_bytes: u64,
}

impl Counters {
    fn zip(self, other: Self, f: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            tcp_send_msgs: f(self.tcp_send_msgs, other.tcp_send_msgs),
            tcp_send_bytes: f(self.tcp_send_bytes, other.tcp_send_bytes),
            tcp_recv_msgs: f(self.tcp_recv_msgs, other.tcp_recv_msgs),
            tcp_recv_bytes: f(self.tcp_recv_bytes, other.tcp_recv_bytes),
            udp_send_msgs: f(self.udp_send_msgs, other.udp_send_msgs),
            udp_send_bytes: f(self.udp_send_bytes, other.udp_send_bytes),
            udp_recv_msgs: f(self.udp_recv_msgs, other.udp_recv_msgs),
            udp_recv_bytes: f(self.udp_recv_bytes, other.udp_recv_bytes),
        }
    }

    /// The difference to `earlier`. 0 where a counter went backwards.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        self.zip(earlier, u64::saturating_sub)
    }

    /// The larger value of each counter.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.zip(other, u64::max)
    }

    /// Whether all counters are 0.
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::default()
    }

    /// Messages sent and received over both protocols.
    #[must_use]
    pub fn msgs(self) -> u64 {
        self.sent_msgs().saturating_add(self.received_msgs())
    }

    /// Bytes sent and received over both protocols.
    #[must_use]
    pub fn bytes(self) -> u64 {
        self.sent_bytes().saturating_add(self.received_bytes())
    }

    /// Messages sent over both protocols.
    #[must_use]
    pub fn sent_msgs(self) -> u64 {
        self.tcp_send_msgs.saturating_add(self.udp_send_msgs)
    }

    /// Messages received over both protocols.
    #[must_use]
    pub fn received_msgs(self) -> u64 {
        self.tcp_recv_msgs.saturating_add(self.udp_recv_msgs)
    }

    /// Bytes sent over both protocols.
    #[must_use]
    pub fn sent_bytes(self) -> u64 {
        self.tcp_send_bytes.saturating_add(self.udp_send_bytes)
    }

    /// Bytes received over both protocols.
    #[must_use]
    pub fn received_bytes(self) -> u64 {
        self.tcp_recv_bytes.saturating_add(self.udp_recv_bytes)
    }
}

impl Add for Counters {
    type Output = Self;

    /// Saturates: a total never wraps around to a small number.
    fn add(self, other: Self) -> Self {
        self.zip(other, u64::saturating_add)
    }
}

impl AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl Sum for Counters {
    fn sum<I: Iterator<Item = Self>>(counters: I) -> Self {
        counters.fold(Self::default(), Add::add)
    }
}
