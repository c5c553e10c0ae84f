//! Sentences of a page. Their times follow when the reader chooses another time zone.

use chrono::{DateTime, Utc};

use super::lines::Lines;
use super::names::rfc3339;

/// A part of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// A time of the day in milliseconds since 1970.
    Time(i64),
    /// Date and time.
    Date(i64),
    /// The name of the time zone.
    Zone,
}

/// A sentence, or several that belong together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sentence(Vec<Part>);

impl Sentence {
    pub(super) fn new(text: impl Into<String>) -> Self {
        Self::default().text(text)
    }

    pub(super) fn text(mut self, text: impl Into<String>) -> Self {
        self.0.push(Part::Text(text.into()));
        self
    }

    pub(super) fn time(mut self, milliseconds: i64) -> Self {
        self.0.push(Part::Time(milliseconds));
        self
    }

    /// From when to when, with the time zone.
    pub(super) fn span(self, (from, to): (i64, i64)) -> Self {
        self.time(from).text(" to ").time(to).zone()
    }

    /// From when to when, as dates with the time zone.
    pub(super) fn dates(mut self, (from, to): (i64, i64)) -> Self {
        self.0.push(Part::Date(from));
        self = self.text(" to ");
        self.0.push(Part::Date(to));
        self.zone()
    }

    pub(super) fn zone(mut self) -> Self {
        self.0.push(Part::Text(" ".to_owned()));
        self.0.push(Part::Zone);
        self
    }

    /// The sentence for HTML. Times are as exact as the bins of `lines`.
    pub(super) fn html(&self, lines: &Lines) -> String {
        let (from, to) = lines.span();
        let has_days = to.saturating_sub(from) > 23 * 3_600_000;
        let time = match lines.length.milliseconds() < 60_000 {
            true => "%H:%M:%S",
            false => "%H:%M",
        };
        let show = |milliseconds: i64, day: &str, class: &str| {
            let shown = DateTime::<Utc>::from_timestamp_millis(milliseconds)
                .unwrap_or_default()
                .format(&format!("{day}{time}"))
                .to_string();
            let exact = rfc3339(milliseconds);
            format!("<time datetime=\"{exact}\"{class}>{shown}</time>")
        };
        let day = if has_days { "%m-%d " } else { "" };
        let parts = self.0.iter().map(|part| match part {
            Part::Text(text) => escaped(text),
            Part::Time(time) => show(*time, day, ""),
            Part::Date(time) => show(*time, "%Y-%m-%d ", " class=\"full\""),
            Part::Zone => "<span class=\"zone\">UTC</span>".to_owned(),
        });
        parts.collect()
    }
}

/// Text for HTML.
pub(super) fn escaped(text: &str) -> String {
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

    #[test]
    fn texts_have_no_markup() {
        assert_eq!(
            escaped("<a href='\"&\">"),
            "&lt;a href=&#39;&quot;&amp;&quot;&gt;"
        );
    }
}
