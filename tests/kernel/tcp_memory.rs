//! No memory for the accounts of sockets: nothing is charged to the wrong one, and it is reported.
//!
//! A memory cgroup does not limit these accounts: the kernel allocates them where it must not wait,
//! and there it goes beyond the limit. But a socket has a limit of its own for what is attached to
//! it, which a network namespace can set (`net.core.optmem_max`).

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use netatop::kernel::Filter;
use netatop::model::{Extent, Tcp};
use netatop::source::Sample;

use super::harness::wait_for;
use super::remote_netns::in_new_netns;
use super::remote_socket::V4;
use super::tcp::{statistics, with_tcp};

const CONNECTIONS: u64 = 20;

/// A value with which there is room for no account.
const NO_ROOM: &str = "100";

fn set_room(bytes: &str) -> String {
    let file = "/proc/sys/net/core/optmem_max";
    let before = fs::read_to_string(file).expect("Linux 6.8 or later");
    fs::write(file, bytes).expect("the limit");
    before
}

/// The sum of all rows of this process.
fn rows(sample: &Sample) -> Tcp {
    let mut sum = Tcp::default();
    for record in &sample.tcp {
        if record.owner.process.pid == std::process::id() {
            sum += record.tcp;
        }
    }
    sum
}

#[test]
fn sockets_without_memory_for_an_account_are_reported() {
    in_new_netns("true", || {
        with_tcp(&Filter::default(), |counting| {
            let usual = set_room(NO_ROOM);
            let before = statistics();
            let listener = TcpListener::bind((V4, 0)).expect("listen");
            let name = listener.local_addr().expect("its name");
            let mut pairs: Vec<(TcpStream, TcpStream)> = (0..CONNECTIONS)
                .map(|_| {
                    let client = TcpStream::connect(name).expect("connect");
                    let (server, _) = listener.accept().expect("accept");
                    (client, server)
                })
                .collect();
            let after = statistics();
            let sample = counting.sample(Extent::Changes);
            // Both ends of each connection, and the listener.
            assert_eq!(sample.losses.tcp_no_account, 2 * CONNECTIONS + 1);
            assert_eq!(rows(&sample), Tcp::default());
            let unattributed = sample.losses.tcp_unattributed;
            let grown = |name: &str| after[name] - before[name];
            assert_eq!(unattributed.active_opens, grown("ActiveOpens"));
            assert_eq!(unattributed.passive_opens, grown("PassiveOpens"));
            assert_eq!(unattributed.passive_opens, CONNECTIONS);

            // A call tries again. It is counted again, since there is no place to note that.
            for (client, _) in &mut pairs {
                client.write_all(&[b'n'; 1_000]).expect("write");
            }
            let sample = counting.sample(Extent::Changes);
            assert_eq!(sample.losses.tcp_no_account, 3 * CONNECTIONS + 1);
            assert_eq!(rows(&sample), Tcp::default());

            // With memory, the account begins with the end of the next call.
            set_room(&usual);
            let mut charged = Tcp::default();
            for (client, server) in &mut pairs {
                server.read_exact(&mut [0; 1_000]).expect("read");
                client.write_all(&[b'n'; 10]).expect("write");
                server.read_exact(&mut [0; 10]).expect("read");
                server.write_all(&[b'n'; 70]).expect("write");
                client.read_exact(&mut [0; 70]).expect("read");
            }
            wait_for("the last segments", || {
                charged += rows(&counting.sample(Extent::Changes));
                (charged.in_bytes >= CONNECTIONS * (10 + 70)).then_some(())
            });
            assert_eq!(charged.in_bytes, CONNECTIONS * (10 + 70));
            assert_eq!((charged.active_opens, charged.passive_opens), (0, 0));
            let sample = counting.sample(Extent::Changes);
            assert_eq!(sample.losses.tcp_no_account, 3 * CONNECTIONS + 1);
        });
    });
}
