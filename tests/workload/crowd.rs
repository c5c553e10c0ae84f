//! Many processes and sockets that exist at the same time.

use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::socket::MsgFlags;
use nix::unistd::Pid;

use crate::call::{Call, Result, own_name, wait_for_end_of_input};
use crate::net::{Burst, Family, Sink, Socket, tcp_pair, udp_mirror};
use crate::tasks::{Bell, Board, Gate, fork_child, reap_all};
use crate::truth::{Line, Truth};

/// Traffic that differs between processes, depending on `place`.
fn traffic_of(place: usize) -> Result<Truth> {
    let mut truth = Truth::default();
    let mirror = udp_mirror()?;
    let burst = Burst {
        messages: 2 + place % 5,
        size: 30 + place % 101,
        step: 4,
    };
    burst.send(&mut truth, &mirror)?;
    for _ in 0..=place % 2 {
        mirror.recv(&mut truth, &mut [0; 512], MsgFlags::empty())?;
    }
    Ok(truth)
}

/// Shared state of the processes of a tree.
struct Tree<'a> {
    processes: usize,
    fan: usize,
    hold: bool,
    board: &'a Board,
    gate: &'a Gate,
    bell: &'a Bell,
}

impl Tree<'_> {
    /// How many processes a tree has with `depth` generations below its root.
    fn size(fan: usize, depth: usize) -> usize {
        (0..depth).fold(1, |size: usize, _| {
            size.saturating_mul(fan).saturating_add(1)
        })
    }

    /// The work of process number `place`: traffic, then children. Processes are numbered level by
    /// level.
    fn grow(&self, place: usize) -> Result<Vec<Pid>> {
        self.board.note(place, &traffic_of(place)?);
        let first = place.saturating_mul(self.fan).saturating_add(1);
        let next = first.saturating_add(self.fan).min(self.processes);
        let mut children = Vec::new();
        for child in first..next {
            children.push(fork_child(|| self.live(child))?);
        }
        Ok(children)
    }

    fn live(&self, place: usize) -> Result {
        let grown = self.grow(place);
        self.bell.ring(grown.is_ok())?;
        if self.hold {
            self.gate.wait()?;
        }
        reap_all(grown?)
    }
}

/// `fork-tree`: `processes=` processes including this one, in up to `depth=` generations below this
/// one. With `hold=1` all processes stay until standard input ends. Otherwise each process ends
/// after its children.
pub fn fork_tree(call: &Call) -> Result {
    let processes = call.number("processes", 200)?.max(1);
    let depth = call.number("depth", 5)?.max(1);
    let fan = (1..processes.max(2))
        .find(|fan| Tree::size(*fan, depth) >= processes)
        .unwrap_or(processes);
    let (board, gate, bell) = (Board::new(processes)?, Gate::new()?, Bell::new()?);
    let hold = call.flag("hold");
    let tree = Tree {
        processes,
        fan,
        hold,
        board: &board,
        gate: &gate,
        bell: &bell,
    };
    let children = tree.grow(0)?;
    bell.listen(processes - 1)?;
    board.print(call, &own_name()?)?;
    call.hold()?;
    gate.open();
    reap_all(children)
}

/// `fork-bomb`: every process forks two more, up to `depth=` generations and `limit=` processes. All
/// processes are alive at once.
pub fn fork_bomb(call: &Call) -> Result {
    let depth = call.number("depth", 12)?;
    let limit = call.number("limit", 2000)?.max(1);
    let processes = Tree::size(2, depth).min(limit);
    let bomb = Bomb {
        board: Board::new(processes)?,
        gate: Gate::new()?,
        bell: Bell::new()?,
    };
    let place = bomb.board.take().ok_or("no place on the board")?;
    let children = bomb.split(place, depth)?;
    bomb.bell.listen(processes - 1)?;
    bomb.board.print(call, &own_name()?)?;
    call.hold()?;
    bomb.gate.open();
    reap_all(children)
}

struct Bomb {
    board: Board,
    gate: Gate,
    bell: Bell,
}

impl Bomb {
    fn split(&self, place: usize, depth: usize) -> Result<Vec<Pid>> {
        let mut children = Vec::new();
        for _ in 0..if depth > 0 { 2 } else { 0 } {
            // Take places without coordination, so that the tree grows as fast as possible.
            let Some(taken) = self.board.take() else {
                break;
            };
            children.push(fork_child(|| {
                let split = self.split(taken, depth - 1);
                self.bell.ring(split.is_ok())?;
                self.gate.wait()?;
                reap_all(split?)
            })?);
        }
        self.board.note(place, &traffic_of(place)?);
        Ok(children)
    }
}

/// `live-processes`: `n=` children with one datagram each; all stay until standard input ends.
pub fn live_processes(call: &Call) -> Result {
    let count = call.number("n", 1000)?;
    let size = call.number("size", 32)?;
    let (board, gate, bell) = (Board::new(count)?, Gate::new()?, Bell::new()?);
    let sink = Sink::new()?;
    let mut children = Vec::with_capacity(count);
    for place in 0..count {
        children.push(fork_child(|| {
            let mut truth = Truth::default();
            let sent = sink
                .sender()
                .and_then(|sender| sender.send_whole(&mut truth, &vec![1; size + place % 7]));
            board.note(place, &truth);
            bell.ring(sent.is_ok())?;
            sent?;
            gate.wait()
        })?);
    }
    bell.listen(count)?;
    board.print(call, &own_name()?)?;
    wait_for_end_of_input()?;
    gate.open();
    reap_all(children)
}

/// `all-end`: `n=` children send in a loop until standard input ends, and then end at once. Each
/// child sends `rate=` times per second, or as fast as possible.
pub fn all_end(call: &Call) -> Result {
    let count = call.number("n", 500)?;
    let rate = call.number("rate", 0)?;
    let (board, gate) = (Board::new(count)?, Gate::new()?);
    let sink = Sink::new()?;
    let mut children = Vec::with_capacity(count);
    for place in 0..count {
        children.push(fork_child(|| {
            let sender = sink.sender()?;
            let message = vec![1; 20 + place % 13];
            let mut truth = Truth::default();
            // Start sending together: early children would use the CPU time needed for forking.
            gate.wait()?;
            let mut pace = Pace::new(rate);
            loop {
                sender.send_whole(&mut truth, &message)?;
                board.note(place, &truth);
                if board.stopped() {
                    return Ok(());
                }
                pace.wait();
            }
        })?);
    }
    gate.open();
    wait_for_end_of_input()?;
    board.stop();
    reap_all(children)?;
    board.print(call, &own_name()?)
}

/// Limits a loop to a number of rounds per second.
pub struct Pace {
    each: Option<Duration>,
    next: Instant,
}

impl Pace {
    /// `rate` rounds per second; 0 means as fast as possible.
    pub fn new(rate: usize) -> Self {
        Self {
            each: (rate > 0).then(|| Duration::from_secs(1) / rate as u32),
            next: Instant::now(),
        }
    }

    /// Waits until it is time for the next round, or the thread is unparked.
    pub fn wait(&mut self) {
        if let Some(each) = self.each {
            self.next += each;
            let left = self.next.saturating_duration_since(Instant::now());
            if !left.is_zero() {
                std::thread::park_timeout(left);
            }
        }
    }
}

/// `many-sockets`: `n=` sockets in this process, all open at once, with three UDP sockets per TCP
/// connection.
pub fn many_sockets(call: &Call) -> Result {
    let count = call.number("n", 1000)?;
    raise_file_limit()?;
    let mut truth = Truth::default();
    let mut open: Vec<Socket> = Vec::with_capacity(count + 1);
    while open.len() < count {
        let place = open.len();
        let burst = Burst {
            messages: 1 + place % 3,
            size: 25 + place % 50,
            step: 6,
        };
        if place.is_multiple_of(5) {
            let (client, server) = tcp_pair(Family::V4)?;
            burst.exchange(&mut truth, &client, &server, 40)?;
            open.extend([client, server]);
        } else {
            let mirror = udp_mirror()?;
            burst.send(&mut truth, &mirror)?;
            mirror.recv(&mut truth, &mut [0; 200], MsgFlags::empty())?;
            open.push(mirror);
        }
    }
    Line::this_process(&own_name()?, &truth).print()?;
    call.hold()
}

fn raise_file_limit() -> Result {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the limit is valid for reading and writing.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit);
        limit.rlim_cur = limit.rlim_max;
        libc::setrlimit(libc::RLIMIT_NOFILE, &limit)
    };
    nix::errno::Errno::result(raised)?;
    Ok(())
}
