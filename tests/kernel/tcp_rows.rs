//! Rows with TCP's own account: split, filtered, without room, and written by the program.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Command;

use netatop::kernel::{Capacity, EndFilter, Filter, RemoteRows, Storage, TcpRows, UdpEnds};
use netatop::model::{Extent, RemoteMode};

use super::harness::{Counting, NETATOP, Workload, of_pid, workload};
use super::remote_socket::V4;
use super::tcp::{own, with_tcp};
use super::tcp_owner::number;

/// Only one of two connections has the port.
#[test]
fn only_connections_with_wanted_ends_have_accounts() {
    let listeners = [0, 1].map(|_| TcpListener::bind((V4, 0)).expect("listen"));
    let names = [0, 1].map(|at: usize| listeners[at].local_addr().expect("its name"));
    let filter = Filter {
        ends: EndFilter {
            ports: vec![names[1].port()],
            ..EndFilter::default()
        },
        ..Filter::default()
    };
    // A connection from before, and one that is made now.
    let before = TcpStream::connect(names[0]).expect("connect");
    with_tcp(&filter, |counting| {
        for (at, size) in [(0, 500), (1, 70)] {
            let mut client = TcpStream::connect(names[at]).expect("connect");
            client.write_all(&vec![b'n'; size]).expect("write");
            (&before).write_all(b"n").expect("write");
            for _ in 0..=usize::from(at == 0) {
                let (mut server, _) = listeners[at].accept().expect("accept");
                server.read_exact(&mut [0; 1]).expect("read");
            }
        }
        let (_, tcp) = own(counting);
        assert_eq!((tcp.out_bytes, tcp.in_bytes), (70, 70));
        assert_eq!((tcp.active_opens, tcp.passive_opens), (1, 1));
        assert!(counting.interval().unattributed_tcp.get().is_none());
    });
}

/// What finds no room for a row is unattributed, and reported: nothing is missing.
#[test]
fn without_room_for_rows_the_account_is_unattributed() {
    let mut storage = Storage::default();
    let capacity = Capacity {
        tcp: Some(TcpRows {
            rows: 1,
            ..TcpRows::new(false)
        }),
        ..Capacity::default()
    };
    let filter = Filter::default();
    let mut counting = Counting::with_capacity(&mut storage, capacity, &filter, false);
    let mut server = Workload::start(&["prefork"]);
    let line = server.line();
    let mut client = TcpStream::connect((V4, number(&line, "port") as u16)).expect("connect");
    client.write_all(&[b'n'; 4_321]).expect("write");
    client.shutdown(Shutdown::Write).expect("shutdown");
    client.read_to_end(&mut Vec::new()).expect("read");
    drop(client);
    server.finish();
    let sample = counting.sample(Extent::Changes);
    assert!(sample.losses.tcp_no_row > 0);
    let rows = sample.tcp.iter().map(|record| record.tcp);
    let unattributed = sample.losses.tcp_unattributed;
    let all = rows.fold(unattributed, |mut sum, tcp| {
        sum += tcp;
        sum
    });
    assert!(unattributed.out_bytes > 0);
    // Other programs of the host may have had connections as well.
    assert!(all.in_bytes >= 4_421 && all.active_opens >= 1, "{all:?}");
}

/// The account has the remote end of the traffic.
#[test]
fn accounts_are_split_by_remote_end() {
    for mode in [RemoteMode::Socket, RemoteMode::Service, RemoteMode::Address] {
        let mut storage = Storage::default();
        let capacity = Capacity {
            tcp: Some(TcpRows::new(false)),
            remote: Some(RemoteRows::of_host(mode, false, UdpEnds::NotNeeded)),
            ..Capacity::default()
        };
        let filter = Filter::default();
        let mut counting = Counting::with_capacity(&mut storage, capacity, &filter, false);
        let listener = TcpListener::bind((V4, 0)).expect("listen");
        let port = listener.local_addr().expect("its name").port();
        let mut client = TcpStream::connect((V4, port)).expect("connect");
        let here = client.local_addr().expect("its name").port();
        let (mut server, _) = listener.accept().expect("accept");
        client.write_all(&[b'n'; 600]).expect("write");
        server.read_exact(&mut [0; 600]).expect("read");
        TcpStream::connect((V4, 1)).expect_err("refused");
        let interval = counting.interval();
        let mut found = Vec::new();
        for usage in of_pid(&interval, std::process::id()) {
            let (Some(tcp), Some(end)) = (usage.tcp.get(), usage.remote.as_deref()) else {
                continue;
            };
            assert_eq!(end.remote.address, V4);
            found.push((
                end.local_port,
                end.remote.port,
                tcp.out_bytes,
                tcp.in_bytes,
                tcp.attempt_fails,
            ));
        }
        found.sort_unstable();
        // The port that the kernel chose for the attempt is not known here.
        let attempt = found
            .iter()
            .position(|row| row.4 == 1)
            .expect("the attempt");
        match mode {
            RemoteMode::Socket => {
                assert_eq!(found[attempt].1, Some(1));
                found.remove(attempt);
                let mut both = [
                    (Some(here), Some(port), 600, 0, 0),
                    (Some(port), Some(here), 0, 600, 0),
                ];
                both.sort_unstable();
                assert_eq!(found, both);
            }
            RemoteMode::Service => {
                let mut all = [
                    (None, Some(1), 0, 0, 1),
                    (None, Some(port), 600, 0, 0),
                    (Some(port), None, 0, 600, 0),
                ];
                all.sort_unstable();
                assert_eq!(found, all);
            }
            RemoteMode::Address => assert_eq!(found, [(None, None, 600, 600, 1)]),
        }
    }
}

/// The program itself, with a command, threads and groups: the same sums.
#[test]
fn the_program_writes_the_account() {
    for options in [&["-t"][..], &["-g", "comm"], &["-r"], &[]] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("rows.json");
        let ran = Command::new(NETATOP)
            .args(["record", "-q", "--tcp", "-o"])
            .arg(&file)
            .args(options)
            .arg("--")
            .arg(workload())
            .arg("splice-out")
            .output()
            .expect("netatop");
        let truth: serde_json::Value =
            serde_json::from_slice(&ran.stdout).expect("the workload's line");
        let text = std::fs::read_to_string(file).expect("rows");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let sum = |name: &str| {
            let values = lines.iter().filter_map(|line| line[name].as_u64());
            values.sum::<u64>()
        };
        assert!(sum("tcp_in_bytes") > sum("tcp_recv_bytes"), "{text}");
        assert_eq!(sum("tcp_in_bytes"), sum("tcp_out_bytes"), "{text}");
        assert_eq!(Some(sum("tcp_out_bytes")), truth["tcp_send_bytes"].as_u64());
        assert_eq!(sum("tcp_active_opens"), sum("tcp_passive_opens"), "{text}");
        assert_eq!(sum("tcp_active_opens"), 1, "{text}");
    }
}
