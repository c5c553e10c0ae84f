//! Single processes and pairs of processes: killed, unreaped, renamed, or with shared sockets.

use std::io::{IoSlice, IoSliceMut, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{
    self, AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType,
};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};

use crate::call::{Call, Result, own_name, own_name_bytes, wait_for_line};
use crate::net::{Burst, Family, Socket, mixed_traffic, tcp_pair, udp_mirror, udp_pair};
use crate::tasks::{Gate, Report, fork_child, reap};
use crate::truth::{Kind, Line, Truth};

/// `sigkill`: the leader and `threads=` threads of a child send, block in receives, and are killed.
pub fn sigkill(call: &Call) -> Result {
    let threads = call.number("threads", 2)?;
    let report = Report::new()?;
    let child = fork_child(|| {
        let mut truth = Truth::default();
        mixed_traffic(&mut truth, 4)?;
        let (told, heard) = std::sync::mpsc::channel();
        for i in 0..threads {
            let told = told.clone();
            std::thread::spawn(move || {
                let mut mine = Truth::default();
                let traffic = mixed_traffic(&mut mine, 5 + i);
                let told = told.send(traffic.map(|()| mine));
                told.map_err(|_| "nobody takes reports")?;
                block_in_receive()
            });
        }
        for _ in 0..threads {
            truth.add(&heard.recv()??);
        }
        report.tell(&truth)?;
        block_in_receive()
    })?;
    let truth = report.hear()?;
    kill(child, Signal::SIGKILL)?;
    match waitpid(child, None)? {
        WaitStatus::Signaled(_, Signal::SIGKILL, _) => {}
        status => return Err(format!("the child was not killed: {status:?}").into()),
    }
    Line::process(child.as_raw(), &own_name()?, &truth).print()?;
    call.hold()
}

fn block_in_receive() -> Result {
    udp_mirror()?.recv(&mut Truth::default(), &mut [0; 10], MsgFlags::empty())?;
    Err("something came where nothing was sent".into())
}

/// `zombie`: a child sends and exits, and is not reaped until a line or the end of standard input.
pub fn zombie(_: &Call) -> Result {
    let report = Report::new()?;
    let child = fork_child(|| {
        let mut truth = Truth::default();
        mixed_traffic(&mut truth, 6)?;
        report.tell(&truth)
    })?;
    let truth = report.hear()?;
    waitid(Id::Pid(child), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    Line::process(child.as_raw(), &own_name()?, &truth).print()?;
    wait_for_line()?;
    reap(child)
}

/// `name`: takes the name given in hexadecimal by `hex=`, and sends. The name is set with prctl, or
/// with the comm file if `via=proc`.
pub fn name(call: &Call) -> Result {
    let mut name = from_hex(call.text("hex").unwrap_or("6e6577206e616d65"))?;
    match call.text("via") {
        None | Some("prctl") => {
            name.push(0);
            // SAFETY: the name is terminated.
            let set = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
            nix::errno::Errno::result(set)?;
        }
        Some("proc") => std::fs::File::create("/proc/self/comm")?.write_all(&name)?,
        Some(other) => return Err(format!("via={other} is neither prctl nor proc").into()),
    }
    let mut truth = Truth::default();
    mixed_traffic(&mut truth, 7)?;
    let hex: String = own_name_bytes()?
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    Line::this_process(&own_name()?, &truth)
        .with("comm_hex", hex)
        .print()?;
    call.hold()
}

fn from_hex(text: &str) -> Result<Vec<u8>> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return Err(format!("hex={text} has half a byte").into());
    }
    pairs
        .iter()
        .map(|pair| Ok(u8::from_str_radix(std::str::from_utf8(pair)?, 16)?))
        .collect()
}

/// `passed-socket`: a parent passes a connected socket to its child in a message; both send on it.
pub fn passed_socket(call: &Call) -> Result {
    const THEIRS: Burst = Burst {
        messages: 5,
        size: 61,
        step: 2,
    };
    let gate = Gate::new()?;
    let (ours, theirs) = socket::socketpair(
        AddressFamily::Unix,
        SockType::Stream,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    // Fork before the socket exists, so that the child does not inherit it.
    let child = fork_child(|| {
        let mut truth = Truth::default();
        let passed = Socket::new(receive_descriptor(&theirs)?, Kind::Tcp);
        THEIRS.send(&mut truth, &passed)?;
        Line::this_process(&own_name()?, &truth).print()?;
        drop(passed);
        leave(call, &gate)
    })?;
    let mut truth = Truth::default();
    let (client, server) = tcp_pair(Family::V4)?;
    let mine = Burst {
        messages: 3,
        size: 400,
        step: 9,
    };
    mine.exchange(&mut truth, &client, &server, 150)?;
    send_descriptor(&ours, client.raw())?;
    server.drain(&mut truth, THEIRS.sizes().sum(), 40)?;
    Line::this_process(&own_name()?, &truth).print()?;
    call.hold()?;
    gate.open();
    reap(child)
}

/// Ends a child at once, or when its parent opens the gate if `hold=1`.
fn leave(call: &Call, gate: &Gate) -> Result {
    if call.flag("hold") {
        gate.wait()
    } else {
        Ok(())
    }
}

fn send_descriptor(over: &OwnedFd, fd: RawFd) -> Result {
    let parts = [IoSlice::new(b"s")];
    let rights = [fd];
    let control = [ControlMessage::ScmRights(&rights)];
    socket::sendmsg::<()>(over.as_raw_fd(), &parts, &control, MsgFlags::empty(), None)?;
    Ok(())
}

fn receive_descriptor(over: &OwnedFd) -> Result<OwnedFd> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut control = nix::cmsg_space!(RawFd);
    let message = socket::recvmsg::<()>(
        over.as_raw_fd(),
        &mut parts,
        Some(&mut control),
        MsgFlags::MSG_CMSG_CLOEXEC,
    )?;
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = part
            && let Some(fd) = fds.first()
        {
            // SAFETY: the kernel has just created this descriptor for this process.
            return Ok(unsafe { OwnedFd::from_raw_fd(*fd) });
        }
    }
    Err("no descriptor came".into())
}

/// `inherited-socket`: parent and child send and receive on the same sockets, made before the fork.
pub fn inherited_socket(call: &Call) -> Result {
    const THEIRS: Burst = Burst {
        messages: 6,
        size: 81,
        step: 3,
    };
    let gate = Gate::new()?;
    let mut truth = Truth::default();
    let mut buf = [0; 500];
    let (client, server) = tcp_pair(Family::V4)?;
    let (one, other) = udp_pair(Family::V4)?;
    let datagrams = Burst {
        messages: 5,
        size: 210,
        step: 10,
    };
    datagrams.send(&mut truth, &one)?;
    other.recv(&mut truth, &mut buf, MsgFlags::empty())?;
    let child = fork_child(|| {
        let mut truth = Truth::default();
        THEIRS.send(&mut truth, &client)?;
        for _ in 0..3 {
            other.recv(&mut truth, &mut buf, MsgFlags::empty())?;
        }
        Line::this_process(&own_name()?, &truth).print()?;
        leave(call, &gate)
    })?;
    let mine = Burst {
        messages: 4,
        size: 55,
        step: 20,
    };
    mine.send(&mut truth, &client)?;
    let total = mine.sizes().sum::<usize>() + THEIRS.sizes().sum::<usize>();
    server.drain(&mut truth, total, 100)?;
    Line::this_process(&own_name()?, &truth).print()?;
    call.hold()?;
    gate.open();
    reap(child)
}
