//! Compares the counts with iperf3's own report, at both ends.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;

use super::harness::{counting, of_pid};

/// Upper limit for the bytes of iperf3's control messages: parameters and results.
const CONTROL: u64 = 4096;

struct Ends {
    server: u32,
    client: u32,
    report: Value,
}

/// A port that is free for both protocols. The port is below the range from which the kernel assigns
/// ports (`ip_local_port_range`).
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let is_free = |port: &u16| {
        TcpListener::bind(("127.0.0.1", *port)).is_ok()
            && UdpSocket::bind(("127.0.0.1", *port)).is_ok()
    };
    // Concurrent searches begin at different ports.
    let mut tried = (0..12_000).map(|_| {
        let next = std::process::id()
            .wrapping_mul(16)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        20_000 + (next % 12_000) as u16
    });
    tried.find(is_free).expect("a free port")
}

fn iperf(args: &[&str]) -> Ends {
    let port = free_port().to_string();
    let mut server = Command::new("iperf3")
        .args(["-s", "-1", "--forceflush", "-B", "127.0.0.1", "-p", &port])
        .stdout(Stdio::piped())
        .spawn()
        .expect("iperf3");
    let mut output = BufReader::new(server.stdout.take().expect("piped"));
    let mut line = String::new();
    while !line.contains("listening") {
        line.clear();
        assert!(
            output.read_line(&mut line).expect("read") > 0,
            "it does not listen"
        );
    }
    let client = Command::new("iperf3")
        .args(["-c", "127.0.0.1", "-p", &port, "--json"])
        .args(args)
        .stdout(Stdio::piped())
        .spawn()
        .expect("iperf3");
    let client_pid = client.id();
    let report = client.wait_with_output().expect("wait").stdout;
    std::io::copy(&mut output, &mut std::io::sink()).expect("read");
    server.wait().expect("wait");
    Ends {
        server: server.id(),
        client: client_pid,
        report: serde_json::from_slice(&report).expect("json"),
    }
}

#[test]
fn tcp_bytes_are_iperfs_at_both_ends() {
    counting(false, |counting| {
        let ends = iperf(&["-n", "50M"]);
        let interval = counting.interval();
        let of = |pid| of_pid(&interval, pid)[0].counters;
        let bytes = |end: &str| ends.report["end"][end]["bytes"].as_u64().expect("bytes");
        let (client, server) = (of(ends.client), of(ends.server));
        let control = client.tcp_send_bytes - bytes("sum_sent");
        assert!(
            control < CONTROL,
            "{control} bytes more than iperf3 reports"
        );
        // All data that one end sent has reached the other, including control messages.
        assert_eq!(server.tcp_recv_bytes, bytes("sum_received") + control);
        assert_eq!(server.tcp_send_bytes, client.tcp_recv_bytes);
    });
}

#[test]
fn udp_bytes_are_iperfs_to_the_byte() {
    counting(false, |counting| {
        let ends = iperf(&["-u", "-b", "0", "-n", "1M", "-l", "1000"]);
        let interval = counting.interval();
        let client = of_pid(&interval, ends.client)[0].counters;
        let sum = &ends.report["end"]["sum"];
        // One datagram of four bytes each way opens the stream.
        assert_eq!(
            client.udp_send_bytes,
            sum["bytes"].as_u64().expect("bytes") + 4
        );
        assert_eq!(
            client.udp_send_msgs,
            sum["packets"].as_u64().expect("packets") + 1
        );
        assert_eq!((client.udp_recv_msgs, client.udp_recv_bytes), (1, 4));
    });
}
