//! What the reader of a report must know about the recordings: gaps, ends that are missing, columns
//! that are not known.

use super::bins::Length;
use super::collect::Collector;
use super::names::{Clock, host_name, length};
use crate::recording::Ending;
use crate::text::{count, counted, shown};

/// A recording that was read.
pub(super) struct Source {
    pub(super) name: String,
    pub(super) ending: Ending,
}

/// One line for each thing worth knowing. `bins` are those of the traffic over time.
pub(super) fn notes(collector: &Collector, sources: &[Source], bins: Length) -> Vec<String> {
    let mut notes = gaps(collector);
    notes.extend(short_bins(collector, bins));
    notes.extend(doubts(collector, sources));
    notes
}

/// The traffic of an interval is in one bin. If the bin is much shorter, its rate never was.
pub(super) fn short_bins(collector: &Collector, bins: Length) -> Vec<String> {
    let hosts = (0..).zip(&collector.hosts);
    let longer = hosts
        .filter(|(_, host)| host.longest_interval() * 2 > bins.milliseconds().saturating_mul(3));
    let notes = longer.map(|(number, host)| {
        format!(
            "{}: intervals are up to {} long, and a bin only {}: its rate is too high",
            host_name(collector, Some(number)),
            length(host.longest_interval()),
            length(bins.milliseconds())
        )
    });
    notes.collect()
}

/// Spans without rows. A program that reads rows sees them itself.
fn gaps(collector: &Collector) -> Vec<String> {
    let mut notes = Vec::new();
    for (number, host) in (0..).zip(&collector.hosts) {
        let gaps = host.gaps();
        if let Some((from, to)) = gaps.iter().copied().max_by_key(|(from, to)| to - from) {
            let total: i64 = gaps.iter().map(|(from, to)| to - from).sum();
            notes.push(format!(
                "{}: no rows for {} in {}, the longest from {} for {}: idle or not recorded",
                host_name(collector, Some(number)),
                length(total),
                counted(gaps.len() as u64, "gap", "gaps"),
                Clock::date(from),
                length(to - from)
            ));
        }
    }
    notes
}

/// What may be missing in the sums, or be in them twice.
pub(super) fn doubts(collector: &Collector, sources: &[Source]) -> Vec<String> {
    let mut notes = Vec::new();
    for (number, host) in (0..).zip(&collector.hosts) {
        let name = host_name(collector, Some(number));
        if host.steps_back > 0 {
            notes.push(format!(
                "{name}: the time goes back {}: the clock was set, or files were put together",
                counted(host.steps_back, "time", "times")
            ));
        }
        if let Some((one, other)) = host.overlap() {
            let file = |number: usize| sources.get(number).map_or("", |source| &source.name);
            notes.push(format!(
                "{name}: {} and {} have the same time: what is in both counts twice",
                file(one),
                file(other)
            ));
        }
    }
    for Source { name, ending } in sources {
        if ending.is_cut {
            notes.push(format!(
                "{name}: the compressed data is incomplete; read up to there"
            ));
        }
        if ending.is_unfinished {
            notes.push(format!("{name}: the last line has no end and is left out"));
        }
        if ending.rows == 0 {
            notes.push(format!("{name}: no rows"));
        }
        if !ending.ignored.is_empty() {
            let names: Vec<_> = ending.ignored.iter().map(|name| shown(name)).collect();
            let names = crate::text::shortened(&names.join(", "), 100);
            notes.push(format!("{name}: columns that are not known: {names}"));
        }
    }
    if collector.outside > 0 {
        notes.push(format!(
            "{} rows are outside of --from and --to",
            count(collector.outside)
        ));
    }
    notes
}
