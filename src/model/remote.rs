//! The remote end of traffic, and how rows are split by it.

use std::net::IpAddr;

use clap::ValueEnum;

use super::{Counters, ProcessId};

/// How rows are split by remote end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum RemoteMode {
    /// Protocol, role, remote address and service port
    #[default]
    Service,
    /// Protocol and remote address
    Address,
    /// Protocol, role, and both addresses and ports
    Socket,
}

/// The transport protocol of traffic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Protocol {
    /// TCP, and MPTCP by its first connection.
    Tcp,
    /// UDP.
    Udp,
}

/// Which end of a conversation a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// The end that connected, or a UDP socket whose port the kernel chose.
    Client,
    /// The end that accepted the connection, or a UDP socket bound to a port.
    Server,
}

/// One end of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct End {
    /// The address. IPv4-mapped IPv6 addresses are IPv4 addresses here.
    pub address: IpAddr,
    /// The index of the network interface, for addresses that are only valid there (`fe80::/10`).
    /// Otherwise 0.
    pub scope: u32,
    /// The port. `None` if rows are not split by it.
    pub port: Option<u16>,
}

/// The remote end of traffic, as far as rows are split by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Remote {
    /// The protocol.
    pub protocol: Protocol,
    /// The role of the process. `None` if rows are not split by it.
    pub role: Option<Role>,
    /// The local address, only with [`RemoteMode::Socket`].
    pub local_address: Option<IpAddr>,
    /// The local port: of servers with [`RemoteMode::Service`], and with [`RemoteMode::Socket`].
    pub local_port: Option<u16>,
    /// The remote end. Its port is that of the service for clients with [`RemoteMode::Service`].
    pub remote: End,
    /// The inode number of the network namespace of the socket. `None` if it is that of the host.
    pub netns: Option<u32>,
}

/// The traffic of a process (or thread) with one remote end, since the last record of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RemoteRecord {
    /// The process.
    pub process: ProcessId,
    /// The thread id, if rows are threads.
    pub tid: Option<u32>,
    /// The remote end.
    pub remote: Remote,
    /// What was sent and received. It is not in the counters of any thread.
    pub counters: Counters,
}
