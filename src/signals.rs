//! Ending in good order: Ctrl-C, SIGTERM and SIGHUP.

use std::fs;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;
use signal_hook::low_level::pipe;

use crate::error::Error;

/// Exit status when a second signal cuts the orderly end short.
const CUT_SHORT: i32 = 130;

/// Takes over the signals that ask for the end: the first one makes the returned
/// descriptor readable, the next one ends the program at once.
///
/// One that was ignored when the program started stays ignored: `nohup` means that the
/// terminal may go, and a shell that starts something in the background means that Ctrl-C
/// is not for it.
///
/// # Errors
///
/// If the signals cannot be taken over.
pub fn stop() -> Result<OwnedFd, Error> {
    let failed =
        |error: &dyn std::fmt::Display| Error::failed("signals could not be set up", error);
    let (stop, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .map_err(|error| failed(&error))?;
    let ignored = fs::read_to_string("/proc/self/status")
        .ok()
        .and_then(|status| parse_ignored(&status))
        .unwrap_or(0);
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        if ignored & (1 << (signal - 1)) != 0 {
            continue;
        }
        let tell = tell.try_clone().map_err(|error| failed(&error))?;
        // The order counts: the flag is looked at before it is set.
        flag::register_conditional_shutdown(signal, CUT_SHORT, Arc::clone(&stopping))
            .and_then(|_| flag::register(signal, Arc::clone(&stopping)))
            .and_then(|_| pipe::register(signal, tell))
            .map_err(|error| failed(&error))?;
    }
    Ok(stop)
}

/// The SigIgn line of /proc/PID/status: bit N-1 is signal N.
fn parse_ignored(status: &str) -> Option<u64> {
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
