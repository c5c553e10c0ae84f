//! Remote ends of the less usual calls: many messages at once, control messages, and large sends.

use std::io::IoSliceMut;
use std::net::SocketAddr;
use std::ptr;

use super::remote::{Truth, split};
use super::remote_datagram::{apart, connected};
use super::remote_socket::{LOOPBACKS, NO_FLAGS, Socket, V6, plain};
use nix::libc;
use nix::sys::socket::{self, ControlMessage, SockaddrLike, SockaddrStorage, setsockopt, sockopt};

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

fn send_many(from: &Socket, truth: &Truth, to: &[SocketAddr]) {
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
fn receive_many(at: &Socket, truth: &Truth, senders: &[SocketAddr], named: bool) {
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
            assert_eq!(name.as_ref().and_then(plain), Some(*sender));
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
            let sender = server.sender(truth);
            let read = nix::unistd::read(server.fd(), &mut [0; 100]).expect("read");
            server.received(truth, sender, read);
        },
    );
}
