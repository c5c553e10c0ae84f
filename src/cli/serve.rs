//! The options of `netatop serve`.

use std::path::PathBuf;

use clap::Args;

use super::values::{clients, mode};
use crate::serve;

/// Provides network counters to atop (2.10 or later, started with -K). It replaces netatop-bpf and
/// listens on the same socket. It counts while clients are connected.
///
/// Root and the user of the server see all processes. Other users see their own.
#[derive(Debug, Args)]
pub struct Serve {
    /// Listen on PATH instead of /run/netatop-bpf-socket
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// File mode of the socket, which decides who may connect [default: 666]
    #[arg(short, long, value_name = "OCTAL", value_parser = mode)]
    pub mode: Option<u32>,

    /// Serve at most N clients at a time
    #[arg(long, value_name = "N", value_parser = clients, default_value_t = serve::CLIENTS,
          allow_negative_numbers = true)]
    pub max_clients: usize,

    /// Show the messages of libbpf
    #[arg(short, long)]
    pub verbose: bool,
}

impl Serve {
    /// The server that these options ask for.
    #[must_use]
    pub fn options(&self) -> serve::Options {
        serve::Options {
            socket: self.socket.clone(),
            mode: self.mode,
            max_clients: self.max_clients,
            verbose: self.verbose,
        }
    }
}
