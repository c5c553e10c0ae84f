//! Sockets of another network namespace, and addresses that are only valid on one interface.

use std::net::{SocketAddr, TcpStream};
use std::process::Command;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{self, SockaddrStorage};

use super::remote::split;
use super::remote_datagram::{apart, connected};
use super::remote_socket::{LOOPBACKS, Socket, V4, V6, talk};
use super::remote_stream::{accept, bind, client, listen, name, pair, server, socket_of};

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

#[test]
fn datagram_sockets_of_another_network_namespace() {
    split(
        || (),
        |(), truth| {
            let made = in_new_netns("true", || LOOPBACKS.map(|to| (apart(to), connected(to))));
            for (apart, connected) in made {
                let (client, server) = apart;
                client.send_to(truth, 10, server.local());
                let from = server.recv_from(truth);
                server.send_to(truth, 20, from);
                client.recv_from(truth);
                connected.0.send(truth, 30);
                connected.1.recv(truth);
            }
        },
    );
}

#[test]
fn link_local_addresses_of_connected_sockets_have_a_scope() {
    split(
        || (),
        |(), truth| {
            let pairs = in_new_netns(LINK_LOCAL, || {
                ["va", "vb"].map(|interface| {
                    let (client, server) = (Socket::udp(V6), Socket::udp(V6));
                    let name = SockaddrStorage::from(link_local(interface, 0));
                    socket::bind(server.raw(), &name).expect("bind");
                    client.connect(server.local());
                    (client, server)
                })
            });
            for (client, server) in pairs {
                client.send(truth, 10);
                let from = server.recv_from(truth);
                server.send_to(truth, 20, from);
                client.recv(truth);
            }
        },
    );
}

/// The socket is on all interfaces, and the address says which.
#[test]
fn link_local_addresses_in_calls_have_a_scope() {
    split(
        || (),
        |(), truth| {
            let (client, servers) = in_new_netns(LINK_LOCAL, || {
                let servers = ["va", "vb"].map(|interface| {
                    let server = Socket::udp(V6);
                    let name = SockaddrStorage::from(link_local(interface, 0));
                    socket::bind(server.raw(), &name).expect("bind");
                    server
                });
                (Socket::udp(V6), servers)
            });
            for server in &servers {
                client.send_to(truth, 10, server.local());
                let from = server.recv_from(truth);
                server.send_to(truth, 20, from);
                client.recv_from(truth);
            }
        },
    );
}
