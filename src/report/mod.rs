//! `netatop report`: what recordings say, as a summary for people, as rows, or as a page.

mod bins;
mod changes;
mod collect;
mod data;
mod findings;
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
mod summary;
mod table;
mod timeline;

pub use keys::Key;
pub use moment::Moment;
pub use output::ReportFormat;
pub use remote::Split;
pub use run::{Options, run};
