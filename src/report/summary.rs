//! The summary for people.

use unicode_width::UnicodeWidthStr;

use super::changes::changes;
use super::collect::Collector;
use super::layout::{Style, wrapped};
use super::lines::Lines;
use super::names::{Clock, clamped, host_name, length, name};
use super::notes::Source;
use super::notes::notes;
use super::sections::{bytes_of, remote_ends, rows, tcp};
use super::timeline::timeline;
use crate::text::{bytes, count, counted};

/// How many rows of remote ends, TCP health and changes there are.
const MOST: usize = 5;

/// The text of the summary.
pub(super) fn text(
    collector: &Collector,
    lines: &Lines,
    sources: &[Source],
    style: &Style,
) -> String {
    let style = *style;
    if collector.recorded().is_none() {
        let mut text = String::from("no traffic was recorded\n");
        for note in notes(collector, sources, lines.length) {
            text.push_str(&wrapped(&note, style));
        }
        return text;
    }
    let span = lines.span();
    let clock = Clock::new(span, lines.length.milliseconds());
    let mut parts = vec![head(collector, lines, sources, span, style)];
    parts.push(timeline(lines, clock, style));
    parts.push(rows(collector, lines, clock, style));
    parts.push(changed(collector, lines, clock, style));
    parts.push(remote_ends(collector, lines, MOST, style));
    parts.push(tcp(collector, lines, clock, MOST, style));
    parts.push(ends(collector, lines, sources, style));
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

/// What was recorded.
fn head(
    collector: &Collector,
    lines: &Lines,
    sources: &[Source],
    span: (i64, i64),
    style: Style,
) -> String {
    let what = match sources {
        [one] => one.name.clone(),
        several => format!("{} files", several.len()),
    };
    let hosts: Vec<_> = (0..).take(collector.hosts.len()).collect();
    let hosts = match hosts.as_slice() {
        [one] => format!("host {}", host_name(collector, Some(*one))),
        several => {
            let names = several
                .iter()
                .take(5)
                .map(|host| host_name(collector, Some(*host)));
            let names: Vec<_> = names.collect();
            format!(
                "{} hosts: {}",
                several.len(),
                crate::text::shortened(&names.join(", "), 60)
            )
        }
    };
    let intervals: u64 = collector.hosts.iter().map(|host| host.intervals).sum();
    let recorded: u64 = collector.hosts.iter().map(|host| host.recorded).sum();
    let each = recorded.checked_div(intervals).unwrap_or(0);
    let longest = collector.hosts.iter().map(|host| host.longest).max();
    let is_average = longest.is_some_and(|longest| longest / 3 > each / 2);
    // The end of a path says more than its beginning.
    let room = style.width.saturating_sub(hosts.width() + 2).max(12);
    let what = crate::text::shortened(&what, room);
    let mut text = format!(
        "{what}, {hosts}\n{} to {} {}, {}\n{} of {} s{}",
        Clock::date(span.0),
        Clock::date(span.1),
        Clock::zone(span.1),
        length(span.1 - span.0),
        counted(intervals, "interval", "intervals"),
        (each as f64 / 1e5).round() / 10.0,
        if is_average { " on average" } else { "" },
    );
    if !collector.key().is_single() && !collector.processes.is_empty() {
        let processes = collector.processes.len() as u64;
        text.push_str(&format!(", {}", counted(processes, "process", "processes")));
    }
    text.push_str(&format!(
        ", sent {}, received {}\n",
        bytes(clamped(lines.total.sent())),
        bytes(clamped(lines.total.received()))
    ));
    text
}

/// What changed most.
fn changed(collector: &Collector, lines: &Lines, clock: Clock, style: Style) -> String {
    let Some(changes) = changes(lines) else {
        return String::new();
    };
    let busy = changes.span();
    let mut text = format!(
        "busiest from {} to {}; ",
        clock.show(busy.0),
        clock.show(busy.1)
    );
    if changes.rows.is_empty() {
        text.push_str(&format!(
            "no row was quiet in the {} before\n",
            length(changes.quiet())
        ));
        return text;
    }
    text.push_str(&format!(
        "quiet in the {} before:\n",
        length(changes.quiet())
    ));
    let wanted = changes.rows.iter().take(MOST);
    for change in wanted {
        let (before, during) = changes.rates(change);
        let line = format!(
            "{}: from {} to {}, {} of the traffic{}",
            name(collector, change.line),
            before,
            during,
            changes.share(change),
            match changes.new_at(change) {
                Some(first) => format!(", first seen at {}", clock.show(first)),
                None => String::new(),
            },
        );
        let narrower = Style {
            width: style.width - 2,
            ..style
        };
        for part in wrapped(&line, narrower).lines() {
            text.push_str(&format!("  {part}\n"));
        }
    }
    text
}

/// What is missing or uncertain.
fn ends(collector: &Collector, lines: &Lines, sources: &[Source], style: Style) -> String {
    let mut text = match lines.unattributed() {
        None => "0 unattributed\n".to_owned(),
        Some(line) => format!(
            "unattributed: {} messages, {}\n",
            count(clamped(line.values.messages())),
            bytes(clamped(bytes_of(&line.values)))
        ),
    };
    for note in notes(collector, sources, lines.length) {
        text.push_str(&wrapped(&note, style));
    }
    text
}
