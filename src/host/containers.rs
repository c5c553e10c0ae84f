//! Looks up the names of containers in the background, so that a slow disk delays no sample.

use std::cell::RefCell;
use std::num::NonZeroUsize;
use std::path::Path;
use std::rc::Rc;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use foldhash::fast::RandomState;
use lru::LruCache;
use nix::unistd::{Uid, User};

use super::runtimes::{self, Container};

/// How many containers are remembered.
const MOST_KNOWN: NonZeroUsize = NonZeroUsize::MIN.saturating_add(8191);

/// How many containers wait for the look-up.
const MOST_ASKED: usize = 1024;

/// How long a row waits for the name of its container. It waits only once: if the disk is slower
/// than that, the containers of this recording that are not known by then have no names.
const PATIENCE: Duration = Duration::from_millis(100);

/// Looks up the name of a container. It may take any time.
type LookUp = dyn Fn(&Container) -> Option<String> + Send;

type Answer = (Container, Option<String>);

/// The names of containers.
pub(super) struct Containers(RefCell<Known>);

struct Known {
    /// `None` while it is being looked up.
    names: LruCache<Container, Option<Option<Rc<str>>>, RandomState>,
    queue: SyncSender<Container>,
    answers: Receiver<Answer>,
    is_slow: bool,
}

impl std::fmt::Debug for Containers {
    fn fmt(&self, to: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        to.debug_struct("Containers").finish_non_exhaustive()
    }
}

impl Containers {
    /// The containers of this host. `None` if there can be no thread to look them up.
    pub(super) fn of_host() -> Option<Self> {
        let home = |user| Some(User::from_uid(Uid::from_raw(user)).ok()??.dir);
        Self::with(Box::new(move |container| {
            runtimes::name(Path::new("/"), home, container)
        }))
    }

    fn with(look_up: Box<LookUp>) -> Option<Self> {
        let (queue, waiting) = sync_channel::<Container>(MOST_ASKED);
        let (done, answers) = sync_channel(MOST_ASKED);
        let work = move || {
            for container in waiting {
                let name = look_up(&container);
                if done.send((container, name)).is_err() {
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("containers".to_owned());
        thread.spawn(work).ok()?;
        Some(Self(RefCell::new(Known {
            names: LruCache::with_hasher(MOST_KNOWN, RandomState::default()),
            queue,
            answers,
            is_slow: false,
        })))
    }

    /// Begins to look up a container, which may soon be gone.
    pub(super) fn ask(&self, container: &Container) {
        if let Ok(mut known) = self.0.try_borrow_mut() {
            known.ask(container);
        }
    }

    /// The name of a container. `None` if its runtime leaves none, or if it is not known in time.
    pub(super) fn name(&self, container: &Container) -> Option<Rc<str>> {
        self.0.try_borrow_mut().ok()?.name(container)
    }
}

impl Known {
    fn ask(&mut self, container: &Container) -> bool {
        self.take_answers();
        if self.names.contains(container) {
            return true;
        }
        let is_asked = self.queue.try_send(container.clone()).is_ok();
        if is_asked {
            self.names.put(container.clone(), None);
        }
        is_asked
    }

    fn name(&mut self, container: &Container) -> Option<Rc<str>> {
        self.take_answers();
        if let Some(Some(Some(name))) = self.names.get(container) {
            return Some(Rc::clone(name));
        }
        // When the cgroup was made, its runtime may not have written the file yet.
        if matches!(self.names.peek(container), Some(Some(None))) {
            self.names.pop(container);
        }
        if !self.ask(container) {
            return None;
        }
        let begun = Instant::now();
        while !self.is_slow && matches!(self.names.peek(container), Some(None)) {
            let left = PATIENCE.saturating_sub(begun.elapsed());
            match self.answers.recv_timeout(left) {
                Ok(answer) => self.enter(answer),
                Err(_) => self.is_slow = true,
            }
        }
        self.names.get(container)?.clone()?
    }

    fn take_answers(&mut self) {
        loop {
            match self.answers.try_recv() {
                Ok(answer) => self.enter(answer),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn enter(&mut self, (container, name): Answer) {
        self.names.put(container, Some(name.map(Rc::from)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::{Arc, Mutex, mpsc};

    use super::*;
    use crate::host::Cgroup;

    fn id(number: usize) -> String {
        format!("{number:064x}")
    }

    fn container(number: usize) -> Container {
        Container {
            id: id(number),
            user: None,
        }
    }

    #[test]
    fn a_cgroup_has_the_name_of_its_container_or_its_id() {
        let look_up = |container: &Container| match container.user {
            Some(user) => Some(format!("of-{user}")),
            None => (container.id == id(1)).then(|| "web".to_owned()),
        };
        let containers = Rc::new(Containers::with(Box::new(look_up)).expect("a thread"));
        for (path, expected) in [
            (format!("/docker/{}", id(1)), "web"),
            (format!("/docker/{}/init.scope", id(1)), "web"),
            (format!("/docker/{}", id(2)), "000000000000"),
            (
                format!(
                    "/user.slice/user-7.slice/user@7.service/user.slice/libpod-{}.scope",
                    id(1)
                ),
                "of-7",
            ),
            (
                format!(
                    "/user.slice/user-0.slice/user@0.service/user.slice/libpod-{}.scope",
                    id(1)
                ),
                "web",
            ),
            ("/lxc.payload.own".to_owned(), "own"),
        ] {
            let cgroup = Cgroup::with(path.as_str(), Some(&containers));
            cgroup.ask();
            assert_eq!(
                cgroup.container().map(AsRef::as_ref),
                Some(expected),
                "{path}"
            );
        }
    }

    #[test]
    fn what_is_asked_for_early_is_known_when_its_files_are_gone() {
        let calls = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&calls);
        // The file is there once: a container of `--rm`.
        let look_up = move |_: &Container| {
            let is_first = counted.fetch_add(1, Ordering::SeqCst) == 0;
            is_first.then(|| "short".to_owned())
        };
        let containers = Containers::with(Box::new(look_up)).expect("a thread");
        containers.ask(&container(1));
        for _ in 0..3 {
            assert_eq!(containers.name(&container(1)).as_deref(), Some("short"));
        }
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        // What was not there then is looked for again when it is needed.
        containers.ask(&container(2));
        assert_eq!(containers.name(&container(2)), None);
        assert!((2..=3).contains(&calls.load(Ordering::SeqCst)));
    }

    #[test]
    fn a_disk_that_does_not_answer_is_waited_for_once() {
        let (go, wait) = mpsc::channel::<()>();
        let wait = Mutex::new(wait);
        let look_up = move |_: &Container| {
            wait.lock().expect("a lock").recv().ok()?;
            Some("late".to_owned())
        };
        let containers = Containers::with(Box::new(look_up)).expect("a thread");
        for number in 0..2 * MOST_ASKED {
            assert_eq!(containers.name(&container(number)), None);
        }
        assert!(containers.0.borrow().is_slow);
        go.send(()).expect("the thread");
        let found = (0..1_000_000).find_map(|_| {
            thread::yield_now();
            containers.name(&container(0))
        });
        assert_eq!(found.as_deref(), Some("late"));
    }
}
