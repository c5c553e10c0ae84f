//! Only what the oldest kernel has, Linux 6.3, is used of the kernel.

use super::built;
use super::object::{CALL, Instruction, LOAD_WIDE};

/// The last helper of Linux 6.3 (include/uapi/linux/bpf.h): bpf_cgrp_storage_delete.
const LAST_HELPER: i32 = 211;
/// The last kind of map: BPF_MAP_TYPE_CGRP_STORAGE.
const LAST_MAP_TYPE: usize = 32;
/// bpf_probe_read and bpf_probe_read_str, and those of them for user and kernel memory: they check
/// nothing of what they are told to read, and lockdown refuses those that can read kernel memory.
const PROBE_READS: [i32; 6] = [4, 45, 112, 113, 114, 115];
/// bpf_probe_read_user reads memory of the running process only, and lockdown allows it
/// (`bpf_tracing_func_proto` in kernel/trace/bpf_trace.c).
const USER_READ: i32 = 112;
/// The programs that may use it: they read the arguments of a process.
const OF_ARGUMENTS: [&str; 2] = ["tp_btf/sched_process_exec", "tp/sched/sched_process_exec"];
/// Functions of the kernel that may be called, and the release that brought each.
const FUNCTIONS: [(&str, (u32, u32)); 2] = [
    ("bpf_rdonly_cast", (6, 2)),
    ("bpf_cast_to_kern_ctx", (6, 2)),
];
/// And from programs of classic tracepoints, which are loaded from Linux 7.0 on: they are older,
/// but such programs may call them only since 6.12.
const CLASSIC: [(&str, (u32, u32)); 2] = [
    ("bpf_task_from_pid", (6, 12)),
    ("bpf_task_release", (6, 12)),
];

/// Helpers that are called, by section and number.
fn helpers() -> Vec<(String, i32)> {
    let mut found = Vec::new();
    for (name, section) in built().sections {
        let mut instructions = section.instructions.into_iter();
        while let Some(instruction) = instructions.next() {
            if instruction.opcode == LOAD_WIDE {
                instructions.next();
            } else if instruction.opcode == CALL && instruction.source() == 0 {
                found.push((name.clone(), instruction.immediate));
            }
        }
    }
    assert!(!found.is_empty(), "no call was found");
    found
}

#[test]
fn only_helpers_of_the_oldest_kernel_are_called() {
    for (section, helper) in helpers() {
        assert!(
            (1..=LAST_HELPER).contains(&helper),
            "{section} calls helper {helper}"
        );
    }
}

#[test]
fn no_memory_is_read_by_address() {
    for (section, helper) in helpers() {
        let may_read = helper == USER_READ && OF_ARGUMENTS.contains(&section.as_str());
        assert!(
            may_read || !PROBE_READS.contains(&helper),
            "{section} reads memory with helper {helper}: lockdown refuses that"
        );
    }
}

#[test]
fn only_known_functions_of_the_kernel_are_called() {
    for (name, section) in built().sections {
        let classic = name.starts_with("tp/");
        let (floor, more) = if classic {
            ((7, 0), CLASSIC.as_slice())
        } else {
            ((6, 3), [].as_slice())
        };
        for function in section.externs {
            let mut known = FUNCTIONS.iter().chain(more);
            let (_, since) = known
                .find(|(known, _)| *known == function)
                .unwrap_or_else(|| {
                    panic!("{name} needs {function} of the kernel: which release brought it?")
                });
            assert!(*since <= floor, "{function} came with Linux {since:?}");
        }
    }
}

#[test]
fn only_maps_of_the_oldest_kernel_are_used() {
    let maps = built().maps;
    assert!(!maps.is_empty(), "no map was found");
    for (name, kind) in maps {
        assert!(
            (1..=LAST_MAP_TYPE).contains(&kind),
            "{name} is of type {kind}"
        );
    }
}

/// Whether it came later than -mcpu=v3: instructions of v4 (Linux 6.6), may_goto (6.9), casts
/// of address spaces (6.9), and atomic loads and stores (6.15).
fn is_newer(instruction: Instruction) -> bool {
    let Instruction {
        opcode,
        offset,
        immediate,
        ..
    } = instruction;
    let (class, operation) = (opcode & 7, opcode & 0xf0);
    match class {
        // BPF_LDX: BPF_MEMSX.
        1 => opcode & 0xe0 == 0x80,
        // BPF_STX: BPF_ATOMIC with BPF_LOAD_ACQ or BPF_STORE_REL.
        3 => opcode & 0xe0 == 0xc0 && matches!(immediate, 0x100 | 0x110),
        // BPF_JMP: may_goto.
        5 => operation == 0xe0,
        // BPF_JMP32: a far jump.
        6 => operation == 0,
        // BPF_ALU and BPF_ALU64: signed division, moves that extend signs, casts of address spaces.
        4 | 7 if matches!(operation, 0x30 | 0x90 | 0xb0) => offset != 0,
        // BPF_ALU64: an unconditional swap of bytes.
        7 => operation == 0xd0,
        _ => false,
    }
}

#[test]
fn only_instructions_of_the_oldest_kernel_are_used() {
    for (name, section) in built().sections {
        let mut slots = section.instructions.into_iter().enumerate();
        while let Some((slot, instruction)) = slots.next() {
            if instruction.opcode == LOAD_WIDE {
                slots.next();
            }
            assert!(!is_newer(instruction), "{name}, {slot}: {instruction:?}");
        }
    }
}
