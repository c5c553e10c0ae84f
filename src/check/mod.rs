//! `netatop check`: whether netatop can record on this host, and what is missing. Looks, tries in
//! small, decides, writes.

mod atop;
mod write;

use std::path::PathBuf;

use clap::ValueEnum;

pub use atop::Atop;
pub use write::write;

use crate::error::Error;
use crate::host::{NO_CGROUPS, cgroup_mount, has_cgroup1, host_name, is_initial_cgroup_namespace};
use crate::kernel::{
    Finding, HostFacts, Status, findings, libbpf_messages, missing, trial, try_programs,
};
use crate::text::{shown, to_stdout};

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
    /// There are hierarchies of cgroup v1 beside it.
    pub cgroup1: bool,
    /// This is the initial cgroup namespace.
    pub initial_cgroup_namespace: bool,
    /// The name of the host, if it can be told.
    pub host_name: Option<String>,
    /// What loading and attaching the programs came to. `None` if something that it needs is
    /// missing, so that it was not tried.
    pub tried: Option<Result<(), String>>,
    /// The atop that PATH leads to.
    pub atop: Atop,
}

impl Facts {
    /// Looks around, and tries in small what a recording does. Needs no privileges.
    #[must_use]
    pub fn gather() -> Self {
        let host = HostFacts::gather();
        let is_worth_it = missing(&host).is_none();
        Self {
            tried: is_worth_it.then(|| try_programs(&host).map_err(|error| error.to_string())),
            host,
            cgroup2: cgroup_mount(),
            cgroup1: has_cgroup1(),
            initial_cgroup_namespace: is_initial_cgroup_namespace(),
            host_name: host_name(),
            atop: Atop::find(),
        }
    }

    /// Everything that was looked at: what a recording is refused for, then what it can
    /// do without.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = findings(&self.host);
        all.push(trial(self.tried.clone()));
        all.push(self.cgroups());
        all.push(self.name());
        all.push(self.atop.finding());
        all
    }

    fn name(&self) -> Finding {
        let there = |found: &str| Finding::ok("host_name", "name of the host", shown(found));
        match &self.host_name {
            Some(name) => there(name),
            None => there("").lacking(
                Status::Optional,
                "this is another UTS namespace than the initial one: the column host is empty",
                "run it on the host, or in a container that shares the host's UTS namespace",
            ),
        }
    }

    fn cgroups(&self) -> Finding {
        let there = |found: String| Finding::ok("cgroup2", "cgroup v2", found);
        match &self.cgroup2 {
            Some(_) if !self.initial_cgroup_namespace => there(String::new()).lacking(
                Status::Optional,
                "this is another cgroup namespace than the initial one: cgroups have no names",
                "run it on the host, or in a container that shares the host's cgroup namespace",
            ),
            Some(mount) if self.cgroup1 => there(format!(
                "{}, beside cgroup v1: what is only in a cgroup of v1 appears as /",
                mount.display()
            )),
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
    // The findings say what is wrong.
    libbpf_messages(false);
    let findings = Facts::gather().findings();
    to_stdout(&write(&findings, format))
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
