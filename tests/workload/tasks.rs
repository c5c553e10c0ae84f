//! What processes of one scenario share: forking and reaping, memory for each one's tally, and
//! two pipes to wait for each other on.

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

/// Forks a child that does `work` and exits. It dies with its parent, so that nothing is left
/// behind by a workload that is killed.
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

/// Waits for a child that has to end well.
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

/// Waits until a thread of this process is in a state, by its letter.
pub fn wait_for_state(tid: Pid, state: char) -> Result {
    let path = format!("/proc/self/task/{tid}/stat");
    let wanted = format!(") {state} ");
    while !std::fs::read_to_string(&path)?.contains(&wanted) {
        std::thread::yield_now();
    }
    Ok(())
}

/// Keeps processes until one of them opens it, or is gone.
pub struct Gate {
    read: OwnedFd,
    write: Cell<Option<OwnedFd>>,
}

impl Gate {
    /// A closed one.
    pub fn new() -> Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        let write = Cell::new(Some(write));
        Ok(Self { read, write })
    }

    /// Waits until no process keeps it closed. Whoever waits no longer does.
    pub fn wait(&self) -> Result {
        self.open();
        read_whole(&self.read, &mut [0]).map(drop)
    }

    /// This process no longer keeps it closed.
    pub fn open(&self) {
        drop(self.write.take());
    }
}

/// Counts processes or threads that have come to some point.
pub struct Bell {
    read: OwnedFd,
    write: OwnedFd,
}

impl Bell {
    /// One that nobody has rung.
    pub fn new() -> Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { read, write })
    }

    /// Says that the caller has come, or failed to.
    pub fn ring(&self, well: bool) -> Result {
        nix::unistd::write(&self.write, &[u8::from(well)])?;
        Ok(())
    }

    /// Waits until `count` have rung.
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

/// A pipe for one tally, from a child that will not live to print it.
pub struct Report {
    read: OwnedFd,
    write: OwnedFd,
}

impl Report {
    /// An unused one.
    pub fn new() -> Result<Self> {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC)?;
        Ok(Self { read, write })
    }

    /// The child's side.
    pub fn tell(&self, truth: &Truth) -> Result {
        let bytes: Vec<u8> = truth
            .counts()
            .iter()
            .flat_map(|count| count.to_ne_bytes())
            .collect();
        nix::unistd::write(&self.write, &bytes)?;
        Ok(())
    }

    /// The parent's side.
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

/// One process's place on the board.
#[derive(Default)]
struct Slot {
    pid: AtomicU64,
    counts: [AtomicU64; 8],
}

/// Memory that all processes forked later share: a tally for each, a stop sign and a counter.
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
        // SAFETY: the mapping is long enough, page aligned, never unmapped, and all zeroes, which
        // is a valid value of these atomics; it is only ever used through shared references.
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

    /// Writes down what the calling process has done so far.
    pub fn note(&self, place: usize, truth: &Truth) {
        let slot = &self.slots[place];
        slot.pid.store(getpid().as_raw() as u64, Ordering::Relaxed);
        for (noted, count) in slot.counts.iter().zip(truth.counts()) {
            noted.store(count, Ordering::Release);
        }
    }

    /// Tells all to stop.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Release);
    }

    /// Whether they were told.
    pub fn stopped(&self) -> bool {
        self.shared.stop.load(Ordering::Acquire)
    }

    /// What each place says.
    pub fn truths(&self) -> impl Iterator<Item = Truth> {
        self.slots.iter().map(|slot| {
            let counts = slot.counts.each_ref();
            Truth::from_counts(counts.map(|count| count.load(Ordering::Acquire)))
        })
    }

    /// Prints the sum over all processes, or with `list=1` each one.
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
