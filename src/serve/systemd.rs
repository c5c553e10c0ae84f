//! Notifies the service manager (`sd_notify(3)`).

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::server::Heartbeat;

/// Notifies the service manager of the server's state. Without a service manager, does nothing.
#[derive(Debug)]
pub struct Manager {
    /// The watchdog timeout. `None` if the watchdog is off.
    watchdog: Option<Duration>,
    last: Option<Instant>,
}

impl Manager {
    /// Reads the settings of the service manager from the environment.
    #[must_use]
    pub fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            last: None,
        }
    }

    /// Reports that clients can connect.
    pub fn ready(&self) {
        notify(NotifyState::Ready);
    }

    /// Reports that the server is stopping.
    pub fn stopping(&self) {
        notify(NotifyState::Stopping);
    }
}

impl Heartbeat for Manager {
    /// Half of the watchdog timeout.
    fn every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    fn beat(&mut self) {
        let Some(every) = self.every() else {
            return;
        };
        let now = Instant::now();
        // A busy server calls this often. The manager does not need every call.
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= every / 2);
        if due {
            notify(NotifyState::Watchdog);
            self.last = Some(now);
        }
    }
}

/// Sends a notification. Errors are ignored: a manager without notifications acts on its timeout.
fn notify(state: NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
