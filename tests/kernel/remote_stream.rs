//! Remote ends of TCP and MPTCP connections.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use netatop::model::{Protocol, Role};
use nix::libc;
use nix::sys::socket::{self, Backlog, ControlMessage, ControlMessageOwned, SockaddrStorage};

use super::remote::{in_child, split};
use super::remote_socket::{LOOPBACKS, MORE, NO_FLAGS, Socket, V4, V6, open, talk};

pub fn client(stream: impl Into<OwnedFd>) -> Socket {
    Socket::new(stream, Protocol::Tcp, Role::Client)
}

pub fn server(stream: impl Into<OwnedFd>) -> Socket {
    Socket::new(stream, Protocol::Tcp, Role::Server)
}

/// A connection to a server on a port that the kernel chose.
pub fn pair(address: IpAddr) -> (Socket, Socket) {
    let listener = TcpListener::bind((address, 0)).expect("bind");
    let to = listener.local_addr().expect("its name");
    let stream = TcpStream::connect(to).expect("connect");
    let (accepted, _) = listener.accept().expect("accept");
    (client(stream), server(accepted))
}

pub fn socket_of(address: IpAddr, protocol: i32) -> OwnedFd {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    open(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol)
}

pub fn connect(socket: &OwnedFd, to: SocketAddr) {
    socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).expect("connect");
}

pub fn bind(socket: &OwnedFd, to: SocketAddr) {
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(to)).expect("bind");
}

pub fn listen(socket: &OwnedFd) {
    socket::listen(socket, Backlog::new(8).expect("small")).expect("listen");
}

pub fn accept(listener: &OwnedFd) -> OwnedFd {
    let fd = socket::accept(listener.as_raw_fd()).expect("accept");
    // SAFETY: the descriptor is new, and has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

pub fn name(socket: &OwnedFd) -> SocketAddr {
    let copy = socket.try_clone().expect("a descriptor");
    TcpListener::from(copy).local_addr().expect("its name")
}

#[test]
fn client_and_server() {
    for address in LOOPBACKS {
        split(
            || (),
            |(), truth| {
                let (client, server) = pair(address);
                talk(truth, &client, &server);
                client.send(truth, 5);
            },
        );
    }
}

#[test]
fn two_connections_and_both_directions() {
    split(
        || (),
        |(), truth| {
            let (one, other) = (pair(V4), pair(V6));
            for _ in 0..3 {
                talk(truth, &one.0, &one.1);
                talk(truth, &other.0, &other.1);
            }
        },
    );
}

#[test]
fn connections_from_before_the_recording() {
    for address in LOOPBACKS {
        split(
            || pair(address),
            |(client, server), truth| talk(truth, &client, &server),
        );
    }
}

#[test]
fn pieces_of_a_segment() {
    split(
        || (),
        |(), truth| {
            let (one, other) = pair(V6);
            one.send_flags(truth, 50, MORE);
            one.send(truth, 60);
            other.drain(truth, 110, 200);
        },
    );
}

/// Sends 70 bytes and receives 50.
fn use_in_child(fd: RawFd) -> bool {
    let mut buf = [0; 50];
    socket::send(fd, &[1; 70], NO_FLAGS) == Ok(70)
        && socket::recv(fd, &mut buf, socket::MsgFlags::MSG_WAITALL) == Ok(50)
}

#[test]
fn a_socket_inherited_by_another_process() {
    split(
        || (),
        |(), truth| {
            let (client, server) = pair(V4);
            for (used, other) in [(&server, &client), (&client, &server)] {
                other.send(truth, 50);
                let pid = in_child(|| use_in_child(used.raw()));
                used.used_by(truth, pid, true, 70);
                used.used_by(truth, pid, false, 50);
                other.drain(truth, 70, 70);
            }
        },
    );
}

#[test]
fn a_socket_passed_to_another_process() {
    split(
        || (),
        |(), truth| {
            let (client, server) = pair(V6);
            let (one, other) = std::os::unix::net::UnixStream::pair().expect("a pair");
            for (used, far) in [(&server, &client), (&client, &server)] {
                far.send(truth, 50);
                let rights = [used.raw()];
                let passed = socket::sendmsg::<()>(
                    one.as_raw_fd(),
                    &[IoSlice::new(&[0])],
                    &[ControlMessage::ScmRights(&rights)],
                    NO_FLAGS,
                    None,
                );
                assert_eq!(passed, Ok(1));
                let pid = in_child(|| received(other.as_raw_fd()).is_some_and(use_in_child));
                used.used_by(truth, pid, true, 70);
                used.used_by(truth, pid, false, 50);
                far.drain(truth, 70, 70);
            }
        },
    );
}

/// The descriptor that was passed.
fn received(from: RawFd) -> Option<RawFd> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message = socket::recvmsg::<()>(from, &mut parts, Some(&mut space), NO_FLAGS).ok()?;
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::ScmRights(fds) => fds.first().copied(),
        _ => None,
    })
}

#[test]
fn a_socket_used_by_several_threads() {
    split(
        || (),
        |(), truth| {
            let (client, server) = pair(V4);
            std::thread::scope(|scope| scope.spawn(|| talk(truth, &client, &server)).join())
                .expect("no panic");
            talk(truth, &client, &server);
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..100).for_each(|_| client.send(truth, 10)));
                }
            });
            server.drain(truth, 4000, 4000);
        },
    );
}
