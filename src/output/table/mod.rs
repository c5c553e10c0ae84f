//! The table for people.
//!
//! The first columns show the process, the bytes and the bandwidth. A wider terminal shows more
//! columns: messages, average sizes of messages, users, and units or containers. If rows are split by remote end,
//! both ends are more important than bandwidth. With TCP's own account, its columns take the place of
//! the sizes. The titles of messages and sizes are the same as in atop.

mod columns;
mod lay_out;
mod line;
mod shorten;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write;

use chrono::{DateTime, FixedOffset, Local, Utc};
use unicode_width::UnicodeWidthStr;

use self::columns::{Cell, Identity, Level, NETNS, columns};
use self::lay_out::{Shown, Widths, lay_out, narrow};
use self::line::{End, Line};
use super::Format;
use super::columns::{OTHER, UNATTRIBUTED};
use crate::model::{Counters, GroupBy, Layout, Process, Report, Row, State, Tcp, Who};
use crate::text::escaped;

/// The style of a table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableStyle {
    /// Width of the terminal in columns. `None` for a file or a pipe: names are not shortened, and
    /// users, units and containers are not shown.
    pub width: Option<usize>,
    /// Whether the header and the total are bold.
    pub color: bool,
    /// Whether all control characters in names are escaped. Line breaks are always escaped.
    pub escape: bool,
    /// Whether there are successive tables. If so, each table has its time as a heading, and columns
    /// keep their widths.
    pub repeated: bool,
    /// Whether the terminal can show only ASCII characters.
    pub ascii: bool,
    /// The time zone of headings. `None` means the host's time zone.
    pub zone: Option<FixedOffset>,
}

/// Writes intervals as tables.
pub struct Table {
    layout: Layout,
    identity: Identity,
    style: TableStyle,
    width: Box<dyn Fn() -> Option<usize>>,
    user_name: fn(u32) -> String,
    /// The width of the widest value of each column so far, for successive tables.
    widest: BTreeMap<&'static str, usize>,
}

impl Table {
    /// Makes a table for rows of `layout`. `user_name` returns the name of a user id.
    #[must_use]
    pub fn new(layout: Layout, style: TableStyle, user_name: fn(u32) -> String) -> Self {
        Self {
            layout,
            identity: Identity::of(layout),
            style,
            width: Box::new(move || style.width),
            user_name,
            widest: BTreeMap::new(),
        }
    }

    /// Calls `width` for the width of the terminal before each table, since the terminal can be
    /// resized.
    #[must_use]
    pub fn with_width(mut self, width: impl Fn() -> Option<usize> + 'static) -> Self {
        self.width = Box::new(width);
        self
    }

    /// A row without identity, such as the total.
    fn plain(
        &self,
        name: &'static str,
        number: String,
        (counters, tcp): (Counters, Tcp),
    ) -> Line<'static> {
        let mut ids = vec![String::new(); self.identity.ids.len()];
        if let Some(first) = ids.first_mut() {
            *first = number;
        }
        Line {
            ids,
            name: name.into(),
            exited: false,
            user: String::new(),
            place: "".into(),
            end: End::None,
            counters,
            tcp,
        }
    }

    fn line<'a>(&self, row: &'a Row) -> Line<'a> {
        let counters = row.counters;
        let tcp = row.tcp.get().copied().unwrap_or_default();
        let amount = (counters, tcp);
        let end = row.remote.as_deref().map_or(End::Unknown, |remote| {
            let name = row.remote_name.as_deref();
            End::Known(remote, name.map(|name| self.printable(name.into())))
        });
        match &row.who {
            Who::Process(p) => Line {
                ids: [Some(p.pid), p.tid]
                    .into_iter()
                    .flatten()
                    .map(|id| id.to_string())
                    .collect(),
                name: match &p.cmdline {
                    Some(line) => self.printable(line.as_ref().into()),
                    None => self.printable(p.comm.to_str_lossy()),
                },
                exited: p.state == State::Exited,
                user: self.printable((self.user_name)(p.uid).into()).into_owned(),
                place: self.printable(place(p).into()),
                end,
                counters,
                tcp,
            },
            Who::Group { key, processes } => Line {
                name: self.printable(if key.is_empty() { "-" } else { key }.into()),
                end,
                ..self.plain("", processes.to_string(), amount)
            },
            Who::Other { processes } => {
                let number = match self.layout.group_by {
                    GroupBy::Process => String::new(),
                    _ => processes.to_string(),
                };
                self.plain(OTHER, number, amount)
            }
            Who::Unattributed => self.plain(UNATTRIBUTED, String::new(), amount),
        }
    }

    /// Makes a name printable. Names can contain any characters: a terminal would execute control
    /// characters, and a line break would split a row in two.
    fn printable<'a>(&self, name: Cow<'a, str>) -> Cow<'a, str> {
        if self.style.ascii && !name.is_ascii() {
            let ascii = name.chars().map(|c| if c.is_ascii() { c } else { '?' });
            return self.printable(ascii.collect::<String>().into());
        }
        if self.style.escape {
            match escaped(&name, &[]) {
                Cow::Borrowed(_) => name,
                Cow::Owned(safe) => Cow::Owned(safe),
            }
        } else if name.contains('\n') {
            Cow::Owned(name.replace('\n', "\\n"))
        } else {
            name
        }
    }

    /// The width of a column: the width of its widest value in this and all earlier tables.
    fn fitted(&mut self, title: &'static str, usual: usize, now: usize) -> usize {
        let now = now.max(title.len());
        if !self.style.repeated {
            return now;
        }
        let widest = self.widest.entry(title).or_insert(usual);
        *widest = now.max(*widest);
        *widest
    }

    /// The lines of a table: the header, a line for each row, and the total.
    fn render(&mut self, report: &Report) -> Vec<String> {
        let seconds = report.interval.as_secs_f64();
        let width = (self.width)();
        let mark = if self.style.ascii { ".." } else { "…" };
        let mut lines: Vec<Line<'_>> = report.rows.iter().map(|row| self.line(row)).collect();
        let total = (report.total(), report.total_tcp());
        lines.push(self.plain("total", String::new(), total));
        if width.is_some() {
            lines.iter_mut().for_each(|line| line.end.shorten(mark));
        }

        let ids: Vec<usize> = (0..)
            .zip(self.identity.ids)
            .map(|(at, (title, usual))| {
                let widths = lines
                    .iter()
                    .map(|line| line.ids.get(at).map_or(0, String::len));
                self.fitted(title, *usual, widths.max().unwrap_or(0))
            })
            .collect();
        // The name of an ended process is in angle brackets, as in atop.
        let names = lines
            .iter()
            .map(|line| line.name.width() + 2 * usize::from(line.exited));
        let longest = names.max().unwrap_or(0);
        let name = self.fitted(self.identity.name, self.identity.usual, longest);

        let most = if self.layout.group_by == GroupBy::Process && width.is_some() {
            Level::Places
        } else {
            Level::Sizes
        };
        for level in Level::down_from(most, self.layout) {
            let mut shown = self.shown(level, &lines, seconds);
            // One blank before each column except the first.
            let others = ids.iter().chain(shown.iter().map(|column| &column.width));
            let others = others.map(|width| width + 1).sum::<usize>();
            let room = width.map_or(usize::MAX, |width| width.saturating_sub(others));
            let wanted = name.min(self.identity.wanted(level));
            if room < wanted && level > Level::lowest(self.layout) {
                continue;
            }
            let excess = (name.saturating_add(others)).saturating_sub(width.unwrap_or(usize::MAX));
            let name = narrow(name, wanted, excess, &mut shown);
            // The last column gets the remaining width.
            let place = room
                .saturating_sub(name)
                .saturating_add(columns::MIN_PLACE_WIDTH);
            let widths = Widths { ids, name, place };
            return lay_out(&self.identity, &lines, &shown, &widths, mark);
        }
        Vec::new()
    }

    /// The columns of a level after the name, with their values.
    fn shown(&mut self, level: Level, lines: &[Line<'_>], seconds: f64) -> Vec<Shown> {
        let mut shown = Vec::new();
        for column in columns(self.layout, level) {
            let cells = lines.iter().map(|line| match column.cell {
                Cell::Number(value) => value(&line.counters, seconds),
                Cell::Tcp(value) => value(&line.tcp),
                Cell::User => line.user.clone(),
                Cell::Place => line.place.clone().into_owned(),
                Cell::Remote(value) => match &line.end {
                    End::None => String::new(),
                    End::Unknown => "-".to_owned(),
                    End::Known(remote, name) => {
                        value(remote, name.as_deref()).unwrap_or_else(|| "-".to_owned())
                    }
                },
            });
            let cells: Vec<String> = cells.collect();
            let is_empty = |cell: &String| matches!(cell.as_str(), "" | "-");
            if column.title == NETNS && cells.iter().all(is_empty) {
                continue;
            }
            let width = match column.cell {
                Cell::Place => column.widest,
                _ => {
                    let now = cells.iter().map(|cell| cell.width()).max();
                    self.fitted(column.title, column.widest, now.unwrap_or(0))
                }
            };
            shown.push(Shown {
                column,
                cells,
                width,
            });
        }
        shown
    }

    fn time(&self, time: DateTime<Utc>) -> String {
        let format = "%Y-%m-%d %H:%M:%S%.3f %:z";
        match self.style.zone {
            Some(zone) => time.with_timezone(&zone).format(format).to_string(),
            None => time.with_timezone(&Local).format(format).to_string(),
        }
    }

    fn write(&mut self, report: &Report, text: &mut String) {
        let (bold, plain) = if self.style.color {
            ("\u{1b}[1m", "\u{1b}[0m")
        } else {
            ("", "")
        };
        // Writing to memory cannot fail.
        if report.rows.is_empty() {
            let _ = writeln!(text, "no TCP or UDP traffic in this interval");
            return;
        }
        let lines = self.render(report);
        let last = lines.len().saturating_sub(1);
        for (index, line) in lines.iter().enumerate() {
            if index == 0 || index == last {
                let _ = writeln!(text, "{bold}{line}{plain}");
            } else {
                let _ = writeln!(text, "{line}");
            }
        }
    }
}

/// Where a process runs, by the name that people know best.
fn place(process: &Process) -> &str {
    let names = [&process.container, &process.unit, &process.cgroup];
    names
        .into_iter()
        .find_map(|name| name.as_deref())
        .unwrap_or("-")
}

impl Format for Table {
    fn begin(&mut self, _out: &mut Vec<u8>) {}

    fn names_cgroups(&self) -> bool {
        match self.layout.group_by {
            GroupBy::Cgroup | GroupBy::Unit | GroupBy::Container => true,
            // Only a terminal can be wide enough for users and units.
            GroupBy::Process => (self.width)().is_some(),
            GroupBy::Comm | GroupBy::Command | GroupBy::User => false,
        }
    }

    fn rows_are_independent(&self) -> bool {
        false
    }

    fn report(&mut self, report: &Report, out: &mut Vec<u8>) {
        let mut text = String::new();
        if self.style.repeated {
            let time = self.time(report.time);
            let _ = writeln!(text, "{time}  {:.3} s", report.interval.as_secs_f64());
        }
        self.write(report, &mut text);
        if self.style.repeated {
            text.push('\n');
        }
        out.extend_from_slice(text.as_bytes());
    }

    fn wants_overall(&self) -> bool {
        self.style.repeated
    }

    fn overall(&mut self, report: &Report, intervals: u64, out: &mut Vec<u8>) {
        let mut text = String::new();
        let seconds = report.interval.as_secs_f64();
        let _ = writeln!(
            text,
            "all {intervals} intervals, {seconds:.3} s: totals, and average bandwidth"
        );
        self.write(report, &mut text);
        out.extend_from_slice(text.as_bytes());
    }
}
