//! Facts about this host: its name, cgroups, units, containers, users, boot time, names of remote hosts.

mod boot;
mod cgroup;
mod cgroups;
mod command_line;
mod commands;
mod container;
mod containers;
mod interpreter;
mod known;
mod name;
pub mod proc;
mod program;
mod resolver;
mod runtimes;
#[cfg(test)]
mod runtimes_tests;
mod unit;
mod users;

pub use boot::{booted, clock_offset};
pub use cgroup::Cgroup;
pub use cgroups::{
    Cgroups, NO_CGROUPS, can_name_cgroups, cgroup_mount, has_cgroup1, is_initial_cgroup_namespace,
};
pub use command_line::CommandLine;
pub use commands::Commands;
pub use known::Known;
pub use name::host_name;
pub use resolver::Resolver;
pub use unit::{UNIT_TYPES, is_manager, is_unit};
pub use users::{group_of, user_id, user_name};

/// Parsers of text from outside, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::cgroups::find_mounts;
    pub(crate) use super::proc::{parse_clock_offset, parse_loadavg, parse_stat, parse_status};
    pub(crate) use super::runtimes::parse as container_files;
}
