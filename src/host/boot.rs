//! Boot time of this host, in any time namespace.

use std::sync::OnceLock;

use chrono::{DateTime, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

use super::proc;

/// Boot time of the host, computed from the current wall clock. The same in every time namespace.
#[must_use]
pub fn booted() -> DateTime<Utc> {
    let up = clock_gettime(ClockId::Boottime);
    let up = TimeDelta::new(up.tv_sec, u32::try_from(up.tv_nsec).unwrap_or(0));
    let now = Utc::now();
    up.and_then(|up| up.checked_sub(&TimeDelta::nanoseconds(clock_offset())))
        .and_then(|up| now.checked_sub_signed(up))
        .unwrap_or(now)
}

/// Nanoseconds that this process's time namespace adds to the host's time since boot: to
/// CLOCK_BOOTTIME, and to the start of processes in /proc (time_namespaces(7)). 0 without /proc.
#[must_use]
pub fn clock_offset() -> i64 {
    // A process stays in its time namespace.
    static OFFSET: OnceLock<i64> = OnceLock::new();
    *OFFSET.get_or_init(|| proc::clock_offset().unwrap_or(0))
}
