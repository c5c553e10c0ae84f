//! The kernel's own statistics of BPF programs: how long each ran, and how often. While they are
//! kept each run takes longer, which is the same for all.

use std::fs;

use super::tracer::of_descriptors;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// While this lives, the kernel keeps them.
pub struct Kept {
    before: String,
}

impl Kept {
    pub fn begin() -> Self {
        let before = fs::read_to_string(SWITCH).expect("Linux 5.1 has it");
        fs::write(SWITCH, "1").expect("kernel.bpf_stats_enabled");
        Self { before }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, &self.before);
    }
}

/// Of all programs of a process, since they were loaded.
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

    /// Nanoseconds of one run, since `before`; nothing if there was none.
    pub fn each_since(self, before: Self) -> Option<f64> {
        let count = self.count.checked_sub(before.count).filter(|n| *n > 0)?;
        Some((self.nanoseconds - before.nanoseconds) as f64 / count as f64)
    }
}
