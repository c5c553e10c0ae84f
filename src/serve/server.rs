//! The event loop of the server: one thread that waits for clients, signals and exit records.

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

/// Attaches the programs while `serve` runs.
pub trait Counting {
    /// Starts counting, calls `serve`, and stops counting.
    ///
    /// # Errors
    ///
    /// If counting cannot begin, or if `serve` fails.
    fn during(
        &mut self,
        serve: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// The remedy for missed events on this host. `None` if none is known.
    fn remedy_for_misses(&self) -> Option<String>;
}

/// Receives a regular signal that the server is running.
pub trait Heartbeat {
    /// How often [`Heartbeat::beat`] must be called, if at all.
    fn every(&self) -> Option<Duration>;

    /// Signals that the server is running.
    fn beat(&mut self);
}

/// A server with its clients.
pub struct Server<'a> {
    admission: Admission<'a>,
    /// Readable when the server must stop.
    stop: BorrowedFd<'a>,
    heartbeat: &'a mut dyn Heartbeat,
    log: Log,
    /// When the host was booted, in seconds since the epoch.
    booted: fn() -> u64,
    clients: Clients,
    accounts: Accounts,
    /// No requests and no connections are taken before this time.
    next_requests: Option<Instant>,
    /// Counting continues until this time, with or without clients.
    linger_until: Option<Instant>,
    /// The losses that were already logged.
    logged: Lost,
    remedy_for_misses: Option<String>,
    stopped: bool,
}

/// The result of one wait: the descriptors that are ready.
struct Ready {
    stop: bool,
    listener: bool,
    records: bool,
    /// Whether requests and connections may be taken now.
    takes_requests: bool,
    /// One flag for each client.
    clients: Vec<bool>,
}

impl<'a> Server<'a> {
    /// Creates a server without clients.
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
            next_requests: None,
            linger_until: None,
            logged: Lost::default(),
            remedy_for_misses: None,
            stopped: false,
        }
    }

    /// Serves until a stop is requested. Counts only while there are clients.
    ///
    /// # Errors
    ///
    /// If waiting fails. Errors of clients or of counting are only logged, and do not end the
    /// server.
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
                // An error of the server itself ends it. An error of the source is only logged.
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
                        "stopped"
                    } else {
                        "no client is left"
                    };
                    let text = format!("{why}: not counting");
                    self.log.say(Kind::End, now, &text);
                }
                Err(error) => {
                    let text = format!("all clients were dropped because counting failed: {error}");
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

    /// Waits for the first client or for a request to stop.
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

    /// Serves while there are clients. The inner error is an error of the source.
    fn serve(&mut self, source: &mut dyn Source) -> Result<Result<(), Error>, Error> {
        self.linger_until = Instant::now().checked_add(self.clients.limits().linger);
        while !self.clients.is_empty() || self.linger_until > Some(Instant::now()) {
            let ready = self.wait(source.wakeup())?;
            self.stopped |= ready.stop;
            if self.stopped {
                break;
            }
            if let Err(error) = self.handle(source, &ready) {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    /// Handles everything that is ready, once.
    fn handle(&mut self, source: &mut dyn Source, ready: &Ready) -> Result<(), Error> {
        if ready.records {
            self.accounts.drain(source)?;
        }
        let begun = Instant::now();
        let has_taken = ready.takes_requests && self.take_requests(source, ready)?;
        let now = Instant::now();
        self.clients.write(now, &mut self.log);
        let (clients, log) = (&mut self.clients, &mut self.log);
        forget(clients, &mut self.accounts, now, log);
        self.log_losses(now);
        if has_taken {
            self.pause_requests(begun, Instant::now());
        }
        Ok(())
    }

    /// Reads requests, accepts connections, and takes one sample if either needs it. The sample
    /// answers all requests, and is the baseline of all new clients. Returns whether there was
    /// anything to read or accept.
    fn take_requests(&mut self, source: &mut dyn Source, ready: &Ready) -> Result<bool, Error> {
        let has_read = self.clients.read(&ready.clients, &mut self.log);
        // After reading, since a client that has left makes room for another.
        let newcomers = if ready.listener {
            self.admission.accept(&self.clients, &mut self.log)
        } else {
            Vec::new()
        };
        if !newcomers.is_empty() || self.clients.has_asked() {
            self.accounts.sample(source)?;
            let now = Instant::now();
            let (clients, log) = (&mut self.clients, &mut self.log);
            admit(newcomers, clients, &self.accounts, now, log);
            self.answer(source, now);
        }
        Ok(has_read || ready.listener)
    }

    /// Takes no requests for as long as the work for the last ones took, from `begun` to `now`, and
    /// for [`Limits::between`] at least. So the work for clients takes about half of a CPU at most, however
    /// many processes a sample has. After a quiet time a request is answered at once.
    fn pause_requests(&mut self, begun: Instant, now: Instant) {
        let work = now.saturating_duration_since(begun);
        self.next_requests = now.checked_add(work.max(self.clients.limits().between));
    }

    /// Creates replies for all clients that have asked, first for those that see everything.
    fn answer(&mut self, source: &dyn Source, now: Instant) {
        let booted = (self.booted)();
        let limit = self.clients.limits().replies;
        let mut usage = self.clients.usage(Client::unread_bytes);
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
            usage.add(peer, client.unread_bytes());
            let forgotten = client.view_mut().take_forgotten();
            if forgotten > 0 {
                let text = format!(
                    "{forgotten} ended processes were not reported to a client ({peer}): it had not \
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
        // Nothing is read or accepted in the pause. Otherwise a client could wake the server with each
        // byte. After the pause, one wait finds all requests and connections together.
        let pause = self.next_requests.filter(|next| *next > now);
        let resumes = self.admission.resumes(now);
        let is_accepting = pause.is_none() && resumes.is_none();
        let linger = self.linger_until.filter(|until| *until > now);
        let beat = self
            .heartbeat
            .every()
            .and_then(|every| now.checked_add(every));
        let deadline = [
            pause,
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
        let is_polled = |client: &Client| pause.is_none() || client.is_busy();
        let polled = self.clients.iter().filter(|client| is_polled(client));
        fds.extend(
            polled.map(|client| PollFd::from_borrowed_fd(client.as_fd(), client.interest())),
        );
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Error::failed("waiting for clients failed", error)),
        }
        // A closed or failed connection counts as ready: reading or writing returns its error.
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        Ok(Ready {
            stop: ready.next() == Some(true),
            listener: listener.is_some() && ready.next() == Some(true),
            records: records.is_some() && ready.next() == Some(true),
            takes_requests: pause.is_none(),
            clients: self
                .clients
                .iter()
                .map(|client| is_polled(client) && ready.next() == Some(true))
                .collect(),
        })
    }

    /// Logs all losses since counting began whenever they have grown.
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
            let mut text = format!(
                "since counting began, the kernel missed {missed_events} events of unknown size"
            );
            if let Some(remedy) = &self.remedy_for_misses {
                text.push_str("; to avoid missed events, ");
                text.push_str(remedy);
            }
            self.log.say(Kind::Missed, now, &text);
        }
        self.logged = self.accounts.lost();
    }
}
