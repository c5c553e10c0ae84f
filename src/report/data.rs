//! What the script of a page gets: rows, their traffic over time, and remote ends.

use std::fmt::Write;

use serde::Serialize;

use super::Key;
use super::bins::Series;
use super::collect::Collector;
use super::health::{segments, troubled};
use super::lines::{Kind, Line, Lines};
use super::names::{host_plain, ids, name, owner_name, remote_end};
use super::trouble::What;
use super::worst::Worst;
use crate::recording::MEASURES;

/// How many remote ends a page shows.
const MOST_REMOTES: usize = 200;
/// How many rows of TCP health a page shows.
const MOST_TCP: usize = 50;

/// Numbers that may need more than the 53 bits of a JavaScript number are texts.
#[derive(Debug, Serialize)]
pub(super) struct Data {
    /// The beginning of the first bin, in milliseconds since 1970.
    begin: i64,
    /// From when to when is recorded. Times that people see are not outside of it.
    span: (i64, i64),
    /// The length of a bin in milliseconds.
    length: i64,
    /// The number of bins.
    bins: i64,
    key: &'static str,
    title: &'static str,
    /// The title of the column `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'static str>,
    /// Whether rows are split by remote end.
    split: bool,
    hosts: Vec<String>,
    rows: Vec<Row>,
    remotes: Vec<Remote>,
    remotes_left: usize,
    tcp: Vec<Tcp>,
}

#[derive(Debug, Serialize)]
struct Row {
    name: String,
    /// 0 for a row of its own, 1 for the rows that are not shown, 2 for unattributed traffic.
    kind: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<String>,
    /// The process id, or the number of processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    series: String,
}

#[derive(Debug, Serialize)]
struct Remote {
    row: usize,
    name: String,
    end: String,
    part: String,
    sent: String,
    received: String,
}

#[derive(Debug, Serialize)]
struct Tcp {
    name: String,
    /// Segments sent, those among them that were retransmitted, and segments received.
    out: String,
    again: String,
    r#in: String,
    failed: String,
    reset: String,
    least: Option<String>,
    greatest: Option<String>,
    connect: Option<String>,
    /// When and with whom segments were retransmitted most often.
    again_most: Most,
    /// When and with whom connections failed most often.
    failed_most: Most,
}

#[derive(Debug, Serialize)]
struct Most {
    /// The beginning of the bin, in milliseconds since 1970, and its count.
    #[serde(skip_serializing_if = "Option::is_none")]
    at: Option<(i64, String)>,
    /// The remote end, and its share.
    #[serde(skip_serializing_if = "Option::is_none")]
    whom: Option<(String, String)>,
}

/// Everything that the script gets.
pub(super) fn data(collector: &Collector, lines: &Lines) -> Data {
    let (first, last) = lines.bins();
    let key = collector.key();
    let (remotes, remotes_left) = remotes(collector, lines);
    Data {
        begin: lines.length.begin(first),
        span: lines.span(),
        length: lines.length.milliseconds(),
        bins: last - first + 1,
        key: key.column(),
        title: match key {
            Key::Process | Key::Thread | Key::Comm => "Command",
            Key::Cgroup => "Cgroup",
            Key::User => "User",
            Key::Unit => "Unit",
            Key::Container => "Container",
            Key::Command => "Program",
            Key::Host => "Host",
        },
        id: match key {
            Key::Process => Some("Pid"),
            Key::Thread => Some("Thread"),
            _ => (!collector.processes.is_empty()).then_some("Processes"),
        },
        split: collector.wanted.split.is_some(),
        hosts: collector
            .hosts
            .iter()
            .map(|host| host.name.to_string())
            .collect(),
        rows: lines
            .lines
            .iter()
            .map(|line| row(collector, line, first))
            .collect(),
        remotes,
        remotes_left,
        tcp: tcp(collector, lines),
    }
}

fn row(collector: &Collector, line: &Line, first: i64) -> Row {
    let ids = line.owner.and_then(|owner| ids(collector, owner));
    let details = line.owner.and_then(|owner| collector.details.get(owner));
    let about = details.map(|details| {
        let titles = [
            "",
            "user id ",
            "cgroup ",
            "started ",
            "",
            "",
            "unit ",
            "container ",
        ];
        let known = titles.iter().zip(&details.texts);
        let known = known.filter(|(title, _)| !title.is_empty());
        let texts = known.filter_map(|(title, text)| Some(format!("{title}{}", text.as_ref()?)));
        texts.collect::<Vec<_>>().join(", ")
    });
    let remote = line.remote.and_then(|number| {
        let remote = collector.remotes.get_index(number as usize)?;
        Some(format!(
            "{} {}",
            remote_end(collector, number, remote),
            remote.part()
        ))
    });
    Row {
        name: name(collector, line),
        kind: match line.kind {
            Kind::Row => 0,
            Kind::Other => 1,
            Kind::Unattributed => 2,
        },
        host: (collector.hosts.len() > 1).then(|| host_plain(collector, line.host).to_owned()),
        id: ids.map_or(line.processes, |(pid, tid)| Some(tid.unwrap_or(pid))),
        remote,
        about: about.filter(|about| !about.is_empty()),
        series: pack(&line.series, first),
    }
}

/// The remote ends with the most traffic, and the number of others.
fn remotes(collector: &Collector, lines: &Lines) -> (Vec<Remote>, usize) {
    let other = lines
        .lines
        .iter()
        .position(|line| line.kind == Kind::Other)
        .unwrap_or(0);
    let pairs = super::sections::pairs(collector);
    let left = pairs.len().saturating_sub(MOST_REMOTES);
    let shown =
        pairs
            .into_iter()
            .take(MOST_REMOTES)
            .filter_map(|((owner, number), (sent, received))| {
                let remote = collector.remotes.get_index(number as usize)?;
                let row = lines
                    .lines
                    .iter()
                    .position(|line| line.owner == Some(owner));
                Some(Remote {
                    row: row.unwrap_or(other),
                    name: owner_name(collector, owner),
                    end: remote_end(collector, number, remote),
                    part: remote.part(),
                    sent: sent.to_string(),
                    received: received.to_string(),
                })
            });
    (shown.collect(), left)
}

fn tcp(collector: &Collector, lines: &Lines) -> Vec<Tcp> {
    let rows = troubled(lines).into_iter().take(MOST_TCP);
    rows.map(|line| {
        let of = |id: &str| {
            let index = MEASURES.iter().position(|measure| measure.id == id)?;
            line.values.get(index).map(|value| value.to_string())
        };
        let sum = |id| of(id).unwrap_or_else(|| "0".to_owned());
        let most = |what| {
            let Worst { at, whom, .. } = Worst::of(collector, lines, line, what);
            Most { at, whom }
        };
        let (out, again) = segments(line);
        Tcp {
            name: name(collector, line),
            out: out.to_string(),
            again: again.to_string(),
            r#in: sum("tcp_in_segs"),
            failed: sum("tcp_attempt_fails"),
            reset: sum("tcp_estab_resets"),
            least: of("tcp_rtt_us_min"),
            greatest: of("tcp_rtt_us_max"),
            connect: of("tcp_connect_us_max"),
            again_most: most(What::Retransmitted),
            failed_most: most(What::Failed),
        }
    })
    .collect()
}

/// How many bytes the traffic over time takes in a page.
pub(super) fn size(lines: &Lines) -> usize {
    let packed = lines
        .lines
        .iter()
        .map(|line| pack(&line.series, 0).len() + 150);
    packed.sum()
}

/// Traffic over time as text. A bin is `sent.received`, or `sent`; `~n` skips n bins without
/// traffic. Numbers have the base 36, and 0 is empty.
fn pack(series: &Series, first: i64) -> String {
    let mut text = String::new();
    let mut next = first;
    for (index, bin) in series.bins().iter().enumerate() {
        // A bin without bytes is an empty text, so the length of `text` does not say it.
        if index > 0 {
            text.push(' ');
        }
        if bin.number != next {
            text.push('~');
            push_36(&mut text, bin.number.abs_diff(next));
            text.push(' ');
        }
        push_36(&mut text, bin.sent);
        if bin.received > 0 {
            text.push('.');
            push_36(&mut text, bin.received);
        }
        next = bin.number + 1;
    }
    text
}

fn push_36(text: &mut String, mut value: u64) {
    let mut digits = Vec::new();
    while value > 0 {
        digits.extend(char::from_digit((value % 36) as u32, 36));
        value /= 36;
    }
    for digit in digits.iter().rev() {
        // Writing to memory cannot fail.
        let _ = text.write_char(*digit);
    }
}

#[cfg(test)]
mod tests {
    use super::super::bins::Bin;
    use super::*;

    #[test]
    fn bins_are_packed() {
        let mut series = Series::default();
        for (number, sent, received) in [
            (10, 35, 36),
            (11, 0, 1),
            (12, 0, 0),
            (20, 1, 0),
            (21, u64::MAX, 0),
        ] {
            series
                .add(Bin {
                    number,
                    sent,
                    received,
                })
                .expect("small");
        }
        assert_eq!(pack(&series, 10), "z.10 .1  ~7 1 3w5e11264sgsf");
        assert_eq!(pack(&series, 8), "~2 z.10 .1  ~7 1 3w5e11264sgsf");
    }

    /// A row can begin with a bin without bytes: a process that only connects.
    #[test]
    fn a_first_bin_without_bytes_is_packed() {
        let mut series = Series::default();
        for (number, sent) in [(10, 0), (11, 0), (12, 1)] {
            let bin = Bin {
                number,
                sent,
                received: 0,
            };
            series.add(bin).expect("small");
        }
        assert_eq!(pack(&series, 10), "  1");
        assert_eq!(pack(&series, 9), "~1   1");
    }
}
