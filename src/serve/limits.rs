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
    /// Bytes of replies that have not been read yet, all clients together. A client that
    /// would need more is dropped.
    pub replies: usize,
    /// How long a client may take nothing of a reply.
    pub stalled: Duration,
    /// After so long without a request a client may lose exited processes.
    pub silent: Duration,
    /// The shortest time from one sample to the next. Requests that come meanwhile share the next
    /// sample: otherwise each user could make the server sample as fast as they ask.
    pub between: Duration,
    /// How long counting goes on at least once it has begun: to attach the programs is
    /// work for the whole host, and clients could come and go as often as they like.
    pub linger: Duration,
}

/// Connections at a time unless the user wants another number. One atop needs one.
pub const CLIENTS: usize = 64;

/// How much of something is in use already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By everybody.
    pub all: usize,
    /// By the user who wants more.
    pub own: usize,
}

impl Limits {
    /// The limits with so many clients.
    ///
    /// A million exited processes are 109 MB, and hold ten minutes (the interval of atop's
    /// own service) at 1,700 exits a second. A million totals of baselines are 26 clients
    /// that come one after the other on a host with 40,000 processes with traffic; 256 MiB
    /// of replies are 69 to each of which all of these are told.
    #[must_use]
    pub fn new(clients: usize) -> Self {
        Self {
            clients,
            exited: 1 << 20,
            baselines: 1 << 20,
            replies: 256 << 20,
            stalled: Duration::from_secs(30),
            silent: Duration::from_secs(3600),
            between: Duration::from_millis(20),
            linger: Duration::from_secs(1),
        }
    }
}

/// Whether `more` of something can be had, of which there is so much in all. Ordinary
/// users cannot take all of it: a quarter each, and an eighth is left to those who see
/// everything.
#[must_use]
pub fn allows(limit: usize, privileged: bool, used: Used, more: usize) -> bool {
    let all = used.all.saturating_add(more);
    if privileged {
        return all <= limit;
    }
    all <= limit - limit / 8 && used.own.saturating_add(more) <= (limit / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ordinary_user_cannot_take_everything() {
        let of = |privileged, all, own, more| allows(64, privileged, Used { all, own }, more);
        assert!(of(false, 0, 0, 1));
        assert!(of(false, 55, 15, 1));
        assert!(!of(false, 20, 16, 1));
        assert!(!of(false, 56, 0, 1));
        assert!(!of(false, 0, 0, 17));
        assert!(of(true, 63, 63, 1));
        assert!(!of(true, 64, 0, 1));
        assert!(of(true, 0, 0, 64));
    }

    #[test]
    fn a_single_place_is_for_anybody() {
        assert!(allows(1, false, Used::default(), 1));
        assert!(!allows(1, true, Used { all: 1, own: 0 }, 1));
    }
}
