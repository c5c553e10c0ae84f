//! Makes TCP and UDP traffic on loopback, and reports its exact amount. The kernel tests compare
//! netatop's figures with this independent truth.
//!
//! `workload SCENARIO [KEY=VALUE]...` runs one scenario, prints one JSON line for each process with
//! traffic, and ends. The counts come from the return values of the workload's own calls, with
//! netatop's rules of counting. They never come from the kernel's statistics. Counts that cannot be
//! known this way are null. If the kernel does not support a scenario, the workload prints
//! `{"unavailable":"why"}`.
//!
//! Options of every scenario: `delay-go=1` waits for a line on standard input before the traffic,
//! and `hold=1` waits for the end of standard input after the traffic. `workload list` lists the
//! scenarios.

mod bulk;
mod call;
mod chorus;
mod crowd;
mod datagram;
mod exec;
mod flow;
mod health;
mod net;
mod process;
mod refused;
mod storm;
mod stream;
mod tasks;
mod threads;
mod told;
mod truth;
mod uring;

use std::process::ExitCode;

use call::{Call, Result, Unavailable};
use truth::{Line, Truth};

/// The kind of a scenario.
#[derive(Clone, Copy)]
enum Scenario {
    /// Traffic of this process only; the function fills in the truth.
    Operation(fn(&Call, &mut Truth) -> Result),
    /// Several tasks; the function prints their lines.
    Tasks(fn(&Call) -> Result),
}

use Scenario::{Operation, Tasks};

const SCENARIOS: &[(&str, Scenario)] = &[
    ("tcp", Operation(stream::tcp)),
    ("tcp6", Operation(stream::tcp6)),
    ("mapped", Operation(stream::mapped)),
    ("udp", Operation(datagram::udp)),
    ("udp6", Operation(datagram::udp6)),
    ("udp-connected", Operation(datagram::connected)),
    ("errors", Operation(refused::errors)),
    ("peek", Operation(refused::peek)),
    ("errqueue", Operation(refused::errqueue)),
    ("eof", Operation(stream::eof)),
    ("empty-datagram", Operation(datagram::empty)),
    ("udp-shutdown", Operation(datagram::shut_down)),
    ("short-buffer", Operation(datagram::short_buffer)),
    ("trunc", Operation(refused::trunc)),
    ("mmsg", Operation(datagram::mmsg)),
    ("gso", Operation(datagram::gso)),
    ("sendfile", Operation(bulk::sendfile)),
    ("splice-in", Operation(bulk::splice_in)),
    ("splice-out", Operation(bulk::splice_out)),
    ("zerocopy-send", Operation(bulk::zerocopy_send)),
    ("zerocopy-receive", Operation(bulk::zerocopy_receive)),
    ("io-uring", Operation(uring::io_uring)),
    ("mptcp", Operation(stream::mptcp)),
    ("raw", Operation(refused::raw)),
    ("unix", Operation(stream::unix)),
    ("writev", Operation(stream::writev)),
    ("oob", Operation(stream::oob)),
    ("tcp-nonblock-big", Operation(stream::nonblock_big)),
    ("threads", Tasks(threads::threads)),
    ("worker", Tasks(threads::worker)),
    ("leader-exits", Tasks(threads::leader_exits)),
    ("exec-thread", Tasks(exec::thread)),
    ("exec-chain", Tasks(exec::chain)),
    ("exit-group", Tasks(threads::exit_group)),
    ("sigkill", Tasks(process::sigkill)),
    ("zombie", Tasks(process::zombie)),
    ("name", Tasks(process::name)),
    ("fork-tree", Tasks(crowd::fork_tree)),
    ("passed-socket", Tasks(process::passed_socket)),
    ("inherited-socket", Tasks(process::inherited_socket)),
    ("process-storm", Tasks(storm::process_storm)),
    ("thread-storm", Tasks(storm::thread_storm)),
    ("live-threads", Tasks(storm::live_threads)),
    ("live-processes", Tasks(crowd::live_processes)),
    ("chorus", Tasks(chorus::chorus)),
    ("many-sockets", Tasks(crowd::many_sockets)),
    ("fork-bomb", Tasks(crowd::fork_bomb)),
    ("all-end", Tasks(crowd::all_end)),
    ("burst", Operation(health::burst)),
    ("listener", Tasks(health::listener)),
    ("prefork", Tasks(health::prefork)),
    ("told", Tasks(told::told)),
    ("flow", Tasks(flow::tcp)),
    ("udp-flow", Tasks(flow::udp)),
];

fn main() -> ExitCode {
    match run(std::env::args().skip(1)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(Unavailable(why)) = error.downcast_ref() {
                let line = serde_json::Map::from_iter([("unavailable".into(), why.clone().into())]);
                if truth::print_value(&line.into()).is_ok() {
                    return ExitCode::SUCCESS;
                }
            }
            eprintln!("workload: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut arguments: impl Iterator<Item = String>) -> Result {
    let name = arguments.next().unwrap_or_default();
    if name == "list" {
        for (name, _) in SCENARIOS {
            println!("{name}");
        }
        return Ok(());
    }
    if name == "one-datagram" {
        return storm::one_datagram(&Call::parse(arguments)?);
    }
    let (_, scenario) = SCENARIOS
        .iter()
        .find(|(known, _)| *known == name)
        .ok_or_else(|| format!("there is no scenario '{name}'; see: workload list"))?;
    let call = Call::parse(arguments)?;
    if call.flag("delay-go") {
        call::wait_for_line()?;
    }
    match scenario {
        Operation(operate) => {
            let mut truth = call.carried()?;
            operate(&call, &mut truth)?;
            Line::this_process(&call::own_name()?, &truth).print()?;
            call.hold()
        }
        Tasks(live) => live(&call),
    }
}
