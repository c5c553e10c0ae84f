//! Shared tools of the scenarios: forking and reaping, shared memory for the tallies, and pipes for
//! synchronisation.

use std::cell::Cell;
use std::os::fd::{AsFd, OwnedFd};
use std::process::exit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::libc;
use nix::sys::signal::Signal;
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, fork, getpid};

use crate::call::{Call, Result};
use crate::truth::{Line, Truth};

/// Forks a child that does `work` and exits. The child dies with its parent, so that a killed
/// workload leaves no processes behind.
pub fn fork_child(work: impl FnOnce() -> Result) -> Result<Pid> {
    // SAFETY: no scenario forks while it has other threads.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child),
        ForkResult::Child => {
            let result = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)
                .map_err(Into::into)
                .and_then(|()| work());
            exit(match result {
                Ok(()) => 0,
                Err(error) => {
                    eprintln!("workload: process {}: {error}", getpid());
                    1
                }
            })
        }
    }
}

/// Waits for a child, which must exit successfully.
pub fn reap(child: Pid) -> Result {
    match waitpid(child, None)? {
        WaitStatus::Exited(_, 0) => Ok(()),
        status => Err(format!("a child ended badly: {status:?}").into()),
    }
}

/// Waits for several.
pub fn reap_all(children: Vec<Pid>) -> Result {
    children.into_iter().try_for_each(reap)
}

/// Waits until a thread of this process is in a state, given by the letter in /proc.
pub fn wait_for_state(tid: Pid, state: char) -> Result {
    let path = format!("/proc/self/task/{tid}/stat");
    let wanted = format!(") {state} ");
    while !std::fs::read_to_string(&path)?.contains(&wanted) {
        std::thread::yield_now();
    }
    Ok(())
}

/// A gate that is open when all processes that keep it closed have opened it or ended.
pub struct Gate {
    read: OwnedFd,
    write: Cell<Option<OwnedFd>>,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let write = Cell::new(Some(write));
        Ok(Self { read, write })
    }

    /// Waits until no process keeps the gate closed. The calling process stops keeping it closed.
    pub fn wait(&self) -> Result {
        self.open();
        read_whole(&self.read, &mut [0]).map(drop)
    }

    /// Stops keeping the gate closed in this process.
    pub fn open(&self) {
        drop(self.write.take());
    }
}

/// Counts processes or threads that have reached some point.
pub struct Bell {
    read: OwnedFd,
    write: OwnedFd,
}

impl Bell {
    /// A bell that was not rung yet.
    pub fn new() -> Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { read, write })
    }

    /// Reports that the caller has reached the point, or has failed.
    pub fn ring(&self, well: bool) -> Result {
        nix::unistd::write(&self.write, &[u8::from(well)])?;
        Ok(())
    }

    /// Waits until `count` callers have rung.
    pub fn listen(&self, count: usize) -> Result {
        let mut buf = vec![0; count.clamp(1, 4096)];
        let mut left = count;
        while left > 0 {
            let want = left.min(buf.len());
            let rung = nix::unistd::read(&self.read, &mut buf[..want])?;
            if buf[..rung].contains(&0) {
                return Err("a child failed".into());
            }
            left -= rung;
        }
        Ok(())
    }
}

/// A pipe for the tally of a child that ends before it could print the tally.
pub struct Report {
    read: OwnedFd,
    write: OwnedFd,
}

impl Report {
    /// An unused pipe.
    pub fn new() -> Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { read, write })
    }

    /// Sends the tally from the child.
    pub fn tell(&self, truth: &Truth) -> Result {
        let bytes: Vec<u8> = truth
            .counts()
            .iter()
            .flat_map(|count| count.to_ne_bytes())
            .collect();
        nix::unistd::write(&self.write, &bytes)?;
        Ok(())
    }

    /// Receives the tally in the parent.
    pub fn hear(self) -> Result<Truth> {
        drop(self.write);
        let mut bytes = [0; 64];
        if read_whole(&self.read, &mut bytes)? < bytes.len() {
            return Err("a child ended before it had told its truth".into());
        }
        let mut counts = [0; 8];
        for (count, bytes) in counts.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *count = u64::from_ne_bytes(*bytes);
        }
        Ok(Truth::from_counts(counts))
    }
}

fn read_whole(from: &impl AsFd, buf: &mut [u8]) -> Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match nix::unistd::read(from, &mut buf[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(filled)
}

/// The tally of one process on the board.
#[derive(Default)]
struct Slot {
    pid: AtomicU64,
    counts: [AtomicU64; 8],
}

/// Memory shared with all processes forked later: a tally for each process, a stop flag and a
/// counter.
pub struct Board {
    shared: &'static Shared,
    slots: &'static [Slot],
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    taken: AtomicU64,
}

impl Board {
    /// Room for this many processes.
    pub fn new(slots: usize) -> Result<Self> {
        let length = size_of::<Shared>() + slots * size_of::<Slot>();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(format!("no shared memory: {}", Errno::last()).into());
        }
        // SAFETY: the mapping is long enough, page aligned, and never unmapped. All zeroes is a valid
        // value of these atomics. The mapping is used only through shared references.
        let (shared, slots) = unsafe {
            let shared = memory.cast::<Shared>();
            let first = shared.add(1).cast::<Slot>();
            (&*shared, std::slice::from_raw_parts(first, slots))
        };
        Ok(Self { shared, slots })
    }

    /// Takes the next free place, if there is one.
    pub fn take(&self) -> Option<usize> {
        let taken = self.shared.taken.fetch_add(1, Ordering::Relaxed) as usize;
        (taken < self.slots.len()).then_some(taken)
    }

    /// Stores the tally of the calling process so far.
    pub fn note(&self, place: usize, truth: &Truth) {
        let slot = &self.slots[place];
        slot.pid.store(getpid().as_raw() as u64, Ordering::Relaxed);
        for (noted, count) in slot.counts.iter().zip(truth.counts()) {
            noted.store(count, Ordering::Release);
        }
    }

    /// Sets the stop flag.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Whether the stop flag is set.
    pub fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// The tallies of all places.
    pub fn truths(&self) -> impl Iterator<Item = Truth> {
        self.slots.iter().map(|slot| {
            let counts = slot.counts.each_ref();
            Truth::from_counts(counts.map(|count| count.load(Ordering::Acquire)))
        })
    }

    /// Prints the sum over all processes, or a line for each process if `list=1`.
    pub fn print(&self, call: &Call, comm: &str) -> Result {
        if call.flag("list") {
            for (slot, truth) in self.slots.iter().zip(self.truths()) {
                let pid = slot.pid.load(Ordering::Acquire) as i32;
                Line::process(pid, comm, &truth).print()?;
            }
            return Ok(());
        }
        let mut sum = Truth::default();
        self.truths().for_each(|truth| sum.add(&truth));
        Line::aggregate(self.slots.len(), comm, &sum).print()
    }
}
