//! Rows split by remote end, compared with what the sockets themselves know: their names, the
//! addresses that calls were given or returned, and the return values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Mutex, OnceLock};

use netatop::kernel::{Capacity, Filter, HostFacts, RemoteRows, Storage, UdpEnds};
use netatop::model::{Counters, End, Extent, Interval, Protocol, Remote, RemoteMode, Role};
use nix::libc;

use super::harness::Counting;

/// A successful call, as its caller knows it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub pid: u32,
    pub tid: u32,
    pub protocol: Protocol,
    pub role: Role,
    pub local: SocketAddr,
    /// `None` if the call could not know it.
    pub remote: Option<SocketAddr>,
    pub netns: Option<u32>,
    pub sent: bool,
    pub bytes: usize,
}

impl Known {
    fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        let (msgs, bytes) = match (self.protocol, self.sent) {
            (Protocol::Tcp, true) => (&mut counters.tcp_send_msgs, &mut counters.tcp_send_bytes),
            (Protocol::Tcp, false) => (&mut counters.tcp_recv_msgs, &mut counters.tcp_recv_bytes),
            (Protocol::Udp, true) => (&mut counters.udp_send_msgs, &mut counters.udp_send_bytes),
            (Protocol::Udp, false) => (&mut counters.udp_recv_msgs, &mut counters.udp_recv_bytes),
        };
        (*msgs, *bytes) = (1, self.bytes as u64);
        counters
    }

    /// The remote end as a row of this mode shows it.
    fn remote(&self, mode: RemoteMode) -> Option<Remote> {
        let peer = self.remote?;
        let local = self.local.ip().to_canonical();
        let scope = match peer {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id(),
            _ => 0,
        };
        let (role, local_port, remote_port) = match mode {
            RemoteMode::Address => (None, false, false),
            RemoteMode::Service => {
                let is_server = self.role == Role::Server;
                (Some(self.role), is_server, !is_server)
            }
            RemoteMode::Socket => (Some(self.role), true, true),
        };
        Some(Remote {
            protocol: self.protocol,
            role,
            local_address: (mode == RemoteMode::Socket && !local.is_unspecified()).then_some(local),
            local_port: local_port.then_some(self.local.port()),
            remote: End {
                address: peer.ip().to_canonical(),
                scope,
                port: remote_port.then_some(peer.port()),
            },
            netns: self.netns,
        })
    }
}

/// All calls of a test.
#[derive(Default)]
pub struct Truth {
    calls: Mutex<Vec<Known>>,
    /// The programs know the sender of a datagram, also if the call does not ask for it.
    pub knows_senders: bool,
}

pub type Rows = BTreeMap<(u32, Option<u32>, Option<Remote>), Counters>;

impl Truth {
    /// For programs that have the remote ends of unconnected UDP from there.
    pub fn with(udp_ends: UdpEnds) -> Self {
        Self {
            knows_senders: udp_ends == UdpEnds::Functions,
            ..Self::default()
        }
    }

    pub fn add(&self, known: Known) {
        if known.protocol == Protocol::Udp || known.bytes > 0 {
            self.calls.lock().expect("no panic").push(known);
        }
    }

    /// How many messages have an unknown remote end.
    fn unknown(&self) -> u64 {
        let calls = self.calls.lock().expect("no panic");
        calls.iter().filter(|call| call.remote.is_none()).count() as u64
    }

    /// The calls for which a filter gives this answer.
    pub fn sifted(&self, keep: impl Fn(&Known) -> bool) -> Self {
        let calls = self.calls.lock().expect("no panic");
        let kept = calls.iter().filter(|call| keep(call)).copied().collect();
        Self {
            calls: Mutex::new(kept),
            ..Self::default()
        }
    }

    /// What could be known if nothing told the remote ends of unconnected UDP sockets. No socket of
    /// the test may be a connected one.
    pub fn without_notes(&self) -> Self {
        let calls = self.calls.lock().expect("no panic");
        let known = calls.iter().map(|call| Known {
            remote: call.remote.filter(|_| call.protocol == Protocol::Tcp),
            ..*call
        });
        Self {
            calls: Mutex::new(known.collect()),
            ..Self::default()
        }
    }

    /// All calls together.
    pub fn total(&self) -> Counters {
        let calls = self.calls.lock().expect("no panic");
        calls.iter().map(Known::counters).sum()
    }

    /// By process, thread (if rows are threads) and remote end (if rows are split by it).
    pub fn rows(&self, split: Split) -> Rows {
        let mut rows = Rows::new();
        for call in self.calls.lock().expect("no panic").iter() {
            let tid = (split.threads && !split.any_thread).then_some(call.tid);
            let remote = split.mode.and_then(|mode| call.remote(mode));
            let key = (call.pid, tid, remote);
            *rows.entry(key).or_default() += call.counters();
        }
        rows
    }
}

/// How rows are split, and how they are compared.
#[derive(Clone, Copy, Debug)]
pub struct Split {
    /// `None` if rows are not split by remote end.
    pub mode: Option<RemoteMode>,
    pub threads: bool,
    /// The kernel chose the threads, which the test cannot know.
    pub any_thread: bool,
}

impl Split {
    /// Rows are processes.
    pub fn of_processes(mode: RemoteMode) -> Self {
        Self {
            mode: Some(mode),
            threads: false,
            any_thread: false,
        }
    }
}

/// Compares each row of an interval.
pub fn assert_rows(interval: &Interval, truth: &Truth, split: Split, case: &str) {
    let expected = truth.rows(split);
    let found = counted(interval, &expected, split);
    assert_eq!(found, expected, "{split:?} {case}");
}

/// The rows of the processes in `truth`.
pub fn counted(interval: &Interval, truth: &Rows, split: Split) -> Rows {
    let mut rows = Rows::new();
    for usage in &interval.usage {
        let pid = usage.last.process.pid;
        if truth.keys().all(|(known, _, _)| *known != pid) {
            continue;
        }
        let tid = (split.threads && !split.any_thread).then_some(usage.last.tid);
        let key = (pid, tid, usage.remote.as_deref().copied());
        *rows.entry(key).or_default() += usage.counters;
    }
    rows
}

/// Where netatop would have the remote ends of unconnected UDP from on this host.
pub fn udp_ends() -> UdpEnds {
    static BEST: OnceLock<UdpEnds> = OnceLock::new();
    *BEST.get_or_init(|| UdpEnds::of_host(&HostFacts::gather()))
}

/// All programs that can tell them on this host. Tests run as root, with cgroup v2.
fn all_udp_ends() -> &'static [UdpEnds] {
    static ALL: OnceLock<Vec<UdpEnds>> = OnceLock::new();
    ALL.get_or_init(|| {
        let all = [
            UdpEnds::Functions,
            UdpEnds::CgroupHooks,
            UdpEnds::HashedCgroupHooks,
        ];
        let loads = |udp_ends: &UdpEnds| udp_ends.can_load();
        all.into_iter().filter(loads).collect()
    })
}

/// The sizes for a mode, as on this host.
pub fn capacity(mode: RemoteMode, threads: bool) -> Capacity {
    Capacity {
        remote: Some(RemoteRows::of_host(mode, threads, udp_ends())),
        ..Capacity::default()
    }
}

/// This process and all processes that it starts.
pub fn family() -> Filter {
    Filter {
        pids: vec![std::process::id()],
        follow: true,
        ..Filter::default()
    }
}

pub const MODES: [RemoteMode; 3] = [RemoteMode::Address, RemoteMode::Service, RemoteMode::Socket];

/// Runs traffic once in each mode, with and without threads, and compares each row. `prepare` runs
/// before the programs are attached.
pub fn split<T>(prepare: impl Fn() -> T, traffic: impl Fn(T, &Truth)) {
    split_of(&family(), false, prepare, traffic);
}

/// The same for traffic in threads that the kernel makes, which no filter follows.
pub fn split_in_workers<T>(prepare: impl Fn() -> T, traffic: impl Fn(T, &Truth)) {
    split_of(&Filter::default(), true, prepare, traffic);
}

fn split_of<T>(
    filter: &Filter,
    any_thread: bool,
    prepare: impl Fn() -> T,
    traffic: impl Fn(T, &Truth),
) {
    for &udp_ends in all_udp_ends() {
        for (mode, threads) in MODES.map(|mode| [(mode, false), (mode, true)]).concat() {
            // The map of notes makes no difference to rows, so one way to split them is enough.
            let is_hashed = udp_ends == UdpEnds::HashedCgroupHooks;
            if is_hashed && (mode != RemoteMode::Socket || !threads) {
                continue;
            }
            let split = Split {
                mode: Some(mode),
                threads,
                any_thread,
            };
            let prepared = prepare();
            let mut storage = Storage::default();
            let sizes = Capacity {
                remote: Some(RemoteRows::of_host(mode, threads, udp_ends)),
                ..Capacity::default()
            };
            let mut counting = Counting::with_capacity(&mut storage, sizes, filter, threads);
            let truth = Truth::with(udp_ends);
            traffic(prepared, &truth);
            let losses = counting.sample(Extent::Changes).losses;
            let interval = counting.interval();
            assert!(!truth.rows(split).is_empty(), "no traffic");
            assert_rows(&interval, &truth, split, &format!("{udp_ends:?}"));
            assert!(interval.unattributed.is_zero(), "{split:?}");
            assert_eq!(losses.remote_full, 0, "{split:?}");
            if !filter.pids.is_empty() {
                assert_eq!(losses.remote_unknown, truth.unknown(), "{split:?}");
            }
        }
    }
}

/// A process that does `work` with sockets of this process. Returns its pid after its end.
pub fn in_child(work: impl FnOnce() -> bool) -> u32 {
    // SAFETY: the child only makes system calls, and allocates, which glibc allows after a fork.
    match unsafe { nix::unistd::fork() }.expect("fork") {
        nix::unistd::ForkResult::Child => {
            let done = work();
            // SAFETY: ends the process without running the destructors of the test.
            unsafe { libc::_exit(i32::from(!done)) }
        }
        nix::unistd::ForkResult::Parent { child } => {
            let status = nix::sys::wait::waitpid(child, None).expect("wait");
            let well = matches!(status, nix::sys::wait::WaitStatus::Exited(_, 0));
            assert!(well, "{status:?}");
            child.as_raw() as u32
        }
    }
}
