//! Threads that send equal datagrams on command.

use std::sync::{Condvar, Mutex, PoisonError};

use crate::call::{Call, Result, next_line, own_name};
use crate::exec::become_program;
use crate::net::{Sink, Socket};
use crate::tasks::Bell;
use crate::truth::{Kind, Line, Truth};

struct Chorus {
    turn: Mutex<Turn>,
    called: Condvar,
    sender: Socket,
    /// Drops the datagrams.
    _sink: Sink,
    bell: Bell,
    message: Vec<u8>,
}

/// The number of the turn, and how many threads send in it.
#[derive(Clone, Copy, Default)]
struct Turn {
    number: usize,
    singers: usize,
}

impl Chorus {
    /// The loop of all threads except the first.
    fn stand(&self, place: usize) -> Result {
        let mut done = 0;
        loop {
            let turn = self.next(done);
            done = turn.number;
            if place < turn.singers {
                self.bell.ring(self.send().is_ok())?;
            }
        }
    }

    fn next(&self, done: usize) -> Turn {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = self.called.wait_while(turn, |turn| turn.number == done);
        *turn.unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self) -> Result {
        self.sender.send_whole(&mut Truth::default(), &self.message)
    }

    /// Makes `singers` threads send, and returns after they have sent.
    fn sing(&self, singers: usize) -> Result {
        if singers == 0 {
            return Ok(());
        }
        {
            let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
            turn.number += 1;
            turn.singers = singers;
        }
        self.called.notify_all();
        self.send()?;
        self.bell.listen(singers - 1)
    }
}

/// `chorus`: `n=` threads, of which the calling thread is the first. A line with a number on standard
/// input makes this number of threads send a datagram of `size=` bytes each. A line with a path
/// executes that program with the counts so far. The process prints its line when all threads exist,
/// and after each line of input.
pub fn chorus(call: &Call) -> Result {
    let count = call.number("n", 100)?.max(1);
    let size = call.number("size", 32)?;
    let sink = Sink::new()?;
    let chorus: &'static Chorus = Box::leak(Box::new(Chorus {
        turn: Mutex::default(),
        called: Condvar::new(),
        sender: sink.sender()?,
        _sink: sink,
        bell: Bell::new()?,
        message: vec![1; size],
    }));
    for place in 1..count {
        std::thread::Builder::new()
            .stack_size(32 << 10)
            .spawn(move || chorus.stand(place))?;
    }
    let mut truth = call.carried()?;
    loop {
        Line::this_process(&own_name()?, &truth).print()?;
        let Some(line) = next_line()? else {
            return Ok(());
        };
        let Ok(singers) = line.parse::<usize>() else {
            let carry = format!("carry={}", truth.to_argument());
            let arguments = ["chorus", "n=1", &format!("size={size}"), &carry];
            match become_program(line.into(), &arguments.map(str::to_owned))? {}
        };
        let singers = singers.min(count);
        chorus.sing(singers)?;
        for _ in 0..singers {
            truth.sent(Kind::Udp, size);
        }
    }
}
