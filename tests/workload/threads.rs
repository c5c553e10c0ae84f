//! Threads: many threads with separate counts, a leader that ends before its threads, and an exit of
//! the whole group while threads are blocked.

use std::ffi::CString;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};

use nix::libc;
use nix::sys::prctl;
use nix::sys::socket::MsgFlags;
use nix::unistd::{Pid, getpid, gettid};

use crate::call::{Call, Result, own_name};
use crate::net::{Burst, mixed_traffic, udp_mirror};
use crate::tasks::wait_for_state;
use crate::truth::{Line, Truth};

/// The result of one thread.
struct Done {
    tid: Pid,
    name: String,
    truth: Truth,
}

type Reports = Sender<Result<Done>>;

fn report(to: &Reports, truth: Result<Truth>) -> Result {
    let done = truth.and_then(|truth| {
        let (tid, name) = (gettid(), own_name()?);
        Ok(Done { tid, name, truth })
    });
    to.send(done).map_err(|_| "nobody takes reports".into())
}

fn name_thread(name: String) -> Result {
    prctl::set_name(&CString::new(name)?)?;
    Ok(())
}

/// `threads`: `threads=` threads, each with its own socket, counts and name, all alive at once.
pub fn threads(call: &Call) -> Result {
    let count = call.number("threads", 50)?;
    let started = Arc::new(Barrier::new(count + 1));
    let ended = Arc::new(Barrier::new(count + 1));
    let (reports, done) = channel();
    let mut workers = Vec::new();
    for i in 0..count {
        let (started, ended) = (Arc::clone(&started), Arc::clone(&ended));
        let reports = reports.clone();
        workers.push(
            std::thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    started.wait();
                    let reported = report(&reports, name_and_send(i));
                    ended.wait();
                    reported
                })?,
        );
    }
    started.wait();
    let mut sum = Truth::default();
    mixed_traffic(&mut sum, 11)?;
    report(&reports, Ok(sum))?;
    let mut all = done.iter().take(count + 1).collect::<Result<Vec<Done>>>()?;
    all.sort_by_key(|one| one.tid);
    sum = Truth::default();
    let mut lines = Vec::new();
    for one in all {
        sum.add(&one.truth);
        lines.push(Line::thread(one.tid.as_raw(), &one.name, &one.truth).into_value());
    }
    Line::this_process(&own_name()?, &sum)
        .with("threads", lines)
        .print()?;
    call.hold()?;
    ended.wait();
    for worker in workers {
        worker.join().map_err(|_| "a thread panicked")??;
    }
    Ok(())
}

fn name_and_send(i: usize) -> Result<Truth> {
    name_thread(format!("w-{i:02}"))?;
    let mut truth = Truth::default();
    let mirror = udp_mirror()?;
    let sent = Burst {
        messages: 2 + i % 9,
        size: 40 + i,
        step: 1,
    };
    sent.send(&mut truth, &mirror)?;
    for _ in 0..=sent.messages / 2 {
        mirror.recv(&mut truth, &mut [0; 4096], MsgFlags::empty())?;
    }
    Ok(truth)
}

/// Adds up `count` reports.
fn collect(done: &Receiver<Result<Done>>, count: usize) -> Result<Truth> {
    let mut sum = Truth::default();
    for _ in 0..count {
        sum.add(&done.recv()??.truth);
    }
    Ok(sum)
}

/// Ends the process from a thread other than the leader.
fn finish(result: Result) -> ! {
    if let Err(error) = &result {
        eprintln!("workload: {error}");
    }
    std::process::exit(i32::from(result.is_err()))
}

/// `worker`: a thread sends and ends, and the process, which sends nothing itself, can go on.
pub fn worker(call: &Call) -> Result {
    let sent = std::thread::spawn(|| {
        let mut truth = Truth::default();
        mixed_traffic(&mut truth, 7).map(|()| truth)
    });
    let truth = sent.join().map_err(|_| "a thread panicked")??;
    Line::this_process(&own_name()?, &truth).print()?;
    call.hold()
}

/// `leader-exits`: the leader sends and ends; three threads send before and after its end.
pub fn leader_exits(call: &Call) -> Result {
    const COUNT: usize = 3;
    let comm = own_name()?;
    let mut mine = Truth::default();
    mixed_traffic(&mut mine, 2)?;
    let hold = call.flag("hold");
    let (reports, done) = channel();
    for i in 0..COUNT {
        let reports = reports.clone();
        std::thread::spawn(move || report(&reports, send_around_leader(i)));
    }
    std::thread::spawn(move || {
        finish(collect(&done, COUNT).and_then(|truth| {
            mine.add(&truth);
            Line::this_process(&comm, &mine).print()?;
            if hold {
                crate::call::wait_for_end_of_input()?;
            }
            Ok(())
        }))
    });
    // SAFETY: ends only the calling thread. No other thread uses its stack.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Err("the leader did not end".into())
}

fn send_around_leader(i: usize) -> Result<Truth> {
    name_thread(format!("survivor-{i}"))?;
    let mut truth = Truth::default();
    mixed_traffic(&mut truth, 20 + i)?;
    wait_for_state(getpid(), 'Z')?;
    mixed_traffic(&mut truth, 30 + i)?;
    Ok(truth)
}

/// `exit-group`: the leader and `threads=` threads send. Then all threads but one block in a receive,
/// and that one ends the process.
pub fn exit_group(call: &Call) -> Result {
    let count = call.number("threads", 8)?.max(1);
    let comm = own_name()?;
    let hold = call.flag("hold");
    let (reports, done) = channel();
    for i in 1..count {
        let reports = reports.clone();
        std::thread::spawn(move || send_and_block(&reports, i));
    }
    std::thread::spawn(move || {
        let result = (|| {
            let mut sum = Truth::default();
            mixed_traffic(&mut sum, 99)?;
            let mut others = Vec::new();
            for _ in 0..count {
                let one = done.recv()??;
                sum.add(&one.truth);
                others.push(one.tid);
            }
            for other in others {
                wait_for_state(other, 'S')?;
            }
            Line::this_process(&comm, &sum).print()?;
            if hold {
                crate::call::wait_for_end_of_input()?;
            }
            // SAFETY: ends the process; the output is flushed.
            unsafe { libc::syscall(libc::SYS_exit_group, 0) };
            Err("the process did not end".into())
        })();
        finish(result)
    });
    send_and_block(&reports, count)
}

fn send_and_block(reports: &Reports, i: usize) -> Result {
    let mut truth = Truth::default();
    let traffic = mixed_traffic(&mut truth, i).and_then(|()| udp_mirror());
    let mirror = match traffic {
        Ok(mirror) => mirror,
        Err(error) => return report(reports, Err(error)),
    };
    report(reports, Ok(truth))?;
    mirror.recv(&mut truth, &mut [0; 10], MsgFlags::empty())?;
    Err("something came where nothing was sent".into())
}
