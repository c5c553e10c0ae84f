//! Where rows go: decided once, from the options and from what the streams are.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::io::FdFlags;

use super::compress::Compression;
use super::ending::{Ending, OutputFormat};
use super::open::Existing;
use super::sink::Sink;
use super::stream::Kind;
use crate::error::Error;
use crate::inherited::was_closed;

/// What the user asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `--output`.
    pub output: Option<&'a Path>,
    /// `--format`.
    pub format: Option<OutputFormat>,
    /// `--append` and `--force`.
    pub existing: Existing,
    /// A command runs, and standard output is its own.
    pub has_command: bool,
}

/// Which stream or file.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// A descriptor that was handed over; 1 and 2 are the standard streams.
    Descriptor(i32),
    File(PathBuf),
}

/// Where rows go, and how they are written there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    target: Target,
    format: OutputFormat,
    compression: Option<Compression>,
    existing: Existing,
}

impl Destination {
    /// Decides from what was asked for alone.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the name of the file does not say how to write it, and `--format`
    /// neither; or if a table is to be appended to a file.
    pub fn decide(request: Request<'_>) -> Result<Self, Error> {
        let stream = |descriptor, format: Option<_>| Self {
            target: Target::Descriptor(descriptor),
            format: format.unwrap_or(OutputFormat::Table),
            compression: None,
            existing: Existing::Refuse,
        };
        let Some(path) = request.output else {
            // Beside a command's own output, rows go to standard error.
            let descriptor = if request.has_command { 2 } else { 1 };
            return Ok(stream(descriptor, request.format));
        };
        if let Some(descriptor) = descriptor_of(path) {
            return Ok(stream(descriptor, request.format));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let ending = Ending::of(&name);
        let format = request
            .format
            .or(ending.format)
            .ok_or_else(|| ending.unknown(path))?;
        if matches!(request.existing, Existing::Append { .. }) && format == OutputFormat::Table {
            return Err(Error::Usage(
                "--append needs rows that can be told apart later: --format csv or json".to_owned(),
            ));
        }
        Ok(Self {
            target: Target::File(path.to_owned()),
            format,
            compression: ending.compression,
            existing: request.existing,
        })
    }

    /// How rows are written.
    #[must_use]
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Opens it, and changes nothing yet.
    ///
    /// # Errors
    ///
    /// As [`Sink::open`] and [`Sink::descriptor`]; and if the stream was closed when netatop was
    /// started.
    pub fn open(&self) -> Result<Sink, Error> {
        let lines = self.format.lines();
        match &self.target {
            Target::File(path) => Sink::open(path, self.existing, lines, self.compression),
            Target::Descriptor(descriptor) => {
                let name = match descriptor {
                    1 => "standard output".to_owned(),
                    2 => "standard error".to_owned(),
                    descriptor => format!("/dev/fd/{descriptor}"),
                };
                let fd = (!is_closed(*descriptor))
                    .then(|| duplicate(*descriptor))
                    .flatten()
                    .ok_or_else(|| {
                        Error::Failed(format!("{name} is closed: rows have nowhere to go"))
                    })?;
                Sink::descriptor(&name, fd, lines, self.compression)
            }
        }
    }

    /// Whether a person sees the rows: names must be escaped then.
    #[must_use]
    pub fn is_terminal(&self, sink: &Sink) -> bool {
        sink.kind() == Kind::Terminal
    }

    /// Whether other text on standard error would be taken for rows: CSV and JSON go there too, and
    /// not to a person.
    #[must_use]
    pub fn excludes_summary(&self, sink: &Sink) -> bool {
        self.format != OutputFormat::Table
            && (self.target == Target::Descriptor(2)
                || (sink.kind() != Kind::Terminal && sink.is_same_as(io::stderr())))
    }

    /// Whether a line on standard error that is drawn again and again would be in the way.
    /// `standard_output` is what that is; `rows_run_by` is whether rows are written all the time.
    ///
    /// A pipe may lead to a program that draws on the same terminal, such as `less` or `tee`.
    #[must_use]
    pub fn excludes_progress(
        &self,
        sink: Kind,
        standard_output: Option<Kind>,
        rows_run_by: bool,
    ) -> bool {
        let leads_elsewhere = |kind| matches!(kind, Kind::Pipe | Kind::Socket);
        leads_elsewhere(sink)
            || standard_output.is_some_and(leads_elsewhere)
            || self.target == Target::Descriptor(2)
            || (sink == Kind::Terminal && rows_run_by)
    }
}

/// The descriptor that a path means: `-` by old custom, and the names under which the kernel shows
/// the descriptors of a process. Opening such a name would fail for sockets, and would overwrite a
/// file from its beginning.
fn descriptor_of(path: &Path) -> Option<i32> {
    match path.to_str()? {
        "-" | "/dev/stdout" => Some(1),
        "/dev/stderr" => Some(2),
        path => ["/dev/fd/", "/proc/self/fd/"]
            .iter()
            .find_map(|directory| path.strip_prefix(directory))
            .and_then(|number| number.parse().ok())
            .filter(|descriptor| *descriptor >= 0),
    }
}

/// Whether it is a standard stream that was closed when netatop started: the runtime opened
/// /dev/null in its place.
fn is_closed(descriptor: i32) -> bool {
    u8::try_from(descriptor).is_ok_and(was_closed)
}

/// A duplicate of a descriptor that was handed over; `None` if it was not. This program's own
/// descriptors are closed on exec, and ones that were handed over cannot be.
fn duplicate(descriptor: i32) -> Option<OwnedFd> {
    // SAFETY: only two system calls use the descriptor. The first tells whether it is open, and
    // nothing closes it in between: this program closes none that it did not open.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let flags = rustix::io::fcntl_getfd(borrowed).ok()?;
    if flags.contains(FdFlags::CLOEXEC) {
        return None;
    }
    borrowed.as_fd().try_clone_to_owned().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(output: Option<&str>) -> Request<'_> {
        Request {
            output: output.map(Path::new),
            format: None,
            existing: Existing::Refuse,
            has_command: false,
        }
    }

    #[test]
    fn a_format_that_is_given_wins_over_the_ending() {
        for (name, compression) in [
            ("a.csv", None),
            ("a.parquet", None),
            ("a.gz", Some(Compression::Gzip)),
            ("dir.csv/a", None),
        ] {
            let given = Request {
                format: Some(OutputFormat::Json),
                ..request(Some(name))
            };
            let destination = Destination::decide(given).expect("a format");
            assert_eq!(destination.format, OutputFormat::Json);
            assert_eq!(destination.compression, compression, "{name}");
        }
        let refused = Destination::decide(request(Some("a.parquet"))).expect_err("unknown");
        assert_eq!(refused.status(), 2);
        let destination = Destination::decide(request(Some("dir.csv/a"))).expect("a table");
        assert_eq!(destination.format, OutputFormat::Table);
    }

    #[test]
    fn names_of_descriptors_are_the_descriptors_themselves() {
        let target = |output: Option<&str>, has_command| {
            let request = Request {
                has_command,
                ..request(output)
            };
            Destination::decide(request).expect("known").target
        };
        assert_eq!(target(None, false), Target::Descriptor(1));
        assert_eq!(target(None, true), Target::Descriptor(2));
        for has_command in [false, true] {
            for (path, descriptor) in [
                ("-", 1),
                ("/dev/stdout", 1),
                ("/dev/stderr", 2),
                ("/dev/fd/63", 63),
                ("/proc/self/fd/3", 3),
            ] {
                assert_eq!(
                    target(Some(path), has_command),
                    Target::Descriptor(descriptor)
                );
            }
            for path in ["/dev/fd/x", "/dev/fd/-1", "./-", "/dev/null"] {
                assert_eq!(target(Some(path), has_command), Target::File(path.into()));
            }
        }
    }

    #[test]
    fn a_descriptor_of_this_program_itself_is_not_one_to_write_to() {
        use std::os::fd::AsRawFd;
        let own = std::fs::File::create(tempfile::tempdir().expect("dir").path().join("own"));
        let path = format!("/dev/fd/{}", own.as_ref().expect("a file").as_raw_fd());
        let destination = Destination::decide(request(Some(&path))).expect("a descriptor");
        let refused = destination.open().err().expect("refused");
        assert!(refused.to_string().contains("is closed"), "{refused}");
    }

    #[test]
    fn progress_is_drawn_where_nothing_else_writes() {
        let excluded = |output: Option<&str>, has_command, sink, stdout, rows_run_by| {
            let request = Request {
                has_command,
                ..request(output)
            };
            let destination = Destination::decide(request).expect("known");
            destination.excludes_progress(sink, Some(stdout), rows_run_by)
        };
        use Kind::{Device, File, Pipe, Terminal};
        for rows_run_by in [false, true] {
            assert!(!excluded(Some("a.csv"), false, File, Terminal, rows_run_by));
            assert!(!excluded(None, false, File, File, rows_run_by));
            assert!(!excluded(None, false, Device, Device, rows_run_by));
            assert!(excluded(None, false, Pipe, Pipe, rows_run_by));
            assert!(excluded(Some("a.csv"), false, File, Pipe, rows_run_by));
            assert!(excluded(
                Some("fifo.csv"),
                false,
                Pipe,
                Terminal,
                rows_run_by
            ));
            assert!(excluded(None, true, Terminal, Terminal, rows_run_by));
        }
        assert!(!excluded(None, false, Terminal, Terminal, false));
        assert!(excluded(None, false, Terminal, Terminal, true));
    }
}
