//! Where a report goes, and in which format.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::ValueEnum;
use flate2::write::GzEncoder;

use crate::error::Error;
use crate::recording::Input;
use crate::text::{is_stdout_closed, shown_path};

/// The format of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// A summary for people
    Table,
    /// Rows with a header
    Csv,
    /// JSON Lines: one object for each row
    Json,
    /// A page for a browser, in one file
    Html,
}

/// File extensions and their formats.
const ENDINGS: [(&str, ReportFormat); 9] = [
    ("csv", ReportFormat::Csv),
    ("json", ReportFormat::Json),
    ("jsonl", ReportFormat::Json),
    ("ndjson", ReportFormat::Json),
    ("html", ReportFormat::Html),
    ("htm", ReportFormat::Html),
    ("txt", ReportFormat::Table),
    ("log", ReportFormat::Table),
    ("out", ReportFormat::Table),
];

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compression {
    Gzip,
    Zstd,
}

/// Where a report goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Destination {
    path: Option<PathBuf>,
    pub(super) format: ReportFormat,
    compression: Option<Compression>,
}

impl Destination {
    /// Decides from the options.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the format is known neither from the ending nor from the option.
    pub(super) fn decide(path: Option<&Path>, format: Option<ReportFormat>) -> Result<Self, Error> {
        let Some(path) = path.filter(|path| *path != Path::new("-")) else {
            return Ok(Self {
                path: None,
                format: format.unwrap_or(ReportFormat::Table),
                compression: None,
            });
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.to_ascii_lowercase();
        let (rest, compression) = match name.rsplit_once('.') {
            Some((rest, "gz")) => (rest, Some(Compression::Gzip)),
            Some((rest, "zst")) => (rest, Some(Compression::Zstd)),
            _ => (name.as_str(), None),
        };
        let ending = rest.rsplit_once('.').map(|(_, ending)| ending);
        let known = match ending {
            Some(ending) => ENDINGS.iter().find(|(known, _)| *known == ending),
            None => None,
        };
        let is_plain = ending.is_none() && compression.is_none();
        let by_ending = known
            .map(|(_, format)| *format)
            .or(is_plain.then_some(ReportFormat::Table));
        let Some(format) = format.or(by_ending) else {
            return Err(Error::Usage(format!(
                "{}: unknown file extension: use .html, .csv, .jsonl or .txt, or give --format",
                shown_path(path)
            )));
        };
        Ok(Self {
            path: Some(path.to_owned()),
            format,
            compression,
        })
    }

    /// Checks that no file would be replaced, before recordings are read.
    ///
    /// # Errors
    ///
    /// If the file exists and `force` is not set, or if it is one of the recordings.
    pub(super) fn check(&self, force: bool, inputs: &[Input]) -> Result<(), Error> {
        let Some(path) = self.path.as_deref() else {
            return Ok(());
        };
        check(path, force)?;
        if inputs.iter().any(|input| input.is_file(path)) {
            return Err(Error::Usage(format!(
                "{} is a recording that is read: choose another file",
                shown_path(path)
            )));
        }
        Ok(())
    }

    /// Whether the report is shown on a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.path.is_none() && io::stdout().is_terminal()
    }

    /// The name for messages.
    pub(super) fn name(&self) -> String {
        let path = self.path.as_deref();
        path.map_or_else(|| "standard output".to_owned(), shown_path)
    }

    /// Writes the report. `write` gets the output.
    ///
    /// # Errors
    ///
    /// If the file exists and `force` is not set, or if the output cannot be written.
    pub(super) fn write(
        &self,
        force: bool,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<(), Error> {
        let output: Box<dyn Write> = match &self.path {
            None if is_stdout_closed() => {
                return Err(Error::Failed(
                    "standard output is closed: no output to write a report to".to_owned(),
                ));
            }
            None => Box::new(io::stdout().lock()),
            Some(path) => Box::new(open(path, force)?),
        };
        let mut output = BufWriter::with_capacity(64 << 10, output);
        let written = match self.compression {
            None => write(&mut output),
            Some(Compression::Gzip) => {
                let mut encoder = GzEncoder::new(&mut output, flate2::Compression::default());
                write(&mut encoder).and_then(|()| encoder.finish().map(drop))
            }
            Some(Compression::Zstd) => {
                zstd::stream::write::Encoder::new(&mut output, 3).and_then(|mut encoder| {
                    write(&mut encoder).and_then(|()| encoder.finish().map(drop))
                })
            }
        };
        written
            .and_then(|()| output.flush())
            .map_err(|error| Error::write(&self.name(), &error))
    }
}

fn check(path: &Path, force: bool) -> Result<(), Error> {
    if is_file(path) && !force {
        return Err(Error::Usage(format!(
            "{} exists: choose another file, or replace it with --force",
            shown_path(path)
        )));
    }
    Ok(())
}

/// Whether there is a file. A pipe or a device has nothing that could be lost.
fn is_file(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.is_file())
}

fn open(path: &Path, force: bool) -> Result<std::fs::File, Error> {
    check(path, force)?;
    let (is_file, is_new) = (is_file(path), !path.exists());
    let mut options = OpenOptions::new();
    options.write(true).truncate(is_file).create_new(is_new);
    options
        .open(path)
        .map_err(|error| Error::failed(format!("{} could not be created", shown_path(path)), error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ending_decides() {
        for (name, format, compression) in [
            ("a.html", ReportFormat::Html, None),
            ("a.HTM", ReportFormat::Html, None),
            ("a.csv.zst", ReportFormat::Csv, Some(Compression::Zstd)),
            ("a.jsonl.gz", ReportFormat::Json, Some(Compression::Gzip)),
            ("a", ReportFormat::Table, None),
        ] {
            let found = Destination::decide(Some(Path::new(name)), None).expect(name);
            assert_eq!(
                (found.format, found.compression),
                (format, compression),
                "{name}"
            );
        }
        for name in ["a.pdf", "a.gz", "a.parquet"] {
            let refused = Destination::decide(Some(Path::new(name)), None);
            assert!(matches!(refused, Err(Error::Usage(_))), "{name}");
            assert!(Destination::decide(Some(Path::new(name)), Some(ReportFormat::Csv)).is_ok());
        }
    }
}
