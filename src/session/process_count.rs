//! How many processes there were, without remembering all of them.

use foldhash::HashSet;

use crate::model::{Interval, ProcessId, State};

/// The processes of a recording that may come again.
#[derive(Debug, Default)]
pub(super) struct ProcessCount {
    running: HashSet<ProcessId>,
    /// Those of the last interval that have ended: a last record of theirs can still come.
    ended: HashSet<ProcessId>,
    /// How many were running when that was looked up last.
    alive: usize,
}

/// How many may be remembered that are not there any more, besides as many as are.
const ROOM: usize = 4096;

impl ProcessCount {
    /// How many processes of this interval are new.
    pub(super) fn count(
        &mut self,
        interval: &Interval,
        mut alive: impl FnMut(ProcessId) -> bool,
    ) -> usize {
        let mut ended = HashSet::default();
        let mut new = 0;
        for usage in &interval.usage {
            let process = usage.last.process;
            let known = self.running.contains(&process) || self.ended.contains(&process);
            new += usize::from(!known && !ended.contains(&process));
            match usage.state {
                State::Running => self.running.insert(process),
                State::Exited => {
                    self.running.remove(&process);
                    ended.insert(process)
                }
            };
        }
        self.ended = ended;
        // Most end idle, in an interval that does not tell of them.
        if self.running.len() > 2 * self.alive + ROOM {
            self.running.retain(|process| alive(*process));
            self.running.shrink_to_fit();
            self.alive = self.running.len();
        }
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Comm, Counters, Identity, Usage};

    fn interval(pids: impl IntoIterator<Item = (u32, State)>) -> Interval {
        let usage = pids.into_iter().map(|(pid, state)| Usage {
            last: Identity {
                process: ProcessId { pid, start: 1 },
                tid: pid,
                comm: Comm::default(),
                thread_comm: Comm::default(),
                uid: 0,
                cgroup: 1,
                creds_differ: false,
            },
            state,
            counters: Counters::default(),
        });
        Interval {
            usage: usage.collect(),
            ..Interval::default()
        }
    }

    #[test]
    fn each_process_is_counted_once() {
        let mut seen = ProcessCount::default();
        let mut count =
            |pids: &[(u32, State)]| seen.count(&interval(pids.iter().copied()), |_| true);
        let (running, exited) = (State::Running, State::Exited);
        assert_eq!(count(&[(1, running), (2, exited)]), 2);
        // Two threads of it, and a late one of the other.
        assert_eq!(count(&[(1, running), (1, running), (2, exited)]), 0);
        assert_eq!(count(&[(3, exited), (3, exited)]), 1);
        assert_eq!(count(&[(1, exited)]), 0);
    }

    #[test]
    fn those_that_ended_idle_are_not_kept_for_ever() {
        let mut seen = ProcessCount::default();
        let mut counted = 0;
        for round in 0..200u32 {
            let pids = (round * 100..round * 100 + 100).map(|pid| (pid, State::Running));
            // The first hundred live on.
            let one = interval(pids.chain((0..100).map(|pid| (pid, State::Running))));
            counted += seen.count(&one, |process| process.pid < 100);
            assert!(seen.running.len() <= ROOM + 2 * 100 + 200);
        }
        assert_eq!(counted, 200 * 100);
    }
}
