//! The compiled BPF programs: that they run on every kernel from the oldest one on, and
//! depend on the layout of none.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod benches;
mod floor;
mod growth;
mod layout;
mod object;
mod stack;

use object::Programs;

/// The object as it is in the program.
const BUILT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/netatop.o"));

/// As they are in the program.
fn built() -> Programs {
    let programs = Programs::read(BUILT);
    let slots = programs.sections.values().map(|s| s.instructions.len());
    assert!(slots.sum::<usize>() > 100, "the programs were not found");
    programs
}
