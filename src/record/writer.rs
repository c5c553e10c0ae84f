//! Makes the writer of a recording's rows, and checks the columns of a file that is appended to.

use std::os::fd::AsFd;

use super::terminal::{is_dumb, is_set, shows_utf8, terminal_width};
use crate::error::Error;
use crate::host::{host_name, user_name};
use crate::model::Layout;
use crate::output::{
    Csv, Destination, Escaped, Format, Json, OutputFormat, Sink, Table, TableStyle, columns,
};
use crate::text::shown;

/// Makes the writer for rows of `layout` at `destination`. `repeated` is set if there is more than
/// one interval.
///
/// # Errors
///
/// [`Error::Usage`] if the file has other columns.
pub(super) fn writer(
    layout: Layout,
    repeated: bool,
    destination: &Destination,
    sink: &Sink,
) -> Result<Box<dyn Format>, Error> {
    let host = host_name().unwrap_or_default();
    let other_columns = |what: &str| {
        Error::Usage(format!(
            "{} has other columns than this recording would write: {}\n\
             choose another file, or the options that created this file",
            sink.name(),
            shown(what)
        ))
    };
    let safe = |format: Box<dyn Format>| -> Box<dyn Format> {
        if destination.is_terminal(sink) {
            Box::new(Escaped(format))
        } else {
            format
        }
    };
    Ok(match destination.format() {
        OutputFormat::Table => {
            Box::new(table(layout, repeated, destination.is_terminal(sink), sink))
        }
        OutputFormat::Csv => {
            let header = Csv::header(layout);
            if let Some(line) = sink.first_line()
                && line.trim_ascii_end() != header.trim_ascii_end()
            {
                return Err(other_columns(&String::from_utf8_lossy(line.trim_ascii())));
            }
            safe(Box::new(Csv::new(layout, host, true)))
        }
        OutputFormat::Json => {
            if let Some(line) = sink.first_line() {
                let keys = keys(line)
                    .ok_or_else(|| other_columns("the first line is not a JSON object"))?;
                let ours: Vec<_> = columns(layout).iter().map(|c| c.id).collect();
                if keys != ours {
                    return Err(other_columns(&keys.join(", ")));
                }
            }
            safe(Box::new(Json::new(layout, host)))
        }
    })
}

/// The keys of a JSON object, in the order of the text.
pub(crate) fn keys(line: &[u8]) -> Option<Vec<String>> {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_slice(line).ok()?;
    Some(object.into_iter().map(|(key, _)| key).collect())
}

fn table(layout: Layout, repeated: bool, is_terminal: bool, sink: &Sink) -> Table {
    let style = TableStyle {
        width: None,
        color: is_terminal && !is_dumb() && !is_set("NO_COLOR"),
        escape: is_terminal,
        repeated,
        ascii: is_terminal && !shows_utf8(),
        zone: None,
    };
    let table = Table::new(layout, style, user_name);
    match sink.as_fd().try_clone_to_owned() {
        Ok(terminal) if is_terminal => table.with_width(move || Some(terminal_width(&terminal))),
        _ => table,
    }
}
