//! Says exactly which process sent and received how much over TCP and UDP.
//!
//! The way of the data:
//!
//! ```text
//! bpf/       socket call -> its thread's counters      thread ends -> exit record
//! kernel     loads and attaches that, reads both       (the only part that knows libbpf)
//! source     a sample: the living, the exits, the losses
//! model      the ledger turns samples into what each process did in an interval
//! record     when to sample; naming, grouping and ordering of rows
//! output     rows to table, csv, json
//! serve      the same samples, as totals for atop
//! ```
//!
//! Beside it, `check` says whether all that is possible on this host.

// They panic when nobody can be told; error::tell does not.
#![deny(clippy::print_stderr, clippy::print_stdout)]
// The other ways to panic are denied in Cargo.toml.
#![deny(clippy::indexing_slicing, clippy::string_slice)]

pub mod check;
pub mod cli;
pub mod completions;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod kernel;
pub mod model;
pub mod output;
pub mod record;
pub mod serve;
pub mod signals;
pub mod source;
