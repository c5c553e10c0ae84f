//! Who is the client of a connection, and who is the server.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::libc;
use nix::sys::socket::{self};

use super::harness::wait_for;
use super::remote::split;
use super::remote_socket::{LOOPBACKS, V4, V6, bind_to_port, talk};
use super::remote_stream::{accept, bind, client, connect, listen, name, pair, server, socket_of};

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
