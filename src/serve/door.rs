//! Who is let in.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::client::{Client, Peer};
use super::log::Kind;
use super::server::{Server, who};
use super::view::{Baseline, View, Viewer};

/// How many connections are taken in a row.
const ACCEPTS: usize = 16;

/// How long to wait after a connection that could not be taken, most likely because there
/// are no descriptors left: it stays in the queue, and would be tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

impl Server<'_> {
    /// Takes the connections that wait, or turns them away.
    pub(super) fn accept(&mut self) {
        for _ in 0..ACCEPTS {
            let now = Instant::now();
            match self.listener.accept() {
                Ok(stream) => self.admit(stream, now),
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => {}
                    _ => {
                        let text = format!("a connection could not be accepted: {error}");
                        self.log.say(Kind::Failed, now, &text);
                        self.accept_from = now.checked_add(ACCEPT_PAUSE);
                        return;
                    }
                },
            }
        }
    }

    fn admit(&mut self, stream: UnixStream, now: Instant) {
        let peer = match Peer::of(&stream) {
            Ok(peer) => peer,
            Err(error) => {
                let text =
                    format!("a client was refused: the kernel does not say who it is: {error}");
                self.log.say(Kind::Refused, now, &text);
                return;
            }
        };
        let viewer = peer.viewer(self.uid);
        let own = self
            .clients
            .iter()
            .filter(|c| c.peer().uid == peer.uid)
            .count();
        let limits = self.limits;
        let refused = if !limits.admits(viewer == Viewer::All, self.clients.len(), own) {
            Some(format!(
                "there are {} already, {own} of them its user's",
                self.clients.len()
            ))
        } else {
            let baseline = self.baseline(viewer);
            if self.baselines() + baseline.totals() > limits.baselines {
                Some("its counters from before would take too much memory".to_owned())
            } else {
                let view = View::new(viewer, baseline, &self.accounts, now);
                match Client::new(stream, peer, view, now) {
                    Ok(client) => {
                        self.clients.push(client);
                        None
                    }
                    Err(error) => Some(error.to_string()),
                }
            }
        };
        if let Some(why) = refused {
            let text = format!("a client was refused ({}): {why}", who(peer));
            self.log.say(Kind::Refused, now, &text);
        }
    }

    /// What a client that comes now counts from; shared where it is nothing.
    fn baseline(&self, viewer: Viewer) -> Rc<Baseline> {
        Rc::new(Baseline::new(&self.accounts, viewer))
    }

    /// How many totals all baselines hold.
    fn baselines(&self) -> usize {
        self.clients
            .iter()
            .map(|client| client.view().baseline().totals())
            .sum()
    }
}
