//! Names of remote addresses, from the resolver of the host.
//!
//! A call of the resolver can take many seconds. So the calls are made in threads of their own.
//! Nothing waits for these threads, not even the end of the program.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use lru::LruCache;
use nix::libc::{NI_NAMEREQD, NI_NUMERICSERV};

use super::proc::{host_netns, namespace};
use crate::error::Error;
use crate::model::Remote;

/// How many calls of the resolver run at the same time.
const THREADS: usize = 8;

/// How many addresses are being looked up or wait for it. Others are not looked up until they occur
/// again.
const MOST_ASKED: usize = 1024;

/// How many addresses are remembered. Each takes about 200 bytes.
const MOST_KNOWN: usize = 1 << 16;

/// How old a name can be before it is looked up again. The resolver does not tell how long a name
/// is valid.
const NAME_AGE: Duration = Duration::from_secs(600);

/// How long an address without a name is not looked up again.
const FAILURE_AGE: Duration = Duration::from_secs(60);

/// The length of the longest name, in bytes (RFC 1035, section 2.3.4, as text).
const LONGEST: usize = 253;

/// Looks up the name of an address. It may take any time.
type Lookup = dyn Fn(&SocketAddr) -> Option<String> + Send + Sync;

/// Looks up names of addresses in the background, and remembers them.
pub struct Resolver {
    known: LruCache<SocketAddr, Known, RandomState>,
    /// What is being looked up, or waits for it.
    asked: HashSet<SocketAddr, RandomState>,
    queue: Sender<SocketAddr>,
    answers: Receiver<(SocketAddr, Option<String>)>,
    /// The network namespace of netatop, as rows have it.
    netns: Option<u32>,
}

/// An answer of the resolver.
struct Known {
    name: Option<Rc<str>>,
    /// When it is looked up again, if the address occurs.
    expires: Option<Instant>,
}

impl Resolver {
    /// Starts the threads that call getnameinfo(3). It asks what /etc/nsswitch.conf says, such as
    /// /etc/hosts and DNS.
    ///
    /// # Errors
    ///
    /// If the threads could not be started.
    pub fn start() -> Result<Self, Error> {
        let own = namespace("net").and_then(|inode| u32::try_from(inode).ok());
        let netns = own.filter(|own| host_netns() != Some(*own));
        Self::with(Arc::new(look_up), netns)
    }

    fn with(lookup: Arc<Lookup>, netns: Option<u32>) -> Result<Self, Error> {
        let (queue, waiting) = channel();
        let (done, answers) = channel();
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..THREADS {
            let (waiting, done, lookup) = (waiting.clone(), done.clone(), lookup.clone());
            thread::Builder::new()
                .name("resolver".to_owned())
                .spawn(move || work(&waiting, &done, &*lookup))
                .map_err(|error| Error::failed("no thread to look up names", error))?;
        }
        Ok(Self {
            known: LruCache::unbounded_with_hasher(RandomState::default()),
            asked: HashSet::default(),
            queue,
            answers,
            netns,
        })
    }

    /// The name of a remote end, if it is known. If not, or if the name is old, the address is looked
    /// up in the background. This function never waits.
    pub fn name(&mut self, remote: &Remote, now: Instant) -> Option<Rc<str>> {
        self.take_answers(now);
        let address = self.address(remote)?;
        let known = self.known.get(&address);
        let is_fresh = known.is_some_and(|known| known.expires.is_none_or(|at| now < at));
        let name = known.and_then(|known| known.name.clone());
        if !is_fresh && self.asked.len() < MOST_ASKED && self.asked.insert(address) {
            // The threads end only with this struct.
            let sent = self.queue.send(address);
            debug_assert!(sent.is_ok());
        }
        name
    }

    fn take_answers(&mut self, now: Instant) {
        for (address, name) in self.answers.try_iter() {
            self.asked.remove(&address);
            let name = name.filter(|name| is_name(name)).map(Rc::from);
            let age = match name {
                Some(_) => NAME_AGE,
                None => FAILURE_AGE,
            };
            let expires = now.checked_add(age);
            self.known.put(address, Known { name, expires });
            if self.known.len() > MOST_KNOWN {
                self.known.pop_lru();
            }
        }
    }

    /// The address to look up. `None` if its name would say nothing, or would be that of another
    /// host: loopback and link-local addresses mean something else in each network namespace.
    fn address(&self, remote: &Remote) -> Option<SocketAddr> {
        let end = remote.remote;
        let is_local = match end.address {
            IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
        };
        if end.address.is_unspecified() || (is_local && remote.netns != self.netns) {
            return None;
        }
        Some(match end.address {
            IpAddr::V4(_) => SocketAddr::new(end.address, 0),
            IpAddr::V6(v6) => SocketAddrV6::new(v6, 0, 0, end.scope).into(),
        })
    }
}

/// The loop of a thread. It ends when the resolver is gone.
fn work(
    waiting: &Mutex<Receiver<SocketAddr>>,
    done: &Sender<(SocketAddr, Option<String>)>,
    lookup: &Lookup,
) {
    loop {
        let Ok(Ok(address)) = waiting.lock().map(|waiting| waiting.recv()) else {
            return;
        };
        if done.send((address, lookup(&address))).is_err() {
            return;
        }
    }
}

/// Asks the resolver of the host. Each failure means that there is no name for now.
fn look_up(address: &SocketAddr) -> Option<String> {
    let looked_up = dns_lookup::getnameinfo(address, NI_NAMEREQD | NI_NUMERICSERV);
    looked_up.ok().map(|(name, _)| name)
}

/// Whether an answer is a name. Whoever owns an address chooses its name, so it can be anything. A
/// name that looks like an address would be taken for another host.
fn is_name(name: &str) -> bool {
    let is_address = name.trim_end_matches('.').parse::<IpAddr>().is_ok();
    !name.is_empty() && name.len() <= LONGEST && !is_address
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{End, Protocol};

    fn remote(address: &str) -> Remote {
        Remote {
            protocol: Protocol::Udp,
            role: None,
            local_address: None,
            local_port: None,
            remote: End {
                address: address.parse().expect("an address"),
                scope: 0,
                port: None,
            },
            netns: None,
        }
    }

    fn numbered(number: u32) -> Remote {
        remote(&std::net::Ipv4Addr::from(0x0a00_0000 + number).to_string())
    }

    /// A resolver whose calls wait until the test answers them.
    struct Fake {
        resolver: Resolver,
        calls: Arc<AtomicUsize>,
        answers: Sender<Option<String>>,
        now: Instant,
    }

    impl Fake {
        fn new() -> Self {
            let calls = Arc::new(AtomicUsize::new(0));
            let (answers, given) = channel();
            let (counted, given) = (calls.clone(), Mutex::new(given));
            let lookup = move |_: &SocketAddr| {
                counted.fetch_add(1, Ordering::SeqCst);
                given.lock().ok()?.recv().ok()?
            };
            Self {
                resolver: Resolver::with(Arc::new(lookup), None).expect("threads"),
                calls,
                answers,
                now: Instant::now(),
            }
        }

        fn name(&mut self, remote: &Remote) -> Option<Rc<str>> {
            self.resolver.name(remote, self.now)
        }

        /// Lets a call return, and waits until its answer was taken.
        fn answer(&mut self, name: Option<&str>) {
            let asked = self.resolver.asked.len();
            self.answers.send(name.map(Into::into)).expect("a resolver");
            while self.resolver.asked.len() == asked {
                self.resolver.take_answers(self.now);
                thread::yield_now();
            }
        }
    }

    #[test]
    fn a_slow_resolver_is_asked_once_for_each_address() {
        let mut fake = Fake::new();
        let (one, other) = (remote("192.0.2.1"), remote("192.0.2.2"));
        for _ in 0..10 {
            assert_eq!(fake.name(&one), None);
        }
        fake.answer(Some("one.example"));
        for _ in 0..10 {
            assert_eq!(fake.name(&one).as_deref(), Some("one.example"));
        }
        assert_eq!(fake.name(&other), None);
        fake.answer(Some("other.example"));
        assert_eq!(fake.name(&other).as_deref(), Some("other.example"));
        assert_eq!(fake.calls.load(Ordering::SeqCst), 2);
    }

    /// Nothing waits for the calls, and what found no room is asked when it occurs again.
    #[test]
    fn a_hanging_resolver_delays_nothing() {
        let mut fake = Fake::new();
        let many = u32::try_from(2 * MOST_ASKED).expect("small");
        for number in 0..many {
            assert_eq!(fake.name(&numbered(number)), None);
        }
        assert_eq!(fake.resolver.asked.len(), MOST_ASKED);
        let last = numbered(many - 1);
        assert_eq!(fake.name(&last), None);
        let address = fake.resolver.address(&last).expect("global");
        assert!(!fake.resolver.asked.contains(&address));
        fake.answer(None);
        fake.name(&last);
        assert!(fake.resolver.asked.contains(&address));
        let Fake {
            resolver, answers, ..
        } = fake;
        drop(resolver);
        drop(answers);
    }

    #[test]
    fn a_failure_is_remembered_for_a_while() {
        let mut fake = Fake::new();
        let one = remote("2001:db8::1");
        fake.name(&one);
        fake.answer(None);
        fake.now += FAILURE_AGE - Duration::from_millis(1);
        assert_eq!(fake.name(&one), None);
        assert!(fake.resolver.asked.is_empty());
        fake.now += Duration::from_millis(1);
        assert_eq!(fake.name(&one), None);
        fake.answer(Some("late.example"));
        assert_eq!(fake.name(&one).as_deref(), Some("late.example"));
    }

    #[test]
    fn an_old_name_stays_until_the_new_answer() {
        let mut fake = Fake::new();
        let one = remote("192.0.2.1");
        fake.name(&one);
        fake.answer(Some("old.example"));
        fake.now += NAME_AGE;
        assert_eq!(fake.name(&one).as_deref(), Some("old.example"));
        assert_eq!(fake.resolver.asked.len(), 1);
        fake.answer(Some("new.example"));
        assert_eq!(fake.name(&one).as_deref(), Some("new.example"));
        assert!(fake.resolver.asked.is_empty());
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        let mut fake = Fake::new();
        let [longest, long] = [LONGEST, LONGEST + 1].map(|bytes| "a".repeat(bytes));
        let bad = ["", "8.8.8.8", "8.8.8.8.", "::1", &long];
        for (number, name) in (0..).zip(bad) {
            let one = numbered(number);
            fake.name(&one);
            fake.answer(Some(name));
            assert_eq!(fake.name(&one), None, "{name}");
        }
        fake.name(&numbered(99));
        fake.answer(Some(&longest));
        assert_eq!(fake.name(&numbered(99)).as_deref(), Some(longest.as_str()));
    }

    #[test]
    fn memory_is_bounded() {
        let lookup = |address: &SocketAddr| Some(format!("{}.example", address.ip()));
        let mut resolver = Resolver::with(Arc::new(lookup), None).expect("threads");
        let now = Instant::now();
        let many = u32::try_from(MOST_KNOWN + 100).expect("small");
        for number in 0..many {
            let one = numbered(number);
            while resolver.name(&one, now).is_none() {
                // The first one is used all the time.
                resolver.name(&numbered(0), now);
            }
        }
        assert_eq!(resolver.known.len(), MOST_KNOWN);
        assert!(resolver.name(&numbered(0), now).is_some());
        assert!(resolver.name(&numbered(1), now).is_none());
    }

    #[test]
    fn addresses_of_another_network_namespace_may_be_those_of_another_host() {
        let address = |own: Option<u32>, address: &str, netns| {
            let resolver = Resolver::with(Arc::new(|_: &SocketAddr| None), own);
            let mut remote = remote(address);
            (remote.netns, remote.remote.scope) = (netns, 3);
            resolver.expect("threads").address(&remote)
        };
        for local in ["127.0.0.1", "127.3.2.1", "169.254.1.2", "::1", "fe80::1"] {
            assert!(address(None, local, None).is_some(), "{local}");
            assert!(address(Some(5), local, Some(5)).is_some(), "{local}");
            assert_eq!(address(None, local, Some(5)), None, "{local}");
            assert_eq!(address(Some(5), local, None), None, "{local}");
        }
        for global in ["192.0.2.1", "10.0.0.1", "2001:db8::1"] {
            assert!(address(None, global, Some(5)).is_some(), "{global}");
        }
        for none in ["0.0.0.0", "::"] {
            assert_eq!(address(None, none, None), None);
        }
        let scoped = SocketAddrV6::new("fe80::1".parse().expect("an address"), 0, 0, 3);
        assert_eq!(address(None, "fe80::1", None), Some(scoped.into()));
    }

    proptest! {
        #[test]
        fn no_name_is_an_address(name in ".{0,300}", v4: [u8; 4], v6: [u16; 8]) {
            prop_assert!(!is_name(&name) || name.parse::<IpAddr>().is_err());
            prop_assert!(!is_name(&IpAddr::from(v4).to_string()));
            prop_assert!(!is_name(&IpAddr::from(v6).to_string()));
        }
    }
}
