//! What this process inherited when it started and the Rust runtime has changed since.
//!
//! Before `main`, the runtime ignores SIGPIPE and opens /dev/null for each standard stream that is
//! closed (library/std/src/sys/pal/unix/mod.rs, `init`). A command that netatop starts must get
//! what netatop got, and a closed standard output must not pass for a good one.

use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::close;

/// Bits 0 to 2: the standard stream of this number was closed. Bit 3: SIGPIPE was ignored.
static STATE: AtomicU8 = AtomicU8::new(0);

const SIGPIPE_IGNORED: u8 = 1 << 3;

/// Runs before the Rust runtime.
extern "C" fn record() {
    let mut state = 0;
    for stream in 0..3 {
        // SAFETY: the call only asks for the flags of a descriptor, open or not.
        if unsafe { libc::fcntl(stream, libc::F_GETFD) } == -1 {
            state |= 1 << stream;
        }
    }
    let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: without a new action the kernel only writes the old one. A zeroed `sigaction` is a
    // value too, in case that the call fails.
    let action = unsafe {
        libc::sigaction(libc::SIGPIPE, std::ptr::null(), action.as_mut_ptr());
        action.assume_init()
    };
    if action.sa_sigaction == libc::SIG_IGN {
        state |= SIGPIPE_IGNORED;
    }
    STATE.store(state, Ordering::Relaxed);
}

// SAFETY: the loader calls the functions in this section once, before `main`. This one needs
// nothing that is set up later.
#[used]
#[unsafe(link_section = ".init_array")]
static RECORD: extern "C" fn() = record;

/// Whether the standard stream `number`, 0 to 2, was closed when this process started.
#[must_use]
pub fn was_closed(number: u8) -> bool {
    number < 3 && STATE.load(Ordering::Relaxed) & (1 << number) != 0
}

/// Puts everything back as this process inherited it, before it becomes another program.
///
/// # Errors
///
/// If the kernel refuses.
pub fn restore() -> io::Result<()> {
    let was_ignored = STATE.load(Ordering::Relaxed) & SIGPIPE_IGNORED != 0;
    let handler = if was_ignored {
        SigHandler::SigIgn
    } else {
        SigHandler::SigDfl
    };
    // SAFETY: neither disposition is a function.
    unsafe { signal(Signal::SIGPIPE, handler) }?;
    for stream in 0..3 {
        if was_closed(stream) {
            close(i32::from(stream))?;
        }
    }
    Ok(())
}

/// Ignores SIGPIPE again, as the Rust runtime does, if this process could not become another one.
pub fn ignore_sigpipe() {
    // SAFETY: the disposition is no function. It is valid, so there is no error.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
}
