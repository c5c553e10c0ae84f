//! `netatop report`: what recordings say, as a summary for people, as rows, or as a page.

mod bins;
mod changes;
mod collect;
mod data;
mod details;
mod findings;
mod health;
mod hosts;
mod keys;
mod layout;
mod lines;
mod moment;
mod names;
mod notes;
mod output;
mod page;
mod remote;
mod rows;
mod run;
mod sections;
mod sentence;
mod summary;
mod table;
mod texts;
mod timeline;
mod trouble;
mod worst;

pub use keys::Key;
pub use moment::Moment;
pub use output::ReportFormat;
pub use remote::Split;
pub use run::{Options, run};

/// Parsers of files from outside, for `fuzzing`.
pub(crate) mod parsers {
    pub(crate) use super::moment::Moment;
    pub(crate) use super::run::every_report;
}
