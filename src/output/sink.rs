//! An open output: takes text, writes whole lines, and reports what became of them.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::fstat;

use super::compress::{Compression, Encoder};
use super::file::{Meanwhile, Regular};
use super::lines::{LineEnds, Lines};
use super::open::{Existing, Made, exists, open_file, open_other};
use super::stream::{Kind, Stream, is_open_for_writing};
use crate::error::Error;
use crate::text::shown_path;

/// An open output.
pub struct Sink {
    /// Until it is begun: the file if it is new. Before `output`: the file is removed while it is
    /// locked.
    made: Option<Made>,
    name: String,
    lines: Lines,
    output: Output,
    encoder: Option<Encoder>,
    /// Written to the beginning of the file: a CSV header.
    header: Vec<u8>,
    /// Whole lines that are not written, or not compressed yet.
    text: Vec<u8>,
    /// What goes out next, and how much of it is written.
    pending: Vec<u8>,
    written: usize,
    first_line: Option<Vec<u8>>,
    /// Until it is begun: the length to cut the file to.
    cut_to: Option<u64>,
}

enum Output {
    File(Regular),
    Stream(Stream),
}

/// How far a flush got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is written.
    All,
    /// The reader takes nothing now; [`Sink::as_fd`] is writable when it does.
    Stalled,
}

impl Sink {
    /// An output that is open already: a standard stream, or another descriptor that was handed
    /// over.
    ///
    /// # Errors
    ///
    /// If it is not open for writing.
    pub fn descriptor(
        name: &str,
        fd: OwnedFd,
        lines: Lines,
        compression: Option<Compression>,
    ) -> Result<Self, Error> {
        let failed = |error: io::Error| Error::write(name, &error);
        if !is_open_for_writing(&fd) {
            return Err(Error::Failed(format!("{name} is not open for writing")));
        }
        let kind = Kind::of(&fd).map_err(failed)?;
        let file = File::from(fd);
        let output = match kind {
            Kind::File => Output::File(Regular::new(file).map_err(failed)?),
            kind => Output::Stream(Stream::new(file, kind)),
        };
        Ok(Self::new(name.to_owned(), output, lines, compression))
    }

    /// Opens or creates `path`, and changes nothing in it before [`Sink::begin`].
    ///
    /// # Errors
    ///
    /// If it exists and must not be touched, is locked by another recording, ends in half a line
    /// that must not be cut off, or cannot be written.
    pub fn open(
        path: &Path,
        existing: Existing,
        lines: Lines,
        compression: Option<Compression>,
    ) -> Result<Self, Error> {
        let name = shown_path(path);
        match fs::metadata(path) {
            Ok(there) if there.is_dir() => {
                return Err(Error::Failed(format!("{name} is a directory: give a file")));
            }
            // Only what holds data can be overwritten by mistake.
            Ok(there) if there.file_type().is_block_device() && existing == Existing::Refuse => {
                return Err(exists(&name));
            }
            Ok(there) if !there.is_file() => {
                let file = open_other(path, &name)?;
                return Self::descriptor(&name, file.into(), lines, compression);
            }
            Ok(_) | Err(_) => {}
        }
        let opened = open_file(path, &name, existing, lines, compression)?;
        let regular = Regular::new(opened.file).map_err(|error| Error::write(&name, &error))?;
        Ok(Self {
            first_line: opened.first_line,
            cut_to: opened.cut_to,
            made: opened.made,
            ..Self::new(name, Output::File(regular), lines, compression)
        })
    }

    fn new(name: String, output: Output, lines: Lines, compression: Option<Compression>) -> Self {
        Self {
            made: None,
            name,
            lines,
            output,
            encoder: compression.map(Encoder::new),
            header: Vec::new(),
            text: Vec::new(),
            pending: Vec::new(),
            written: 0,
            first_line: None,
            cut_to: None,
        }
    }

    /// Makes it ready for writing: what is to be replaced or cut off goes now, when nothing stands
    /// in the way of the recording any more. `header` comes first, unless the file goes on.
    ///
    /// # Errors
    ///
    /// If the file cannot be cut.
    pub fn begin(&mut self, header: &[u8]) -> Result<(), Error> {
        if let Some(made) = self.made.take() {
            made.keep();
        }
        let goes_on = match &mut self.output {
            Output::Stream(_) => false,
            Output::File(file) => {
                if let Some(length) = self.cut_to.take() {
                    file.cut(length).map_err(|error| {
                        Error::Failed(format!("{}: could not be cut back: {error}", self.name))
                    })?;
                }
                // What the shell appends to is not known, and gets a header.
                self.first_line.is_some() && file.length() > 0
            }
        };
        self.header = header.to_vec();
        if !goes_on {
            self.pending = self.first_part()?;
        }
        Ok(())
    }

    /// What a file begins with. A compressed one has a member even without a header: an empty file
    /// cannot be decompressed.
    fn first_part(&self) -> Result<Vec<u8>, Error> {
        match &self.encoder {
            None => Ok(self.header.clone()),
            Some(encoder) => encoder
                .alone(&self.header)
                .map_err(|error| Error::write(&self.name, &error)),
        }
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

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.output {
            Output::File(_) => Kind::File,
            Output::Stream(stream) => stream.kind(),
        }
    }

    /// Where whole lines are added, to be written by [`Sink::flush`].
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Writes as much of the text as the reader takes.
    ///
    /// # Errors
    ///
    /// [`Error::ClosedPipe`] if the reader has gone, else with the file's name. Only whole lines
    /// are left in a file then.
    pub fn flush(&mut self) -> Result<Flushed, Error> {
        if self.pending.is_empty() {
            self.take_text()?;
        }
        if self.write_pending()? == Flushed::Stalled {
            return Ok(Flushed::Stalled);
        }
        self.take_text()?;
        self.write_pending()
    }

    /// Hands the text on: to the encoder, or to what goes out next.
    fn take_text(&mut self) -> Result<(), Error> {
        match &mut self.encoder {
            None => std::mem::swap(&mut self.text, &mut self.pending),
            Some(encoder) => {
                let pushed = encoder.push(&self.text);
                self.text.clear();
                pushed.map_err(|error| Error::write(&self.name, &error))?;
            }
        }
        Ok(())
    }

    /// Ends what can be decompressed at once, before the last flush of an interval.
    ///
    /// # Errors
    ///
    /// As [`Sink::flush`].
    pub fn end_interval(&mut self) -> Result<Flushed, Error> {
        self.end_member()?;
        let flushed = self.write_pending()?;
        if flushed == Flushed::All {
            // Between intervals the buffers would only take memory.
            (self.text, self.pending) = (Vec::new(), Vec::new());
        }
        Ok(flushed)
    }

    /// Moves a compressed member, or text that is not, to what goes out next.
    fn end_member(&mut self) -> Result<(), Error> {
        let Some(encoder) = &mut self.encoder else {
            self.pending.append(&mut self.text);
            return Ok(());
        };
        let member = encoder.push(&self.text).and_then(|()| encoder.finish());
        self.text.clear();
        let member = member.map_err(|error| Error::write(&self.name, &error))?;
        self.pending.extend(member);
        Ok(())
    }

    fn write_pending(&mut self) -> Result<Flushed, Error> {
        let flushed = match &self.output {
            Output::File(_) => self.write_to_file().map(|()| Flushed::All),
            Output::Stream(_) => self.write_to_stream(),
        }?;
        if flushed == Flushed::All {
            self.pending.clear();
            self.written = 0;
        }
        Ok(flushed)
    }

    fn write_to_file(&mut self) -> Result<(), Error> {
        let Output::File(file) = &mut self.output else {
            return Ok(());
        };
        match file
            .look()
            .map_err(|error| Error::write(&self.name, &error))?
        {
            Meanwhile::Deleted => {
                return Err(Error::Failed(format!(
                    "{} was deleted during the recording: what follows has nowhere to go",
                    self.name
                )));
            }
            Meanwhile::Emptied => {
                let first = self.first_part()?;
                self.pending.splice(0..0, first);
            }
            Meanwhile::Unchanged => {}
        }
        let Output::File(file) = &mut self.output else {
            return Ok(());
        };
        file.write(&self.pending).map_err(|(written, error)| {
            let written = self.pending.get(..written).unwrap_or_default();
            let half = match &self.encoder {
                // A part of a member cannot be decompressed.
                Some(_) => written.len() as u64,
                None => half_of(self.lines, written),
            };
            match file.take_back(half) {
                Ok(()) => Error::write(&self.name, &error),
                Err(cut) => Error::Failed(format!(
                    "{}: could not be written: {error}; its last line is not whole ({cut})",
                    self.name
                )),
            }
        })
    }

    fn write_to_stream(&mut self) -> Result<Flushed, Error> {
        let Output::Stream(stream) = &self.output else {
            return Ok(Flushed::All);
        };
        while let Some(rest) = self.pending.get(self.written..).filter(|r| !r.is_empty()) {
            let chunk = rest.get(..stream.chunk()).unwrap_or(rest);
            // Whole lines, if the chunk has any: then a reader that stalls has no half one.
            let half = match &self.encoder {
                Some(_) => 0,
                None => usize::try_from(half_of(self.lines, chunk)).unwrap_or(0),
            };
            let whole = chunk.get(..chunk.len() - half).filter(|w| !w.is_empty());
            match stream.write(whole.unwrap_or(chunk)) {
                Ok(Some(count)) => self.written += count,
                Ok(None) => return Ok(Flushed::Stalled),
                Err(error) => return Err(Error::write(&self.name, &error)),
            }
        }
        Ok(Flushed::All)
    }

    /// After the last interval.
    ///
    /// # Errors
    ///
    /// If a file could not be written to its disk.
    pub fn finish(&mut self) -> Result<(), Error> {
        match &self.output {
            Output::Stream(_) => Ok(()),
            Output::File(file) => file
                .sync()
                .map_err(|error| Error::write(&self.name, &error)),
        }
    }

    /// The error of a reader that did not read on after the request to stop.
    #[must_use]
    pub fn stalled(&self) -> Error {
        let left = self.pending.len().saturating_sub(self.written);
        Error::Failed(format!(
            "{}: its reader does not read; the last {left} bytes were not written",
            self.name
        ))
    }

    /// Whether `other` is the same file, pipe or terminal.
    #[must_use]
    pub fn is_same_as(&self, other: impl AsFd) -> bool {
        let of = |fd: BorrowedFd<'_>| fstat(fd).map(|stat| (stat.st_dev, stat.st_ino)).ok();
        of(self.as_fd()).is_some_and(|ours| of(other.as_fd()) == Some(ours))
    }
}

impl AsFd for Sink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.output {
            Output::File(file) => file.as_fd(),
            Output::Stream(stream) => stream.as_fd(),
        }
    }
}

/// Bytes of `text` behind its last line end.
fn half_of(lines: Lines, text: &[u8]) -> u64 {
    let mut ends = LineEnds::new(lines);
    ends.look(text);
    ends.half()
}
