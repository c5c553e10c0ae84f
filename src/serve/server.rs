//! The server itself: one thread that waits for clients, signals and exit records.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::accounts::{Accounts, Lost};
use super::admission::{Admission, admit};
use super::client::{Client, Gone};
use super::clients::Clients;
use super::limits::Limits;
use super::listener::Listener;
use super::log::{Kind, Log};
use super::retention::forget;
use crate::error::Error;
use crate::source::Source;
use crate::text::bytes;

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

    /// What would prevent missed events on this host, if anything would.
    fn remedy_for_misses(&self) -> Option<String>;
}

/// Told from time to time that the server is not stuck.
pub trait Heartbeat {
    /// How often [`Heartbeat::beat`] must be called, if at all.
    fn every(&self) -> Option<Duration>;

    /// The server is not stuck.
    fn beat(&mut self);
}

/// A server with its clients.
pub struct Server<'a> {
    admission: Admission<'a>,
    /// Readable when the server is to end.
    stop: BorrowedFd<'a>,
    heartbeat: &'a mut dyn Heartbeat,
    log: Log,
    /// When the host was booted, in seconds since the epoch.
    booted: fn() -> u64,
    clients: Clients,
    accounts: Accounts,
    /// No sample is taken before.
    next_sample: Option<Instant>,
    /// Counting goes on until then, with or without clients.
    linger_until: Option<Instant>,
    /// The losses that were logged.
    logged: Lost,
    remedy_for_misses: Option<String>,
    stopped: bool,
}

/// What one wait has found.
struct Ready {
    stop: bool,
    listener: bool,
    records: bool,
    /// One for each client.
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
            admission: Admission::new(listener),
            stop,
            heartbeat,
            log,
            booted,
            clients: Clients::new(rustix::process::geteuid().as_raw(), limits),
            accounts: Accounts::default(),
            next_sample: None,
            linger_until: None,
            logged: Lost::default(),
            remedy_for_misses: None,
            stopped: false,
        }
    }

    /// Serves until it is told to stop. Counts only while there are clients.
    ///
    /// # Errors
    ///
    /// If the kernel cannot wait. Errors of clients or of counting do not end the server: they are
    /// logged.
    pub fn run(mut self, counting: &mut dyn Counting) -> Result<(), Error> {
        while !self.stopped {
            self.wait_for_first()?;
            if self.clients.is_empty() {
                continue;
            }
            self.remedy_for_misses = counting.remedy_for_misses();
            let mut broken = Ok(());
            let counted = counting.during(&mut |source| {
                let text = "counting, for the first client";
                self.log.say(Kind::Begin, Instant::now(), text);
                // An error of the server itself ends it; one of the source is only logged.
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
                    let text = format!("{why}: not counting");
                    self.log.say(Kind::End, now, &text);
                }
                Err(error) => {
                    let text = format!("all clients are dropped, since counting failed: {error}");
                    self.log.say(Kind::Failed, now, &text);
                }
            }
            self.clients.clear();
            self.accounts = Accounts::default();
            self.logged = Lost::default();
        }
        self.log.end(Instant::now());
        Ok(())
    }

    /// Waits for a client, or to be told to stop.
    fn wait_for_first(&mut self) -> Result<(), Error> {
        let ready = self.wait(None)?;
        self.stopped |= ready.stop;
        if ready.listener && !self.stopped {
            let newcomers = self.admission.accept(&self.clients, &mut self.log);
            let (clients, log) = (&mut self.clients, &mut self.log);
            admit(newcomers, clients, &self.accounts, Instant::now(), log);
        }
        Ok(())
    }

    /// Serves while there are clients. The inner error is one of the source.
    fn serve(&mut self, source: &mut dyn Source) -> Result<Result<(), Error>, Error> {
        self.linger_until = Instant::now().checked_add(self.clients.limits().linger);
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

    /// Does everything once that is ready to be done.
    fn turn(&mut self, source: &mut dyn Source, ready: &Ready) -> Result<(), Error> {
        if ready.records {
            self.accounts.drain(source)?;
        }
        self.clients.read(&ready.clients, &mut self.log);
        if self.next_sample.is_none_or(|next| next <= Instant::now()) {
            self.sample(source, ready.listener)?;
        }
        let now = Instant::now();
        self.clients.write(now, &mut self.log);
        let (clients, log) = (&mut self.clients, &mut self.log);
        forget(clients, &mut self.accounts, now, log);
        self.log_losses(now);
        Ok(())
    }

    /// Takes one sample, if it is needed. It answers everybody who has asked by now, and newcomers
    /// count from it.
    fn sample(&mut self, source: &mut dyn Source, is_called: bool) -> Result<(), Error> {
        let newcomers = if is_called {
            self.admission.accept(&self.clients, &mut self.log)
        } else {
            Vec::new()
        };
        if newcomers.is_empty() && !self.clients.has_asked() {
            return Ok(());
        }
        self.accounts.sample(source)?;
        let now = Instant::now();
        self.next_sample = now.checked_add(self.clients.limits().between);
        let (clients, log) = (&mut self.clients, &mut self.log);
        admit(newcomers, clients, &self.accounts, now, log);
        self.answer(source, now);
        Ok(())
    }

    /// Makes a reply for everybody who has asked; first for clients that see everything.
    fn answer(&mut self, source: &dyn Source, now: Instant) {
        let booted = (self.booted)();
        let limit = self.clients.limits().replies;
        let mut usage = self.clients.usage(Client::kept);
        let mut gone = Vec::new();
        let asked = self
            .clients
            .iter()
            .enumerate()
            .filter(|(_, c)| c.has_asked());
        let mut asked: Vec<_> = asked.map(|(at, client)| (at, client.peer())).collect();
        asked.sort_by_key(|(_, peer)| !self.clients.is_privileged(*peer));
        for (at, peer) in asked {
            let accounts = &self.accounts;
            let Some(client) = self.clients.get_mut(at) else {
                continue;
            };
            let more = client.view().longest_reply(accounts);
            if !self.clients.allows(limit, peer, &usage, more) {
                gone.push((at, Gone::TooLarge));
                continue;
            }
            let Some(client) = self.clients.get_mut(at) else {
                continue;
            };
            client.answer(now, |view| {
                view.reply(accounts, now, booted, |process| source.is_reused(process))
            });
            usage.add(peer, client.kept());
            let forgotten = client.view_mut().take_forgotten();
            if forgotten > 0 {
                let text = format!(
                    "{forgotten} ended processes were not told to a client ({peer}): it had not \
                     asked for too long"
                );
                self.log.say(Kind::Forgotten, now, &text);
            }
        }
        gone.sort_unstable_by_key(|(at, _)| *at);
        self.clients.drop_gone(gone, &mut self.log);
    }

    fn wait(&mut self, records: Option<BorrowedFd<'_>>) -> Result<Ready, Error> {
        self.heartbeat.beat();
        let now = Instant::now();
        self.log.flush(now);
        // Until the next sample may be taken, connections and requests wait.
        let gate = self.next_sample.filter(|next| *next > now);
        let resumes = self.admission.resumes(now);
        let is_accepting = gate.is_none() && resumes.is_none();
        let linger = self.linger_until.filter(|until| *until > now);
        let beat = self
            .heartbeat
            .every()
            .and_then(|every| now.checked_add(every));
        let deadline = [
            gate,
            resumes,
            linger,
            beat,
            self.log.due(),
            self.clients.deadline(),
        ]
        .into_iter()
        .flatten()
        .min();
        let timeout = deadline
            .map(|deadline| deadline.saturating_duration_since(now))
            .and_then(|left| Timespec::try_from(left).ok());
        let listener = is_accepting.then(|| self.admission.listener.as_fd());
        let mut fds: Vec<PollFd<'_>> = [Some(self.stop), listener, records]
            .into_iter()
            .flatten()
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        // A client that has asked is not polled: an end of its connection would be reported again
        // and again until it is answered.
        let waits = |client: &Client| !client.has_asked();
        let polled = self.clients.iter().filter(|client| waits(client));
        fds.extend(
            polled.map(|client| PollFd::from_borrowed_fd(client.as_fd(), client.interest())),
        );
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::failed("waiting for clients failed", error)),
        }
        // An end or an error of a connection counts as well: reading or writing reports it.
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            stop: ready.next() == Some(true),
            listener: listener.is_some() && ready.next() == Some(true),
            records: records.is_some() && ready.next() == Some(true),
            clients: self
                .clients
                .iter()
                .map(|client| waits(client) && ready.next() == Some(true))
                .collect(),
        })
    }

    /// Logs all losses since counting began, each time they have grown.
    fn log_losses(&mut self, now: Instant) {
        let Lost {
            unattributed,
            missed_events,
        } = self.accounts.lost();
        if unattributed != self.logged.unattributed {
            let text = format!(
                "since counting began, {} messages, {} could not be attributed to a process, and \
                 no client shows them",
                unattributed.msgs(),
                bytes(unattributed.bytes())
            );
            self.log.say(Kind::Unattributed, now, &text);
        }
        if missed_events != self.logged.missed_events {
            let mut text =
                format!("since counting began, {missed_events} socket calls could not be counted");
            if let Some(remedy) = &self.remedy_for_misses {
                text.push_str("; to miss none, ");
                text.push_str(remedy);
            }
            self.log.say(Kind::Missed, now, &text);
        }
        self.logged = self.accounts.lost();
    }
}
