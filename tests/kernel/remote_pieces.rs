//! Remote ends of datagrams that are sent in pieces.

use std::net::SocketAddr;

use super::remote::{Truth, split};
use super::remote_datagram::{apart, connected};
use super::remote_socket::{LOOPBACKS, MORE, NO_FLAGS, Socket, V4, V6};
use nix::sys::socket::{self, MsgFlags};

#[test]
fn pieces_of_a_datagram() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = apart(address);
                let other = Socket::udp_server(address);
                let to = server.local();
                client.send_to_flags(truth, 10, to, MORE);
                piece(&client, truth, 20, to, MORE);
                piece(&client, truth, 30, to, NO_FLAGS);
                assert_eq!(server.recv_from(truth).port(), client.local().port());
                client.send_to(truth, 40, other.local());
                client.send_to_flags(truth, 50, to, MORE);
                // The datagram has its destination already.
                piece(&client, truth, 60, to, NO_FLAGS);
            }
        },
    );
}

/// A further piece of a datagram to `to`.
pub fn piece(from: &Socket, truth: &Truth, size: usize, to: SocketAddr, more: MsgFlags) {
    let sent = socket::send(from.raw(), &vec![5; size], more).expect("send");
    from.sent(truth, Some(to), sent);
}

/// A further piece of a datagram that another thread began, or after another call with an address:
/// its remote end is not known, and that is reported.
fn stray_piece(from: &Socket, truth: &Truth, size: usize) {
    let sent = socket::send(from.raw(), &vec![5; size], NO_FLAGS).expect("send");
    from.sent(truth, None, sent);
}

#[test]
fn pieces_with_other_calls_between_them() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            let (far, other) = apart(V4);
            client.send_to_flags(truth, 10, server.local(), MORE);
            far.send_to(truth, 15, other.local());
            other.recv_from(truth);
            stray_piece(&client, truth, 20);
            server.recv_from(truth);
        },
    );
}

#[test]
fn pieces_of_several_threads() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            client.send_to_flags(truth, 10, server.local(), MORE);
            std::thread::scope(|scope| {
                scope.spawn(|| stray_piece(&client, truth, 20));
            });
            server.recv_from(truth);
        },
    );
}

#[test]
fn pieces_of_a_connected_socket() {
    split(
        || (),
        |(), truth| {
            for address in LOOPBACKS {
                let (client, server) = connected(address);
                client.send_flags(truth, 10, MORE);
                client.send(truth, 20);
                assert_eq!(server.recv(truth), 30);
            }
        },
    );
}

/// All pieces go where the first one went.
#[test]
fn pieces_to_elsewhere_on_a_connected_socket() {
    split(
        || (),
        |(), truth| {
            for address in [V4, V6] {
                let (client, _server) = connected(address);
                let other = Socket::udp_server(address);
                client.send_to_flags(truth, 10, other.local(), MORE);
                piece(&client, truth, 20, other.local(), NO_FLAGS);
                assert_eq!(other.recv_up_to(truth, 100), 30);
                client.send(truth, 40);
            }
        },
    );
}

#[test]
fn a_receive_without_data_between_pieces() {
    split(
        || (),
        |(), truth| {
            let (client, server) = apart(V4);
            client.send_to_flags(truth, 10, server.local(), MORE);
            let nothing = socket::recv(client.raw(), &mut [0; 10], MsgFlags::MSG_DONTWAIT);
            assert!(nothing.is_err());
            piece(&client, truth, 20, server.local(), NO_FLAGS);
            server.recv_from(truth);
        },
    );
}
