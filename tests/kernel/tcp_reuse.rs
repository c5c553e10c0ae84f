//! A socket that is used for one connection after the other, and one that goes on with another's.

use std::io::{Read, Write};
use std::mem::size_of;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use netatop::kernel::Filter;
use netatop::model::Extent;
use nix::libc;
use nix::sys::socket::{SockaddrStorage, connect};

use super::remote_netns::in_new_netns;
use super::remote_socket::{V4, disconnect};
use super::remote_stream::socket_of;
use super::tcp::{has_nft, own, packets, rules, statistics, with_tcp};

const CONNECTIONS: u64 = 300;
const SIZE: usize = 3_000;

fn new_socket() -> TcpStream {
    socket_of(V4, 0).into()
}

fn connect_to(socket: &TcpStream, to: SocketAddr) {
    connect(socket.as_raw_fd(), &SockaddrStorage::from(to)).expect("connect");
}

/// Samples are taken while the counters grow, are cleared, and begin anew.
#[test]
fn one_socket_has_many_connections() {
    if !has_nft() {
        return;
    }
    in_new_netns(&rules(10), || {
        with_tcp(&Filter::default(), |counting| {
            let before = statistics();
            let listener = TcpListener::bind((V4, 0)).expect("listen");
            let name = listener.local_addr().expect("its name");
            std::thread::scope(|scope| {
                let all = scope.spawn(|| {
                    let mut client = new_socket();
                    for _ in 0..CONNECTIONS {
                        connect_to(&client, name);
                        let (mut server, _) = listener.accept().expect("accept");
                        client.write_all(&[b'n'; SIZE]).expect("write");
                        server.read_exact(&mut [0; SIZE]).expect("read");
                        server.write_all(b"n").expect("write");
                        client.read_exact(&mut [0]).expect("read");
                        disconnect(&client);
                        server.read(&mut [0]).expect_err("reset");
                    }
                });
                while !all.is_finished() {
                    counting.sample(Extent::Changes);
                }
            });
            let end = statistics();
            let grown = |name: &str| end[name] - before[name];
            let (_, tcp) = own(counting);
            assert_eq!(tcp.active_opens, grown("ActiveOpens"));
            assert_eq!(tcp.passive_opens, grown("PassiveOpens"));
            assert_eq!(tcp.active_opens, CONNECTIONS);
            assert_eq!(tcp.connects, CONNECTIONS);
            assert_eq!(tcp.estab_resets, grown("EstabResets"));
            assert_eq!(tcp.estab_resets, 2 * CONNECTIONS);
            assert_eq!(tcp.retrans_segs, grown("RetransSegs"));
            assert!(tcp.retrans_segs > 0);
            assert_eq!(tcp.out_segs, grown("OutSegs") - packets("synacks"));
            assert_eq!(tcp.in_segs, grown("InSegs"));
            let payload = CONNECTIONS * (SIZE as u64 + 1);
            assert_eq!((tcp.in_bytes, tcp.out_bytes), (payload, payload));
        });
    });
}

/// TCP_REPAIR of include/uapi/linux/tcp.h: connect(2) sends nothing then.
fn set_repair(socket: &TcpStream, on: bool) {
    let on = libc::c_int::from(on);
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the value is valid for reading, and has this length.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_REPAIR,
            (&raw const on).cast(),
            length,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// A connection that another host has opened goes on here: it is not opened once more.
#[test]
fn a_connection_that_is_restored_is_not_opened() {
    in_new_netns("true", || {
        with_tcp(&Filter::default(), |counting| {
            let before = statistics();
            // Nobody listens, so what is sent is answered by a reset.
            let mut client = new_socket();
            set_repair(&client, true);
            connect_to(&client, (V4, 1).into());
            set_repair(&client, false);
            // The kernel has sent a segment to find out the window.
            let _ = client.write(b"n");
            drop(client);
            let after = statistics();
            let grown = |name: &str| after[name] - before[name];
            let (_, tcp) = own(counting);
            assert!(tcp.out_segs > 0);
            assert_eq!(grown("ActiveOpens"), 0);
            assert_eq!((tcp.active_opens, tcp.connects), (0, 0));
            assert_eq!(tcp.out_bytes, 0);
            assert_eq!(tcp.estab_resets, grown("EstabResets"));
        });
    });
}
