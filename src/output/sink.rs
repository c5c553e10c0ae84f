//! An open output: buffers text, writes whole lines, and reports errors.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

use rustix::fs::fstat;

use super::compress::{Compression, Encoder};
use super::file::{FileChange, Regular};
use super::lines::{LineEnds, Lines};
use super::open::{Existing, NewFile, exists, open_file, open_other};
use super::stream::{Kind, Stream, is_open_for_writing};
use crate::error::Error;
use crate::text::shown_path;

/// An open output.
pub struct Sink {
    /// A new file, until [`Sink::begin`]. The field is declared before `output`, so that the file
    /// is removed while it is locked.
    new_file: Option<NewFile>,
    name: String,
    lines: Lines,
    output: Output,
    encoder: Option<Encoder>,
    /// Text for the beginning of the file: a CSV header.
    header: Vec<u8>,
    /// Whole lines that are not yet written or compressed.
    text: Vec<u8>,
    /// Bytes to write next.
    pending: Vec<u8>,
    /// How many bytes of `pending` are written.
    written: usize,
    first_line: Option<Vec<u8>>,
    /// The length to truncate the file to in [`Sink::begin`].
    cut_to: Option<u64>,
}

enum Output {
    File(Regular),
    Stream(Stream),
}

/// The result of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is written.
    All,
    /// The reader is slow. [`Sink::as_fd`] becomes writable when there is room again.
    Stalled,
}

impl Sink {
    /// Wraps an open output: a standard stream, or another inherited descriptor.
    ///
    /// # Errors
    ///
    /// If the descriptor is not open for writing.
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

    /// Opens or creates `path`. The contents stay unchanged until [`Sink::begin`].
    ///
    /// # Errors
    ///
    /// If the file exists and must not be changed, is locked by another recording, ends in half a
    /// line that must not be cut off, or cannot be written.
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
            // A block device holds data that could be overwritten by mistake.
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
            new_file: opened.new_file,
            ..Self::new(name, Output::File(regular), lines, compression)
        })
    }

    fn new(name: String, output: Output, lines: Lines, compression: Option<Compression>) -> Self {
        Self {
            new_file: None,
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

    /// Prepares the output for writing. Old contents are removed only now, when all other setup of
    /// the recording has succeeded. `header` is written first, unless rows are appended to a file
    /// with a header.
    ///
    /// # Errors
    ///
    /// If the file cannot be truncated.
    pub fn begin(&mut self, header: &[u8]) -> Result<(), Error> {
        if let Some(new_file) = self.new_file.take() {
            new_file.keep();
        }
        let is_continued = match &mut self.output {
            Output::Stream(_) => false,
            Output::File(file) => {
                if let Some(length) = self.cut_to.take() {
                    file.cut(length).map_err(|error| {
                        Error::Failed(format!("{}: cannot truncate the file: {error}", self.name))
                    })?;
                }
                // The contents of a file that the shell opened with `>>` are unknown, so it gets a
                // header too.
                self.first_line.is_some() && file.length() > 0
            }
        };
        self.header = header.to_vec();
        if !is_continued {
            self.pending = self.first_part()?;
        }
        Ok(())
    }

    /// The first bytes of a file. A compressed file has a member even without a header, because an
    /// empty file cannot be decompressed.
    fn first_part(&self) -> Result<Vec<u8>, Error> {
        match &self.encoder {
            None => Ok(self.header.clone()),
            Some(encoder) => encoder
                .separate_member(&self.header)
                .map_err(|error| Error::write(&self.name, &error)),
        }
    }

    /// The first line of a file that is appended to; `None` if the file has no lines.
    #[must_use]
    pub fn first_line(&self) -> Option<&[u8]> {
        self.first_line.as_deref()
    }

    /// The name of the output in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of the output.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match &self.output {
            Output::File(_) => Kind::File,
            Output::Stream(stream) => stream.kind(),
        }
    }

    /// The buffer for whole lines. [`Sink::flush`] writes it.
    pub fn text(&mut self) -> &mut Vec<u8> {
        &mut self.text
    }

    /// Writes as much of the text as possible without blocking.
    ///
    /// # Errors
    ///
    /// [`Error::ClosedPipe`] if the reader has closed the pipe, otherwise an error with the name of
    /// the file. After an error, a file holds only whole lines.
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

    /// Moves the text to the encoder, or to `pending` if there is no compression.
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

    /// Ends the compressed member, before the last flush of an interval.
    ///
    /// # Errors
    ///
    /// As [`Sink::flush`].
    pub fn end_interval(&mut self) -> Result<Flushed, Error> {
        self.end_member()?;
        let flushed = self.write_pending()?;
        if flushed == Flushed::All {
            // Free the buffers between intervals.
            (self.text, self.pending) = (Vec::new(), Vec::new());
        }
        Ok(flushed)
    }

    /// Moves the compressed member, or uncompressed text, to `pending`.
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
            .check()
            .map_err(|error| Error::write(&self.name, &error))?
        {
            FileChange::Deleted => {
                return Err(Error::Failed(format!(
                    "{} was deleted during the recording: cannot write further rows",
                    self.name
                )));
            }
            FileChange::Emptied => {
                let first = self.first_part()?;
                self.pending.splice(0..0, first);
            }
            FileChange::Unchanged => {}
        }
        let Output::File(file) = &mut self.output else {
            return Ok(());
        };
        file.write(&self.pending).map_err(|(written, error)| {
            let written = self.pending.get(..written).unwrap_or_default();
            let half = match &self.encoder {
                // A part of a member cannot be decompressed, so remove all of it.
                Some(_) => written.len() as u64,
                None => unfinished_bytes(self.lines, written),
            };
            match file.remove_last(half) {
                Ok(()) => Error::write(&self.name, &error),
                Err(cut) => Error::Failed(format!(
                    "{}: cannot write: {error}; the last line is incomplete ({cut})",
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
            // Write whole lines if the chunk has any, so that a stalled reader has no half line.
            let half = match &self.encoder {
                Some(_) => 0,
                None => usize::try_from(unfinished_bytes(self.lines, chunk)).unwrap_or(0),
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

    /// Waits until a file is on the disk, after the last interval.
    ///
    /// # Errors
    ///
    /// If the disk reports an error.
    pub fn finish(&mut self) -> Result<(), Error> {
        match &self.output {
            Output::Stream(_) => Ok(()),
            Output::File(file) => file
                .sync()
                .map_err(|error| Error::write(&self.name, &error)),
        }
    }

    /// The error for a reader that is still stalled some time after a request to stop.
    #[must_use]
    pub fn stalled(&self) -> Error {
        let left = self.pending.len().saturating_sub(self.written);
        Error::Failed(format!(
            "{}: the reader is stalled; the last {left} bytes were not written",
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

/// The number of bytes after the last line end of `text`.
fn unfinished_bytes(lines: Lines, text: &[u8]) -> u64 {
    let mut ends = LineEnds::new(lines);
    ends.scan(text);
    ends.unfinished()
}
