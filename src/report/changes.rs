//! What changed most: rows that were quiet in the hour before the busiest time, and loud in it.

use super::bins::Series;
use super::lines::{Line, Lines};
use super::names::{rate, share};

/// How long before the busy time rows are compared with it, in milliseconds.
const BEFORE: i64 = 3_600_000;

/// How many times its rate before a row must have to count as changed.
const TIMES: f64 = 3.0;

/// The busiest time, and the rows that changed. Spans are numbers of bins, without their end.
pub(super) struct Changes<'l> {
    lines: &'l Lines,
    /// The busiest time.
    busy: (i64, i64),
    /// The time before it that rows are compared with.
    before: (i64, i64),
    pub(super) rows: Vec<Change<'l>>,
}

/// A row that changed.
pub(super) struct Change<'l> {
    pub(super) line: &'l Line,
    /// Bytes in the time before, and in the busy time.
    pub(super) before: u128,
    pub(super) during: u128,
}

/// Compares the busiest time with the hour before it. `None` if the recording begins with it, or if
/// most of the recording is as busy.
pub(super) fn changes(lines: &Lines) -> Option<Changes<'_>> {
    let length = lines.length;
    let (from, to) = busy(&lines.series)?;
    let hour = (BEFORE / length.milliseconds()).max(1);
    // The bin just before can have the first seconds of what made the time busy.
    let until = from - 1;
    let (first, last) = lines.bins();
    let earliest = (until - hour).max(first);
    if earliest >= until || (to - from) * 2 > last - first + 1 {
        return None;
    }
    let (bins_before, bins_during) = ((until - earliest) as f64, (to - from) as f64);
    let mut rows: Vec<Change<'_>> = lines
        .lines
        .iter()
        .map(|line| Change {
            line,
            before: line.series.between(earliest, until),
            during: line.series.between(from, to),
        })
        .filter(|change| {
            let (before, during) = (change.before as f64, change.during as f64);
            during > 0.0 && during / bins_during >= TIMES * before / bins_before
        })
        .collect();
    let total = lines.series.between(from, to);
    // What hardly contributes did not make the time busy.
    rows.retain(|change| change.during.saturating_mul(50) >= total);
    rows.sort_by_key(|change| std::cmp::Reverse(change.during));
    Some(Changes {
        lines,
        busy: (from, to),
        before: (earliest, until),
        rows,
    })
}

/// The bins around the peak with at least half of its traffic, without a bin below it in between.
fn busy(series: &Series) -> Option<(i64, i64)> {
    let peak = series.peak()?;
    let bins = series.bins();
    let is_busy = |number: i64| {
        let found = bins.binary_search_by_key(&number, |bin| bin.number).ok();
        let bin = found.and_then(|index| bins.get(index));
        bin.is_some_and(|bin| bin.bytes().saturating_mul(2) >= peak.bytes())
    };
    let (mut from, mut to) = (peak.number, peak.number + 1);
    while is_busy(from - 1) {
        from -= 1;
    }
    while is_busy(to) {
        to += 1;
    }
    Some((from, to))
}

impl Changes<'_> {
    /// From when to when it was busiest.
    pub(super) fn span(&self) -> (i64, i64) {
        (self.lines.begin(self.busy.0), self.lines.begin(self.busy.1))
    }

    /// How long the time before is, in milliseconds.
    pub(super) fn quiet(&self) -> i64 {
        self.length(self.before)
    }

    fn length(&self, (from, to): (i64, i64)) -> i64 {
        (to - from).saturating_mul(self.lines.length.milliseconds())
    }

    /// The rates of a row before and in the busy time.
    pub(super) fn rates(&self, change: &Change<'_>) -> (String, String) {
        (
            rate(change.before, self.length(self.before)),
            rate(change.during, self.length(self.busy)),
        )
    }

    /// The rates of all rows before and in the busy time.
    pub(super) fn all_rates(&self) -> (String, String) {
        let all = |(from, to)| rate(self.lines.series.between(from, to), self.length((from, to)));
        (all(self.before), all(self.busy))
    }

    /// The share of a row in the busy time.
    pub(super) fn share(&self, change: &Change<'_>) -> String {
        let (from, to) = self.busy;
        share(change.during, self.lines.series.between(from, to))
    }

    /// When a row was first seen, if that was shortly before the busy time or in it.
    pub(super) fn new_at(&self, change: &Change<'_>) -> Option<i64> {
        let first = change.line.series.bins().first()?.number;
        let is_new = change.before == 0 && first >= self.before.0;
        is_new.then(|| self.lines.begin(first))
    }
}
