//! The options of `netatop serve`.

use std::path::PathBuf;

use clap::Args;

use super::values::{clients, mode};
use crate::serve;

/// The options of `netatop serve`.
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
