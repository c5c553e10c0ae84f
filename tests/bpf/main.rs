//! The compiled BPF programs: that they run on every kernel from the oldest one on, and
//! depend on the layout of none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod benches;
mod floor;
mod growth;
mod layout;
mod object;

use object::Programs;

/// As they are in the program.
fn built() -> Programs {
    let bytes = include_bytes!(concat!(env!("OUT_DIR"), "/netatop.o"));
    let programs = Programs::read(bytes);
    let slots = programs.sections.values().map(|s| s.instructions.len());
    assert!(slots.sum::<usize>() > 100, "the programs were not found");
    programs
}
