//! `netatop serve`: fills the network columns of atop, on the socket of netatop-bpf.
//!
//! ```text
//! source -> accounts        totals of every process, and which have ended
//!           view            one client's look at them: from when, whose, what it knows
//!           protocol        records, as atop reads them
//!           client          one connection; never waits for its other end
//!           clients         all of them, what they use, and the limits
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

/// Everything that `netatop serve` was asked for, checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where to listen, if not at [`DEFAULT_PATH`].
    pub socket: Option<PathBuf>,
    /// Rights of the socket's file, if not [`DEFAULT_MODE`].
    pub mode: Option<u32>,
    /// How many clients at a time.
    pub max_clients: usize,
    /// Also libbpf's messages.
    pub verbose: bool,
}

/// Rights of the socket: everybody may connect, and sees what is theirs.
pub const DEFAULT_MODE: u32 = 0o666;

/// Serves until SIGTERM, SIGINT or SIGHUP, and returns the exit status.
///
/// # Errors
///
/// If this host cannot count, or the socket cannot be made.
pub fn run(options: &Options) -> Result<u8, Error> {
    libbpf_messages(options.verbose);
    let stop = Stop::new()?;
    // Better now than when the first client comes: whoever starts it sees why.
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

/// The real programs.
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

/// What the server has open besides its clients: the programs, their maps and links, the
/// socket, and whatever it was started with.
const OWN_DESCRIPTORS: u64 = 64;

/// Raises the limit of open files as far as needed and possible. Where that is not far
/// enough, connections wait until others have ended.
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
