//! Writing to a regular file: what others do to it meanwhile, and whole lines when a write fails.

use std::fs::File;
use std::io::{self, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;

use rustix::fs::{OFlags, fcntl_getfl};
use rustix::io::Errno;

/// An open regular file.
#[derive(Debug)]
pub(super) struct Regular {
    file: File,
    /// Writes go to its end, wherever that is by then.
    appends: bool,
    /// It had a name when it was opened.
    is_named: bool,
    /// Its length after the last write.
    end: u64,
}

/// What happened to a file since the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meanwhile {
    /// Nothing that matters.
    Unchanged,
    /// Somebody emptied it, as logrotate does with `copytruncate`.
    Emptied,
    /// Its last name is gone: nobody could read what is written now.
    Deleted,
}

impl Regular {
    pub(super) fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            appends: fcntl_getfl(&file)?.contains(OFlags::APPEND),
            is_named: metadata.nlink() > 0,
            end: metadata.len(),
            file,
        })
    }

    /// Its length when this program last knew it.
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    /// Cuts it to `length`, unless it is shorter already.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > length {
            self.file.set_len(length)?;
        }
        self.end = self.file.metadata()?.len();
        Ok(())
    }

    /// Looks what happened to it, and goes on at its end if it is shorter than it was.
    pub(super) fn look(&mut self) -> io::Result<Meanwhile> {
        let metadata = self.file.metadata()?;
        if self.is_named && metadata.nlink() == 0 {
            return Ok(Meanwhile::Deleted);
        }
        let length = metadata.len();
        let position = if self.appends {
            self.end
        } else {
            // Shared with other processes, such as the shell that opened it.
            self.file.stream_position()?
        };
        if length < position {
            if !self.appends {
                // Else the gap would be filled with zeros.
                self.file.seek(SeekFrom::End(0))?;
            }
            self.end = length;
            if length == 0 {
                return Ok(Meanwhile::Emptied);
            }
        }
        Ok(Meanwhile::Unchanged)
    }

    /// Writes all of `bytes`.
    ///
    /// # Errors
    ///
    /// With the number of bytes that were written.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), (usize, io::Error)> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let error = match self.file.write(rest) {
                Ok(0) => io::ErrorKind::WriteZero.into(),
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            return Err((bytes.len() - rest.len(), error));
        }
        self.end = match self.file.metadata() {
            Ok(metadata) => metadata.len(),
            Err(error) => return Err((bytes.len(), error)),
        };
        Ok(())
    }

    /// Removes the last `bytes` bytes: the part of a line that was written before a write failed.
    pub(super) fn take_back(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 {
            let length = self.file.metadata()?.len();
            self.file.set_len(length.saturating_sub(bytes))?;
            if !self.appends {
                self.file.seek(SeekFrom::End(0))?;
            }
        }
        Ok(())
    }

    /// Waits until everything is on the disk: some errors, such as a quota or a bad block, are
    /// reported only then.
    pub(super) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fdatasync(&self.file) {
            // A file system that cannot tell.
            Ok(()) | Err(Errno::INVAL | Errno::NOTSUP | Errno::NOSYS) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Regular {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}
