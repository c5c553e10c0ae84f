//! Calls that must not count, or that count differently than their results suggest: errors, peeks,
//! error queues, truncation and raw sockets. Each scenario also has calls that do count.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{self, SaFlags, SigAction, SigHandler, SigSet, Signal};
use nix::sys::socket::{
    self, AddressFamily, MsgFlags, Shutdown, SockFlag, SockProtocol, SockType, SockaddrIn,
    SockaddrIn6, SockaddrLike, SockaddrStorage, sockopt,
};

use crate::call::{Call, Result, unavailable};
use crate::net::{Family, Socket, sender_to, tcp_pair, udp_mirror, udp_pair};
use crate::truth::{Kind, Truth};

const NO_FLAGS: MsgFlags = MsgFlags::empty();
const DONT_WAIT: MsgFlags = MsgFlags::MSG_DONTWAIT;

fn expect_error(what: &str, result: nix::Result<usize>, expected: Errno) -> Result {
    match result {
        Err(errno) if errno == expected => Ok(()),
        other => Err(format!("{what}: {other:?} instead of {expected}").into()),
    }
}

/// `errors`: calls that fail in all known ways, mixed with successful calls.
pub fn errors(_: &Call, truth: &mut Truth) -> Result {
    let mut buf = [0; 500];
    let (client, server) = tcp_pair(Family::V4)?;
    let (one, other) = udp_pair(Family::V4)?;
    client.send_whole(truth, &[1; 111])?;
    server.drain(truth, 111, 50)?;
    one.send_whole(truth, &[1; 22])?;
    one.send_whole(truth, &[1; 23])?;
    other.recv(truth, &mut buf, NO_FLAGS)?;
    other.recv(truth, &mut buf, NO_FLAGS)?;

    for socket in [&server, &other] {
        let result = socket.recv(truth, &mut buf, DONT_WAIT);
        expect_error("nothing to receive", result, Errno::EAGAIN)?;
    }
    let result = one.send(truth, &[1; 70_000], NO_FLAGS);
    expect_error("a datagram that is too long", result, Errno::EMSGSIZE)?;

    socket::shutdown(client.raw(), Shutdown::Write)?;
    let result = client.send(truth, &[1; 9], NO_FLAGS);
    expect_error("send after shutdown", result, Errno::EPIPE)?;

    let lonely = std::net::UdpSocket::bind(Family::V4.any_port())?;
    let lonely = Socket::new(lonely, Kind::Udp);
    let result = lonely.send(truth, &[1; 9], NO_FLAGS);
    expect_error("send to nobody", result, Errno::EDESTADDRREQ)?;
    let unconnected = socket::socket(
        AddressFamily::Inet,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let unconnected = Socket::new(unconnected, Kind::Tcp);
    let result = unconnected.recv(truth, &mut buf, NO_FLAGS);
    expect_error("receive unconnected", result, Errno::ENOTCONN)?;

    refused_datagrams(truth)?;
    reset(truth)?;
    interrupted(truth)
}

/// A UDP socket connected to a port that refuses datagrams. The port is reserved by a socket
/// connected to itself, which refuses all other senders, so that no other process can use the port.
fn refused_sender() -> Result<(Socket, Socket)> {
    let keeper = udp_mirror()?;
    let address: SockaddrIn = socket::getsockname(keeper.raw())?;
    Ok((sender_to(address.port())?, keeper))
}

fn refused_datagrams(truth: &mut Truth) -> Result {
    let (sender, _keeper) = refused_sender()?;
    // The first datagram is sent. Its refusal makes the next call of any kind fail.
    sender.send_whole(truth, &[1; 40])?;
    let result = sender.send(truth, &[1; 41], NO_FLAGS);
    expect_error("send after a refusal", result, Errno::ECONNREFUSED)?;
    sender.send_whole(truth, &[1; 42])?;
    let result = sender.recv(truth, &mut [0; 100], NO_FLAGS);
    expect_error("receive after a refusal", result, Errno::ECONNREFUSED)
}

fn reset(truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    client.send_whole(truth, &[1; 60])?;
    // Closing with unread data resets the connection.
    server.recv(truth, &mut [0; 10], NO_FLAGS)?;
    drop(server);
    let result = client.recv(truth, &mut [0; 10], NO_FLAGS);
    expect_error("receive after a reset", result, Errno::ECONNRESET)
}

extern "C" fn ignore(_: libc::c_int) {}

/// A signal ends a blocked receive, with an error or with the part received so far.
fn interrupted(truth: &mut Truth) -> Result {
    let action = SigAction::new(
        SigHandler::Handler(ignore),
        SaFlags::empty(),
        SigSet::empty(),
    );
    // SAFETY: the handler does nothing.
    unsafe { signal::sigaction(Signal::SIGUSR1, &action) }?;
    let (client, server) = tcp_pair(Family::V4)?;
    let (_one, other) = udp_pair(Family::V4)?;
    client.send_whole(truth, &[1; 80])?;

    // SAFETY: the calling thread exists.
    let receiver = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // Repeat until every receive was interrupted: a signal before the receive has no effect.
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                // SAFETY: the receiving thread waits for this thread, so it still exists.
                unsafe { libc::pthread_kill(receiver, libc::SIGUSR1) };
                std::thread::yield_now();
            }
        });
        let result = receive_interrupted(truth, &server, &other);
        done.store(true, Ordering::Release);
        result
    })
}

fn receive_interrupted(truth: &mut Truth, stream: &Socket, datagrams: &Socket) -> Result {
    let mut buf = [0; 200];
    let part = stream.recv(truth, &mut buf, MsgFlags::MSG_WAITALL)?;
    if part != 80 {
        return Err(format!("{part} bytes of 80 came before the signal").into());
    }
    for socket in [stream, datagrams] {
        let result = socket.recv(truth, &mut buf, NO_FLAGS);
        expect_error("an interrupted receive", result, Errno::EINTR)?;
    }
    Ok(())
}

/// `peek`: peeks at data, then receives it.
pub fn peek(_: &Call, truth: &mut Truth) -> Result {
    let mut buf = [0; 1000];
    let (client, server) = tcp_pair(Family::V4)?;
    let (one, other) = udp_pair(Family::V4)?;
    for (from, to, size) in [(&client, &server, 210), (&one, &other, 97)] {
        from.send_whole(truth, &vec![1; size])?;
        from.send_whole(truth, &vec![2; size / 2])?;
        for length in [5, 50, 1000] {
            to.recv(truth, &mut buf[..length], MsgFlags::MSG_PEEK)?;
        }
        // The usual way to get the length of the next datagram.
        let how_long = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        to.recv(truth, &mut buf[..1], how_long)?;
    }
    server.drain(truth, 315, 100)?;
    other.recv(truth, &mut buf, NO_FLAGS)?;
    Ok(())
}

/// `errqueue`: reads the errors of refused datagrams, which contain the datagrams.
pub fn errqueue(_: &Call, truth: &mut Truth) -> Result {
    let (sender, _keeper) = refused_sender()?;
    socket::setsockopt(&sender, sockopt::Ipv4RecvErr, &true)?;
    for size in [61, 62, 90] {
        while let Err(errno) = sender.send(truth, &vec![1; size], NO_FLAGS) {
            // An error of the previous datagram.
            if errno != Errno::ECONNREFUSED {
                return Err(errno.into());
            }
        }
        wait_for_error(&sender)?;
        let mut buf = [0; 500];
        let mut control = vec![0; 500];
        let mut parts = [IoSliceMut::new(&mut buf)];
        let report = socket::recvmsg::<SockaddrStorage>(
            sender.raw(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_ERRQUEUE,
        )?;
        truth.received(Kind::Udp, report.bytes, MsgFlags::MSG_ERRQUEUE);
        if report.bytes != size {
            return Err(format!("the report carries {} bytes of {size}", report.bytes).into());
        }
    }
    Ok(())
}

/// Waits until a socket's error queue is not empty.
pub fn wait_for_error(socket: &Socket) -> Result {
    // Request no events: errors are always reported.
    let mut poll = libc::pollfd {
        fd: socket.raw(),
        events: 0,
        revents: 0,
    };
    // SAFETY: poll is one valid element.
    Errno::result(unsafe { libc::poll(&mut poll, 1, -1) })?;
    Ok(())
}

/// `trunc`: MSG_TRUNC, which returns the real length of a datagram, and discards bytes of a stream.
pub fn trunc(_: &Call, truth: &mut Truth) -> Result {
    let (one, other) = udp_pair(Family::V4)?;
    for size in [300, 301, 40] {
        one.send_whole(truth, &vec![1; size])?;
        let length = other.recv(truth, &mut [0; 10], MsgFlags::MSG_TRUNC)?;
        if length != size {
            return Err(format!("a datagram of {size} bytes is said to have {length}").into());
        }
    }
    let (client, server) = tcp_pair(Family::V4)?;
    client.send_whole(truth, &[1; 530])?;
    server.recv(truth, &mut [0; 200], MsgFlags::MSG_TRUNC)?;
    server.drain(truth, 330, 111)
}

/// `raw`: raw sockets with the protocol numbers of TCP and UDP, which do not count.
pub fn raw(_: &Call, truth: &mut Truth) -> Result {
    let v4 = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0));
    for protocol in [SockProtocol::Udp, SockProtocol::Tcp] {
        raw_exchange(truth, AddressFamily::Inet, protocol, &v4)?;
        if let std::net::SocketAddr::V6(address) = Family::V6.any_port()
            && std::net::UdpSocket::bind(address).is_ok()
        {
            let v6 = SockaddrIn6::from(address);
            raw_exchange(truth, AddressFamily::Inet6, protocol, &v6)?;
        }
    }
    Ok(())
}

fn raw_exchange(
    truth: &mut Truth,
    family: AddressFamily,
    protocol: SockProtocol,
    to: &dyn SockaddrLike,
) -> Result {
    let flags = SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(family, SockType::Raw, flags, protocol)
        .map_err(|errno| unavailable("no raw sockets", errno))?;
    let socket = Socket::new(fd, Kind::Other);
    // From and to port 9, with all other fields zero: a datagram of length zero, or a segment without
    // flags. The kernel's TCP and UDP drop both.
    let mut packet = [0; 60];
    (packet[1], packet[3]) = (9, 9);
    for length in [40, 60] {
        let sent = socket::sendto(socket.raw(), &packet[..length], to, NO_FLAGS)?;
        truth.sent(Kind::Other, sent);
        socket.recv(truth, &mut [0; 200], NO_FLAGS)?;
    }
    Ok(())
}
