//! Fuzzing of a client connection: all possible actions of the other end.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::Instant;

use super::accounts::Accounts;
use super::client::{Client, Peer};
use super::protocol::{self, Record};
use super::view::{Baseline, View, Viewer};
use crate::model::{Comm, Counters};

/// Interprets each byte as an action of a client: writing, reading, or closing. Returns the bytes
/// that it sent and received, if it stayed to the end.
pub(crate) fn drive(bytes: &[u8]) -> std::io::Result<Option<Exchanged>> {
    let now = Instant::now();
    let (ours, theirs) = UnixStream::pair()?;
    let mut theirs = theirs;
    theirs.set_nonblocking(true)?;
    let accounts = Accounts::default();
    let viewer = Viewer::User(1);
    let baseline = Rc::new(Baseline::new(&accounts, viewer));
    let view = View::new(viewer, baseline, &accounts, now);
    let peer = Peer { uid: 1, pid: 1 };
    let mut client = Client::new(ours, peer, view, now)?;
    let mut exchanged = Exchanged::default();
    let mut ended = false;
    for action in bytes {
        match action {
            0..=127 if !ended => {
                if let Ok(count) = theirs.write(&vec![0; usize::from(*action) * 2 + 1]) {
                    exchanged.sent += count;
                }
            }
            128..=250 => {
                let mut room = vec![0; usize::from(*action - 127) * 100];
                if let Ok(count) = theirs.read(&mut room) {
                    exchanged.received.extend(room.into_iter().take(count));
                }
            }
            251..=253 => {
                theirs.shutdown(Shutdown::Write)?;
                ended = true;
            }
            254 => {
                drop(theirs);
                let _ = client.read();
                let _ = client.write(now);
                return Ok(None);
            }
            _ => {}
        }
        if turn(&mut client, now).is_err() {
            break;
        }
    }
    theirs.shutdown(Shutdown::Write)?;
    loop {
        let gone = turn(&mut client, now).is_err();
        let mut room = vec![0; 1 << 16];
        while let Ok(count @ 1..) = theirs.read(&mut room) {
            exchanged.received.extend(room.iter().take(count));
        }
        if gone {
            return Ok(Some(exchanged));
        }
    }
}

/// The number of bytes that a client sent, and the bytes that it received.
#[derive(Debug, Default)]
pub(crate) struct Exchanged {
    pub(super) sent: usize,
    pub(super) received: Vec<u8>,
}

/// Number of processes in a reply. They do not fit into one write.
pub(super) const PROCESSES: u32 = 400;

/// Reads, answers and writes as the server does.
fn turn(client: &mut Client, now: Instant) -> Result<(), super::client::Gone> {
    if !client.is_busy() {
        client.read()?;
    }
    if client.has_asked() {
        client.answer(now, |_| {
            let mut reply = Vec::new();
            for pid in 1..=PROCESSES {
                let record = Record {
                    pid,
                    btime: 0,
                    comm: Comm::default(),
                    counters: Counters::default(),
                };
                protocol::push(&mut reply, &record);
            }
            protocol::push_end(&mut reply);
            reply
        });
    }
    if client.is_busy() {
        client.write(now)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// A client that stays gets one whole reply for each request.
        #[test]
        fn each_request_is_answered_once(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Some(exchanged) = drive(&bytes).expect("sockets") {
                let reply = (PROCESSES as usize + 1) * 96;
                prop_assert_eq!(exchanged.received.len(), exchanged.sent / 96 * reply);
            }
        }
    }
}
