//! Threads that go on while samples are taken.

use std::io::{Read, Write};
use std::os::fd::AsRawFd;

use netatop::kernel::Storage;
use netatop::model::{Interval, RemoteMode};
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::harness::{Counting, of_pid, wait_for};
use super::remote::{MODES, Split, Truth, assert_rows, capacity, family, udp_ends};
use super::remote_datagram::connected;
use super::remote_pieces::piece;
use super::remote_socket::{MORE, NO_FLAGS, Socket, V4};
use super::remote_stream::pair;

/// A child that sends to itself, until it has got another name.
struct Talker {
    pid: Pid,
    tell: std::io::PipeWriter,
    told: std::io::PipeReader,
}

impl Talker {
    /// The child sends through one socket and receives through the other.
    fn new(one: &Socket, other: &Socket) -> Self {
        let (asked, tell) = std::io::pipe().expect("a pipe");
        let (told, answer) = std::io::pipe().expect("a pipe");
        // SAFETY: the child only makes system calls.
        match unsafe { fork() }.expect("fork") {
            ForkResult::Child => talk(one, other, asked.as_raw_fd(), answer.as_raw_fd()),
            ForkResult::Parent { child } => Self {
                pid: child,
                tell,
                told,
            },
        }
    }

    /// It has another name, has sent once since, and does nothing more.
    fn rename(&mut self) {
        self.tell.write_all(b"n").expect("a question");
        self.told.read_exact(&mut [0]).expect("an answer");
    }

    fn names_in(&self, interval: &Interval) -> Vec<String> {
        let rows = of_pid(interval, self.pid.as_raw() as u32);
        rows.iter()
            .map(|row| row.last.comm.to_str_lossy().into_owned())
            .collect()
    }
}

impl Drop for Talker {
    fn drop(&mut self) {
        kill(self.pid, Signal::SIGKILL).expect("kill");
        waitpid(self.pid, None).expect("wait");
    }
}

const NEW_NAME: &std::ffi::CStr = c"netatop-new";

fn talk(one: &Socket, other: &Socket, asked: i32, answer: i32) -> ! {
    let mut byte = [0u8; 1];
    // SAFETY: system calls with a buffer and a name that are as long as they say.
    unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        libc::fcntl(asked, libc::F_SETFL, libc::O_NONBLOCK);
        loop {
            let is_asked = libc::read(asked, byte.as_mut_ptr().cast(), 1) == 1;
            if is_asked {
                libc::prctl(libc::PR_SET_NAME, NEW_NAME.as_ptr(), 0, 0, 0);
            }
            if libc::send(one.raw(), byte.as_ptr().cast(), 1, 0) != 1
                || libc::recv(other.raw(), byte.as_mut_ptr().cast(), 1, 0) != 1
                || (is_asked && libc::write(answer, byte.as_ptr().cast(), 1) != 1)
            {
                libc::_exit(1);
            }
            if is_asked {
                loop {
                    libc::pause();
                }
            }
        }
    }
}

/// It sends at every moment, also during samples, until it has another name. Only its last message
/// can say that it has to be shown again.
#[test]
fn a_process_that_is_renamed_before_its_last_message() {
    for (one, other) in [pair(V4), connected(V4)] {
        let mut storage = Storage::default();
        let sizes = capacity(RemoteMode::Service, false);
        let mut counting = Counting::with_capacity(&mut storage, sizes, &family(), false);
        let mut talker = Talker::new(&one, &other);
        for _ in 0..2 {
            wait_for("traffic", || {
                (!talker.names_in(&counting.interval()).is_empty()).then_some(())
            });
        }
        talker.rename();
        let names = talker.names_in(&counting.interval());
        assert!(!names.is_empty());
        for name in names {
            assert_eq!(name.as_bytes(), NEW_NAME.to_bytes());
        }
    }
}

/// A thread that mostly uses a connected socket as such, and now and then names another end. Through
/// another socket, it sends datagrams in two pieces, with a sample between them.
#[test]
fn calls_that_name_another_end_between_samples() {
    for mode in MODES {
        let split = Split::of_processes(mode);
        let mut storage = Storage::default();
        let sizes = capacity(mode, false);
        let mut counting = Counting::with_capacity(&mut storage, sizes, &family(), false);
        let (client, server) = connected(V4);
        let (corked, _peer) = connected(V4);
        let other = Socket::udp_server(V4);
        let to = other.local();
        for round in 0..6 {
            let truth = Truth::with(udp_ends());
            if round % 3 == 2 {
                piece(&corked, &truth, 5, to, NO_FLAGS);
            }
            client.send(&truth, 10);
            client.send(&truth, 20);
            server.recv(&truth);
            server.recv(&truth);
            if round % 2 == 1 {
                client.send_to(&truth, 30, to);
                client.send(&truth, 40);
                other.recv_from(&truth);
                server.recv(&truth);
            }
            if round % 3 == 1 {
                corked.send_to_flags(&truth, 50, to, MORE);
            }
            assert_rows(&counting.interval(), &truth, split, &format!("{round}"));
        }
    }
}
