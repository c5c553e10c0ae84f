//! Text on standard output, and messages to the user on standard error.

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

/// Readable when the user asks the program to stop.
static STOP: OnceLock<OwnedFd> = OnceLock::new();

/// The user has asked for that.
static IS_STOPPING: AtomicBool = AtomicBool::new(false);

/// How long a message waits for its reader after a request to stop.
const PATIENCE: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

/// A pipe takes as much without waiting when it is writable, and in practice so does a terminal.
const CHUNK: usize = 512;

/// Messages give up soon on a standard error that nobody reads, once `stop` is readable. Such a
/// stream is a full pipe, or a terminal stopped with Ctrl-S.
pub fn give_up_after(stop: OwnedFd) {
    // The first one stays: a program has one way to be stopped.
    let _ = STOP.set(stop);
}

/// The same from now on: the user has asked the program to stop.
pub fn give_up_soon() {
    IS_STOPPING.store(true, Ordering::Relaxed);
}

/// Writes a message and a line end to standard error. Control characters in it, such as those of
/// a file name, are escaped; line ends stay. Long lines are shortened in the middle.
///
/// Ignores a closed or full standard error: there is no other place for a message. `eprint!` would
/// panic.
pub fn to_stderr(text: impl Display) {
    let text = text.to_string();
    write(format!("{}\n", limited(&escaped(&text, &['\n']))).as_bytes());
}

/// Writes all of `text` to standard output. One that was closed when the program started is an
/// error, though the runtime opened /dev/null in its place, and so is one that is open for reading
/// only, which [`io::stdout`] ignores.
///
/// # Errors
///
/// If it cannot be written.
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

/// Waits for as long as it takes, or a second after a request to stop. An error of the stream
/// counts as writable: the write reports it.
fn wait_until_writable(stderr: BorrowedFd<'_>) -> bool {
    let mut stopped = IS_STOPPING.load(Ordering::Relaxed);
    loop {
        let mut fds = vec![PollFd::from_borrowed_fd(stderr, PollFlags::OUT)];
        if let Some(stop) = STOP.get().filter(|_| !stopped) {
            fds.push(PollFd::new(stop, PollFlags::IN));
        }
        match poll(&mut fds, stopped.then_some(&PATIENCE)) {
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
