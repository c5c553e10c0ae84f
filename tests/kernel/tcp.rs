//! TCP's own account, against the kernel's statistics of a network namespace of the test's own.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::process::Command;

use netatop::kernel::{Capacity, Filter, Storage, TcpRows};
use netatop::model::{Counters, Extent, Tcp};
use nix::fcntl::{SpliceFFlags, splice};
use nix::sys::socket::{setsockopt, sockopt};

use super::harness::{Counting, Named, is_left_out, leave_out, of_pid, wait_for};
use super::remote_netns::in_new_netns;
use super::remote_socket::{V4, V6};

/// Segments are not joined on loopback, so that the statistics count each of them.
const ONE_BY_ONE: &str = "ip link set lo gso_max_segs 1";

/// Rules that count what has no socket, and drop `loss` percent of the segments with much data.
pub fn rules(loss: u32) -> String {
    let drop = match loss {
        0 => String::new(),
        _ => format!("meta length > 200 numgen random mod 100 < {loss} drop;"),
    };
    format!(
        "{ONE_BY_ONE}; nft -f - <<'END'
table inet t {{
  counter synacks {{}}
  counter strangers {{}}
  counter refusals {{}}
  chain out {{ type filter hook output priority 0;
    tcp flags & (syn|ack) == (syn|ack) counter name synacks;
    tcp sport 1 counter name refusals;
  }}
  chain in {{ type filter hook input priority 0;
    tcp dport 1 counter name strangers;
    {}
  }}
}}
END",
        drop.trim_end_matches(';')
    )
}

/// Whether the rules can be used here.
pub fn has_nft() -> bool {
    let found = Command::new("nft").arg("--version").output().is_ok();
    if !found {
        leave_out("nft", "the program nft is not installed");
    }
    found
}

/// How many packets a named counter of the rules has seen.
pub fn packets(counter: &str) -> u64 {
    let listed = Command::new("nft")
        .args(["list", "counter", "inet", "t", counter])
        .output()
        .expect("nft");
    let text = String::from_utf8(listed.stdout).expect("text");
    let (_, rest) = text.split_once("packets ").expect("a number");
    let number = rest.split(' ').next().expect("a number");
    number.parse().expect("a number")
}

/// TCP's statistics of this thread's network namespace.
pub fn statistics() -> BTreeMap<String, u64> {
    let text = fs::read_to_string("/proc/thread-self/net/snmp").expect("/proc");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Tcp: "));
    let names = lines.next().expect("names").split(' ');
    let values = lines.next().expect("values").split(' ');
    names
        .zip(values)
        .map(|(name, value)| (name.to_owned(), value.parse().unwrap_or(0)))
        .collect()
}

/// What this process did: its calls, and TCP's account.
pub fn own(counting: &mut Counting<'_>) -> (Counters, Tcp) {
    let interval = counting.interval();
    sums(of_pid(&interval, std::process::id()).into_iter())
}

fn sums<'u>(usage: impl Iterator<Item = &'u netatop::model::Usage>) -> (Counters, Tcp) {
    let (mut counters, mut tcp) = (Counters::default(), Tcp::default());
    for usage in usage {
        counters += usage.counters;
        tcp += usage.tcp.get().copied().unwrap_or_default();
    }
    (counters, tcp)
}

/// Counts with TCP's account.
pub fn with_tcp<T>(filter: &Filter, run: impl FnOnce(&mut Counting<'_>) -> T) -> T {
    with_rows(TcpRows::new(false), filter, run)
}

/// The same with these rows.
pub fn with_rows<T>(rows: TcpRows, filter: &Filter, run: impl FnOnce(&mut Counting<'_>) -> T) -> T {
    let mut storage = Storage::default();
    let capacity = Capacity {
        tcp: Some(rows),
        ..Capacity::default()
    };
    run(&mut Counting::with_capacity(
        &mut storage,
        capacity,
        filter,
        false,
    ))
}

/// Both ends of a connection in this process, which end it in turn.
fn converse(listener: &TcpListener, size: usize) {
    let name = listener.local_addr().expect("its name");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (mut server, _) = listener.accept().expect("accept");
            let mut all = Vec::new();
            server.read_to_end(&mut all).expect("read");
            assert_eq!(all.len(), size);
            server.write_all(&all[..size / 4]).expect("write");
            server.shutdown(Shutdown::Write).expect("shutdown");
        });
        let mut client = TcpStream::connect(name).expect("connect");
        client.write_all(&vec![b'n'; size]).expect("write");
        client.shutdown(Shutdown::Write).expect("shutdown");
        let mut all = Vec::new();
        client.read_to_end(&mut all).expect("read");
        assert_eq!(all.len(), size / 4);
    });
}

/// A connection that its client resets.
fn reset(listener: &TcpListener) {
    let client = TcpStream::connect(listener.local_addr().expect("its name")).expect("connect");
    let (mut server, _) = listener.accept().expect("accept");
    let now = nix::libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    setsockopt(&client, sockopt::Linger, &now).expect("SO_LINGER");
    drop(client);
    server.read(&mut [0]).expect_err("reset");
}

const CONNECTIONS: u64 = 25;
const SIZE: usize = 120_000;
const REFUSED: u64 = 3;

/// `sampled` takes samples while the connections are open and close.
fn sums_are_those_of_the_statistics(to: IpAddr, loss: u32, sampled: bool) {
    in_new_netns(&rules(loss), || {
        with_tcp(&Filter::default(), |counting| {
            let before = statistics();
            let listener = TcpListener::bind((to, 0)).expect("listen");
            std::thread::scope(|scope| {
                let all = scope.spawn(|| {
                    // A thread is in the network namespace of the one that started it.
                    for _ in 0..CONNECTIONS {
                        converse(&listener, SIZE);
                    }
                    for _ in 0..REFUSED {
                        TcpStream::connect((to, 1)).expect_err("refused");
                    }
                    reset(&listener);
                });
                while sampled && !all.is_finished() {
                    counting.sample(Extent::Changes);
                }
            });
            // The last segments are on their way until no socket is left.
            let end = wait_for("the end of all connections", || {
                let now = statistics();
                (now["CurrEstab"] == before["CurrEstab"] && !has_closing_sockets()).then_some(now)
            });
            let grown = |name: &str| end[name] - before[name];
            let (counters, tcp) = own(counting);
            assert_eq!(grown("InErrs") + grown("AttemptFails"), REFUSED);
            assert_eq!(tcp.retrans_segs, grown("RetransSegs"));
            // Without loss the kernel may still have taken a busy host for one that loses segments.
            assert!(tcp.retrans_segs > 0 || loss < 10);
            assert_eq!(
                tcp.out_segs,
                grown("OutSegs") - packets("synacks") - packets("refusals"),
                "{tcp:?}"
            );
            assert_eq!(
                tcp.in_segs,
                grown("InSegs") - packets("strangers"),
                "{tcp:?}"
            );
            assert_eq!(tcp.active_opens, grown("ActiveOpens"));
            assert_eq!(tcp.passive_opens, grown("PassiveOpens"));
            assert_eq!(tcp.passive_opens, CONNECTIONS + 1);
            assert_eq!(tcp.attempt_fails, grown("AttemptFails"));
            assert_eq!(tcp.refused, REFUSED);
            assert_eq!(tcp.estab_resets, grown("EstabResets"));
            assert_eq!(tcp.estab_resets, 2);
            assert_eq!(tcp.connects, CONNECTIONS + 1);
            let payload = CONNECTIONS * (SIZE + SIZE / 4) as u64;
            assert_eq!((tcp.out_bytes, tcp.in_bytes), (payload, payload));
            assert_eq!(tcp.in_bytes, counters.tcp_recv_bytes);
            assert!(tcp.rtt_us_min <= tcp.rtt_us_avg().expect("a round trip"));
            assert!(tcp.rtt_us_avg() <= Some(tcp.rtt_us_max));
        });
    });
}

/// Whether a socket of this network namespace still sends or waits for segments.
fn has_closing_sockets() -> bool {
    let listed = Command::new("ss")
        .args(["-Htan", "exclude", "time-wait", "exclude", "listening"])
        .output()
        .expect("ss");
    !listed.stdout.is_empty()
}

#[test]
fn sums_without_loss() {
    if has_nft() {
        sums_are_those_of_the_statistics(V4, 0, false);
        sums_are_those_of_the_statistics(V6, 0, true);
    }
}

#[test]
fn sums_with_one_percent_loss() {
    if has_nft() {
        sums_are_those_of_the_statistics(V4, 1, true);
        sums_are_those_of_the_statistics(V6, 1, false);
    }
}

#[test]
fn sums_with_ten_percent_loss() {
    if has_nft() {
        for sampled in [false, true] {
            sums_are_those_of_the_statistics(V4, 10, sampled);
            sums_are_those_of_the_statistics(V6, 10, sampled);
        }
    }
}

/// The number after `name:` in the line of `ss` about a socket; 0 without.
fn field(line: &str, name: &str) -> u64 {
    let at = line
        .find(&format!(" {name}:"))
        .map(|at| at + name.len() + 2);
    let digits = |text: &str| {
        let end = text.find(|c: char| !c.is_ascii_digit());
        text[..end.unwrap_or(text.len())].parse().unwrap_or(0)
    };
    match (at, name) {
        (None, _) => 0,
        // Outstanding, and all so far.
        (Some(at), "retrans") => {
            let (_, all) = line[at..].split_once('/').expect("two numbers");
            digits(all)
        }
        (Some(at), _) => digits(&line[at..]),
    }
}

/// Live sockets, of which ss shows the same.
#[test]
fn ss_shows_the_same_for_live_sockets() {
    if !has_nft() {
        return;
    }
    in_new_netns(&rules(10), || {
        with_tcp(&Filter::default(), |counting| {
            let listener = TcpListener::bind((V4, 0)).expect("listen");
            let mut client =
                TcpStream::connect(listener.local_addr().expect("its name")).expect("connect");
            let (mut server, _) = listener.accept().expect("accept");
            for _ in 0..20 {
                std::thread::scope(|scope| {
                    scope.spawn(|| client.write_all(&[b'n'; 100_000]).expect("write"));
                    server.read_exact(&mut [0; 100_000]).expect("read");
                });
            }
            let line = wait_for("quiet", || {
                let listed = Command::new("ss")
                    .args(["-HtinO", "state", "established"])
                    .output();
                let text = String::from_utf8(listed.expect("ss").stdout).expect("text");
                (!text.contains("unacked:")).then_some(text)
            });
            let (_, tcp) = own(counting);
            let sum = |name| line.lines().map(|line| field(line, name)).sum::<u64>();
            assert_eq!(line.lines().count(), 2, "{line}");
            // The SYN of the client.
            assert_eq!(tcp.out_bytes, sum("bytes_acked") - 1, "{line}");
            assert_eq!(tcp.out_bytes, 2_000_000);
            assert_eq!(tcp.in_bytes, sum("bytes_received"), "{line}");
            assert_eq!(tcp.out_segs, sum("segs_out") - sum("retrans"), "{line}");
            assert_eq!(tcp.in_segs, sum("segs_in"), "{line}");
            assert_eq!(tcp.retrans_segs, sum("retrans"), "{line}");
            assert_eq!(tcp.retrans_bytes, sum("bytes_retrans"), "{line}");
        });
    });
}

/// What a socket did before the recording is not part of it.
#[test]
fn nothing_from_before_is_charged() {
    let listener = TcpListener::bind((V4, 0)).expect("listen");
    let mut client = TcpStream::connect(listener.local_addr().expect("its name")).expect("connect");
    let (mut server, _) = listener.accept().expect("accept");
    client.write_all(&[b'n'; 5_000]).expect("write");
    server.read_exact(&mut [0; 5_000]).expect("read");
    with_tcp(&Filter::default(), |counting| {
        let (_, tcp) = own(counting);
        assert_eq!((tcp.out_bytes, tcp.in_bytes), (0, 0));
        // Nobody reads it, and no call of the receiver is seen.
        client.write_all(&[b'n'; 777]).expect("write");
        drop(client);
        let mut arrived = Tcp::default();
        wait_for("the data", || {
            arrived += own(counting).1;
            (arrived.in_bytes >= 777 && arrived.out_bytes >= 777).then_some(())
        });
        drop(server);
        arrived += own(counting).1;
        assert_eq!((arrived.in_bytes, arrived.out_bytes), (777, 777));
        assert_eq!((arrived.active_opens, arrived.passive_opens), (0, 0));
    });
}

/// The account has exactly those bytes that no socket call shows.
#[test]
fn spliced_bytes_are_in_the_account() {
    const LENGTH: usize = 50_000;
    with_tcp(&Filter::default(), |counting| {
        let listener = TcpListener::bind((V4, 0)).expect("listen");
        let mut client =
            TcpStream::connect(listener.local_addr().expect("its name")).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        client.write_all(&[b'n'; LENGTH]).expect("write");
        let (out, into) = nix::unistd::pipe().expect("a pipe");
        let mut left = LENGTH;
        while left > 0 {
            let flags = SpliceFFlags::empty();
            let moved = splice(server.as_fd(), None, &into, None, left, flags).expect("splice");
            let mut read = vec![0; moved];
            std::fs::File::from(out.try_clone().expect("a copy"))
                .read_exact(&mut read)
                .expect("the pipe");
            left -= moved;
        }
        let (counters, tcp) = own(counting);
        assert_eq!(counters.tcp_recv_bytes, 0);
        assert_eq!(tcp.in_bytes, LENGTH as u64);
    });
}

#[test]
fn zero_copy_receives_are_in_the_account() {
    let named = Named::new("tcp_zerocopy");
    with_tcp(&Filter::default(), |counting| {
        let lines = named.start(&["zerocopy-receive"]).finish();
        if is_left_out("zerocopy-receive", &lines) {
            return;
        }
        let interval = counting.interval();
        let pid = lines[0]["pid"].as_u64().expect("a pid") as u32;
        let (counters, tcp) = sums(of_pid(&interval, pid).into_iter());
        assert_eq!(
            tcp.in_bytes,
            lines[0]["tcp_send_bytes"].as_u64().expect("a count")
        );
        assert!(counters.tcp_recv_bytes < tcp.in_bytes);
    });
}
