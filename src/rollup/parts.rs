//! The traffic of one process or thread, split by remote end.

use std::mem;
use std::ops::AddAssign;
use std::rc::Rc;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

use crate::model::{Counters, Health, Remote};

/// The remote end of a part. `None` means that it is not known, or that rows are not split.
pub(super) type MaybeRemote = Option<Rc<Remote>>;

/// What is added up in a row.
#[derive(Clone, Debug, Default)]
pub(super) struct Amount {
    pub(super) counters: Counters,
    pub(super) tcp: Health,
}

impl Amount {
    pub(super) fn is_zero(&self) -> bool {
        self.counters.is_zero() && self.tcp.get().is_none()
    }
}

impl AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.counters += other.counters;
        self.tcp += other.tcp;
    }
}

/// Traffic by remote end. Most processes have one part, which needs no allocation.
#[derive(Debug, Default)]
pub(super) enum Parts {
    #[default]
    Empty,
    One(MaybeRemote, Amount),
    Many(Box<IndexMap<MaybeRemote, Amount, RandomState>>),
}

impl Parts {
    /// Adds traffic with one remote end. Returns whether this is a new part.
    pub(super) fn add(&mut self, remote: MaybeRemote, amount: Amount) -> bool {
        match self {
            Self::Empty => *self = Self::One(remote, amount),
            Self::One(known, sum) if *known == remote => {
                *sum += amount;
                return false;
            }
            Self::One(..) => {
                let mut parts: IndexMap<_, _, _> = mem::take(self).into_iter().collect();
                parts.insert(remote, amount);
                *self = Self::Many(Box::new(parts));
            }
            Self::Many(parts) => {
                let before = parts.len();
                *parts.entry(remote).or_default() += amount;
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
            Self::One(_, amount) => amount.counters,
            Self::Many(parts) => parts.values().map(|amount| amount.counters).sum(),
        }
    }

    /// All parts, in no particular order.
    pub(super) fn into_iter(self) -> impl Iterator<Item = (MaybeRemote, Amount)> {
        let (one, many) = match self {
            Self::Empty => (None, None),
            Self::One(remote, amount) => (Some((remote, amount)), None),
            Self::Many(parts) => (None, Some(parts)),
        };
        one.into_iter()
            .chain(many.into_iter().flat_map(|parts| *parts))
    }
}
