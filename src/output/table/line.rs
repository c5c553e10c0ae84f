//! A row of a table, before its columns are chosen.

use std::borrow::Cow;

use crate::model::{Counters, Remote};

/// A row as text.
pub(super) struct Line<'a> {
    pub(super) ids: Vec<String>,
    pub(super) name: Cow<'a, str>,
    pub(super) exited: bool,
    /// The user and the path of the cgroup, of a process.
    pub(super) user: String,
    pub(super) cgroup: Cow<'a, str>,
    pub(super) end: End<'a>,
    pub(super) counters: Counters,
}

/// The remote end of a row.
pub(super) enum End<'a> {
    /// The row stands for traffic with many remote ends, such as the total.
    None,
    Unknown,
    Known(&'a Remote),
}
