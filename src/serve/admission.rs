//! Accepts connections, and admits or refuses them as clients.

use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::accounts::Accounts;
use super::client::{Client, Peer, has_closed};
use super::clients::Clients;
use super::limits::Used;
use super::listener::{BACKLOG, Listener};
use super::log::{Kind, Log};
use super::view::{Baseline, View, Viewer};

/// Maximum number of connections accepted in a row: the whole queue, so that the connections of one
/// user delay those of others by one turn only.
const ACCEPTS: usize = BACKLOG.unsigned_abs() as usize;

/// The pause after a connection could not be accepted. The usual cause is a lack of file
/// descriptors: the connection stays in the queue, and accepting it would fail again at once.
const PAUSE: Duration = Duration::from_secs(1);

/// Accepts connections.
pub(super) struct Admission<'a> {
    pub(super) listener: &'a Listener,
    /// No connection is accepted before this time.
    resume_at: Option<Instant>,
}

/// An accepted connection that is within the limit on clients.
pub(super) type Newcomer = (UnixStream, Peer);

impl<'a> Admission<'a> {
    pub(super) fn new(listener: &'a Listener) -> Self {
        Self {
            listener,
            resume_at: None,
        }
    }

    /// When connections are accepted again after an error.
    pub(super) fn resumes(&self, now: Instant) -> Option<Instant> {
        self.resume_at.filter(|resume_at| *resume_at > now)
    }

    /// Accepts waiting connections. Returns those within the limit, and refuses the others.
    pub(super) fn accept(&mut self, clients: &Clients, log: &mut Log) -> Vec<Newcomer> {
        let mut newcomers: Vec<Newcomer> = Vec::new();
        let mut usage = clients.usage(|_| 1);
        for _ in 0..ACCEPTS {
            let now = Instant::now();
            let stream = match self.listener.accept() {
                Ok(stream) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted => continue,
                    _ => {
                        let text = format!("a connection could not be accepted: {error}");
                        log.say(Kind::Failed, now, &text);
                        self.resume_at = now.checked_add(PAUSE);
                        break;
                    }
                },
            };
            // It must not take the place of another one.
            if has_closed(&stream) {
                continue;
            }
            let peer = match Peer::of(&stream) {
                Ok(peer) => peer,
                Err(error) => {
                    let text =
                        format!("a client was refused: its user could not be determined: {error}");
                    log.say(Kind::Refused, now, &text);
                    continue;
                }
            };
            if clients.allows(clients.limits().clients, peer, &usage, 1) {
                usage.add(peer, 1);
                newcomers.push((stream, peer));
            } else {
                let Used { all, own } = usage.of(peer);
                let why = format!("{all} clients are connected, {own} of them of the same user");
                refuse(clients, log, peer, now, &why);
            }
        }
        newcomers
    }
}

/// Creates clients for the newcomers. Their counters start at the newest sample.
pub(super) fn admit(
    newcomers: Vec<Newcomer>,
    clients: &mut Clients,
    accounts: &Accounts,
    now: Instant,
    log: &mut Log,
) {
    if newcomers.is_empty() {
        return;
    }
    // Clients that see the same processes share one baseline.
    let mut baselines: Vec<(Viewer, Rc<Baseline>)> = Vec::new();
    let mut usage = clients.usage(|client| client.view().baseline().totals());
    for (stream, peer) in newcomers {
        let viewer = clients.viewer(peer);
        let known = baselines.iter().find(|(of, _)| *of == viewer);
        let baseline = known.map_or_else(
            || Rc::new(Baseline::new(accounts, viewer)),
            |(_, baseline)| Rc::clone(baseline),
        );
        let totals = baseline.totals();
        if !clients.allows(clients.limits().baselines, peer, &usage, totals) {
            let why = "its baseline would take too much memory";
            refuse(clients, log, peer, now, why);
            continue;
        }
        usage.add(peer, totals);
        if known.is_none() {
            baselines.push((viewer, Rc::clone(&baseline)));
        }
        let view = View::new(viewer, baseline, accounts, now);
        match Client::new(stream, peer, view, now) {
            Ok(client) => clients.push(client),
            Err(error) => refuse(clients, log, peer, now, &error.to_string()),
        }
    }
}

fn refuse(clients: &Clients, log: &mut Log, peer: Peer, now: Instant, why: &str) {
    let kind = if clients.is_privileged(peer) {
        Kind::RefusedPrivileged
    } else {
        Kind::Refused
    };
    log.say(kind, now, &format!("a client was refused ({peer}): {why}"));
}
