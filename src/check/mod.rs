//! `netatop check`: gathers facts, tries to load the programs, and shows whether netatop can record
//! on this host and which requirements are missing.

mod atop;
mod write;

use std::path::PathBuf;

use clap::ValueEnum;

pub use atop::Atop;
pub use write::write;

use crate::error::Error;
use crate::host::{NO_CGROUPS, cgroup_mount, has_cgroup1, host_name, is_initial_cgroup_namespace};
use crate::kernel::{
    Finding, HostFacts, SocketWalk, Status, UdpEnds, findings, libbpf_messages, missing, tcp_trial,
    trial, try_programs, try_tcp, udp_remote,
};
use crate::text::{shown, to_stdout};

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum CheckFormat {
    /// For people
    #[default]
    Table,
    /// JSON Lines: one object for each requirement
    Json,
}

/// The facts about this host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Facts about the kernel and this process.
    pub host: HostFacts,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Option<PathBuf>,
    /// There are also cgroup v1 hierarchies.
    pub cgroup1: bool,
    /// This is the initial cgroup namespace.
    pub initial_cgroup_namespace: bool,
    /// The name of the host. `None` if it cannot be determined.
    pub host_name: Option<String>,
    /// The result of loading and attaching the programs. `None` if it was not tried because a
    /// requirement is missing.
    pub tried: Option<Result<(), String>>,
    /// Where the remote ends of unconnected UDP sockets come from. [`UdpEnds::NotNeeded`] if it was not
    /// tried either.
    pub udp_ends: UdpEnds,
    /// The same with TCP's own account, and how its programs find living sockets.
    pub tried_tcp: Option<Result<SocketWalk, String>>,
    /// The atop found in PATH.
    pub atop: Atop,
}

impl Facts {
    /// Gathers the facts, and tries to load and attach the programs. Needs no privileges.
    #[must_use]
    pub fn gather() -> Self {
        let host = HostFacts::gather();
        let can_try = missing(&host).is_none();
        let tried = || try_programs(&host).map_err(|error| error.to_string());
        let tried_tcp = || try_tcp(&host).map_err(|error| error.to_string());
        Self {
            tried: can_try.then(tried),
            tried_tcp: can_try.then(tried_tcp),
            udp_ends: if can_try {
                UdpEnds::of_host(&host)
            } else {
                UdpEnds::NotNeeded
            },
            host,
            cgroup2: cgroup_mount(),
            cgroup1: has_cgroup1(),
            initial_cgroup_namespace: is_initial_cgroup_namespace(),
            host_name: host_name(),
            atop: Atop::find(),
        }
    }

    /// All findings: first the requirements of a recording, then optional features.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut all = findings(&self.host);
        all.push(trial(self.tried.clone()));
        all.push(udp_remote(self.udp_ends));
        all.push(tcp_trial(self.tried_tcp.clone()));
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
        let met = |found: String| Finding::ok("cgroup2", "cgroup v2", found);
        match &self.cgroup2 {
            Some(_) if !self.initial_cgroup_namespace => met(String::new()).lacking(
                Status::Optional,
                "this is not the initial cgroup namespace: cgroups have no names",
                "run it on the host, or in a container that shares the host's cgroup namespace",
            ),
            Some(mount) if self.cgroup1 => met(format!(
                "{}, with cgroup v1 hierarchies: a process that is only in a v1 cgroup appears as /",
                mount.display()
            )),
            Some(mount) => met(mount.display().to_string()),
            None => {
                let [cause, remedy] = NO_CGROUPS;
                met(String::new()).lacking(Status::Optional, cause, remedy)
            }
        }
    }
}

/// Writes the findings to standard output. Returns the exit status: 0 if netatop can record on this
/// host, 1 if a requirement is missing.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn run(format: CheckFormat) -> Result<u8, Error> {
    // The findings already contain the errors.
    libbpf_messages(false);
    let findings = Facts::gather().findings();
    to_stdout(&write(&findings, format))
        .map_err(|error| Error::write("standard output", &error))?;
    Ok(u8::from(!can_record(&findings)))
}

/// Whether no requirement is missing.
#[must_use]
pub fn can_record(findings: &[Finding]) -> bool {
    findings
        .iter()
        .all(|finding| finding.status != Status::Missing)
}
