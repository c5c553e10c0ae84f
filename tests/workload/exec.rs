//! Processes that execute another program. An argument passes on the counts so far.

use std::convert::Infallible;
use std::ffi::CString;
use std::os::unix::ffi::OsStringExt;
use std::sync::mpsc::channel;

use crate::call::{Call, Result, own_name};
use crate::net::mixed_traffic;
use crate::truth::{Line, Truth};

/// The real path of this program. The kernel names a process after the path.
pub fn own_path() -> Result<CString> {
    Ok(CString::new(
        std::env::current_exe()?.into_os_string().into_vec(),
    )?)
}

/// Executes the workload again.
fn become_workload(arguments: &[String]) -> Result<Infallible> {
    become_program(own_path()?.into_bytes(), arguments)
}

/// Executes the workload under another path. The name of the file becomes the process name.
pub fn become_program(path: Vec<u8>, arguments: &[String]) -> Result<Infallible> {
    let mut argv = vec![CString::new("workload")?];
    for argument in arguments {
        argv.push(CString::new(argument.as_str())?);
    }
    Ok(nix::unistd::execv(&CString::new(path)?, &argv)?)
}

fn passed_on(call: &Call, truth: Truth) -> [String; 2] {
    [
        format!("carry={}", truth.to_argument()),
        format!("hold={}", u8::from(call.flag("hold"))),
    ]
}

/// `exec-chain`: `n=` execs in a row, with traffic before and after each.
pub fn chain(call: &Call) -> Result {
    let left = call.number("n", 5)?;
    let mut truth = call.carried()?;
    mixed_traffic(&mut truth, left)?;
    if left == 0 {
        Line::this_process(&own_name()?, &truth).print()?;
        return call.hold();
    }
    let mut arguments = vec!["exec-chain".to_owned(), format!("n={}", left - 1)];
    arguments.extend(passed_on(call, truth));
    match become_workload(&arguments)? {}
}

/// `exec-thread`: the leader and two threads send. Then a thread other than the leader executes the
/// scenario `tcp`.
pub fn thread(call: &Call) -> Result {
    let mut truth = call.carried()?;
    mixed_traffic(&mut truth, 1)?;
    let (told, heard) = channel();
    std::thread::spawn(move || {
        let mut mine = Truth::default();
        let result = mixed_traffic(&mut mine, 2).map(|()| mine);
        let told = told.send(result);
        // Wait: the exec ends this thread.
        while told.is_ok() {
            std::thread::park();
        }
    });
    let arguments = passed_on(call, Truth::default());
    let executor = std::thread::spawn(move || -> Result<Infallible> {
        mixed_traffic(&mut truth, 3)?;
        truth.add(&heard.recv()??);
        let [_, hold] = arguments;
        let carry = format!("carry={}", truth.to_argument());
        become_workload(&["tcp".to_owned(), carry, hold])
    });
    match executor.join().map_err(|_| "the thread panicked")?? {}
}
