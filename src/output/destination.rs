//! Decides where rows go, from the options and from the kind of each stream.

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

/// The options that decide where rows go.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// `--output`.
    pub output: Option<&'a Path>,
    /// `--format`.
    pub format: Option<OutputFormat>,
    /// `--append` and `--force`.
    pub existing: Existing,
    /// Whether a command runs, which uses standard output for itself.
    pub has_command: bool,
}

/// The stream or file that rows are written to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Target {
    /// An inherited descriptor; 1 and 2 are the standard streams.
    Descriptor(i32),
    File(PathBuf),
}

/// Where rows go, and in which format and compression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Destination {
    target: Target,
    format: OutputFormat,
    compression: Option<Compression>,
    existing: Existing,
}

impl Destination {
    /// Decides from the options alone.
    ///
    /// # Errors
    ///
    /// [`Error::Usage`] if the format is known neither from the extension nor from `--format`, or
    /// if a table would be appended to a file.
    pub fn decide(request: Request<'_>) -> Result<Self, Error> {
        let stream = |descriptor, format: Option<_>| Self {
            target: Target::Descriptor(descriptor),
            format: format.unwrap_or(OutputFormat::Table),
            compression: None,
            existing: Existing::Refuse,
        };
        let Some(path) = request.output else {
            // A command uses standard output, so rows go to standard error.
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
                "--append cannot be used with a table: add --format csv or --format json"
                    .to_owned(),
            ));
        }
        Ok(Self {
            target: Target::File(path.to_owned()),
            format,
            compression: ending.compression,
            existing: request.existing,
        })
    }

    /// The format of the rows.
    #[must_use]
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Opens the output without changing it.
    ///
    /// # Errors
    ///
    /// As [`Sink::open`] and [`Sink::descriptor`]; and if the stream was closed when netatop
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
                        Error::Failed(format!("{name} is closed: no output to write rows to"))
                    })?;
                Sink::descriptor(&name, fd, lines, self.compression)
            }
        }
    }

    /// Whether rows go to a terminal. If so, names must be escaped.
    #[must_use]
    pub fn is_terminal(&self, sink: &Sink) -> bool {
        sink.kind() == Kind::Terminal
    }

    /// Whether a summary on standard error would be mixed with CSV or JSON rows that a program
    /// reads.
    #[must_use]
    pub fn excludes_summary(&self, sink: &Sink) -> bool {
        self.format != OutputFormat::Table
            && (self.target == Target::Descriptor(2)
                || (sink.kind() != Kind::Terminal && sink.is_same_as(io::stderr())))
    }

    /// Whether a progress line on standard error would disturb other output. `standard_output` is
    /// the kind of standard output. `has_intervals` is set if rows are written repeatedly.
    ///
    /// A pipe may lead to a program that writes to the same terminal, such as `less` or `tee`.
    #[must_use]
    pub fn excludes_progress(
        &self,
        sink: Kind,
        standard_output: Option<Kind>,
        has_intervals: bool,
    ) -> bool {
        let leads_elsewhere = |kind| matches!(kind, Kind::Pipe | Kind::Socket);
        leads_elsewhere(sink)
            || standard_output.is_some_and(leads_elsewhere)
            || self.target == Target::Descriptor(2)
            || (sink == Kind::Terminal && has_intervals)
    }
}

/// The descriptor that a path stands for: `-`, or a name of a descriptor under /dev or /proc. Such
/// names are not opened: opening fails for sockets, and would overwrite a file from its beginning.
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

/// Whether `descriptor` is a standard stream that was closed when netatop started. The Rust runtime
/// opens /dev/null in place of a closed standard stream.
fn is_closed(descriptor: i32) -> bool {
    u8::try_from(descriptor).is_ok_and(was_closed)
}

/// A duplicate of an inherited descriptor; `None` for other descriptors. This program's own
/// descriptors have `FD_CLOEXEC`, and inherited descriptors do not.
fn duplicate(descriptor: i32) -> Option<OwnedFd> {
    // SAFETY: only two system calls use the descriptor. The first call checks that the descriptor
    // is open. Nothing closes it between the calls: this program closes only its own descriptors.
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
    fn the_option_format_overrides_the_extension() {
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
    fn paths_under_dev_and_proc_name_descriptors() {
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
    fn a_descriptor_that_was_not_inherited_is_refused() {
        use std::os::fd::AsRawFd;
        let own = std::fs::File::create(tempfile::tempdir().expect("dir").path().join("own"));
        let path = format!("/dev/fd/{}", own.as_ref().expect("a file").as_raw_fd());
        let destination = Destination::decide(request(Some(&path))).expect("a descriptor");
        let refused = destination.open().err().expect("refused");
        assert!(refused.to_string().contains("is closed"), "{refused}");
    }

    #[test]
    fn progress_is_excluded_if_other_output_reaches_the_terminal() {
        let excluded = |output: Option<&str>, has_command, sink, stdout, has_intervals| {
            let request = Request {
                has_command,
                ..request(output)
            };
            let destination = Destination::decide(request).expect("known");
            destination.excludes_progress(sink, Some(stdout), has_intervals)
        };
        use Kind::{Device, File, Pipe, Terminal};
        for has_intervals in [false, true] {
            assert!(!excluded(
                Some("a.csv"),
                false,
                File,
                Terminal,
                has_intervals
            ));
            assert!(!excluded(None, false, File, File, has_intervals));
            assert!(!excluded(None, false, Device, Device, has_intervals));
            assert!(excluded(None, false, Pipe, Pipe, has_intervals));
            assert!(excluded(Some("a.csv"), false, File, Pipe, has_intervals));
            assert!(excluded(
                Some("fifo.csv"),
                false,
                Pipe,
                Terminal,
                has_intervals
            ));
            assert!(excluded(None, true, Terminal, Terminal, has_intervals));
        }
        assert!(!excluded(None, false, Terminal, Terminal, false));
        assert!(excluded(None, false, Terminal, Terminal, true));
    }
}
