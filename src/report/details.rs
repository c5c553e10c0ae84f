//! What is known of processes apart from their ids: names, users, cgroups.

use std::rc::Rc;

use super::texts::Texts;
use crate::recording::{Field, Row, Stop};

/// The fields of a process that do not identify it.
pub(super) const DETAILS: [Field; 8] = [
    Field::Comm,
    Field::Uid,
    Field::Cgroup,
    Field::Start,
    Field::StartNs,
    Field::State,
    Field::Unit,
    Field::Container,
];

/// What is known of one process.
#[derive(Clone, Debug, Default)]
pub(super) struct Detail {
    /// The time of the row that it is from, in milliseconds since 1970.
    time: i64,
    /// The texts of [`DETAILS`].
    pub(super) texts: [Option<Rc<str>>; DETAILS.len()],
}

/// What is known of all processes, by the number of their owner.
#[derive(Debug, Default)]
pub(super) struct Details {
    all: Vec<Detail>,
    texts: Texts,
}

impl Details {
    /// What is known of an owner.
    pub(super) fn get(&self, owner: u32) -> Option<&Detail> {
        self.all.get(owner as usize)
    }

    /// Keeps the latest name, user and state of a process.
    pub(super) fn note(&mut self, owner: usize, row: &Row<'_>) -> Stop {
        if self.all.len() <= owner {
            self.all.resize_with(owner + 1, Detail::default);
        }
        if let Some(detail) = self.all.get_mut(owner)
            && detail.time <= row.time
        {
            detail.time = row.time;
            for (text, field) in detail.texts.iter_mut().zip(DETAILS) {
                *text = match (row.text(field)?, field) {
                    // Each process has a start of its own.
                    (Some(text), Field::Start | Field::StartNs) => Some(text.into()),
                    (Some(text), _) => Some(self.texts.get(text)),
                    (None, _) => None,
                };
            }
        }
        Ok(())
    }
}
