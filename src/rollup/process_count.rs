//! Counts processes without remembering all of them.

use std::mem;

use foldhash::HashSet;

use crate::model::{ProcessId, State};

/// Counts different processes. Remembers only processes that may be added again.
#[derive(Debug, Default)]
pub struct ProcessCount {
    running: HashSet<ProcessId>,
    /// Processes that ended since the last step, and in the step before. Exit records of their
    /// threads can still arrive.
    ended: [HashSet<ProcessId>; 2],
    /// How many processes were running at the last check in `step`.
    alive: usize,
    counted: u64,
}

/// `step` checks which processes still run when `running` holds more than this number plus twice
/// the number found at the last check.
const ROOM: usize = 4096;

impl ProcessCount {
    /// Counts a process that has not been added before.
    pub fn add(&mut self, process: ProcessId, state: State) {
        let [new, old] = &mut self.ended;
        let known =
            self.running.contains(&process) || new.contains(&process) || old.contains(&process);
        self.counted += u64::from(!known);
        match state {
            State::Running => self.running.insert(process),
            State::Exited => {
                self.running.remove(&process);
                new.insert(process)
            }
        };
    }

    /// Ends an interval, or a part of one: forgets processes that ended before the last step.
    pub fn step(&mut self, alive: &mut dyn FnMut(ProcessId) -> bool) {
        let [new, old] = &mut self.ended;
        *old = mem::take(new);
        // A process that is idle when it ends causes no `add`, so check which processes still run.
        if self.running.len() > 2 * self.alive + ROOM {
            self.running.retain(|process| alive(*process));
            self.running.shrink_to_fit();
            self.alive = self.running.len();
        }
    }

    /// How many different processes were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNNING: State = State::Running;
    const EXITED: State = State::Exited;

    fn add(count: &mut ProcessCount, pids: impl IntoIterator<Item = (u32, State)>) {
        for (pid, state) in pids {
            count.add(ProcessId { pid, start: 1 }, state);
        }
    }

    #[test]
    fn each_process_is_counted_once() {
        let mut count = ProcessCount::default();
        for (pids, so_far) in [
            ([(1, RUNNING), (2, EXITED), (2, EXITED)], 2),
            // Two threads of the first process, and a late exit record of the second.
            ([(1, RUNNING), (1, RUNNING), (2, EXITED)], 2),
            ([(3, EXITED), (3, EXITED), (1, EXITED)], 3),
        ] {
            add(&mut count, pids);
            count.step(&mut |_| true);
            assert_eq!(count.count(), so_far);
        }
    }

    #[test]
    fn processes_that_ended_idle_are_forgotten() {
        let mut count = ProcessCount::default();
        for round in 0..200u32 {
            add(
                &mut count,
                (round * 100..round * 100 + 100).map(|pid| (pid, RUNNING)),
            );
            // The first hundred processes keep running.
            add(&mut count, (0..100).map(|pid| (pid, RUNNING)));
            count.step(&mut |process| process.pid < 100);
            assert!(count.running.len() <= ROOM + 2 * 100 + 200);
        }
        assert_eq!(count.count(), 200 * 100);
    }
}
