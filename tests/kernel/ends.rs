//! Filters by the ends of traffic, compared with what the sockets themselves know.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netatop::kernel::{Capacity, EndFilter, Filter, RemoteRows, Storage, UdpEnds};
use netatop::model::{Extent, RemoteMode};

use super::harness::{Counting, Workload, of_pid};
use super::remote::{Known, Split, Truth, capacity, counted, family, udp_ends};
use super::remote_datagram::{apart, connected};
use super::remote_socket::{LOOPBACKS, MORE, NO_FLAGS, Socket, V4, V6, talk};
use super::remote_stream::pair;
use super::remote_uring;

/// Whether a call matches. `None` if that depends on a remote end that the call could not know.
fn answer(filter: &EndFilter, call: &Known) -> Option<bool> {
    let address = |end: SocketAddr| end.ip().to_canonical();
    let is_loopback = |address: IpAddr| address.is_loopback() || address.is_unspecified();
    let remote = call.remote;
    let mut answers = Vec::new();
    if !filter.ports.is_empty() {
        let is_wanted = |end: SocketAddr| filter.ports.contains(&end.port());
        answers.push(if is_wanted(call.local) {
            Some(true)
        } else {
            remote.map(is_wanted)
        });
    }
    if !filter.networks.is_empty() {
        let is_wanted = |end| {
            filter
                .networks
                .iter()
                .any(|net| net.contains(&address(end)))
        };
        answers.push(remote.map(is_wanted));
    }
    if filter.no_loopback {
        let local = address(call.local);
        answers.push(if local.is_loopback() {
            Some(false)
        } else {
            remote.map(|end| !is_loopback(address(end)) && address(end) != local)
        });
    }
    if answers.contains(&Some(false)) {
        return Some(false);
    }
    answers
        .into_iter()
        .collect::<Option<Vec<_>>>()
        .map(|_| true)
}

/// How rows are split by remote end, and whether they are threads.
const SPLITS: [(Option<RemoteMode>, bool); 4] = [
    (None, false),
    (None, true),
    (Some(RemoteMode::Service), false),
    (Some(RemoteMode::Socket), true),
];

/// The sizes for a way to split rows.
fn sizes(mode: Option<RemoteMode>, threads: bool, udp_ends: UdpEnds) -> Capacity {
    let sizes = mode.map_or(Capacity::default(), |mode| capacity(mode, threads));
    Capacity {
        remote: sizes.remote.map(|remote| RemoteRows { udp_ends, ..remote }),
        ..sizes
    }
}

/// Runs traffic once for each way to split rows, and compares each row. `prepare` runs before the
/// programs are attached, and makes what `filter` is made from.
fn sift<T>(
    who: &Filter,
    prepare: impl Fn() -> T,
    filter: impl Fn(&T) -> EndFilter,
    traffic: impl Fn(T, &Truth),
) {
    for (mode, threads) in SPLITS {
        let split = Split {
            mode,
            threads,
            any_thread: who.pids.is_empty(),
        };
        let prepared = prepare();
        let ends = filter(&prepared);
        let who = Filter {
            ends: ends.clone(),
            ..who.clone()
        };
        let sizes = sizes(mode, threads, ends.udp_ends);
        let mut storage = Storage::default();
        let mut counting = Counting::with_capacity(&mut storage, sizes, &who, threads);
        let truth = Truth::with(udp_ends());
        traffic(prepared, &truth);
        let truth = if ends.udp_ends == udp_ends() {
            truth
        } else {
            truth.without_notes()
        };
        let losses = counting.sample(Extent::Changes).losses;
        let interval = counting.interval();
        let sifted = |wanted| truth.sifted(|call| answer(&ends, call) == wanted);
        let (kept, all) = (sifted(Some(true)).rows(split), truth.rows(split));
        assert!(!all.is_empty(), "no traffic");
        assert_eq!(counted(&interval, &all, split), kept, "{ends:?} {split:?}");
        assert!(interval.unattributed.is_zero(), "{ends:?} {split:?}");
        if !who.pids.is_empty() {
            let lost = (losses.unmatched_msgs, losses.unmatched_bytes);
            let unknown = sifted(None).total();
            let unknown = (unknown.msgs(), unknown.bytes());
            assert_eq!(lost, unknown, "{ends:?} {split:?}");
        }
    }
}

/// The same for traffic of this process.
pub fn sift_own<T>(
    prepare: impl Fn() -> T,
    filter: impl Fn(&T) -> EndFilter,
    traffic: impl Fn(T, &Truth),
) {
    sift(&family(), prepare, filter, traffic);
}

fn ports(ports: &[u16]) -> EndFilter {
    EndFilter {
        ports: ports.to_vec(),
        udp_ends: udp_ends(),
        ..EndFilter::default()
    }
}

pub fn networks(networks: &[&str]) -> EndFilter {
    let parsed = networks.iter().map(|net| net.parse().expect("a network"));
    EndFilter {
        networks: parsed.collect(),
        udp_ends: udp_ends(),
        ..EndFilter::default()
    }
}

pub fn no_loopback() -> EndFilter {
    EndFilter {
        no_loopback: true,
        udp_ends: udp_ends(),
        ..EndFilter::default()
    }
}

fn talk_all(pairs: &[(Socket, Socket)], truth: &Truth) {
    for (client, server) in pairs {
        talk(truth, client, server);
    }
}

/// The server's port is the remote one for the client, and the client's for the server.
#[test]
fn a_port_of_either_end_of_tcp() {
    type Pairs = Vec<(Socket, Socket)>;
    let prepare = || -> Pairs { LOOPBACKS.map(pair).into() };
    let port = |socket: &Socket| socket.local().port();
    for chosen in 0..3 {
        let traffic = |pairs: Pairs, truth: &Truth| talk_all(&pairs, truth);
        sift_own(prepare, |pairs| ports(&[port(&pairs[chosen].1)]), traffic);
        sift_own(prepare, |pairs| ports(&[port(&pairs[chosen].0)]), traffic);
    }
    let both = |pairs: &Pairs| ports(&[port(&pairs[0].0), port(&pairs[2].1)]);
    sift_own(prepare, both, |pairs, truth| talk_all(&pairs, truth));
}

/// Datagrams to two servers, with and without the addresses in the calls.
fn mixed(address: IpAddr, (client, one, other): &(Socket, Socket, Socket), truth: &Truth) {
    for (server, size) in [(one, 10), (other, 20), (one, 0)] {
        client.send_to(truth, size, server.local());
        let from = server.recv_from(truth);
        server.send_to(truth, 2 * size + 1, from);
        client.recv_from(truth);
        // The sender is not asked for.
        client.send_to(truth, size + 3, server.local());
        server.recv(truth);
        server.send_to(truth, size + 5, from);
        client.recv(truth);
    }
    let (client, server) = connected(address);
    client.send(truth, 30);
    client.send_to(truth, 40, one.local());
    client.send(truth, 50);
    client.send_to(truth, 60, server.local());
    one.recv_from(truth);
    server.recv(truth);
}

fn trio(address: IpAddr) -> (Socket, Socket, Socket) {
    let (client, one) = apart(address);
    (client, one, Socket::udp_server(address))
}

#[test]
fn a_port_of_either_end_of_udp() {
    for address in LOOPBACKS {
        let traffic = |trio: (Socket, Socket, Socket), truth: &Truth| mixed(address, &trio, truth);
        let prepare = || trio(address);
        sift_own(prepare, |trio| ports(&[trio.0.local().port()]), traffic);
        sift_own(prepare, |trio| ports(&[trio.1.local().port()]), traffic);
    }
}

/// The first one is left out, and must not be taken for the second one.
#[test]
fn a_send_elsewhere_says_nothing_about_the_next_one() {
    let prepare = || (connected(V4), Socket::udp_server(V4));
    let filter = |((_, server), _): &((Socket, Socket), Socket)| ports(&[server.local().port()]);
    sift_own(prepare, filter, |((client, server), other), truth| {
        client.send_to(truth, 10, other.local());
        client.send(truth, 20);
        client.send_to(truth, 30, server.local());
        client.fail_to(10, (Ipv4Addr::BROADCAST, 4_000).into());
        client.send(truth, 40);
        server.recv(truth);
        other.recv_from(truth);
    });
}

#[test]
fn pieces_of_a_datagram_go_where_the_first_one_goes() {
    for wanted in [true, false] {
        let filter = |(_, server): &(Socket, Socket)| {
            let port = server.local().port();
            ports(&[if wanted { port } else { port ^ 1 }])
        };
        sift_own(
            || apart(V6),
            filter,
            |(client, server), truth| {
                client.send_to_flags(truth, 10, server.local(), MORE);
                let sent = nix::sys::socket::send(client.raw(), &[5; 20], NO_FLAGS);
                client.sent(truth, Some(server.local()), sent.expect("send"));
                server.recv_from(truth);
            },
        );
    }
}

/// As without CAP_NET_ADMIN. Traffic of unconnected sockets is left out and reported, unless the own
/// end is enough.
#[test]
fn without_notes_the_rest_is_reported() {
    let traffic = |(client, server): (Socket, Socket), truth: &Truth| {
        client.send_to(truth, 10, server.local());
        let from = server.recv_from(truth);
        server.send_to(truth, 20, from);
        client.recv(truth);
        let (client, server) = pair(V4);
        talk(truth, &client, &server);
    };
    let without = |filter: EndFilter| EndFilter {
        udp_ends: UdpEnds::NoNetAdmin,
        ..filter
    };
    let prepare = || apart(V4);
    sift_own(prepare, |_| without(networks(&["127.0.0.0/8"])), traffic);
    sift_own(prepare, |_| without(no_loopback()), traffic);
    let port = |(_, server): &(Socket, Socket)| without(ports(&[server.local().port()]));
    sift_own(prepare, port, traffic);
}

/// Traffic of this process, while only another one is measured.
#[test]
fn what_would_not_count_anyway_is_not_reported() {
    let other = Workload::start(&["udp", "delay-go=1"]);
    for (pids, wanted) in [(vec![other.pid()], 0), (vec![std::process::id()], 1)] {
        let who = Filter {
            pids,
            ends: networks(&["127.0.0.0/8"]),
            ..Filter::default()
        };
        let mut storage = Storage::default();
        let mut counting = Counting::new(&mut storage, &who, false);
        let truth = Truth::with(udp_ends());
        let (client, server) = apart(V4);
        client.send_to(&truth, 10, server.local());
        server.recv(&truth);
        let losses = counting.sample(Extent::Changes).losses;
        assert_eq!(losses.unmatched_msgs, wanted);
        assert_eq!(losses.unmatched_bytes, 10 * wanted);
    }
    other.finish();
}

#[test]
fn io_uring_in_the_caller_and_in_workers() {
    let networks = [networks(&["127.0.0.1/32"]), networks(&["::/0"])];
    for worker in [false, true] {
        for filter in &networks {
            let traffic = |(), truth: &Truth| remote_uring::all(truth, false, worker);
            sift(&Filter::default(), || (), |()| filter.clone(), traffic);
        }
    }
}

/// A process without matching traffic has neither rows nor a block.
#[test]
fn without_matching_traffic_there_is_no_block() {
    let nothing: [EndFilter; 3] = [ports(&[1]), networks(&["192.0.2.0/24"]), no_loopback()];
    for (filter, (mode, threads)) in nothing.iter().flat_map(|f| SPLITS.map(|split| (f, split))) {
        let who = Filter {
            ends: filter.clone(),
            ..Filter::default()
        };
        let mut storage = Storage::default();
        let sizes = sizes(mode, threads, udp_ends());
        let mut counting = Counting::with_capacity(&mut storage, sizes, &who, threads);
        let truth = Truth::with(udp_ends());
        for address in LOOPBACKS {
            let (client, server) = pair(address);
            talk(&truth, &client, &server);
            let (client, server) = apart(address);
            client.send_to(&truth, 10, server.local());
            server.recv_from(&truth);
        }
        assert!(
            truth
                .sifted(|call| answer(filter, call) != Some(false))
                .total()
                .is_zero()
        );
        let sample = counting.sample(Extent::All);
        let own = std::process::id();
        let seen = sample.living.iter().chain(&sample.exits);
        let seen: Vec<_> = seen
            .filter(|record| record.identity.process.pid == own)
            .collect();
        assert!(seen.is_empty(), "{filter:?} {mode:?}: {seen:?}");
        let interval = counting.interval();
        assert!(of_pid(&interval, own).is_empty(), "{filter:?} {mode:?}");
    }
}
