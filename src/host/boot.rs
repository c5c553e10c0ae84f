//! Boot time of this host.

use chrono::{DateTime, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

/// Boot time of the host, computed from the current wall clock.
#[must_use]
pub fn booted() -> DateTime<Utc> {
    let up = clock_gettime(ClockId::Boottime);
    let up = TimeDelta::new(up.tv_sec, u32::try_from(up.tv_nsec).unwrap_or(0));
    let now = Utc::now();
    up.and_then(|up| now.checked_sub_signed(up)).unwrap_or(now)
}
