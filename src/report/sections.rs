//! The tables of a summary: rows, remote ends, and TCP health.

use std::cmp::Reverse;

use super::collect::Collector;
use super::health::{failed, is_lossy, segments, troubled, value};
use super::layout::{Column, Style, table, wrapped};
use super::lines::{Line, Lines};
use super::names::{Clock, clamped, host_name, ids, name, owner_name, rate, remote_end, share};
use super::trouble::What;
use super::worst::Worst;
use crate::recording::Values;
use crate::text::{bytes, count, microseconds};

/// The rows with their share, total, peak, and first and last traffic.
pub(super) fn rows(collector: &Collector, lines: &Lines, clock: Clock, style: Style) -> String {
    let shown = &lines.lines;
    let of = |text: &dyn Fn(&Line) -> String| shown.iter().map(text).collect::<Vec<_>>();
    let seen = |line: &Line| lines.seen(line);
    let key = collector.key();
    let mut columns = Vec::new();
    if key.is_single() {
        columns.push(Column::numbers(
            "PID",
            0,
            of(&|line| {
                let ids = line.owner.and_then(|owner| ids(collector, owner));
                ids.map_or_else(String::new, |(pid, tid)| tid.unwrap_or(pid).to_string())
            }),
        ));
    }
    columns.push(Column::text(
        key.title(),
        0,
        of(&|line| name(collector, line)),
    ));
    if collector.hosts.len() > 1 && key != super::Key::Host {
        columns.push(Column::text(
            "HOST",
            1,
            of(&|line| host_name(collector, line.host)),
        ));
    }
    if !key.is_single() && !collector.processes.is_empty() {
        columns.push(Column::numbers(
            "PROCS",
            2,
            of(&|line| line.processes.map_or_else(String::new, count)),
        ));
    }
    if collector.wanted.split.is_some() {
        columns.push(Column::text(
            "REMOTE",
            0,
            of(&|line| {
                let remote = line.remote.and_then(|number| {
                    Some((number, collector.remotes.get_index(number as usize)?))
                });
                remote.map_or_else(
                    || "-".to_owned(),
                    |(number, remote)| {
                        format!(
                            "{} {}",
                            remote_end(collector, number, remote),
                            remote.part()
                        )
                    },
                )
            }),
        ));
    }
    let total = total(&lines.total);
    columns.push(Column::numbers(
        "SHARE",
        1,
        of(&|line| share(bytes_of(&line.values), total)),
    ));
    columns.push(Column::numbers(
        "SENT",
        0,
        of(&|line| short(line.values.sent())),
    ));
    columns.push(Column::numbers(
        "RCVD",
        0,
        of(&|line| short(line.values.received())),
    ));
    columns.push(Column::numbers(
        "PEAK",
        1,
        of(&|line| {
            let peak = line.series.peak();
            peak.map_or_else(String::new, |bin| {
                rate(bin.bytes(), lines.length.milliseconds())
            })
        }),
    ));
    columns.push(Column::numbers(
        "AT",
        1,
        of(&|line| {
            let peak = line.series.peak();
            peak.map_or_else(String::new, |bin| clock.show(lines.begin(bin.number)))
        }),
    ));
    columns.push(Column::numbers(
        "FIRST",
        3,
        of(&|line| seen(line).map_or_else(String::new, |(first, _)| clock.show(first))),
    ));
    columns.push(Column::numbers(
        "LAST",
        3,
        of(&|line| seen(line).map_or_else(String::new, |(_, last)| clock.show(last))),
    ));
    let mut text = table(columns, style);
    if lines.hidden > 0 {
        let rest = match lines.hidden {
            1 => "1 more row is in (other)".to_owned(),
            hidden => format!("{hidden} more rows are in (other)"),
        };
        text.push_str(&format!("{rest}; -n shows more\n"));
    }
    text
}

/// The remote ends with the most traffic; empty if the recording has none.
pub(super) fn remote_ends(
    collector: &Collector,
    lines: &Lines,
    most: usize,
    style: Style,
) -> String {
    let mut pairs = pairs(collector);
    if pairs.is_empty() {
        return String::new();
    }
    let all = pairs.len();
    pairs.truncate(most);
    let total = total(&lines.total);
    let mut cells: [Vec<String>; 6] = Default::default();
    for ((owner, number), (sent, received)) in pairs {
        let Some(remote) = collector.remotes.get_index(number as usize) else {
            continue;
        };
        let sum = u128::from(sent) + u128::from(received);
        let row = [
            owner_name(collector, owner),
            remote_end(collector, number, remote),
            remote.part(),
            share(sum, total),
            short(sent.into()),
            short(received.into()),
        ];
        for (cells, cell) in cells.iter_mut().zip(row) {
            cells.push(cell);
        }
    }
    let [names, ends, parts, shares, sent, received] = cells;
    let mut text = table(
        vec![
            Column::text(collector.key().title(), 0, names),
            Column::text("REMOTE", 0, ends),
            Column::text("ROLE", 0, parts),
            Column::numbers("SHARE", 1, shares),
            Column::numbers("SENT", 0, sent),
            Column::numbers("RCVD", 0, received),
        ],
        style,
    );
    if all > most {
        text.push_str(&format!(
            "{} remote ends in all; -r shows each\n",
            count(all as u64)
        ));
    }
    text
}

/// Rows with segments, ordered by what was retransmitted and what failed, and when and with whom
/// that was. Empty without `--tcp`.
pub(super) fn tcp(
    collector: &Collector,
    lines: &Lines,
    clock: Clock,
    most: usize,
    style: Style,
) -> String {
    if !collector.table.has_tcp() {
        return String::new();
    }
    let mut rows = troubled(lines);
    rows.truncate(most);
    if rows.is_empty() {
        return String::new();
    }
    let column = |title, id| {
        let cells = rows
            .iter()
            .map(|line| value(line, id).map_or_else(String::new, count));
        Column::numbers(title, 0, cells.collect())
    };
    let part = |line: &&Line| {
        let (all, again) = segments(line);
        // The mark does not depend on a color.
        let mark = if is_lossy(line) { "! " } else { "" };
        format!("{mark}{}", share(again.into(), all.into()))
    };
    let times = |id| {
        let cells = rows.iter().map(|line| {
            let time = value(line, id);
            time.map_or_else(String::new, microseconds)
        });
        cells.collect::<Vec<_>>()
    };
    let mut text = table(
        vec![
            Column::text(
                "TCP HEALTH",
                0,
                rows.iter().map(|line| name(collector, line)).collect(),
            ),
            Column::numbers(
                "SEGSENT",
                0,
                rows.iter().map(|line| count(segments(line).0)).collect(),
            ),
            column("RETRANS", "tcp_retrans_segs"),
            Column::numbers("", 0, rows.iter().map(part).collect()),
            column("SEGRCVD", "tcp_in_segs"),
            column("FAILED", "tcp_attempt_fails"),
            column("RESET", "tcp_estab_resets"),
            Column::numbers("RTTMIN", 1, times("tcp_rtt_us_min")),
            Column::numbers("RTTMAX", 1, times("tcp_rtt_us_max")),
        ],
        style,
    );
    for line in rows {
        for (is_bad, what, title) in [
            (failed(line) > 0, What::Failed, "failed connections"),
            (is_lossy(line), What::Retransmitted, "retransmissions"),
        ] {
            let worst = Worst::of(collector, lines, line, what);
            if let (true, Some((at, count))) = (is_bad, worst.at) {
                let whom = match worst.whom {
                    Some((end, part)) => format!("; {part} of them with {end}"),
                    None => String::new(),
                };
                let name = name(collector, line);
                let at = clock.show(at);
                let note = format!("{name}: most {title} at {at} ({count}){whom}");
                text.push_str(&wrapped(&note, style));
            }
        }
    }
    text
}

/// Bytes sent and received by owner and remote end, the largest first.
pub(super) fn pairs(collector: &Collector) -> Vec<((u32, u32), (u64, u64))> {
    let pairs = collector.pairs.iter();
    let mut pairs: Vec<_> = pairs.map(|(pair, sums)| (*pair, *sums)).collect();
    pairs.sort_unstable_by_key(|((owner, remote), (sent, received))| {
        let sum = u128::from(*sent) + u128::from(*received);
        (Reverse(sum), *owner, *remote)
    });
    pairs
}

/// Bytes sent and received.
pub(super) fn bytes_of(values: &Values) -> u128 {
    values.sent() + values.received()
}

fn total(values: &Values) -> u128 {
    bytes_of(values)
}

/// Bytes without their unit: `1.2G`.
fn short(value: u128) -> String {
    let text = bytes(clamped(value));
    text.replace(" B", "")
        .replace(' ', "")
        .trim_end_matches('B')
        .to_owned()
}
