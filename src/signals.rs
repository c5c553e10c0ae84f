//! Ending in good order: Ctrl-C, SIGTERM and SIGHUP.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::error::Error;

/// Exit status when a second Ctrl-C cuts the orderly end short.
const CUT_SHORT: i32 = 130;

/// The wish to end, once it has come.
#[derive(Debug)]
pub struct Stop {
    /// Readable when the end is asked for.
    asked: OwnedFd,
    /// Keeps the pipe open where every signal is ignored.
    _tell: OwnedFd,
    /// It was not Ctrl-C, which reaches everything on the terminal.
    terminated: Arc<AtomicBool>,
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.asked.as_fd()
    }
}

impl Stop {
    /// Takes over the signals that ask for the end. A second Ctrl-C ends the program at
    /// once; SIGTERM and SIGHUP often come twice, and mean no more than once.
    ///
    /// One that was ignored when the program started stays ignored: `nohup` means that
    /// the terminal may go, and a shell that starts something in the background means
    /// that Ctrl-C is not for it.
    ///
    /// # Errors
    ///
    /// If the signals cannot be taken over.
    pub fn new() -> Result<Self, Error> {
        let failed =
            |error: &dyn std::fmt::Display| Error::failed("signals could not be set up", error);
        let (asked, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
            .map_err(|error| failed(&error))?;
        let ignored = fs::read_to_string("/proc/self/status")
            .ok()
            .and_then(|status| parse_ignored(&status))
            .unwrap_or(0);
        let interrupted = Arc::new(AtomicBool::new(false));
        let terminated = Arc::new(AtomicBool::new(false));
        let taken = [SIGINT, SIGTERM, SIGHUP]
            .into_iter()
            .filter(|signal| ignored & (1 << (signal - 1)) == 0);
        for signal in taken {
            let tell = tell.try_clone().map_err(|error| failed(&error))?;
            let registered = if signal == SIGINT {
                // In this order: the flag is looked at before it is set.
                flag::register_conditional_shutdown(signal, CUT_SHORT, Arc::clone(&interrupted))
                    .and_then(|_| flag::register(signal, Arc::clone(&interrupted)))
            } else {
                flag::register(signal, Arc::clone(&terminated))
            };
            registered
                .and_then(|_| pipe::register(signal, tell))
                .map_err(|error| failed(&error))?;
        }
        Ok(Self {
            asked,
            _tell: tell,
            terminated,
        })
    }

    /// Whether it was asked for by a signal to this process alone: SIGTERM or SIGHUP.
    #[must_use]
    pub fn terminated(&self) -> bool {
        self.terminated.load(Ordering::SeqCst)
    }
}

/// The SigIgn line of /proc/PID/status: bit N-1 is signal N.
pub(crate) fn parse_ignored(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|l| l.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ignored_signals_are_read_from_the_status_file() {
        let status = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\n";
        assert_eq!(parse_ignored(status), Some(0x1001));
        assert_eq!(parse_ignored("SigIgn:\tx\n"), None);
        assert_eq!(parse_ignored(""), None);
    }
}
