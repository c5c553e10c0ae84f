//! Names of remote ends, by the real resolver, with files and servers that each test has for itself.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{send_signal, wait_until_attached};
use super::harness::{NETATOP, wait_for};
use super::remote_netns::in_new_netns;

/// A recording whose /etc has only what the test put there.
struct Recording {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: JoinHandle<()>,
    messages: JoinHandle<String>,
    _etc: tempfile::TempDir,
}

impl Recording {
    /// It counts when this returns. `files` are the names and contents of files in /etc.
    fn start(files: &[(&str, &str)], format: &str) -> Self {
        let etc = tempfile::tempdir().expect("tempdir");
        for (name, text) in files {
            fs::write(etc.path().join(name), text).expect("write");
        }
        let script = format!("mount --bind {} /etc && exec \"$@\"", etc.path().display());
        let mut child = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", &script])
            .args(["sh", NETATOP, "record", "-v", "-r", "--resolve"])
            .args(["-i", "50ms", "-f", format])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("unshare");
        let mut messages = BufReader::new(child.stderr.take().expect("piped"));
        wait_until_attached(&mut messages);
        let messages = std::thread::spawn(|| std::io::read_to_string(messages).expect("read"));
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let (output, written) = (child.stdout.take().expect("piped"), lines.clone());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                written.lock().expect("no panic").push(line.expect("UTF-8"));
            }
        });
        Self {
            child,
            lines,
            reader,
            messages,
            _etc: etc,
        }
    }

    fn text(&self) -> Vec<String> {
        self.lines.lock().expect("no panic").clone()
    }

    /// The rows of a process with a remote end, so far.
    fn rows(&self, pid: u32, remote: SocketAddr) -> Vec<Value> {
        let rows = self.text();
        let rows = rows
            .iter()
            .map(|line| serde_json::from_str(line).expect("a row"));
        rows.filter(|row: &Value| {
            row["pid"] == pid
                && row["remote_addr"] == remote.ip().to_string()
                && row["remote_port"] == remote.port()
        })
        .collect()
    }

    /// Ends it, and waits until it has ended. Returns its lines.
    fn end(mut self) -> Vec<String> {
        send_signal(&self.child, Signal::SIGTERM);
        let status = wait_for("the end of the recording", || {
            self.child.try_wait().expect("wait")
        });
        let told = self.messages.join().expect("no panic");
        assert!(status.success(), "{told}");
        assert!(told.contains(", 0 unattributed"), "{told}");
        self.reader.join().expect("no panic");
        self.lines.lock().expect("no panic").clone()
    }
}

/// The name in a question (RFC 1035, section 4).
fn ptr_question(packet: &[u8]) -> String {
    let mut labels = Vec::new();
    let mut rest = &packet[12..];
    while let [length, following @ ..] = rest
        && *length > 0
    {
        let (label, next) = following.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = next;
    }
    labels.join(".")
}

/// The answer to a question for the name of an address.
fn ptr_answer(question: &[u8], name: &str) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x80]);
    answer[6..12].copy_from_slice(&[0, 1, 0, 0, 0, 0]);
    let labels = name.split('.').flat_map(|label| {
        let length = u8::try_from(label.len()).expect("short");
        std::iter::once(length).chain(label.bytes())
    });
    let labels: Vec<u8> = labels.chain([0]).collect();
    // The name of the question, type PTR, class IN, 60 seconds.
    answer.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60, 0]);
    answer.push(u8::try_from(labels.len()).expect("short"));
    answer.extend(labels);
    answer
}

const DNS: [(&str, &str); 2] = [
    ("nsswitch.conf", "hosts: dns\n"),
    // It asks for minutes until it gives up.
    (
        "resolv.conf",
        "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n",
    ),
];

fn files(hosts: &str) -> [(&str, &str); 2] {
    [("nsswitch.conf", "hosts: files\n"), ("hosts", hosts)]
}

/// A UDP socket that nobody reads, and one that sends to it.
fn datagrams(address: &str) -> (UdpSocket, UdpSocket) {
    let server = UdpSocket::bind((address, 0)).expect("bind");
    let client = UdpSocket::bind((address, 0)).expect("bind");
    client
        .connect(server.local_addr().expect("bound"))
        .expect("connect");
    (client, server)
}

/// What was sent is in the rows, whether they have the name or not.
fn assert_sent(recording: &Recording, to: SocketAddr, bytes: u64) {
    let sum = |rows: &[Value]| -> u64 {
        let sent = rows.iter().map(|row| row["udp_send_bytes"].as_u64());
        sent.map(|sent| sent.expect("a number")).sum()
    };
    wait_for("all rows", || {
        (sum(&recording.rows(std::process::id(), to)) >= bytes).then_some(())
    });
    assert_eq!(sum(&recording.rows(std::process::id(), to)), bytes);
}

#[test]
fn names_of_the_hosts_file_are_in_the_rows() {
    let named = [("127.77.0.1", "one.test"), ("::1", "six.test")];
    let hosts: String = named
        .iter()
        .map(|(address, name)| format!("{address} {name} alias.test\n"))
        .collect();
    let recording = Recording::start(&files(&hosts), "json");
    let pid = std::process::id();
    for (address, name) in named {
        let (client, server) = datagrams(address);
        let to = server.local_addr().expect("bound");
        let mut sent = 0;
        let row = wait_for("a name", || {
            sent += client.send(b"123").expect("send") as u64;
            let rows = recording.rows(pid, to);
            rows.into_iter().find(|row| !row["remote_name"].is_null())
        });
        assert_eq!(row["remote_name"], name, "{row}");
        assert_sent(&recording, to, sent);
    }
    // It has no name, and the row says that.
    let (client, server) = datagrams("127.77.0.2");
    let to = server.local_addr().expect("bound");
    for sent in 1..10 {
        client.send(b"1").expect("send");
        assert_sent(&recording, to, sent);
    }
    let rows = recording.rows(pid, to);
    assert!(rows.iter().all(|row| row["remote_name"].is_null()));
    recording.end();
}

#[test]
fn names_are_in_the_table_of_each_interval_and_of_all() {
    let recording = Recording::start(&files("127.77.0.1 server.test\n"), "table");
    let listener = TcpListener::bind(("127.77.0.1", 0)).expect("bind");
    let to = listener.local_addr().expect("bound");
    let mut client = TcpStream::connect(to).expect("connect");
    let (mut server, _) = listener.accept().expect("accept");
    let shown = format!(" server.test:{} ", to.port());
    wait_for("a name", || {
        client.write_all(b"123").expect("write");
        server.read_exact(&mut [0; 3]).expect("read");
        let lines = recording.text();
        let is_shown = lines.iter().any(|line| line.contains(&shown));
        is_shown.then_some(())
    });
    let lines = recording.end();
    let whole = lines.iter().position(|line| line.starts_with("all "));
    let whole = &lines[whole.expect("a table of all intervals")..];
    let rows = whole.iter().filter(|line| line.contains(&shown));
    assert_eq!(rows.count(), 1, "{whole:?}");
}

/// The resolver that netatop calls hangs for minutes. Rows do not wait for it, and neither does the
/// end.
#[test]
fn a_resolver_that_hangs_delays_neither_rows_nor_the_end() {
    in_new_netns("true", || {
        let silent = UdpSocket::bind("127.0.0.1:53").expect("bind");
        let recording = Recording::start(&DNS, "json");
        let (client, server) = datagrams("127.77.0.1");
        let to = server.local_addr().expect("bound");
        assert_eq!(client.send(b"123").expect("send"), 3);
        let mut question = [0; 512];
        let length = silent.recv(&mut question).expect("receive");
        let name = ptr_question(&question[..length]);
        assert_eq!(name, "1.0.77.127.in-addr.arpa");
        for number in 1..20 {
            assert_sent(&recording, to, 3 * number);
            client.send(b"123").expect("send");
        }
        let rows = recording.rows(std::process::id(), to);
        assert!(rows.iter().all(|row| row["remote_name"].is_null()));
        recording.end();
    });
}

/// A name server that answers late, and one answer that is no name. What netatop asks is traffic of
/// netatop.
#[test]
fn a_late_answer_is_in_the_rows_that_follow() {
    in_new_netns("true", || {
        let dns = UdpSocket::bind("127.0.0.1:53").expect("bind");
        let recording = Recording::start(&DNS, "json");
        let late = datagrams("127.77.0.1");
        let lying = datagrams("127.77.0.2");
        let six = datagrams("::1");
        let names = [
            (IpAddr::from([127, 77, 0, 1]), "late.test"),
            (IpAddr::from([127, 77, 0, 2]), "8.8.8.8"),
            (IpAddr::from(Ipv6Addr::LOCALHOST), "six.test"),
        ];
        let all = [&late, &lying, &six].map(|(client, server)| {
            client.send(b"1").expect("send");
            server.local_addr().expect("bound")
        });
        for to in all {
            assert_sent(&recording, to, 1);
            assert!(recording.rows(std::process::id(), to)[0]["remote_name"].is_null());
        }
        // It also asks for the address of the name server, which has no name.
        let (mut asked, mut answered) = (0, Vec::new());
        while answered.len() < names.len() + 1 {
            let mut question = [0; 512];
            let (length, from) = dns.recv_from(&mut question).expect("receive");
            asked += length as u64;
            let question = &question[..length];
            let name = ptr_question(question);
            let named = names.iter().find(|(address, _)| reverse(*address) == name);
            let answer = match named {
                Some((_, name)) => ptr_answer(question, name),
                None => no_such_name(question),
            };
            dns.send_to(&answer, from).expect("send");
            answered.push(name);
        }
        let mut once = answered.clone();
        once.sort();
        once.dedup();
        assert_eq!(once.len(), answered.len(), "{answered:?}");
        assert!(answered.contains(&"1.0.0.127.in-addr.arpa".to_owned()));
        for ((client, _), to, name) in [(&late, all[0], "late.test"), (&six, all[2], "six.test")] {
            let row = wait_for("a name", || {
                client.send(b"1").expect("send");
                let rows = recording.rows(std::process::id(), to);
                rows.into_iter().find(|row| !row["remote_name"].is_null())
            });
            assert_eq!(row["remote_name"], name, "{row}");
        }
        let pid = recording.child.id();
        let lines = recording.end();
        let rows = lines.iter().map(|line| serde_json::from_str(line));
        let rows: Vec<Value> = rows.map(|row| row.expect("a row")).collect();
        let lied = rows.iter().filter(|row| row["remote_addr"] == "127.77.0.2");
        assert!(lied.clone().count() > 0);
        lied.for_each(|row| assert!(row["remote_name"].is_null(), "{row}"));
        let own = rows
            .iter()
            .filter(|row| row["pid"] == pid && row["remote_port"] == 53);
        let own = own.map(|row| row["udp_send_bytes"].as_u64().expect("a number"));
        assert_eq!(own.sum::<u64>(), asked);
    });
}

/// The name under which DNS has the name of an address.
fn reverse(address: IpAddr) -> String {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa")
        }
        IpAddr::V6(v6) => {
            let digits = v6.octets().into_iter().rev();
            let digits = digits.flat_map(|byte| [byte & 15, byte >> 4]);
            digits
                .map(|digit| format!("{digit:x}."))
                .collect::<String>()
                + "ip6.arpa"
        }
    }
}

fn no_such_name(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2..4].copy_from_slice(&[0x81, 0x83]);
    answer
}

/// Loopback addresses of another network namespace are not those of this host, even if they look the
/// same.
#[test]
fn loopback_of_another_network_namespace_has_no_name() {
    let recording = Recording::start(&files("127.77.0.1 here.test\n"), "json");
    let (client, server) = datagrams("127.77.0.1");
    let to = server.local_addr().expect("bound");
    wait_for("the name here", || {
        client.send(b"1").expect("send");
        let rows = recording.rows(std::process::id(), to);
        rows.into_iter()
            .find(|row| row["remote_name"] == "here.test")
    });
    let (client, _server, to) = in_new_netns("true", || {
        let (client, server) = datagrams("127.77.0.1");
        let to = server.local_addr().expect("bound");
        (client, server, to)
    });
    for sent in 1..10 {
        client.send(b"1").expect("send");
        assert_sent(&recording, to, sent);
    }
    let rows = recording.rows(std::process::id(), to);
    for row in rows.iter().filter(|row| !row["netns"].is_null()) {
        assert!(row["remote_name"].is_null(), "{row}");
    }
    assert!(rows.iter().any(|row| !row["netns"].is_null()));
    recording.end();
}
