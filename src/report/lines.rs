//! The rows of a report in their order, and the sum of the rows that are not shown.

use std::cmp::Ordering;

use foldhash::{HashMap, HashMapExt};

use super::bins::{Length, Series};
use super::collect::Collector;
use super::keys::Who;
use super::table::{Entry, NONE, add_values};
use super::trouble::Trouble;
use crate::error::Error;
use crate::recording::Values;
use crate::rollup::SortKey;

/// What a line of a report is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A row of its own.
    Row,
    /// The sum of all rows that are not shown.
    Other,
    /// Traffic that could not be attributed.
    Unattributed,
}

/// A line of a report.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub(super) kind: Kind,
    /// The number of the owner. Lines of sums have none, and no host if they are of several.
    pub(super) owner: Option<u32>,
    pub(super) host: Option<u32>,
    /// The number of the remote end, if it is known.
    pub(super) remote: Option<u32>,
    /// The bin, in rows of a series.
    pub(super) bin: i64,
    /// How many processes the traffic belongs to, if that is known.
    pub(super) processes: Option<u64>,
    pub(super) values: Values,
    /// When the first interval with its traffic began, in milliseconds since 1970.
    pub(super) first: i64,
    /// When the last interval with its traffic ended.
    pub(super) last: i64,
    pub(super) series: Series,
    pub(super) trouble: Trouble,
}

/// All lines of a report.
pub(super) struct Lines {
    /// Rows in their order; sums are last.
    pub(super) lines: Vec<Line>,
    /// How many rows the sum of the rows that are not shown stands for.
    pub(super) hidden: usize,
    /// The sum of all lines.
    pub(super) total: Values,
    /// The traffic of all lines over time.
    pub(super) series: Series,
    /// The length of bins of a series.
    pub(super) length: Length,
    /// The middle of the first interval and that of the last one.
    middles: (i64, i64),
    /// From the beginning of the first interval to the end of the last one.
    recorded: (i64, i64),
}

impl Lines {
    /// Orders the rows, and sums all but the first `top` of them.
    ///
    /// # Errors
    ///
    /// If a sum needs more than 64 bits.
    pub(super) fn new(
        collector: &Collector,
        sort: SortKey,
        top: Option<usize>,
    ) -> Result<Self, Error> {
        let order = ranked(collector, sort);
        let shown = top.unwrap_or(usize::MAX).min(order.len());
        let counts = process_counts(collector);
        let mut made = Made {
            collector,
            counts,
            total: Values::NONE,
            series: Series::default(),
        };
        let mut lines = Vec::new();
        let mut sums: Vec<Line> = Vec::new();
        for (rank, group) in order.iter().enumerate() {
            for number in &group.numbers {
                let Some(entry) = collector.table.entries.get(*number as usize) else {
                    continue;
                };
                let line = made.line(*number as usize, entry)?;
                if line.kind == Kind::Row && rank < shown {
                    lines.push(line);
                } else {
                    add_to_sums(&mut sums, line)?;
                }
            }
        }
        if collector.wanted.has_rows_by_bin {
            // Within a bin, the order of the rows stays the same.
            lines.sort_by_key(|line| line.bin);
        }
        let hidden = order
            .iter()
            .skip(shown)
            .filter(|group| group.kind == Kind::Row)
            .count();
        sums.sort_by_key(|line| (line.bin, line.kind == Kind::Unattributed));
        lines.append(&mut sums);
        if collector.wanted.has_rows_by_bin {
            lines.sort_by_key(|line| line.bin);
        }
        Ok(Self {
            lines,
            hidden,
            total: made.total,
            series: made.series,
            length: collector.table.length.unwrap_or(Length::SHORTEST),
            middles: collector.range.unwrap_or((0, 0)),
            recorded: collector.recorded().unwrap_or((0, 0)),
        })
    }

    /// Makes bins longer. Returns whether they are longer now.
    ///
    /// # Errors
    ///
    /// If a sum needs more than 64 bits.
    pub(super) fn lengthen(&mut self) -> Result<bool, Error> {
        let from = self.length;
        let Some(to) = from.next() else {
            return Ok(false);
        };
        let lines = self.lines.iter_mut().map(|line| &mut line.series);
        for series in lines.chain([&mut self.series]) {
            series.merge(from, to).map_err(|_| too_large())?;
        }
        for line in &mut self.lines {
            line.trouble.merge(from, to).map_err(|_| too_large())?;
        }
        self.length = to;
        Ok(true)
    }

    /// The numbers of the first bin and of the last one.
    pub(super) fn bins(&self) -> (i64, i64) {
        let (first, last) = self.middles;
        (self.length.bin(first), self.length.bin(last))
    }

    /// When a bin begins, for people. No time is outside of the recording, in whole seconds, so that
    /// long bins do not make it longer.
    pub(super) fn begin(&self, bin: i64) -> i64 {
        let unit = self.length.milliseconds().min(1000);
        let first = self.recorded.0.min(self.middles.0).div_euclid(unit);
        let last = self
            .recorded
            .1
            .max(self.middles.1 + 1)
            .saturating_add(unit - 1);
        let last = last.div_euclid(unit);
        self.length.begin(bin).clamp(first * unit, last * unit)
    }

    /// From the beginning of the first bin to the end of the last one.
    pub(super) fn span(&self) -> (i64, i64) {
        let (first, last) = self.bins();
        (self.begin(first), self.begin(last + 1))
    }

    /// From the beginning of the first bin with traffic of a line to the end of its last one.
    pub(super) fn seen(&self, line: &Line) -> Option<(i64, i64)> {
        let bins = line.series.bins();
        let (first, last) = (bins.first()?, bins.last()?);
        Some((self.begin(first.number), self.begin(last.number + 1)))
    }

    /// The lines that are rows of their own.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.kind == Kind::Row)
    }

    /// The traffic that could not be attributed.
    pub(super) fn unattributed(&self) -> Option<&Line> {
        let mut lines = self.lines.iter();
        lines.find(|line| line.kind == Kind::Unattributed)
    }
}

/// Entries that have the same place in the order: one, or those of all bins.
struct Ranked {
    kind: Kind,
    value: u128,
    numbers: Vec<u32>,
}

fn kind(collector: &Collector, entry: &Entry) -> Kind {
    match collector
        .owners
        .get_index(entry.key.owner as usize)
        .map(|owner| &owner.who)
    {
        Some(Who::Other) => Kind::Other,
        Some(Who::Unattributed) => Kind::Unattributed,
        _ => Kind::Row,
    }
}

/// The entries in order. Rows that are sums already are last.
fn ranked(collector: &Collector, sort: SortKey) -> Vec<Ranked> {
    let mut order: Vec<Ranked> = Vec::new();
    let mut places: HashMap<(u32, u32), usize> = HashMap::new();
    for (number, entry) in (0_u32..).zip(&collector.table.entries) {
        let values = collector.table.values(number as usize);
        let value = value(&values, sort);
        if collector.wanted.has_rows_by_bin {
            let place = *places
                .entry((entry.key.owner, entry.key.remote))
                .or_insert(order.len());
            if let Some(there) = order.get_mut(place) {
                there.value += value;
                there.numbers.push(number);
                continue;
            }
        }
        order.push(Ranked {
            kind: kind(collector, entry),
            value,
            numbers: vec![number],
        });
    }
    let key = |one: &Ranked| {
        let first = one.numbers.first().copied().unwrap_or(NONE);
        collector
            .table
            .entries
            .get(first as usize)
            .map(|entry| entry.key)
    };
    order.sort_unstable_by(|one, other| {
        (one.kind != Kind::Row)
            .cmp(&(other.kind != Kind::Row))
            .then_with(|| match sort {
                SortKey::Pid | SortKey::Comm => Ordering::Equal,
                _ => other.value.cmp(&one.value),
            })
            .then_with(|| match (key(one), key(other)) {
                (Some(one), Some(other)) => compare(collector, sort, one, other),
                _ => Ordering::Equal,
            })
    });
    order
}

/// The order of rows with equal values: by host, name and remote end, and not by their place in the
/// files.
fn compare(
    collector: &Collector,
    sort: SortKey,
    one: super::table::EntryKey,
    other: super::table::EntryKey,
) -> Ordering {
    let owner = |key: super::table::EntryKey| collector.owners.get_index(key.owner as usize);
    let host = |number: u32| collector.hosts.get(number as usize).map(|host| &host.name);
    let name = |key: super::table::EntryKey| {
        let details = collector.details.get(key.owner);
        details
            .and_then(|details| details.texts.first())
            .and_then(Option::as_ref)
    };
    let remote = |key: super::table::EntryKey| collector.remotes.get_index(key.remote as usize);
    let (Some(a), Some(b)) = (owner(one), owner(other)) else {
        return Ordering::Equal;
    };
    let by_name = match sort {
        SortKey::Comm => name(one).cmp(&name(other)),
        _ => Ordering::Equal,
    };
    by_name
        .then_with(|| match sort {
            SortKey::Pid | SortKey::Comm => a.who.cmp(&b.who),
            _ => Ordering::Equal,
        })
        .then_with(|| host(a.host).cmp(&host(b.host)))
        .then_with(|| a.who.cmp(&b.who))
        .then_with(|| remote(one).cmp(&remote(other)))
}

/// The value that decides on the order.
fn value(values: &Values, sort: SortKey) -> u128 {
    let [
        _,
        tcp_sent,
        _,
        tcp_received,
        _,
        udp_sent,
        _,
        udp_received,
        ..,
    ] = values.numbers;
    match sort {
        SortKey::Bytes | SortKey::Pid | SortKey::Comm => values.sent() + values.received(),
        SortKey::Msgs => values.messages(),
        SortKey::Sent => values.sent(),
        SortKey::Received => values.received(),
        SortKey::Tcp => u128::from(tcp_sent) + u128::from(tcp_received),
        SortKey::Udp => u128::from(udp_sent) + u128::from(udp_received),
    }
}

/// The number of processes of each owner.
fn process_counts(collector: &Collector) -> Vec<u64> {
    let mut counts = vec![0; collector.owners.len()];
    for (owner, _) in &collector.processes {
        if let Some(count) = counts.get_mut(*owner as usize) {
            *count += 1;
        }
    }
    counts
}

struct Made<'c> {
    collector: &'c Collector,
    counts: Vec<u64>,
    total: Values,
    series: Series,
}

impl Made<'_> {
    /// Makes a line, and adds it to the total.
    fn line(&mut self, number: usize, entry: &Entry) -> Result<Line, Error> {
        let values = self.collector.table.values(number);
        add_values(&mut self.total, &values).map_err(|_| too_large())?;
        self.series
            .add_all(&entry.series)
            .map_err(|_| too_large())?;
        let owner = entry.key.owner;
        let host = self
            .collector
            .owners
            .get_index(owner as usize)
            .map(|owner| owner.host);
        let count = self
            .counts
            .get(owner as usize)
            .copied()
            .filter(|count| *count > 0);
        Ok(Line {
            kind: kind(self.collector, entry),
            owner: Some(owner),
            host,
            remote: (entry.key.remote != NONE).then_some(entry.key.remote),
            bin: entry.key.bin,
            processes: if self.collector.key().is_single() {
                Some(1)
            } else {
                count
            },
            values,
            first: entry.first,
            last: entry.last,
            series: entry.series.clone(),
            trouble: entry.trouble.clone(),
        })
    }
}

/// Adds a line to the sum of its kind and bin.
fn add_to_sums(sums: &mut Vec<Line>, mut line: Line) -> Result<(), Error> {
    if line.kind == Kind::Row {
        line.kind = Kind::Other;
    }
    let same = |sum: &&mut Line| (sum.kind, sum.bin) == (line.kind, line.bin);
    if let Some(sum) = sums.iter_mut().rev().find(same) {
        add_values(&mut sum.values, &line.values).map_err(|_| too_large())?;
        sum.series.add_all(&line.series).map_err(|_| too_large())?;
        let trouble = sum.trouble.add_all(&line.trouble);
        trouble.map_err(|_| too_large())?;
        sum.first = sum.first.min(line.first);
        sum.last = sum.last.max(line.last);
        sum.host = sum.host.filter(|host| line.host == Some(*host));
        return Ok(());
    }
    line.owner = None;
    line.remote = None;
    // A process can be in several rows, so their numbers cannot be added.
    line.processes = None;
    sums.push(line);
    Ok(())
}

fn too_large() -> Error {
    Error::Usage(format!("the sum of all rows is more than {}", u64::MAX))
}
