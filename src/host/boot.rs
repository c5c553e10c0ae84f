//! When this host was booted.

use chrono::{DateTime, TimeDelta, Utc};
use rustix::time::{ClockId, clock_gettime};

/// When the host was booted, by its wall clock as it stands now.
#[must_use]
pub fn booted() -> DateTime<Utc> {
    let up = clock_gettime(ClockId::Boottime);
    let up = TimeDelta::new(up.tv_sec, u32::try_from(up.tv_nsec).unwrap_or(0));
    let now = Utc::now();
    up.and_then(|up| now.checked_sub_signed(up)).unwrap_or(now)
}
