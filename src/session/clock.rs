//! Time, and waiting for it, for records, or for the end.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;
use crate::signals::Stop;
use crate::text::{give_up_after, give_up_soon, to_stderr};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The time has come.
    Deadline,
    /// There are exit records to take.
    Records,
    /// The user wants it to end.
    Stopped,
    /// All processes that were to be watched have ended.
    Ended,
}

/// Why a wait for the reader of the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlet {
    /// The reader takes something.
    Writable,
    /// There are exit records to take.
    Records,
    /// The reader takes nothing, and the user does not want to wait any longer.
    TooLate,
}

/// How long the reader of the output may keep a recording waiting after a request to stop.
const PATIENCE: Duration = Duration::from_secs(3);

/// Time as a session sees it; tests have one of their own.
pub trait Clock {
    /// For measuring: CLOCK_MONOTONIC. It does not run while the host is suspended, when
    /// nothing is sent either, and is not touched when the wall clock is set.
    fn now(&self) -> Instant;

    /// For telling the time.
    fn utc(&self) -> DateTime<Utc>;

    /// Waits until `deadline` (for ever without one), until `wakeup` is readable, or
    /// until the end is asked for.
    ///
    /// # Errors
    ///
    /// If the kernel cannot wait.
    fn wait(
        &mut self,
        deadline: Option<Instant>,
        wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error>;

    /// Waits until `output` is writable or `wakeup` is readable. After a request to stop, it waits
    /// a few seconds at most; a later [`Clock::wait`] still tells of that request.
    ///
    /// # Errors
    ///
    /// If the kernel cannot wait.
    fn wait_for_reader(
        &mut self,
        output: BorrowedFd<'_>,
        wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<Outlet, Error>;
}

/// The host's clocks, and an end asked for by Ctrl-C, SIGTERM or SIGHUP.
pub struct SystemClock {
    stop: Stop,
    watched: Vec<OwnedFd>,
    watching: bool,
    command: Option<Pid>,
    /// A request to stop has come.
    is_stopping: bool,
    /// The session does not know yet of the last request.
    is_pending: bool,
    /// What is left of the time for the reader of the output.
    patience: Duration,
    /// When to say that the command is waited for, after a request to end.
    notice: Option<Instant>,
}

/// How long a command may take to end after a request until a user wonders what happens.
const NOTICE: Duration = Duration::from_secs(1);

impl SystemClock {
    /// Takes over the signals: the first one ends the session in good order.
    ///
    /// # Errors
    ///
    /// If the signals cannot be taken over.
    pub fn new() -> Result<Self, Error> {
        let stop = Stop::new()?;
        if let Ok(stop) = stop.as_fd().try_clone_to_owned() {
            give_up_after(stop);
        }
        Ok(Self {
            stop,
            is_stopping: false,
            is_pending: false,
            patience: PATIENCE,
            command: None,
            watched: Vec::new(),
            watching: false,
            notice: None,
        })
    }

    /// Passes SIGTERM and SIGHUP on to this process as SIGTERM: they are meant for the command
    /// that is recorded. Also says so when the command takes long to end.
    pub fn pass_on_to(&mut self, command: u32) {
        self.command = i32::try_from(command).ok().and_then(Pid::from_raw);
    }

    /// Ends the session when all these processes have ended; each is a pidfd.
    pub fn watch(&mut self, processes: Vec<OwnedFd>) {
        self.watching = !processes.is_empty();
        self.watched = processes;
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn utc(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn wait(
        &mut self,
        deadline: Option<Instant>,
        wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error> {
        loop {
            if std::mem::take(&mut self.is_pending) {
                return Ok(Woken::Stopped);
            }
            let now = Instant::now();
            if self.notice.is_some_and(|notice| notice <= now) {
                self.notice = None;
                to_stderr(
                    "netatop: waiting for the command to end; Ctrl-C again leaves it running",
                );
            }
            let earliest = deadline.into_iter().chain(self.notice).min();
            let left = earliest.map(|until| until.saturating_duration_since(now));
            if deadline.is_some_and(|deadline| deadline <= now) {
                // A late session must still be able to stop; records can wait until after.
                return Ok(self.ready(None, Duration::ZERO)?.unwrap_or(Woken::Deadline));
            }
            if let Some(woken) = self.ready(wakeup, left.unwrap_or(Duration::MAX))? {
                return Ok(woken);
            }
        }
    }

    fn wait_for_reader(
        &mut self,
        output: BorrowedFd<'_>,
        wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<Outlet, Error> {
        loop {
            let mut fds = vec![
                PollFd::from_borrowed_fd(output, PollFlags::OUT),
                PollFd::new(&self.stop, PollFlags::IN),
            ];
            fds.extend(wakeup.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let longest = if self.is_stopping {
                self.patience
            } else {
                Duration::MAX
            };
            let begun = Instant::now();
            wait_for_any(&mut fds, longest)?;
            if self.is_stopping {
                self.patience = self.patience.saturating_sub(begun.elapsed());
            }
            let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
            // An error of the output counts as well: the next write reports it.
            let writable = events.next() == Some(true);
            let stopped = events.next() == Some(true);
            let records = events.next() == Some(true);
            if stopped {
                self.take_request();
                self.is_pending = true;
            }
            if writable {
                return Ok(Outlet::Writable);
            }
            if self.is_stopping && self.patience.is_zero() {
                return Ok(Outlet::TooLate);
            }
            if records {
                return Ok(Outlet::Records);
            }
        }
    }
}

/// Waits for one of `fds`, or for `longest`.
fn wait_for_any(fds: &mut [PollFd<'_>], longest: Duration) -> Result<(), Error> {
    // A time that does not fit is as good as for ever.
    let timeout = Timespec::try_from(longest).ok();
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Error::failed("waiting failed", error)),
    }
}

impl SystemClock {
    /// Takes a request to stop, and passes it on to the command.
    fn take_request(&mut self) {
        self.stop.clear();
        self.is_stopping = true;
        give_up_soon();
        if let Some(command) = self.command {
            if self.stop.take_terminated() {
                // An error means that the command has ended meanwhile.
                let _ = kill_process(command, Signal::TERM);
            }
            self.notice = Instant::now().checked_add(NOTICE);
        }
    }

    fn ready(
        &mut self,
        wakeup: Option<BorrowedFd<'_>>,
        longest: Duration,
    ) -> Result<Option<Woken>, Error> {
        let stop = Some(self.stop.as_fd());
        let sources = [stop, wakeup];
        let mut fds: Vec<PollFd<'_>> = sources
            .iter()
            .flatten()
            .copied()
            .chain(self.watched.iter().map(AsFd::as_fd))
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        wait_for_any(&mut fds, longest)?;
        let mut readable = fds.iter().map(|fd| fd.revents().intersects(PollFlags::IN));
        let stopped = stop.is_some() && readable.next() == Some(true);
        let records = wakeup.is_some() && readable.next() == Some(true);
        let ended: Vec<bool> = readable.collect();
        let mut ended = ended.into_iter();
        self.watched.retain(|_| ended.next() != Some(true));
        Ok(if stopped {
            self.take_request();
            Some(Woken::Stopped)
        } else if self.watching && self.watched.is_empty() {
            Some(Woken::Ended)
        } else {
            records.then_some(Woken::Records)
        })
    }
}
