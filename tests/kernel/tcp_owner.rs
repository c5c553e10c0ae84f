//! To whom a connection belongs: never to whoever is running when TCP does something.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use netatop::kernel::Filter;
use netatop::model::{Counters, Interval, Tcp};
use nix::libc;

use super::harness::{Workload, of_pid, wait_for};
use super::remote_netns::in_new_netns;
use super::remote_socket::V4;
use super::tcp::{has_nft, own, rules, statistics, with_tcp};
use super::tcp_running::Retransmissions;

/// TCP's account of a process in an interval.
fn account(interval: &Interval, pid: u32) -> Tcp {
    let mut sum = Tcp::default();
    for usage in of_pid(interval, pid) {
        sum += usage.tcp.get().copied().unwrap_or_default();
    }
    sum
}

pub fn number(line: &serde_json::Value, name: &str) -> u32 {
    let number = line[name].as_u64().expect("a number");
    u32::try_from(number).expect("a small number")
}

/// Most of it is sent, and sent again, when the sender has ended. Its retransmissions happen while
/// other processes run, or none. Which segments are lost is chance, so this is tried until it happens.
#[test]
fn a_sender_that_has_ended() {
    if has_nft() {
        wait_for("a retransmission after the end", || {
            a_sender_ends().then_some(())
        });
    }
}

/// Whether some of the retransmissions happened while other processes ran, or none.
fn a_sender_ends() -> bool {
    const SIZE: u64 = 10_000_000;
    in_new_netns(&rules(10), || {
        with_tcp(&Filter::default(), |counting| {
            let before = statistics();
            let listener = TcpListener::bind((V4, 0)).expect("listen");
            let port = listener.local_addr().expect("its name").port();
            let trace = Retransmissions::to(port);
            let sender = Workload::start(&["burst", &format!("port={port}"), "size=10000000"]);
            let pid = sender.pid();
            let (mut server, _) = listener.accept().expect("accept");
            let read = std::thread::scope(|scope| {
                let reader = scope.spawn(|| std::io::copy(&mut server, &mut std::io::sink()));
                sender.finish();
                reader.join().expect("no panic").expect("read")
            });
            assert_eq!(read, SIZE);
            drop(server);
            let (mut sum, mut mine) = (Tcp::default(), Tcp::default());
            wait_for("the last segment", || {
                let interval = counting.interval();
                sum += account(&interval, pid);
                mine += account(&interval, std::process::id());
                (sum.out_bytes >= SIZE).then_some(())
            });
            let end = statistics();
            let again = end["RetransSegs"] - before["RetransSegs"];
            assert!(again > 0);
            assert_eq!((sum.out_bytes, sum.in_bytes), (SIZE, 0));
            assert_eq!((sum.active_opens, sum.passive_opens), (1, 0));
            assert_eq!(sum.retrans_segs, again);
            let running = trace.by_running_process();
            let (all, own): (u64, _) = (running.values().sum(), running.get(&pid).copied());
            println!(
                "{all} segments sent again, {own:?} of them while the sender ran: {running:?}"
            );
            // The event also fires for attempts that fail.
            assert!(all >= again);
            assert_eq!((mine.out_bytes, mine.in_bytes), (0, SIZE));
            assert_eq!((mine.active_opens, mine.passive_opens), (0, 1));
            assert_eq!(mine.retrans_segs, 0);
            own.unwrap_or(0) < all
        })
    })
}

/// A child uses the socket that its parent has used before.
#[test]
fn a_socket_that_another_process_goes_on_with() {
    with_tcp(&Filter::default(), |counting| {
        let listener = TcpListener::bind((V4, 0)).expect("listen");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("its name")).expect("connect");
        let (mut server, _) = listener.accept().expect("accept");
        client.write_all(&[b'n'; 4_000]).expect("write");
        server.read_exact(&mut [0; 4_000]).expect("read");
        let fd = server.as_raw_fd();
        // SAFETY: the child only makes system calls, and ends.
        let child = unsafe { libc::fork() };
        assert!(child >= 0);
        if child == 0 {
            let mut buf = [0_u8; 3_000];
            let mut receive = |flags| {
                // SAFETY: the buffer has this many bytes.
                unsafe { libc::recv(fd, buf.as_mut_ptr().cast(), buf.len(), flags) }
            };
            // The first call makes it the owner, although it fails.
            let is_whole = receive(libc::MSG_DONTWAIT) == -1 && receive(libc::MSG_WAITALL) == 3_000;
            // SAFETY: ends the child at once.
            unsafe { libc::_exit(i32::from(!is_whole)) };
        }
        // Its first call comes before the data: the socket is empty until then.
        let pid = child.unsigned_abs();
        wait_for("the child to wait for data", || {
            let wchan = std::fs::read_to_string(format!("/proc/{pid}/syscall")).ok()?;
            // recvfrom(2), with MSG_WAITALL.
            let mut words = wchan.split_whitespace();
            (words.next() == Some("45") && words.nth(3) == Some("0x100")).then_some(())
        });
        client.write_all(&[b'n'; 3_000]).expect("write");
        let mut status = 0;
        // SAFETY: the child of this test.
        assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0);
        let interval = counting.interval();
        assert_eq!(account(&interval, pid).in_bytes, 3_000);
        let mine = account(&interval, std::process::id());
        assert_eq!((mine.in_bytes, mine.out_bytes), (4_000, 7_000));
    });
}

/// The request came before the worker's first call, and still is the worker's.
#[test]
fn a_server_that_has_forked_before() {
    with_tcp(&Filter::default(), |counting| {
        let mut server = Workload::start(&["prefork"]);
        let line = server.line();
        let mut client = TcpStream::connect((V4, number(&line, "port") as u16)).expect("connect");
        client.write_all(&[b'n'; 2_345]).expect("write");
        client.shutdown(Shutdown::Write).expect("shutdown");
        client.read_to_end(&mut Vec::new()).expect("read");
        let worker = number(&server.finish()[0], "pid");
        let interval = counting.interval();
        let work = account(&interval, worker);
        assert_eq!((work.in_bytes, work.out_bytes), (2_345, 100));
        assert_eq!(work.passive_opens, 1);
        assert_eq!(account(&interval, number(&line, "pid")), Tcp::default());
        let mine = account(&interval, std::process::id());
        assert_eq!((mine.in_bytes, mine.out_bytes), (100, 2_345));
        assert_eq!((mine.active_opens, mine.passive_opens), (1, 0));
    });
}

/// Nobody calls anything on the connection. The server has made no socket call that counts, and
/// still has a row with its name.
#[test]
fn a_connection_that_is_never_used() {
    with_tcp(&Filter::default(), |counting| {
        let mut server = Workload::start(&["listener"]);
        let line = server.line();
        let mut client = TcpStream::connect((V4, number(&line, "port") as u16)).expect("connect");
        client.write_all(&[b'n'; 1_000]).expect("write");
        let mut unused = Tcp::default();
        wait_for("the data", || {
            let interval = counting.interval();
            let rows = of_pid(&interval, server.pid());
            unused += account(&interval, server.pid());
            for row in rows {
                assert_eq!(row.counters, Counters::default());
                assert_eq!(row.last.comm.to_str_lossy(), "workload");
                assert_eq!(row.last.uid, 0);
            }
            (unused.in_bytes >= 1_000).then_some(())
        });
        assert_eq!((unused.in_bytes, unused.passive_opens), (1_000, 1));
        // It accepts the connection, and closes it with the data unread: a reset.
        server.go();
        server.go();
        client.read(&mut [0]).expect_err("reset");
        let pid = server.pid();
        server.finish();
        let interval = counting.interval();
        assert_eq!(account(&interval, pid).estab_resets, 1);
        assert_eq!(account(&interval, std::process::id()).estab_resets, 1);
    });
}

/// A listener from before the recording, of which no call will be seen.
#[test]
fn a_listener_from_before() {
    let mut server = Workload::start(&["listener"]);
    let port = number(&server.line(), "port") as u16;
    with_tcp(&Filter::default(), |counting| {
        let client = TcpStream::connect((V4, port)).expect("connect");
        let interval = counting.interval();
        assert_eq!(account(&interval, server.pid()).passive_opens, 1);
        drop(client);
        server.go();
        server.go();
        server.finish();
    });
}

#[test]
fn only_wanted_processes_have_accounts() {
    let mut server = Workload::start(&["listener"]);
    let port = number(&server.line(), "port") as u16;
    let filter = Filter {
        pids: vec![server.pid()],
        ..Filter::default()
    };
    with_tcp(&filter, |counting| {
        let mut client = TcpStream::connect((V4, port)).expect("connect");
        client.write_all(&[b'n'; 10]).expect("write");
        let interval = counting.interval();
        assert_eq!(account(&interval, server.pid()).passive_opens, 1);
        assert_eq!(account(&interval, std::process::id()), Tcp::default());
        assert!(interval.unattributed_tcp.get().is_none());
        server.go();
        server.go();
        server.finish();
    });
}

/// Each kind of failure, by what the caller gets.
#[test]
fn failures_by_kind() {
    if !has_nft() {
        return;
    }
    let more = "sysctl -qw net.ipv4.tcp_syn_retries=1; nft -f - <<'END'
table inet u {
  chain out { type filter hook output priority 0;
    tcp dport 2 drop
    tcp dport 3 reject with icmp type host-unreachable
  }
}
END";
    in_new_netns(&format!("{}\n{more}", rules(0)), || {
        with_tcp(&Filter::default(), |counting| {
            let before = statistics();
            let error = |port| TcpStream::connect((V4, port)).expect_err("a failure");
            assert_eq!(error(1).raw_os_error(), Some(libc::ECONNREFUSED));
            assert_eq!(error(2).raw_os_error(), Some(libc::ETIMEDOUT));
            assert_eq!(error(3).raw_os_error(), Some(libc::EHOSTUNREACH));
            let failed = statistics()["AttemptFails"] - before["AttemptFails"];
            let (_, tcp) = own(counting);
            assert_eq!((tcp.attempt_fails, failed), (3, 3));
            assert_eq!((tcp.refused, tcp.timed_out, tcp.unreachable), (1, 1, 1));
            assert_eq!((tcp.active_opens, tcp.connects), (3, 0));
            assert_eq!(
                tcp.retrans_segs,
                statistics()["RetransSegs"] - before["RetransSegs"]
            );
        });
    });
}
