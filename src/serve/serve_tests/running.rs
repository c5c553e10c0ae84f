//! A server with real sockets in its own thread, and clients for it.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::super::limits::Limits;
use super::super::listener::Listener;
use super::super::log::Log;
use super::super::server::{Counting, Heartbeat, Server};
use super::world::{Shared, parse};
use crate::error::Error;
use crate::source::Source;

struct Worlds(Shared);

impl Counting for Worlds {
    fn during(
        &mut self,
        serve: &mut dyn FnMut(&mut dyn Source) -> Result<(), Error>,
    ) -> Result<(), Error> {
        {
            let mut world = self.0.lock();
            world.counting = true;
            world.begun += 1;
        }
        let served = serve(&mut self.0);
        self.0.lock().counting = false;
        served
    }

    fn remedy_for_misses(&self) -> Option<String> {
        None
    }
}

/// Counts how often the server waits.
struct Waits(Arc<AtomicU64>);

impl Heartbeat for Waits {
    fn every(&self) -> Option<Duration> {
        None
    }

    fn beat(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A server in its own thread. Dropping it ends the server.
pub(super) struct Running {
    path: PathBuf,
    pub(super) world: Shared,
    waits: Arc<AtomicU64>,
    log: Receiver<String>,
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<Result<(), Error>>>,
    dir: tempfile::TempDir,
}

impl Running {
    /// A server that takes a sample for each request, so that a test need not wait.
    pub(super) fn with(limits: Limits) -> Self {
        Self::exactly(Limits {
            between: Duration::ZERO,
            ..limits
        })
    }

    pub(super) fn exactly(limits: Limits) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("socket");
        let world = Shared::default();
        let (asked, stop) = rustix::pipe::pipe().expect("a pipe");
        let (say, log) = mpsc::channel();
        let listener = Listener::bind(&path, 0o600).expect("bind");
        let counted = world.clone();
        let waits = Arc::new(AtomicU64::new(0));
        let counted_waits = Arc::clone(&waits);
        let thread = thread::spawn(move || {
            let log = Log::new(move |line| {
                let _ = say.send(line.to_owned());
            });
            let mut waits = Waits(counted_waits);
            Server::new(&listener, asked.as_fd(), &mut waits, limits, log, || 0)
                .run(&mut Worlds(counted))
        });
        Self {
            path,
            world,
            waits,
            log,
            stop: Some(stop),
            thread: Some(thread),
            dir,
        }
    }

    pub(super) fn new() -> Self {
        Self::with(Limits::new(64))
    }

    /// Connects a client. Returns once the server counts for it.
    pub(super) fn connect(&self) -> Peer {
        let client = self.connect_only();
        let samples = self.world.lock().samples;
        wait_for("counting", || self.world.lock().counting);
        let mut peer = Peer(client);
        // An answered client has been admitted and has a baseline.
        peer.ask();
        assert!(self.world.lock().samples > samples);
        peer
    }

    pub(super) fn connect_only(&self) -> UnixStream {
        let client = UnixStream::connect(&self.path).expect("connect");
        // Fail if no answer arrives.
        let limit = Some(Duration::from_secs(60));
        client.set_read_timeout(limit).expect("a limit");
        client
    }

    /// How often the server has waited for something to do.
    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    pub(super) fn wait_for_log(&self, what: &str) -> String {
        loop {
            let line = self
                .log
                .recv_timeout(Duration::from_secs(60))
                .unwrap_or_else(|_| panic!("the log has no message with {what:?}"));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// Ends the server as a signal does.
    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic").expect("a good end");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !thread::panicking() {
            self.end();
            let left = std::fs::read_dir(self.dir.path()).expect("read").count();
            assert_eq!(left, 0, "the socket file was not removed");
        }
    }
}

pub(super) fn wait_for(what: &str, mut ready: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !ready() {
        assert!(Instant::now() < deadline, "timed out waiting for {what}");
        thread::yield_now();
    }
}

pub(super) struct Peer(pub(super) UnixStream);

impl Peer {
    pub(super) fn ask(&mut self) -> Vec<(u32, u64, u64)> {
        self.0.write_all(&[0xaa; 96]).expect("ask");
        self.answer()
    }

    pub(super) fn answer(&mut self) -> Vec<(u32, u64, u64)> {
        parse(&self.read_reply())
    }

    /// Reads as atop does: the result of one `recv` is taken for a record.
    fn read_reply(&mut self) -> Vec<u8> {
        let mut reply = Vec::new();
        loop {
            let mut record = [0; 96];
            let count = self.0.read(&mut record).expect("a record");
            assert_eq!(count, 96, "after {} bytes", reply.len());
            reply.extend_from_slice(&record);
            if record[..4] == [0; 4] {
                return reply;
            }
        }
    }

    /// Whether the server has closed the connection.
    pub(super) fn is_closed(&mut self) -> bool {
        self.0.set_nonblocking(true).expect("set");
        let closed = match self.0.read(&mut [0; 96]) {
            Ok(0) => true,
            Err(error) => error.kind() != ErrorKind::WouldBlock,
            Ok(_) => false,
        };
        self.0.set_nonblocking(false).expect("set");
        closed
    }
}

/// Creates processes with these pids that send one datagram each.
pub(super) fn populate(world: &Shared, pids: std::ops::RangeInclusive<u32>) {
    let mut world = world.lock();
    for pid in pids {
        world.start(pid, 0);
        world.send(pid, 1);
    }
}
