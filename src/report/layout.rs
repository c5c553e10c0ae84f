//! Tables of a summary, fitted to the width of a terminal.

use std::io;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How a summary looks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style {
    /// The width in columns.
    pub(super) width: usize,
    /// Whether headings are bold.
    pub(super) color: bool,
    /// Whether only ASCII characters can be shown.
    pub(super) ascii: bool,
}

impl Style {
    /// The style for files.
    pub(super) const PLAIN: Self = Self {
        width: 80,
        color: false,
        ascii: false,
    };

    /// The style for standard output.
    pub(super) fn of_stdout(is_terminal: bool) -> Self {
        let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let size = rustix::termios::tcgetwinsize(io::stdout()).ok();
        let columns = size.map(|size| usize::from(size.ws_col));
        // The variables and the order of locale(7).
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find(|name| is_set(name));
        let locale = locale.and_then(std::env::var_os).unwrap_or_default();
        let locale = locale.to_string_lossy().to_ascii_lowercase();
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        let variable = std::env::var("COLUMNS").ok();
        let variable = variable.and_then(|columns| columns.parse().ok());
        Self {
            width: columns
                .filter(|columns| is_terminal && *columns > 0)
                .or(variable)
                .unwrap_or(80)
                .clamp(40, 1000),
            color: is_terminal && !is_dumb && !is_set("NO_COLOR"),
            ascii: is_terminal && !locale.contains("utf-8") && !locale.contains("utf8"),
        }
    }

    /// A heading.
    pub(super) fn heading(self, text: &str) -> String {
        match self.color {
            true => format!("\u{1b}[1m{text}\u{1b}[0m\n"),
            false => format!("{text}\n"),
        }
    }
}

/// Breaks a line between words. The lines after the first one are indented.
pub(super) fn wrapped(text: &str, style: Style) -> String {
    let mut lines = String::new();
    let mut at = 0;
    for word in text.split(' ') {
        let width = word.width();
        if at > 2 && at + 1 + width > style.width {
            lines.push_str("\n  ");
            at = 2;
        } else if at > 0 {
            lines.push(' ');
            at += 1;
        }
        lines.push_str(word);
        at += width;
    }
    lines.push('\n');
    lines
}

/// A column of a table.
pub(super) struct Column {
    title: &'static str,
    is_text: bool,
    /// Columns with a higher number are left out first; 0 is never left out.
    rank: u8,
    cells: Vec<String>,
}

impl Column {
    /// A column of numbers.
    pub(super) fn numbers(title: &'static str, rank: u8, cells: Vec<String>) -> Self {
        Self {
            title,
            is_text: false,
            rank,
            cells,
        }
    }

    /// A column of text.
    pub(super) fn text(title: &'static str, rank: u8, cells: Vec<String>) -> Self {
        Self {
            title,
            is_text: true,
            rank,
            cells,
        }
    }

    fn width(&self) -> usize {
        let cells = self.cells.iter().map(|cell| cell.width());
        cells.chain([self.title.width()]).max().unwrap_or(0)
    }
}

/// The least width of a column of text.
const LEAST_TEXT: usize = 12;
/// The same, as long as there are columns that are less important than whole names.
const GOOD_TEXT: usize = 24;
/// The rank from which on columns are less important than whole names.
const LESS_IMPORTANT: u8 = 2;

/// Lays out a table in at most `style.width` columns: texts are shortened, and then the least
/// important columns are left out.
pub(super) fn table(mut columns: Vec<Column>, style: Style) -> String {
    let mut widths: Vec<usize>;
    loop {
        widths = columns.iter().map(Column::width).collect();
        let total =
            |widths: &[usize]| widths.iter().sum::<usize>() + widths.len().saturating_sub(1);
        let rank = columns.iter().map(|column| column.rank).max().unwrap_or(0);
        let least_text = match rank >= LESS_IMPORTANT {
            true => GOOD_TEXT,
            false => LEAST_TEXT,
        };
        let mut excess = total(&widths).saturating_sub(style.width);
        // The widest texts give up their width first.
        while excess > 0 {
            let texts = columns
                .iter()
                .zip(&mut widths)
                .filter(|(column, _)| column.is_text);
            match texts.map(|(_, width)| width).max_by_key(|width| **width) {
                Some(widest) if *widest > least_text => *widest -= 1,
                _ => break,
            }
            excess -= 1;
        }
        if excess == 0 || rank == 0 {
            break;
        }
        columns.retain(|column| column.rank < rank);
    }
    let mut text = String::new();
    let titles = columns.iter().map(|column| column.title);
    let line = row(&columns, &widths, titles, style);
    text.push_str(&style.heading(&line));
    let rows = columns.first().map_or(0, |column| column.cells.len());
    for index in 0..rows {
        let cells = columns
            .iter()
            .map(|column| column.cells.get(index).map_or("", String::as_str));
        text.push_str(&row(&columns, &widths, cells, style));
        text.push('\n');
    }
    text
}

fn row<'a>(
    columns: &[Column],
    widths: &[usize],
    cells: impl Iterator<Item = &'a str>,
    style: Style,
) -> String {
    let mut line = String::new();
    for ((column, width), cell) in columns.iter().zip(widths).zip(cells) {
        if !line.is_empty() {
            line.push(' ');
        }
        let cell = shortened(cell, *width, style.ascii);
        let fill = " ".repeat(width.saturating_sub(cell.width()));
        if column.is_text {
            line.push_str(&cell);
            line.push_str(&fill);
        } else {
            line.push_str(&fill);
            line.push_str(&cell);
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// Shortens a text to a width, at its end.
fn shortened(text: &str, width: usize, ascii: bool) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let mark = if ascii { "~" } else { "…" };
    let mut short = String::new();
    let mut left = width.saturating_sub(1);
    for c in text.chars() {
        let width = c.width().unwrap_or(0);
        if width > left {
            break;
        }
        left -= width;
        short.push(c);
    }
    short + mark
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_break_between_words() {
        let style = Style {
            width: 40,
            ..Style::PLAIN
        };
        assert_eq!(wrapped("short", style), "short\n");
        let text = "one two three four five six seven eight nine ten eleven";
        assert_eq!(
            wrapped(text, style),
            "one two three four five six seven eight\n  nine ten eleven\n"
        );
    }

    proptest! {
        #[test]
        fn no_line_is_wider_than_the_terminal(
            names in prop::collection::vec("\\PC{0,40}", 1..4),
            width in 40..130_usize,
            ascii in any::<bool>(),
        ) {
            let style = Style { width, color: false, ascii };
            let numbers = vec!["12345 Mbps".to_owned(); names.len()];
            let columns = vec![
                Column::text("NAME", 0, names.clone()),
                Column::numbers("A", 0, numbers.clone()),
                Column::numbers("B", 1, numbers.clone()),
                Column::numbers("C", 2, numbers),
                Column::text("REMOTE", 0, names),
            ];
            for line in table(columns, style).lines() {
                prop_assert!(line.width() <= width, "{line:?}");
            }
        }
    }
}
