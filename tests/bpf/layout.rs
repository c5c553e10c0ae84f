//! Nothing depends on where the kernel that it was built for has its fields.
//!
//! The programs are compiled a second time, with the kernel's structs of `bpf/core.h` laid out
//! otherwise. Only numbers with a CO-RE relocation may differ then: these libbpf sets for the
//! running kernel, and refuses to load the program where it finds no such field. What this
//! cannot see is a place that was written as a number (`(char *)task + 3008`), a field reached
//! from its neighbour (`(&task->pid)[1]`), a struct of the kernel that is declared in another
//! header, and constants that the kernel does not promise (`PF_EXITING`).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::fs;
use std::path::Path;

use libbpf_cargo::SkeletonBuilder;

use super::built;
use super::object::{LOAD_WIDE, Programs, Relocation};

const BEGIN: &str = "#pragma clang attribute push(__attribute__((preserve_access_index))";
const END: &str = "#pragma clang attribute pop";

/// The text of `core.h`: before the structs of the kernel, they, and what is behind.
fn core() -> (String, String, String) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf/core.h");
    let text = fs::read_to_string(path).expect("bpf/core.h");
    let (before, rest) = text.split_once(BEGIN).expect("the kernel's structs");
    let (structs, after) = rest.split_once(END).expect("their end");
    for line in before.lines().chain(after.lines()) {
        assert!(!line.contains("struct {"), "outside of that part: {line}");
        assert!(!line.starts_with("struct "), "outside of that part: {line}");
    }
    // The rest of the line that begins them.
    let (push, structs) = structs.split_once('\n').expect("a line");
    (
        format!("{before}{BEGIN}{push}\n"),
        structs.to_owned(),
        format!("{END}{after}"),
    )
}

/// Whether a line declares a field: `clang-format` gives each a line of its own.
fn is_field(line: &str) -> bool {
    line.starts_with('\t') && line.ends_with(';')
}

/// The fields of the kernel's structs, each with the type that it is a field of.
fn declared() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    let mut fields: Vec<String> = Vec::new();
    let mut tag = String::new();
    let (_, structs, _) = core();
    for line in structs.lines() {
        if let Some(name) = line.strip_prefix("struct ") {
            tag = name.trim_end_matches(" {").to_owned();
        } else if line == "typedef struct {" {
            tag.clear();
        } else if is_field(line) {
            let name = line.trim_end_matches(';').split('[').next();
            let mut words = name.expect("a name").split([' ', '*', '\t']);
            fields.push(words.next_back().expect("a name").to_owned());
        } else if let Some(end) = line.strip_prefix('}') {
            let typedef = end.trim_matches([' ', ';']);
            let of = if tag.is_empty() { typedef } else { &tag };
            found.extend(fields.drain(..).map(|field| (of.to_owned(), field)));
        }
    }
    assert!(!found.is_empty(), "no field was found");
    found
}

/// Compiles the programs with another `core.h`.
fn compile(core: &str) -> Programs {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let bpf = Path::new(env!("CARGO_MANIFEST_DIR")).join("bpf");
    for entry in fs::read_dir(bpf).expect("bpf") {
        let entry = entry.expect("an entry");
        fs::copy(entry.path(), dir.path().join(entry.file_name())).expect("a copy");
    }
    fs::write(dir.path().join("core.h"), core).expect("core.h");
    let object = dir.path().join("netatop.o");
    SkeletonBuilder::new()
        .source(dir.path().join("netatop.bpf.c"))
        .obj(&object)
        .clang_args(["-mcpu=v3"])
        .build()
        .expect("the programs can be compiled");
    Programs::read(&fs::read(object).expect("an object"))
}

/// Puts something before each field of the kernel's structs, by which every field has another
/// place and another distance to the next. Multiples of 8 bytes: what a compiler may assume of
/// a field's alignment stays as it is.
fn shifted(structs: &str) -> String {
    let mut text = String::new();
    for (number, line) in structs.lines().enumerate() {
        if is_field(line) {
            let size = 8 * (1 + number % 5);
            text.push_str(&format!("\tunsigned char __shift{number}[{size}];\n"));
        }
        text.push_str(line);
        text.push('\n');
    }
    text
}

/// A number in a program, with what is done with it: what a layout could be in.
type Number = (String, u8, i16, i32);

/// All numbers of the programs that no relocation sets, and how often each comes. Not where
/// they are, in which registers, and on the stack: that is the compiler's affair, which orders
/// what has no order otherwise when a name is longer.
fn numbers(programs: &Programs) -> BTreeMap<Number, usize> {
    let place = |r: &Relocation| (r.section.clone(), r.slot);
    let relocated: BTreeSet<_> = programs.relocations.iter().map(place).collect();
    let mut found = BTreeMap::new();
    for (name, section) in &programs.sections {
        let mut slots = section.instructions.iter().enumerate();
        while let Some((slot, instruction)) = slots.next() {
            // The second half of a number is relocated with the first.
            let half = (instruction.opcode == LOAD_WIDE)
                .then(|| slots.next())
                .flatten();
            if relocated.contains(&(name.clone(), slot)) || instruction.is_layout_free() {
                continue;
            }
            for number in [Some(instruction), half.map(|(_, half)| half)] {
                let Some(number) = number else { continue };
                let key = (name.clone(), number.opcode, number.offset, number.immediate);
                *found.entry(key).or_default() += 1;
            }
        }
    }
    found
}

/// What is relocated, and how often, whatever the numbers of fields are.
fn accesses(programs: &Programs) -> BTreeMap<String, usize> {
    let mut found = BTreeMap::new();
    for relocation in &programs.relocations {
        let Relocation {
            section,
            kind,
            root,
            path,
            ..
        } = relocation;
        let access = format!("{section}, kind {kind}: {root}, {path:?}");
        *found.entry(access).or_default() += 1;
    }
    found
}

/// What is in one and not in the other, or not as often.
fn apart<K: Ord + Clone + Debug>(one: &BTreeMap<K, usize>, other: &BTreeMap<K, usize>) -> String {
    let mut text = String::new();
    let keys: BTreeSet<&K> = one.keys().chain(other.keys()).collect();
    for key in keys {
        let (a, b) = (one.get(key), other.get(key));
        if a != b {
            writeln!(text, "{key:?}: {a:?}, {b:?}").expect("memory");
        }
    }
    text
}

/// Where two builds of the programs differ although no relocation says so.
fn differences(one: &Programs, other: &Programs) -> String {
    apart(&accesses(one), &accesses(other)) + &apart(&numbers(one), &numbers(other))
}

#[test]
fn with_another_layout_only_relocated_numbers_differ() {
    let (before, structs, after) = core();
    let other = compile(&format!("{before}{}{after}", shifted(&structs)));
    let found = differences(&built(), &other);
    assert!(found.is_empty(), "they depend on the layout:\n{found}");
    // They do differ, or nothing would have been looked at.
    assert_ne!(built().sections, other.sections);
}

#[test]
fn without_relocations_another_layout_would_be_noticed() {
    let (before, structs, after) = core();
    let before = before.split(BEGIN).next().expect("the beginning");
    let after = after.strip_prefix(END).expect("the end");
    let bare = |structs: &str| compile(&format!("{before}{structs}{after}"));
    let found = differences(&bare(&structs), &bare(&shifted(&structs)));
    assert!(!found.is_empty());
}

#[test]
fn every_field_of_the_kernels_structs_is_relocated() {
    let relocated: BTreeSet<(String, String)> = built()
        .relocations
        .into_iter()
        .flat_map(|relocation| relocation.path)
        .collect();
    let missing: Vec<_> = declared()
        .into_iter()
        // Of a struct that is only passed on.
        .filter(|(_, field)| field != "__opaque")
        .filter(|field| !relocated.contains(field))
        .collect();
    assert!(
        missing.is_empty(),
        "bpf/core.h declares what no program reads by relocation: {missing:?}"
    );
}

#[test]
fn relocations_are_for_structs_of_the_kernel_only() {
    let declared = declared();
    for relocation in built().relocations {
        for field in &relocation.path {
            assert!(declared.contains(field), "{relocation:?}");
        }
    }
}
