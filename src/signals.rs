//! Orderly shutdown on Ctrl-C, SIGTERM and SIGHUP.

use std::fs;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::exit;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::error::Error;
use crate::host::proc::own_status;

/// Exit status when a second Ctrl-C interrupts the orderly shutdown.
const INTERRUPTED_STATUS: i32 = 130;

/// SIGINTs closer together than this are one request, because a person needs longer to press Ctrl-C
/// again. timeout(1) sends its signal both to the process and to its group, and a terminal can also
/// send it twice.
const REPEAT_WINDOW: Duration = Duration::from_millis(500);

/// Receives the request to stop.
#[derive(Debug)]
pub struct Stop {
    /// Readable when a stop is requested.
    requested: OwnedFd,
    /// Keeps the pipe open if every signal is ignored.
    _request: OwnedFd,
    /// SIGTERM or SIGHUP has arrived since the last check.
    terminated: Arc<AtomicBool>,
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.requested.as_fd()
    }
}

impl Stop {
    /// Installs handlers for the signals that request a stop. A second Ctrl-C ends the program at
    /// once, with status 130. SIGTERM and SIGHUP often arrive twice, and a repetition has no
    /// further effect.
    ///
    /// A signal that was ignored when the program started stays ignored. `nohup` ignores SIGHUP so
    /// that the program survives its terminal. A shell ignores SIGINT for background jobs of a
    /// script.
    ///
    /// # Errors
    ///
    /// If the handlers cannot be installed, or were installed before.
    pub fn new() -> Result<Self, Error> {
        let failed =
            |error: &dyn std::fmt::Display| Error::failed("signals could not be set up", error);
        let (requested, request) =
            pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).map_err(|error| failed(&error))?;
        let ignored = ignored();
        let is_taken = |signal: i32| ignored & (1 << (signal - 1)) == 0;
        let another = || request.try_clone().map_err(|error| failed(&error));
        let terminated = Arc::new(AtomicBool::new(false));
        for signal in [SIGTERM, SIGHUP]
            .into_iter()
            .filter(|signal| is_taken(*signal))
        {
            flag::register(signal, Arc::clone(&terminated))
                .and_then(|_| pipe::register(signal, another().map_err(std::io::Error::other)?))
                .map_err(|error| failed(&error))?;
        }
        if is_taken(SIGINT) {
            let mut request = fs::File::from(another()?);
            let mut first: Option<Instant> = None;
            ctrlc::set_handler(move || match first {
                Some(first) if first.elapsed() < REPEAT_WINDOW => {}
                Some(_) => exit(INTERRUPTED_STATUS),
                None => {
                    first = Some(Instant::now());
                    // If the pipe is full, it already contains a request.
                    let _ = request.write(&[0]);
                }
            })
            .map_err(|error| failed(&error))?;
        }
        Ok(Self {
            requested,
            _request: request,
            terminated,
        })
    }

    /// Clears the request, so that the caller can wait for the next one.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!(rustix::io::read(&self.requested, &mut bytes), Ok(1..)) {}
    }

    /// Whether SIGTERM or SIGHUP has requested a stop since the last call. Unlike Ctrl-C, which
    /// reaches every process on the terminal, these signals are sent to this process alone.
    #[must_use]
    pub fn take_terminated(&self) -> bool {
        self.terminated.swap(false, Ordering::SeqCst)
    }
}

/// Turns a write above the limit on file sizes (`ulimit -f`) into an error that is reported.
/// Otherwise SIGXFSZ would end the program. A signal that was ignored stays ignored, with the same
/// effect. Child processes are not affected, because exec resets handlers.
///
/// # Errors
///
/// If the handler cannot be installed.
pub fn report_file_size_limit() -> Result<(), Error> {
    if ignored() & (1 << (SIGXFSZ - 1)) == 0 {
        flag::register(SIGXFSZ, Arc::default())
            .map_err(|error| Error::failed("signals could not be set up", error))?;
    }
    Ok(())
}

/// The ignored signals: bit N-1 stands for signal N.
fn ignored() -> u64 {
    own_status().ignored.unwrap_or(0)
}
