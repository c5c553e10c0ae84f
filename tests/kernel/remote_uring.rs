//! Remote ends of sockets that are used by io_uring, in the caller and in worker threads.

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, TcpListener, TcpStream};

use io_uring::{IoUring, opcode, squeue, types};
use netatop::model::{Protocol, Role};
use nix::libc;
use nix::sys::socket::{SockaddrLike, SockaddrStorage};

use super::harness::leave_out;
use super::remote::{Truth, split_in_workers};
use super::remote_socket::{LOOPBACKS, Socket};

/// `None` if the kernel has no io_uring, and the caller asked to leave it out.
fn ring(polled: bool) -> Option<IoUring> {
    let mut builder = IoUring::builder();
    if polled {
        builder.setup_sqpoll(50);
    }
    match builder.build(8) {
        Ok(ring) => Some(ring),
        Err(error) => {
            leave_out("io-uring", &error.to_string());
            None
        }
    }
}

/// Runs one request to its end. Returns its result.
///
/// # Safety
///
/// Everything that the request points to must be valid during the call.
unsafe fn run(ring: &mut IoUring, request: &squeue::Entry) -> usize {
    // SAFETY: the caller promises so.
    unsafe { ring.submission().push(request) }.expect("room");
    loop {
        ring.submit_and_wait(1).expect("io_uring_enter");
        if let Some(completion) = ring.completion().next() {
            return usize::try_from(completion.result()).expect("no error");
        }
    }
}

/// In a worker thread of the kernel, or in the caller if that is possible.
fn placed(request: squeue::Entry, worker: bool) -> squeue::Entry {
    if worker {
        request.flags(squeue::Flags::ASYNC)
    } else {
        request
    }
}

fn send(ring: &mut IoUring, truth: &Truth, from: &Socket, size: usize, worker: bool) {
    let buf = vec![1; size];
    let request = opcode::Send::new(types::Fd(from.raw()), buf.as_ptr(), size as u32).build();
    // SAFETY: the buffer outlives the call.
    let sent = unsafe { run(ring, &placed(request, worker)) };
    assert_eq!(sent, size);
    from.sent(truth, None, sent);
}

fn recv(ring: &mut IoUring, truth: &Truth, at: &Socket, worker: bool) {
    let mut buf = [0; 1000];
    let sender = at.sender(truth);
    let request = opcode::Recv::new(types::Fd(at.raw()), buf.as_mut_ptr(), 1000).build();
    // SAFETY: the buffer outlives the call.
    let received = unsafe { run(ring, &placed(request, worker)) };
    at.received(truth, sender, received);
}

fn send_to(ring: &mut IoUring, truth: &Truth, from: &Socket, to: SocketAddr, worker: bool) {
    let buf = [1; 99];
    let parts = [IoSlice::new(&buf)];
    let address = SockaddrStorage::from(to);
    // SAFETY: all zeroes is a valid header.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = address.as_ptr().cast_mut().cast();
    header.msg_namelen = address.len();
    header.msg_iov = parts.as_ptr().cast_mut().cast();
    header.msg_iovlen = 1;
    let request = opcode::SendMsg::new(types::Fd(from.raw()), &raw const header).build();
    // SAFETY: the header and all that it points to outlive the call.
    let sent = unsafe { run(ring, &placed(request, worker)) };
    assert_eq!(sent, 99);
    from.sent(truth, Some(to), sent);
}

fn recv_from(ring: &mut IoUring, truth: &Truth, at: &Socket, from: SocketAddr, worker: bool) {
    let mut buf = [0; 1000];
    let mut parts = [IoSliceMut::new(&mut buf)];
    // SAFETY: all zeroes is a valid address and a valid header.
    let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) =
        unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
    header.msg_name = (&raw mut name).cast();
    header.msg_namelen = size_of_val(&name) as u32;
    header.msg_iov = parts.as_mut_ptr().cast();
    header.msg_iovlen = 1;
    let request = opcode::RecvMsg::new(types::Fd(at.raw()), &raw mut header).build();
    // SAFETY: the header and all that it points to outlive the call.
    let received = unsafe { run(ring, &placed(request, worker)) };
    at.received(truth, Some(from), received);
}

/// TCP and UDP, connected or not, through one ring.
pub fn all(truth: &Truth, polled: bool, worker: bool) {
    let Some(mut ring) = ring(polled) else {
        return;
    };
    for address in LOOPBACKS {
        let listener = TcpListener::bind((address, 0)).expect("bind");
        let to = listener.local_addr().expect("its name");
        let stream = TcpStream::connect(to).expect("connect");
        let (accepted, _) = listener.accept().expect("accept");
        let client = Socket::new(stream, Protocol::Tcp, Role::Client);
        let server = Socket::new(accepted, Protocol::Tcp, Role::Server);
        for size in [100, 200] {
            send(&mut ring, truth, &client, size, worker);
            recv(&mut ring, truth, &server, worker);
        }
        let (client, server) = (Socket::udp_client(address), Socket::udp_server(address));
        let other = Socket::udp_server(address);
        for to in [&server, &other, &server] {
            send_to(&mut ring, truth, &client, to.local(), worker);
            recv_from(&mut ring, truth, to, client.local(), worker);
        }
        // The sender is not asked for.
        send_to(&mut ring, truth, &client, server.local(), worker);
        recv(&mut ring, truth, &server, worker);
        client.connect(server.local());
        send(&mut ring, truth, &client, 50, worker);
        send_to(&mut ring, truth, &client, other.local(), worker);
        send(&mut ring, truth, &client, 60, worker);
        recv_from(&mut ring, truth, &server, client.local(), worker);
    }
}

#[test]
fn in_the_caller() {
    split_in_workers(|| (), |(), truth| all(truth, false, false));
}

#[test]
fn in_worker_threads() {
    split_in_workers(|| (), |(), truth| all(truth, false, true));
}

#[test]
fn in_a_polling_thread() {
    split_in_workers(|| (), |(), truth| all(truth, true, false));
}
