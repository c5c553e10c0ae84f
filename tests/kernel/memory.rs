//! Limits the memory of the BPF programs' maps, without affecting other processes.

use std::fs;
use std::path::{Path, PathBuf};

use netatop::kernel::{Capacity, Filter, Storage, Tracer};

use super::harness::clean_up;

/// A cgroup with a memory limit, on hosts with cgroup v1 or v2.
pub struct MemoryCgroup {
    path: PathBuf,
    /// The cgroup to which this process returns.
    home: PathBuf,
    limit: &'static str,
    usage: &'static str,
}

impl MemoryCgroup {
    pub fn new(name: &str) -> Self {
        // On a host with only cgroup v2, other tests use the same directory.
        let name = format!("netatop-test-{}-memory-{name}", std::process::id());
        let v1 = Path::new("/sys/fs/cgroup/memory");
        let cgroup = if v1.join("memory.limit_in_bytes").exists() {
            Self {
                path: v1.join(name),
                home: home(v1, ":memory:"),
                limit: "memory.limit_in_bytes",
                usage: "memory.usage_in_bytes",
            }
        } else {
            let root = Path::new("/sys/fs/cgroup");
            fs::write(root.join("cgroup.subtree_control"), "+memory").expect("memory controller");
            Self {
                path: root.join(name),
                home: home(root, "0::"),
                limit: "memory.max",
                usage: "memory.current",
            }
        };
        fs::create_dir(&cgroup.path).expect("mkdir");
        cgroup
    }

    /// Attaches the programs. Their maps are charged to this cgroup, including later allocations.
    pub fn attach<'a>(
        &self,
        storage: &'a mut Storage,
        capacity: Capacity,
        filter: &Filter,
    ) -> Tracer<'a> {
        let enter = |path: &Path| {
            let pid = std::process::id().to_string();
            fs::write(path.join("cgroup.procs"), pid).expect("move");
        };
        enter(&self.path);
        let attached = Tracer::attach(storage, capacity, filter);
        enter(&self.home);
        attached.expect("attach")
    }

    /// Sets the limit to the current usage. Only memory that the kernel charged in advance is left.
    pub fn end(&self) {
        let usage = fs::read_to_string(self.path.join(self.usage)).expect("usage");
        let usage: u64 = usage.trim().parse().expect("a number");
        // Do not go lower, even if the usage has grown a little.
        let limit = (usage + 50_000).to_string();
        fs::write(self.path.join(self.limit), limit).expect("limit");
    }
}

impl Drop for MemoryCgroup {
    fn drop(&mut self) {
        clean_up("the cgroup to be empty", || fs::remove_dir(&self.path).ok());
    }
}

/// The cgroup of this process below `root`, from the line of /proc/self/cgroup that contains `mark`.
fn home(root: &Path, mark: &str) -> PathBuf {
    let cgroups = fs::read_to_string("/proc/self/cgroup").expect("cgroups");
    let path = cgroups.lines().find_map(|line| line.split_once(mark));
    let (_, path) = path.expect("its line");
    root.join(path.trim_start_matches('/'))
}
