//! What the server says of itself, on standard error, and not too often.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What a message is about. Each kind is limited on its own, so that a client that
/// provokes one cannot hide another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Counting begins.
    Begin,
    /// Counting ends.
    End,
    /// A client of an ordinary user was turned away.
    Refused,
    /// One that sees everything was.
    RefusedPrivileged,
    /// A client was let go of.
    Dropped,
    /// Exited processes are forgotten from now on for a client.
    Forgets,
    /// Exited processes were.
    Forgotten,
    /// Traffic that could not be attributed.
    Unattributed,
    /// Socket calls that could not be counted.
    Missed,
    /// Something did not work.
    Failed,
}

/// After a message of a kind, the next ones of it are held back for so long.
const QUIET: Duration = Duration::from_secs(10);

#[derive(Debug)]
struct Recent {
    said: Instant,
    /// The newest message held back, and how many of them.
    held: Option<(String, u64)>,
}

/// A log that nobody can flood.
pub struct Log {
    write: Box<dyn FnMut(&str)>,
    recent: BTreeMap<Kind, Recent>,
}

impl Log {
    /// A log that calls `write` with each line.
    pub fn new(write: impl FnMut(&str) + 'static) -> Self {
        Self {
            write: Box::new(write),
            recent: BTreeMap::new(),
        }
    }

    /// Says it now, or keeps it until messages of its kind are due again.
    pub fn say(&mut self, kind: Kind, now: Instant, text: &str) {
        self.flush(now);
        if let Some(recent) = self.recent.get_mut(&kind) {
            let count = recent.held.take().map_or(0, |(_, count)| count);
            recent.held = Some((text.to_owned(), count + 1));
        } else {
            (self.write)(text);
            let said = Recent {
                said: now,
                held: None,
            };
            self.recent.insert(kind, said);
        }
    }

    /// Says what was held back and is due.
    pub fn flush(&mut self, now: Instant) {
        self.flush_if(now, |recent| {
            now.saturating_duration_since(recent.said) >= QUIET
        });
    }

    /// When there will be something to say.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.recent
            .values()
            .filter(|recent| recent.held.is_some())
            .filter_map(|recent| recent.said.checked_add(QUIET))
            .min()
    }

    /// Says everything that is held back.
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
                        _ => write(&format!("{text} (and {} like it before)", count - 1)),
                    }
                    recent.said = now;
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
        assert_eq!(lines.borrow()[2], "refused 999 (and 998 like it before)");
        assert_eq!(log.due(), None);
        // What is said late begins a quiet time of its own.
        log.say(Kind::Refused, start + QUIET, "again");
        log.say(Kind::Dropped, start + QUIET, "dropped too");
        assert_eq!(lines.borrow()[3..], ["dropped too"]);
        log.end(start + QUIET);
        assert_eq!(lines.borrow()[4..], ["again"]);
    }
}
