//! Filters by network, and what stays on the host.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use netatop::kernel::EndFilter;

use super::ends::{networks, no_loopback, sift_own};
use super::remote::Truth;
use super::remote_netns::in_new_netns;
use super::remote_socket::{MAPPED, Socket, V4, V6, talk};
use super::remote_stream::{accept, bind, client, connect, listen, name, server, socket_of};

/// 127.0.0.1 sends to 127.0.0.2. Only one end of each conversation is in a network.
#[test]
fn networks_contain_the_remote_end() {
    let second = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
    let traffic = |(), truth: &Truth| {
        for (address, to) in [(V4, second), (MAPPED, MAPPED), (V6, V6)] {
            let listener = socket_of(to, 0);
            bind(&listener, SocketAddr::new(to, 0));
            listen(&listener);
            let stream = socket_of(address, 0);
            bind(&stream, SocketAddr::new(address, 0));
            connect(&stream, name(&listener));
            talk(truth, &client(stream), &server(accept(&listener)));
            let (client, server) = (Socket::udp_client(address), Socket::udp_server(to));
            client.send_to(truth, 10, server.local());
            let from = server.recv_from(truth);
            server.send_to(truth, 20, from);
            client.recv(truth);
            client.connect(server.local());
            client.send(truth, 30);
            server.recv(truth);
        }
    };
    for filter in [
        networks(&["127.0.0.2/32"]),
        networks(&["127.0.0.0/31"]),
        networks(&["127.0.0.0/8"]),
        networks(&["0.0.0.0/0"]),
        networks(&["::1/128"]),
        networks(&["::/0"]),
        networks(&["::/0", "127.0.0.2/32"]),
        networks(&["10.0.0.0/8", "2001:db8::/32"]),
    ] {
        sift_own(|| (), |()| filter.clone(), traffic);
    }
}

/// Two own addresses of each family, which are not loopback addresses.
const ADDRESSES: &str = "ip addr add 192.0.2.1/32 dev lo; ip addr add 192.0.2.2/32 dev lo; \
    ip addr add 2001:db8::1/128 dev lo nodad; ip addr add 2001:db8::2/128 dev lo nodad";

/// What stays on the host: loopback addresses, and an own address as the remote end. Two different
/// own addresses stand for another host.
#[test]
fn traffic_that_stays_on_the_host() {
    let v4 = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
    let v6 = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
    let mapped = |last| IpAddr::V6(Ipv4Addr::new(192, 0, 2, last).to_ipv6_mapped());
    let ends = [
        (v4(1), v4(1)),
        (v4(1), v4(2)),
        (mapped(1), mapped(1)),
        (mapped(1), mapped(2)),
        (v6(1), v6(1)),
        (v6(1), v6(2)),
        (V4, V4),
        (V4, v4(1)),
        (V6, V6),
        (MAPPED, MAPPED),
    ];
    let traffic = |(), truth: &Truth| {
        in_new_netns(ADDRESSES, || {
            for (from, to) in ends {
                let listener = socket_of(to, 0);
                bind(&listener, SocketAddr::new(to, 0));
                listen(&listener);
                let stream = socket_of(from, 0);
                bind(&stream, SocketAddr::new(from, 0));
                connect(&stream, name(&listener));
                talk(truth, &client(stream), &server(accept(&listener)));
                let (client, server) = (Socket::udp_client(from), Socket::udp_server(to));
                client.send_to(truth, 10, server.local());
                let back = server.recv_from(truth);
                server.send_to(truth, 20, back);
                // Not asked for: known only where the own end is a loopback address.
                client.recv(truth);
                client.connect(server.local());
                client.send(truth, 30);
                server.recv_from(truth);
                // The kernel chooses the own address.
                let client = Socket::udp(to);
                client.connect(server.local());
                client.send(truth, 40);
                server.recv_from(truth);
            }
        });
    };
    sift_own(|| (), |()| no_loopback(), traffic);
}

/// A socket on all addresses has no address of its own that could be that of the remote end.
#[test]
fn an_unconnected_socket_on_all_addresses_knows_only_loopback_addresses() {
    let traffic = |(), truth: &Truth| {
        in_new_netns(ADDRESSES, || {
            let [v4, v6] = [
                IpAddr::V4(Ipv4Addr::UNSPECIFIED),
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            ];
            let own = Ipv4Addr::new(192, 0, 2, 1);
            let own_v6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
            for (any, to, own) in [
                (v4, own.into(), own.into()),
                (v4, V4, own.into()),
                (v6, V6, own_v6.into()),
                (v6, MAPPED, own_v6.into()),
            ] {
                let (client, server) = (Socket::udp(any), Socket::udp_server(any));
                let to = SocketAddr::new(to, server.local().port());
                client.send_to(truth, 10, to);
                server.recv_from(truth);
                client.send_to(truth, 20, to);
                server.recv(truth);
                // To this host, whatever its address.
                client.send_to(truth, 30, server.local());
                server.recv_from(truth);
                let client = Socket::udp_client(own);
                client.send_to(truth, 40, server.local());
                server.recv_from(truth);
            }
        });
    };
    sift_own(|| (), |()| no_loopback(), traffic);
}

#[test]
fn filters_by_ends_narrow_each_other() {
    let one = |port| EndFilter {
        no_loopback: true,
        ..EndFilter {
            ports: vec![port],
            ..networks(&["192.0.2.2/32"])
        }
    };
    let made = || {
        in_new_netns(ADDRESSES, || {
            let [one, two] = [1, 2].map(|last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last)));
            let server = Socket::udp_server(two);
            (Socket::udp_client(one), Socket::udp_client(two), server)
        })
    };
    sift_own(
        made,
        |(_, _, server)| one(server.local().port()),
        |(far, near, server), truth| {
            for client in [&far, &near] {
                client.send_to(truth, 10, server.local());
                let from = server.recv_from(truth);
                server.send_to(truth, 20, from);
                client.recv_from(truth);
                client.send_to(truth, 30, server.local());
                // The port is that of the server, and its remote end is not known.
                server.recv(truth);
                server.send_to(truth, 40, from);
                client.recv(truth);
            }
        },
    );
}
