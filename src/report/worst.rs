//! When and with whom a row retransmitted segments or failed to connect.

use super::collect::Collector;
use super::health::{failed, segments};
use super::lines::{Line, Lines};
use super::names::{length, remote_end, share};
use super::trouble::What;
use crate::text::count;

/// When and with whom something went wrong most often.
pub(super) struct Worst {
    /// From the beginning of the first bin to the end of the last one.
    pub(super) span: Option<(i64, i64)>,
    /// The beginning of the bin, and its count: `9 in 1 s`.
    pub(super) at: Option<(i64, String)>,
    /// The remote end, and its share: `all` or `92.5%`.
    pub(super) whom: Option<(String, String)>,
}

impl Worst {
    pub(super) fn of(collector: &Collector, lines: &Lines, line: &Line, what: What) -> Self {
        let at = line.trouble.peak(what).map(|(bin, most)| {
            let length = length(lines.length.milliseconds());
            (lines.begin(bin), format!("{} in {length}", count(most)))
        });
        let span = line.trouble.span(what);
        let all = match what {
            What::Retransmitted => segments(line).1,
            What::Failed => failed(line),
        };
        let whom = match line.remote {
            // The row is that of one remote end.
            Some(number) => (all > 0).then_some((number, all)),
            None => line
                .owner
                .and_then(|owner| collector.trouble.most(owner, what)),
        };
        let whom = whom.and_then(|(number, most)| {
            let remote = collector.remotes.get_index(number as usize)?;
            let part = match most == all {
                true => "all".to_owned(),
                false => share(most.into(), all.into()),
            };
            Some((remote_end(collector, number, remote), part))
        });
        Self {
            span: span.map(|(first, last)| {
                let begin = |bin| lines.begin(bin);
                (begin(first), begin(last + 1))
            }),
            at,
            whom,
        }
    }
}
