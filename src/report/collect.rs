//! Adds up the rows of recordings.
//!
//! Memory grows with the rows of the report, the processes and the remote ends, and not with the
//! rows that are read.

use foldhash::fast::RandomState;
use foldhash::{HashMap, HashSet};
use indexmap::IndexSet;

use super::bins::Length;
use super::details::Details;
use super::hosts::{self, Host, Span as Time};
use super::keys::{self, Key, Who};
use super::remote::{self, Remote, Split};
use super::table::{EntryKey, NONE, Table, middle};
use super::texts::Texts;
use super::trouble::Ends;
use crate::error::Error;
use crate::recording::{Field, Row, Span, Stop};

/// How many identities are found by their bytes alone.
const MOST_CACHED: usize = 1 << 16;

/// How many bins there are at most, from the first to the last.
const MOST_BINS: i64 = 1500;

/// How many bins there are at most, if the user has chosen their length.
const MOST_FIXED_BINS: i64 = 100_000;

/// What is to be added up.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wanted {
    /// What a row stands for. By default, the rows of the recording decide.
    pub(super) key: Option<Key>,
    /// The depth below the root to which the paths of cgroups are shortened, if rows are cgroups.
    pub(super) depth: Option<usize>,
    /// How rows are split by remote end.
    pub(super) split: Option<Split>,
    /// The length of bins, in milliseconds.
    pub(super) every: Option<i64>,
    /// Whether each bin has its own rows, instead of one series for each row.
    pub(super) has_rows_by_bin: bool,
    /// Whether traffic over time is wanted for each row.
    pub(super) has_series: bool,
    /// Whether sums by owner and remote end are wanted beside the rows.
    pub(super) has_pairs: bool,
    /// Only intervals whose middle is at this time or later, in milliseconds since 1970.
    pub(super) from: Option<i64>,
    /// Only intervals whose middle is before this time.
    pub(super) to: Option<i64>,
}

/// Whose traffic a row is, on which host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Owner {
    /// The number of the host.
    pub(super) host: u32,
    pub(super) who: Who,
}

/// Where to find the fields of the rows that are being read.
struct Plan {
    header: u32,
    who: Span,
    remote: Option<Span>,
}

/// Everything that was added up.
pub(super) struct Collector {
    pub(super) wanted: Wanted,
    pub(super) hosts: Vec<Host>,
    pub(super) owners: IndexSet<Owner, RandomState>,
    /// Of each owner, if rows are processes or threads.
    pub(super) details: Details,
    pub(super) remotes: IndexSet<Remote, RandomState>,
    /// Texts of remote ends.
    texts: Texts,
    /// The names of remote ends, if the recording has them.
    pub(super) remote_names: HashMap<u32, Box<str>>,
    pub(super) table: Table,
    entries: HashMap<EntryKey, u32>,
    /// Bytes sent and received by owner and remote end.
    pub(super) pairs: HashMap<(u32, u32), (u64, u64)>,
    /// Retransmitted segments and failed connections by owner and remote end.
    pub(super) trouble: Ends,
    /// Each process with its owner.
    pub(super) processes: HashSet<(u32, keys::ProcessKey)>,
    /// The middle of the first interval and that of the last one. `None` without rows.
    pub(super) range: Option<(i64, i64)>,
    /// Rows before `--from` or after `--to`.
    pub(super) outside: u64,
    /// Whether a recording has remote ends.
    pub(super) has_remote: bool,
    plan: Option<Plan>,
    who_cache: HashMap<Box<[u8]>, (u32, u32)>,
    remote_cache: HashMap<Box<[u8]>, u32>,
    scratch: Vec<u8>,
}

impl Collector {
    pub(super) fn new(wanted: Wanted) -> Self {
        let length = wanted.every.map_or(Length::SHORTEST, Length::fixed);
        Self {
            wanted,
            hosts: Vec::new(),
            owners: IndexSet::default(),
            details: Details::default(),
            remotes: IndexSet::default(),
            texts: Texts::default(),
            remote_names: HashMap::default(),
            table: Table::new(wanted.has_series.then_some(length)),
            entries: HashMap::default(),
            pairs: HashMap::default(),
            trouble: Ends::default(),
            processes: HashSet::default(),
            range: None,
            outside: 0,
            has_remote: false,
            plan: None,
            who_cache: HashMap::default(),
            remote_cache: HashMap::default(),
            scratch: Vec::new(),
        }
    }

    /// What rows stand for.
    pub(super) fn key(&self) -> Key {
        self.wanted.key.unwrap_or(Key::Comm)
    }

    /// Ends the file with this number.
    pub(super) fn end_file(&mut self, number: usize) {
        self.plan = None;
        for host in &mut self.hosts {
            host.end_file(number);
        }
    }

    /// Makes bins as long as intervals usually are: a bin that is shorter than an interval would
    /// say nothing.
    ///
    /// # Errors
    ///
    /// If a sum needs more than 64 bits.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        let usual = self.hosts.iter().map(Host::usual_interval).max();
        while let Some(length) = self.table.length
            && usual.is_some_and(|usual| length.milliseconds() < usual)
            && self.table.lengthen().map_err(Error::Usage)?
        {}
        Ok(())
    }

    /// From the beginning of the first interval to the end of the last one that was added up.
    pub(super) fn recorded(&self) -> Option<Time> {
        let spans = || self.hosts.iter().filter_map(Host::span);
        let from = spans().map(|(from, _)| from).min()?;
        let to = spans().map(|(_, to)| to).max()?;
        Some((from, to))
    }

    /// Adds a row.
    #[inline]
    pub(super) fn take(&mut self, row: &Row<'_>) -> Stop {
        if self
            .plan
            .as_ref()
            .is_none_or(|plan| plan.header != row.header)
        {
            self.prepare(row)?;
        }
        let begin = hosts::begin(row.time, row.interval);
        let moment = middle(begin, row.time);
        if self.wanted.from.is_some_and(|from| moment < from)
            || self.wanted.to.is_some_and(|to| moment >= to)
        {
            self.outside += 1;
            return Ok(());
        }
        let (host, owner) = self.owner(row)?;
        if let Some(host) = self.hosts.get_mut(host as usize) {
            host.note(row.time, row.interval);
        }
        let remote = self.remote(row)?;
        if remote != NONE && self.wanted.has_pairs {
            self.add_pair(owner, remote, row)?;
        }
        let bin = self.bin(moment)?;
        let entry = if self.wanted.split.is_none() && !self.wanted.has_rows_by_bin {
            // One row for each owner, with the same number.
            owner
        } else {
            let key = EntryKey {
                owner,
                remote: if self.wanted.split.is_some() {
                    remote
                } else {
                    NONE
                },
                bin: if self.wanted.has_rows_by_bin { bin } else { 0 },
            };
            let table = &mut self.table;
            *self.entries.entry(key).or_insert_with(|| table.push(key))
        };
        self.table.add(entry, row.values, (begin, row.time))
    }

    /// The bin of a moment. Makes bins longer if there would be too many.
    #[inline]
    fn bin(&mut self, moment: i64) -> Result<i64, String> {
        let (from, to) = self.range.unwrap_or((moment, moment));
        let (from, to) = (from.min(moment), to.max(moment));
        if self.range == Some((from, to)) && !self.wanted.has_rows_by_bin {
            return Ok(0);
        }
        self.range = Some((from, to));
        if let Some(every) = self.wanted.every {
            let length = Length::fixed(every);
            if self.wanted.has_rows_by_bin {
                return Ok(length.bin(moment));
            }
            let bins = length.bin(to) - length.bin(from);
            if bins > MOST_FIXED_BINS {
                return Err(format!(
                    "--every: more than {MOST_FIXED_BINS} bins up to this line: choose a longer time"
                ));
            }
            return Ok(0);
        }
        while let Some(length) = self.table.length
            && length.bin(to) - length.bin(from) >= MOST_BINS
            && self.table.lengthen()?
        {}
        Ok(0)
    }

    /// Finds the fields in rows with new columns.
    fn prepare(&mut self, row: &Row<'_>) -> Stop {
        let key = *self.wanted.key.get_or_insert_with(|| Key::of(row.schema));
        key.check(row.schema)?;
        if self.wanted.depth.is_some() && key != Key::Cgroup {
            return Err("--depth needs rows of cgroups: add -g cgroup".to_owned());
        }
        let has_remote = remote::has_remote(row.schema);
        if self.wanted.split.is_some() && !has_remote {
            return Err("-r is given, but the recording was made without --remote".to_owned());
        }
        self.has_remote |= has_remote;
        if row.schema.has_tcp() {
            self.table.widen();
        }
        let is_wanted = has_remote && (self.wanted.split.is_some() || self.wanted.has_pairs);
        self.plan = Some(Plan {
            header: row.header,
            who: Span::of(row.schema, &keys::FIELDS),
            remote: is_wanted.then(|| Span::of(row.schema, &remote::FIELDS)),
        });
        // The bytes of other columns mean something else.
        self.who_cache.clear();
        self.remote_cache.clear();
        Ok(())
    }

    /// The numbers of the host and of the owner of a row.
    #[inline]
    fn owner(&mut self, row: &Row<'_>) -> Result<(u32, u32), String> {
        let Some(plan) = &self.plan else {
            return Ok((0, 0));
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let bytes = row.bytes(&plan.who, &mut scratch);
        let numbers = match self.who_cache.get(bytes) {
            Some(numbers) => *numbers,
            None => {
                let numbers = self.new_owner(row)?;
                if self.who_cache.len() >= MOST_CACHED {
                    self.who_cache.clear();
                }
                self.who_cache.insert(bytes.into(), numbers);
                numbers
            }
        };
        self.scratch = scratch;
        Ok(numbers)
    }

    #[cold]
    fn new_owner(&mut self, row: &Row<'_>) -> Result<(u32, u32), String> {
        let name = row.text(Field::Host)?.unwrap_or_default();
        let host = match self.hosts.iter().position(|host| &*host.name == name) {
            Some(host) => host,
            None => {
                self.hosts.push(Host::new(name));
                self.hosts.len() - 1
            }
        } as u32;
        let key = self.key();
        let who = keys::who(row, key, self.wanted.depth)?;
        let (owner, is_new) = self.owners.insert_full(Owner { host, who });
        let owner = owner as u32;
        if is_new && self.wanted.split.is_none() && !self.wanted.has_rows_by_bin {
            self.table.push(EntryKey {
                owner,
                remote: NONE,
                bin: 0,
            });
        }
        if key.is_single() {
            self.details.note(owner as usize, row)?;
        } else if let Some(process) = keys::process(row)? {
            self.processes.insert((owner, process));
        }
        Ok((host, owner))
    }

    /// The number of the remote end of a row.
    #[inline]
    fn remote(&mut self, row: &Row<'_>) -> Result<u32, String> {
        let Some(span) = self.plan.as_ref().and_then(|plan| plan.remote.as_ref()) else {
            return Ok(NONE);
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let bytes = row.bytes(span, &mut scratch);
        let number = match self.remote_cache.get(bytes) {
            Some(number) => *number,
            None => {
                let number = self.new_remote(row)?;
                if self.remote_cache.len() >= MOST_CACHED {
                    self.remote_cache.clear();
                }
                self.remote_cache.insert(bytes.into(), number);
                number
            }
        };
        self.scratch = scratch;
        Ok(number)
    }

    #[cold]
    fn new_remote(&mut self, row: &Row<'_>) -> Result<u32, String> {
        // Beside rows that are not split, a row for each connection would be too many.
        let split = match (self.wanted.split, row.text(Field::Role)?) {
            (Some(split), _) => split,
            (None, Some(_)) => Split::Service,
            (None, None) => Split::Recorded,
        };
        let Some(remote) = Remote::of(row, split, &mut self.texts)? else {
            return Ok(NONE);
        };
        let (number, _) = self.remotes.insert_full(remote);
        let number = number as u32;
        if let Some(name) = row.text(Field::RemoteName)? {
            self.remote_names
                .entry(number)
                .or_insert_with(|| name.into());
        }
        Ok(number)
    }

    fn add_pair(&mut self, owner: u32, remote: u32, row: &Row<'_>) -> Stop {
        let (sent, received) = self.pairs.entry((owner, remote)).or_default();
        let add = |sum: &mut u64, value: u128| {
            let value = u64::try_from(value).ok();
            match value.and_then(|value| sum.checked_add(value)) {
                Some(added) => *sum = added,
                None => return Err("the sum of bytes is more than 64 bits".to_owned()),
            }
            Ok(())
        };
        add(sent, row.values.sent())?;
        add(received, row.values.received())?;
        let added = self.trouble.add(owner, remote, row.values);
        added.map_err(|_| "the sum of segments is more than 64 bits".to_owned())
    }
}
