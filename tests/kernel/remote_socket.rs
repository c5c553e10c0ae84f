//! Sockets that tell the truth about their calls.

use std::fs;
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;

use netatop::model::{Protocol, Role};
use nix::libc;
use nix::sys::socket::{self, ControlMessage, MsgFlags, SockaddrLike, SockaddrStorage};
use nix::unistd::{getpid, gettid};

use super::remote::{Known, Truth};

pub const NO_FLAGS: MsgFlags = MsgFlags::empty();

/// A piece of a datagram, or of a segment: more will follow.
pub const MORE: MsgFlags = MsgFlags::from_bits_retain(libc::MSG_MORE);

/// The loopback address of each family. The last one is IPv4 on an IPv6 socket.
pub const LOOPBACKS: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
    MAPPED,
];

pub const V4: IpAddr = LOOPBACKS[0];

pub const V6: IpAddr = LOOPBACKS[1];

pub const MAPPED: IpAddr = IpAddr::V6(Ipv4Addr::LOCALHOST.to_ipv6_mapped());

/// The network namespace of the calling thread; `None` if it is that of the host, in which the tests
/// run.
fn own_netns() -> Option<u32> {
    let inode = |path: &str| fs::metadata(path).expect("/proc").ino();
    let own = inode("/proc/thread-self/ns/net");
    (own != inode("/proc/self/ns/net")).then_some(own as u32)
}

/// A socket that tells the truth about its calls.
pub struct Socket {
    fd: OwnedFd,
    protocol: Protocol,
    role: Role,
    netns: Option<u32>,
    /// The ends of a connection that may be closed by now.
    ends: Option<(SocketAddr, SocketAddr)>,
}

impl Socket {
    /// `role` is what the test made of the socket.
    pub fn new(fd: impl Into<OwnedFd>, protocol: Protocol, role: Role) -> Self {
        let mut socket = Self {
            fd: fd.into(),
            protocol,
            role,
            netns: own_netns(),
            ends: None,
        };
        if protocol == Protocol::Tcp {
            socket.ends = Some((socket.local(), socket.peer().expect("connected")));
        }
        socket
    }

    /// A UDP socket that is not bound.
    pub fn udp(address: IpAddr) -> Self {
        let family = if address.is_ipv4() {
            libc::AF_INET
        } else {
            libc::AF_INET6
        };
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC;
        Self::new(open(family, kind, 0), Protocol::Udp, Role::Client)
    }

    /// A UDP socket on a port that the kernel chose.
    pub fn udp_client(address: IpAddr) -> Self {
        let socket = Self::udp(address);
        let any = SockaddrStorage::from(SocketAddr::new(address, 0));
        socket::bind(socket.raw(), &any).expect("bind");
        socket
    }

    /// A UDP socket that is bound to a free port by its number.
    pub fn udp_server(address: IpAddr) -> Self {
        let mut socket = Self::udp(address);
        socket.role = Role::Server;
        bind_to_port(&socket.fd, address);
        socket
    }

    pub fn connect(&self, to: SocketAddr) {
        socket::connect(self.raw(), &SockaddrStorage::from(to)).expect("connect");
    }

    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    pub fn local(&self) -> SocketAddr {
        let name: SockaddrStorage = socket::getsockname(self.raw()).expect("getsockname");
        plain(&name).expect("an address")
    }

    pub fn peer(&self) -> Option<SocketAddr> {
        let name: SockaddrStorage = socket::getpeername(self.raw()).ok()?;
        plain(&name)
    }

    fn known(&self, remote: Option<SocketAddr>, sent: bool, bytes: usize) -> Known {
        let (local, remote) = match self.ends {
            Some((local, remote)) => (local, Some(remote)),
            None => (self.local(), remote),
        };
        Known {
            pid: getpid().as_raw() as u32,
            tid: gettid().as_raw() as u32,
            protocol: self.protocol,
            role: self.role,
            local,
            remote,
            netns: self.netns,
            sent,
            bytes,
        }
    }

    /// Tells of a call that was made elsewhere: of a piece of a datagram, or in a worker thread.
    pub fn sent(&self, truth: &Truth, to: Option<SocketAddr>, bytes: usize) {
        truth.add(self.known(to.or_else(|| self.peer()), true, bytes));
    }

    /// Tells of a receive call that was made elsewhere.
    pub fn received(&self, truth: &Truth, from: Option<SocketAddr>, bytes: usize) {
        truth.add(self.known(from.or_else(|| self.peer()), false, bytes));
    }

    /// Tells what the only thread of another process did with this socket.
    pub fn used_by(&self, truth: &Truth, pid: u32, sent: bool, bytes: usize) {
        let known = self.known(self.peer(), sent, bytes);
        truth.add(Known {
            pid,
            tid: pid,
            ..known
        });
    }

    /// The sender of the next datagram, for a call that does not ask for it. `None` if the programs
    /// do not know it either.
    pub fn sender(&self, truth: &Truth) -> Option<SocketAddr> {
        let is_apart = self.protocol == Protocol::Udp && self.peer().is_none();
        (is_apart && truth.knows_senders).then(|| self.look(MsgFlags::MSG_PEEK))
    }

    /// `send(2)`.
    pub fn send(&self, truth: &Truth, size: usize) {
        self.send_flags(truth, size, NO_FLAGS);
    }

    pub fn send_flags(&self, truth: &Truth, size: usize, flags: MsgFlags) {
        let sent = socket::send(self.raw(), &vec![1; size], flags).expect("send");
        assert_eq!(sent, size);
        self.sent(truth, None, sent);
    }

    /// `sendto(2)`.
    pub fn send_to(&self, truth: &Truth, size: usize, to: SocketAddr) {
        self.send_to_flags(truth, size, to, NO_FLAGS);
    }

    pub fn send_to_flags(&self, truth: &Truth, size: usize, to: SocketAddr, flags: MsgFlags) {
        let address = SockaddrStorage::from(to);
        let sent = socket::sendto(self.raw(), &vec![2; size], &address, flags).expect("sendto");
        assert_eq!(sent, size);
        self.sent(truth, Some(to), sent);
    }

    /// A `sendto(2)` that fails.
    pub fn fail_to(&self, size: usize, to: SocketAddr) {
        let address = SockaddrStorage::from(to);
        let sent = socket::sendto(self.raw(), &vec![3; size], &address, NO_FLAGS);
        assert!(sent.is_err(), "{sent:?}");
    }

    /// `sendmsg(2)` with a control message.
    pub fn send_with(
        &self,
        truth: &Truth,
        size: usize,
        control: &ControlMessage<'_>,
        to: Option<SocketAddr>,
    ) {
        let bytes = vec![4; size];
        let parts = [IoSlice::new(&bytes)];
        let address = to.map(SockaddrStorage::from);
        let sent = socket::sendmsg(
            self.raw(),
            &parts,
            std::slice::from_ref(control),
            NO_FLAGS,
            address.as_ref(),
        );
        assert_eq!(sent, Ok(size));
        self.sent(truth, to, size);
    }

    /// `recv(2)`. The sender is not known unless the socket is connected.
    pub fn recv(&self, truth: &Truth) -> usize {
        self.recv_up_to(truth, 1 << 16)
    }

    pub fn recv_up_to(&self, truth: &Truth, size: usize) -> usize {
        let mut buf = vec![0; size];
        let sender = self.sender(truth);
        let received = socket::recv(self.raw(), &mut buf, NO_FLAGS).expect("recv");
        self.received(truth, sender, received);
        received
    }

    /// Receives this much of a stream in calls of up to `piece` bytes.
    pub fn drain(&self, truth: &Truth, total: usize, piece: usize) {
        let mut left = total;
        while left > 0 {
            let received = self.recv_up_to(truth, piece.min(left));
            assert!(received > 0, "the stream has ended");
            left -= received;
        }
    }

    /// `recvfrom(2)`. Returns the sender.
    pub fn recv_from(&self, truth: &Truth) -> SocketAddr {
        self.recv_from_sized(truth).0
    }

    /// The same, with the number of bytes.
    pub fn recv_from_sized(&self, truth: &Truth) -> (SocketAddr, usize) {
        let mut buf = [0; 1 << 12];
        let (received, from) =
            socket::recvfrom::<SockaddrStorage>(self.raw(), &mut buf).expect("recvfrom");
        let from = from.as_ref().and_then(plain).expect("a sender");
        self.received(truth, Some(from), received);
        (from, received)
    }

    /// `recvmsg(2)` that asks for the sender, with these flags. Does not tell of it.
    pub fn look(&self, flags: MsgFlags) -> SocketAddr {
        let mut buf = [0; 1 << 12];
        let mut parts = [IoSliceMut::new(&mut buf)];
        let message = socket::recvmsg::<SockaddrStorage>(self.raw(), &mut parts, None, flags);
        let message = message.expect("recvmsg");
        message.address.as_ref().and_then(plain).expect("a sender")
    }
}

/// An address of the standard library.
pub fn plain(address: &SockaddrStorage) -> Option<SocketAddr> {
    let v4 = address.as_sockaddr_in();
    let v6 = address.as_sockaddr_in6();
    v4.map(|v4| SocketAddrV4::from(*v4).into())
        .or_else(|| v6.map(|v6| SocketAddrV6::from(*v6).into()))
}

/// connect(2) to no address. TCP resets the connection, and the kernel clears the counters.
#[track_caller]
pub fn disconnect(socket: &impl AsRawFd) {
    // SAFETY: all zeroes is an address of no family.
    let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
    let size = size_of_val(&nobody) as u32;
    // SAFETY: the address is as long as it says.
    let gone = unsafe { libc::connect(socket.as_raw_fd(), &raw const nobody, size) };
    assert_eq!(gone, 0, "{}", std::io::Error::last_os_error());
}

/// `socket(2)`.
pub fn open(family: i32, kind: i32, protocol: i32) -> OwnedFd {
    // SAFETY: no pointers are passed.
    let fd = unsafe { libc::socket(family, kind, protocol) };
    assert!(fd >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: the descriptor is new, and has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// Binds to a port by its number, which is none that the kernel would choose itself.
pub fn bind_to_port(socket: &OwnedFd, address: IpAddr) -> u16 {
    let free = (20_000..30_000).find(|port| {
        let address = SockaddrStorage::from(SocketAddr::new(address, *port));
        // SAFETY: the address is as long as it says.
        let bound = unsafe { libc::bind(socket.as_raw_fd(), address.as_ptr(), address.len()) };
        bound == 0
    });
    free.expect("a free port")
}

/// The same data in both directions over a connection.
pub fn talk(truth: &Truth, client: &Socket, server: &Socket) {
    for size in [100, 210, 4000] {
        client.send(truth, size);
    }
    server.drain(truth, 4310, 1000);
    server.send(truth, 77);
    client.drain(truth, 77, 50);
}
