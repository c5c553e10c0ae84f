//! How much the server gives to its clients, and where it stops.

use std::time::Duration;

/// The limits of a server, all in one place.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub clients: usize,
    /// Exited processes kept for clients that have not asked yet: 104 bytes each. A
    /// client that would need more is dropped, and starts anew when it connects again.
    pub exited: usize,
    /// Totals kept for clients that came later than others, all clients together: about
    /// 100 bytes each. A client that would need more is refused.
    pub baselines: usize,
    /// How long a client may take nothing of a reply.
    pub stalled: Duration,
    /// After so long without a request a client may lose exited processes.
    pub silent: Duration,
}

/// Connections at a time unless the user wants another number. One atop needs one.
pub const CLIENTS: usize = 64;

impl Limits {
    /// The limits with so many clients.
    ///
    /// A million exited processes are 109 MB, and hold ten minutes (the interval of atop's
    /// own service) at 1,700 exits a second. A million totals of baselines are 26 clients
    /// that come one after the other on a host with 40,000 processes with traffic.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        Self {
            clients,
            exited: 1 << 20,
            baselines: 1 << 20,
            stalled: Duration::from_secs(30),
            silent: Duration::from_secs(3600),
        }
    }

    /// Whether one more client may come, where `all` are there and `own` of them are its
    /// user's. Ordinary users cannot take every place: a quarter each, and an eighth is
    /// left to those who see everything.
    #[must_use]
    pub fn admits(&self, privileged: bool, all: usize, own: usize) -> bool {
        if privileged {
            return all < self.clients;
        }
        let everybodys = self.clients - self.clients / 8;
        all < everybodys && own < (self.clients / 4).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_cannot_take_every_place() {
        let limits = Limits::new(64);
        assert!(limits.admits(false, 0, 0));
        assert!(limits.admits(false, 55, 15));
        assert!(!limits.admits(false, 20, 16));
        assert!(!limits.admits(false, 56, 0));
        assert!(limits.admits(true, 63, 63));
        assert!(!limits.admits(true, 64, 0));
    }

    #[test]
    fn a_single_place_is_for_anybody() {
        assert!(Limits::new(1).admits(false, 0, 0));
        assert!(!Limits::new(1).admits(true, 1, 0));
    }
}
