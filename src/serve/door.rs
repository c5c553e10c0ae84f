//! Who is let in.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::client::{Client, Peer};
use super::limits::{Used, allows};
use super::log::Kind;
use super::server::{Server, who};
use super::view::{Baseline, View, Viewer};

/// How many connections are taken in a row.
const ACCEPTS: usize = 16;

/// How long to wait after a connection that could not be taken, most likely because there
/// are no descriptors left: it stays in the queue, and would be tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Somebody who may come in.
pub(super) type New = (UnixStream, Peer);

impl Server<'_> {
    /// Takes the connections that wait. Returns those that have a place; the others are
    /// turned away.
    pub(super) fn accept(&mut self) -> Vec<New> {
        let mut new: Vec<New> = Vec::new();
        for _ in 0..ACCEPTS {
            let now = Instant::now();
            match self.listener.accept() {
                Ok(stream) => {
                    if let Some(peer) = self.has_place(&stream, &new, now) {
                        new.push((stream, peer));
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        let text = format!("a connection could not be accepted: {error}");
                        self.log.say(Kind::Failed, now, &text);
                        self.accept_from = now.checked_add(ACCEPT_PAUSE);
                        break;
                    }
                },
            }
        }
        new
    }

    /// Who it is, if there is a place for it beside those who come with it.
    fn has_place(&mut self, stream: &UnixStream, new: &[New], now: Instant) -> Option<Peer> {
        let peer = match Peer::of(stream) {
            Ok(peer) => peer,
            Err(error) => {
                let text =
                    format!("a client was refused: the kernel does not say who it is: {error}");
                self.log.say(Kind::Refused, now, &text);
                return None;
            }
        };
        let mut used = self.used(Some(peer), |_| 1);
        used.all += new.len();
        used.own += new
            .iter()
            .filter(|(_, other)| other.uid == peer.uid)
            .count();
        if allows(self.limits.clients, self.is_privileged(peer), used, 1) {
            return Some(peer);
        }
        let Used { all, own } = used;
        self.refuse(
            peer,
            now,
            &format!("there are {all} already, {own} of them its user's"),
        );
        None
    }

    /// Makes clients of those who have a place. They count from the newest sample.
    pub(super) fn admit(&mut self, new: Vec<New>, now: Instant) {
        // The same for all who see the same.
        let mut baselines: Vec<(Viewer, Rc<Baseline>)> = Vec::new();
        for (stream, peer) in new {
            let viewer = peer.viewer(self.uid);
            let known = baselines.iter().find(|(of, _)| *of == viewer);
            let baseline = known.map_or_else(
                || Rc::new(Baseline::new(&self.accounts, viewer)),
                |(_, baseline)| Rc::clone(baseline),
            );
            let used = self.used(Some(peer), |client| client.view().baseline().totals());
            let privileged = self.is_privileged(peer);
            if !allows(self.limits.baselines, privileged, used, baseline.totals()) {
                let why = "its counters from before would take too much memory";
                self.refuse(peer, now, why);
                continue;
            }
            baselines.push((viewer, Rc::clone(&baseline)));
            let view = View::new(viewer, baseline, &self.accounts, now);
            match Client::new(stream, peer, view, now) {
                Ok(client) => self.clients.push(client),
                Err(error) => self.refuse(peer, now, &error.to_string()),
            }
        }
    }

    fn is_privileged(&self, peer: Peer) -> bool {
        peer.viewer(self.uid) == Viewer::All
    }

    fn refuse(&mut self, peer: Peer, now: Instant, why: &str) {
        let kind = if self.is_privileged(peer) {
            Kind::RefusedPrivileged
        } else {
            Kind::Refused
        };
        let text = format!("a client was refused ({}): {why}", who(peer));
        self.log.say(kind, now, &text);
    }
}
