//! The server itself: one thread that waits for clients, signals and exit records.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::accounts::{Accounts, Lost};
use super::client::{Client, Gone, Peer};
use super::limits::{Limits, allows};
use super::listener::Listener;
use super::log::{Kind, Log};
use super::view::Viewer;
use crate::error::Error;
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
    pub(super) listener: &'a Listener,
    /// Readable when it is to end.
    stop: BorrowedFd<'a>,
    heartbeat: &'a mut dyn Heartbeat,
    pub(super) limits: Limits,
    pub(super) log: Log,
    /// The user it runs as, who sees everything.
    pub(super) uid: u32,
    /// When the host was booted, in seconds since the epoch.
    booted: fn() -> u64,
    pub(super) clients: Vec<Client>,
    pub(super) accounts: Accounts,
    /// After a failed accept, the next one is not tried before.
    pub(super) accept_from: Option<Instant>,
    /// Counting goes on until then, clients or not.
    linger_until: Option<Instant>,
    /// What was said to be lost.
    pub(super) told_lost: Lost,
    stopped: bool,
}

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
            linger_until: None,
            told_lost: Lost::default(),
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
                    Kind::Begin,
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
                Ok(()) => {
                    let why = if self.stopped {
                        "asked to end"
                    } else {
                        "no client is left"
                    };
                    self.log
                        .say(Kind::End, now, &format!("{why}: not counting"));
                }
                Err(error) => self.log.say(
                    Kind::Failed,
                    now,
                    &format!("all clients are dropped, since counting failed: {error}"),
                ),
            }
            self.clients.clear();
            self.accounts = Accounts::default();
            self.told_lost = Lost::default();
        }
        self.log.end(Instant::now());
        Ok(())
    }

    /// Waits for a client, or to be told to stop.
    fn wait_for_first(&mut self) -> Result<(), Error> {
        let ready = self.wait(None)?;
        self.stopped |= ready.stop;
        if ready.listener && !self.stopped {
            let new = self.accept();
            self.admit(new, Instant::now());
        }
        Ok(())
    }

    /// Serves while there are clients. The inner error is one of the source.
    fn serve(&mut self, source: &mut dyn Source) -> Result<Result<(), Error>, Error> {
        self.linger_until = Instant::now().checked_add(self.limits.linger);
        while !self.clients.is_empty() || self.linger_until > Some(Instant::now()) {
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
            self.accounts.drain(source)?;
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

        let new = if ready.listener {
            self.accept()
        } else {
            Vec::new()
        };
        // One snapshot answers everybody who has asked by now, and is where those who come
        // now count from.
        if !new.is_empty() || self.clients.iter().any(Client::has_asked) {
            self.accounts.sample(source)?;
        }
        let now = Instant::now();
        self.admit(new, now);
        self.answer(source, now);
        let stalled = self.limits.stalled;
        let mut gone = Vec::new();
        for (at, client) in self.clients.iter_mut().enumerate() {
            if client.is_busy()
                && let Err(why) = client.write(now)
            {
                gone.push((at, why));
            } else if client.deadline(stalled).is_some_and(|due| due <= now) {
                gone.push((at, Gone::Stalled));
            }
        }
        self.drop_clients(gone);
        self.forget(now);
        self.tell_lost(now);
        Ok(())
    }

    /// Makes a reply for everybody who has asked; for those first who see everything.
    fn answer(&mut self, source: &dyn Source, now: Instant) {
        let booted = (self.booted)();
        let mut gone = Vec::new();
        for turn in [true, false] {
            for at in 0..self.clients.len() {
                let kept = self.used(self.clients.get(at).map(Client::peer), Client::kept);
                let uid = self.uid;
                let Some(client) = self.clients.get_mut(at) else {
                    break;
                };
                let privileged = client.peer().viewer(uid) == Viewer::All;
                if privileged != turn || !client.has_asked() {
                    continue;
                }
                let accounts = &self.accounts;
                let more = client.view().longest_reply(accounts);
                if !allows(self.limits.replies, privileged, kept, more) {
                    gone.push((at, Gone::TooLarge));
                    continue;
                }
                client.answer(now, |view| {
                    view.reply(accounts, now, booted, |process| source.is_reused(process))
                });
                let forgotten = client.view_mut().take_forgotten();
                if forgotten > 0 {
                    let text = format!(
                        "{forgotten} exited processes were not told to a client ({}): \
                         it had not asked for too long",
                        who(client.peer())
                    );
                    self.log.say(Kind::Forgotten, now, &text);
                }
            }
        }
        gone.sort_unstable_by_key(|(at, _)| *at);
        self.drop_clients(gone);
    }

    fn wait(&mut self, records: Option<BorrowedFd<'_>>) -> Result<Ready, Error> {
        self.heartbeat.beat();
        let now = Instant::now();
        self.log.flush(now);
        if self.accept_from.is_some_and(|from| from <= now) {
            self.accept_from = None;
        }
        let stalled = self.limits.stalled;
        let linger = self.linger_until.filter(|until| *until > now);
        let deadline = [self.accept_from, linger, self.log.due()]
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

    /// Lets go of clients, by their places in ascending order.
    fn drop_clients(&mut self, gone: Vec<(usize, Gone)>) {
        for (at, why) in gone.into_iter().rev() {
            let peer = self.clients.remove(at).peer();
            let why = match why {
                Gone::Left => continue,
                Gone::Stalled => "it does not read its reply".to_owned(),
                Gone::TooLarge => {
                    "its reply would take too much memory beside those that are not read yet"
                        .to_owned()
                }
                Gone::Failed(kind) => kind.to_string(),
            };
            let text = format!("a client was dropped ({}): {why}", who(peer));
            self.log.say(Kind::Dropped, Instant::now(), &text);
        }
    }
}

pub(super) fn who(peer: Peer) -> String {
    format!("pid {}, uid {}", peer.pid, peer.uid)
}
