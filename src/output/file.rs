//! Writes to a regular file. Detects changes by other programs, and keeps lines whole if a write
//! fails.

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
    /// Whether the file is in append mode: each write goes to the current end of the file.
    appends: bool,
    /// Whether the file had a name when it was opened.
    is_named: bool,
    /// Length of the file after the last write.
    end: u64,
}

/// What happened to a file since the last write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileChange {
    /// The file was not deleted or emptied.
    Unchanged,
    /// Another program emptied the file, for example logrotate with `copytruncate`.
    Emptied,
    /// The last name of the file was removed, so further rows could not be read.
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

    /// The length at the last check or write.
    pub(super) fn length(&self) -> u64 {
        self.end
    }

    /// Truncates the file to `length`, unless the file is shorter.
    pub(super) fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.file.metadata()?.len() > length {
            self.file.set_len(length)?;
        }
        self.end = self.file.metadata()?.len();
        Ok(())
    }

    /// Checks for changes by other programs. If the file has become shorter, writing continues at
    /// the new end.
    pub(super) fn check(&mut self) -> io::Result<FileChange> {
        let metadata = self.file.metadata()?;
        if self.is_named && metadata.nlink() == 0 {
            return Ok(FileChange::Deleted);
        }
        let length = metadata.len();
        let position = if self.appends {
            self.end
        } else {
            // The position is shared with other processes, such as the shell that opened the file.
            self.file.stream_position()?
        };
        if length < position {
            if !self.appends {
                // Without the seek, the kernel would fill the gap with zeros.
                self.file.seek(SeekFrom::End(0))?;
            }
            self.end = length;
            if length == 0 {
                return Ok(FileChange::Emptied);
            }
        }
        Ok(FileChange::Unchanged)
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

    /// Removes the last `bytes` bytes: the part of a line written before a write failed.
    pub(super) fn remove_last(&mut self, bytes: u64) -> io::Result<()> {
        if bytes > 0 {
            let length = self.file.metadata()?.len();
            self.file.set_len(length.saturating_sub(bytes))?;
            if !self.appends {
                self.file.seek(SeekFrom::End(0))?;
            }
        }
        Ok(())
    }

    /// Waits until all data is on the disk. Some errors, such as an exceeded quota or a bad block,
    /// are reported only at this point.
    pub(super) fn sync(&self) -> io::Result<()> {
        match rustix::fs::fdatasync(&self.file) {
            // Some file systems do not support this call.
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
