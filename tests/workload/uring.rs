//! io_uring: sends and receives without a socket call of the thread.

use io_uring::{IoUring, Probe, cqueue, opcode, squeue, types};
use nix::errno::Errno;
use nix::sys::socket::{self, MsgFlags, Shutdown};

use crate::call::{Call, Result, Unavailable};
use crate::net::{Family, Socket, tcp_pair, udp_pair};
use crate::truth::Truth;

const NO_FLAGS: MsgFlags = MsgFlags::empty();
/// Marks the completions of a multishot receive and of its end.
const MULTISHOT: u64 = 1;

/// A ring with one request at a time.
struct Ring(IoUring);

impl Ring {
    fn new(poller: bool) -> Result<Self> {
        let mut builder = IoUring::builder();
        if poller {
            // A kernel thread of this process polls for requests.
            builder.setup_sqpoll(50);
        }
        let ring = builder
            .build(64)
            .map_err(|error| Unavailable(format!("no io_uring: {error}")))?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        if !probe.is_supported(opcode::SendZc::CODE) {
            return Err(Unavailable("io_uring has no zero copy send".to_owned()).into());
        }
        Ok(Self(ring))
    }

    /// Submits a request.
    ///
    /// # Safety
    ///
    /// The buffers of the request must stay valid until the request has completed.
    unsafe fn submit(&mut self, request: &squeue::Entry) -> Result {
        // SAFETY: the caller promises valid buffers.
        unsafe { self.0.submission().push(request) }?;
        self.0.submit()?;
        Ok(())
    }

    fn next(&mut self) -> Result<cqueue::Entry> {
        loop {
            if let Some(completion) = self.0.completion().next() {
                return Ok(completion);
            }
            match self.0.submit_and_wait(1) {
                Ok(_) => {}
                Err(error) if error.raw_os_error() == Some(Errno::EINTR as i32) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&mut self, truth: &mut Truth, from: &Socket, buf: &[u8], how: How) -> Result {
        let (fd, length) = (types::Fd(from.raw()), buf.len() as u32);
        let request = match how {
            How::ZeroCopy => opcode::SendZc::new(fd, buf.as_ptr(), length).build(),
            How::Plain => opcode::Send::new(fd, buf.as_ptr(), length).build(),
            How::Worker => opcode::Send::new(fd, buf.as_ptr(), length)
                .build()
                .flags(squeue::Flags::ASYNC),
        };
        // SAFETY: the buffer outlives this function, which waits for every completion.
        unsafe { self.submit(&request) }?;
        let completion = self.next()?;
        // A zero copy send has a second completion when its memory can be reused.
        if cqueue::more(completion.flags()) {
            self.next()?;
        }
        truth.sent(from.kind(), length_of(&completion)?);
        Ok(())
    }

    fn recv(&mut self, truth: &mut Truth, to: &Socket, buf: &mut [u8], how: How) -> Result {
        let received = self.recv_uncounted(to, buf, how)?;
        truth.received(to.kind(), received, NO_FLAGS);
        Ok(())
    }

    fn recv_uncounted(&mut self, to: &Socket, buf: &mut [u8], how: How) -> Result<usize> {
        let (fd, length) = (types::Fd(to.raw()), buf.len() as u32);
        let request = opcode::Recv::new(fd, buf.as_mut_ptr(), length).build();
        let request = match how {
            How::Worker => request.flags(squeue::Flags::ASYNC),
            How::Plain | How::ZeroCopy => request,
        };
        // SAFETY: the buffer outlives this function, which waits for the completion.
        unsafe { self.submit(&request) }?;
        length_of(&self.next()?)
    }

    /// One request that receives several later messages. An empty message would end the request.
    fn recv_many(
        &mut self,
        truth: &mut Truth,
        from: &Socket,
        to: &Socket,
        sizes: &[usize],
    ) -> Result {
        const EACH: usize = 512;
        let count = sizes.len() as u16 + 1;
        let mut memory = vec![0; EACH * usize::from(count)];
        let buffers =
            opcode::ProvideBuffers::new(memory.as_mut_ptr(), EACH as i32, count, 7, 0).build();
        // SAFETY: the memory lives until the receive that uses it has ended, below.
        unsafe { self.submit(&buffers) }?;
        length_of(&self.next()?)?;
        let request = opcode::RecvMulti::new(types::Fd(to.raw()), 7)
            .build()
            .user_data(MULTISHOT);
        // SAFETY: as above.
        unsafe { self.submit(&request) }?;
        for size in sizes {
            from.send_whole(truth, &vec![1; *size])?;
            let completion = self.next()?;
            truth.received(to.kind(), length_of(&completion)?, NO_FLAGS);
            if !cqueue::more(completion.flags()) {
                return Err("the multishot receive ended early".into());
            }
        }
        let cancel = opcode::AsyncCancel::new(MULTISHOT)
            .build()
            .user_data(MULTISHOT + 1);
        // SAFETY: a cancellation has no buffers.
        unsafe { self.submit(&cancel) }?;
        // The cancellation and the cancelled request both complete, in either order.
        self.next()?;
        self.next()?;
        let remove = opcode::RemoveBuffers::new(count, 7).build();
        // SAFETY: the memory is no longer in use, and this call takes ownership back.
        unsafe { self.submit(&remove) }?;
        self.next()?;
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum How {
    Plain,
    /// The request runs in a worker thread of the kernel.
    Worker,
    ZeroCopy,
}

fn length_of(completion: &cqueue::Entry) -> Result<usize> {
    let result = completion.result();
    usize::try_from(result).map_err(|_| format!("io_uring: {}", Errno::from_raw(-result)).into())
}

/// `io-uring`: plain, in worker threads, zero copy, multishot, and with a polling thread.
pub fn io_uring(_: &Call, truth: &mut Truth) -> Result {
    let mut buf = [0; 2000];
    let mut ring = Ring::new(false)?;
    let (client, server) = tcp_pair(Family::V4)?;
    let (one, other) = udp_pair(Family::V4)?;
    for (how, base) in [(How::Plain, 150), (How::Worker, 260), (How::ZeroCopy, 370)] {
        for size in [base, base + 1] {
            ring.send(truth, &client, &vec![1; size], how)?;
            ring.recv(truth, &server, &mut buf, how)?;
        }
        for size in [base / 2, base / 3, base / 4] {
            ring.send(truth, &one, &vec![2; size], how)?;
            ring.recv(truth, &other, &mut buf, how)?;
        }
    }
    ring.recv_many(truth, &client, &server, &[90, 91, 92, 93])?;
    ring.recv_many(truth, &one, &other, &[33, 44, 55, 66, 77])?;

    // The end of data is not a message.
    socket::shutdown(other.raw(), Shutdown::Read)?;
    for how in [How::Plain, How::Worker] {
        let received = ring.recv_uncounted(&other, &mut buf, how)?;
        if received != 0 {
            return Err(format!("{received} bytes after a shutdown").into());
        }
    }

    let mut polled = Ring::new(true)?;
    polled.send(truth, &server, &[3; 17], How::Plain)?;
    polled.send(truth, &other, &[4; 19], How::Plain)?;
    polled.recv(truth, &client, &mut buf, How::Plain)
}
