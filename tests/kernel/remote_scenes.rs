//! Whole scenes with real programs: the rows say what a person would say happened. Each program says
//! itself what its calls sent and received.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::MetadataExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

use super::end_to_end::{interrupt, record};
use super::remote_netns::in_new_netns;

/// A row without its counters: process, protocol, role, the port of a server, and the remote end.
type End = (u32, &'static str, &'static str, Option<u16>, String);

/// Messages and bytes, sent and received. Messages that a program does not know are absent.
type Counts = [Option<u64>; 4];

type Rows = BTreeMap<End, Counts>;

/// The remote end of a client, with the port of the service.
fn client(pid: u32, protocol: &'static str, address: &str, port: u16) -> End {
    (pid, protocol, "client", None, format!("{address} {port}"))
}

/// The remote end of the server at `port`, without a port.
fn server(pid: u32, protocol: &'static str, address: &str, port: u16) -> End {
    (pid, protocol, "server", Some(port), address.to_owned())
}

fn add(rows: &mut Rows, end: End, counts: Counts) {
    let sums = rows.entry(end).or_insert([Some(0); 4]);
    for (sum, count) in sums.iter_mut().zip(counts) {
        *sum = sum.zip(count).map(|(sum, count)| sum + count);
    }
}

/// A program that prints a line when it is ready, and its own counts when its input ends.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    fn python(script: &str) -> Self {
        let mut child = Command::new("python3")
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut output = BufReader::new(child.stdout.take().expect("piped"));
        let mut line = String::new();
        output.read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        Self { child, output }
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it end, and returns what it counted.
    fn finish(mut self) -> Value {
        drop(self.child.stdin.take());
        let mut text = String::new();
        self.output.read_to_string(&mut text).expect("read");
        let status = self.child.wait().expect("wait");
        assert!(status.success(), "{status}");
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text:?}: {error}"))
    }
}

/// Counts that a program wrote as `[sent messages, sent bytes, received messages, received bytes]`.
fn counts(value: &Value) -> Counts {
    let count = |at: usize| Some(value[at].as_u64().expect("a number"));
    [count(0), count(1), count(2), count(3)]
}

/// Records a scene in a network namespace of its own, and compares all rows of its processes with
/// what the scene returns.
fn check(scene: impl Fn(&mut Rows) + Sync) {
    let (child, messages) = record(&["-f", "json", "-r"]);
    let (truth, netns) = in_new_netns("true", || {
        let mut truth = Rows::new();
        scene(&mut truth);
        let netns = std::fs::metadata("/proc/thread-self/ns/net").expect("its namespace");
        (truth, netns.ino())
    });
    interrupt(&child);
    let output = child.wait_with_output().expect("wait");
    let told = messages.join().expect("no panic");
    assert!(told.contains(", 0 unattributed"), "{told}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let mut rows = Rows::new();
    for line in text.lines() {
        let row: Value = serde_json::from_str(line).expect("a row");
        let pid = row["pid"].as_u64().unwrap_or_default() as u32;
        if !truth.keys().any(|end| end.0 == pid) {
            continue;
        }
        assert_eq!(row["netns"], netns, "{row}");
        let (end, counts) = read(pid, &row);
        assert!(rows.insert(end, counts).is_none(), "twice: {row}");
    }
    for (end, counts) in &mut rows {
        // What the program does not know is not compared.
        let known = truth.get(end).copied().unwrap_or([Some(0); 4]);
        for (count, known) in counts.iter_mut().zip(known) {
            *count = known.and(*count);
        }
    }
    assert_eq!(rows, truth);
}

fn read(pid: u32, row: &Value) -> (End, Counts) {
    let protocol = ["tcp", "udp"].into_iter().find(|p| row["protocol"] == *p);
    let role = ["client", "server"].into_iter().find(|r| row["role"] == *r);
    let port = |column: &str| row[column].as_u64().map(|port| port as u16);
    let remote = match (row["remote_addr"].as_str(), port("remote_port")) {
        (address, None) => address.unwrap_or("unknown").to_owned(),
        (address, Some(port)) => format!("{} {port}", address.unwrap_or("unknown")),
    };
    let protocol = protocol.unwrap_or("unknown");
    let count = |column: &str| row[format!("{protocol}_{column}")].as_u64();
    let counts = ["send_msgs", "send_bytes", "recv_msgs", "recv_bytes"].map(count);
    let role = role.unwrap_or("unknown");
    ((pid, protocol, role, port("local_port"), remote), counts)
}

const ADDRESSES: [&str; 2] = ["127.0.0.1", "::1"];

/// A web server on both loopback addresses.
const WEB: &str = r#"
import http.server, os, socket, sys, tempfile, threading
class Six(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words): pass
with tempfile.TemporaryDirectory() as directory:
    os.chdir(directory)
    open("page", "wb").write(b"x" * 1000003)
    for kind, address in (http.server.ThreadingHTTPServer, "127.0.0.1"), (Six, "::1"):
        server = kind((address, 8080), Quiet)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("ready", flush=True)
    sys.stdin.read()
    print("{}")
"#;

/// Gets a page, and returns curl's pid and what it sent and received: the request, and the headers
/// and the body of the answer.
fn curl(address: &str) -> (u32, u64, u64) {
    let host = match address.contains(':') {
        true => format!("[{address}]"),
        false => address.to_owned(),
    };
    let child = Command::new("curl")
        .args([
            "--silent",
            "--fail",
            "--noproxy",
            "*",
            "--output",
            "/dev/null",
        ])
        .args([
            "--write-out",
            "%{size_request} %{size_header} %{size_download}",
        ])
        .arg(format!("http://{host}:8080/page"))
        .stdout(Stdio::piped())
        .spawn()
        .expect("curl");
    let pid = child.id();
    let output = child.wait_with_output().expect("wait");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let sizes: Vec<u64> = text
        .split(' ')
        .map(|size| size.parse().expect("a number"))
        .collect();
    (pid, sizes[0], sizes[1] + sizes[2])
}

/// Each curl is a client of the service, and the server has one row for each address of its clients.
#[test]
fn curl_gets_pages_from_a_web_server() {
    check(|truth| {
        let web = Program::python(WEB);
        for address in [ADDRESSES, ADDRESSES].concat() {
            let (pid, sent, received) = curl(address);
            assert!(received > 1_000_003 && sent > 0);
            let counts = [None, Some(sent), None, Some(received)];
            add(truth, client(pid, "tcp", address, 8080), counts);
            let counts = [None, Some(received), None, Some(sent)];
            add(truth, server(web.pid(), "tcp", address, 8080), counts);
        }
        web.finish();
    });
}

/// The same as a person sees it. Two curls of one address are one row by name.
#[test]
fn a_table_says_who_got_a_page_from_whom() {
    let (child, messages) = record(&["-f", "table", "-r", "-g", "comm"]);
    in_new_netns("true", || {
        let web = Program::python(WEB);
        for address in [ADDRESSES, ADDRESSES].concat() {
            curl(address);
        }
        web.finish();
    });
    interrupt(&child);
    let output = child.wait_with_output().expect("wait");
    messages.join().expect("no panic");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let lines: Vec<String> = text
        .lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    for row in [
        "2 curl tcp client - 127.0.0.1:8080 ",
        "2 curl tcp client - [::1]:8080 ",
        "1 python3 tcp server :8080 127.0.0.1 ",
        "1 python3 tcp server :8080 ::1 ",
    ] {
        let same = lines.iter().filter(|line| line.starts_with(row)).count();
        assert_eq!(same, 1, "{row}: {text}");
    }
}

/// Name servers on three addresses. They answer each question with more than was asked.
const NAME_SERVER: &str = r#"
import json, select, socket, sys
sockets, counts = [], {}
for family, address in (2, "127.0.0.1"), (2, "127.0.0.2"), (10, "::1"):
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.bind((address, 53))
    sockets.append(one)
print("ready", flush=True)
while True:
    ready = select.select(sockets + [sys.stdin], [], [])[0]
    if sys.stdin in ready: break
    for one in ready:
        question, sender = one.recvfrom(512)
        count = counts.setdefault(sender[0], [0, 0, 0, 0])
        count[2] += 1
        count[3] += len(question)
        count[0] += 1
        count[1] += one.sendto(question + b"answer" * 20, sender)
print(json.dumps(counts))
"#;

/// A resolver that asks all name servers from one socket for each family, and does not connect it.
const RESOLVER: &str = r#"
import json, socket, sys
print("ready", flush=True)
sys.stdin.read()
counts = {}
sockets = {2: socket.socket(2, socket.SOCK_DGRAM), 10: socket.socket(10, socket.SOCK_DGRAM)}
for number in range(30):
    for family, address in (2, "127.0.0.1"), (2, "127.0.0.2"), (10, "::1"):
        count = counts.setdefault(address, [0, 0, 0, 0])
        count[0] += 1
        count[1] += sockets[family].sendto(b"q" * (30 + number), (address, 53))
        answer, sender = sockets[family].recvfrom(2048)
        assert sender[:2] == (address, 53)
        count[2] += 1
        count[3] += len(answer)
print(json.dumps(counts))
"#;

#[test]
fn a_resolver_asks_name_servers_from_unconnected_sockets() {
    check(|truth| {
        let servers = Program::python(NAME_SERVER);
        for _ in 0..2 {
            let resolver = Program::python(RESOLVER);
            let pid = resolver.pid();
            let done = resolver.finish();
            for (address, done) in done.as_object().expect("an object") {
                add(truth, client(pid, "udp", address, 53), counts(done));
            }
        }
        let pid = servers.pid();
        let done = servers.finish();
        let done = done.as_object().expect("an object");
        // To the clients, all three name servers are those of one host.
        assert_eq!(done.len(), 2);
        for (address, done) in done {
            add(truth, server(pid, "udp", address, 53), counts(done));
        }
    });
}

/// What both ends of the QUIC-like exchange have in common: a call sends many segments (UDP_SEGMENT),
/// and a call receives many (UDP_GRO).
const QUIC: &str = r#"
import json, select, socket, struct, sys
UDP_SEGMENT, UDP_GRO = 103, 104
def open_socket(family):
    one = socket.socket(family, socket.SOCK_DGRAM)
    one.setsockopt(socket.IPPROTO_UDP, UDP_GRO, 1)
    return one
def send(one, count, data, segment, *to):
    control = [(socket.IPPROTO_UDP, UDP_SEGMENT, struct.pack("H", segment))]
    sent = one.sendmsg([data], control, 0, *to)
    assert sent == len(data)
    count[0] += 1
    count[1] += sent
def receive(one, count):
    data, control, flags, sender = one.recvmsg(65536, 1024)
    count[2] += 1
    count[3] += len(data)
    return data, sender
"#;

/// It answers each packet that asks (the others begin with a blank) with 40 packets in one call.
const QUIC_SERVER: &str = r#"
counts, sockets = {}, []
def answer(one):
    count = [0, 0, 0, 0]
    data, sender = receive(one, count)
    if data[:1] == b"?": send(one, count, b"a" * 48000, 1200, sender)
    sums = counts.setdefault(sender[0], [0, 0, 0, 0])
    for at in range(4): sums[at] += count[at]
for family, address in (2, "127.0.0.1"), (10, "::1"):
    one = open_socket(family)
    one.bind((address, 443))
    sockets.append(one)
print("ready", flush=True)
while True:
    ready = select.select(sockets + [sys.stdin], [], [])[0]
    if sys.stdin in ready: break
    for one in ready: answer(one)
for one in sockets:
    one.setblocking(False)
    try:
        while True: answer(one)
    except BlockingIOError: pass
print(json.dumps(counts))
"#;

/// It connects its socket or not, asks, receives the whole answer, and uploads 20 packets in one call.
const QUIC_CLIENT: &str = r#"
print("ready", flush=True)
sys.stdin.read()
counts = {}
for family, address in (2, "127.0.0.1"), (10, "::1"):
    count = counts.setdefault(address, [0, 0, 0, 0])
    for connected in True, False:
        one = open_socket(family)
        to = [(address, 443)]
        if connected:
            one.connect(*to)
            to = []
        for round in range(5):
            send(one, count, b"?" * 1200, 1200, *to)
            received = 0
            while received < 48000: received += len(receive(one, count)[0])
            assert received == 48000
            send(one, count, b" " * 23000, 1150, *to)
print(json.dumps(counts))
"#;

#[test]
fn a_quic_like_exchange_sends_and_receives_many_segments_in_a_call() {
    check(|truth| {
        let servers = Program::python(&format!("{QUIC}{QUIC_SERVER}"));
        let (mut up, mut down) = (0, 0);
        for _ in 0..2 {
            let one = Program::python(&format!("{QUIC}{QUIC_CLIENT}"));
            let pid = one.pid();
            let done = one.finish();
            for address in ADDRESSES {
                let counts = counts(&done[address]);
                // Segments share calls: otherwise there would be 21 and 40 for each round.
                assert_eq!(counts[0], Some(20));
                assert!(counts[2] < Some(400), "{done}");
                up += counts[1].expect("known");
                down += counts[3].expect("known");
                add(truth, client(pid, "udp", address, 443), counts);
            }
        }
        let pid = servers.pid();
        let done = servers.finish();
        let mut both = [0, 0];
        for address in ADDRESSES {
            let counts = counts(&done[address]);
            both[0] += counts[3].expect("known");
            both[1] += counts[1].expect("known");
            add(truth, server(pid, "udp", address, 443), counts);
        }
        // Nothing was lost between the ends.
        assert_eq!(both, [up, down]);
    });
}
