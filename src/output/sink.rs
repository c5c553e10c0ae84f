//! Where text goes: standard output or a file, always in whole lines.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use super::lines::{LineEnds, Lines};
use crate::error::Error;

/// What to do about an output file that exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Existing {
    /// Leave it alone and refuse.
    #[default]
    Refuse,
    /// Start it anew.
    Replace,
    /// Write behind what is there; `repair` cuts off a last line that was never finished.
    Append {
        /// Cut back to the last whole line.
        repair: bool,
    },
}

/// An open output.
pub struct Sink {
    name: String,
    lines: Lines,
    file: Box<dyn Write>,
    /// The same file, where it is one that can be cut back to whole lines.
    regular: Option<File>,
    first_line: Option<Vec<u8>>,
    /// Made by this program and not begun yet: to be removed if it never is.
    made: Option<PathBuf>,
    /// The length to cut it to when it is begun.
    cut_to: Option<u64>,
}

impl Sink {
    /// Standard output.
    #[must_use]
    pub fn stdout(lines: Lines) -> Self {
        Self::stream("standard output", io::stdout(), lines)
    }

    /// Standard error, for rows beside a command's own output.
    #[must_use]
    pub fn stderr(lines: Lines) -> Self {
        Self::stream("standard error", io::stderr(), lines)
    }

    fn stream(name: &str, stream: impl Write + AsFd + 'static, lines: Lines) -> Self {
        // The shell may have put a file there.
        let file = stream.as_fd().try_clone_to_owned().map(File::from).ok();
        let regular = file.filter(|file| file.metadata().is_ok_and(|data| data.is_file()));
        Self {
            name: name.to_owned(),
            lines,
            file: Box::new(stream),
            regular,
            first_line: None,
            made: None,
            cut_to: None,
        }
    }

    /// Opens or creates `path`, and changes nothing in it before [`Sink::begin`].
    ///
    /// # Errors
    ///
    /// If it exists and must not be touched, ends in half a line that must not be cut
    /// off, or cannot be written.
    pub fn open(path: &Path, existing: Existing, lines: Lines) -> Result<Self, Error> {
        let name = path.display().to_string();
        let (mut file, is_new) = open_or_create(path, existing, &name)?;
        let failed = |error| unreadable(&name, &error);
        let length = file.metadata().map_err(failed)?;
        let mut first = None;
        let cut_to = match existing {
            Existing::Refuse => None,
            Existing::Replace => Some(0),
            Existing::Append { repair } => {
                let half = length_of_half_line(&mut file, lines).map_err(failed)?;
                if half > 0 && !repair {
                    return Err(Error::Usage(format!(
                        "{name} ends in the middle of a line ({half} bytes of it)\n\
                         --append --force cuts these off; or mend the file by hand"
                    )));
                }
                first = first_line(&mut file).map_err(failed)?;
                (half > 0).then(|| length.len().saturating_sub(half))
            }
        };
        // Neither a pipe nor a device can be cut, and neither needs to be.
        let is_file = length.is_file();
        let regular = is_file
            .then(|| file.try_clone())
            .transpose()
            .map_err(failed)?;
        Ok(Self {
            name,
            lines,
            file: Box::new(file),
            regular,
            first_line: first,
            made: is_new.then(|| path.to_owned()),
            cut_to: cut_to.filter(|_| is_file),
        })
    }

    /// Makes it ready for writing: what is to be replaced or cut off goes now, when
    /// nothing stands in the way of the recording any more.
    ///
    /// # Errors
    ///
    /// If the file cannot be cut.
    pub fn begin(&mut self) -> Result<(), Error> {
        self.made = None;
        if let (Some(length), Some(file)) = (self.cut_to.take(), &self.regular) {
            file.set_len(length).map_err(|error| {
                Error::Failed(format!("{}: could not be cut back: {error}", self.name))
            })?;
        }
        Ok(())
    }

    /// The first line of a file that is appended to; `None` if it has none.
    #[must_use]
    pub fn first_line(&self) -> Option<&[u8]> {
        self.first_line.as_deref()
    }

    /// What to call it in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Writes whole lines, and leaves only whole lines behind if that fails half-way.
    ///
    /// # Errors
    ///
    /// [`Error::ClosedPipe`] if the reader has gone, else with the file's name.
    pub fn write(&mut self, lines: &[u8]) -> Result<(), Error> {
        let mut rest = lines;
        while !rest.is_empty() {
            match self.file.write(rest) {
                Ok(0) => return Err(self.failed(lines, rest, &io::ErrorKind::WriteZero.into())),
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.failed(lines, rest, &error)),
            }
        }
        self.file
            .flush()
            .map_err(|error| self.failed(lines, &[], &error))
    }

    fn failed(&self, lines: &[u8], rest: &[u8], error: &io::Error) -> Error {
        let written = lines.len().saturating_sub(rest.len());
        let mut ends = LineEnds::new(self.lines);
        ends.look(lines.get(..written).unwrap_or_default());
        let half = ends.half();
        let cut = |file: &File| {
            let length = file.metadata()?.len();
            file.set_len(length.saturating_sub(half))
        };
        match self.regular.as_ref().filter(|_| half > 0).map(cut) {
            Some(Err(cut)) => Error::Failed(format!(
                "{}: could not be written: {error}; its last line is not whole ({cut})",
                self.name
            )),
            _ => Error::write(&self.name, error),
        }
    }
}

fn first_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    /// No header and no row of ours is longer.
    const LONGEST: u64 = 64 << 10;
    file.seek(SeekFrom::Start(0))?;
    let mut start = Vec::new();
    Read::by_ref(file).take(LONGEST).read_to_end(&mut start)?;
    let line = start.split_inclusive(|byte| *byte == b'\n').next();
    Ok(line
        .filter(|line| line.ends_with(b"\n"))
        .map(<[u8]>::to_vec))
}

fn unreadable(name: &str, error: &io::Error) -> Error {
    Error::Failed(format!("{name}: could not be read: {error}"))
}

/// Opens `path`, and tells whether it had to be made.
fn open_or_create(path: &Path, existing: Existing, name: &str) -> Result<(File, bool), Error> {
    let failed = |error: io::Error| {
        Error::Failed(format!("{name}: could not be opened for writing: {error}"))
    };
    let append = matches!(existing, Existing::Append { .. });
    let mut options = OpenOptions::new();
    options.read(append).append(append).write(true);
    match options.clone().create_new(true).open(path) {
        Ok(file) => Ok((file, true)),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(error)),
        Err(_) if existing == Existing::Refuse => Err(Error::Usage(format!(
            "{name} exists: --force replaces it, --append adds to it"
        ))),
        Err(_) => Ok((options.open(path).map_err(failed)?, false)),
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(path) = &self.made {
            // The recording never began, and why was said: an empty file would only be
            // in the way of the next one.
            let _ = fs::remove_file(path);
        }
    }
}

/// Bytes behind the last line end. Read from the beginning: only from there is it known
/// what is within quotes.
fn length_of_half_line(file: &mut File, lines: Lines) -> io::Result<u64> {
    file.seek(SeekFrom::Start(0))?;
    let mut ends = LineEnds::new(lines);
    let mut block = vec![0; 64 << 10];
    loop {
        match file.read(&mut block) {
            Ok(0) => return Ok(ends.half()),
            Ok(count) => ends.look(block.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun(path: &Path, existing: Existing) -> Sink {
        let mut sink = Sink::open(path, existing, Lines::Plain).expect("open");
        sink.begin().expect("begin");
        sink
    }

    #[test]
    fn an_existing_file_is_refused_replaced_or_continued() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("out.csv");
        begun(&path, Existing::Refuse).write(b"a\n").expect("write");
        let refused = Sink::open(&path, Existing::Refuse, Lines::Plain)
            .err()
            .expect("exists");
        assert_eq!(refused.status(), 2);
        assert!(refused.to_string().contains("--append"));
        let mut sink = begun(&path, Existing::Append { repair: false });
        assert_eq!(sink.first_line(), Some(b"a\n".as_slice()));
        sink.write(b"b\n").expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"a\nb\n");
        begun(&path, Existing::Replace)
            .write(b"c\n")
            .expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"c\n");
    }

    #[test]
    fn half_a_line_is_told_and_cut_off_only_when_asked() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("out.csv");
        let long = format!("whole\n{}", "x".repeat(200_000));
        std::fs::write(&path, &long).expect("write");
        let told = Sink::open(&path, Existing::Append { repair: false }, Lines::Plain)
            .err()
            .expect("half");
        assert!(told.to_string().contains("200000 bytes"), "{told}");
        assert_eq!(std::fs::read(&path).expect("read"), long.as_bytes());
        begun(&path, Existing::Append { repair: true })
            .write(b"next\n")
            .expect("write");
        assert_eq!(std::fs::read(&path).expect("read"), b"whole\nnext\n");
    }

    /// A process can call itself "a\nb", with or without quotes in it.
    #[test]
    fn a_line_end_within_a_quoted_name_ends_no_row() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("out.csv");
        for (text, half) in [
            ("h\n1,\"a\nb\",2\n", 0),
            ("h\n1,\"a\"\"\nb\",2\n", 0),
            ("h\n1,\"a\n", 5),
            ("h\n1,\"a\"\"\n", 7),
            ("h\n1,\"a\nb\",2", 9),
        ] {
            fs::write(&path, text).expect("write");
            let open = |repair| Sink::open(&path, Existing::Append { repair }, Lines::Quoted);
            let told = open(false).err().map(|error| error.to_string());
            match half {
                0 => assert_eq!(told, None, "{text:?}"),
                half => assert!(
                    told.is_some_and(|told| told.contains(&format!("({half} bytes"))),
                    "{text:?}"
                ),
            }
            let mut sink = open(true).expect("open");
            sink.begin().expect("begin");
            sink.write(b"next\n").expect("write");
            let whole = &text[..text.len() - half];
            let now = fs::read_to_string(&path).expect("read");
            assert_eq!(now, format!("{whole}next\n"));
        }
    }

    #[test]
    fn nothing_is_changed_by_a_recording_that_never_begins() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("out.csv");
        drop(Sink::open(&path, Existing::Refuse, Lines::Plain).expect("open"));
        assert!(!path.exists());
        std::fs::write(&path, "precious\nhalf").expect("write");
        drop(Sink::open(&path, Existing::Replace, Lines::Plain).expect("open"));
        drop(Sink::open(&path, Existing::Append { repair: true }, Lines::Plain).expect("open"));
        assert_eq!(std::fs::read(&path).expect("read"), b"precious\nhalf");
    }

    #[test]
    fn a_file_that_cannot_be_made_is_named() {
        let error = Sink::open(
            Path::new("/nonexistent/out.csv"),
            Existing::Refuse,
            Lines::Plain,
        )
        .err()
        .expect("no");
        assert_eq!(error.status(), 1);
        assert!(error.to_string().contains("/nonexistent/out.csv"));
    }
}
