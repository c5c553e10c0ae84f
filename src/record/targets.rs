//! The targets of a recording: all processes, some processes, a command, or some cgroups.

use std::ffi::OsString;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::error::Error;
use crate::host::{NO_CGROUPS, cgroup_mount, is_initial_cgroup_namespace};
use crate::kernel::{MAX_CGROUPS, WantedCgroup};
use crate::text::{Glob, shown_path};

/// The targets given on the command line. If all fields are empty, everything is recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Targets {
    /// Ids of processes.
    pub pids: Vec<u32>,
    /// Whether to record the descendants of these processes too.
    pub follow: bool,
    /// Cgroups whose processes are recorded: paths as the user typed them.
    pub cgroups: Vec<PathBuf>,
    /// Patterns of the names of processes, one of which the recorded ones match. Empty: all.
    pub comms: Vec<Glob>,
    /// Users whose processes are recorded: names or numbers as the user typed them. Empty: all.
    pub uids: Vec<String>,
    /// Units whose processes are recorded, as the user typed them. Empty: all.
    pub units: Vec<String>,
    /// Ports, of which either end of the recorded traffic has one. Empty: all.
    pub ports: Vec<u16>,
    /// Networks, in one of which is the remote end of the recorded traffic. Empty: all.
    pub networks: Vec<IpNet>,
    /// Whether to leave out traffic that stays on the host.
    pub no_loopback: bool,
    /// A command to run; the command and its descendants are recorded.
    pub command: Vec<OsString>,
    /// The user to run the command as.
    pub user: Option<String>,
}

/// Opens pidfds, so that a reused pid is not mistaken for the process that had the pid before.
///
/// # Errors
///
/// [`Error::Usage`] if a pid belongs to no process, or is the id of a thread.
pub(super) fn open_pids(pids: &[u32]) -> Result<Vec<OwnedFd>, Error> {
    pids.iter().map(|pid| open_pid(*pid)).collect()
}

fn open_pid(pid: u32) -> Result<OwnedFd, Error> {
    let unknown = || Error::Usage(format!("there is no process with the id {pid}"));
    let raw = i32::try_from(pid)
        .ok()
        .and_then(Pid::from_raw)
        .ok_or_else(unknown)?;
    pidfd_open(raw, PidfdFlags::empty()).map_err(|error| match error {
        rustix::io::Errno::SRCH => unknown(),
        // The id of a thread other than the first: EINVAL before Linux 6.15, ENOENT since.
        rustix::io::Errno::INVAL | rustix::io::Errno::NOENT => Error::Usage(format!(
            "{pid} is a thread, not a process: give the id of its process"
        )),
        error => Error::failed(format!("cannot watch process {pid}"), error),
    })
}

/// Checks that none of these processes has ended. If none has ended, every earlier use of their
/// pids referred to these processes.
///
/// # Errors
///
/// [`Error::Failed`] if a process has ended.
pub(super) fn ensure_running(processes: &[OwnedFd]) -> Result<(), Error> {
    let mut fds: Vec<PollFd<'_>> = processes
        .iter()
        .map(|process| PollFd::new(process, PollFlags::IN))
        .collect();
    // Treat a failed poll like an ended process.
    let ended = poll(&mut fds, Some(&Timespec::default())).map_or(1, |ended| ended);
    if ended == 0 {
        return Ok(());
    }
    Err(Error::Failed(
        "a process given with --pid ended before the recording began".to_owned(),
    ))
}

/// A cgroup given with `--cgroup`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cgroup {
    path: PathBuf,
    pub(super) wanted: WantedCgroup,
}

/// The mount point of cgroup v2 for `option`, which needs it.
///
/// # Errors
///
/// [`Error::Failed`] with the remedy if there is no such mount, or outside the initial cgroup
/// namespace: the paths seen in another namespace differ from the host's.
pub(super) fn need_cgroups(option: &str) -> Result<PathBuf, Error> {
    fs::metadata("/proc/self/mountinfo").map_err(|error| {
        Error::Failed(format!(
            "cannot find the cgroup hierarchy: /proc/self/mountinfo: {error}\n\
             /proc must be mounted"
        ))
    })?;
    if !is_initial_cgroup_namespace() {
        return Err(Error::Failed(format!(
            "{option} needs the initial cgroup namespace, and this is another one\n\
             run it on the host, or in a container that shares the host's cgroup namespace"
        )));
    }
    cgroup_mount().ok_or_else(|| Error::Failed(NO_CGROUPS.join("\n")))
}

/// Finds cgroup directories.
///
/// # Errors
///
/// [`Error::Usage`] for a path that is not a cgroup v2 directory, [`Error::Failed`] on a host
/// without cgroup v2.
pub(super) fn open_cgroups(paths: &[PathBuf]) -> Result<Vec<Cgroup>, Error> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    if paths.len() > MAX_CGROUPS {
        return Err(Error::Usage(format!(
            "--cgroup can be given at most {MAX_CGROUPS} times"
        )));
    }
    // The kernel counts levels from the real root.
    let mount = need_cgroups("--cgroup")?;
    paths.iter().map(|path| open_cgroup(&mount, path)).collect()
}

fn open_cgroup(mount: &Path, given: &Path) -> Result<Cgroup, Error> {
    let refused = |why: &dyn std::fmt::Display| {
        Error::Usage(format!(
            "{} is not a cgroup v2 directory: {why} (cgroup v2 is mounted at {})",
            shown_path(given),
            shown_path(mount)
        ))
    };
    // Paths are relative to the mount. This includes /system.slice, as shown in the cgroup column.
    let below = given.strip_prefix("/").unwrap_or(given);
    let path = fs::canonicalize(given)
        .ok()
        .filter(|path| given.is_absolute() && path.starts_with(mount))
        .or_else(|| fs::canonicalize(mount.join(below)).ok())
        .ok_or_else(|| {
            let is_number = given
                .to_str()
                .is_some_and(|text| text.parse::<u64>().is_ok());
            refused(&if given.exists() {
                "it is in another file system"
            } else if is_number {
                "there is no such directory; to end after so many intervals: --count"
            } else {
                "there is no such directory"
            })
        })?;
    let level = path
        .strip_prefix(mount)
        .map_err(|_| refused(&"it is outside the mount"))?
        .components()
        .count();
    let metadata = fs::metadata(&path).map_err(|error| refused(&error))?;
    if !metadata.is_dir() {
        return Err(refused(&"it is a file"));
    }
    Ok(Cgroup {
        wanted: WantedCgroup {
            id: metadata.ino(),
            level: u32::try_from(level).unwrap_or(u32::MAX),
        },
        path,
    })
}

/// Lines for the summary about cgroups that were removed during the recording; empty if none were.
pub(super) fn describe_changes(cgroups: &[Cgroup]) -> String {
    let mut text = String::new();
    for cgroup in cgroups {
        let path = shown_path(&cgroup.path);
        match fs::metadata(&cgroup.path) {
            Ok(now) if now.ino() == cgroup.wanted.id => {}
            Ok(_) => text.push_str(&format!(
                "\n{path} was removed and created again: traffic in the new cgroup is not counted"
            )),
            Err(_) => text.push_str(&format!("\n{path} was removed during the recording")),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_without_a_process_is_refused() {
        for pid in [0, 99_999_999, u32::MAX] {
            assert_eq!(open_pid(pid).expect_err("no process").status(), 2);
        }
        assert!(open_pid(std::process::id()).is_ok());
    }

    #[test]
    fn a_process_that_has_ended_is_noticed() {
        let here = open_pid(std::process::id()).expect("this process");
        assert!(ensure_running(&[here]).is_ok());
        let mut child = std::process::Command::new("cat")
            .stdin(std::process::Stdio::piped())
            .spawn()
            .expect("cat");
        let gone = open_pid(child.id()).expect("the child");
        child.wait().expect("wait closes its input");
        assert!(ensure_running(&[gone]).is_err());
    }

    #[test]
    fn only_cgroup_directories_are_accepted_by_relative_or_absolute_path() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mount = dir.path().canonicalize().expect("path");
        fs::create_dir_all(mount.join("a.slice/b")).expect("mkdir");
        fs::write(mount.join("file"), "").expect("write");
        let level = |given: &Path| open_cgroup(&mount, given).map(|c| c.wanted.level);
        assert_eq!(level(Path::new("a.slice/b")).expect("relative"), 2);
        assert_eq!(level(Path::new("/a.slice")).expect("as in the column"), 1);
        assert_eq!(level(&mount.join("a.slice")).expect("absolute"), 1);
        assert_eq!(level(Path::new("/")).expect("the root"), 0);
        for bad in ["/etc", "nonexistent", "file", "../..", "a.slice/../../.."] {
            assert_eq!(level(Path::new(bad)).expect_err(bad).status(), 2);
        }
    }
}
