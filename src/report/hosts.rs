//! What was recorded of each host: from when to when, in how many intervals, with which gaps.

/// How many spans without a gap are remembered for a host.
const MOST_SPANS: usize = 100_000;

/// A span of time in milliseconds since 1970.
pub(super) type Span = (i64, i64);

/// One host.
#[derive(Clone, Debug, Default)]
pub(super) struct Host {
    /// The name; empty if the recording does not say it.
    pub(super) name: Box<str>,
    /// Rows are counted in intervals whose time differs from the row before.
    pub(super) intervals: u64,
    /// The sum of the lengths of these intervals, in microseconds.
    pub(super) recorded: u64,
    /// The longest interval, in microseconds.
    pub(super) longest: u64,
    /// The time of the row before, in this file.
    latest: Option<i64>,
    /// How often the time went back within a file.
    pub(super) steps_back: u64,
    /// Spans with rows, without gaps in between.
    spans: Vec<Span>,
    /// The span of the file that is being read, and the spans of the files before.
    file: Option<Span>,
    files: Vec<(usize, Span)>,
}

impl Host {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// Takes note of an interval. `time` is its end, and `interval` its length in microseconds.
    #[inline]
    pub(super) fn note(&mut self, time: i64, interval: u64) {
        if self.latest != Some(time) {
            self.note_new(time, interval);
        }
    }

    fn note_new(&mut self, time: i64, interval: u64) {
        if self.latest.is_some_and(|latest| time < latest) {
            self.steps_back += 1;
        }
        self.latest = Some(time);
        self.intervals += 1;
        self.recorded = self.recorded.saturating_add(interval);
        self.longest = self.longest.max(interval);
        let begin = begin(time, interval);
        let (from, to) = self.file.unwrap_or((begin, time));
        self.file = Some((from.min(begin), to.max(time)));
        // Times are rounded to milliseconds, and a sample takes a moment.
        let tolerance = 50 + milliseconds(interval) / 20;
        let is_full = self.spans.len() >= MOST_SPANS;
        match self.spans.last_mut() {
            Some((from, to)) if begin >= *from && (begin <= *to + tolerance || is_full) => {
                *to = (*to).max(time);
            }
            _ => self.spans.push((begin, time)),
        }
    }

    /// The average length of an interval, in milliseconds.
    pub(super) fn usual_interval(&self) -> i64 {
        // Intervals are a little longer than they should be.
        let average = self.recorded.checked_div(self.intervals).unwrap_or(0);
        milliseconds(average.saturating_sub(average / 20))
    }

    /// The longest interval, in milliseconds.
    pub(super) fn longest_interval(&self) -> i64 {
        milliseconds(self.longest.saturating_add(500))
    }

    /// Ends the file with this number.
    pub(super) fn end_file(&mut self, number: usize) {
        self.latest = None;
        if let Some(span) = self.file.take() {
            self.files.push((number, span));
        }
    }

    /// From the beginning of the first interval to the end of the last one.
    pub(super) fn span(&self) -> Option<Span> {
        let from = self.spans.iter().map(|(from, _)| *from).min()?;
        let to = self.spans.iter().map(|(_, to)| *to).max()?;
        Some((from, to))
    }

    /// Spans without rows: nothing was sent or received, or nothing was recorded.
    pub(super) fn gaps(&self) -> Vec<Span> {
        let mut spans = self.spans.clone();
        spans.sort_unstable();
        let mut gaps = Vec::new();
        let mut end: Option<i64> = None;
        let tolerance = 50 + milliseconds(self.longest) / 20;
        for (from, to) in spans {
            if let Some(end) = end
                && from > end + tolerance
            {
                gaps.push((end, from));
            }
            end = Some(end.map_or(to, |end| end.max(to)));
        }
        gaps
    }

    /// The numbers of two files that have rows of the same time.
    pub(super) fn overlap(&self) -> Option<(usize, usize)> {
        let mut files = self.files.clone();
        files.sort_unstable_by_key(|(_, span)| *span);
        let mut widest: Option<(usize, i64)> = None;
        // The rows of one interval can be in two files.
        let tolerance = milliseconds(self.longest) + 50;
        for (number, (from, to)) in files {
            if let Some((other, end)) = widest
                && end.min(to) - from > tolerance
            {
                return Some((other.min(number), other.max(number)));
            }
            if widest.is_none_or(|(_, end)| to > end) {
                widest = Some((number, to));
            }
        }
        None
    }
}

/// When an interval began, from its end and its length in microseconds.
pub(super) fn begin(time: i64, interval: u64) -> i64 {
    // Half a millisecond and more is a whole one: an interval of 999.9 ms is meant as a second.
    time.saturating_sub(milliseconds(interval.saturating_add(500)))
}

fn milliseconds(microseconds: u64) -> i64 {
    i64::try_from(microseconds / 1000).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_steps_back_and_overlaps_are_found() {
        let mut host = Host::default();
        for second in [1, 2, 3, 10, 11] {
            host.note(second * 1000, 1_000_000);
            host.note(second * 1000, 1_000_000);
        }
        assert_eq!(host.intervals, 5);
        assert_eq!(host.span(), Some((0, 11_000)));
        assert_eq!(host.gaps(), [(3000, 9000)]);
        assert_eq!(host.steps_back, 0);
        host.note(5000, 1_000_000);
        assert_eq!(host.steps_back, 1);
        host.end_file(0);
        assert_eq!(host.overlap(), None);
        host.note(11_000, 1_000_000);
        host.note(12_000, 1_000_000);
        host.end_file(1);
        assert_eq!(host.overlap(), None, "one interval in two files");
        host.note(4000, 1_000_000);
        host.note(8000, 1_000_000);
        host.end_file(2);
        assert_eq!(host.overlap(), Some((0, 2)));
    }
}
