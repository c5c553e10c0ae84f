//! Steady traffic until the end of standard input or SIGTERM.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::MsgFlags;
use serde_json::json;

use crate::call::{Call, Result, own_name, wait_for_end_of_input};
use crate::crowd::Pace;
use crate::net::{Family, tcp_pair, udp_pair};
use crate::truth::{Kind, Line};

/// `flow`: sends and receives `size=` bytes of TCP in a loop, `rate=` times per second or as fast as
/// possible. With `n=`, the loop has this many rounds and ignores standard input. With `pauses=`, an
/// additional line lists pauses of at least this many milliseconds. With `files=`, each round first
/// creates and removes a file in that directory.
pub fn tcp(call: &Call) -> Result {
    flow(call, Kind::Tcp)
}

/// `udp-flow`: the same with a UDP datagram.
pub fn udp(call: &Call) -> Result {
    flow(call, Kind::Udp)
}

fn flow(call: &Call, kind: Kind) -> Result {
    let size = call.number("size", 64)?.max(1);
    let rounds = call.number("n", 0)?;
    let stop = stop_flag(rounds == 0)?;
    let mut truth = call.carried()?;
    let mut pace = Pace::new(call.number("rate", 0)?);
    let (one, other) = match kind {
        Kind::Udp => udp_pair(Family::V4)?,
        Kind::Tcp | Kind::Other => tcp_pair(Family::V4)?,
    };
    let message = vec![1; size];
    let mut buf = vec![0; size];
    let mut done = 0;
    let shortest = call.number("pauses", 0)?;
    let mut pauses = (shortest > 0).then(|| Pauses::of(Duration::from_millis(shortest as u64)));
    loop {
        if let Some(pauses) = &mut pauses {
            pauses.begin();
        }
        if let Some(directory) = call.text("files") {
            let path = Path::new(directory).join("file");
            fs::write(&path, b"text")?;
            fs::metadata(&path)?;
            fs::remove_file(&path)?;
        }
        // Alternate between the ends, with as many bytes as fit: one thread cannot block on both.
        let (mut unsent, mut expected) = (size, size);
        while expected > 0 {
            if unsent > 0 {
                match one.send(&mut truth, &message[..unsent], MsgFlags::MSG_DONTWAIT) {
                    Ok(sent) => unsent -= sent,
                    Err(Errno::EAGAIN) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
            expected -= other.recv(&mut truth, &mut buf[..expected], MsgFlags::empty())?;
        }
        if let Some(pauses) = &mut pauses {
            pauses.end();
        }
        done += 1;
        if done == rounds || stop.load(Ordering::Acquire) {
            break;
        }
        pace.wait();
    }
    Line::this_process(&own_name()?, &truth).print()?;
    if let Some(pauses) = pauses {
        pauses.print();
    }
    call.hold()
}

/// Pauses of the traffic, by the wall clock.
struct Pauses {
    /// Shorter pauses are not reported.
    shortest: Duration,
    /// The start times of the previous round and of this round.
    before: SystemTime,
    begun: SystemTime,
    seen: Vec<(SystemTime, SystemTime)>,
}

impl Pauses {
    fn of(shortest: Duration) -> Self {
        Self {
            shortest,
            before: SystemTime::UNIX_EPOCH,
            begun: SystemTime::UNIX_EPOCH,
            seen: Vec::new(),
        }
    }

    fn begin(&mut self) {
        self.before = std::mem::replace(&mut self.begun, SystemTime::now());
    }

    /// Two rounds enclose the pause between their traffic, at any time within the rounds.
    fn end(&mut self) {
        let now = SystemTime::now();
        let passed = now.duration_since(self.before).unwrap_or_default();
        if passed >= self.shortest {
            self.seen.push((self.before, now));
        }
    }

    /// Prints the pauses in seconds since 1970. The last pause has no end.
    fn print(&self) {
        let seconds = |time: &SystemTime| {
            let since = time.duration_since(SystemTime::UNIX_EPOCH);
            since.unwrap_or_default().as_secs_f64()
        };
        let ends = self.seen.iter().map(|(from, to)| (from, Some(to)));
        let ends = ends.chain([(&self.begun, None)]);
        let pauses: Vec<_> = ends
            .map(|(from, to)| json!([seconds(from), to.map(seconds)]))
            .collect();
        println!("{}", json!({ "pauses": pauses }));
    }
}

/// A flag that is set on SIGTERM, and optionally at the end of standard input. This also unparks the
/// calling thread.
fn stop_flag(at_end_of_input: bool) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    // Block the signal in all threads, so that only the waiting thread receives it.
    terminate.thread_block()?;
    let mut waits: Vec<Box<dyn FnOnce() -> bool + Send>> =
        vec![Box::new(move || terminate.wait().is_ok())];
    if at_end_of_input {
        waits.push(Box::new(|| wait_for_end_of_input().is_ok()));
    }
    for wait in waits {
        let stop = Arc::clone(&stop);
        let flow = std::thread::current();
        std::thread::spawn(move || {
            wait();
            stop.store(true, Ordering::Release);
            flow.unpark();
        });
    }
    Ok(stop)
}
