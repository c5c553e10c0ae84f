//! The traffic of one process or thread, split by remote end.

use std::mem;
use std::rc::Rc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::model::{Counters, Remote};

/// The remote end of a part. `None` means that it is not known, or that rows are not split.
pub(super) type MaybeRemote = Option<Rc<Remote>>;

/// Traffic by remote end. Most processes have one part, which needs no allocation.
#[derive(Debug, Default)]
pub(super) enum Parts {
    #[default]
    Empty,
    One(MaybeRemote, Counters),
    Many(Box<IndexMap<MaybeRemote, Counters, RandomState>>),
}

impl Parts {
    /// Adds traffic with one remote end. Returns whether this is a new part.
    pub(super) fn add(&mut self, remote: MaybeRemote, counters: Counters) -> bool {
        match self {
            Self::Empty => *self = Self::One(remote, counters),
            Self::One(known, sum) if *known == remote => {
                *sum += counters;
                return false;
            }
            Self::One(..) => {
                let mut parts: IndexMap<_, _, _> = mem::take(self).into_iter().collect();
                parts.insert(remote, counters);
                *self = Self::Many(Box::new(parts));
            }
            Self::Many(parts) => {
                let before = parts.len();
                *parts.entry(remote).or_default() += counters;
                return parts.len() > before;
            }
        }
        true
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::One(..) => 1,
            Self::Many(parts) => parts.len(),
        }
    }

    /// The sum of all parts.
    pub(super) fn total(&self) -> Counters {
        match self {
            Self::Empty => Counters::default(),
            Self::One(_, counters) => *counters,
            Self::Many(parts) => parts.values().copied().sum(),
        }
    }

    /// All parts, in no particular order.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (MaybeRemote, Counters)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(remote, counters) => (Some((remote, counters)), None),
            Self::Many(parts) => (None, Some(parts)),
        };
        one.into_iter()
            .chain(many.into_iter().flat_map(|parts| *parts))
    }
}
