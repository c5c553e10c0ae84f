//! Shows which process sent and received how much over TCP and UDP.
//!
//! The modules form layers. A module uses only modules below it, and no two modules depend on each
//! other; `tests/source` checks both.
//!
//! ```text
//! fuzzing                                the parsers of outside input, for the fuzzer
//! cli                                    the command line: parser, help, man pages
//! record  report  serve  check           one module for each subcommand; none uses another
//! completions
//! session                                when to sample, when to stop
//! rollup                                 grouping, sorting, top N, "(other)"
//! recording                              reads what `record` has written
//! output                                 rows to table, CSV and JSON Lines
//! kernel                                 the BPF programs; the only module that uses libbpf
//! privileged                             the copy of the program with capabilities
//! signals                                Ctrl-C, SIGTERM and SIGHUP
//! host                                   facts about the host: cgroups, users, boot time, resolver
//! source                                 the trait behind which the kernel or a test script stands
//! model                                  counters, processes, the ledger, rows
//! error                                  error types and exit statuses
//! text                                   escaping, units, messages to the user
//! inherited                              what the Rust runtime changes before `main`
//! ```

// `print!` and `eprint!` panic if the stream is closed; `text::to_stderr` does not.
#![deny(clippy::print_stderr, clippy::print_stdout)]
// The other ways to panic are denied in Cargo.toml.
#![deny(clippy::indexing_slicing, clippy::string_slice)]

pub mod check;
pub mod cli;
pub mod completions;
pub mod error;
#[doc(hidden)]
pub mod fuzzing;
pub mod host;
mod inherited;
pub mod kernel;
pub mod model;
pub mod output;
pub mod privileged;
pub mod record;
pub mod recording;
pub mod report;
pub mod rollup;
pub mod serve;
pub mod session;
pub mod signals;
pub mod source;
pub mod text;
