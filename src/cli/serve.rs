//! The options of `netatop serve`.

use std::path::PathBuf;

use clap::Args;

use super::values::{clients, mode};
use crate::serve;

/// Fills the network columns of atop (2.10 or later, started with -K), in place of netatop-bpf:
/// answers on its socket, and counts while somebody is connected.
///
/// Root sees every process; everybody else sees their own.
#[derive(Debug, Args)]
pub struct Serve {
    /// Listen on PATH instead of /run/netatop-bpf-socket
    #[arg(short, long, value_name = "PATH")]
    pub socket: Option<PathBuf>,

    /// Who may connect, as the file mode of the socket [default: 666]
    #[arg(short, long, value_name = "OCTAL", value_parser = mode)]
    pub mode: Option<u32>,

    /// Serve at most N clients at a time
    #[arg(long, value_name = "N", value_parser = clients, default_value_t = serve::CLIENTS,
          allow_negative_numbers = true)]
    pub max_clients: usize,

    /// Show libbpf's own messages
    #[arg(short, long)]
    pub verbose: bool,
}

impl Serve {
    /// What it comes to.
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
