//! A process that does what it is told, line by line: traffic in between changes of who it is.

use std::ffi::CString;

use nix::libc;
use nix::unistd::{Uid, execv, setresuid};

use crate::call::{Call, Result, next_line, own_name};
use crate::truth::{Line, Truth};
use crate::{datagram, stream};

/// `told`: reads lines until the end of standard input. After `name NAME` the calling thread has
/// this name, after `uid N` the process is this user's, and after `exec PATH` it is another program,
/// which goes on. `traffic`, and `thread NAME` in a thread of this name, print a line with what was
/// sent and received, over TCP and UDP, IPv4 and IPv6.
pub fn told(call: &Call) -> Result {
    while let Some(line) = next_line()? {
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("name", name) => take_name(name)?,
            ("uid", number) => {
                let user = Uid::from_raw(number.parse()?);
                setresuid(user, user, user)?;
            }
            ("exec", path) => {
                let path = CString::new(path)?;
                execv(&path, &[path.as_c_str(), c"told"])?;
            }
            ("thread", name) => {
                std::thread::scope(|scope| {
                    let thread = scope.spawn(|| take_name(name).and_then(|()| traffic(call)));
                    thread.join().map_err(|_| "the thread has panicked")?
                })?
                .print()?;
            }
            ("traffic", _) => traffic(call)?.print()?,
            _ => return Err(format!("nobody does '{line}'").into()),
        }
    }
    Ok(())
}

fn take_name(name: &str) -> Result {
    let name = CString::new(name)?;
    // SAFETY: the name is terminated.
    let set = unsafe { libc::prctl(libc::PR_SET_NAME, name.as_ptr(), 0, 0, 0) };
    nix::errno::Errno::result(set)?;
    Ok(())
}

/// Some traffic of each kind, within this process.
fn traffic(call: &Call) -> Result<Line> {
    let mut truth = Truth::default();
    for kind in [stream::tcp, stream::tcp6, datagram::udp, datagram::udp6] {
        kind(call, &mut truth)?;
    }
    Ok(Line::this_process(&own_name()?, &truth))
}
