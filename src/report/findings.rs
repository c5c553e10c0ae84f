//! What a page says in sentences. What needs attention is first: traffic without a process, failed
//! connections, retransmissions. When it was busiest and by whom is next, then names with many
//! processes, and the sums.

use super::changes::{Change, Changes, changes};
use super::collect::Collector;
use super::health::{failed, is_lossy, segments, troubled, value};
use super::lines::{Line, Lines};
use super::names::{clamped, length, name, remote_end, share};
use super::sections::{bytes_of, pairs};
use super::sentence::Sentence;
use super::trouble::What;
use super::worst::Worst;
use crate::text::{bytes, count, counted};

/// How many rows are named in a sentence.
const MOST: usize = 3;

/// From how many processes on a name has many.
const MANY: u64 = 20;

/// The sentences, the most important one first.
pub(super) fn findings(collector: &Collector, lines: &Lines) -> Vec<Sentence> {
    if collector.recorded().is_none() {
        return vec![Sentence::new("No traffic was recorded.")];
    }
    let mut texts = Vec::new();
    // A little that could not be attributed does not change who is responsible.
    let missing = lines
        .unattributed()
        .map_or(0, |line| bytes_of(&line.values));
    if missing.saturating_mul(100) > bytes_of(&lines.total) {
        texts.extend(self::missing(lines).map(Sentence::new));
    }
    texts.extend(unhealthy(collector, lines));
    if let Some(changes) = changes(lines) {
        texts.push(busiest(&changes));
        for change in changes.rows.iter().take(MOST) {
            texts.push(changed(collector, &changes, change));
        }
    }
    texts.extend(many(collector, lines));
    texts.push(in_all(collector, lines));
    texts
}

fn busiest(changes: &Changes<'_>) -> Sentence {
    let (before, during) = changes.all_rates();
    let quiet = length(changes.quiet());
    Sentence::new("Traffic was highest from ")
        .span(changes.span())
        .text(format!(
            ": {during} on average, after {before} in the {quiet} before."
        ))
}

fn changed(collector: &Collector, changes: &Changes<'_>, change: &Change<'_>) -> Sentence {
    let (before, during) = changes.rates(change);
    let mut text = Sentence::new(format!(
        "{} made {} of it: its traffic went from {before} to {during}",
        name(collector, change.line),
        changes.share(change),
    ));
    if let Some(first) = changes.new_at(change) {
        text = text.text(", and it was first seen at ").time(first).zone();
    }
    text = text.text(".");
    match whom(collector, change.line) {
        Some(whom) => text.text(format!(" {whom}")),
        None => text,
    }
}

/// With whom a row had most of its traffic. `None` if that is not known.
fn whom(collector: &Collector, line: &Line) -> Option<String> {
    if let Some(number) = line.remote {
        let remote = collector.remotes.get_index(number as usize)?;
        let end = remote_end(collector, number, remote);
        return Some(format!("It was with {end} (role: {}).", remote.part()));
    }
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
        "In the whole recording, {} of its traffic was with {} (role: {}){others}.",
        share(sum, bytes_of(&line.values)),
        remote_end(collector, *number, remote),
        remote.part(),
    ))
}

fn in_all(collector: &Collector, lines: &Lines) -> Sentence {
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
    Sentence::new(text)
}

/// Rows that failed to connect, and then those that retransmitted much.
fn unhealthy(collector: &Collector, lines: &Lines) -> Vec<Sentence> {
    let rows = troubled(lines);
    let failing = rows.iter().filter(|line| failed(line) > 0);
    let mut texts: Vec<_> = failing
        .take(MOST)
        .map(|line| {
            let what = format!(
                "{} failed to connect {}",
                name(collector, line),
                counted(failed(line), "time", "times")
            );
            sentence(what, &Worst::of(collector, lines, line, What::Failed))
        })
        .collect();
    let lossy = rows.iter().filter(|line| is_lossy(line));
    texts.extend(lossy.take(MOST).map(|line| {
        let (all, again) = segments(line);
        let what = format!(
            "{} retransmitted {} of its TCP segments ({} of {})",
            name(collector, line),
            share(again.into(), all.into()),
            count(again),
            count(all)
        );
        sentence(
            what,
            &Worst::of(collector, lines, line, What::Retransmitted),
        )
    }));
    texts
}

fn sentence(what: String, worst: &Worst) -> Sentence {
    let mut text = Sentence::new(what);
    if let (Some(span), Some((at, most))) = (worst.span, &worst.at) {
        text = text
            .text(", from ")
            .span(span)
            .text(", most often at ")
            .time(*at)
            .text(format!(" ({most})"));
    }
    if let Some((end, part)) = &worst.whom {
        text = text.text(format!("; {part} of them with {end}"));
    }
    text.text(".")
}

/// The name with the most processes, if it has many.
fn many(collector: &Collector, lines: &Lines) -> Option<Sentence> {
    let most = lines
        .rows()
        .filter(|line| line.processes.is_some_and(|count| count >= MANY));
    let line = most.max_by_key(|line| line.processes)?;
    let count = line.processes?;
    let (first, last) = lines.seen(line)?;
    let resets = match value(line, "tcp_estab_resets") {
        None | Some(0) => String::new(),
        Some(resets) => format!(
            "; {} reset",
            counted(resets, "connection was", "connections were")
        ),
    };
    Some(
        Sentence::new(format!(
            "{} named {} had traffic, from ",
            counted(count, "process", "processes"),
            name(collector, line),
        ))
        .span((first, last))
        .text(format!(
            ": one every {} on average{resets}.",
            length(((last - first) / i64::try_from(count).ok()?).max(1)),
        )),
    )
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
