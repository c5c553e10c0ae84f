//! Tests the real BPF programs in the running kernel, with real traffic.
//!
//! Needs root. Every comparison is with the workload's own counts, never with another figure of
//! netatop.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod cgroups;
mod check;
mod classic;
mod command;
mod commands;
mod credentials;
mod end_to_end;
mod endings;
mod ends;
mod ends_networks;
mod ends_record;
mod faults;
mod filters;
mod formats;
mod harness;
mod iperf;
mod life;
mod loss;
mod memory;
mod names;
mod namespaces;
mod news;
mod operations;
mod outcome;
mod output;
mod places;
mod podman;
mod refusals;
mod remote;
mod remote_again;
mod remote_crowd;
mod remote_datagram;
mod remote_many;
mod remote_messages;
mod remote_names;
mod remote_netns;
mod remote_pieces;
mod remote_role;
mod remote_samples;
mod remote_scenes;
mod remote_socket;
mod remote_stream;
mod remote_uring;
mod soak;
mod stress;
mod systemd;
mod tcp;
mod tcp_files;
mod tcp_memory;
mod tcp_owner;
mod tcp_reuse;
mod tcp_rows;
mod tcp_running;
mod terminals;
mod who;
mod who_record;
mod who_units;
