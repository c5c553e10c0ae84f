//! Remote ends of TCP and MPTCP connections.

use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::process::Command;

use netatop::model::{Protocol, Role};
use nix::libc;
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{self, Backlog, ControlMessage, ControlMessageOwned, SockaddrStorage};

use super::harness::wait_for;
use super::remote::{
    LOOPBACKS, MORE, NO_FLAGS, Socket, V4, V6, bind_to_port, in_child, open, split, talk,
};

fn client(stream: impl Into<OwnedFd>) -> Socket {
    Socket::new(stream, Protocol::Tcp, Role::Client)
}

fn server(stream: impl Into<OwnedFd>) -> Socket {
    Socket::new(stream, Protocol::Tcp, Role::Server)
}

/// A connection to a server on a port that the kernel chose.
fn pair(address: IpAddr) -> (Socket, Socket) {
    let listener = TcpListener::bind((address, 0)).expect("bind");
    let to = listener.local_addr().expect("its name");
    let stream = TcpStream::connect(to).expect("connect");
    let (accepted, _) = listener.accept().expect("accept");
    (client(stream), server(accepted))
}

fn socket_of(address: IpAddr, protocol: i32) -> OwnedFd {
    let family = if address.is_ipv4() {
        libc::AF_INET
    } else {
        libc::AF_INET6
    };
    open(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, protocol)
}

fn connect(socket: &OwnedFd, to: SocketAddr) {
    socket::connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).expect("connect");
}

fn bind(socket: &OwnedFd, to: SocketAddr) {
    socket::bind(socket.as_raw_fd(), &SockaddrStorage::from(to)).expect("bind");
}

fn listen(socket: &OwnedFd) {
    socket::listen(socket, Backlog::new(8).expect("small")).expect("listen");
}

fn accept(listener: &OwnedFd) -> OwnedFd {
    let fd = socket::accept(listener.as_raw_fd()).expect("accept");
    // SAFETY: the descriptor is new, and has no other owner.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn name(socket: &OwnedFd) -> SocketAddr {
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
fn a_server_on_a_port_of_its_own() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let listener = socket_of(address, 0);
                bind_to_port(&listener, address);
                listen(&listener);
                let stream = TcpStream::connect(name(&listener)).expect("connect");
                talk(truth, &client(stream), &server(accept(&listener)));
            }
        },
    );
}

#[test]
fn a_server_that_never_called_bind() {
    split(
        || (),
        |(), truth| {
            let listener = socket_of(V4, 0);
            listen(&listener);
            let to = (Ipv4Addr::LOCALHOST, name(&listener).port());
            let stream = TcpStream::connect(to).expect("connect");
            talk(truth, &client(stream), &server(accept(&listener)));
        },
    );
}

/// One socket that accepts both families.
#[test]
fn a_server_on_all_addresses() {
    split(
        || (),
        |(), truth| {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("bind");
            let port = listener.local_addr().expect("its name").port();
            for to in [V4, V6] {
                let stream = TcpStream::connect((to, port)).expect("connect");
                let (accepted, _) = listener.accept().expect("accept");
                talk(truth, &client(stream), &server(accepted));
            }
        },
    );
}

#[test]
fn a_client_that_binds_its_port() {
    for before in [false, true] {
        let connected = || {
            LOOPBACKS.map(|address| {
                let listener = TcpListener::bind((address, 0)).expect("bind");
                let socket = socket_of(address, 0);
                // Earlier connections of this test leave ports in TIME_WAIT.
                socket::setsockopt(&socket, socket::sockopt::ReuseAddr, &true).expect("option");
                bind_to_port(&socket, address);
                connect(&socket, listener.local_addr().expect("its name"));
                let (accepted, _) = listener.accept().expect("accept");
                (client(socket), server(accepted))
            })
        };
        split(
            || before.then(connected),
            |pairs, truth| {
                for (client, server) in pairs.unwrap_or_else(connected) {
                    talk(truth, &client, &server);
                }
            },
        );
    }
}

/// The kernel still chooses the port, but when the socket is bound.
#[test]
fn a_client_that_binds_only_its_address() {
    for no_port_yet in [false, true] {
        split(
            || (),
            |(), truth| {
                for address in LOOPBACKS {
                    let listener = TcpListener::bind((address, 0)).expect("bind");
                    let socket = socket_of(address, 0);
                    if no_port_yet {
                        bind_address_no_port(&socket);
                    }
                    bind(&socket, SocketAddr::new(address, 0));
                    connect(&socket, listener.local_addr().expect("its name"));
                    let (accepted, _) = listener.accept().expect("accept");
                    talk(truth, &client(socket), &server(accepted));
                }
            },
        );
    }
}

fn bind_address_no_port(socket: &OwnedFd) {
    let one = 1_i32;
    // SAFETY: the option is an int.
    let set = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_IP,
            libc::IP_BIND_ADDRESS_NO_PORT,
            (&raw const one).cast(),
            size_of_val(&one) as u32,
        )
    };
    assert_eq!(set, 0);
}

/// A client whose port is that of a server of the same process, or of one that has ended.
#[test]
fn a_client_after_a_server_on_the_same_port() {
    split(
        || (),
        |(), truth| {
            let first = socket_of(V4, 0);
            socket::setsockopt(&first, socket::sockopt::ReuseAddr, &true).expect("option");
            bind(&first, SocketAddr::new(V4, 0));
            listen(&first);
            let port = name(&first).port();
            let stream = TcpStream::connect(name(&first)).expect("connect");
            talk(truth, &client(stream), &server(accept(&first)));
            drop(first);
            let listener = TcpListener::bind((V4, 0)).expect("bind");
            let socket = socket_of(V4, 0);
            socket::setsockopt(&socket, socket::sockopt::ReuseAddr, &true).expect("option");
            bind(&socket, SocketAddr::new(V4, port));
            connect(&socket, listener.local_addr().expect("its name"));
            let (accepted, _) = listener.accept().expect("accept");
            talk(truth, &client(socket), &server(accepted));
        },
    );
}

/// Both ends have closed the connection, and each has data that it has not read.
fn read_after_the_end(address: IpAddr, listener: impl Fn() -> OwnedFd) {
    split(
        || (),
        |(), truth| {
            let listener = listener();
            let stream = TcpStream::connect(name(&listener)).expect("connect");
            let accepted = TcpStream::from(accept(&listener));
            let streams = [
                stream.try_clone().expect("a descriptor"),
                accepted.try_clone().expect("a descriptor"),
            ];
            let (client, server) = (client(stream), server(accepted));
            client.send(truth, 300);
            server.send(truth, 200);
            for stream in &streams {
                stream.shutdown(Shutdown::Write).expect("shutdown");
            }
            // The end that closed first, and the end that closed last: no longer connected.
            wait_for("the end of the connection", || {
                (server.peer().is_none() && client.peer().is_none()).then_some(())
            });
            server.drain(truth, 300, 100);
            client.drain(truth, 200, 100);
            assert_eq!(server.recv(truth), 0, "{address}");
        },
    );
}

#[test]
fn data_read_after_the_end_of_a_connection() {
    for address in [V4, V6] {
        read_after_the_end(address, || {
            let listener = socket_of(address, 0);
            socket::setsockopt(&listener, socket::sockopt::ReuseAddr, &true).expect("option");
            bind_to_port(&listener, address);
            listen(&listener);
            listener
        });
    }
}

#[test]
fn data_read_after_the_end_of_a_connection_to_a_port_of_the_kernels_choice() {
    read_after_the_end(V4, || TcpListener::bind((V4, 0)).expect("bind").into());
}

/// The answer to the last send says that the connection is gone, before the send has returned.
#[test]
fn a_server_that_writes_after_the_client_has_closed() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = pair(address);
                talk(truth, &client, &server);
                drop(client);
                assert_eq!(server.recv(truth), 0);
                server.send(truth, 9);
            }
        },
    );
}

/// The other end resets the connection while there is data to read.
#[test]
fn a_client_that_writes_after_the_server_has_closed() {
    split(
        || (),
        |(), truth| {
            let (client, server) = pair(V4);
            talk(truth, &client, &server);
            drop(server);
            client.send(truth, 9);
        },
    );
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

#[test]
fn mptcp_in_both_roles() {
    const MPTCP: i32 = 262;
    let connected = |address: IpAddr| {
        let listener = socket_of(address, MPTCP);
        bind(&listener, SocketAddr::new(address, 0));
        listen(&listener);
        let socket = socket_of(address, MPTCP);
        connect(&socket, name(&listener));
        (client(socket), server(accept(&listener)))
    };
    for address in LOOPBACKS {
        for before in [false, true] {
            split(
                || before.then(|| connected(address)),
                |pair, truth| {
                    let (client, server) = pair.unwrap_or_else(|| connected(address));
                    talk(truth, &client, &server);
                },
            );
        }
    }
}

/// A TCP client of an MPTCP server, which falls back to TCP.
#[test]
fn mptcp_that_fell_back() {
    split(
        || (),
        |(), truth| {
            let listener = socket_of(V4, 262);
            bind(&listener, SocketAddr::new(V4, 0));
            listen(&listener);
            let stream = TcpStream::connect(name(&listener)).expect("connect");
            talk(truth, &client(stream), &server(accept(&listener)));
            let plain = TcpListener::bind((V4, 0)).expect("bind");
            let socket = socket_of(V4, 262);
            connect(&socket, plain.local_addr().expect("its name"));
            let (accepted, _) = plain.accept().expect("accept");
            talk(truth, &client(socket), &server(accepted));
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

/// Runs `make` in a network namespace of its own, in which `setup` was run.
pub fn in_new_netns<T: Send>(setup: &str, make: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let inside = scope.spawn(|| {
            unshare(CloneFlags::CLONE_NEWNET).expect("a network namespace");
            let script = format!("set -e; ip link set lo up; {setup}");
            let status = Command::new("sh").args(["-c", &script]).status();
            assert!(status.expect("sh").success(), "{setup}");
            make()
        });
        inside.join().expect("no panic")
    })
}

#[test]
fn sockets_of_another_network_namespace() {
    for before in [false, true] {
        let made = || in_new_netns("true", || LOOPBACKS.map(pair));
        split(
            || before.then(made),
            |pairs, truth| {
                for (client, server) in pairs.unwrap_or_else(made) {
                    talk(truth, &client, &server);
                }
                let (client, server) = pair(V4);
                talk(truth, &client, &server);
            },
        );
    }
}

/// Two interfaces have the same link-local address.
pub const LINK_LOCAL: &str = "ip link add va type veth peer name vb; \
    ip addr add fe80::1/64 dev va nodad; ip addr add fe80::1/64 dev vb nodad; \
    ip link set va up; ip link set vb up; \
    until ip -6 route show table local | grep -q 'fe80::1 dev vb'; do sleep 0; done";

pub fn link_local(interface: &str, port: u16) -> SocketAddr {
    let index = nix::net::if_::if_nametoindex(interface).expect("an interface");
    std::net::SocketAddrV6::new("fe80::1".parse().expect("an address"), port, 0, index).into()
}

#[test]
fn link_local_addresses_have_a_scope() {
    split(
        || (),
        |(), truth| {
            let pairs = in_new_netns(LINK_LOCAL, || {
                ["va", "vb"].map(|interface| {
                    let listener = socket_of(V6, 0);
                    bind(&listener, link_local(interface, 0));
                    listen(&listener);
                    let stream = TcpStream::connect(name(&listener)).expect("connect");
                    (client(stream), server(accept(&listener)))
                })
            });
            for (client, server) in pairs {
                let SocketAddr::V6(peer) = client.peer().expect("connected") else {
                    panic!("not IPv6");
                };
                assert_ne!(peer.scope_id(), 0);
                talk(truth, &client, &server);
            }
        },
    );
}
