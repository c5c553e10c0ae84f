//! Runs COMMAND so that all of it is counted: a child process waits until everything is attached,
//! and becomes COMMAND then.
//!
//! The child waits in a read from a pipe, so signals that stop and continue it change nothing. If
//! netatop ends, the child reads the end of the pipe and ends too.

use std::convert::Infallible;
use std::ffi::{CString, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::process::exit;

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, Uid, User, execvpe, fork, initgroups, setgid, setuid};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions, WaitStatus, waitpid};

use crate::error::Error;
use crate::inherited;
use crate::text::{shown, to_stderr};

/// Exit status of a command that does not exist, and of one that cannot be executed.
const NOT_FOUND: u8 = 127;
const NOT_EXECUTABLE: u8 = 126;

/// A command that waits to begin, runs, or has ended.
#[derive(Debug)]
pub(super) struct PausedCommand {
    pid: Pid,
    /// A byte written here lets the child become COMMAND.
    release: Option<File>,
    /// Readable with a byte if the child could not become COMMAND, and at its end otherwise.
    failure: File,
    status: Option<u8>,
}

impl PausedCommand {
    /// Starts the child, which waits. This process must have one thread only.
    ///
    /// # Errors
    ///
    /// If it cannot be started, or [`Error::Usage`] if `user` does not exist.
    pub(super) fn start(command: &[OsString], user: Option<&str>) -> Result<Self, Error> {
        let failed = |error: &dyn std::fmt::Display| {
            Error::failed("the command could not be started", error)
        };
        let user = user.map(find_user).transpose()?;
        let prepared = Prepared::new(command, user).map_err(|error| failed(&error))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|error| failed(&error));
        let (released, release) = pipe()?;
        let (failure, failed_end) = pipe()?;
        // SAFETY: this process has one thread, so the child may use everything that the parent
        // can use.
        match unsafe { fork() } {
            Err(error) => Err(failed(&error)),
            Ok(ForkResult::Parent { child }) => {
                // The kernel keeps no status of a child whose parent ignores SIGCHLD. The child
                // still ignores it, as it would without netatop.
                // SAFETY: the disposition is no function.
                unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) }
                    .map_err(|error| failed(&error))?;
                Ok(Self {
                    pid: Pid::from_raw(child.as_raw()).ok_or_else(|| failed(&"no process id"))?,
                    release: Some(release.into()),
                    failure: failure.into(),
                    status: None,
                })
            }
            Ok(ForkResult::Child) => {
                drop((release, failure));
                exit(i32::from(become_command(&prepared, released, failed_end)));
            }
        }
    }

    /// Its process id, which is COMMAND's too.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    /// Lets the child become COMMAND.
    ///
    /// # Errors
    ///
    /// If the child has ended.
    pub(super) fn release(&mut self) -> Result<(), Error> {
        let Some(mut release) = self.release.take() else {
            return Ok(());
        };
        release
            .write_all(&[0])
            .map_err(|error| Error::failed("the command ended before it began", error))
    }

    /// Whether COMMAND was let go of, so that it may run.
    pub(super) fn is_released(&self) -> bool {
        self.release.is_none()
    }

    /// Whether the child could not become COMMAND, after it has ended. It has said why.
    pub(super) fn is_failed(&mut self) -> bool {
        self.status.is_some() && matches!(self.failure.read(&mut [0]), Ok(1))
    }

    /// The exit status to end with, as a shell gives it; `None` while COMMAND runs.
    ///
    /// # Errors
    ///
    /// If the kernel does not tell.
    pub(super) fn status(&mut self) -> Result<Option<u8>, Error> {
        self.wait(WaitOptions::NOHANG)
    }

    /// Ends the child if it still waits for its release; it has run nothing.
    pub(super) fn cancel(&mut self) {
        if self.release.take().is_some() {
            // It ends by itself. Its status says nothing.
            let _ = self.wait(WaitOptions::empty());
        }
    }

    fn wait(&mut self, options: WaitOptions) -> Result<Option<u8>, Error> {
        while self.status.is_none() {
            match waitpid(Some(self.pid), options) {
                Ok(Some((_, status))) => self.status = shell_status(status),
                Ok(None) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    return Err(Error::failed("the command's status is not known", error));
                }
            }
        }
        Ok(self.status)
    }
}

/// The status of a process that has ended, as shells show it: 128 and the signal's number if a
/// signal ended it.
fn shell_status(status: WaitStatus) -> Option<u8> {
    let signal = || status.terminating_signal().map(|signal| 128 + signal);
    let number = status.exit_status().or_else(signal)?;
    Some(u8::try_from(number & 0xff).unwrap_or(1))
}

/// The user of this name, or with this number.
fn find_user(name: &str) -> Result<User, Error> {
    let of_name = User::from_name(name).ok().flatten();
    let of_number = || User::from_uid(Uid::from_raw(name.parse().ok()?)).ok()?;
    of_name
        .or_else(of_number)
        .ok_or_else(|| Error::Usage(format!("there is no user {}", shown(name))))
}

/// Everything that the child needs, made before the fork.
struct Prepared {
    program: String,
    arguments: Vec<CString>,
    environment: Vec<CString>,
    user: Option<User>,
}

impl Prepared {
    fn new(command: &[OsString], user: Option<User>) -> io::Result<Self> {
        let text = |text: OsString| Ok(CString::new(text.into_vec())?);
        let arguments: io::Result<Vec<CString>> = command.iter().cloned().map(text).collect();
        let mut variables: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        for (name, value) in user.iter().flat_map(user_variables) {
            variables.retain(|(known, _)| known != name);
            variables.push((name.into(), value));
        }
        let environment: io::Result<Vec<CString>> = variables
            .into_iter()
            .map(|(mut variable, value)| {
                variable.push("=");
                variable.push(value);
                text(variable)
            })
            .collect();
        Ok(Self {
            program: command
                .first()
                .map(|program| program.display().to_string())
                .unwrap_or_default(),
            arguments: arguments?,
            environment: environment?,
            user,
        })
    }
}

/// What su(1) sets without `--login`: HOME and SHELL, and USER and LOGNAME unless the user is
/// root.
fn user_variables(user: &User) -> Vec<(&'static str, OsString)> {
    let shell = if user.shell.as_os_str().is_empty() {
        "/bin/sh".into()
    } else {
        user.shell.clone().into_os_string()
    };
    let mut variables = vec![
        ("HOME", user.dir.clone().into_os_string()),
        ("SHELL", shell),
    ];
    if !user.uid.is_root() {
        variables.push(("USER", user.name.clone().into()));
        variables.push(("LOGNAME", user.name.clone().into()));
    }
    variables
}

/// The child: waits for its release, and becomes the command. Returns the exit status if that is
/// not possible.
fn become_command(prepared: &Prepared, released: OwnedFd, failure: OwnedFd) -> u8 {
    let mut byte = [0];
    if !matches!(File::from(released).read(&mut byte), Ok(1)) {
        // netatop has ended. Nobody waits for this process.
        return NOT_EXECUTABLE;
    }
    let Err(error) = execute(prepared);
    to_stderr(format!("netatop: {}: {error}", shown(&prepared.program)));
    let _ = File::from(failure).write_all(&[0]);
    match error.kind() {
        io::ErrorKind::NotFound => NOT_FOUND,
        _ => NOT_EXECUTABLE,
    }
}

/// Becomes the command, in the state that this process was started in.
fn execute(prepared: &Prepared) -> io::Result<Infallible> {
    if let Some(user) = &prepared.user {
        become_user(user).map_err(|error| {
            io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!("cannot become user {}: {error}", shown(&user.name)),
            )
        })?;
    }
    inherited::restore()?;
    let Some(program) = prepared.arguments.first() else {
        return Err(io::ErrorKind::NotFound.into());
    };
    Ok(execvpe(
        program,
        &prepared.arguments,
        &prepared.environment,
    )?)
}

/// Takes on a user's ids and groups for good, as login does.
fn become_user(user: &User) -> io::Result<()> {
    initgroups(&CString::new(user.name.as_bytes())?, user.gid)?;
    setgid(user.gid)?;
    setuid(user.uid)?;
    Ok(())
}
