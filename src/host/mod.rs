//! Facts about this host: control groups, users, boot time.

mod boot;
mod cgroups;
pub mod proc;
mod users;

pub use boot::booted;
pub use cgroups::{Cgroups, NO_CGROUPS, cgroup_mount, has_cgroup1, is_initial_cgroup_namespace};
pub use users::{group_of, user_name};

/// Parsers of text from outside, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::cgroups::find_mount;
    pub(crate) use super::proc::{parse_loadavg, parse_stat, parse_status};
}
