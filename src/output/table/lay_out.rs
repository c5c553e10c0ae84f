//! Distributes the width of a terminal over the columns, and puts values into their places.

use comfy_table::{CellAlignment, ContentArrangement};

use super::columns::{Cell, Column, Identity, MIN_NAME_WIDTH};
use super::line::Line;
use super::shorten::{Ellipsis, shorten};

/// A column of a table with its values.
pub(super) struct Shown {
    pub(super) column: &'static Column,
    /// A value for each line.
    pub(super) cells: Vec<String>,
    pub(super) width: usize,
}

impl Shown {
    fn is_number(&self) -> bool {
        matches!(self.column.cell, Cell::Number(_) | Cell::Tcp(_))
    }
}

/// Makes columns narrower by `excess` in total: the name down to `wanted`, then the remote end, the
/// local end, and the name again. Returns the width of the name.
pub(super) fn narrow(
    mut name: usize,
    wanted: usize,
    mut excess: usize,
    columns: &mut [Shown],
) -> usize {
    let mut cut = |width: &mut usize, narrowest: usize| {
        let less = excess.min(width.saturating_sub(narrowest));
        *width -= less;
        excess -= less;
    };
    cut(&mut name, wanted.max(MIN_NAME_WIDTH));
    for shown in columns.iter_mut().rev() {
        if let Some(narrowest) = shown.column.narrowest() {
            cut(&mut shown.width, narrowest);
        }
    }
    cut(&mut name, MIN_NAME_WIDTH);
    name
}

/// The widths of columns that do not know theirs.
pub(super) struct Widths {
    pub(super) ids: Vec<usize>,
    pub(super) name: usize,
    /// Of the container, the unit or the cgroup.
    pub(super) place: usize,
}

/// The lines of text: a header, and `lines`. The columns after the name are `shown`. `mark` stands
/// for what is left out of a value.
pub(super) fn lay_out(
    identity: &Identity,
    lines: &[Line<'_>],
    shown: &[Shown],
    widths: &Widths,
    mark: &str,
) -> Vec<String> {
    let Widths { ids, name, place } = widths;
    let right = |title: &str, width: usize| format!("{title:>width$}");
    let left = |title: &str, width: usize| format!("{title:<width$}");
    let mut titles: Vec<String> = identity
        .ids
        .iter()
        .zip(ids)
        .map(|((title, _), width)| right(title, *width))
        .collect();
    titles.push(left(identity.name, *name));
    titles.extend(shown.iter().map(|shown| {
        let align = if shown.is_number() { right } else { left };
        align(shown.column.title, shown.width)
    }));
    let mut table = comfy_table::Table::new();
    table
        .load_style(comfy_table::presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(titles);
    for (at, line) in lines.iter().enumerate() {
        let mut row = line.ids.clone();
        row.push(if line.exited {
            let short = shorten(&line.name, name.saturating_sub(2), identity.ellipsis, mark);
            format!("<{short}>")
        } else {
            shorten(&line.name, *name, identity.ellipsis, mark)
        });
        for Shown {
            column,
            cells,
            width,
        } in shown
        {
            let cell = cells.get(at).map_or("", String::as_str);
            row.push(match column.cell {
                Cell::Place => shorten(cell, *place, Ellipsis::Middle, mark),
                Cell::Remote(_) => shorten(cell, *width, Ellipsis::Middle, mark),
                Cell::Number(_) | Cell::Tcp(_) | Cell::User => cell.to_owned(),
            });
        }
        table.add_row(row);
    }
    let ids = ids.len();
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((0, 1));
        let is_number = match at.checked_sub(ids + 1) {
            None => at != ids,
            Some(at) => shown.get(at).is_none_or(Shown::is_number),
        };
        if is_number {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect()
}
