//! What TCP says of the rows of a report.

use std::cmp::Reverse;

use super::lines::{Line, Lines};
use crate::recording::{FAILED, MEASURES, RETRANSMITTED};

/// Lines with TCP segments or failed connections. Those that need attention are first, and of them
/// the one that retransmitted the most, or failed most often.
pub(super) fn troubled(lines: &Lines) -> Vec<&Line> {
    let mut rows: Vec<&Line> = lines.lines.iter().collect();
    rows.retain(|line| segments(line).0 > 0 || failed(line) > 0);
    rows.sort_by_key(|line| {
        let number = segments(line).1.saturating_add(failed(line));
        Reverse((is_lossy(line) || failed(line) > 0, number))
    });
    rows
}

/// All TCP segments that were sent, and those of them that only repeated data. `tcp_out_segs` does
/// not include the latter.
pub(super) fn segments(line: &Line) -> (u64, u64) {
    let again = line.values.get(RETRANSMITTED).unwrap_or(0);
    let first = value(line, "tcp_out_segs").unwrap_or(0);
    (first.saturating_add(again), again)
}

/// Whether more than one in a hundred segments was retransmitted.
pub(super) fn is_lossy(line: &Line) -> bool {
    let (all, again) = segments(line);
    again.saturating_mul(100) > all
}

/// Connections that failed.
pub(super) fn failed(line: &Line) -> u64 {
    line.values.get(FAILED).unwrap_or(0)
}

/// The value of a measure, by its name.
pub(super) fn value(line: &Line, id: &str) -> Option<u64> {
    let index = MEASURES.iter().position(|measure| measure.id == id)?;
    line.values.get(index)
}
