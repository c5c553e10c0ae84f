//! A client that reads as atop does, and checks every byte.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use super::harness::wait_for;
use netatop::model::Counters;
use nix::libc;

/// Length of a request and of a record.
pub const UNIT: usize = 96;

/// A received record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub pid: u32,
    pub btime: u64,
    pub comm: [u8; 16],
    pub counters: Counters,
}

impl Record {
    /// `None` for the record that ends the reply.
    fn parse(bytes: &[u8; UNIT]) -> Option<Self> {
        let number = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().unwrap());
        let pid = u32::from_ne_bytes(bytes[..4].try_into().unwrap());
        let record = Self {
            pid,
            btime: number(8),
            comm: bytes[16..32].try_into().unwrap(),
            counters: Counters {
                tcp_send_msgs: number(32),
                tcp_send_bytes: number(40),
                tcp_recv_msgs: number(48),
                tcp_recv_bytes: number(56),
                udp_send_msgs: number(64),
                udp_send_bytes: number(72),
                udp_recv_msgs: number(80),
                udp_recv_bytes: number(88),
            },
        };
        assert_eq!(bytes[4..8], [0; 4], "not where a record begins: {bytes:?}");
        assert!(pid <= 1 << 22, "not a valid process id: {bytes:?}");
        if pid == 0 {
            assert_eq!(bytes, &[0; UNIT], "the end record is empty");
            return None;
        }
        assert!(
            !record.counters.is_zero(),
            "a record without traffic: {record:?}"
        );
        Some(record)
    }

    pub fn name(&self) -> &[u8] {
        self.comm
            .split(|byte| *byte == 0)
            .next()
            .unwrap_or_default()
    }
}

/// All records of a reply in their order.
#[derive(Clone, Debug, Default)]
pub struct Reply(pub Vec<Record>);

impl Reply {
    /// The counters that atop shows for a process: those of the last record with its pid.
    pub fn of(&self, pid: u32) -> Counters {
        let last = self.0.iter().rev().find(|record| record.pid == pid);
        last.map(|record| record.counters).unwrap_or_default()
    }

    /// The counters of all processes, by pid.
    pub fn by_pid(&self) -> HashMap<u32, Counters> {
        let pairs = self.0.iter().map(|record| (record.pid, record.counters));
        pairs.collect()
    }
}

/// Counts processes over many replies, each process once. It counts processes with one datagram of
/// a size that no other test uses. No pid may be reused meanwhile.
pub struct Tally {
    size: u64,
    processes: HashMap<u32, Counters>,
}

impl Tally {
    pub fn new(size: u64) -> Self {
        Self {
            size,
            processes: HashMap::new(),
        }
    }

    pub fn add(&mut self, reply: &Reply) {
        let ours = reply
            .0
            .iter()
            .filter(|record| record.counters.udp_send_bytes == self.size);
        for record in ours {
            assert_eq!(record.name(), b"workload");
            self.processes.insert(record.pid, record.counters);
        }
    }

    pub fn count(&self) -> usize {
        self.processes.len()
    }

    pub fn sum(&self) -> Counters {
        self.processes.values().copied().sum()
    }
}

/// A connection.
pub struct Client {
    pub stream: UnixStream,
}

impl Client {
    /// Connects, and waits for the server to listen: the socket's file exists a moment earlier.
    pub fn connect(socket: &Path) -> Self {
        let listening = || UnixStream::connect(socket).ok();
        Self::of(wait_for("a listening server", listening))
    }

    pub fn of(stream: UnixStream) -> Self {
        // Fail if no answer arrives.
        let limit = Some(Duration::from_secs(120));
        stream.set_read_timeout(limit).expect("timeout");
        stream.set_write_timeout(limit).expect("timeout");
        Self { stream }
    }

    /// A connection made by a thread as another user. The kernel records who connected.
    pub fn connect_as(uid: u32, socket: &Path) -> Self {
        let socket = socket.to_owned();
        let connect = move || {
            // SAFETY: the raw system calls change only this thread's user, and the thread ends
            // here.
            let changed = unsafe {
                libc::syscall(libc::SYS_setresgid, uid, uid, uid) == 0
                    && libc::syscall(libc::SYS_setresuid, uid, uid, uid) == 0
            };
            assert!(changed, "cannot become user {uid}");
            UnixStream::connect(&socket)
        };
        let stream = std::thread::spawn(connect).join().expect("thread");
        Self::of(stream.expect("connect"))
    }

    /// Sends a request.
    pub fn request(&mut self) {
        self.stream.write_all(&[0xA5; UNIT]).expect("request");
    }

    /// Reads a reply as atop does: the result of one `recv` of 96 bytes is a record.
    pub fn reply(&mut self) -> Reply {
        self.try_reply().expect("a whole reply")
    }

    /// `None` if the server closes the connection before the end of the reply.
    pub fn try_reply(&mut self) -> Option<Reply> {
        let mut records = Vec::new();
        loop {
            let mut bytes = [0; UNIT];
            match self.stream.read(&mut bytes) {
                Ok(UNIT) => {}
                Ok(0) => return None,
                Ok(short) => panic!("record {} has {short} bytes", records.len()),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("no reply: {error}"),
            }
            match Record::parse(&bytes) {
                Some(record) => records.push(record),
                None => return Some(Reply(records)),
            }
        }
    }

    pub fn ask(&mut self) -> Reply {
        self.request();
        self.reply()
    }

    /// Whether any byte can be read now.
    pub fn has_answer(&self) -> bool {
        self.stream.set_nonblocking(true).expect("nonblocking");
        let mut byte = [0];
        let looked = nix::sys::socket::recv(
            std::os::fd::AsRawFd::as_raw_fd(&self.stream),
            &mut byte,
            nix::sys::socket::MsgFlags::MSG_PEEK,
        );
        self.stream.set_nonblocking(false).expect("blocking");
        match looked {
            Ok(count) => count > 0,
            Err(nix::errno::Errno::EAGAIN) => false,
            Err(error) => panic!("peek: {error}"),
        }
    }
}
