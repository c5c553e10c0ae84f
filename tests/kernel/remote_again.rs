//! Sockets and threads that are no longer what they were at their last event: the row of that event
//! must not be taken again.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::AsRawFd;

use netatop::kernel::{Capacity, RemoteRows, Storage, UdpEnds};
use netatop::model::{Protocol, RemoteMode, Role};
use nix::libc;
use nix::sys::socket::{self, SockaddrStorage, sockopt};
use nix::unistd::{getpid, gettid};

use super::harness::{Counting, wait_for};
use super::remote::{MODES, Split, Truth, assert_rows, family, split};
use super::remote_socket::{LOOPBACKS, MAPPED, Socket, V4, V6, disconnect, open, talk};
use super::remote_stream::{bind, client, connect, name, pair, server, socket_of};

/// A stream socket with a port of its own, which connects to one server after the other.
#[test]
fn a_stream_socket_that_is_connected_again() {
    for address in LOOPBACKS {
        split(
            || (),
            |(), truth| {
                let listeners = [(); 2].map(|()| TcpListener::bind((address, 0)).expect("bind"));
                let socket = socket_of(address, 0);
                socket::setsockopt(&socket, sockopt::ReuseAddr, &true).expect("reuse");
                bind(&socket, SocketAddr::new(address, 0));
                for listener in [&listeners[0], &listeners[1], &listeners[0]] {
                    connect(&socket, listener.local_addr().expect("its name"));
                    let (accepted, _) = listener.accept().expect("accept");
                    let one = client(socket.try_clone().expect("a descriptor"));
                    let other = server(accepted);
                    talk(truth, &one, &other);
                    one.send(truth, 5);
                    disconnect(&socket);
                }
            },
        );
    }
}

/// The same with another address of its own, the same port and the same server. Only rows of sockets
/// show it.
#[test]
fn a_stream_socket_that_is_bound_again() {
    for (family, server_address) in [(V4, V4), (MAPPED, MAPPED)] {
        split(
            || (),
            |(), truth| {
                let listener = TcpListener::bind((server_address, 0)).expect("bind");
                let to = listener.local_addr().expect("its name");
                let socket = socket_of(family, 0);
                socket::setsockopt(&socket, sockopt::ReuseAddr, &true).expect("reuse");
                let mut port = 0;
                for last in [1, 2] {
                    let own = std::net::Ipv4Addr::new(127, 0, 0, last);
                    let own = if family.is_ipv4() {
                        IpAddr::from(own)
                    } else {
                        IpAddr::from(own.to_ipv6_mapped())
                    };
                    // Another process can have the port for a moment.
                    wait_for("the port", || {
                        let own = SockaddrStorage::from(SocketAddr::new(own, port));
                        socket::bind(socket.as_raw_fd(), &own).ok()
                    });
                    connect(&socket, to);
                    port = name(&socket).port();
                    let (accepted, _) = listener.accept().expect("accept");
                    let one = client(socket.try_clone().expect("a descriptor"));
                    talk(truth, &one, &server(accepted));
                    one.send(truth, 7);
                    disconnect(&socket);
                }
            },
        );
    }
}

/// A datagram socket on all addresses, which has an address of its own only while it is connected,
/// and names the same address in its calls throughout. Only rows of sockets show it.
#[test]
fn a_datagram_socket_whose_own_address_changes() {
    for (any, address) in [
        (Ipv4Addr::UNSPECIFIED.into(), V4),
        (Ipv6Addr::UNSPECIFIED.into(), MAPPED),
        (Ipv6Addr::UNSPECIFIED.into(), V6),
    ] {
        split(
            || (),
            |(), truth| {
                let socket = Socket::udp_server(any);
                let (one, other) = (Socket::udp_server(address), Socket::udp_server(address));
                for bytes in [10, 20] {
                    socket.send_to(truth, bytes, other.local());
                    socket.send_to(truth, bytes, other.local());
                    socket.connect(one.local());
                    assert_eq!(socket.local().ip(), address);
                    socket.send_to(truth, bytes, other.local());
                    socket.send_to(truth, bytes, other.local());
                    disconnect(socket.fd());
                    assert_eq!(socket.local().ip(), any);
                }
            },
        );
    }
}

/// More sockets than there are hints, one after the other, and the first ones again.
#[test]
fn more_sockets_than_hints() {
    split(
        || (),
        |(), truth| {
            let kept = (0..20).map(|_| pair(V4)).collect::<Vec<_>>();
            for (one, other) in &kept {
                talk(truth, one, other);
            }
            for _ in 0..2500 {
                let (one, other) = pair(V4);
                talk(truth, &one, &other);
            }
            for (one, other) in &kept {
                talk(truth, one, other);
                talk(truth, one, other);
            }
        },
    );
}

/// The rows are taken between the events of sockets that stay.
#[test]
fn rows_are_taken_between_the_events_of_a_socket() {
    for mode in MODES {
        let split = Split::of_processes(mode);
        let mut storage = Storage::default();
        let sizes = Capacity {
            remote: Some(RemoteRows::of_host(mode, false, UdpEnds::NotNeeded)),
            ..Capacity::default()
        };
        let mut counting = Counting::with_capacity(&mut storage, sizes, &family(), false);
        let (one, other) = pair(V4);
        let later = [(); 3].map(|()| pair(V4));
        for (round, (first, second)) in later.iter().enumerate() {
            let truth = Truth::with(UdpEnds::NotNeeded);
            // Another row is the first one of each interval.
            for _ in 0..=round {
                talk(&truth, first, second);
            }
            for _ in 0..3 {
                talk(&truth, &one, &other);
            }
            assert_rows(&counting.interval(), &truth, split, &format!("{round}"));
        }
    }
}

/// A process that ends, and another one whose thread may get its slot or its address, with the same
/// socket.
#[test]
fn processes_one_after_the_other_with_one_socket() {
    split(
        || pair(V4),
        |(one, other), truth| {
            for number in 0..300 {
                let size = 1 + number % 40;
                let pid = super::remote::in_child(|| {
                    // SAFETY: sends bytes of a buffer that is as long as it says.
                    let sent = |n: usize| unsafe {
                        libc::send(one.raw(), [0u8; 64].as_ptr().cast(), n, 0) == n as isize
                    };
                    sent(size) && sent(size)
                });
                one.used_by(truth, pid, true, size);
                one.used_by(truth, pid, true, size);
                other.drain(truth, 2 * size, 100);
            }
        },
    );
}

/// With rows of threads: a thread that is not the first one of its process calls exec, by which it
/// gets the id of the first one. All it did is in the row with that id, as without remote ends.
#[test]
fn a_thread_that_gets_another_id_by_exec() {
    let split = Split {
        mode: Some(RemoteMode::Socket),
        threads: true,
        any_thread: false,
    };
    let mut storage = Storage::default();
    let sizes = Capacity {
        remote: Some(RemoteRows::of_host(
            RemoteMode::Socket,
            true,
            UdpEnds::NotNeeded,
        )),
        ..Capacity::default()
    };
    let mut counting = Counting::with_capacity(&mut storage, sizes, &family(), true);
    let truth = Truth::with(UdpEnds::NotNeeded);
    let (one, other) = pair(V4);
    let (mut told, mut tell) = std::io::pipe().expect("a pipe");
    let fd = one.raw();
    let pid = super::remote::in_child(move || {
        let thread = std::thread::spawn(move || {
            // SAFETY: a copy of the descriptor with a number that a shell knows, which exec does not
            // close, and bytes of a buffer that is as long as it says.
            let sent = unsafe {
                libc::dup2(fd, 9);
                libc::send(fd, b"a".as_ptr().cast(), 1, 0)
                    + libc::send(fd, b"a".as_ptr().cast(), 1, 0)
            };
            let id = gettid().as_raw();
            let told = tell.write_all(&id.to_ne_bytes());
            let error = exec(&["/bin/sh", "-c", "printf bb >&9"]);
            eprintln!("{sent} {told:?} {error}");
        });
        thread.join().is_ok() && getpid().as_raw() == 0
    });
    let mut id = [0; 4];
    told.read_exact(&mut id).expect("the thread's id");
    let tid = u32::from_ne_bytes(id);
    assert_ne!(tid, pid);
    for bytes in [1, 1, 2] {
        let known = super::remote::Known {
            pid,
            tid: pid,
            protocol: Protocol::Tcp,
            role: Role::Client,
            local: one.local(),
            remote: one.peer(),
            netns: None,
            sent: true,
            bytes,
        };
        truth.add(known);
    }
    assert_rows(&counting.interval(), &truth, split, "exec");
    drop(other);
}

fn exec(words: &[&str]) -> std::io::Error {
    use std::os::unix::process::CommandExt;
    std::process::Command::new(words[0])
        .args(&words[1..])
        .exec()
}

/// A datagram socket whose role changes: it loses its port, and is bound to the same one.
#[test]
fn a_datagram_socket_that_becomes_a_server() {
    split(
        || (),
        |(), truth| {
            let peer = Socket::udp_server(V4);
            let fd = open(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
            let one = Socket::new(fd.try_clone().expect("a copy"), Protocol::Udp, Role::Client);
            one.connect(peer.local());
            one.send(truth, 10);
            one.send(truth, 11);
            let own = one.local();
            disconnect(&fd);
            bind(&fd, own);
            let one = Socket::new(fd, Protocol::Udp, Role::Server);
            one.connect(peer.local());
            assert_eq!(one.local(), own);
            one.send(truth, 12);
            for _ in 0..3 {
                peer.recv_from(truth);
            }
        },
    );
}
