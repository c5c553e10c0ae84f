//! The report as a page for a browser: one file that loads nothing.
//!
//! A small script of our own draws the timeline. A chart that was drawn once, as by the crate
//! `plotters`, could not follow the pointer, the zoom and the filter.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::collect::Collector;
use super::data::data;
use super::findings::{findings, utc_span};
use super::lines::Lines;
use super::names::{host_name, length};
use super::notes::Source;
use super::notes::notes;
use crate::error::Error;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The hashes of style and script, in base64. The page tells browsers to use nothing else.
const STYLE_HASH: &str = "EOvl7CLFZhK6vuVvBxJZt+5+35OPmF6mBlJ9OyJmxLM=";
const SCRIPT_HASH: &str = "E1GTC0OZcilrQYLAzeznmiqVe+Jx4X9STMZV2mYbIiY=";

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
    let span = collector.recorded().unwrap_or((0, 0));
    let heading = heading(collector);
    let intervals: u64 = collector.hosts.iter().map(|host| host.intervals).sum();
    let mut about: Vec<String> = vec![format!(
        "Made by netatop {} from {}. All sums are exact. An interval belongs to the bin that \
         contains its middle, and a bin is {} long.",
        env!("CARGO_PKG_VERSION"),
        crate::text::counted(sources.len() as u64, "recording", "recordings"),
        length(lines.length.milliseconds())
    )];
    let names: Vec<_> = sources.iter().map(|source| source.name.as_str()).collect();
    about.push(format!(
        "Recordings: {}",
        crate::text::shortened(&names.join(", "), 400)
    ));
    about.extend(super::findings::missing(lines));
    about.extend(notes(collector, sources));
    let paragraphs = |tag: &str, texts: &[String]| {
        let mut html = String::new();
        for text in texts {
            // Writing to memory cannot fail.
            let _ = writeln!(html, "<{tag}>{}</{tag}>", escaped(text));
        }
        html
    };
    let span = format!(
        "{}, {}, {}",
        utc_span(span),
        length(span.1 - span.0),
        crate::text::counted(intervals, "interval", "intervals")
    );
    let data = serde_json::to_string(&data(collector, lines)).map_err(io::Error::other)?;
    let html = fill(&[
        ("STYLE_HASH", STYLE_HASH),
        ("SCRIPT_HASH", SCRIPT_HASH),
        ("TITLE", &escaped(&format!("{heading}: netatop report"))),
        (
            "HEADING",
            &escaped(&format!("Network traffic of {heading}")),
        ),
        ("SPAN", &escaped(&span)),
        ("FINDINGS", &paragraphs("p", &findings(collector, lines))),
        ("NOTES", &paragraphs("li", &about)),
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

/// Text for HTML.
fn escaped(text: &str) -> String {
    let mut html = String::new();
    for c in text.chars() {
        match c {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            c => html.push(c),
        }
    }
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
        assert_eq!(
            escaped("<a href='\"&\">"),
            "&lt;a href=&#39;&quot;&amp;&quot;&gt;"
        );
    }
}
