//! Datagrams: UDP over IPv4 and IPv6, in batches, and in large sends that the kernel splits.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::ptr;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{self, MsgFlags, Shutdown, SockaddrStorage, sockopt};

use crate::call::{Call, Result};
use crate::net::{Burst, Family, Socket, udp_pair, udp_socket};
use crate::truth::{Kind, Truth};

const NO_FLAGS: MsgFlags = MsgFlags::empty();

/// `udp`: sendto and recvfrom over IPv4.
pub fn udp(_: &Call, truth: &mut Truth) -> Result {
    unconnected(truth, Family::V4)
}

/// `udp6`: the same over IPv6.
pub fn udp6(_: &Call, truth: &mut Truth) -> Result {
    unconnected(truth, Family::V6)
}

fn unconnected(truth: &mut Truth, family: Family) -> Result {
    let (one, other) = (udp_socket(family)?, udp_socket(family)?);
    let to = address(other.local_addr()?);
    let (one, other) = (Socket::new(one, Kind::Udp), Socket::new(other, Kind::Udp));
    let mut buf = [0; 2048];
    for i in 0..11 {
        let sent = socket::sendto(one.raw(), &vec![1; 50 + 17 * i], &to, NO_FLAGS)?;
        truth.sent(Kind::Udp, sent);
        // One in four stays unread.
        if i % 4 != 3 {
            let (received, _) = socket::recvfrom::<SockaddrStorage>(other.raw(), &mut buf)?;
            truth.received(Kind::Udp, received, NO_FLAGS);
        }
    }
    Ok(())
}

/// Converts a socket address for nix.
pub fn address(address: SocketAddr) -> SockaddrStorage {
    address.into()
}

/// `udp-connected`: send and recv on connected sockets.
pub fn connected(_: &Call, truth: &mut Truth) -> Result {
    let (one, other) = udp_pair(Family::V4)?;
    let there = Burst {
        messages: 13,
        size: 71,
        step: 5,
    };
    there.exchange(truth, &one, &other, 1500)?;
    let back = Burst {
        messages: 4,
        size: 500,
        step: 1,
    };
    back.send(truth, &other)
}

/// `empty-datagram`: datagrams of no bytes, which count as messages.
pub fn empty(_: &Call, truth: &mut Truth) -> Result {
    let (one, other) = udp_pair(Family::V4)?;
    let mut buf = [0; 100];
    for size in [0, 0, 33, 0, 0, 0] {
        one.send_whole(truth, &vec![1; size])?;
        other.recv(truth, &mut buf, NO_FLAGS)?;
    }
    one.send_whole(truth, &[])
}

/// `udp-shutdown`: receives from a socket that is shut down. A blocking call returns 0 at once, which
/// is the end of data and not an empty datagram. A non-blocking call fails at the end of data, so a
/// result of 0 is an empty datagram.
pub fn shut_down(_: &Call, truth: &mut Truth) -> Result {
    for family in [Family::V4, Family::V6] {
        let (one, other) = udp_pair(family)?;
        let mut buf = [0; 100];
        one.send_whole(truth, &[1; 33])?;
        one.send_whole(truth, &[])?;
        other.recv(truth, &mut buf, NO_FLAGS)?;
        other.recv(truth, &mut buf, NO_FLAGS)?;
        socket::shutdown(other.raw(), Shutdown::Read)?;
        for _ in 0..25 {
            read_end_of_data(&other, &mut buf)?;
        }
        // The socket can still send, and can still receive datagrams that arrive.
        other.send_whole(truth, &[1; 7])?;
        one.recv(truth, &mut buf, NO_FLAGS)?;
        one.send_whole(truth, &[1; 5])?;
        other.recv(truth, &mut buf, NO_FLAGS)?;
        for _ in 0..3 {
            one.send_whole(truth, &[])?;
            other.recv(truth, &mut buf, MsgFlags::MSG_DONTWAIT)?;
        }
        match other.recv(truth, &mut buf, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN) => {}
            result => return Err(format!("a call that may not wait: {result:?}").into()),
        }
        socket::shutdown(one.raw(), Shutdown::Write)?;
    }
    Ok(())
}

/// Reads the end of data in every way. The calls bypass `Socket`, which would count them.
fn read_end_of_data(socket: &Socket, buf: &mut [u8]) -> Result {
    let mut lengths = vec![
        socket::recv(socket.raw(), buf, NO_FLAGS)?,
        socket::recvfrom::<SockaddrStorage>(socket.raw(), buf)?.0,
        nix::unistd::read(socket, buf)?,
    ];
    let mut slices = [IoSliceMut::new(buf)];
    let received =
        socket::recvmsg::<SockaddrStorage>(socket.raw(), &mut slices, None, NO_FLAGS)?.bytes;
    lengths.push(received);
    let mut parts = [part(buf, 10), part(buf, 10)];
    let mut messages: Vec<_> = parts.iter_mut().map(message).collect();
    lengths.extend(receive_many(socket, &mut messages, 0)?);
    if lengths != [0; 6] {
        return Err(format!("there is data after a shutdown: {lengths:?}").into());
    }
    Ok(())
}

/// `short-buffer`: datagrams that are longer than the buffer they are received into.
pub fn short_buffer(_: &Call, truth: &mut Truth) -> Result {
    let (one, other) = udp_pair(Family::V4)?;
    let datagrams = Burst {
        messages: 6,
        size: 90,
        step: 30,
    };
    datagrams.exchange(truth, &one, &other, 100)
}

/// `mmsg`: many messages in one call; `n=` of them, at most 1024.
pub fn mmsg(call: &Call, truth: &mut Truth) -> Result {
    let count = call.number("n", 1024)?.min(1024);
    let (one, other) = udp_pair(Family::V4)?;
    // Make room for all messages. Without the privilege some are dropped; the receiver detects this.
    let _ = socket::setsockopt(&other, sockopt::RcvBufForce, &(16 << 20));

    let mut buf = vec![3_u8; 4096];
    let mut parts: Vec<_> = (0..count).map(|i| part(&mut buf, 1 + i % 100)).collect();
    let mut messages: Vec<_> = parts.iter_mut().map(message).collect();
    for sent in send_many(&one, &mut messages)? {
        truth.sent(Kind::Udp, sent);
    }

    // Receive two thirds at a time: the second call is not full, and the third receives nothing.
    let mut parts: Vec<_> = (0..count * 2 / 3).map(|_| part(&mut buf, 64)).collect();
    loop {
        let mut messages: Vec<_> = parts.iter_mut().map(message).collect();
        match receive_many(&other, &mut messages, libc::MSG_DONTWAIT) {
            Ok(lengths) => lengths
                .iter()
                .for_each(|length| truth.received(Kind::Udp, *length, NO_FLAGS)),
            Err(Errno::EAGAIN) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// A part of a buffer that all messages share: the contents do not matter.
fn part(buf: &mut [u8], length: usize) -> libc::iovec {
    libc::iovec {
        iov_base: buf.as_mut_ptr().cast(),
        iov_len: length.min(buf.len()),
    }
}

fn message(part: &mut libc::iovec) -> libc::mmsghdr {
    // SAFETY: all zeroes is a valid message header: no address, no buffers, no control data.
    let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
    message.msg_hdr.msg_iov = part;
    message.msg_hdr.msg_iovlen = 1;
    message
}

/// Sends all messages, in as many calls as needed, and returns their lengths.
fn send_many(socket: &Socket, messages: &mut [libc::mmsghdr]) -> nix::Result<Vec<usize>> {
    let mut done = 0;
    while done < messages.len() {
        let rest = &mut messages[done..];
        // SAFETY: the headers and the buffers they point to outlive the call.
        let sent = unsafe { libc::sendmmsg(socket.raw(), rest.as_mut_ptr(), rest.len() as u32, 0) };
        done += Errno::result(sent)? as usize;
    }
    Ok(messages.iter().map(|m| m.msg_len as usize).collect())
}

/// Receives messages with one call, and returns their lengths.
fn receive_many(
    socket: &Socket,
    messages: &mut [libc::mmsghdr],
    flags: libc::c_int,
) -> nix::Result<Vec<usize>> {
    // SAFETY: the headers and the buffers they point to outlive the call; no timeout is given.
    let received = unsafe {
        libc::recvmmsg(
            socket.raw(),
            messages.as_mut_ptr(),
            messages.len() as u32,
            flags as _,
            ptr::null_mut(),
        )
    };
    let received = Errno::result(received)? as usize;
    Ok(messages[..received]
        .iter()
        .map(|m| m.msg_len as usize)
        .collect())
}

/// `gso`: one send of ten segments. A socket with GRO receives them as one message, and a socket
/// without GRO as ten.
pub fn gso(_: &Call, truth: &mut Truth) -> Result {
    for whole in [true, false] {
        let (one, other) = udp_pair(Family::V4)?;
        socket::setsockopt(&one, sockopt::UdpGsoSegment, &100)?;
        socket::setsockopt(&other, sockopt::UdpGroSegment, &whole)?;
        one.send_whole(truth, &[7; 1000])?;
        let mut buf = [0; 2000];
        let mut left = 1000;
        while left > 0 {
            left -= other.recv(truth, &mut buf, NO_FLAGS)?.min(left);
        }
    }
    Ok(())
}
