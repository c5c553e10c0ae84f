//! Writes text to standard output, and messages for the user to standard error.

use std::fmt::Display;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::escaped;
use super::shown::limited;
use crate::inherited::was_closed;

/// A descriptor that becomes readable when the user asks the program to stop.
static STOP: OnceLock<OwnedFd> = OnceLock::new();

/// Whether the user has asked the program to stop.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

/// How long a message waits for room in standard error after a request to stop.
const STDERR_TIMEOUT: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// How many bytes are written at once. A writable pipe takes this many without blocking, and so does
/// a terminal in practice.
const CHUNK: usize = 512;

/// Limits the time that messages wait for standard error, once `stop` is readable. Without the
/// limit, a full pipe or a terminal stopped with Ctrl-S would keep the program from ending.
pub fn limit_waits_after(stop: OwnedFd) {
    // A later call has no effect: a program has only one such descriptor.
    let _ = STOP.set(stop);
}

/// Like [`limit_waits_after`], but from now on: the user has asked the program to stop.
pub fn limit_waits() {
    IS_STOPPING.store(true, Ordering::Relaxed);
}

/// Writes a message and a line end to standard error. Control characters in it, such as those of
/// a file name, are escaped; line ends stay. Long lines are shortened in the middle.
///
/// Ignores errors of standard error, since the message cannot be shown elsewhere. `eprint!` would
/// panic.
pub fn to_stderr(text: impl Display) {
    let text = text.to_string();
    write(format!("{}\n", limited(&escaped(&text, &['\n']))).as_bytes());
}

/// Writes all of `text` to standard output.
///
/// # Errors
///
/// If standard output cannot be written, was closed when the program started, or is open only for
/// reading. [`io::stdout`] ignores the last two cases: the Rust runtime opens /dev/null in place of
/// a closed standard stream.
pub fn to_stdout(text: &str) -> io::Result<()> {
    if is_stdout_closed() {
        return Err(Errno::BADF.into());
    }
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match rustix::io::write(io::stdout().lock(), rest) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => rest = rest.get(count..).unwrap_or_default(),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether standard output was closed when the program started.
#[must_use]
pub fn is_stdout_closed() -> bool {
    was_closed(1)
}

/// Writes `text` to standard error as it is, without a line end.
pub fn to_stderr_raw(text: &str) {
    write(text.as_bytes());
}

fn write(mut text: &[u8]) {
    let stderr = io::stderr().lock();
    while !text.is_empty() {
        if !wait_until_writable(stderr.as_fd()) {
            return;
        }
        let (chunk, _) = text.split_at(text.len().min(CHUNK));
        match rustix::io::write(&stderr, chunk) {
            Ok(count) if count > 0 => text = text.get(count..).unwrap_or_default(),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Ok(_) | Err(_) => return,
        }
    }
}

/// Waits until standard error is writable, without a limit or until a second after a request to
/// stop. An error of the stream counts as writable: the next write reports the error.
fn wait_until_writable(stderr: BorrowedFd<'_>) -> bool {
    let mut stopped = IS_STOPPING.load(Ordering::Relaxed);
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
        if let Some(stop) = STOP.get().filter(|_| !stopped) {
            fds.push(PollFd::new(stop, PollFlags::IN));
        }
        match poll(&mut fds, stopped.then_some(&STDERR_TIMEOUT)) {
            Ok(0) => return false,
            Err(Errno::INTR) => {}
            Err(_) => return true,
            Ok(_) => {
                if fds.first().is_some_and(|fd| !fd.revents().is_empty()) {
                    return true;
                }
                stopped = true;
            }
        }
    }
}
