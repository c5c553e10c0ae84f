//! The real programs, in the running kernel, against real traffic.
//!
//! Needs root. Every comparison is with what the workload itself counted, never with
//! another figure of netatop's own.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cgroups;
mod check;
mod classic;
mod command;
mod credentials;
mod end_to_end;
mod endings;
mod faults;
mod filters;
mod formats;
mod harness;
mod iperf;
mod life;
mod loss;
mod memory;
mod namespaces;
mod news;
mod operations;
mod outcome;
mod output;
mod places;
mod refusals;
mod soak;
mod stress;
mod terminals;
