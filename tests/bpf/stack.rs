//! The stack of the programs: 512 bytes for a program and all functions that it calls. Newer kernels
//! give a program more where they can, so a program that needs more loads there, and on older ones it
//! does not.

use std::collections::{BTreeMap, HashMap};

use object::read::{Object, ObjectSection, ObjectSymbol, SymbolKind};
use object::{RelocationTarget, SectionIndex};

use super::BUILT;
use super::object::{CALL, Instruction, LOAD_WIDE, instruction, is_code};

/// MAX_BPF_STACK (include/linux/filter.h).
const MOST: u64 = 512;
/// Each frame is rounded up to this (check_max_stack_depth_subprog in kernel/bpf/verifier.c).
const ROUNDED_TO: u64 = 32;
/// The register with the address of the frame.
const FRAME: u8 = 10;
/// BPF_ALU64 | BPF_MOV | BPF_X.
const MOVE: u8 = 0xbf;
/// BPF_ALU64 | BPF_ADD | BPF_K.
const ADD: u8 = 0x07;

/// Where a function begins: a section, and the number of an instruction in it.
type Place = (usize, u64);

#[derive(Debug)]
struct Function {
    name: String,
    frame: u64,
    callees: Vec<Place>,
}

/// The distance from the end of the frame that an instruction reaches. `before` is the instruction
/// before it: `r2 = r10`, then `r2 += -40`.
fn reach(instruction: Instruction, before: Option<Instruction>) -> u64 {
    let of_frame = |one: Instruction| one.opcode == MOVE && one.source() == FRAME;
    let distance = match instruction.opcode & 7 {
        1 if instruction.source() == FRAME => i32::from(instruction.offset),
        2 | 3 if instruction.destination() == FRAME => i32::from(instruction.offset),
        _ if instruction.opcode == ADD && before.is_some_and(of_frame) => instruction.immediate,
        _ => 0,
    };
    u64::from(distance.min(0).unsigned_abs())
}

fn functions() -> BTreeMap<Place, Function> {
    let file = object::File::parse(BUILT).expect("an ELF file");
    let endianness = file.endianness();
    let mut found = BTreeMap::new();
    for section in file.sections().filter(is_code) {
        let code: Vec<_> = section
            .data()
            .expect("its bytes")
            .chunks_exact(8)
            .map(|bytes| instruction(bytes, endianness))
            .collect();
        // `None` for functions of the kernel, which have their own stack.
        let targets: HashMap<u64, Option<Place>> = section
            .relocations()
            .filter_map(|(at, relocation)| match relocation.target() {
                RelocationTarget::Symbol(index) => {
                    let symbol = file.symbol_by_index(index).ok()?;
                    let place = |of: SectionIndex| (of.0, symbol.address() / 8);
                    Some((at / 8, symbol.section_index().map(place)))
                }
                _ => None,
            })
            .collect();
        for symbol in file.symbols() {
            if symbol.section_index() != Some(section.index()) || symbol.kind() != SymbolKind::Text
            {
                continue;
            }
            let (start, end) = (symbol.address() / 8, (symbol.address() + symbol.size()) / 8);
            let mut function = Function {
                name: symbol.name().expect("a name").to_owned(),
                frame: 0,
                callees: Vec::new(),
            };
            let mut before = None;
            let mut is_half = false;
            for at in start..end {
                let one = code[usize::try_from(at).expect("an index")];
                if std::mem::take(&mut is_half) {
                    before = None;
                    continue;
                }
                is_half = one.opcode == LOAD_WIDE;
                function.frame = function.frame.max(reach(one, before));
                if one.opcode == CALL && one.source() == 1 {
                    let here = Some((section.index().0, at));
                    if let Some((of, base)) = *targets.get(&at).unwrap_or(&here) {
                        let to = base.checked_add_signed(i64::from(one.immediate) + 1);
                        function.callees.push((of, to.expect("an index")));
                    }
                }
                before = Some(one);
            }
            found.insert((section.index().0, start), function);
        }
    }
    found
}

/// The stack that a function needs, and the functions on the deepest way.
fn depth(functions: &BTreeMap<Place, Function>, place: Place) -> (u64, Vec<&str>) {
    let function = &functions[&place];
    let deepest = function.callees.iter().map(|to| depth(functions, *to));
    let (below, mut way) = deepest.max().unwrap_or_default();
    way.push(&function.name);
    (
        function.frame.max(1).next_multiple_of(ROUNDED_TO) + below,
        way,
    )
}

#[test]
fn all_programs_fit_the_stack_of_every_kernel() {
    let functions = functions();
    let depths: Vec<_> = functions
        .keys()
        .map(|place| depth(&functions, *place))
        .collect();
    let too_deep: Vec<_> = depths.iter().filter(|(bytes, _)| *bytes > MOST).collect();
    assert!(too_deep.is_empty(), "{too_deep:?}");
    assert!(depths.len() > 40, "the programs were not found");
    assert!(
        depths
            .iter()
            .any(|(bytes, way)| *bytes > 256 && way.len() > 1),
        "calls were not followed: {depths:?}"
    );
}
