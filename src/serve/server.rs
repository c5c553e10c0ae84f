//! The server itself: one thread that waits for clients, signals and exit records.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::accounts::{Accounts, Lost};
use super::client::{Client, Gone, Peer};
use super::limits::Limits;
use super::listener::Listener;
use super::log::{Kind, Log};
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
                Ok(()) => self
                    .log
                    .say(Kind::End, now, "no client is left: not counting"),
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
        self.forget_told();
        if self.accounts.ended_kept() > self.limits.exited {
            // Too many to repeat them.
            for client in &mut self.clients {
                client.view_mut().settle_all();
            }
            self.forget_told();
        }
        while self.accounts.ended_kept() > self.limits.exited {
            self.drop_furthest_behind(now);
            self.forget_told();
        }
    }

    /// Forgets the exited processes that nobody needs.
    fn forget_told(&mut self) {
        let needed = self.clients.iter().map(|c| c.view().needs_from()).min();
        self.accounts.forget_before(needed.unwrap_or(u64::MAX));
    }

    /// Lets go of whoever makes the server keep most; of several, if it is all the same.
    fn drop_furthest_behind(&mut self, now: Instant) {
        let behind = self.clients.iter().map(|c| c.view().needs_from()).min();
        let (limits, log) = (&self.limits, &mut self.log);
        self.clients.retain(|client| {
            if Some(client.view().needs_from()) != behind {
                return true;
            }
            let text = format!(
                "a client was dropped ({}): it has not asked while {} processes exited; \
                 it will count anew when it connects again",
                who(client.peer()),
                limits.exited
            );
            log.say(Kind::Dropped, now, &text);
            false
        });
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

pub(super) fn who(peer: Peer) -> String {
    format!("pid {}, uid {}", peer.pid, peer.uid)
}
