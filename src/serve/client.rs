//! One connection: reads requests and writes replies without blocking.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use super::protocol::{self, REQUEST};
use super::view::{View, Viewer};

/// Size of the socket's send buffer, with room for several writes, so that no write is cut. The
/// kernel accepts a write of up to [`protocol::LONGEST_WRITE`] bytes as a whole, or not at all if
/// there is no room.
const SOCKET_BYTES: usize = 256 << 10;

/// Maximum number of writes to one client before it is another client's turn.
const WRITES_PER_TURN: usize = 32;

/// The user and process at the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its user at the time of the connection.
    pub uid: u32,
    /// Its process at the time of the connection.
    pub pid: i32,
}

impl Peer {
    /// Asks the kernel (`SO_PEERCRED`).
    ///
    /// # Errors
    ///
    /// If the kernel does not return them.
    pub fn of(stream: &UnixStream) -> io::Result<Self> {
        let credentials = sockopt::socket_peercred(stream)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            pid: credentials.pid.as_raw_pid(),
        })
    }

    /// Which processes the peer may see if the server runs as user `own`.
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

/// The reason for dropping a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It closed the connection, or sends no more requests.
    Left,
    /// It does not read its reply.
    Stalled,
    /// Its reply would take too much memory in addition to unread replies to others.
    TooLarge,
    /// The connection failed.
    Failed(ErrorKind),
}

/// Whether the other end has closed the connection for both directions, so that nobody can read a
/// reply. Requests may still wait in the socket.
#[must_use]
pub fn has_closed(stream: &UnixStream) -> bool {
    let closed = PollFlags::HUP | PollFlags::ERR;
    let mut fds = [PollFd::from_borrowed_fd(stream.as_fd(), closed)];
    // Without an answer the next read or write finds out.
    let _ = poll(&mut fds, Some(&Timespec::default()));
    fds.iter().any(|fd| fd.revents().intersects(closed))
}

/// A client.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    peer: Peer,
    view: View,
    /// Number of bytes of the next request received so far. [`REQUEST`] if a request is to be
    /// answered.
    received: usize,
    /// The client has closed its sending side.
    ended: bool,
    reply: Vec<u8>,
    sent: usize,
    /// Time of the last progress in writing the reply.
    waiting_since: Instant,
    /// Maximum number of bytes that the kernel accepts as a whole on this socket.
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

    /// The peer of the connection.
    #[must_use]
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The processes and counters that the client sees.
    #[must_use]
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The processes and counters that the client sees.
    pub fn view_mut(&mut self) -> &mut View {
        &mut self.view
    }

    /// The events to wait for: writable while a reply is being sent, otherwise readable.
    #[must_use]
    pub fn interest(&self) -> PollFlags {
        if self.is_busy() {
            PollFlags::OUT
        } else {
            PollFlags::IN
        }
    }

    /// Size of the reply that the client has not read completely.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.reply.len()
    }

    /// Whether a reply is being sent.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.sent < self.reply.len()
    }

    /// Whether a complete request is waiting for an answer.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        self.received >= REQUEST
    }

    /// Whether the next request can be read: the last one has been answered, and the reply has been
    /// sent.
    #[must_use]
    pub fn can_ask(&self) -> bool {
        !self.is_busy() && !self.has_asked()
    }

    /// When the client is dropped if it reads nothing until then.
    #[must_use]
    pub fn deadline(&self, stalled: Duration) -> Option<Instant> {
        self.is_busy()
            .then(|| self.waiting_since.checked_add(stalled))
            .flatten()
    }

    /// Reads the next request, or the part of it that has arrived. Later bytes stay in the socket
    /// until the request is answered.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn read(&mut self) -> Result<(), Gone> {
        if has_closed(&self.stream) {
            return Err(Gone::Left);
        }
        let mut ignored = [0; REQUEST];
        while self.received < REQUEST && !self.ended {
            let room = ignored.get_mut(self.received..).unwrap_or_default();
            match self.stream.read(room) {
                Ok(0) => self.ended = true,
                Ok(count) => self.received += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                // If the client closes without reading all data, this end gets a reset. The client
                // has simply left.
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

    /// Answers the request with a reply from `make`.
    pub fn answer(&mut self, now: Instant, make: impl FnOnce(&mut View) -> Vec<u8>) {
        self.received = 0;
        self.reply = make(&mut self.view);
        self.sent = 0;
        self.waiting_since = now;
    }

    /// Writes as much of the reply as the socket accepts.
    ///
    /// # Errors
    ///
    /// If the client is gone.
    pub fn write(&mut self, now: Instant) -> Result<(), Gone> {
        for _ in 0..WRITES_PER_TURN {
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
            // Free the reply. It can be large, and the next request may come much later.
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
