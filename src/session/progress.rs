//! The progress line of a recording, on standard error.

use std::io::{self, IsTerminal};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::getpgrp;
use rustix::termios::{tcgetpgrp, tcgetwinsize};

use crate::model::Counters;
use crate::text::{bytes, counted};

/// A line that is redrawn each second and erased at the end.
///
/// The line is drawn only while this program is in the foreground of the terminal. A background
/// process would overwrite the user's input, and `stty tostop` stops background processes that
/// write.
pub struct Progress {
    duration: Option<Duration>,
    is_shown: bool,
}

/// Width of the bar in columns.
const BAR: usize = 20;

/// Columns left free after the line, for the `^C` that the terminal shows.
const ROOM: usize = 4;

impl Progress {
    /// The time between updates.
    pub const EVERY: Duration = Duration::from_secs(1);

    /// Recordings up to this length have no progress line: they end before it could be read.
    pub const SHORTEST_RECORDING: Duration = Duration::from_secs(2);

    /// Makes a progress line. `duration` is `None` if the recording runs until stopped.
    #[must_use]
    pub fn new(duration: Option<Duration>) -> Self {
        Self {
            duration,
            is_shown: false,
        }
    }

    /// Whether standard error is a terminal that can erase a line.
    #[must_use]
    pub fn is_possible() -> bool {
        let is_able =
            std::env::var_os("TERM").is_some_and(|term| !term.is_empty() && term != "dumb");
        is_able && io::stderr().is_terminal()
    }

    /// Shows the counts so far.
    pub fn show(&mut self, elapsed: Duration, counters: Counters) {
        if !may_draw() {
            return;
        }
        let columns = tcgetwinsize(io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { 80 } else { columns };
        let text = self.text(elapsed, counters, columns.saturating_sub(ROOM));
        draw(&format!("\r{text}\u{1b}[K"));
        self.is_shown = true;
    }

    /// The line in at most `columns` columns. On a narrow terminal, the bar and the hint about
    /// Ctrl-C are left out.
    fn text(&self, elapsed: Duration, counters: Counters, columns: usize) -> String {
        let so_far = format!(
            "{}, {} so far",
            counted(counters.msgs(), "message", "messages"),
            bytes(counters.bytes())
        );
        let (long, mut short) = match self.duration {
            None => {
                let elapsed = humantime::format_duration(Duration::from_secs(elapsed.as_secs()));
                let text = format!("recording for {elapsed}, {so_far}");
                (format!("{text}; Ctrl-C ends it"), text)
            }
            Some(duration) => {
                let left = duration.saturating_sub(elapsed).as_secs_f64().round() as u64;
                let left = humantime::format_duration(Duration::from_secs(left));
                let share = (elapsed.as_secs_f64() / duration.as_secs_f64()).clamp(0.0, 1.0);
                let done = "=".repeat((share * BAR as f64) as usize);
                let text = format!("{left} left, {so_far}");
                (format!("[{done:<BAR$}] {text}"), text)
            }
        };
        // ASCII: one byte is one column.
        if long.len() <= columns {
            return long;
        }
        short.truncate(columns);
        short
    }

    /// Erases the line before other text is written.
    pub fn hide(&mut self) {
        if self.is_shown && may_draw() {
            draw("\r\u{1b}[K");
        }
        self.is_shown = false;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

/// Whether this program is in the foreground of the terminal and the terminal accepts text. Ctrl-S
/// stops a terminal from accepting text.
fn may_draw() -> bool {
    let stderr = io::stderr();
    let in_foreground = tcgetpgrp(&stderr).is_ok_and(|foreground| foreground == getpgrp());
    in_foreground
        && poll(
            &mut [PollFd::new(&stderr, PollFlags::OUT)],
            Some(&Timespec::default()),
        ) == Ok(1)
}

fn draw(text: &str) {
    // Ignore errors: the progress line is optional.
    let _ = rustix::io::write(io::stderr().lock(), text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shows_time_and_counts() {
        let counters = Counters {
            tcp_send_msgs: 3,
            tcp_send_bytes: 1_500,
            ..Counters::default()
        };
        let text = |duration: Option<u64>, elapsed, columns| {
            Progress::new(duration.map(Duration::from_secs)).text(
                Duration::from_secs(elapsed),
                counters,
                columns,
            )
        };
        assert_eq!(
            text(Some(10), 5, 76),
            "[==========          ] 5s left, 3 messages, 1.5 KB so far"
        );
        assert_eq!(
            text(Some(10), 11, 76),
            "[====================] 0s left, 3 messages, 1.5 KB so far"
        );
        assert_eq!(
            text(None, 61, 76),
            "recording for 1m 1s, 3 messages, 1.5 KB so far; Ctrl-C ends it"
        );
        assert_eq!(text(Some(10), 5, 56), "5s left, 3 messages, 1.5 KB so far");
        assert_eq!(
            text(None, 61, 56),
            "recording for 1m 1s, 3 messages, 1.5 KB so far"
        );
        for columns in 0..100 {
            let text = text(Some(u64::MAX), u64::MAX, columns);
            assert!(text.is_ascii() && text.len() <= columns);
        }
    }
}
