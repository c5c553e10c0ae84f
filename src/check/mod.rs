//! `netatop check`: can netatop record on this host, and what is missing. Looks, decides,
//! writes; attaches nothing.

mod atop;
mod write;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::ValueEnum;

pub use atop::Atop;
pub use write::write;

use crate::error::Error;
use crate::host::{NO_CGROUPS, cgroup_mount};
use crate::kernel::{Finding, HostFacts, Status, findings};

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    #[default]
    Table,
    /// JSON Lines: one object a finding
    Json,
}

/// What was found on this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// What the kernel's side depends on.
    pub host: HostFacts,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Option<PathBuf>,
    /// The atop that PATH leads to.
    pub atop: Atop,
}

impl Facts {
    /// Looks around. Needs no privileges.
    #[must_use]
    pub fn gather() -> Self {
        Self {
            host: HostFacts::gather(),
            cgroup2: cgroup_mount(),
            atop: Atop::find(),
        }
    }

    /// Everything that was looked at: what a recording is refused for, then what it can
    /// do without.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = findings(&self.host);
        all.push(self.cgroups());
        all.push(self.atop.finding());
        all
    }

    fn cgroups(&self) -> Finding {
        let there = |found: String| Finding::ok("cgroup2", "cgroup v2", found);
        match &self.cgroup2 {
            Some(mount) => there(mount.display().to_string()),
            None => {
                let [cause, remedy] = NO_CGROUPS;
                there(String::new()).lacking(Status::Optional, cause, remedy)
            }
        }
    }
}

/// Looks, and writes to standard output. Returns the exit status: 0 if netatop can record
/// here, 1 if something required is missing.
///
/// # Errors
///
/// If it could not be written.
pub fn run(format: CheckFormat) -> Result<u8, Error> {
    let findings = Facts::gather().findings();
    io::stdout()
        .lock()
        .write_all(write(&findings, format).as_bytes())
        .map_err(|error| Error::write("standard output", &error))?;
    Ok(u8::from(!can_record(&findings)))
}

/// Whether nothing required is missing.
#[must_use]
pub fn can_record(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.status != Status::Missing)
}
