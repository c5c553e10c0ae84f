//! Bulk transfers without the ordinary calls: sendfile, splice and zero copy. In the kernel, some of
//! these transfers use the send and receive paths in an unknown number of steps, and some bypass
//! them.

use std::io::{IoSliceMut, Read, Seek, Write};
use std::os::fd::AsFd;
use std::ptr;

use nix::errno::Errno;
use nix::fcntl::{self, OFlag, SpliceFFlags};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{self, MsgFlags};

use crate::call::{Call, Result, unavailable};
use crate::net::{Family, Socket, tcp_pair};
use crate::refused::wait_for_error;
use crate::truth::{Kind, Truth};

const PAGE: usize = 4096;
/// A size of more than sixteen pages, and not a whole number of pages.
const LENGTH: usize = 300_007;

/// Runs `send` while another thread drains `total` bytes from the other end of a connection.
fn drained(
    truth: &mut Truth,
    total: usize,
    send: impl FnOnce(&mut Truth, &Socket) -> Result,
) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    std::thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut mine = Truth::default();
            server.drain(&mut mine, total, 5_000).map(|()| mine)
        });
        let sent = send(truth, &client);
        // End the stream, so that the reader ends even if less was sent.
        drop(client);
        let mine = reader.join().map_err(|_| "the reader panicked")??;
        truth.add(&mine);
        sent
    })
}

/// `sendfile`: a file to a TCP socket.
pub fn sendfile(_: &Call, truth: &mut Truth) -> Result {
    let file = memfd_create(c"workload", MFdFlags::MFD_CLOEXEC)?;
    let mut file = std::fs::File::from(file);
    file.write_all(&vec![1; LENGTH])?;
    file.rewind()?;
    drained(truth, LENGTH, |truth, client| {
        let mut left = LENGTH;
        while left > 0 {
            let sent = nix::sys::sendfile::sendfile(client, &file, None, left)?;
            truth.sent_tcp_in_unknown_steps(sent);
            left -= sent;
        }
        Ok(())
    })
}

/// `splice-in`: a pipe to a TCP socket.
pub fn splice_in(_: &Call, truth: &mut Truth) -> Result {
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    drained(truth, LENGTH, |truth, client| {
        let mut left = LENGTH;
        while left > 0 {
            // At most the capacity of the pipe.
            let filled = nix::unistd::write(&write, &vec![1; left.min(15 * PAGE)])?;
            splice_all(&read, client, filled)?;
            truth.sent_tcp_in_unknown_steps(filled);
            left -= filled;
        }
        Ok(())
    })
}

/// `splice-out`: a TCP socket to a pipe, without a receive call.
pub fn splice_out(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let mut read = std::fs::File::from(read);
    for size in [100, 2_000, 9_000] {
        client.send_whole(truth, &vec![1; size])?;
        splice_all(&server, &write, size)?;
        read.read_exact(&mut vec![0; size])?;
    }
    Ok(())
}

fn splice_all(from: &impl AsFd, to: &impl AsFd, total: usize) -> Result {
    let mut left = total;
    while left > 0 {
        match fcntl::splice(from, None, to, None, left, SpliceFFlags::empty())? {
            0 => return Err(format!("splice ended {left} bytes early").into()),
            moved => left -= moved,
        }
    }
    Ok(())
}

/// `zerocopy-send`: sends without copying the memory, and the notifications of completion.
pub fn zerocopy_send(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    let on: libc::c_int = 1;
    // SAFETY: the value is a valid int of the size given.
    let set = unsafe {
        libc::setsockopt(
            client.raw(),
            libc::SOL_SOCKET,
            libc::SO_ZEROCOPY,
            ptr::from_ref(&on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    Errno::result(set).map_err(|errno| unavailable("no SO_ZEROCOPY", errno))?;
    let memory = vec![1; 20_000];
    for size in [20_000, 7_000, 12_345] {
        let flags = MsgFlags::from_bits_retain(libc::MSG_ZEROCOPY);
        let sent = client.send(truth, &memory[..size], flags)?;
        server.drain(truth, sent, 4_000)?;
        wait_for_error(&client)?;
        let mut buf = [0; 1];
        let mut control = vec![0; 200];
        let mut parts = [IoSliceMut::new(&mut buf)];
        let notice = socket::recvmsg::<()>(
            client.raw(),
            &mut parts,
            Some(&mut control),
            MsgFlags::MSG_ERRQUEUE,
        )?;
        truth.received(Kind::Tcp, notice.bytes, MsgFlags::MSG_ERRQUEUE);
    }
    Ok(())
}

/// The kernel's `struct tcp_zerocopy_receive`.
#[repr(C)]
#[derive(Default)]
struct ZerocopyReceive {
    address: u64,
    length: u32,
    recv_skip_hint: u32,
    inq: u32,
    err: i32,
    copybuf_address: u64,
    copybuf_len: i32,
    flags: u32,
    msg_control: u64,
    msg_controllen: u64,
    msg_flags: u32,
    reserved: u32,
}

/// Memory that received pages are mapped into; unmapped when dropped.
struct Window {
    address: *mut libc::c_void,
    length: usize,
}

impl Window {
    fn new(socket: &Socket, length: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let address = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ,
                libc::MAP_SHARED,
                socket.raw(),
                0,
            )
        };
        if address == libc::MAP_FAILED {
            return Err(unavailable("TCP sockets cannot be mapped", Errno::last()));
        }
        Ok(Self { address, length })
    }
}

impl Drop for Window {
    fn drop(&mut self) {
        // SAFETY: this value owns the mapping, and there are no pointers into the mapping.
        unsafe { libc::munmap(self.address, self.length) };
    }
}

/// `zerocopy-receive`: maps whole pages and copies small data without a receive call. A receive call
/// reads only the rest.
pub fn zerocopy_receive(_: &Call, truth: &mut Truth) -> Result {
    let (client, server) = tcp_pair(Family::V4)?;
    let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
    let window = Window::new(&server, 8 * PAGE)?;
    let mut copied = [0_u8; 1000];

    // Pages of a pipe can be mapped.
    let pages = nix::unistd::write(&write, &[1; 8 * PAGE])?;
    splice_all(&read, &client, pages)?;
    truth.sent_tcp_in_unknown_steps(pages);
    let mapped = receive_zerocopy(&server, &window, &mut [])?;
    server.drain(truth, pages - mapped, 3_000)?;

    // The same call copies less than a page to a buffer.
    client.send_whole(truth, &[2; 700])?;
    let taken = receive_zerocopy(&server, &window, &mut copied)?;
    server.drain(truth, 700 - taken, 3_000)?;

    client.send_whole(truth, &[3; 55])?;
    server.drain(truth, 55, 30)
}

/// Maps or copies as many bytes as possible, and returns their number.
fn receive_zerocopy(socket: &Socket, window: &Window, copied: &mut [u8]) -> Result<usize> {
    let mut request = ZerocopyReceive {
        address: window.address as u64,
        length: window.length as u32,
        copybuf_address: copied.as_mut_ptr() as u64,
        copybuf_len: copied.len() as i32,
        ..ZerocopyReceive::default()
    };
    let mut length = size_of_val(&request) as libc::socklen_t;
    // SAFETY: the length of the request is correct. Its window and buffer are valid for the lengths
    // in the request.
    let result = unsafe {
        libc::getsockopt(
            socket.raw(),
            libc::IPPROTO_TCP,
            libc::TCP_ZEROCOPY_RECEIVE,
            ptr::from_mut(&mut request).cast(),
            &mut length,
        )
    };
    Errno::result(result).map_err(|errno| unavailable("no TCP_ZEROCOPY_RECEIVE", errno))?;
    Ok(request.length as usize + usize::try_from(request.copybuf_len).unwrap_or(0))
}
