//! The table for people, after atop's own network view.

use std::borrow::Cow;
use std::fmt::Write;

use comfy_table::{Cell, CellAlignment, ContentArrangement};
use unicode_width::UnicodeWidthStr;

use super::Format;
use super::columns::{OTHER, UNATTRIBUTED};
use crate::model::{Counters, GroupBy, Layout, Report, Row, State, Who};
use crate::text::{bits_per_second, count, escaped};

/// How a table is to look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStyle {
    /// Columns of the terminal; `None` where it is not one, and nothing is left out.
    pub width: Option<usize>,
    /// Whether the header and the total may be emphasised.
    pub color: bool,
    /// Whether all control characters in names must be escaped; line breaks always are.
    pub escape: bool,
    /// Whether tables follow each other: each is then headed by its time.
    pub repeated: bool,
}

/// Writes intervals as tables.
pub struct Table {
    layout: Layout,
    look: TableStyle,
}

/// The shortest a name is cut to before columns are given up instead.
const SHORTEST_NAME: usize = 8;

/// A numeric column: title, whether a narrow terminal can do without it, and value.
type Number = (&'static str, bool, fn(&Counters, f64) -> String);

const NUMBERS: [Number; 10] = [
    ("TCPSND", false, |c, _| count(c.tcp_send_msgs)),
    ("TCPSASZ", true, |c, _| {
        average(c.tcp_send_bytes, c.tcp_send_msgs)
    }),
    ("TCPRCV", false, |c, _| count(c.tcp_recv_msgs)),
    ("TCPRASZ", true, |c, _| {
        average(c.tcp_recv_bytes, c.tcp_recv_msgs)
    }),
    ("UDPSND", false, |c, _| count(c.udp_send_msgs)),
    ("UDPSASZ", true, |c, _| {
        average(c.udp_send_bytes, c.udp_send_msgs)
    }),
    ("UDPRCV", false, |c, _| count(c.udp_recv_msgs)),
    ("UDPRASZ", true, |c, _| {
        average(c.udp_recv_bytes, c.udp_recv_msgs)
    }),
    ("BANDWO", false, |c, s| bits_per_second(c.sent_bytes(), s)),
    ("BANDWI", false, |c, s| {
        bits_per_second(c.received_bytes(), s)
    }),
];

/// Bytes a message, rounded; `-` without messages.
fn average(bytes: u64, msgs: u64) -> String {
    match bytes.checked_div(msgs) {
        Some(whole) => {
            let rest = bytes % msgs;
            count(whole + u64::from(rest >= msgs.div_ceil(2) && rest > 0))
        }
        None => "-".to_owned(),
    }
}

impl Table {
    /// For rows of `layout`.
    #[must_use]
    pub fn new(layout: Layout, look: TableStyle) -> Self {
        Self { layout, look }
    }

    fn titles(&self) -> &'static [&'static str] {
        match (self.layout.group_by, self.layout.threads) {
            (GroupBy::Process, false) => &["PID", "COMMAND"],
            (GroupBy::Process, true) => &["PID", "TID", "THREAD"],
            (GroupBy::Comm, _) => &["PROCS", "COMMAND"],
            (GroupBy::Cgroup, _) => &["PROCS", "CGROUP"],
            (GroupBy::User, _) => &["PROCS", "USER"],
        }
    }

    /// The identity cells of a row; the last one is its name, in at most `width` columns.
    fn identity(&self, who: &Who, width: usize) -> Vec<String> {
        let mut cells = match who {
            Who::Process(p) => {
                let name = self.printable(&p.comm.to_str_lossy()).into_owned();
                let name = match p.state {
                    State::Running => shorten(&name, width),
                    // As atop shows a process that has gone.
                    State::Exited => format!("<{}>", shorten(&name, width.saturating_sub(2))),
                };
                vec![
                    p.pid.to_string(),
                    p.tid.map_or_else(String::new, |t| t.to_string()),
                    name,
                ]
            }
            Who::Group { key, processes } => {
                let name = if key.is_empty() { "-" } else { key };
                vec![
                    processes.to_string(),
                    String::new(),
                    shorten(&self.printable(name), width),
                ]
            }
            Who::Other { processes } => {
                let number = match self.layout.group_by {
                    GroupBy::Process => String::new(),
                    _ => processes.to_string(),
                };
                vec![number, String::new(), shorten(OTHER, width)]
            }
            Who::Unattributed => {
                vec![String::new(), String::new(), shorten(UNATTRIBUTED, width)]
            }
        };
        if self.titles().len() == 2 {
            cells.remove(1);
        }
        cells
    }

    /// Names can hold anything: on a terminal, control characters would be commands, and
    /// anywhere a line break would make two rows of one.
    fn printable<'a>(&self, name: &'a str) -> Cow<'a, str> {
        let text = if self.look.escape {
            escaped(name, &[])
        } else {
            Cow::Borrowed(name)
        };
        if text.contains('\n') {
            return Cow::Owned(text.replace('\n', "\\n"));
        }
        text
    }

    fn render(&self, report: &Report, narrow: bool, name_width: usize) -> Vec<String> {
        let seconds = report.interval.as_secs_f64();
        let numbers = || {
            NUMBERS
                .iter()
                .filter(|(_, optional, _)| !(narrow && *optional))
        };
        let titles = self.titles().iter().copied();
        let mut table = comfy_table::Table::new();
        table
            .load_style(comfy_table::presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(titles.chain(numbers().map(|(title, _, _)| *title)));
        let name_column = self.titles().len() - 1;
        let mut add = |identity: Vec<String>, counters: &Counters| {
            let mut cells: Vec<Cell> = identity.into_iter().map(Cell::new).collect();
            cells.extend(numbers().map(|(_, _, value)| Cell::new(value(counters, seconds))));
            table.add_row(cells);
        };
        for Row { who, counters } in &report.rows {
            add(self.identity(who, name_width), counters);
        }
        let mut total = vec![String::new(); name_column];
        total.push("total".to_owned());
        add(total, &report.total());
        for (index, column) in table.column_iter_mut().enumerate() {
            column.set_padding((0, 1));
            if index != name_column {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        table
            .lines()
            .map(|line| line.trim_end().to_owned())
            .collect()
    }

    /// The widest rendering that fits: with everything, with shorter names, without the
    /// average sizes.
    fn fitted(&self, report: &Report) -> (Vec<String>, bool) {
        let Some(width) = self.look.width else {
            return (self.render(report, false, usize::MAX), false);
        };
        let widest = |lines: &[String]| lines.iter().map(|l| l.width()).max().unwrap_or(0);
        for narrow in [false, true] {
            let lines = self.render(report, narrow, usize::MAX);
            let excess = widest(&lines).saturating_sub(width);
            if excess == 0 {
                return (lines, narrow);
            }
            let longest = report
                .rows
                .iter()
                .filter_map(|row| self.identity(&row.who, usize::MAX).pop())
                .map(|name| name.width())
                .max()
                .unwrap_or(0);
            let shorter = longest.saturating_sub(excess);
            if shorter >= SHORTEST_NAME || narrow {
                return (
                    self.render(report, narrow, shorter.max(SHORTEST_NAME)),
                    narrow,
                );
            }
        }
        (Vec::new(), true)
    }
}

/// Cuts a name to `width` columns, with an ellipsis where something is missing.
fn shorten(name: &str, width: usize) -> String {
    if name.width() <= width {
        return name.to_owned();
    }
    let mut short = String::new();
    for c in name.chars() {
        short.push(c);
        // Measured as a whole: some characters change the width of the one before.
        if short.width() >= width {
            short.pop();
            break;
        }
    }
    short.push('…');
    short
}

impl Format for Table {
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn rows_are_independent(&self) -> bool {
        false
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) {
        let (bold, plain) = if self.look.color {
            ("\u{1b}[1m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        let mut text = String::new();
        // Writing to memory cannot fail.
        if self.look.repeated {
            let time = report.time.format("%Y-%m-%dT%H:%M:%S%.3fZ");
            let _ = writeln!(text, "{time}  {:.3} s", report.interval.as_secs_f64());
        }
        if report.rows.is_empty() {
            let _ = writeln!(text, "no TCP or UDP traffic in this interval");
        } else {
            let (lines, narrow) = self.fitted(report);
            let last = lines.len().saturating_sub(1);
            for (index, line) in lines.iter().enumerate() {
                if index == 0 || index == last {
                    let _ = writeln!(text, "{bold}{line}{plain}");
                } else {
                    let _ = writeln!(text, "{line}");
                }
            }
            if narrow && !self.look.repeated {
                let _ = writeln!(text, "(average message sizes need a wider terminal)");
            }
        }
        if self.look.repeated {
            text.push('\n');
        }
        out.extend_from_slice(text.as_bytes());
    }
}
