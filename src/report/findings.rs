//! What a report says in sentences: when it was busy, who it was, and to whom.

use chrono::{DateTime, Utc};

use super::changes::{Change, Changes, changes};
use super::collect::Collector;
use super::lines::{Line, Lines};
use super::names::{clamped, length, name, remote_end};
use super::sections::{again, bytes_of, failed, is_lossy, pairs, share, troubled};
use crate::text::{bits_per_second, bytes, count, counted};

/// How many rows are named in a sentence.
const MOST: usize = 3;

/// From when to when, in UTC.
pub(super) fn utc_span((from, to): (i64, i64)) -> String {
    format!("{} to {} UTC", date(from), date(to))
}

fn utc(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap_or_default()
}

fn date(milliseconds: i64) -> String {
    utc(milliseconds).format("%Y-%m-%d %H:%M:%S").to_string()
}

fn time(milliseconds: i64) -> String {
    utc(milliseconds).format("%H:%M:%S").to_string()
}

/// The sentences, the most important one first.
pub(super) fn findings(collector: &Collector, lines: &Lines) -> Vec<String> {
    let Some(span) = collector.recorded() else {
        return vec!["No traffic was recorded.".to_owned()];
    };
    let mut texts = Vec::new();
    if let Some(changes) = changes(lines, span) {
        texts.push(busiest(lines, &changes, span));
        for change in changes.rows.iter().take(MOST) {
            texts.push(changed(collector, lines, &changes, change));
        }
    }
    texts.push(in_all(collector, lines));
    texts.extend(unhealthy(collector, lines));
    texts.extend(many(collector, lines));
    texts
}

fn busiest(lines: &Lines, changes: &Changes<'_>, span: (i64, i64)) -> String {
    let (from, to) = changes.busy;
    let during = lines
        .series
        .between(lines.length.bin(from), lines.length.bin(to));
    let before = lines.series.between(
        lines.length.bin(changes.before.0),
        lines.length.bin(changes.before.1),
    );
    let quiet = changes.before.1 - changes.before.0;
    format!(
        "Traffic was highest from {} to {} UTC: {} on average, after {} in the {} before.",
        date(from.max(span.0)),
        time(to.min(span.1)),
        rate(during as f64 / seconds(to - from)),
        rate(before as f64 / seconds(quiet)),
        length(quiet),
    )
}

fn changed(
    collector: &Collector,
    lines: &Lines,
    changes: &Changes<'_>,
    change: &Change<'_>,
) -> String {
    let (before, during) = changes.rates(change);
    let (from, to) = changes.busy;
    let all = lines
        .series
        .between(lines.length.bin(from), lines.length.bin(to));
    let mut text = format!(
        "{} made {} of it: its traffic went from {} to {}",
        name(collector, change.line),
        share(change.during, all),
        rate(before),
        rate(during),
    );
    if change.before == 0 && change.line.first >= changes.before.0 {
        text.push_str(&format!(
            ", and it was first seen at {}",
            time(change.line.first)
        ));
    }
    text.push('.');
    if let Some(whom) = whom(collector, change.line) {
        text.push_str(&format!(" {whom}"));
    }
    text
}

/// With whom a row had most of its traffic. `None` if that is not known.
fn whom(collector: &Collector, line: &Line) -> Option<String> {
    let owner = line.owner?;
    let pairs = pairs(collector);
    let mut own = pairs.iter().filter(|((of, _), _)| *of == owner);
    let ((_, number), (sent, received)) = own.next()?;
    let others = own.count();
    let remote = collector.remotes.get_index(*number as usize)?;
    let sum = u128::from(*sent) + u128::from(*received);
    let others = match others {
        0 => String::new(),
        others => format!(
            "; {} had the rest",
            counted(others as u64, "other remote end", "other remote ends")
        ),
    };
    Some(format!(
        "Over the whole time, {} of its traffic was with {} (as {}){others}.",
        share(sum, bytes_of(&line.values)),
        remote_end(collector, *number, remote),
        remote.part(),
    ))
}

fn in_all(collector: &Collector, lines: &Lines) -> String {
    let total = bytes_of(&lines.total);
    let rows: Vec<_> = lines
        .rows()
        .take(MOST)
        .map(|line| {
            let name = name(collector, line);
            format!("{name} ({})", share(bytes_of(&line.values), total))
        })
        .collect();
    let mut text = format!(
        "In all, {} were sent and {} received",
        bytes(clamped(lines.total.sent())),
        bytes(clamped(lines.total.received()))
    );
    if !rows.is_empty() {
        text.push_str(&format!(", most of it by {}", rows.join(", ")));
    }
    text.push('.');
    text
}

/// Rows that sent much again, or failed to connect.
fn unhealthy(collector: &Collector, lines: &Lines) -> Vec<String> {
    let mut texts = Vec::new();
    for line in troubled(lines).into_iter().take(MOST) {
        let (sent, again) = again(line);
        if is_lossy(line) {
            texts.push(format!(
                "{} sent {} of its TCP segments again ({} of {}).",
                name(collector, line),
                share(again.into(), sent.into()),
                count(again),
                count(sent)
            ));
        }
        if failed(line) > 0 {
            texts.push(format!(
                "{} failed to connect {}.",
                name(collector, line),
                counted(failed(line), "time", "times")
            ));
        }
    }
    texts
}

/// The name with the most processes, if it has many.
fn many(collector: &Collector, lines: &Lines) -> Option<String> {
    let most = lines
        .rows()
        .filter(|line| line.processes.is_some_and(|count| count >= 20));
    let line = most.max_by_key(|line| line.processes)?;
    let count = line.processes?;
    Some(format!(
        "{} were called {}, between {} and {} UTC: a new one every {} on average.",
        counted(count, "process", "processes"),
        name(collector, line),
        date(line.first),
        time(line.last),
        length(((line.last - line.first) / i64::try_from(count).ok()?).max(1)),
    ))
}

/// Traffic that could not be attributed.
pub(super) fn missing(lines: &Lines) -> Option<String> {
    let line = lines.unattributed()?;
    Some(format!(
        "{} messages and {} could not be attributed to a process.",
        count(clamped(line.values.messages())),
        bytes(clamped(bytes_of(&line.values)))
    ))
}

fn rate(bytes: f64) -> String {
    bits_per_second(bytes as u64, 1.0)
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1e3
}
