//! Processes whose connections others watch: one that leaves at once, and servers that do little.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};

use nix::sys::socket::MsgFlags;

use crate::call::{Call, Result, own_name, wait_for_line};
use crate::net::Socket;
use crate::tasks::{fork_child, reap};
use crate::truth::{Kind, Line, Truth};

/// `burst`: connects to `port=`, sends `size=` bytes, and exits at once. The kernel goes on sending.
pub fn burst(call: &Call, truth: &mut Truth) -> Result {
    let port = u16::try_from(call.number("port", 0)?)?;
    let socket = Socket::new(TcpStream::connect((Ipv4Addr::LOCALHOST, port))?, Kind::Tcp);
    let mut left = call.number("size", 10_000_000)?;
    let buf = vec![b'n'; 1 << 16];
    while left > 0 {
        left -= socket.send(truth, &buf[..left.min(buf.len())], MsgFlags::empty())?;
    }
    Ok(())
}

/// Listens, and prints the process and the port.
fn listen() -> Result<TcpListener> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    Line::this_process(&own_name()?, &Truth::default())
        .with("port", listener.local_addr()?.port())
        .print()?;
    Ok(listener)
}

/// `listener`: listens, and accepts one connection after a line, but never uses it.
pub fn listener(_: &Call) -> Result {
    let listener = listen()?;
    wait_for_line()?;
    let (unused, _) = listener.accept()?;
    wait_for_line()?;
    drop(unused);
    Ok(())
}

/// `prefork`: listens, and a child accepts one connection, reads it to its end, and answers.
pub fn prefork(call: &Call) -> Result {
    let listener = listen()?;
    let child = fork_child(|| {
        let (mut stream, _) = listener.accept()?;
        let mut request = Vec::new();
        stream.read_to_end(&mut request)?;
        stream.write_all(&[b'n'; 100])?;
        stream.shutdown(Shutdown::Write)?;
        Line::this_process(&own_name()?, &Truth::default()).print()
    })?;
    reap(child)?;
    call.hold()
}
