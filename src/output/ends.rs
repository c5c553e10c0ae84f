//! Remote ends as text.

use std::net::IpAddr;

use crate::model::{Protocol, Remote, Role};

/// The name of a protocol.
pub(super) fn protocol(remote: &Remote) -> &'static str {
    match remote.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// The name of the role of the process, if rows are split by it.
pub(super) fn role(remote: &Remote) -> Option<&'static str> {
    remote.role.map(|role| match role {
        Role::Client => "client",
        Role::Server => "server",
    })
}

/// The address of the remote end. An address that is valid on one interface only is followed by the
/// index of the interface: `fe80::1%3`.
pub(super) fn remote_address(remote: &Remote) -> String {
    let end = &remote.remote;
    match end.scope {
        0 => end.address.to_string(),
        scope => format!("{}%{scope}", end.address),
    }
}

/// The remote end for people: the address, or its name if it is known, and the port after a colon.
pub(super) fn remote_end(remote: &Remote, name: Option<&str>) -> String {
    match (name, remote.remote.port) {
        (Some(name), Some(port)) => format!("{name}:{port}"),
        (Some(name), None) => name.to_owned(),
        (None, port) => with_port(remote.remote.address, remote_address(remote), port),
    }
}

/// The local end for people: the address, if rows are split by it, and the port after a colon.
pub(super) fn local_end(remote: &Remote) -> Option<String> {
    match (remote.local_address, remote.local_port) {
        (Some(address), port) => Some(with_port(address, address.to_string(), port)),
        (None, Some(port)) => Some(format!(":{port}")),
        (None, None) => None,
    }
}

/// Brackets tell the colons of an IPv6 address from the one before the port.
fn with_port(address: IpAddr, text: String, port: Option<u16>) -> String {
    match (address, port) {
        (_, None) => text,
        (IpAddr::V4(_), Some(port)) => format!("{text}:{port}"),
        (IpAddr::V6(_), Some(port)) => format!("[{text}]:{port}"),
    }
}
