//! What is known of the processes of this host, apart from what their records say.

use std::cell::RefCell;
use std::rc::Rc;

use super::{Cgroup, Cgroups, CommandLine, Commands};
use crate::model::Identity;

/// The cgroups of the host, and the command lines of its processes.
#[derive(Debug, Default)]
pub struct Known {
    /// The paths of cgroups.
    pub cgroups: Cgroups,
    /// Command lines. `None` if rows do not need them. Looking one up can mean to read it.
    pub commands: Option<RefCell<Commands>>,
}

impl Known {
    /// The cgroup of a process. `None` if its path is not known.
    #[must_use]
    pub fn cgroup(&self, of: &Identity) -> Option<&Rc<Cgroup>> {
        self.cgroups.get(of.cgroup)
    }

    /// The command line of a process. `None` if it is not known, or if rows do not need it.
    #[must_use]
    pub fn command(&self, of: &Identity) -> Option<Rc<CommandLine>> {
        let commands = self.commands.as_ref()?;
        commands.try_borrow_mut().ok()?.get(of.process)
    }
}

impl From<Cgroups> for Known {
    fn from(cgroups: Cgroups) -> Self {
        Self {
            cgroups,
            commands: None,
        }
    }
}
