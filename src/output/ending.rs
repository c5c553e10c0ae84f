//! Format and compression of a file, from the extensions of its name.

use std::path::Path;

use clap::ValueEnum;

use super::compress::Compression;
use super::lines::Lines;
use crate::error::Error;
use crate::text::{shown, shown_path};

/// The format of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people
    Table,
    /// A header, and one line for each row
    Csv,
    /// JSON Lines: one object for each row
    Json,
}

impl OutputFormat {
    /// The rule for line ends in this format.
    pub(super) fn lines(self) -> Lines {
        match self {
            Self::Csv => Lines::Quoted,
            Self::Json | Self::Table => Lines::Plain,
        }
    }
}

/// File extensions and their formats. Case is ignored.
const ENDINGS: [(&str, OutputFormat); 7] = [
    ("csv", OutputFormat::Csv),
    ("json", OutputFormat::Json),
    ("jsonl", OutputFormat::Json),
    ("ndjson", OutputFormat::Json),
    ("txt", OutputFormat::Table),
    ("log", OutputFormat::Table),
    ("out", OutputFormat::Table),
];

/// File extensions of compressed files, which follow the extension of the format.
const COMPRESSED: [(&str, Compression); 2] =
    [("gz", Compression::Gzip), ("zst", Compression::Zstd)];

/// Format and compression that the name of a file stands for.
pub(super) struct Ending<'a> {
    pub(super) format: Option<OutputFormat>,
    pub(super) compression: Option<Compression>,
    /// An extension that is not known.
    unknown: Option<&'a str>,
}

impl<'a> Ending<'a> {
    /// Parses the name of a file, without its directory.
    pub(super) fn of(name: &'a str) -> Self {
        let (rest, compression) = match name.rsplit_once('.') {
            Some((rest, ending)) => match known(&COMPRESSED, ending) {
                Some(compression) => (rest, Some(compression)),
                None => (name, None),
            },
            None => (name, None),
        };
        let parts = rest.rsplit_once('.');
        let format = parts.and_then(|(_, ending)| known(&ENDINGS, ending));
        // A name such as `.name` has no extension: it is a hidden file.
        let ending = parts
            .filter(|(stem, _)| format.is_some() || !stem.is_empty())
            .map(|(_, ending)| ending);
        Self {
            format: format
                .or((ending.is_none() && compression.is_none()).then_some(OutputFormat::Table)),
            compression,
            unknown: match (format, ending) {
                (Some(_), _) => None,
                (None, Some(ending)) => Some(ending),
                // `rec.gz` does not say which format is compressed.
                (None, None) => compression.and(name.rsplit('.').next()),
            },
        }
    }
}

impl Ending<'_> {
    /// The error for an unknown extension.
    pub(super) fn unknown(&self, path: &Path) -> Error {
        let known: Vec<_> = ENDINGS
            .iter()
            .map(|(ending, _)| format!(".{ending}"))
            .collect();
        Error::Usage(format!(
            "{}: unknown file extension .{}: use one of {}, add .gz or .zst to compress, or give --format",
            shown_path(path),
            shown(self.unknown.unwrap_or_default()),
            known.join(" "),
        ))
    }
}

fn known<T: Copy>(endings: &[(&str, T)], ending: &str) -> Option<T> {
    endings
        .iter()
        .find(|(known, _)| known.eq_ignore_ascii_case(ending))
        .map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_extension_decides_in_any_case() {
        use Compression::{Gzip, Zstd};
        use OutputFormat::{Csv, Json, Table};
        for (name, format, compression) in [
            ("a.csv", Csv, None),
            ("a.CSV", Csv, None),
            (".csv", Csv, None),
            ("a.b.csv.gz", Csv, Some(Gzip)),
            ("a.Csv.ZST", Csv, Some(Zstd)),
            ("a.json", Json, None),
            ("a.jsonl.zst", Json, Some(Zstd)),
            ("a.ndjson.gz", Json, Some(Gzip)),
            ("a", Table, None),
            ("a.txt", Table, None),
            (".hidden", Table, None),
            ("a.log.gz", Table, Some(Gzip)),
        ] {
            let parsed = Ending::of(name);
            assert_eq!(
                (parsed.format, parsed.compression),
                (Some(format), compression),
                "{name}"
            );
            assert_eq!(parsed.unknown, None, "{name}");
        }
    }

    #[test]
    fn an_unknown_extension_is_named_with_the_known_ones() {
        for (name, unknown, compression) in [
            ("a.tsv", "tsv", None),
            ("a.parquet", "parquet", None),
            ("a.gz", "gz", Some(Compression::Gzip)),
            ("a.csv.bz2", "bz2", None),
            ("a.parquet.gz", "parquet", Some(Compression::Gzip)),
            ("a.", "", None),
            ("a.csv ", "csv ", None),
            (".gz", "gz", Some(Compression::Gzip)),
        ] {
            let parsed = Ending::of(name);
            assert_eq!(
                (parsed.format, parsed.compression),
                (None, compression),
                "{name}"
            );
            assert_eq!(parsed.unknown, Some(unknown), "{name}");
            let message = parsed.unknown(Path::new(name)).to_string();
            assert_eq!(message.lines().count(), 1);
            assert!(
                message.contains(".csv") && message.contains(".zst"),
                "{message}"
            );
        }
    }

    proptest! {
        #[test]
        fn no_name_makes_a_long_message(name in "(?s).{0,5000}") {
            let parsed = Ending::of(&name);
            prop_assert_eq!(parsed.format.is_none(), parsed.unknown.is_some());
            let message = parsed.unknown(Path::new(&name)).to_string();
            prop_assert_eq!(message.lines().count(), 1);
            prop_assert!(message.chars().count() < 700);
        }
    }
}
