//! Generated at build time from the BPF programs and `bpf/wire.h`.

#![allow(
    clippy::all,
    clippy::expect_used,
    clippy::panic,
    clippy::undocumented_unsafe_blocks,
    clippy::unwrap_used,
    missing_docs,
    unused_imports
)]

include!(concat!(env!("OUT_DIR"), "/netatop.skel.rs"));
