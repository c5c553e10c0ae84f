//! Writes without blocking to pipes, terminals and sockets, whose readers may stall.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, Mode, OFlags, fcntl_getfl, fstat, major, minor};
use rustix::io::Errno;
use rustix::net::{SendFlags, send};
use rustix::termios::isatty;

/// The kind of an output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A pipe or a FIFO.
    Pipe,
    /// A terminal.
    Terminal,
    /// A socket.
    Socket,
    /// Another device, such as `/dev/null`.
    Device,
}

impl Kind {
    /// The kind of the file that `fd` refers to.
    ///
    /// # Errors
    ///
    /// If `fd` is not open.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        let stat = fstat(&fd)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Self::File,
            FileType::Fifo => Self::Pipe,
            FileType::Socket => Self::Socket,
            FileType::CharacterDevice if isatty(&fd) => Self::Terminal,
            _ => Self::Device,
        })
    }

    /// Whether a write can block until a reader reads.
    fn can_stall(self) -> bool {
        matches!(self, Self::Pipe | Self::Terminal | Self::Socket)
    }
}

/// How many bytes are written at once (PIPE_BUF). A pipe takes such a write as a whole or not at
/// all, so that a stalled reader has received whole lines.
const CHUNK: usize = 4096;

/// The same for a terminal that cannot be reopened: a writable terminal has room for this many
/// bytes.
const SMALL_CHUNK: usize = 256;

/// An output that is not a regular file.
#[derive(Debug)]
pub(super) struct Stream {
    file: File,
    kind: Kind,
    /// Whether the file has `O_NONBLOCK`.
    is_nonblocking: bool,
}

impl Stream {
    /// Wraps an open output.
    pub(super) fn new(file: File, kind: Kind) -> Self {
        match reopened(&file, kind) {
            Some(file) => Self {
                file,
                kind,
                is_nonblocking: true,
            },
            None => Self {
                file,
                kind,
                is_nonblocking: false,
            },
        }
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// The maximum size of one write, so that the reader receives it as a whole.
    pub(super) fn chunk(&self) -> usize {
        match self.kind {
            Kind::Terminal if !self.is_nonblocking => SMALL_CHUNK,
            kind if kind.can_stall() => CHUNK,
            _ => usize::MAX,
        }
    }

    /// Writes some of `bytes`. Returns the number of bytes written, or `None` if there is no room
    /// now.
    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<Option<usize>> {
        let written = if self.kind == Kind::Socket {
            // Suppress SIGPIPE: the error is enough.
            send(&self.file, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
        } else if self.kind.can_stall() && !self.is_nonblocking && !is_writable(&self.file) {
            Err(Errno::AGAIN)
        } else {
            rustix::io::write(&self.file, bytes)
        };
        match written {
            Ok(0) if !bytes.is_empty() => Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => Ok(Some(count)),
            Err(Errno::AGAIN) => Ok(None),
            // Nothing was written. The next attempt may succeed.
            Err(Errno::INTR) => Ok(Some(0)),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Reopens a pipe or terminal with `O_NONBLOCK`, as a new open file description. Setting the flag on
/// the inherited description would change it for other processes too, such as the shell.
fn reopened(file: &File, kind: Kind) -> Option<File> {
    if !matches!(kind, Kind::Pipe | Kind::Terminal) || is_multiplexer(file) {
        return None;
    }
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // Fails for another user's terminal, or without /proc. `write` then polls before each write.
    let again = rustix::fs::open(path, flags, Mode::empty()).ok()?;
    let (before, after) = (fstat(file).ok()?, fstat(&again).ok()?);
    let same = (before.st_dev, before.st_ino) == (after.st_dev, after.st_ino);
    same.then(|| File::from(again))
}

/// Whether the file is `/dev/ptmx`: reopening it would make another terminal.
fn is_multiplexer(file: &File) -> bool {
    fstat(file).is_ok_and(|stat| (major(stat.st_rdev), minor(stat.st_rdev)) == (5, 2))
}

fn is_writable(file: &File) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    // On an error of the file, the next write reports it.
    poll(&mut fds, Some(&Timespec::default())) != Ok(0)
}

/// Whether `fd` is open for writing.
pub(super) fn is_open_for_writing(fd: &OwnedFd) -> bool {
    fcntl_getfl(fd).is_ok_and(|flags| flags.intersects(OFlags::WRONLY | OFlags::RDWR))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::pipe;
    use std::io::Read;

    fn fill(stream: &Stream) -> usize {
        let mut total = 0;
        while let Some(count) = stream.write(&[b'x'; CHUNK]).expect("write") {
            total += count;
        }
        total
    }

    #[test]
    fn a_full_pipe_stalls_and_its_open_file_description_is_unchanged() {
        let (reader, writer) = pipe().expect("pipe");
        let shared = writer.try_clone().expect("dup");
        for reopen in [true, false] {
            let mut stream = Stream::new(File::from(writer.try_clone().expect("dup")), Kind::Pipe);
            if !reopen {
                stream.file = File::from(writer.try_clone().expect("dup"));
            }
            stream.is_nonblocking = reopen;
            let total = fill(&stream);
            assert_eq!(total % CHUNK, 0, "whole chunks");
            let mut taken = vec![0; total];
            File::from(reader.try_clone().expect("dup"))
                .read_exact(&mut taken)
                .expect("read");
            assert!(total > 0);
        }
        let flags = fcntl_getfl(&shared).expect("flags");
        assert!(!flags.contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_closed_reader_is_an_error_not_a_stall() {
        let (reader, writer) = pipe().expect("pipe");
        drop(reader);
        let stream = Stream::new(File::from(writer), Kind::Pipe);
        let error = stream.write(b"x").expect_err("no reader");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }

    #[test]
    fn a_full_socket_stalls() {
        let (ours, _theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
        let stream = Stream::new(File::from(OwnedFd::from(ours)), Kind::Socket);
        assert!(fill(&stream) > 0);
    }
}
