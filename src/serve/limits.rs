//! The limits on the resources that clients use.

use std::time::Duration;

/// All limits of a server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Number of connections at a time.
    pub clients: usize,
    /// Number of exited processes kept for clients that have not asked yet, 104 bytes each. A
    /// client that would need more is dropped, and starts from a new baseline when it connects
    /// again.
    pub exited: usize,
    /// Number of totals in the baselines of all clients together, about 100 bytes each. A client
    /// that would need more is refused.
    pub baselines: usize,
    /// Bytes of unread replies of all clients together. A client that would need more is dropped.
    pub replies: usize,
    /// How long a client may read nothing of a reply.
    pub stalled: Duration,
    /// After this time without a request, exited processes are no longer kept for a client.
    pub silent: Duration,
    /// The shortest pause after the server took requests and connections. Requests and connections
    /// that arrive in the pause share the next sample. Otherwise each user could make the server
    /// sample at any rate.
    pub between: Duration,
    /// The shortest time for which counting continues once it has begun. Attaching the programs
    /// affects the whole host, and clients can connect and disconnect at any rate.
    pub linger: Duration,
}

/// Default number of connections at a time. One atop needs one connection.
pub const CLIENTS: usize = 64;

/// How much of a resource is in use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// By all users.
    pub all: usize,
    /// By the user who requests more.
    pub own: usize,
}

impl Limits {
    /// The limits for this number of clients.
    ///
    /// A million exited processes take 109 MB. That is enough for ten minutes (the interval of
    /// atop's own service) at 1,700 exits a second. A million totals are enough for 26 clients that
    /// connect one after the other on a host with 40,000 processes with traffic. 256 MiB are enough
    /// for 69 replies with all of these processes.
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

/// Whether a client may use `more` of a resource, of which there is `limit` in all. Each ordinary
/// user gets at most a quarter. An eighth is reserved for clients that see everything.
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
    fn a_single_connection_is_available_to_any_user() {
        assert!(allows(1, false, Used::default(), 1));
        assert!(!allows(1, true, Used { all: 1, own: 0 }, 1));
    }
}
