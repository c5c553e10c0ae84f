//! TCP's own account where living sockets are found among open files.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;

use netatop::kernel::{Filter, HostFacts, SocketWalk, TcpRows, try_tcp};
use netatop::model::{Extent, Tcp};

use super::harness::{Counting, WALK, passes, wait_for};
use super::remote_netns::in_new_netns;
use super::remote_socket::V4;
use super::tcp::{has_nft, own, with_rows};

/// The tests of accounts pass in this way, too. On a kernel that allows only this way, they use it anyhow.
#[test]
fn all_is_charged_alike() {
    if try_tcp(&HostFacts::gather()).expect("programs") == SocketWalk::OpenFiles {
        return;
    }
    passes(
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--test-threads=1", "tcp::", "tcp_owner::", "tcp_reuse::"])
            .args(["tcp_rows::", "tcp_memory::"])
            .env(WALK, "files"),
    );
}

fn with_files<T>(run: impl FnOnce(&mut Counting<'_>) -> T) -> T {
    let rows = TcpRows {
        walk: SocketWalk::OpenFiles,
        ..TcpRows::new(false)
    };
    with_rows(rows, &Filter::default(), run)
}

/// What arrives is dropped, so a closed connection waits until its data are acknowledged.
const DEAF: &str = "nft -f - <<'END'
table inet t {
  chain in { type filter hook input priority 0; tcp flags & syn == 0 drop; }
}
END";

/// A socket that no process has open is not found in another network namespace. It is reported, and
/// charged at its end.
#[test]
fn sockets_that_are_not_found_are_reported() {
    if !has_nft() {
        return;
    }
    with_files(|counting| {
        let before = counting.sample(Extent::Changes).losses.tcp_unseen;
        let (go, gone) = std::sync::mpsc::channel::<()>();
        let (closed, is_closed) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                in_new_netns("true", move || {
                    let listener = TcpListener::bind((V4, 0)).expect("listen");
                    let name = listener.local_addr().expect("its name");
                    let mut client = TcpStream::connect(name).expect("connect");
                    let mut server = listener.accept().expect("accept").0;
                    let sh = Command::new("sh").args(["-c", DEAF]).status();
                    assert!(sh.expect("sh").success());
                    client.write_all(&[b'n'; 321]).expect("write");
                    drop(client);
                    closed.send(()).expect("the test waits");
                    gone.recv().expect("the test says when");
                    let flushed = Command::new("nft").args(["flush", "ruleset"]).status();
                    assert!(flushed.expect("nft").success());
                    let read = server.read_to_end(&mut Vec::new()).expect("read");
                    assert_eq!(read, 321);
                });
            });
            is_closed.recv().expect("closed");
            assert_eq!(
                counting.sample(Extent::Changes).losses.tcp_unseen,
                before + 1
            );
            // It stays one, however often the others are seen.
            assert_eq!(
                counting.sample(Extent::Changes).losses.tcp_unseen,
                before + 1
            );
            go.send(()).expect("the other thread waits");
        });
        let mut all = Tcp::default();
        wait_for("the end of the connection", || {
            all += own(counting).1;
            (all.out_bytes == 321 && all.in_bytes == 321).then_some(())
        });
        assert_eq!(counting.sample(Extent::Changes).losses.tcp_unseen, before);
    });
}

/// All sockets of the own network namespace are found, also those that wait for accept(2).
#[test]
fn sockets_of_the_own_network_namespace_are_found() {
    in_new_netns("true", || {
        with_files(|counting| {
            let before = counting.sample(Extent::Changes).losses.tcp_unseen;
            let listener = TcpListener::bind((V4, 0)).expect("listen");
            let name = listener.local_addr().expect("its name");
            let mut client = TcpStream::connect(name).expect("connect");
            client.write_all(&[b'n'; 123]).expect("write");
            let mut all = Tcp::default();
            wait_for("what has arrived", || {
                all += own(counting).1;
                ((all.out_bytes, all.in_bytes) == (123, 123)).then_some(())
            });
            assert_eq!((all.active_opens, all.passive_opens), (1, 1));
            assert_eq!(counting.sample(Extent::Changes).losses.tcp_unseen, before);
        });
    });
}
