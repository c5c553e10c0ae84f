//! `netatop serve`: fills the network columns of atop, on the socket of netatop-bpf.
//!
//! ```text
//! source -> accounts        totals of every process, and the ended processes
//!           view            one client's view of the accounts: baseline, owner, reported exits
//!           protocol        records, as atop reads them
//!           client          one connection, without blocking
//!           clients         all clients, their resource usage, and the limits
//!           admission       accepts connections
//!           retention       how long ended processes are kept
//!           server          the loop around all of them
//! ```

mod accounts;
mod admission;
mod client;
mod clients;
mod limits;
mod listener;
mod log;
mod protocol;
mod retention;
#[cfg(test)]
mod serve_tests;
mod server;
mod stream;
mod systemd;
mod view;

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::error::Error;
use crate::host::booted;
use crate::kernel::{
    Capacity, Filter, HostFacts, Storage, Tracer, libbpf_messages, remedy_for_misses,
};
use crate::signals::Stop;
use crate::source::Source;
use crate::text::{shown_path, to_stderr};
use limits::Limits;
use listener::Listener;
use log::Log;
use server::{Counting, Server};
use systemd::Manager;

pub use limits::CLIENTS;
pub use listener::DEFAULT_PATH;

/// Drivers of client connections, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::stream::drive;
}

/// The checked options of `netatop serve`.
#[derive(Clone, Debug)]
pub struct Options {
    /// Path of the socket. `None`: [`DEFAULT_PATH`].
    pub socket: Option<PathBuf>,
    /// Permissions of the socket's file. `None`: [`DEFAULT_MODE`].
    pub mode: Option<u32>,
    /// Maximum number of clients at a time.
    pub max_clients: usize,
    /// Also print libbpf's messages.
    pub verbose: bool,
}

/// Permissions of the socket: every user may connect, and sees only that user's own processes.
pub const DEFAULT_MODE: u32 = 0o666;

/// Serves until SIGTERM, SIGINT or SIGHUP, and returns the exit status.
///
/// # Errors
///
/// If netatop cannot count on this host, or the socket cannot be created.
pub fn run(options: &Options) -> Result<u8, Error> {
    libbpf_messages(options.verbose);
    let stop = Stop::new()?;
    // Try the programs now, so that an error appears at startup and not when the first client
    // connects.
    Programs.during(&mut |_| Ok(()))?;
    let listener = listen(options)?;
    allow_descriptors(options.max_clients);
    let mut manager = Manager::new();
    manager.ready();
    let log = Log::new(|line| to_stderr(format!("netatop: {line}")));
    let limits = Limits::new(options.max_clients);
    let server = Server::new(
        &listener,
        stop.as_fd(),
        &mut manager,
        limits,
        log,
        booted_seconds,
    );
    let served = server.run(&mut Programs);
    manager.stopping();
    served.map(|()| 0)
}

fn listen(options: &Options) -> Result<Listener, Error> {
    if let Some(listener) = Listener::handed_over()? {
        if options.socket.is_some() || options.mode.is_some() {
            return Err(Error::Usage(
                "the socket comes from its unit: leave out --socket and --mode, and set \
                 ListenStream= and SocketMode= there"
                    .to_owned(),
            ));
        }
        to_stderr("netatop: listening on the socket of the unit");
        return Ok(listener);
    }
    let path = options.socket.as_deref().unwrap_or(Path::new(DEFAULT_PATH));
    let listener = Listener::bind(path, options.mode.unwrap_or(DEFAULT_MODE))?;
    to_stderr(format!("netatop: listening on {}", shown_path(path)));
    Ok(listener)
}

/// The BPF programs of the running kernel.
struct Programs;

impl Counting for Programs {
    fn during(
        &mut self,
        serve: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut storage = Storage::default();
        let mut tracer = Tracer::attach(&mut storage, Capacity::of_host(), &Filter::default())?;
        serve(&mut tracer)
    }

    fn remedy_for_misses(&self) -> Option<String> {
        remedy_for_misses(&HostFacts::gather())
    }
}

/// File descriptors besides those of clients: programs, maps, links, the socket, and inherited
/// descriptors.
const OWN_DESCRIPTORS: u64 = 64;

/// Raises the limit on open files as far as needed and possible. If the limit stays too low, new
/// connections wait until others close.
fn allow_descriptors(clients: usize) {
    let wanted = OWN_DESCRIPTORS.saturating_add(clients as u64);
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < wanted) {
        let current = Some(limit.maximum.map_or(wanted, |most| most.min(wanted)));
        let _ = setrlimit(Resource::Nofile, Rlimit { current, ..limit });
    }
}

fn booted_seconds() -> u64 {
    u64::try_from(booted().timestamp()).unwrap_or(0)
}
