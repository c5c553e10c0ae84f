//! The server's log on standard error, with a limited rate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The kind of a message. Each kind has its own rate limit, so that a client that causes one kind
/// of message cannot hide another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Counting begins.
    Begin,
    /// Counting ends.
    End,
    /// A client of an ordinary user was refused.
    Refused,
    /// A client that sees everything was refused.
    RefusedPrivileged,
    /// A client was dropped.
    Dropped,
    /// A client that sees everything was dropped.
    DroppedPrivileged,
    /// From now on, exited processes are not kept for a client.
    Forgets,
    /// Exited processes were not reported to a client.
    Forgotten,
    /// Traffic that could not be attributed.
    Unattributed,
    /// Events for which the kernel could not run a program.
    Missed,
    /// An operation failed.
    Failed,
}

impl Kind {
    /// A client was dropped. `is_privileged` says whether it sees everything.
    #[must_use]
    pub fn dropped(is_privileged: bool) -> Self {
        if is_privileged {
            Self::DroppedPrivileged
        } else {
            Self::Dropped
        }
    }
}

/// After a message, further messages of its kind are held back for this time.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Recent {
    written: Instant,
    /// The newest message held back, and the number of messages held back.
    held: Option<(String, u64)>,
}

/// A log with a rate limit per kind of message.
pub struct Log {
    write: Box<dyn FnMut(&str)>,
    recent: BTreeMap<Kind, Recent>,
}

impl Log {
    /// Creates a log that calls `write` with each line.
    pub fn new(write: impl FnMut(&str) + 'static) -> Self {
        Self {
            write: Box::new(write),
            recent: BTreeMap::new(),
        }
    }

    /// Writes the message now, or holds it back until the next message of its kind is due.
    pub fn say(&mut self, kind: Kind, now: Instant, text: &str) {
        self.flush(now);
        if let Some(recent) = self.recent.get_mut(&kind) {
            let count = recent.held.take().map_or(0, |(_, count)| count);
            recent.held = Some((text.to_owned(), count + 1));
        } else {
            (self.write)(text);
            let written = Recent {
                written: now,
                held: None,
            };
            self.recent.insert(kind, written);
        }
    }

    /// Writes messages that were held back and are due.
    pub fn flush(&mut self, now: Instant) {
        self.flush_if(now, |recent| {
            now.saturating_duration_since(recent.written) >= QUIET
        });
    }

    /// When the next message that was held back is due.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.recent
            .values()
            .filter(|recent| recent.held.is_some())
            .filter_map(|recent| recent.written.checked_add(QUIET))
            .min()
    }

    /// Writes all messages that were held back.
    pub fn end(&mut self, now: Instant) {
        self.flush_if(now, |_| true);
    }

    fn flush_if(&mut self, now: Instant, due: impl Fn(&Recent) -> bool) {
        let write = &mut self.write;
        self.recent.retain(|_, recent| {
            if !due(recent) {
                return true;
            }
            match recent.held.take() {
                None => false,
                Some((text, count)) => {
                    match count {
                        1 => write(&text),
                        _ => write(&format!(
                            "{text} (and {} similar messages before)",
                            count - 1
                        )),
                    }
                    recent.written = now;
                    true
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::rc::Rc;

    use super::*;

    #[test]
    fn a_flood_is_one_line_and_a_number() {
        let lines = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&lines);
        let mut log = Log::new(move |line| kept.borrow_mut().push(line.to_owned()));
        let start = Instant::now();
        assert_eq!(log.due(), None);
        for i in 0..1000 {
            log.say(Kind::Refused, start, &format!("refused {i}"));
        }
        log.say(Kind::Dropped, start, "dropped");
        assert_eq!(*lines.borrow(), ["refused 0", "dropped"]);
        assert_eq!(log.due(), Some(start + QUIET));
        log.flush(start + QUIET / 2);
        assert_eq!(lines.borrow().len(), 2);
        log.flush(start + QUIET);
        assert_eq!(
            lines.borrow()[2],
            "refused 999 (and 998 similar messages before)"
        );
        assert_eq!(log.due(), None);
        // A delayed message starts a new quiet period.
        log.say(Kind::Refused, start + QUIET, "again");
        log.say(Kind::Dropped, start + QUIET, "dropped too");
        assert_eq!(lines.borrow()[3..], ["dropped too"]);
        log.end(start + QUIET);
        assert_eq!(lines.borrow()[4..], ["again"]);
    }
}
