//! `netatop record`: counts traffic for a while and writes rows.

mod command;
mod run;
mod summary;
mod targets;
mod terminal;
mod who;
mod writer;

pub use run::{Options, run};
pub use targets::Targets;

/// Parsers of files from outside, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::writer::keys;
}
