//! The report as a page for a browser: one file that loads nothing.
//!
//! A small script of our own draws the timeline. A chart that was drawn once, as by the crate
//! `plotters`, could not follow the pointer, the zoom and the filter.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::collect::Collector;
use super::data::data;
use super::findings::findings;
use super::lines::Lines;
use super::names::{host_name, length, rfc3339};
use super::notes::{Source, notes};
use super::sentence::{Sentence, escaped};
use crate::error::Error;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = concat!(
    include_str!("page/values.js"),
    include_str!("page/timeline.js"),
    include_str!("page/tables.js"),
    include_str!("page/events.js"),
);

/// The hashes of style and script, in base64. The page tells browsers to use nothing else.
const STYLE_HASH: &str = "oxug67WkgP/ikNmshwgmp0Kp6NJcG1R7G64aEeokdvg=";
const SCRIPT_HASH: &str = "j7BE2ciT9fOHZu5JqE5y69UgcnrJ4d57tVhJKIDusNg=";

/// The most bytes of data in a page. Bins get longer until it fits.
const MOST_DATA: usize = 850_000;

/// Makes bins as long as the size of the page needs.
///
/// # Errors
///
/// If a sum needs more than 64 bits.
pub(super) fn fit(lines: &mut Lines) -> Result<(), Error> {
    while super::data::size(lines) > MOST_DATA && lines.lengthen()? {}
    Ok(())
}

/// Writes the page.
pub(super) fn write(
    collector: &Collector,
    lines: &Lines,
    sources: &[Source],
    to: &mut dyn Write,
) -> io::Result<()> {
    let heading = heading(collector);
    let intervals: u64 = collector.hosts.iter().map(|host| host.intervals).sum();
    let mut about: Vec<String> = vec![format!(
        "Made by netatop {} from {}. All sums are exact. An interval belongs to the bin that \
         contains its middle, and a bin is {} long.",
        env!("CARGO_PKG_VERSION"),
        crate::text::counted(sources.len() as u64, "recording", "recordings"),
        length(lines.length.milliseconds())
    )];
    if let Some((from, to)) = collector.recorded() {
        about.push(format!(
            "All times on this page are limits of bins. The first interval began at {}, and the \
             last one ended at {}.",
            rfc3339(from),
            rfc3339(to)
        ));
    }
    let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
    about.push(format!(
        "Recordings: {}",
        crate::text::shortened(&names.join(", "), 400)
    ));
    about.extend(super::findings::missing(lines));
    about.extend(notes(collector, sources, lines.length));
    // Writing to memory cannot fail.
    let mut sentences = String::new();
    for sentence in findings(collector, lines) {
        let _ = writeln!(sentences, "<p>{}</p>", sentence.html(lines));
    }
    let mut about_items = String::new();
    for text in about {
        let _ = writeln!(about_items, "<li>{}</li>", escaped(&text));
    }
    let (begin, end) = lines.span();
    let span = Sentence::default().dates((begin, end)).text(format!(
        ", {}, {}",
        length(end - begin),
        crate::text::counted(intervals, "interval", "intervals")
    ));
    let span = match collector.recorded() {
        Some(_) => span.html(lines),
        None => String::new(),
    };
    let data = serde_json::to_string(&data(collector, lines)).map_err(io::Error::other)?;
    let html = fill(&[
        ("STYLE_HASH", STYLE_HASH),
        ("SCRIPT_HASH", SCRIPT_HASH),
        ("TITLE", &escaped(&format!("{heading}: netatop report"))),
        (
            "HEADING",
            &escaped(&format!("Network traffic of {heading}")),
        ),
        ("SPAN", &span),
        ("FINDINGS", &sentences),
        ("NOTES", &about_items),
        // A `<` would end the element, or begin a comment.
        ("DATA", &data.replace('<', "\\u003c")),
        ("STYLE", STYLE),
        ("SCRIPT", SCRIPT),
    ]);
    to.write_all(html.as_bytes())
}

fn heading(collector: &Collector) -> String {
    let hosts: Vec<_> = (0..)
        .take(collector.hosts.len().min(4))
        .map(|host| host_name(collector, Some(host)))
        .collect();
    match collector.hosts.len() {
        0 => "no host".to_owned(),
        1 if hosts.first().is_some_and(|name| name == "-") => "an unnamed host".to_owned(),
        count if count > hosts.len() => format!("{count} hosts"),
        _ => hosts.join(", "),
    }
}

/// Fills the template. What is filled in is not searched for names again.
fn fill(values: &[(&str, &str)]) -> String {
    let mut html = String::new();
    let mut rest = PAGE;
    while let Some((before, after)) = rest.split_once('{') {
        html.push_str(before);
        let named = after.split_once('}').and_then(|(name, after)| {
            Some((values.iter().find(|(known, _)| *known == name)?, after))
        });
        match named {
            Some(((_, value), after)) => {
                html.push_str(value);
                rest = after;
            }
            None => {
                html.push('{');
                rest = after;
            }
        }
    }
    html.push_str(rest);
    html
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use sha2::Digest as _;

    /// A browser refuses a style and a script that do not have the hashes of the policy.
    #[test]
    fn the_hashes_are_those_of_the_style_and_the_script() {
        let of = |text: &str| {
            base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(text))
        };
        assert_eq!(
            (STYLE_HASH, SCRIPT_HASH),
            (of(STYLE).as_str(), of(SCRIPT).as_str())
        );
    }

    #[test]
    fn what_is_filled_in_is_not_a_template() {
        let html = fill(&[("TITLE", "{SCRIPT}"), ("SCRIPT", "x")]);
        assert!(html.contains("<title>{SCRIPT}</title>"));
    }
}
