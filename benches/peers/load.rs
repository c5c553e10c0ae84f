//! The loads that are measured with and without a tracer. Each runs in its own process, which
//! prints its cost, and how much it sent and received.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::time::Instant;

use nix::libc;
use serde_json::{Value, json};

/// Messages and bytes sent, messages and bytes received.
pub type Numbers = [u64; 4];

/// A load: its name on the command line, its description, and its units per round.
pub const LOADS: &[(&str, &str, u64)] = &[
    (
        "receive",
        "1-byte TCP receives from a filled socket",
        200_000,
    ),
    (
        "rotation",
        "1-byte TCP receives from 1,000 filled sockets in turn",
        200_000,
    ),
    ("datagrams", "64-byte UDP sends", 60_000),
    (
        "udp_rotation",
        "64-byte UDP sends from 1,000 connected sockets in turn",
        60_000,
    ),
    (
        "unconnected",
        "64-byte UDP sends from a socket that is not connected",
        60_000,
    ),
    ("pingpong", "64-byte TCP ping-pong of two threads", 8_000),
    ("bulk", "bulk TCP, 64 KiB a call", 256 << 20),
    ("processes", "processes that send one datagram and end", 400),
    (
        "connections",
        "short TCP connections: both ends, 64 bytes each way",
        2_000,
    ),
];

/// Runs one load and prints its figures.
pub fn main(name: &str, units: u64) {
    let mut done = Done::default();
    match name {
        "receive" => receive(units, &mut done),
        "rotation" => rotation(units, &mut done),
        "datagrams" => datagrams(units, &mut done),
        "udp_rotation" => udp_rotation(units, &mut done),
        "unconnected" => unconnected(units, &mut done),
        "pingpong" => pingpong(units, &mut done),
        "bulk" => bulk(units, &mut done),
        "processes" => processes(units, &mut done),
        "connections" => connections(units, &mut done),
        other => panic!("unknown load {other}"),
    }
    println!("{}", done.to_json());
}

/// The traffic and the cost of a load.
#[derive(Default)]
struct Done {
    cpu: u64,
    wall: u64,
    numbers: Numbers,
    pids: Vec<u32>,
}

impl Done {
    fn to_json(&self) -> Value {
        let mut pids = self.pids.clone();
        pids.push(std::process::id());
        json!({ "cpu": self.cpu, "wall": self.wall, "numbers": self.numbers, "pids": pids })
    }

    /// Measures `work`: the CPU time of this process and of its children that have ended.
    fn measure<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let (wall, cpu) = (Instant::now(), cpu_time());
        let result = work();
        self.cpu += cpu_time() - cpu;
        self.wall += wall.elapsed().as_nanos() as u64;
        result
    }

    fn sent(&mut self, messages: u64, bytes: u64) {
        self.numbers[0] += messages;
        self.numbers[1] += bytes;
    }

    fn received(&mut self, messages: u64, bytes: u64) {
        self.numbers[2] += messages;
        self.numbers[3] += bytes;
    }
}

/// CPU time in nanoseconds of this process and of its children that have ended.
fn cpu_time() -> u64 {
    let own = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    // SAFETY: all zeros is a valid value, and the pointer is valid for writing.
    let children = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &mut usage);
        usage
    };
    let micros = |t: libc::timeval| t.tv_sec as u64 * 1_000_000 + t.tv_usec as u64;
    own.tv_sec as u64 * 1_000_000_000
        + own.tv_nsec as u64
        + (micros(children.ru_utime) + micros(children.ru_stime)) * 1000
}

fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let one = TcpStream::connect(listener.local_addr().expect("address")).expect("connect");
    let (other, _) = listener.accept().expect("accept");
    for end in [&one, &other] {
        end.set_nodelay(true).expect("no delay");
    }
    (one, other)
}

fn receive(units: u64, done: &mut Done) {
    /// Fits the receive buffer.
    const AT_ONCE: u64 = 50_000;
    let (mut sender, mut receiver) = pair();
    let data = vec![0; AT_ONCE as usize];
    for _ in 0..units / AT_ONCE {
        let mut sent = 0;
        while sent < data.len() {
            let count = sender.write(&data[sent..]).expect("send");
            done.sent(1, count as u64);
            sent += count;
        }
        done.measure(|| {
            let mut byte = [0];
            for _ in 0..AT_ONCE {
                receiver.read_exact(&mut byte).expect("receive");
            }
        });
        done.received(AT_ONCE, AT_ONCE);
    }
}

/// Number of sockets of a load that takes turns.
const SOCKETS: u64 = 1_000;

fn allow_sockets() {
    let wanted = rustix::process::Rlimit {
        current: Some(4 * SOCKETS),
        maximum: Some(4 * SOCKETS),
    };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, wanted).expect("many files");
}

/// One thread, as in an event loop: each event is of another socket than the one before.
fn rotation(units: u64, done: &mut Done) {
    allow_sockets();
    let mut pairs: Vec<_> = (0..SOCKETS).map(|_| pair()).collect();
    let of_each = units / SOCKETS;
    let data = vec![0; of_each as usize];
    for (sender, _) in &mut pairs {
        sender.write_all(&data).expect("send");
        done.sent(1, of_each);
    }
    done.measure(|| {
        let mut byte = [0];
        for _ in 0..of_each {
            for (_, receiver) in &mut pairs {
                receiver.read_exact(&mut byte).expect("receive");
            }
        }
    });
    done.received(units, units);
}

fn datagrams(units: u64, done: &mut Done) {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    sender
        .connect(sink.local_addr().expect("address"))
        .expect("connect");
    done.measure(|| {
        for _ in 0..units {
            sender.send(&[0; 64]).expect("send");
        }
    });
    done.sent(units, units * 64);
}

/// To a port of its own each, so that each has a row of its own.
fn udp_rotation(units: u64, done: &mut Done) {
    allow_sockets();
    let pairs: Vec<_> = (0..SOCKETS)
        .map(|_| {
            let sink = UdpSocket::bind("127.0.0.1:0").expect("bind");
            let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
            let to = sink.local_addr().expect("address");
            sender.connect(to).expect("connect");
            (sender, sink)
        })
        .collect();
    done.measure(|| {
        for _ in 0..units / SOCKETS {
            for (sender, _) in &pairs {
                sender.send(&[0; 64]).expect("send");
            }
        }
    });
    done.sent(units, units * 64);
}

fn unconnected(units: u64, done: &mut Done) {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let to = sink.local_addr().expect("address");
    done.measure(|| {
        for _ in 0..units {
            sender.send_to(&[0; 64], to).expect("send");
        }
    });
    done.sent(units, units * 64);
}

fn pingpong(units: u64, done: &mut Done) {
    let (mut one, mut other) = pair();
    done.measure(|| {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut data = [0; 64];
                for _ in 0..units {
                    other.read_exact(&mut data).expect("receive");
                    other.write_all(&data).expect("send");
                }
            });
            let mut data = [0; 64];
            for _ in 0..units {
                one.write_all(&data).expect("send");
                one.read_exact(&mut data).expect("receive");
            }
        });
    });
    done.sent(2 * units, 2 * units * 64);
    done.received(2 * units, 2 * units * 64);
}

fn bulk(units: u64, done: &mut Done) {
    let (mut sender, mut receiver) = pair();
    let (sent, received) = done.measure(|| {
        std::thread::scope(|scope| {
            let sending = scope.spawn(move || {
                let data = vec![0; 64 << 10];
                let (mut messages, mut bytes) = (0, 0);
                while bytes < units {
                    let want = data.len().min((units - bytes) as usize);
                    bytes += sender.write(&data[..want]).expect("send") as u64;
                    messages += 1;
                }
                (messages, bytes)
            });
            let mut buffer = vec![0; 64 << 10];
            let (mut messages, mut bytes) = (0, 0);
            while bytes < units {
                bytes += receiver.read(&mut buffer).expect("receive") as u64;
                messages += 1;
            }
            (sending.join().expect("sending"), (messages, bytes))
        })
    });
    done.sent(sent.0, sent.1);
    done.received(received.0, received.1);
}

fn processes(units: u64, done: &mut Done) {
    let sink = UdpSocket::bind("127.0.0.1:0").expect("bind");
    let sender = UdpSocket::bind("127.0.0.1:0").expect("bind");
    sender
        .connect(sink.local_addr().expect("address"))
        .expect("connect");
    let pids = done.measure(|| {
        let mut pids = Vec::with_capacity(units as usize);
        for _ in 0..units {
            // SAFETY: this process has one thread, and the child makes two system calls.
            let child = unsafe { libc::fork() };
            if child == 0 {
                let sent = sender.send(&[0; 64]).is_ok();
                // SAFETY: ends the process, which has nothing to clean up.
                unsafe { libc::_exit(i32::from(!sent)) };
            }
            let mut status = 0;
            // SAFETY: the status is valid for writing.
            unsafe { libc::waitpid(child, &mut status, 0) };
            assert_eq!(status, 0, "a child could not send");
            pids.push(child as u32);
        }
        pids
    });
    done.pids = pids;
    done.sent(units, units * 64);
}

/// Both ends of each connection are in this thread. The client closes first.
fn connections(units: u64, done: &mut Done) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let to = listener.local_addr().expect("address");
    done.measure(|| {
        let mut data = [0; 64];
        for _ in 0..units {
            let mut client = TcpStream::connect(to).expect("connect");
            let (mut server, _) = listener.accept().expect("accept");
            client.write_all(&data).expect("send");
            server.read_exact(&mut data).expect("receive");
            server.write_all(&data).expect("send");
            client.read_exact(&mut data).expect("receive");
        }
    });
    done.sent(2 * units, 2 * units * 64);
    done.received(2 * units, 2 * units * 64);
}
