//! Streams: TCP over IPv4 and IPv6 with various calls, MPTCP, and Unix sockets, which do not count.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    self, AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, SockaddrIn,
};

use crate::call::{Call, Result, unavailable};
use crate::net::{Burst, Family, Socket, tcp_pair, udp_pair};
use crate::truth::{Kind, Truth};

const NO_FLAGS: MsgFlags = MsgFlags::empty();

/// `tcp`: requests and replies over IPv4.
pub fn tcp(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    converse(truth, &client, &server)
}

/// `tcp6`: the same over IPv6.
pub fn tcp6(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V6)?;
    converse(truth, &client, &server)
}

/// `mapped`: TCP and UDP over IPv4 on IPv6 sockets.
pub fn mapped(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::Mapped)?;
    converse(truth, &client, &server)?;
    let (one, other) = udp_pair(Family::Mapped)?;
    let datagrams = Burst {
        messages: 9,
        size: 31,
        step: 11,
    };
    datagrams.exchange(truth, &one, &other, 1000)?;
    one.send_whole(truth, b"unread")
}

fn converse(truth: &mut Truth, client: &Socket, server: &Socket) -> Result {
    let requests = Burst {
        messages: 7,
        size: 101,
        step: 13,
    };
    requests.exchange(truth, client, server, 64)?;
    let replies = Burst {
        messages: 3,
        size: 907,
        step: 5,
    };
    replies.exchange(truth, server, client, 4096)?;
    // Leave this unread, so that more is sent than received.
    client.send_whole(truth, b"goodbye")
}

/// `writev`: every way to write to and read from a TCP socket.
pub fn writev(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    let mut buf = [0; 1024];
    let mut more = [0; 50];

    truth.sent(Kind::Tcp, nix::unistd::write(client.as_fd(), &[1; 210])?);
    let read = nix::unistd::read(server.as_fd(), &mut buf)?;
    truth.received(Kind::Tcp, read, NO_FLAGS);

    client.write_parts(truth, &[&[2; 30], &[], &[3; 41]])?;
    server.read_parts(truth, &mut buf[..60], &mut more)?;

    client.send(truth, &[4; 97], NO_FLAGS)?;
    client.send(truth, &[5; 13], MsgFlags::MSG_DONTWAIT)?;
    server.drain(truth, 110, 30)?;

    let parts = [IoSlice::new(&[6; 11]), IoSlice::new(&[7; 8])];
    let sent = socket::sendmsg::<()>(client.raw(), &parts, &[], MsgFlags::MSG_NOSIGNAL, None)?;
    truth.sent(Kind::Tcp, sent);
    let mut into = [std::io::IoSliceMut::new(&mut more)];
    let received = socket::recvmsg::<()>(server.raw(), &mut into, None, NO_FLAGS)?.bytes;
    truth.received(Kind::Tcp, received, NO_FLAGS);

    // An empty write is not a message, with any call.
    client.send(truth, &[], NO_FLAGS)?;
    truth.sent(Kind::Tcp, nix::unistd::write(client.as_fd(), &[])?);
    Ok(())
}

/// `oob`: urgent data, read out of band.
pub fn oob(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    client.send_whole(truth, &[1; 40])?;
    client.send(truth, &[2; 3], MsgFlags::MSG_OOB)?;
    // The last byte is urgent data, and is not in the stream.
    server.drain(truth, 42, 15)?;
    server.recv(truth, &mut [0; 1], MsgFlags::MSG_OOB)?;
    Ok(())
}

/// `eof`: both ends read the end of a stream several times.
pub fn eof(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    client.send_whole(truth, &[1; 300])?;
    socket::shutdown(client.raw(), Shutdown::Write)?;
    server.drain(truth, 300, 200)?;
    let mut buf = [0; 100];
    for _ in 0..5 {
        expect_end(server.recv(truth, &mut buf, NO_FLAGS)?)?;
    }
    server.send_whole(truth, &[2; 77])?;
    socket::shutdown(server.raw(), Shutdown::Both)?;
    client.drain(truth, 77, 10)?;
    for _ in 0..3 {
        expect_end(client.recv(truth, &mut buf, NO_FLAGS)?)?;
    }
    Ok(())
}

fn expect_end(received: usize) -> Result {
    match received {
        0 => Ok(()),
        _ => Err(format!("{received} bytes came after the end of the stream").into()),
    }
}

/// `tcp-nonblock-big`: 64 MiB (or `size=`) through one connection, with partial writes.
pub fn nonblock_big(call: &Call, truth: &mut Truth) -> Result {
    let total = call.number("size", 64 << 20)?;
    let (client, server) = tcp_pair(Family::V4)?;
    let chunk = vec![9; 3 << 20];
    let mut buf = vec![0; 300_001];
    let (mut sent, mut received) = (0, 0);
    while received < total {
        while sent < total {
            let want = chunk.len().min(total - sent);
            match client.send(truth, &chunk[..want], MsgFlags::MSG_DONTWAIT) {
                Ok(count) => sent += count,
                Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
        // At least one blocking receive per round, so that the loop does not spin.
        received += server.recv(truth, &mut buf, NO_FLAGS)?;
        loop {
            match server.recv(truth, &mut buf, MsgFlags::MSG_DONTWAIT) {
                Ok(count) if count > 0 => received += count,
                Ok(_) | Err(Errno::EAGAIN) => break,
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(())
}

/// `mptcp`: both ends are multipath TCP.
pub fn mptcp(_: &Call, truth: &mut Truth) -> Result {
    let listener = mptcp_socket()?;
    let any = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    socket::bind(listener.as_raw_fd(), &any)?;
    socket::listen(&listener, Backlog::new(1)?)?;
    let address: SockaddrIn = socket::getsockname(listener.as_raw_fd())?;
    let client = mptcp_socket()?;
    socket::connect(client.as_raw_fd(), &address)?;
    let accepted = socket::accept(listener.as_raw_fd())?;
    // SAFETY: accept has just created this descriptor, which has no other owner.
    let server = unsafe { OwnedFd::from_raw_fd(accepted) };
    converse(
        truth,
        &Socket::new(client, Kind::Tcp),
        &Socket::new(server, Kind::Tcp),
    )
}

fn mptcp_socket() -> Result<OwnedFd> {
    // SAFETY: socket() takes no pointers.
    let fd = unsafe {
        libc::socket(
            libc::AF_INET,
            libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
            libc::IPPROTO_MPTCP,
        )
    };
    let fd = Errno::result(fd).map_err(|errno| unavailable("no MPTCP", errno))?;
    // SAFETY: socket() has just created this descriptor, which has no other owner.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `unix`: stream and datagram sockets that never count.
pub fn unix(_: &Call, truth: &mut Truth) -> Result {
    for kind in [SockType::Stream, SockType::Datagram, SockType::SeqPacket] {
        let (one, other) =
            socket::socketpair(AddressFamily::Unix, kind, None, SockFlag::SOCK_CLOEXEC)?;
        let one = Socket::new(one, Kind::Other);
        let other = Socket::new(other, Kind::Other);
        for size in [10, 200, 3000] {
            one.send_whole(truth, &vec![1; size])?;
            other.recv(truth, &mut [0; 4096], NO_FLAGS)?;
        }
    }
    Ok(())
}
