//! Nothing depends on where the kernel that it was built for has its fields.
//!
//! The programs are compiled a second time, with the kernel's structs of `bpf/core.h` laid out
//! otherwise. Only instructions with a CO-RE relocation may differ then: these libbpf sets for
//! the running kernel, and refuses to load the program where it finds no such field. What this
//! cannot see is a place that was written as a number (`(char *)task + 3008`), a field reached
//! from its neighbour (`(&task->pid)[1]`), a struct of the kernel that is declared in another
//! header, and constants that the kernel does not promise (`PF_EXITING`).

use std::collections::BTreeSet;
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

/// Where two builds of the programs differ although no relocation says so.
fn differences(one: &Programs, other: &Programs) -> Vec<String> {
    let mut found = Vec::new();
    if one.sections.keys().ne(other.sections.keys()) {
        return vec!["other sections".to_owned()];
    }
    let places = |programs: &Programs| -> BTreeSet<(String, usize)> {
        let place = |r: &Relocation| (r.section.clone(), r.slot);
        programs.relocations.iter().map(place).collect()
    };
    let relocated = places(one);
    if relocated != places(other) {
        found.push("other relocations".to_owned());
    }
    for ((name, one), other) in one.sections.iter().zip(other.sections.values()) {
        let (one, other) = (&one.instructions, &other.instructions);
        if one.len() != other.len() {
            found.push(format!("{name}: {} slots, {}", one.len(), other.len()));
        }
        for (slot, (a, b)) in one.iter().zip(other).enumerate() {
            // The second half of a number is relocated with the first.
            let wide = slot
                .checked_sub(1)
                .filter(|before| one[*before].opcode == LOAD_WIDE);
            let may = relocated.contains(&(name.clone(), wide.unwrap_or(slot)));
            let same = (a.opcode, a.registers) == (b.opcode, b.registers);
            if a != b && !(may && same) {
                found.push(format!("{name}, slot {slot}: {a:?}, {b:?}"));
            }
        }
    }
    found
}

#[test]
fn with_another_layout_only_relocated_instructions_differ() {
    let (before, structs, after) = core();
    let other = compile(&format!("{before}{}{after}", shifted(&structs)));
    let found = differences(&built(), &other);
    assert!(found.is_empty(), "they depend on the layout: {found:#?}");
    // They do differ, or nothing would have been looked at.
    let differ = built()
        .sections
        .values()
        .zip(other.sections.values())
        .any(|(one, other)| one.instructions != other.instructions);
    assert!(differ, "the other layout is the same");
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
