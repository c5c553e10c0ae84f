//! Tests of `netatop serve` with real traffic, real clients, and the real atop.
//!
//! Needs root. Every comparison is with the counts of the workload itself. By default, the sizes
//! are reduced; `NETATOP_TEST_SCALE=1` restores them, as `scaled` describes.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod activation;
mod atop;
mod bounds;
mod client;
mod crowd;
mod exits;
mod faults;
#[allow(
    dead_code,
    reason = "shared with the tests of record, which use the rest"
)]
#[path = "../kernel/harness.rs"]
mod harness;
mod life;
mod server;
mod users;

/// Scales a size to the available time: `whole` multiplied by NETATOP_TEST_SCALE (default: 1/50),
/// and at least `least`.
fn scaled(whole: usize, least: usize) -> usize {
    let scale = std::env::var("NETATOP_TEST_SCALE").map_or(0.02, |text| {
        text.parse::<f64>().expect("NETATOP_TEST_SCALE is a number")
    });
    ((whole as f64 * scale) as usize).max(least)
}
