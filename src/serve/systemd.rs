//! Talks to the service manager, where there is one: `sd_notify(3)`.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::server::Heartbeat;

/// Tells the service manager how it goes. Without one, nothing is told to nobody.
#[derive(Debug)]
pub struct Manager {
    /// How often it wants to hear of the server.
    watchdog: Option<Duration>,
    last: Option<Instant>,
}

impl Manager {
    /// The manager that started this process, if one did.
    #[must_use]
    pub fn new() -> Self {
        Self {
            watchdog: sd_notify::watchdog_enabled(),
            last: None,
        }
    }

    /// Clients can connect.
    pub fn ready(&self) {
        tell(NotifyState::Ready);
    }

    /// The end has begun.
    pub fn stopping(&self) {
        tell(NotifyState::Stopping);
    }
}

impl Heartbeat for Manager {
    /// Half of the time after which the server would be taken for stuck.
    fn every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    fn beat(&mut self) {
        let Some(every) = self.every() else {
            return;
        };
        let now = Instant::now();
        // A busy server turns often; the manager need not hear of each turn.
        let due = self
            .last
            .is_none_or(|last| now.saturating_duration_since(last) >= every / 2);
        if due {
            tell(NotifyState::Watchdog);
            self.last = Some(now);
        }
    }
}

/// A manager that does not listen will notice by itself.
fn tell(state: NotifyState<'_>) {
    let _ = sd_notify::notify(&[state]);
}
