//! The clients, the resources they use, and their limits.

use std::time::{Duration, Instant};

use foldhash::HashMap;

use super::client::{Client, Gone, Peer};
use super::limits::{Limits, Used, allows};
use super::log::{Kind, Log};
use super::view::Viewer;

/// All connected clients.
#[derive(Debug)]
pub(super) struct Clients {
    list: Vec<Client>,
    /// The user id of the server. This user sees everything.
    own: u32,
    limits: Limits,
}

/// How much of a resource each user's clients use. It is computed in one pass over the clients, and
/// updated while more is allocated: recomputing it for each client would take quadratic time.
#[derive(Debug, Default)]
pub(super) struct Usage {
    all: usize,
    by_user: HashMap<u32, usize>,
}

impl Usage {
    /// Adds the amount that a client of `peer` uses.
    pub(super) fn add(&mut self, peer: Peer, more: usize) {
        self.all += more;
        *self.by_user.entry(peer.uid).or_default() += more;
    }

    /// The amount used by all users, and by the user of `peer`.
    pub(super) fn of(&self, peer: Peer) -> Used {
        Used {
            all: self.all,
            own: self.by_user.get(&peer.uid).copied().unwrap_or(0),
        }
    }
}

impl Clients {
    /// Creates an empty list for a server that runs as the user `own`.
    pub(super) fn new(own: u32, limits: Limits) -> Self {
        Self {
            list: Vec::new(),
            own,
            limits,
        }
    }

    pub(super) fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The user of the server.
    pub(super) fn own(&self) -> u32 {
        self.own
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Client> {
        self.list.iter()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Client> {
        self.list.iter_mut()
    }

    pub(super) fn get_mut(&mut self, at: usize) -> Option<&mut Client> {
        self.list.get_mut(at)
    }

    pub(super) fn push(&mut self, client: Client) {
        self.list.push(client);
    }

    /// Drops the clients for which `keep` is false, in one pass.
    pub(super) fn retain(&mut self, keep: impl FnMut(&mut Client) -> bool) {
        self.list.retain_mut(keep);
    }

    pub(super) fn clear(&mut self) {
        self.list.clear();
    }

    /// Which processes `peer` may see.
    pub(super) fn viewer(&self, peer: Peer) -> Viewer {
        peer.viewer(self.own)
    }

    /// Whether `peer` sees everything.
    pub(super) fn is_privileged(&self, peer: Peer) -> bool {
        self.viewer(peer) == Viewer::All
    }

    /// How much of a resource the clients use. `what` returns the amount of one client.
    pub(super) fn usage(&self, what: impl Fn(&Client) -> usize) -> Usage {
        let mut usage = Usage::default();
        for client in &self.list {
            usage.add(client.peer(), what(client));
        }
        usage
    }

    /// Whether `peer` may use `more` of a resource with this limit.
    pub(super) fn allows(&self, limit: usize, peer: Peer, usage: &Usage, more: usize) -> bool {
        allows(limit, self.is_privileged(peer), usage.of(peer), more)
    }

    /// Whether any client is waiting for an answer.
    pub(super) fn has_asked(&self) -> bool {
        self.list.iter().any(Client::has_asked)
    }

    /// Reads requests of clients that are `ready`, and drops clients that have closed. Returns whether
    /// there was any client to read from.
    pub(super) fn read(&mut self, ready: &[bool], log: &mut Log) -> bool {
        let mut gone = Vec::new();
        let mut has_read = false;
        for ((at, client), ready) in self.list.iter_mut().enumerate().zip(ready) {
            if !*ready || !client.can_ask() {
                continue;
            }
            has_read = true;
            if let Err(why) = client.read() {
                gone.push((at, why));
            }
        }
        self.drop_gone(gone, log);
        has_read
    }

    /// Writes replies as far as the sockets accept them. Drops clients that have closed or do not
    /// read.
    pub(super) fn write(&mut self, now: Instant, log: &mut Log) {
        let stalled = self.limits.stalled;
        let mut gone = Vec::new();
        for (at, client) in self.list.iter_mut().enumerate() {
            if client.is_busy()
                && let Err(why) = client.write(now)
            {
                gone.push((at, why));
            } else if client.deadline(stalled).is_some_and(|due| due <= now) {
                gone.push((at, Gone::Stalled));
            }
        }
        self.drop_gone(gone, log);
    }

    /// When the next client is dropped for not reading its reply.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let stalled: Duration = self.limits.stalled;
        self.list.iter().filter_map(|c| c.deadline(stalled)).min()
    }

    /// Drops clients by their positions, which are in ascending order, in one pass.
    pub(super) fn drop_gone(&mut self, gone: Vec<(usize, Gone)>, log: &mut Log) {
        if gone.is_empty() {
            return;
        }
        let own = self.own;
        let mut places = 0..;
        let mut gone = gone.into_iter().peekable();
        self.list.retain(|client| {
            let place = places.next();
            let Some((_, why)) = gone.next_if(|(at, _)| Some(*at) == place) else {
                return true;
            };
            let peer = client.peer();
            let why = match why {
                Gone::Left => return false,
                Gone::Stalled => "it does not read its reply".to_owned(),
                Gone::TooLarge => {
                    "its reply would take too much memory in addition to unread replies".to_owned()
                }
                Gone::Failed(kind) => kind.to_string(),
            };
            let text = format!("a client was dropped ({peer}): {why}");
            let is_privileged = peer.viewer(own) == Viewer::All;
            log.say(Kind::dropped(is_privileged), Instant::now(), &text);
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::os::unix::net::UnixStream;
    use std::rc::Rc;

    use super::super::accounts::Accounts;
    use super::super::view::{Baseline, View};
    use super::*;

    /// The limits are checked for each client, but the usage is computed only once.
    #[test]
    fn usage_is_counted_in_one_pass() {
        let now = Instant::now();
        let accounts = Accounts::default();
        let mut clients = Clients::new(0, Limits::new(1000));
        for uid in 0..100 {
            let (stream, _peer_end) = UnixStream::pair().expect("a pair");
            let peer = Peer {
                uid: uid % 10,
                pid: 1,
            };
            let baseline = Rc::new(Baseline::new(&accounts, Viewer::All));
            let view = View::new(Viewer::All, baseline, &accounts, now);
            clients.push(Client::new(stream, peer, view, now).expect("a client"));
        }
        let looks = Cell::new(0);
        let mut usage = clients.usage(|_| {
            looks.set(looks.get() + 1);
            3
        });
        for client in clients.iter() {
            let Used { all, own } = usage.of(client.peer());
            assert_eq!((all, own), (300, 30));
            assert!(clients.allows(1000, client.peer(), &usage, 1));
        }
        assert_eq!(looks.get(), 100);
        let peer = Peer { uid: 7, pid: 1 };
        usage.add(peer, 5);
        assert_eq!(usage.of(peer).own, 35);
    }
}
