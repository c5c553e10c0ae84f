//! The name of this host.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::proc;

/// `PROC_UTS_INIT_INO` of include/uapi/linux/nsfs.h.
const INITIAL_UTS_NS: u64 = 0xEFFF_FFFE;

/// The name of the host. `None` in another UTS namespace, whose name is that of a container, if
/// this process may not look at the one of process 1.
#[must_use]
pub fn host_name() -> Option<String> {
    if proc::namespace("uts").is_none_or(|namespace| namespace == INITIAL_UTS_NS) {
        return Some(node_name());
    }
    // Only the thread that asks for it moves to another UTS namespace.
    std::thread::spawn(name_of_initial_namespace).join().ok()?
}

/// The calling thread is in the namespace of process 1 afterwards.
fn name_of_initial_namespace() -> Option<String> {
    let namespace = File::open("/proc/1/ns/uts").ok()?;
    let kind = LinkNameSpaceType::HostNameAndNISDomainName;
    move_into_link_name_space(namespace.as_fd(), Some(kind)).ok()?;
    // In the initial pid namespace, process 1 can be in another UTS namespace, too.
    (proc::thread_namespace("uts") == Some(INITIAL_UTS_NS)).then(node_name)
}

fn node_name() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}
