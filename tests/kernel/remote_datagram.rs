//! Remote ends of UDP, connected and not.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::remote::{in_child, split};
use super::remote_socket::{LOOPBACKS, MAPPED, NO_FLAGS, Socket, V4, V6, disconnect};
use nix::sys::socket::{self, MsgFlags};

/// An address to which a socket may not send: the call fails after the address was looked at.
const FORBIDDEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(255, 255, 255, 255)), 4_000);

/// A client and a server, connected to each other.
pub fn connected(address: IpAddr) -> (Socket, Socket) {
    let (one, other) = (Socket::udp_client(address), Socket::udp_server(address));
    one.connect(other.local());
    other.connect(one.local());
    (one, other)
}

/// Not connected.
pub fn apart(address: IpAddr) -> (Socket, Socket) {
    (Socket::udp_client(address), Socket::udp_server(address))
}

#[test]
fn connected_sockets() {
    for address in LOOPBACKS {
        for before in [false, true] {
            split(
                || before.then(|| connected(address)),
                |pair, truth| {
                    let (client, server) = pair.unwrap_or_else(|| connected(address));
                    for size in [10, 0, 300] {
                        client.send(truth, size);
                        server.recv(truth);
                    }
                    server.send(truth, 40);
                    client.recv_from(truth);
                    client.send(truth, 1);
                },
            );
        }
    }
}

#[test]
fn a_connected_socket_that_was_never_bound() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = (Socket::udp(address), Socket::udp_server(address));
                client.connect(server.local());
                client.send(truth, 33);
                let to = server.recv_from(truth);
                server.send_to(truth, 44, to);
                client.recv(truth);
            }
        },
    );
}

#[test]
fn sendto_and_recvfrom() {
    for address in LOOPBACKS {
        for before in [false, true] {
            split(
                || before.then(|| apart(address)),
                |pair, truth| {
                    let (client, server) = pair.unwrap_or_else(|| apart(address));
                    for size in [10, 0, 300] {
                        client.send_to(truth, size, server.local());
                        let from = server.recv_from(truth);
                        assert_eq!(from.port(), client.local().port());
                        server.send_to(truth, 2 * size, from);
                        client.recv_from(truth);
                    }
                },
            );
        }
    }
}

#[test]
fn sockets_on_all_addresses() {
    split(
        || (),
        |(), truth| {
            let server = Socket::udp_server(Ipv6Addr::UNSPECIFIED.into());
            let client = Socket::udp(V6);
            for to in [MAPPED, V6] {
                client.send_to(truth, 20, SocketAddr::new(to, server.local().port()));
                let from = server.recv_from(truth);
                server.send_to(truth, 30, from);
                client.recv_from(truth);
            }
            let client = Socket::udp(V4);
            client.send_to(truth, 20, SocketAddr::new(V4, server.local().port()));
            let from = server.recv_from(truth);
            server.send_to(truth, 30, from);
            client.recv_from(truth);
        },
    );
}

#[test]
fn many_ends_of_one_socket() {
    split(
        || (),
        |(), truth| {
            let server = Socket::udp_server(V4);
            let clients: Vec<_> = (0..30).map(|_| Socket::udp_client(V4)).collect();
            for round in 1..4 {
                for (i, client) in clients.iter().enumerate() {
                    client.send_to(truth, round * i, server.local());
                }
                for _ in &clients {
                    let from = server.recv_from(truth);
                    server.send_to(truth, 11, from);
                }
                for client in &clients {
                    client.recv_from(truth);
                }
            }
        },
    );
}

#[test]
fn elsewhere_on_a_connected_socket() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = connected(address);
                let other = Socket::udp_server(address);
                client.send(truth, 10);
                client.send_to(truth, 20, other.local());
                client.send(truth, 30);
                client.send_to(truth, 40, server.local());
                client.send_to(truth, 50, other.local());
                client.send_to(truth, 60, other.local());
                client.send(truth, 70);
                other.recv_from(truth);
                other.recv_from(truth);
                server.recv(truth);
            }
        },
    );
}

#[test]
fn a_receive_that_does_not_ask_for_the_sender_is_unknown() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = apart(address);
                for _ in 0..6 {
                    client.send_to(truth, 10, server.local());
                }
                server.recv(truth);
                server.recv_from(truth);
                server.recv(truth);
                server.recv(truth);
                server.recv_from(truth);
                server.send_to(truth, 7, client.local());
                server.recv(truth);
                client.recv(truth);
            }
        },
    );
}

/// The answers of two sockets in turn: the note about one is not for the other.
#[test]
fn an_unknown_sender_is_not_that_of_another_socket() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            let other = Socket::udp_server(V4);
            for size in [10, 20] {
                client.send_to(truth, size, server.local());
                client.send_to(truth, size + 1, other.local());
                server.recv_from(truth);
                other.recv(truth);
            }
            // A socket at the same place in memory, perhaps.
            for size in 0..50 {
                let (client, server) = apart(V4);
                client.send_to(truth, size, server.local());
                client.send_to(truth, size, server.local());
                if size % 2 == 0 {
                    server.recv_from(truth);
                }
                server.recv(truth);
            }
        },
    );
}

#[test]
fn a_peek_says_nothing_about_the_next_receive() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = apart(address);
                for size in [10, 20, 30, 40] {
                    client.send_to(truth, size, server.local());
                }
                server.look(MsgFlags::MSG_PEEK);
                server.recv(truth);
                server.look(MsgFlags::MSG_PEEK);
                server.recv_from(truth);
                server.look(MsgFlags::MSG_PEEK);
                server.send_to(truth, 5, client.local());
                server.recv(truth);
                server.recv(truth);
            }
        },
    );
}

/// Another thread peeks, and this one receives.
#[test]
fn threads_do_not_share_what_they_know() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            for size in [10, 20, 30, 40] {
                client.send_to(truth, size, server.local());
            }
            std::thread::scope(|scope| {
                scope.spawn(|| server.look(MsgFlags::MSG_PEEK));
            });
            server.recv(truth);
            std::thread::scope(|scope| {
                scope.spawn(|| server.recv_from(truth));
            });
            server.recv(truth);
            server.recv_from(truth);
        },
    );
}

#[test]
fn data_that_came_before_the_socket_was_connected() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            let other = Socket::udp_client(V4);
            client.send_to(truth, 10, server.local());
            client.send_to(truth, 20, server.local());
            server.connect(other.local());
            server.recv_from(truth);
            server.look(MsgFlags::MSG_PEEK);
            other.send_to(truth, 30, server.local());
            server.recv_from(truth);
            server.recv_from(truth);
        },
    );
}

/// `connect(2)` again, and to no address.
#[test]
fn a_socket_that_is_connected_again_and_disconnected() {
    split(
        || (),
        |(), truth| {
            let (client, one, other) = (
                Socket::udp_client(V4),
                Socket::udp_server(V4),
                Socket::udp_server(V4),
            );
            client.connect(one.local());
            client.send(truth, 10);
            client.connect(other.local());
            client.send(truth, 20);
            client.send_to(truth, 21, one.local());
            disconnect(client.fd());
            assert!(client.peer().is_none());
            client.send_to(truth, 30, one.local());
            one.recv_from(truth);
            other.send_to(truth, 40, client.local());
            client.recv(truth);
        },
    );
}

#[test]
fn a_failed_send_is_not_that_of_another_socket() {
    split(
        || (),
        |(), truth| {
            let (client, server) = connected(V4);
            let (far, other) = apart(V4);
            far.fail_to(10, FORBIDDEN);
            client.send(truth, 20);
            far.fail_to(10, FORBIDDEN);
            far.send_to(truth, 30, other.local());
            server.recv(truth);
            other.recv_from(truth);
        },
    );
}

#[test]
fn a_failed_send_is_not_the_next_one_of_its_socket() {
    split(
        || (),
        |(), truth| {
            let (client, server) = connected(V4);
            client.fail_to(10, FORBIDDEN);
            client.send(truth, 20);
            server.recv(truth);
            let (client, server) = apart(V4);
            client.fail_to(10, FORBIDDEN);
            client.connect(server.local());
            client.send(truth, 30);
            server.recv_from(truth);
        },
    );
}

#[test]
fn a_socket_used_by_another_process() {
    split(
        || (),
        |(), truth| {
            let (client, server) = connected(V4);
            server.send(truth, 50);
            let pid = in_child(|| {
                let mut buf = [0; 100];
                socket::recv(client.raw(), &mut buf, NO_FLAGS) == Ok(50)
                    && socket::send(client.raw(), &[1; 70], NO_FLAGS) == Ok(70)
            });
            client.used_by(truth, pid, false, 50);
            client.used_by(truth, pid, true, 70);
            server.recv(truth);
        },
    );
}
