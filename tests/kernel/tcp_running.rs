//! Which process is running when the kernel sends a segment again. It is what a tool sees that takes
//! the running process for the owner of the socket.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use tempfile::TempDir;

/// Records the kernel's event `tcp_retransmit_skb` in a trace of its own.
pub struct Retransmissions {
    tracefs: TempDir,
    instance: PathBuf,
}

impl Retransmissions {
    /// Begins to record segments to this port.
    pub fn to(port: u16) -> Self {
        let tracefs = tempfile::tempdir().expect("tempdir");
        mount(
            Some("tracefs"),
            tracefs.path(),
            Some("tracefs"),
            MsFlags::empty(),
            None::<&str>,
        )
        .expect("mount tracefs");
        let name = format!("netatop-test-{}", std::process::id());
        let instance = tracefs.path().join("instances").join(name);
        fs::create_dir(&instance).expect("an instance");
        let event = instance.join("events/tcp/tcp_retransmit_skb");
        fs::write(event.join("filter"), format!("dport == {port}")).expect("filter");
        fs::write(event.join("enable"), "1").expect("enable");
        Self { tracefs, instance }
    }

    /// The number of events by the process that was running. The idle task has the id 0.
    pub fn by_running_process(&self) -> BTreeMap<u32, u64> {
        let mut of_processes = BTreeMap::new();
        let text = fs::read_to_string(self.instance.join("trace")).expect("the trace");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            // A line begins with the name and the id: `     curl-4813    [001] ...`.
            let (task, _) = line.split_once(" [").expect("a CPU");
            let (_, pid) = task.trim().rsplit_once('-').expect("an id");
            let pid = pid.parse().expect("a number");
            *of_processes.entry(pid).or_default() += 1;
        }
        of_processes
    }
}

impl Drop for Retransmissions {
    fn drop(&mut self) {
        let _ = fs::write(self.instance.join("events/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
        let _ = umount2(self.tracefs.path(), MntFlags::MNT_DETACH);
    }
}
