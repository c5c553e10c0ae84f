//! Command lines of processes: of those that run when the recording begins, from /proc, and after
//! that as the kernel reports them. So a process has its command line also if it has ended.

use std::fs::{self, File};
use std::io::Read;
use std::rc::Rc;

use foldhash::fast::RandomState;
use lru::LruCache;

use super::command_line::{CommandLine, MOST_BYTES};
use super::{clock_offset, proc};
use crate::model::{CommandChange, CommandSource, ProcessId};

/// How many processes are remembered. Of others, /proc knows the command line while they live.
const MOST_KNOWN: usize = 1 << 16;

/// How many bytes their arguments have at most, in total.
const MOST_MEMORY: usize = 16 << 20;

/// A process, as /proc identifies it: id, and start in clock ticks.
type Key = (u32, u64);

/// The command lines of processes. The memory is bounded: those that were not asked for the longest
/// are forgotten.
#[derive(Debug)]
pub struct Commands {
    /// `None` for processes that had ended before it was known, and for those that /proc hides.
    known: LruCache<Key, Option<Rc<CommandLine>>, RandomState>,
    /// Bytes of all arguments. Those that processes share count for each of them.
    bytes: usize,
    /// How many processes and bytes were added since names were last looked up.
    fresh: (usize, usize),
    /// How many processes have no command line because it was not known in time.
    missing: u64,
}

impl Default for Commands {
    fn default() -> Self {
        Self {
            known: LruCache::unbounded_with_hasher(RandomState::default()),
            bytes: 0,
            fresh: (0, 0),
            missing: 0,
        }
    }
}

impl Commands {
    /// Reads the command lines of these processes from /proc, or of all processes if there are none.
    #[must_use]
    pub fn of(pids: &[u32]) -> Self {
        let mut commands = Self::default();
        let mut add = |pid| {
            if let Some((ticks, command)) = read(pid) {
                commands.put((pid, ticks), Some(Rc::new(command)));
            }
        };
        if pids.is_empty() {
            let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
            let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
            pids.for_each(&mut add);
        } else {
            pids.iter().copied().for_each(&mut add);
        }
        commands
    }

    /// Applies a change that the kernel reported.
    pub fn apply(&mut self, change: CommandChange) {
        let Some(process) = key(change.process) else {
            return;
        };
        match change.source {
            CommandSource::Exec { arguments, is_cut } => {
                self.put(process, Some(Rc::new(CommandLine::new(&arguments, is_cut))));
            }
            CommandSource::Unread => self.pop(process),
            CommandSource::Fork(parent) => {
                let parent = key(parent).and_then(|parent| self.known.peek(&parent));
                match parent.cloned().flatten() {
                    Some(command) => self.put(process, Some(command)),
                    // It may be in /proc, and nothing else has this id any more.
                    None => self.pop(process),
                }
            }
        }
    }

    /// Whether command lines should be looked up soon, because others would soon be forgotten without
    /// having been asked for.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let (processes, bytes) = self.fresh;
        processes > MOST_KNOWN / 2 || bytes > MOST_MEMORY / 2
    }

    /// The names that processes need now were all looked up.
    pub fn are_looked_up(&mut self) {
        self.fresh = (0, 0);
    }

    /// The command line of a process. `None` if it is not known.
    pub fn get(&mut self, process: ProcessId) -> Option<Rc<CommandLine>> {
        let key = key(process)?;
        if let Some(known) = self.known.get(&key) {
            return known.clone();
        }
        let (pid, start) = key;
        let found = read(pid).filter(|(ticks, _)| *ticks == start);
        let command = found.map(|(_, command)| Rc::new(command));
        self.missing += u64::from(command.is_none());
        self.put(key, command.clone());
        command
    }

    /// Forgets everything: reports were lost, so anything may have changed. What still runs is
    /// looked up in /proc again.
    pub fn forget(&mut self) {
        self.known.clear();
        self.bytes = 0;
    }

    /// How many processes have no command line because it was not known in time.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    fn put(&mut self, key: Key, command: Option<Rc<CommandLine>>) {
        let bytes = length(command.as_ref());
        self.fresh = (self.fresh.0 + 1, self.fresh.1 + bytes);
        self.bytes += bytes;
        let before = self.known.put(key, command);
        self.bytes -= length(before.flatten().as_ref());
        while self.known.len() > MOST_KNOWN || self.bytes > MOST_MEMORY {
            let Some((_, forgotten)) = self.known.pop_lru() else {
                return;
            };
            self.bytes -= length(forgotten.as_ref());
        }
    }

    fn pop(&mut self, key: Key) {
        let before = self.known.pop(&key).flatten();
        self.bytes -= length(before.as_ref());
    }
}

fn length(command: Option<&Rc<CommandLine>>) -> usize {
    command.map_or(0, |command| command.len())
}

/// Reads a command line and the start of its process, in clock ticks. `None` if there is no such
/// process, if /proc hides it, or if it has ended and waits for its parent.
fn read(pid: u32) -> Option<(u64, CommandLine)> {
    let mut arguments = Vec::new();
    let most = u64::try_from(MOST_BYTES).ok()? + 1;
    let file = File::open(format!("/proc/{pid}/cmdline")).ok()?;
    file.take(most).read_to_end(&mut arguments).ok()?;
    // Afterwards: if the process still lives, it is the one whose command line was read.
    let stat = proc::stat(pid)?;
    let is_left = arguments.is_empty() && matches!(stat.state, 'Z' | 'X');
    (!is_left).then(|| (stat.start, CommandLine::new(&arguments, false)))
}

/// /proc shows starts in clock ticks, by the clock of this time namespace (`do_task_stat` in
/// fs/proc/array.c).
fn key(process: ProcessId) -> Option<Key> {
    let tick = 1_000_000_000u64.checked_div(rustix::param::clock_ticks_per_second())?;
    let start = process.start.wrapping_add_signed(clock_offset());
    Some((process.pid, start.checked_div(tick)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Processes that do not exist: /proc knows nothing of them.
    fn process(number: u32) -> ProcessId {
        ProcessId {
            pid: u32::MAX - number,
            start: u64::from(number) * 1_000_000_000,
        }
    }

    fn exec(number: u32, line: &str) -> CommandChange {
        CommandChange {
            process: process(number),
            source: CommandSource::Exec {
                arguments: line.replace(' ', "\0").into_bytes(),
                is_cut: false,
            },
        }
    }

    fn fork(number: u32, parent: u32) -> CommandChange {
        CommandChange {
            process: process(number),
            source: CommandSource::Fork(process(parent)),
        }
    }

    fn line(commands: &mut Commands, number: u32) -> Option<String> {
        let command = commands.get(process(number))?;
        command.line().map(ToString::to_string)
    }

    #[test]
    fn the_last_program_is_known_and_forks_have_that_of_their_parent_at_that_time() {
        let mut commands = Commands::default();
        commands.apply(exec(1, "sh -x"));
        commands.apply(fork(2, 1));
        commands.apply(exec(1, "curl -s"));
        commands.apply(fork(3, 1));
        commands.apply(fork(4, 3));
        commands.apply(exec(3, "last"));
        let mut found = |number| line(&mut commands, number);
        assert_eq!(found(1).as_deref(), Some("curl -s"));
        assert_eq!(found(2).as_deref(), Some("sh -x"));
        assert_eq!(found(3).as_deref(), Some("last"));
        assert_eq!(found(4).as_deref(), Some("curl -s"));
        assert_eq!(commands.missing(), 0);
    }

    #[test]
    fn what_may_be_wrong_is_not_known() {
        let mut commands = Commands::default();
        commands.apply(exec(1, "sh"));
        commands.apply(fork(2, 1));
        // The arguments of a program could not be read.
        commands.apply(CommandChange {
            process: process(2),
            source: CommandSource::Unread,
        });
        assert_eq!(line(&mut commands, 2), None);
        assert_eq!(line(&mut commands, 2), None);
        assert_eq!(commands.missing(), 1);
        // The parent is not known.
        commands.apply(exec(4, "old"));
        commands.apply(fork(4, 3));
        assert_eq!(line(&mut commands, 4), None);
        // A report was lost: it can have been that of any process.
        commands.forget();
        assert_eq!(line(&mut commands, 1), None);
        assert_eq!(commands.missing(), 3);
        commands.apply(exec(1, "new"));
        assert_eq!(line(&mut commands, 1).as_deref(), Some("new"));
    }

    #[test]
    fn memory_is_bounded_and_those_that_were_looked_up_are_not_forgotten_too_early() {
        let mut commands = Commands::default();
        let long = "x".repeat(MOST_BYTES - 1);
        for number in 0..10_000 {
            commands.apply(exec(number, &long));
            if commands.is_full() {
                // None that came since the last look-up is gone.
                let memory = MOST_MEMORY / (2 * MOST_BYTES);
                let since = number - u32::try_from(memory).expect("small");
                assert!(line(&mut commands, since + 1).is_some());
                commands.are_looked_up();
            }
            assert!(commands.bytes <= MOST_MEMORY);
        }
        for number in 0..200_000 {
            commands.apply(exec(number, "x"));
            assert!(commands.known.len() <= MOST_KNOWN);
            if number < 30_000 {
                commands.are_looked_up();
            }
        }
        assert!(commands.is_full());
        let bytes: usize = commands.known.iter().map(|(_, c)| length(c.as_ref())).sum();
        assert_eq!(bytes, commands.bytes);
    }

    #[test]
    fn running_processes_are_read_from_proc() {
        let own = std::process::id();
        let first = Commands::of(&[own]);
        assert_eq!(first.known.len(), 1);
        let all = Commands::of(&[]);
        let ((pid, ticks), of_all) = all
            .known
            .iter()
            .find(|((pid, _), _)| *pid == own)
            .expect("own");
        let (_, command) = first.known.peek_lru().expect("own");
        let of =
            |command: &Option<Rc<CommandLine>>| command.as_ref().and_then(|c| c.line().cloned());
        assert_eq!(of(of_all), of(command));
        assert!(of(command).is_some());
        // By its id and start, as records have them.
        let tick = 1_000_000_000 / rustix::param::clock_ticks_per_second();
        let start = (ticks * tick).wrapping_add_signed(-clock_offset());
        let process = ProcessId { pid: *pid, start };
        let mut none = Commands::default();
        assert_eq!(
            none.get(process).and_then(|c| c.line().cloned()),
            of(command)
        );
        let other = ProcessId {
            start: 0,
            ..process
        };
        assert!(none.get(other).is_none());
    }
}
