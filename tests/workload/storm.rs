//! Storms: short-lived processes and threads with one datagram each, and many threads that stay.

use std::ffi::{CString, c_void};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ptr;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{SockaddrIn, SockaddrLike};

use crate::call::{Call, Result, own_name, wait_for_end_of_input};
use crate::crowd::Pace;
use crate::exec::own_path;
use crate::net::{Sink, Socket, sender_to};
use crate::tasks::{Bell, Board, fork_child, reap_all};
use crate::truth::{Kind, Line, Truth};

/// The share of worker `i` in `count`.
fn share(count: usize, workers: usize, i: usize) -> usize {
    count / workers + usize::from(i < count % workers)
}

/// `process-storm`: `n=` processes send one datagram of `size=` bytes each and end. They are forked
/// by `parallel=` other processes, `rate=` per second in total. With `exec=1`, each executes a new
/// program first. With `port=`, nobody listens: the first process sends to this port of 127.0.0.1,
/// and each further process to the next one.
pub fn process_storm(call: &Call) -> Result {
    let count = call.number("n", 20_000)?;
    let parallel = call.number("parallel", 4)?.max(1);
    let rate = call.number("rate", 0)?;
    let size = call.number("size", 32)?.min(1024);
    let sink = Sink::new()?;
    let first_port = u16::try_from(call.number("port", 0)?)?;
    let port = sink.port()?;
    let arguments = if call.flag("exec") {
        Some(OneDatagram::arguments(port, size)?)
    } else {
        None
    };
    let board = Board::new(parallel)?;
    let mut forkers = Vec::new();
    for i in 0..parallel {
        forkers.push(fork_child(|| {
            let mut truth = Truth::default();
            let mut pace = Pace::new(share(rate, parallel, i).max(usize::from(rate > 0)));
            let before: usize = (0..i).map(|i| share(count, parallel, i)).sum();
            for number in before..before + share(count, parallel, i) {
                let port = match first_port {
                    0 => port,
                    first => first + u16::try_from(number)?,
                };
                truth.sent(Kind::Udp, one_process(port, size, arguments.as_ref())?);
                pace.wait();
            }
            board.note(i, &truth);
            Ok(())
        })?);
    }
    reap_all(forkers)?;
    let mut sum = Truth::default();
    board.truths().for_each(|truth| sum.add(&truth));
    Line::aggregate(count, &own_name()?, &sum).print()
}

/// The program that a process executes to send its datagram.
struct OneDatagram {
    path: CString,
    argv: [CString; 4],
}

impl OneDatagram {
    fn arguments(port: u16, size: usize) -> Result<Self> {
        let argv = [
            CString::new("workload")?,
            CString::new("one-datagram")?,
            CString::new(format!("port={port}"))?,
            CString::new(format!("size={size}"))?,
        ];
        let path = own_path()?;
        Ok(Self { path, argv })
    }
}

/// `one-datagram`: the program of a storm's process. It prints nothing; its exit status is the
/// result.
pub fn one_datagram(call: &Call) -> Result {
    let port = u16::try_from(call.number("port", 0)?)?;
    send_once(port, call.number("size", 32)?)
}

fn send_once(port: u16, size: usize) -> Result {
    let sender = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let sent = sender.send_to(&vec![1; size], (Ipv4Addr::LOCALHOST, port))?;
    if sent == size {
        Ok(())
    } else {
        Err("a datagram was cut".into())
    }
}

/// Runs one process from start to end. Returns the number of bytes sent, by its exit status.
fn one_process(port: u16, size: usize, become_program: Option<&OneDatagram>) -> Result<usize> {
    // SAFETY: the forker has one thread.
    match Errno::result(unsafe { libc::fork() })? {
        0 => {
            if let Some(program) = become_program {
                let _ = nix::unistd::execv(&program.path, &program.argv);
            }
            let sent = become_program.is_none() && send_bare(port, size);
            // SAFETY: ends the process; there is nothing to clean up.
            unsafe { libc::_exit(i32::from(!sent)) }
        }
        child => {
            crate::tasks::reap(nix::unistd::Pid::from_raw(child))?;
            Ok(size)
        }
    }
}

/// Sends with minimal overhead, to allow thousands of processes per second.
fn send_bare(port: u16, size: usize) -> bool {
    let buf = [1_u8; 1024];
    let to = SockaddrIn::from(SocketAddrV4::new(Ipv4Addr::LOCALHOST, port));
    // SAFETY: the buffer has at least `size` bytes, and the address is as long as it says.
    unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM, 0);
        let sent = libc::sendto(socket, buf.as_ptr().cast(), size, 0, to.as_ptr(), to.len());
        usize::try_from(sent) == Ok(size)
    }
}

/// One mapping for all thread stacks. Tens of thousands of separate stacks would exceed the limit of
/// mappings per process.
struct Stacks(*mut c_void);

impl Stacks {
    const EACH: usize = 32 << 10;

    fn new(count: usize) -> Result<Self> {
        // SAFETY: a new mapping at an address of the kernel's choice.
        let memory = unsafe {
            libc::mmap(
                ptr::null_mut(),
                count.max(1) * Self::EACH,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE | libc::MAP_STACK,
                -1,
                0,
            )
        };
        if memory == libc::MAP_FAILED {
            return Err(format!("no memory for stacks: {}", Errno::last()).into());
        }
        Ok(Self(memory))
    }

    /// Starts a thread on the stack number `i`.
    ///
    /// # Safety
    ///
    /// `i` must be less than the number of stacks, and no living thread may use that stack.
    /// `argument` must point to a valid argument of `run` as long as the thread lives.
    unsafe fn start(
        &self,
        i: usize,
        run: extern "C" fn(*mut c_void) -> *mut c_void,
        argument: *mut c_void,
    ) -> Result<libc::pthread_t> {
        let mut attributes = MaybeUninit::uninit();
        let mut thread = MaybeUninit::uninit();
        // SAFETY: the attributes are initialised before use, and the stack is within the mapping. The
        // caller promises the rest.
        let failed = unsafe {
            libc::pthread_attr_init(attributes.as_mut_ptr());
            let stack = self.0.cast::<u8>().add(i * Self::EACH);
            let failed =
                libc::pthread_attr_setstack(attributes.as_mut_ptr(), stack.cast(), Self::EACH);
            if failed == 0 {
                libc::pthread_create(thread.as_mut_ptr(), attributes.as_ptr(), run, argument)
            } else {
                failed
            }
        };
        if failed != 0 {
            return Err(format!("a thread cannot start: {}", Errno::from_raw(failed)).into());
        }
        // SAFETY: pthread_create has succeeded, and has written the thread id.
        Ok(unsafe { thread.assume_init() })
    }
}

/// The single send of a thread, and its result.
struct OneSend {
    socket: libc::c_int,
    size: usize,
    returned: AtomicI64,
}

extern "C" fn send_one(argument: *mut c_void) -> *mut c_void {
    // SAFETY: the starter of this thread passes a OneSend that outlives the thread.
    let send = unsafe { &*argument.cast::<OneSend>() };
    let buf = [1_u8; 1024];
    // SAFETY: the buffer has at least `size` bytes.
    let sent = unsafe { libc::send(send.socket, buf.as_ptr().cast(), send.size, 0) };
    send.returned.store(sent as i64, Ordering::Release);
    ptr::null_mut()
}

/// `thread-storm`: `n=` threads send one datagram of `size=` bytes each and end. They are started by
/// `parallel=` other threads.
pub fn thread_storm(call: &Call) -> Result {
    let count = call.number("n", 100_000)?;
    let parallel = call.number("parallel", 4)?.max(1);
    let size = call.number("size", 32)?.min(1024);
    let sink = Sink::new()?;
    let port = sink.port()?;
    let mut truth = Truth::default();
    std::thread::scope(|scope| {
        let starters: Vec<_> = (0..parallel)
            .map(|i| scope.spawn(move || start_in_turn(port, size, share(count, parallel, i))))
            .collect();
        for starter in starters {
            truth.add(&starter.join().map_err(|_| "a thread panicked")??);
        }
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
    })?;
    Line::this_process(&own_name()?, &truth).print()?;
    call.hold()
}

/// Runs threads one after the other, on one stack.
fn start_in_turn(port: u16, size: usize, count: usize) -> Result<Truth> {
    let mut truth = Truth::default();
    let stacks = Stacks::new(1)?;
    let sender = sender_to(port)?;
    let send = OneSend {
        socket: sender.raw(),
        size,
        returned: AtomicI64::new(-1),
    };
    for _ in 0..count {
        // SAFETY: the previous thread has been joined. This thread is joined below, before the stack
        // and the argument are dropped.
        let joined = unsafe {
            let thread = stacks.start(0, send_one, ptr::from_ref(&send).cast_mut().cast())?;
            libc::pthread_join(thread, ptr::null_mut())
        };
        if joined != 0 {
            return Err(Errno::from_raw(joined).into());
        }
        let sent = usize::try_from(send.returned.load(Ordering::Acquire))?;
        truth.sent(Kind::Udp, sent);
    }
    Ok(truth)
}

/// Shared state of the threads of `live-threads`.
struct Multitude {
    sender: Socket,
    bell: Bell,
    sent: AtomicU64,
    bytes: AtomicU64,
    place: AtomicU64,
}

extern "C" fn send_and_stay(argument: *mut c_void) -> *mut c_void {
    // SAFETY: the Multitude is never freed.
    let shared = unsafe { &*argument.cast::<Multitude>() };
    let place = shared.place.fetch_add(1, Ordering::Relaxed) as usize;
    let mut truth = Truth::default();
    let sent = shared
        .sender
        .send_whole(&mut truth, &[1; 64][..16 + place % 32]);
    let [.., messages, bytes, _, _] = truth.counts();
    shared.sent.fetch_add(messages, Ordering::Relaxed);
    shared.bytes.fetch_add(bytes, Ordering::Relaxed);
    let _ = shared.bell.ring(sent.is_ok());
    loop {
        // SAFETY: waits for a handled signal. There is none, so this waits until the process ends.
        unsafe { libc::pause() };
    }
}

/// `live-threads`: `n=` threads with one datagram each; all stay until standard input ends.
pub fn live_threads(call: &Call) -> Result {
    let count = call.number("n", 20_000)?;
    let stacks = Stacks::new(count)?;
    let sink = Sink::new()?;
    let shared: &'static Multitude = Box::leak(Box::new(Multitude {
        sender: sink.sender()?,
        bell: Bell::new()?,
        sent: AtomicU64::new(0),
        bytes: AtomicU64::new(0),
        place: AtomicU64::new(0),
    }));
    for i in 0..count {
        // SAFETY: each stack is used once. The stacks and the argument are never freed.
        unsafe { stacks.start(i, send_and_stay, ptr::from_ref(shared).cast_mut().cast()) }?;
    }
    shared.bell.listen(count)?;
    let (sent, bytes) = (&shared.sent, &shared.bytes);
    let (sent, bytes) = (sent.load(Ordering::Acquire), bytes.load(Ordering::Acquire));
    let truth = Truth::from_counts([0, 0, 0, 0, sent, bytes, 0, 0]);
    Line::this_process(&own_name()?, &truth).print()?;
    wait_for_end_of_input()
}
