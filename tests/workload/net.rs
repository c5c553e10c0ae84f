//! Sockets that tally every call, connected pairs on loopback, and small exchanges with known
//! contents.

use std::io::{IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags};

use crate::call::{Result, unavailable};
use crate::truth::{Kind, Truth};

/// The loopback address of a socket.
#[derive(Clone, Copy)]
pub enum Family {
    /// 127.0.0.1
    V4,
    /// ::1
    V6,
    /// ::ffff:127.0.0.1: IPv4 traffic on an IPv6 socket.
    Mapped,
}

impl Family {
    /// The loopback address with a port of the kernel's choice.
    pub fn any_port(self) -> SocketAddr {
        match self {
            Self::V4 => (Ipv4Addr::LOCALHOST, 0).into(),
            Self::V6 => (Ipv6Addr::LOCALHOST, 0).into(),
            Self::Mapped => (Ipv4Addr::LOCALHOST.to_ipv6_mapped(), 0).into(),
        }
    }

    fn explain(self, error: std::io::Error) -> Box<dyn std::error::Error + Send + Sync> {
        match error.raw_os_error().map(Errno::from_raw) {
            Some(errno @ (Errno::EADDRNOTAVAIL | Errno::EAFNOSUPPORT))
                if matches!(self, Self::V6 | Self::Mapped) =>
            {
                unavailable("no IPv6 on loopback", errno)
            }
            _ => error.into(),
        }
    }
}

/// A socket, and its kind for the rules of counting.
pub struct Socket {
    fd: OwnedFd,
    kind: Kind,
}

impl Socket {
    /// Wraps a socket.
    pub fn new(fd: impl Into<OwnedFd>, kind: Kind) -> Self {
        Self {
            fd: fd.into(),
            kind,
        }
    }

    /// The kind of the socket for the rules of counting.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The number of the descriptor.
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// `send(2)`, without SIGPIPE.
    pub fn send(&self, truth: &mut Truth, buf: &[u8], flags: MsgFlags) -> nix::Result<usize> {
        let sent = socket::send(self.raw(), buf, flags | MsgFlags::MSG_NOSIGNAL)?;
        truth.sent(self.kind, sent);
        Ok(sent)
    }

    /// `recv(2)`.
    pub fn recv(&self, truth: &mut Truth, buf: &mut [u8], flags: MsgFlags) -> nix::Result<usize> {
        let received = socket::recv(self.raw(), buf, flags)?;
        truth.received(self.kind, received, flags);
        Ok(received)
    }

    /// `writev(2)`.
    pub fn write_parts(&self, truth: &mut Truth, parts: &[&[u8]]) -> nix::Result<usize> {
        let parts: Vec<_> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let sent = nix::sys::uio::writev(&self.fd, &parts)?;
        truth.sent(self.kind, sent);
        Ok(sent)
    }

    /// `readv(2)` into two buffers.
    pub fn read_parts(
        &self,
        truth: &mut Truth,
        first: &mut [u8],
        second: &mut [u8],
    ) -> nix::Result<usize> {
        let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
        let received = nix::sys::uio::readv(&self.fd, &mut parts)?;
        truth.received(self.kind, received, MsgFlags::empty());
        Ok(received)
    }

    /// Sends one message whole.
    pub fn send_whole(&self, truth: &mut Truth, buf: &[u8]) -> Result {
        let sent = self.send(truth, buf, MsgFlags::empty())?;
        if sent == buf.len() {
            Ok(())
        } else {
            Err(format!("only {sent} of {} bytes were sent", buf.len()).into())
        }
    }

    /// Receives in pieces of up to `piece` bytes until `total` bytes have arrived.
    pub fn drain(&self, truth: &mut Truth, total: usize, piece: usize) -> Result {
        let mut buf = vec![0; piece];
        let mut left = total;
        while left > 0 {
            let want = piece.min(left);
            match self.recv(truth, &mut buf[..want], MsgFlags::empty())? {
                0 => return Err(format!("the stream ended {left} bytes early").into()),
                received => left -= received,
            }
        }
        Ok(())
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The connecting and the accepting end of a TCP connection.
pub fn tcp_pair(family: Family) -> Result<(Socket, Socket)> {
    let listener = TcpListener::bind(family.any_port()).map_err(|error| family.explain(error))?;
    let client = TcpStream::connect(listener.local_addr()?)?;
    let (server, _) = listener.accept()?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    Ok((
        Socket::new(client, Kind::Tcp),
        Socket::new(server, Kind::Tcp),
    ))
}

/// Two UDP sockets connected to each other.
pub fn udp_pair(family: Family) -> Result<(Socket, Socket)> {
    let one = udp_socket(family)?;
    let other = udp_socket(family)?;
    one.connect(other.local_addr()?)?;
    other.connect(one.local_addr()?)?;
    Ok((Socket::new(one, Kind::Udp), Socket::new(other, Kind::Udp)))
}

/// A UDP socket connected to itself. The socket receives the datagrams that it sends.
pub fn udp_mirror() -> Result<Socket> {
    let mirror = udp_socket(Family::V4)?;
    mirror.connect(mirror.local_addr()?)?;
    Ok(Socket::new(mirror, Kind::Udp))
}

/// A UDP socket bound to loopback and not connected.
pub fn udp_socket(family: Family) -> Result<UdpSocket> {
    UdpSocket::bind(family.any_port()).map_err(|error| family.explain(error))
}

/// A receiver that drops datagrams: its socket is bound, never read, and has a minimal buffer.
pub struct Sink(UdpSocket);

impl Sink {
    /// A new one on 127.0.0.1.
    pub fn new() -> Result<Self> {
        let sink = udp_socket(Family::V4)?;
        socket::setsockopt(&sink, socket::sockopt::RcvBuf, &1)?;
        Ok(Self(sink))
    }

    /// The port of the receiver.
    pub fn port(&self) -> Result<u16> {
        Ok(self.0.local_addr()?.port())
    }

    /// A socket connected to the receiver.
    pub fn sender(&self) -> Result<Socket> {
        sender_to(self.port()?)
    }
}

/// A UDP socket connected to a port of 127.0.0.1.
pub fn sender_to(port: u16) -> Result<Socket> {
    let sender = udp_socket(Family::V4)?;
    sender.connect((Ipv4Addr::LOCALHOST, port))?;
    Ok(Socket::new(sender, Kind::Udp))
}

/// The number and the lengths of messages in one direction.
#[derive(Clone, Copy)]
pub struct Burst {
    /// The number of messages.
    pub messages: usize,
    /// The length of the first one.
    pub size: usize,
    /// The difference in length between successive messages.
    pub step: usize,
}

impl Burst {
    /// The length of each message.
    pub fn sizes(self) -> impl Iterator<Item = usize> {
        (0..self.messages).map(move |i| self.size + i * self.step)
    }

    /// Sends the messages.
    pub fn send(self, truth: &mut Truth, from: &Socket) -> Result {
        self.sizes()
            .try_for_each(|size| from.send_whole(truth, &vec![b'n'; size]))
    }

    /// Sends and receives the messages. A stream is received in pieces of `piece` bytes, and
    /// datagrams one by one into a buffer of that size.
    pub fn exchange(self, truth: &mut Truth, from: &Socket, to: &Socket, piece: usize) -> Result {
        match from.kind() {
            Kind::Udp => {
                let mut buf = vec![0; piece];
                for size in self.sizes() {
                    from.send_whole(truth, &vec![b'n'; size])?;
                    to.recv(truth, &mut buf, MsgFlags::empty())?;
                }
                Ok(())
            }
            Kind::Tcp | Kind::Other => {
                self.send(truth, from)?;
                to.drain(truth, self.sizes().sum(), piece)
            }
        }
    }
}

/// Some TCP and UDP traffic in both directions, different for each `seed`.
pub fn mixed_traffic(truth: &mut Truth, seed: usize) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    let request = Burst {
        messages: 3 + seed % 5,
        size: 120 + seed,
        step: 7,
    };
    request.exchange(truth, &client, &server, 333)?;
    // Leave some data unread, so that sent and received counts differ.
    client.send_whole(truth, b"unread")?;
    let (one, other) = udp_pair(Family::V4)?;
    let datagrams = Burst {
        messages: 9 + seed % 7,
        size: 20 + seed,
        step: 3,
    };
    datagrams.exchange(truth, &one, &other, 2048)?;
    let unread = Burst {
        messages: 2,
        ..datagrams
    };
    unread.send(truth, &other)
}
