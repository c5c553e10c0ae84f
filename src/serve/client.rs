//! One connection: reading requests, writing replies, never waiting for the other end.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;
use rustix::net::sockopt;

use super::protocol::{self, REQUEST};
use super::view::{View, Viewer};

/// Room in the socket for several writes, so that one is never cut: the kernel takes a
/// write of up to [`protocol::LONGEST_WRITE`] as a whole or, where there is no room, not.
const SOCKET_BYTES: usize = 256 << 10;

/// How many writes a client gets until it is another one's turn.
const TURN: usize = 32;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user when it connected.
    pub uid: u32,
    /// Its process then.
    pub pid: i32,
}

impl Peer {
    /// Asks the kernel (`SO_PEERCRED`).
    ///
    /// # Errors
    ///
    /// If it does not say.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = sockopt::socket_peercred(stream)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            pid: credentials.pid.as_raw_pid(),
        })
    }

    /// What it may see, of a server that runs as `own`.
    #[must_use]
    pub fn viewer(self, own: u32) -> Viewer {
        if self.uid == 0 || self.uid == own {
            Viewer::All
        } else {
            Viewer::User(self.uid)
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pid {}, uid {}", self.pid, self.uid)
    }
}

/// Why a client is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It closed the connection, or has nothing more to ask.
    Left,
    /// It does not read.
    Stalled,
    /// Its reply would take too much memory beside those of others that have not been read.
    TooLarge,
    /// The connection failed.
    Failed(ErrorKind),
}

/// A client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    peer: Peer,
    view: View,
    /// Bytes of a request that is not whole yet; all of them when one is to be answered.
    received: usize,
    /// It sends nothing more.
    ended: bool,
    reply: Vec<u8>,
    sent: usize,
    /// Since when it could have taken more of the reply.
    waiting_since: Instant,
    /// The most bytes that the kernel takes as a whole here.
    longest_write: usize,
}

impl Client {
    /// Takes over a connection.
    ///
    /// # Errors
    ///
    /// If the socket cannot be set up.
    pub fn new(stream: UnixStream, peer: Peer, view: View, now: Instant) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        sockopt::set_socket_send_buffer_size(&stream, SOCKET_BYTES)?;
        let room = sockopt::socket_send_buffer_size(&stream)?;
        Ok(Self {
            stream,
            peer,
            view,
            received: 0,
            ended: false,
            reply: Vec::new(),
            sent: 0,
            waiting_since: now,
            longest_write: protocol::longest_write(room),
        })
    }

    /// Who it is.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// What it sees.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// What it sees.
    pub fn view_mut(&mut self) -> &mut View {
        &mut self.view
    }

    /// What to wait for: either it takes the reply, or it may ask.
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        if self.is_busy() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    /// How many bytes are kept for it that it has not read yet.
    #[must_use]
    pub fn kept(&self) -> usize {
        self.reply.len()
    }

    /// Whether a reply is on its way to it.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.sent < self.reply.len()
    }

    /// Whether it waits for an answer.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.received >= REQUEST
    }

    /// Whether its next request can be read: the last one has been answered, and it has taken the
    /// reply.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        !self.is_busy() && !self.has_asked()
    }

    /// When it is dropped if it takes nothing until then.
    #[must_use]
    pub fn deadline(&self, stalled: Duration) -> Option<Instant> {
        self.is_busy()
            .then(|| self.waiting_since.checked_add(stalled))
            .flatten()
    }

    /// Reads the next request, or as much of it as there is. What comes behind it stays in
    /// the socket until it has been answered.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn read(&mut self) -> Result<(), Gone> {
        let mut ignored = [0; REQUEST];
        while self.received < REQUEST && !self.ended {
            let room = ignored.get_mut(self.received..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // What it closed with unread is a reset to us; it is gone all the same.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => {
                    return Err(Gone::Left);
                }
                Err(error) => return Err(Gone::Failed(error.kind())),
            }
        }
        if self.received < REQUEST {
            return Err(Gone::Left);
        }
        Ok(())
    }

    /// Answers the request.
    pub fn answer(&mut self, now: Instant, make: impl FnOnce(&mut View) -> Vec<u8>) {
        self.received = 0;
        self.reply = make(&mut self.view);
        self.sent = 0;
        self.waiting_since = now;
    }

    /// Writes as much of the reply as it takes.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn write(&mut self, now: Instant) -> Result<(), Gone> {
        for _ in 0..TURN {
            let length = protocol::next_write(self.reply.len(), self.sent, self.longest_write);
            let next = self.reply.get(self.sent..).unwrap_or_default();
            let next = next.get(..length).unwrap_or(next);
            if next.is_empty() {
                break;
            }
            match self.stream.write(next) {
                Ok(count) => {
                    self.sent += count;
                    self.waiting_since = now;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => {
                    return Err(match error.kind() {
                        ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => Gone::Left,
                        kind => Gone::Failed(kind),
                    });
                }
            }
        }
        if !self.is_busy() {
            // A reply can be large, and the next request far off.
            self.reply = Vec::new();
            self.sent = 0;
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
