//! Running COMMAND so that nothing it does is missed: it is stopped before its first
//! instruction, and goes on when everything is attached.
//!
//! The child is netatop itself, which stops, and becomes COMMAND when it is continued.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus};

use nix::unistd::{User, initgroups, setgid, setuid};
use rustix::process::{
    Pid, Signal, WaitOptions, getpid, getppid, kill_process, set_parent_process_death_signal,
    waitpid,
};

use crate::error::Error;
use crate::text::to_stderr;

/// The hidden subcommand that the child is started with.
pub const HELD: &str = "held-command";

/// Exit status of a command that does not exist, and of one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A command that is held, or runs.
#[derive(Debug)]
pub struct Held {
    child: Child,
    pid: Pid,
    released: bool,
}

impl Held {
    /// Starts the child, and returns when it has stopped.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or `user` does not exist.
    pub fn start(command: &[OsString], user: Option<&str>) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::failed("the command could not be started", error)
        };
        if let Some(user) = user
            && !matches!(User::from_name(user), Ok(Some(_)))
        {
            return Err(Error::Usage(format!("there is no user {user}")));
        }
        let program = std::env::current_exe()
            .map_err(|error| failed(&format!("{error}\n/proc must be mounted")))?;
        let mut held = Command::new(program);
        held.args([HELD, "--parent", &std::process::id().to_string()]);
        if let Some(user) = user {
            held.args(["--user", user]);
        }
        let mut child = held
            .arg("--")
            .args(command)
            .spawn()
            .map_err(|error| failed(&error))?;
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| failed(&"it has no process id"))?;
        loop {
            match waitpid(Some(pid), WaitOptions::UNTRACED) {
                Ok(Some((_, status))) if status.stopped() => break,
                Err(rustix::io::Errno::INTR) => {}
                _ => {
                    let _ = child.kill();
                    return Err(failed(&"it ended before it began"));
                }
            }
        }
        Ok(Self {
            child,
            pid,
            released: false,
        })
    }

    /// Its process id, which is COMMAND's too.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it become COMMAND.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub fn release(&mut self) -> Result<(), Error> {
        self.released = true;
        kill_process(self.pid, Signal::CONT)
            .map_err(|error| Error::failed("the command could not be continued", error))
    }

    /// After a recording that failed: one that was never released is ended. One that
    /// runs is none of the recording's to end; it is waited for, as if nothing had been.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell how it ended.
    pub fn abandon(&mut self) -> Result<u8, Error> {
        if !self.released {
            // If it is gone already, so much the better.
            let _ = self.child.kill();
        }
        let status = self
            .child
            .wait()
            .map_err(|error| Error::failed("the command's status is not known", error))?;
        Ok(shell_status(status))
    }

    /// The exit status to end with, as a shell gives it; `None` while COMMAND runs.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub fn status(&mut self) -> Result<Option<u8>, Error> {
        let status = self
            .child
            .try_wait()
            .map_err(|error| Error::failed("the command's status is not known", error))?;
        Ok(status.map(shell_status))
    }
}

fn shell_status(status: ExitStatus) -> u8 {
    let number = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(1);
    u8::try_from(number & 0xff).unwrap_or(1)
}

/// The child's part: stops, and becomes `command` when `parent` continues it. Returns the
/// exit status if that fails.
#[must_use]
pub fn become_command(command: &[OsString], user: Option<&str>, parent: u32) -> u8 {
    // If netatop is killed now, nobody would ever continue this process; if it is gone
    // already, the signal will not come.
    let death = set_parent_process_death_signal(Some(Signal::KILL));
    let ours = getppid().is_some_and(|pid| u32::try_from(pid.as_raw_pid()) == Ok(parent));
    if !ours {
        return NOT_EXECUTABLE;
    }
    let held = death
        .and_then(|()| kill_process(getpid(), Signal::STOP))
        .and_then(|()| set_parent_process_death_signal(None));
    if let Err(error) = held {
        to_stderr(format!("netatop: the command could not be held: {error}"));
        return NOT_EXECUTABLE;
    }
    if let Some(user) = user
        && let Err(error) = become_user(user)
    {
        to_stderr(format!("netatop: cannot become user {user}: {error}"));
        return NOT_EXECUTABLE;
    }
    let Some((program, arguments)) = command.split_first() else {
        return NOT_FOUND;
    };
    let error = Command::new(program).args(arguments).exec();
    to_stderr(format!("netatop: {}: {error}", program.display()));
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

/// Takes on a user's ids and groups for good, as login does.
fn become_user(name: &str) -> io::Result<()> {
    let user = User::from_name(name)?
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "no such user"))?;
    initgroups(&CString::new(user.name)?, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_is_what_a_shell_would_say() {
        assert_eq!(shell_status(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(shell_status(ExitStatus::from_raw(15)), 143);
        assert_eq!(shell_status(ExitStatus::from_raw(0)), 0);
    }
}
