//! The kernel's statistics of BPF programs: how long each ran, and how often. While they are
//! enabled, each run takes longer, by the same time for all programs.

use std::os::fd::{FromRawFd, OwnedFd};

use libbpf_rs::libbpf_sys::{BPF_STATS_RUN_TIME, bpf_enable_stats};

use super::tracer::of_descriptors;

/// Enables the statistics until the descriptor is closed.
pub fn keep() -> OwnedFd {
    // SAFETY: the call takes a number, and returns a new descriptor or an error.
    let fd = unsafe { bpf_enable_stats(BPF_STATS_RUN_TIME) };
    assert!(fd >= 0, "Linux 5.8 has it: {fd}");
    // SAFETY: the descriptor is new, and no other code owns it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// The runs of all programs of a process since they were loaded.
#[derive(Clone, Copy, Debug, Default)]
pub struct Runs {
    nanoseconds: u64,
    count: u64,
}

impl Runs {
    pub fn of(pid: u32) -> Self {
        let sum = |field| of_descriptors(pid, field).iter().sum();
        Self {
            nanoseconds: sum("run_time_ns:"),
            count: sum("run_cnt:"),
        }
    }

    /// Nanoseconds per run since `before`. `None` if there was no run.
    pub fn each_since(self, before: Self) -> Option<f64> {
        let count = self.count.checked_sub(before.count).filter(|n| *n > 0)?;
        Some((self.nanoseconds - before.nanoseconds) as f64 / count as f64)
    }
}
