//! Steady traffic until it is told to stop: by the end of standard input, or by SIGTERM.

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

/// `flow`: sends and receives `size=` bytes of TCP in a loop, `rate=` times a second or as fast as
/// it can. With `n=` it is that many times, whatever standard input does. With `pauses=` it prints
/// a line of its own that says when it did nothing for so many milliseconds. With `files=` it makes
/// and removes a file in that directory before each round.
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
        // In turns, as much as fits: one thread cannot wait for both ends.
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

/// When there was no traffic, by the wall clock.
struct Pauses {
    /// Shorter ones are not worth a word.
    shortest: Duration,
    /// When the round before this one, and this one, began.
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

    /// Two rounds enclose what is between their traffic, whenever in a round that was.
    fn end(&mut self) {
        let now = SystemTime::now();
        let passed = now.duration_since(self.before).unwrap_or_default();
        if passed >= self.shortest {
            self.seen.push((self.before, now));
        }
    }

    /// In seconds since 1970. The last one has no end.
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

/// A flag that is set when SIGTERM comes or, if asked for, standard input ends. Then the calling
/// thread is also woken from its pace.
fn stop_flag(at_end_of_input: bool) -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let mut terminate = SigSet::empty();
    terminate.add(Signal::SIGTERM);
    // Blocked in all threads, so that only the one that waits for it takes it.
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
