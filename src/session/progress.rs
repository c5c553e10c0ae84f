//! How it is going, on standard error, for a person who waits.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::model::Counters;
use crate::text::{bytes, counted};

/// A line that is drawn anew each second, and gone at the end.
pub struct Progress {
    bar: ProgressBar,
    duration: Option<Duration>,
}

impl Progress {
    /// How often it wants to be told.
    pub const EVERY: Duration = Duration::from_secs(1);

    /// A recording this long is over before one could read it.
    pub const WORTH_IT: Duration = Duration::from_secs(2);

    /// On standard error; `duration` is unknown where the recording runs until stopped.
    #[must_use]
    pub fn new(duration: Option<Duration>) -> Self {
        let target = ProgressDrawTarget::stderr();
        let length = duration.map(|duration| duration.as_millis() as u64);
        let bar = ProgressBar::with_draw_target(length, target);
        let style = if duration.is_some() {
            ProgressStyle::with_template("{bar:20} {msg}")
        } else {
            ProgressStyle::with_template("recording {msg}")
        };
        if let Ok(style) = style {
            bar.set_style(style.progress_chars("=> "));
        }
        Self { bar, duration }
    }

    /// Shows what was counted so far.
    pub fn show(&self, elapsed: Duration, counters: Counters) {
        let counted = format!(
            "{}, {}",
            counted(counters.msgs(), "message", "messages"),
            bytes(counters.bytes())
        );
        let message = match self.duration {
            Some(duration) => {
                let left = duration.saturating_sub(elapsed).as_secs_f64().round() as u64;
                let left = humantime::format_duration(Duration::from_secs(left));
                format!("{left} left, {counted} so far")
            }
            None => {
                let elapsed = humantime::format_duration(Duration::from_secs(elapsed.as_secs()));
                format!("for {elapsed}, {counted} so far; Ctrl-C ends it")
            }
        };
        self.bar.set_position(elapsed.as_millis() as u64);
        self.bar.set_message(message);
        self.bar.tick();
    }

    /// Takes the line away while something else is written.
    pub fn hide(&self) {
        self.bar.set_draw_target(ProgressDrawTarget::stderr());
        self.bar.suspend(|| {});
    }

    /// Takes the line away for good.
    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
