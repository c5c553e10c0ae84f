//! Ending in good order on Ctrl-C, SIGTERM and SIGHUP.

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

/// Exit status when a second Ctrl-C cuts the orderly end short.
const CUT_SHORT: i32 = 130;

/// A person needs longer to press Ctrl-C again. What comes earlier is the same request: timeout(1)
/// sends its signal to the process and to its group, and a terminal may send it twice as well.
const SAME_REQUEST: Duration = Duration::from_millis(500);

/// A request to end, once it has come.
#[derive(Debug)]
pub struct Stop {
    /// Readable when the end is requested.
    requested: OwnedFd,
    /// Keeps the pipe open where every signal is ignored.
    _request: OwnedFd,
    /// SIGTERM or SIGHUP has come since this was last looked at.
    terminated: Arc<AtomicBool>,
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.requested.as_fd()
    }
}

impl Stop {
    /// Takes over the signals that request the end. A second Ctrl-C ends the program at once, with
    /// status 130. SIGTERM and SIGHUP often come twice, and mean no more than once.
    ///
    /// A signal that was ignored when the program started stays ignored: `nohup` means that the
    /// terminal may go, and a shell that starts a script's background job means that Ctrl-C is
    /// not for it.
    ///
    /// # Errors
    ///
    /// If the signals cannot be taken over, or have been before.
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
                Some(first) if first.elapsed() < SAME_REQUEST => {}
                Some(_) => exit(CUT_SHORT),
                None => {
                    first = Some(Instant::now());
                    // A full pipe holds a request already.
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

    /// Forgets the request, so that the next one can be waited for.
    pub fn clear(&self) {
        let mut bytes = [0; 64];
        while matches!(rustix::io::read(&self.requested, &mut bytes), Ok(1..)) {}
    }

    /// Whether the end was requested by a signal to this process alone, SIGTERM or SIGHUP, since
    /// the last call. Ctrl-C reaches every process on the terminal.
    #[must_use]
    pub fn take_terminated(&self) -> bool {
        self.terminated.swap(false, Ordering::SeqCst)
    }
}

/// Makes a write above the limit on file sizes (`ulimit -f`) an error, which is reported, instead of
/// the end of the program by SIGXFSZ. A signal that was ignored stays ignored, with the same effect.
/// Programs that are started from here get what was before: a handler does not outlive an exec.
///
/// # Errors
///
/// If the signal cannot be taken over.
pub fn report_file_size_limit() -> Result<(), Error> {
    if ignored() & (1 << (SIGXFSZ - 1)) == 0 {
        flag::register(SIGXFSZ, Arc::default())
            .map_err(|error| Error::failed("signals could not be set up", error))?;
    }
    Ok(())
}

/// The signals that are ignored: bit N-1 is signal N.
fn ignored() -> u64 {
    own_status().ignored.unwrap_or(0)
}
