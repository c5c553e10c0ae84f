//! The server itself: one thread that waits for clients, signals and exit records.

use std::collections::HashSet;
use std::io::ErrorKind;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::accounts::{Accounts, Lost};
use super::client::{Client, Gone, Peer};
use super::limits::Limits;
use super::listener::Listener;
use super::log::{Kind, Log};
use super::view::{Baseline, View, Viewer};
use crate::error::Error;
use crate::output::bytes;
use crate::source::Source;

/// Counts while `serve` runs.
pub trait Counting {
    /// Begins to count, calls `serve`, and ends it.
    ///
    /// # Errors
    ///
    /// If counting cannot begin, or what `serve` returns.
    fn during(
        &mut self,
        serve: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>,
    ) -> Result<(), Error>;
}

/// Told from time to time that the server is not stuck.
pub trait Heartbeat {
    /// How often [`Heartbeat::beat`] is to be called at least, if at all.
    fn every(&self) -> Option<Duration>;

    /// It is not stuck.
    fn beat(&mut self);
}

/// What a server is made of.
pub struct Server<'a> {
    listener: &'a Listener,
    /// Readable when it is to end.
    stop: BorrowedFd<'a>,
    heartbeat: &'a mut dyn Heartbeat,
    limits: Limits,
    log: Log,
    /// The user it runs as, who sees everything.
    uid: u32,
    /// When the host was booted, in seconds since the epoch.
    booted: fn() -> u64,
    clients: Vec<Client>,
    accounts: Accounts,
    /// After a failed accept, the next one is not tried before.
    accept_from: Option<Instant>,
    stopped: bool,
}

/// How many connections are taken in a row.
const ACCEPTS: usize = 16;

/// How long to wait after a connection that could not be taken, most likely because there
/// are no descriptors left: it stays in the queue, and would be tried again at once.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// What one wait has found.
struct Ready {
    stop: bool,
    listener: bool,
    records: bool,
    /// A client each.
    clients: Vec<bool>,
}

impl<'a> Server<'a> {
    /// A server without clients.
    pub fn new(
        listener: &'a Listener,
        stop: BorrowedFd<'a>,
        heartbeat: &'a mut dyn Heartbeat,
        limits: Limits,
        log: Log,
        booted: fn() -> u64,
    ) -> Self {
        Self {
            listener,
            stop,
            heartbeat,
            limits,
            log,
            uid: rustix::process::geteuid().as_raw(),
            booted,
            clients: Vec::new(),
            accounts: Accounts::default(),
            accept_from: None,
            stopped: false,
        }
    }

    /// Serves until it is told to stop. Counts only while there are clients.
    ///
    /// # Errors
    ///
    /// If the kernel cannot wait. What happens to clients or to counting is no error of
    /// the server: it is logged.
    pub fn run(mut self, counting: &mut dyn Counting) -> Result<(), Error> {
        while !self.stopped {
            self.wait_for_first()?;
            if self.clients.is_empty() {
                continue;
            }
            let mut broken = Ok(());
            let counted = counting.during(&mut |source| {
                self.log.say(
                    Kind::Counting,
                    Instant::now(),
                    "counting, for the first client",
                );
                // An error of the server's own ends it; one of the source is only logged.
                match self.serve(source) {
                    Ok(served) => served,
                    Err(error) => {
                        broken = Err(error);
                        Ok(())
                    }
                }
            });
            broken?;
            let now = Instant::now();
            match counted {
                Ok(()) => self
                    .log
                    .say(Kind::Counting, now, "no client is left: not counting"),
                Err(error) => self.log.say(
                    Kind::Failed,
                    now,
                    &format!("all clients are dropped, since counting failed: {error}"),
                ),
            }
            self.clients.clear();
            self.accounts = Accounts::default();
        }
        self.log.end(Instant::now());
        Ok(())
    }

    /// Waits for a client, or to be told to stop.
    fn wait_for_first(&mut self) -> Result<(), Error> {
        let ready = self.wait(None)?;
        self.stopped |= ready.stop;
        if ready.listener && !self.stopped {
            self.accept();
        }
        Ok(())
    }

    /// Serves while there are clients. The inner error is one of the source.
    fn serve(&mut self, source: &mut dyn Source) -> Result<Result<(), Error>, Error> {
        while !self.clients.is_empty() {
            let ready = self.wait(source.wakeup())?;
            self.stopped |= ready.stop;
            if self.stopped {
                break;
            }
            if let Err(error) = self.turn(source, &ready) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Everything that is ready to be done, once.
    fn turn(&mut self, source: &mut dyn Source, ready: &Ready) -> Result<(), Error> {
        if ready.records {
            let lost = self.accounts.drain(source)?;
            self.tell_lost(lost);
        }
        let mut gone = Vec::new();
        for ((at, client), ready) in self.clients.iter_mut().enumerate().zip(&ready.clients) {
            if *ready
                && !client.is_busy()
                && let Err(why) = client.read()
            {
                gone.push((at, why));
            }
        }
        self.drop_clients(gone);

        // One snapshot answers everybody who has asked by now, and is where those who come
        // now count from.
        if ready.listener || self.clients.iter().any(Client::has_asked) {
            let lost = self.accounts.sample(source)?;
            self.tell_lost(lost);
        }
        if ready.listener {
            self.accept();
        }
        let now = Instant::now();
        let booted = (self.booted)();
        let mut gone = Vec::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            if client.has_asked() {
                let accounts = &self.accounts;
                client.answer(now, |view| {
                    view.reply(accounts, now, booted, |process| source.is_reused(process))
                });
            }
            if client.is_busy()
                && let Err(why) = client.write(now)
            {
                gone.push((at, why));
            } else if client
                .deadline(self.limits.stalled)
                .is_some_and(|deadline| deadline <= now)
            {
                gone.push((at, Gone::Stalled));
            }
        }
        self.drop_clients(gone);
        self.forget(now);
        Ok(())
    }

    fn wait(&mut self, records: Option<BorrowedFd<'_>>) -> Result<Ready, Error> {
        self.heartbeat.beat();
        let now = Instant::now();
        self.log.flush(now);
        if self.accept_from.is_some_and(|from| from <= now) {
            self.accept_from = None;
        }
        let stalled = self.limits.stalled;
        let deadline = [self.accept_from, self.log.due()]
            .into_iter()
            .flatten()
            .chain(self.clients.iter().filter_map(|c| c.deadline(stalled)))
            .chain(
                self.heartbeat
                    .every()
                    .and_then(|every| now.checked_add(every)),
            )
            .min();
        let timeout = deadline
            .map(|deadline| deadline.saturating_duration_since(now))
            .and_then(|left| Timespec::try_from(left).ok());
        let listener = self.accept_from.is_none().then(|| self.listener.as_fd());
        let mut fds: Vec<PollFd<'_>> = [Some(self.stop), listener, records]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let interests = self
            .clients
            .iter()
            .map(|client| PollFd::from_borrowed_fd(client.as_fd(), client.interest()));
        fds.extend(interests);
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::failed("waiting for clients failed", error)),
        }
        // An end or an error of a connection counts as well: reading or writing tells it.
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            stop: ready.next() == Some(true),
            listener: listener.is_some() && ready.next() == Some(true),
            records: records.is_some() && ready.next() == Some(true),
            clients: ready.collect(),
        })
    }

    /// Takes the connections that wait, or turns them away.
    fn accept(&mut self) {
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

    /// Lets go of clients, by their places in ascending order.
    fn drop_clients(&mut self, gone: Vec<(usize, Gone)>) {
        for (at, why) in gone.into_iter().rev() {
            let peer = self.clients.remove(at).peer();
            let why = match why {
                Gone::Left => continue,
                Gone::Stalled => "it does not read its reply".to_owned(),
                Gone::Failed(kind) => kind.to_string(),
            };
            let text = format!("a client was dropped ({}): {why}", who(peer));
            self.log.say(Kind::Dropped, Instant::now(), &text);
        }
    }

    /// Forgets the exited processes that every client has been told of, and keeps within
    /// the limits.
    fn forget(&mut self, now: Instant) {
        let mut forgotten = 0;
        for client in &mut self.clients {
            let view = client.view_mut();
            view.settle(now);
            forgotten += view.give_up(&self.accounts, now, self.limits.silent);
        }
        if forgotten > 0 {
            let text = format!(
                "{forgotten} exited processes were forgotten for clients that have not asked for {}",
                humantime::format_duration(self.limits.silent)
            );
            self.log.say(Kind::Forgotten, now, &text);
        }
        loop {
            let needed = self
                .clients
                .iter()
                .map(|client| client.view().needs_from())
                .min();
            self.accounts.forget_before(needed.unwrap_or(u64::MAX));
            if self.accounts.ended_kept() <= self.limits.exited {
                break;
            }
            // Whoever is furthest behind; all of them if several are.
            let behind: HashSet<usize> = self
                .clients
                .iter()
                .enumerate()
                .filter(|(_, client)| Some(client.view().needs_from()) == needed)
                .map(|(at, _)| at)
                .collect();
            let mut at = 0;
            self.clients.retain(|client| {
                let drop = behind.contains(&at);
                at += 1;
                if drop {
                    let text = format!(
                        "a client was dropped ({}): it has not asked while {} processes exited; \
                         it will count anew when it connects again",
                        who(client.peer()),
                        self.limits.exited
                    );
                    self.log.say(Kind::Dropped, now, &text);
                }
                !drop
            });
        }
    }

    fn tell_lost(&mut self, lost: Lost) {
        let now = Instant::now();
        if !lost.unattributed.is_zero() {
            let text = format!(
                "{} messages, {} could not be attributed to a process, and no client shows them",
                lost.unattributed.msgs(),
                bytes(lost.unattributed.bytes())
            );
            self.log.say(Kind::Unattributed, now, &text);
        }
        if lost.missed_events > 0 {
            let text = format!("{} socket calls could not be counted", lost.missed_events);
            self.log.say(Kind::Unattributed, now, &text);
        }
    }
}

fn who(peer: Peer) -> String {
    format!("pid {}, uid {}", peer.pid, peer.uid)
}
