//! A row of a table, before its columns are chosen.

use std::borrow::Cow;

use super::shorten::{Ellipsis, shorten};
use crate::model::{Counters, Remote, Tcp};

/// A row as text.
pub(super) struct Line<'a> {
    pub(super) ids: Vec<String>,
    pub(super) name: Cow<'a, str>,
    pub(super) exited: bool,
    /// The user of a process.
    pub(super) user: String,
    /// The container of a process, else its unit, else the path of its cgroup.
    pub(super) place: Cow<'a, str>,
    pub(super) end: End<'a>,
    pub(super) counters: Counters,
    /// TCP's own account; 0 if there is none.
    pub(super) tcp: Tcp,
}

/// The remote end of a row.
pub(super) enum End<'a> {
    /// The row stands for traffic with many remote ends, such as the total.
    None,
    Unknown,
    /// The name is printable.
    Known(&'a Remote, Option<Cow<'a, str>>),
}

/// The width of names of remote hosts on a terminal. A longer one would take the place of other
/// columns.
const LONGEST_NAME: usize = 32;

impl End<'_> {
    /// Shortens the name for a terminal. `mark` stands for what is left out.
    pub(super) fn shorten(&mut self, mark: &str) {
        if let Self::Known(_, Some(name)) = self {
            *name = shorten(name, LONGEST_NAME, Ellipsis::Middle, mark).into();
        }
    }
}
