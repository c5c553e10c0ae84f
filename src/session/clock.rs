//! The clock of a session: waits for deadlines, exit records, and requests to stop.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use crate::error::Error;
use crate::signals::Stop;
use crate::text::{limit_waits, limit_waits_after, to_stderr};

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// The deadline has passed.
    Deadline,
    /// There are exit records to read.
    Records,
    /// The user has asked the program to stop.
    Stopped,
    /// All watched processes have ended.
    Ended,
}

/// Why a wait for the reader of the output ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReaderWait {
    /// The output has room for more data.
    Writable,
    /// There are exit records to read.
    Records,
    /// The output still has no room some time after a request to stop.
    TimedOut,
}

/// How long a recording waits for the reader of the output after a request to stop.
const READER_TIMEOUT: Duration = Duration::from_secs(3);

/// The clock that a session uses. Tests use a scripted clock.
pub trait Clock {
    /// The time for measuring intervals: CLOCK_MONOTONIC. This clock stands still while the host is
    /// suspended, when there is no traffic either. Setting the wall clock does not change it.
    fn now(&self) -> Instant;

    /// The wall-clock time.
    fn utc(&self) -> DateTime<Utc>;

    /// Waits until `deadline`, until `wakeup` is readable, or until a request to stop. Without a
    /// deadline there is no time limit.
    ///
    /// # Errors
    ///
    /// If poll(2) fails.
    fn wait(
        &mut self,
        deadline: Option<Instant>,
        wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<Woken, Error>;

    /// Waits until `output` is writable or `wakeup` is readable. After a request to stop, the wait
    /// is limited to a few seconds. A later [`Clock::wait`] still reports that request.
    ///
    /// # Errors
    ///
    /// If poll(2) fails.
    fn wait_for_reader(
        &mut self,
        output: BorrowedFd<'_>,
        wakeup: Option<BorrowedFd<'_>>,
    ) -> Result<ReaderWait, Error>;
}

/// The host's clocks, with requests to stop by Ctrl-C, SIGTERM or SIGHUP.
pub struct SystemClock {
    stop: Stop,
    watched: Vec<OwnedFd>,
    watching: bool,
    command: Option<Pid>,
    /// Whether a request to stop has arrived.
    is_stopping: bool,
    /// Whether the last request to stop has not been reported to the session yet.
    is_pending: bool,
    /// The rest of [`READER_TIMEOUT`].
    reader_time_left: Duration,
    /// When to print that netatop is waiting for the command, after a request to stop.
    notice: Option<Instant>,
}

/// After a request to stop, how long to wait for the command before printing a message.
const NOTICE: Duration = Duration::from_secs(1);

impl SystemClock {
    /// Installs the signal handlers. The first signal ends the session in an orderly way.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed.
    pub fn new() -> Result<Self, Error> {
        let stop = Stop::new()?;
        if let Ok(stop) = stop.as_fd().try_clone_to_owned() {
            limit_waits_after(stop);
        }
        Ok(Self {
            stop,
            is_stopping: false,
            is_pending: false,
            reader_time_left: READER_TIMEOUT,
            command: None,
            watched: Vec::new(),
            watching: false,
            notice: None,
        })
    }

    /// Passes SIGTERM and SIGHUP on to the recorded command as SIGTERM. Also prints a message if the
    /// command takes long to end.
    pub fn pass_on_to(&mut self, command: u32) {
        self.command = i32::try_from(command).ok().and_then(Pid::from_raw);
    }

    /// Ends the session when all these processes, given as pidfds, have ended.
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
                // Check for a request to stop even if the session is late. Exit records can wait.
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
    ) -> Result<ReaderWait, Error> {
        loop {
            let mut fds = vec![
                PollFd::from_borrowed_fd(output, PollFlags::OUT),
                PollFd::new(&self.stop, PollFlags::IN),
            ];
            fds.extend(wakeup.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
            let longest = if self.is_stopping {
                self.reader_time_left
            } else {
                Duration::MAX
            };
            let started = Instant::now();
            wait_for_any(&mut fds, longest)?;
            if self.is_stopping {
                self.reader_time_left = self.reader_time_left.saturating_sub(started.elapsed());
            }
            let mut events = fds.iter().map(|fd| !fd.revents().is_empty());
            // An error of the output counts as writable: the next write reports the error.
            let writable = events.next() == Some(true);
            let stopped = events.next() == Some(true);
            let records = events.next() == Some(true);
            if stopped {
                self.take_request();
                self.is_pending = true;
            }
            if writable {
                return Ok(ReaderWait::Writable);
            }
            if self.is_stopping && self.reader_time_left.is_zero() {
                return Ok(ReaderWait::TimedOut);
            }
            if records {
                return Ok(ReaderWait::Records);
            }
        }
    }
}

/// Waits for one of `fds`, or for `longest`.
fn wait_for_any(fds: &mut [PollFd<'_>], longest: Duration) -> Result<(), Error> {
    // A duration that does not fit means no timeout.
    let timeout = Timespec::try_from(longest).ok();
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(Error::failed("waiting failed", error)),
    }
}

impl SystemClock {
    /// Accepts a request to stop, and passes it on to the command.
    fn take_request(&mut self) {
        self.stop.clear();
        self.is_stopping = true;
        limit_waits();
        if let Some(command) = self.command {
            if self.stop.take_terminated() {
                // An error means that the command has already ended.
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
