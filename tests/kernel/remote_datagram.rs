//! Remote ends of UDP, connected and not.

use std::io::IoSliceMut;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ptr;

use nix::libc;
use nix::sys::socket::{
    self, ControlMessage, MsgFlags, SockaddrLike, SockaddrStorage, setsockopt, sockopt,
};

use super::remote::{LOOPBACKS, MAPPED, MORE, NO_FLAGS, Socket, V4, V6, split};
use super::remote_stream::{LINK_LOCAL, in_new_netns, link_local};

/// An address to which a socket may not send: the call fails after the address was looked at.
const FORBIDDEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(255, 255, 255, 255)), 4_000);

/// A client and a server, connected to each other.
fn connected(address: IpAddr) -> (Socket, Socket) {
    let (one, other) = (Socket::udp_client(address), Socket::udp_server(address));
    one.connect(other.local());
    other.connect(one.local());
    (one, other)
}

/// Not connected.
fn apart(address: IpAddr) -> (Socket, Socket) {
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
fn a_control_message_without_an_address() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = connected(address);
                let other = Socket::udp_server(address);
                let control = ControlMessage::UdpGsoSegments(&1000);
                client.send_with(truth, 10, &control, None);
                client.send_to(truth, 20, other.local());
                client.send_with(truth, 30, &control, None);
                client.send_with(truth, 40, &control, Some(other.local()));
                client.send(truth, 50);
                server.recv(truth);
                other.recv_from(truth);
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
            // SAFETY: all zeroes is an address of no family.
            let nobody: libc::sockaddr = unsafe { std::mem::zeroed() };
            // SAFETY: the address is as long as it says.
            let gone = unsafe {
                libc::connect(client.raw(), &raw const nobody, size_of_val(&nobody) as u32)
            };
            assert_eq!(gone, 0);
            assert!(client.peer().is_none());
            client.send_to(truth, 30, one.local());
            one.recv_from(truth);
            other.send_to(truth, 40, client.local());
            client.recv(truth);
        },
    );
}

#[test]
fn pieces_of_a_datagram() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = apart(address);
                let other = Socket::udp_server(address);
                let to = server.local();
                client.send_to_flags(truth, 10, to, MORE);
                piece(&client, truth, 20, to, MORE);
                piece(&client, truth, 30, to, NO_FLAGS);
                assert_eq!(server.recv_from(truth).port(), client.local().port());
                client.send_to(truth, 40, other.local());
                client.send_to_flags(truth, 50, to, MORE);
                // The datagram has its destination already.
                piece(&client, truth, 60, to, NO_FLAGS);
            }
        },
    );
}

/// A further piece of a datagram to `to`.
fn piece(from: &Socket, truth: &super::remote::Truth, size: usize, to: SocketAddr, more: MsgFlags) {
    let sent = socket::send(from.raw(), &vec![5; size], more).expect("send");
    from.sent(truth, Some(to), sent);
}

#[test]
fn pieces_with_other_calls_between_them() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            let (far, other) = apart(V4);
            client.send_to_flags(truth, 10, server.local(), MORE);
            far.send_to(truth, 15, other.local());
            other.recv_from(truth);
            piece(&client, truth, 20, server.local(), NO_FLAGS);
            server.recv_from(truth);
        },
    );
}

#[test]
fn pieces_of_several_threads() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            client.send_to_flags(truth, 10, server.local(), MORE);
            std::thread::scope(|scope| {
                scope.spawn(|| piece(&client, truth, 20, server.local(), NO_FLAGS));
            });
            server.recv_from(truth);
        },
    );
}

#[test]
fn pieces_of_a_connected_socket() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = connected(address);
                client.send_flags(truth, 10, MORE);
                client.send(truth, 20);
                assert_eq!(server.recv(truth), 30);
            }
        },
    );
}

/// All pieces go where the first one went.
#[test]
fn pieces_to_elsewhere_on_a_connected_socket() {
    split(
        || (),
        |(), truth| {
            for address in [V4, V6] {
                let (client, _server) = connected(address);
                let other = Socket::udp_server(address);
                client.send_to_flags(truth, 10, other.local(), MORE);
                piece(&client, truth, 20, other.local(), NO_FLAGS);
                assert_eq!(other.recv_up_to(truth, 100), 30);
                client.send(truth, 40);
            }
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
fn a_receive_without_data_between_pieces() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            client.send_to_flags(truth, 10, server.local(), MORE);
            let nothing = socket::recv(client.raw(), &mut [0; 10], MsgFlags::MSG_DONTWAIT);
            assert!(nothing.is_err());
            piece(&client, truth, 20, server.local(), NO_FLAGS);
            server.recv_from(truth);
        },
    );
}

/// Messages of one call to several addresses, and from several addresses.
#[test]
fn many_messages_in_one_call() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let client = Socket::udp_client(address);
                let servers: Vec<_> = (0..9).map(|_| Socket::udp_server(address)).collect();
                let to: Vec<_> = servers.iter().map(Socket::local).collect();
                send_many(&client, truth, &to);
                for server in &servers {
                    let from = server.recv_from(truth);
                    server.send_to(truth, usize::from(from.port() % 50), from);
                }
                receive_many(&client, truth, &to, true);
                for server in &servers {
                    server.send_to(truth, 12, client.local());
                }
                // The kernel asks for the senders itself.
                receive_many(&client, truth, &to[..4], false);
                receive_many(&client, truth, &to[4..], true);
            }
        },
    );
}

/// Headers for messages of one part each.
struct Messages {
    names: Vec<libc::sockaddr_storage>,
    _bytes: Vec<[u8; 100]>,
    _parts: Vec<libc::iovec>,
    headers: Vec<libc::mmsghdr>,
}

impl Messages {
    fn new(sizes: &[usize], named: bool) -> Self {
        // SAFETY: all zeroes is a valid address, part and header.
        let (name, header): (libc::sockaddr_storage, libc::mmsghdr) =
            unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut names = vec![name; sizes.len()];
        let mut bytes = vec![[6; 100]; sizes.len()];
        let mut parts: Vec<_> = bytes
            .iter_mut()
            .zip(sizes)
            .map(|(bytes, size)| libc::iovec {
                iov_base: bytes.as_mut_ptr().cast(),
                iov_len: (*size).min(bytes.len()),
            })
            .collect();
        let headers = parts
            .iter_mut()
            .zip(&mut names)
            .map(|(part, name)| {
                let mut header = header;
                header.msg_hdr.msg_iov = part;
                header.msg_hdr.msg_iovlen = 1;
                if named {
                    header.msg_hdr.msg_name = ptr::from_mut(name).cast();
                    header.msg_hdr.msg_namelen = size_of_val(name) as u32;
                }
                header
            })
            .collect();
        Self {
            names,
            _bytes: bytes,
            _parts: parts,
            headers,
        }
    }
}

fn send_many(from: &Socket, truth: &super::remote::Truth, to: &[SocketAddr]) {
    let sizes: Vec<_> = (0..to.len()).map(|i| 3 * i + 1).collect();
    let mut messages = Messages::new(&sizes, true);
    for ((name, header), to) in messages.names.iter_mut().zip(&mut messages.headers).zip(to) {
        let address = SockaddrStorage::from(*to);
        header.msg_hdr.msg_namelen = address.len();
        // SAFETY: both are addresses, of which `name` has room for the largest.
        unsafe {
            ptr::copy_nonoverlapping(
                address.as_ptr().cast::<u8>(),
                ptr::from_mut(name).cast(),
                address.len() as usize,
            );
        }
    }
    let headers = &mut messages.headers;
    // SAFETY: the headers and all that they point to outlive the call.
    let sent = unsafe { libc::sendmmsg(from.raw(), headers.as_mut_ptr(), headers.len() as u32, 0) };
    assert_eq!(sent, to.len() as i32);
    for (header, to) in headers.iter().zip(to) {
        from.sent(truth, Some(*to), header.msg_len as usize);
    }
}

/// `recvmmsg(2)`, with or without room for the senders, which are `senders`.
fn receive_many(at: &Socket, truth: &super::remote::Truth, senders: &[SocketAddr], named: bool) {
    let mut messages = Messages::new(&vec![100; senders.len()], named);
    let headers = &mut messages.headers;
    // SAFETY: the headers and all that they point to outlive the call; there is no timeout.
    let received = unsafe {
        libc::recvmmsg(
            at.raw(),
            headers.as_mut_ptr(),
            headers.len() as u32,
            0,
            ptr::null_mut(),
        )
    };
    assert_eq!(received, senders.len() as i32);
    let each = messages.names.iter().zip(&messages.headers).zip(senders);
    for ((name, header), sender) in each {
        if named {
            let length = Some(header.msg_hdr.msg_namelen);
            // SAFETY: the kernel has written an address of this length.
            let name = unsafe { SockaddrStorage::from_raw(ptr::from_ref(name).cast(), length) };
            assert_eq!(name.as_ref().and_then(super::remote::plain), Some(*sender));
        }
        at.received(truth, Some(*sender), header.msg_len as usize);
    }
}

/// `recvmsg(2)` without room for the sender: the kernel asks for it itself.
#[test]
fn recvmsg_without_an_address() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = apart(address);
                client.send_to(truth, 10, server.local());
                let mut buf = [0; 100];
                let mut parts = [IoSliceMut::new(&mut buf)];
                let received = socket::recvmsg::<()>(server.raw(), &mut parts, None, NO_FLAGS);
                let bytes = received.expect("recvmsg").bytes;
                server.received(truth, Some(client.local()), bytes);
            }
        },
    );
}

#[test]
fn large_sends_that_the_kernel_splits() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = apart(address);
                setsockopt(server.fd(), sockopt::UdpGroSegment, &true).expect("GRO");
                let control = ControlMessage::UdpGsoSegments(&100);
                client.send_with(truth, 1000, &control, Some(server.local()));
                let mut left = 1000;
                while left > 0 {
                    left -= server.recv_from_sized(truth).1;
                }
                let (client, server) = connected(address);
                client.send_with(truth, 1000, &control, None);
                for _ in 0..10 {
                    assert_eq!(server.recv(truth), 100);
                }
            }
        },
    );
}

#[test]
fn sockets_of_another_network_namespace() {
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

#[test]
fn a_socket_used_by_another_process() {
    split(
        || (),
        |(), truth| {
            let (client, server) = connected(V4);
            server.send(truth, 50);
            let pid = super::remote::in_child(|| {
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

/// Calls of a descriptor by its number only, as `read` and `write` are.
#[test]
fn read_and_write() {
    split(
        || (),
        |(), truth| {
            let (client, server) = connected(V6);
            let written = nix::unistd::write(client.fd(), &[1; 42]).expect("write");
            client.sent(truth, None, written);
            let read = nix::unistd::read(server.fd(), &mut [0; 100]).expect("read");
            server.received(truth, None, read);
            let (client, server) = apart(V6);
            client.send_to(truth, 21, server.local());
            let read = nix::unistd::read(server.fd(), &mut [0; 100]).expect("read");
            server.received(truth, None, read);
        },
    );
}
