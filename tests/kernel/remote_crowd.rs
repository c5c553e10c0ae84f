//! A server with a thousand sockets and a client with ten thousand connections: the number of rows in
//! each mode, and their sums.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};

use netatop::kernel::{Capacity, Storage};
use netatop::model::{Counters, Interval, RemoteMode, Role};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::harness::Counting;
use super::remote::{capacity, family};

const SERVERS: usize = 1_000;
/// Connections to each server in one interval.
const EACH: usize = 5;
const INTERVALS: usize = 2;
const REQUEST: usize = 10;
const ANSWER: usize = 20;

/// Accepts the connections in the order in which they come, and answers each.
fn serve(listeners: &[TcpListener]) -> std::io::Result<()> {
    for _ in 0..EACH * INTERVALS {
        for listener in listeners {
            let (mut stream, _) = listener.accept()?;
            stream.read_exact(&mut [0; REQUEST])?;
            stream.write_all(&[2; ANSWER])?;
            // The client closes first, so the address of its end is not used again soon.
            assert_eq!(stream.read(&mut [0])?, 0);
        }
    }
    Ok(())
}

/// The server in a process of its own, which ends when its standard answers are given.
fn start(listeners: Vec<TcpListener>) -> Pid {
    // SAFETY: the child makes system calls and allocates, which glibc allows after a fork.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        ForkResult::Child => {
            let status = i32::from(serve(&listeners).is_err());
            // SAFETY: ends the process without running the destructors of the test.
            unsafe { nix::libc::_exit(status) }
        }
        ForkResult::Parent { child } => child,
    }
}

fn connect(addresses: &[SocketAddr]) {
    for _ in 0..EACH {
        for address in addresses {
            let mut stream = TcpStream::connect(address).expect("connect");
            stream.write_all(&[1; REQUEST]).expect("send");
            stream.read_exact(&mut [0; ANSWER]).expect("an answer");
        }
    }
}

/// Rows and sums of a process.
#[derive(Debug, Default, PartialEq)]
struct Found {
    rows: usize,
    sum: Counters,
}

fn found(interval: &Interval) -> BTreeMap<u32, Found> {
    let mut of_processes: BTreeMap<u32, Found> = BTreeMap::new();
    for usage in &interval.usage {
        let one = of_processes.entry(usage.last.process.pid).or_default();
        one.rows += 1;
        one.sum += usage.counters;
    }
    of_processes
}

/// What each side does in one interval, and its number of rows.
fn expected(client: u32, server: u32, rows: usize) -> BTreeMap<u32, Found> {
    let calls = (SERVERS * EACH) as u64;
    let sum = |sent: usize, received: usize| Counters {
        tcp_send_msgs: calls,
        tcp_send_bytes: calls * sent as u64,
        tcp_recv_msgs: calls,
        tcp_recv_bytes: calls * received as u64,
        ..Counters::default()
    };
    let side = |sum| Found { rows, sum };
    BTreeMap::from([
        (client, side(sum(REQUEST, ANSWER))),
        (server, side(sum(ANSWER, REQUEST))),
    ])
}

#[test]
fn ten_thousand_connections_to_a_thousand_servers() {
    let limit = Rlimit {
        current: Some(2 * SERVERS as u64),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).expect("many files");
    for (mode, rows) in [
        (None, 1),
        (Some(RemoteMode::Address), 1),
        (Some(RemoteMode::Service), SERVERS),
        (Some(RemoteMode::Socket), SERVERS * EACH),
    ] {
        let sizes = mode.map_or(Capacity::default(), |mode| capacity(mode, false));
        let mut storage = Storage::default();
        let mut counting = Counting::with_capacity(&mut storage, sizes, &family(), false);
        let listeners: Vec<_> = (0..SERVERS)
            .map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind"))
            .collect();
        let addresses: Vec<_> = listeners
            .iter()
            .map(|listener| listener.local_addr().expect("a name"))
            .collect();
        let server = start(listeners);
        let mut ends = BTreeSet::new();
        for round in 0..INTERVALS {
            connect(&addresses);
            if round + 1 == INTERVALS {
                let ended = waitpid(server, None).expect("wait");
                assert_eq!(ended, WaitStatus::Exited(server, 0));
            }
            let interval = counting.interval();
            let both = expected(std::process::id(), server.as_raw() as u32, rows);
            assert_eq!(found(&interval), both, "{mode:?}, interval {round}");
            assert!(interval.unattributed.is_zero());
            for usage in interval.usage {
                let Some(remote) = usage.remote.as_deref().copied() else {
                    continue;
                };
                let is_server = usage.last.process.pid == server.as_raw() as u32;
                let role = if is_server {
                    Role::Server
                } else {
                    Role::Client
                };
                assert_eq!(
                    remote.role,
                    (mode != Some(RemoteMode::Address)).then_some(role)
                );
                ends.insert((usage.last.process.pid, format!("{remote:?}")));
            }
        }
        let of_all = match mode {
            None => 0,
            Some(RemoteMode::Socket) => 2 * SERVERS * EACH * INTERVALS,
            Some(_) => 2 * rows,
        };
        assert_eq!(ends.len(), of_all, "{mode:?}");
    }
}
