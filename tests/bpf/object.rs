//! Reads a compiled BPF object: its instructions, and what libbpf changes in them before
//! the kernel sees them.

use std::collections::BTreeMap;

use btf_rs::{Btf, BtfType, Type};
use object::read::{Object, ObjectSection, ObjectSymbol};
use object::{Endianness, RelocationTarget, SectionFlags};

/// One slot of a program (include/uapi/linux/bpf.h, struct bpf_insn).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub opcode: u8,
    pub registers: u8,
    pub offset: i16,
    pub immediate: i32,
}

/// What follows BPF_LD | BPF_IMM | BPF_DW is the second half of its number.
pub const LOAD_WIDE: u8 = 0x18;
/// BPF_JMP | BPF_CALL.
pub const CALL: u8 = 0x85;

impl Instruction {
    /// The register that is read; of a call, whom it calls: 0 for a helper.
    pub fn source(self) -> u8 {
        if cfg!(target_endian = "little") {
            self.registers >> 4
        } else {
            self.registers & 0xf
        }
    }

    /// The register that is written, or the address that is written to.
    pub fn destination(self) -> u8 {
        if cfg!(target_endian = "little") {
            self.registers & 0xf
        } else {
            self.registers >> 4
        }
    }

    /// Whether no place of a field can be in it: jumps, what goes from one register to another,
    /// and what is on the stack.
    pub fn is_layout_free(self) -> bool {
        const STACK: u8 = 10;
        match self.opcode & 7 {
            // BPF_LDX.
            1 => self.source() == STACK,
            // BPF_ST, BPF_STX.
            2 | 3 => self.destination() == STACK,
            // BPF_ALU, BPF_ALU64, with BPF_X; or BPF_MOV of 0, with which the compiler clears a
            // register as often as it likes. A field at 0 is elsewhere in another layout, so a
            // difference would show there.
            4 | 7 => self.opcode & 8 != 0 || (self.opcode & 0xf0 == 0xb0 && self.immediate == 0),
            // BPF_JMP, BPF_JMP32.
            5 | 6 => self.opcode != CALL || self.source() != 0,
            _ => false,
        }
    }
}

/// Programs of one section of the object.
#[derive(Debug, PartialEq, Eq)]
pub struct Section {
    pub instructions: Vec<Instruction>,
    /// What is not in the object and has to be found in the kernel.
    pub externs: Vec<String>,
}

/// A CO-RE relocation (struct bpf_core_relo): what libbpf puts into the instruction at
/// `slot`, after having looked it up in the type information of the running kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relocation {
    pub section: String,
    pub slot: usize,
    pub kind: u32,
    /// The type from which the access starts.
    pub root: String,
    /// The fields that it passes through, each with the type that it is a field of.
    pub path: Vec<(String, String)>,
}

/// A compiled object.
#[derive(Debug)]
pub struct Programs {
    pub sections: BTreeMap<String, Section>,
    pub relocations: Vec<Relocation>,
    /// Names of the maps, with their types (enum bpf_map_type).
    pub maps: BTreeMap<String, usize>,
}

impl Programs {
    pub fn read(bytes: &[u8]) -> Self {
        let file = object::File::parse(bytes).expect("an ELF file");
        let endianness = file.endianness();
        let data = |name: &str| {
            let section = file.section_by_name(name).expect(name);
            section.data().expect("its bytes")
        };
        let btf = Btf::from_bytes(data(".BTF")).expect("type information");
        let names = Names {
            btf: &btf,
            bytes: data(".BTF"),
            endianness,
        };
        let sections = file
            .sections()
            .filter(is_code)
            .map(|section| {
                let name = section.name().expect("a name").to_owned();
                let externs = section
                    .relocations()
                    .filter_map(|(_, relocation)| match relocation.target() {
                        RelocationTarget::Symbol(index) => file.symbol_by_index(index).ok(),
                        _ => None,
                    })
                    .filter(|symbol| symbol.is_undefined())
                    .map(|symbol| symbol.name().expect("a name").to_owned())
                    .collect();
                let code = section.data().expect("its bytes");
                let instructions = code.chunks_exact(8).map(|b| instruction(b, endianness));
                let instructions = instructions.collect();
                (
                    name,
                    Section {
                        instructions,
                        externs,
                    },
                )
            })
            .collect();
        Self {
            sections,
            relocations: relocations(data(".BTF.ext"), &names),
            maps: maps(&btf),
        }
    }
}

pub fn is_code<'a>(section: &impl ObjectSection<'a>) -> bool {
    match section.flags() {
        SectionFlags::Elf { sh_flags, .. } => {
            sh_flags.contains(object::elf::SHF_EXECINSTR) && section.size() > 0
        }
        _ => false,
    }
}

fn u16_at(bytes: &[u8], at: usize, endianness: Endianness) -> u16 {
    let bytes = bytes[at..at + 2].try_into().expect("two bytes");
    match endianness {
        Endianness::Little => u16::from_le_bytes(bytes),
        Endianness::Big => u16::from_be_bytes(bytes),
    }
}

fn u32_at(bytes: &[u8], at: usize, endianness: Endianness) -> u32 {
    let bytes = bytes[at..at + 4].try_into().expect("four bytes");
    match endianness {
        Endianness::Little => u32::from_le_bytes(bytes),
        Endianness::Big => u32::from_be_bytes(bytes),
    }
}

pub fn instruction(bytes: &[u8], endianness: Endianness) -> Instruction {
    Instruction {
        opcode: bytes[0],
        registers: bytes[1],
        offset: u16_at(bytes, 2, endianness).cast_signed(),
        immediate: u32_at(bytes, 4, endianness).cast_signed(),
    }
}

/// Names of types and fields.
struct Names<'a> {
    btf: &'a Btf,
    /// The whole section, for strings that belong to no type.
    bytes: &'a [u8],
    endianness: Endianness,
}

impl Names<'_> {
    fn u32_at(&self, bytes: &[u8], at: u32) -> u32 {
        u32_at(bytes, at as usize, self.endianness)
    }

    /// A string of the section (struct btf_header: hdr_len at 4, str_off at 16).
    fn string(&self, offset: u32) -> &str {
        let strings = self.u32_at(self.bytes, 4) + self.u32_at(self.bytes, 16);
        let rest = &self.bytes[(strings + offset) as usize..];
        let end = rest.iter().position(|byte| *byte == 0).expect("its end");
        std::str::from_utf8(&rest[..end]).expect("UTF-8")
    }

    fn name(&self, of: &dyn BtfType) -> String {
        self.btf.resolve_name(of).unwrap_or_default()
    }

    /// The type behind typedefs and the like, with the first name on the way to it.
    fn bare(&self, mut id: u32) -> (Type, String) {
        let mut name = String::new();
        loop {
            let found = self.btf.resolve_type_by_id(id).expect("a type");
            let described = found.as_btf_type().expect("a type with a description");
            if name.is_empty() {
                name = self.name(described);
            }
            match &found {
                Type::Typedef(_) | Type::Const(_) | Type::Volatile(_) | Type::TypeTag(_) => {
                    id = described.get_type_id().expect("what it stands for");
                }
                _ => return (found, name),
            }
        }
    }

    /// The fields that an access such as `0:3:1` passes through. Its first number is an
    /// index behind a pointer.
    fn path(&self, root: u32, access: &str) -> Vec<(String, String)> {
        let mut path = Vec::new();
        let mut id = root;
        for index in access.split(':').skip(1) {
            let (found, name) = self.bare(id);
            match found {
                Type::Struct(of) | Type::Union(of) => {
                    let field = &of.members[index.parse::<usize>().expect("a number")];
                    path.push((name, self.name(field)));
                    id = field.get_type_id().expect("its type");
                }
                Type::Array(of) => id = of.get_type_id().expect("its type"),
                // The value of an enumeration.
                _ => break,
            }
        }
        path
    }
}

/// Of .BTF.ext (linux/btf.h, struct btf_ext_header, and libbpf's struct bpf_core_relo).
fn relocations(bytes: &[u8], names: &Names) -> Vec<Relocation> {
    let number = |at: u32| names.u32_at(bytes, at);
    // Of magic, version and flags, hdr_len; then offset and length of functions, lines and
    // relocations, behind the header.
    let (header, offset, length) = (number(4), number(24), number(28));
    let mut at = header + offset;
    let end = at + length;
    let mut found = Vec::new();
    if length == 0 {
        return found;
    }
    let size = number(at);
    at += 4;
    while at < end {
        let (section, count) = (names.string(number(at)), number(at + 4));
        at += 8;
        for _ in 0..count {
            let (root, access) = (number(at + 4), names.string(number(at + 8)));
            found.push(Relocation {
                section: section.to_owned(),
                slot: number(at) as usize / 8,
                kind: number(at + 12),
                root: names.bare(root).1,
                path: names.path(root, access),
            });
            at += size;
        }
    }
    found
}

/// Maps are variables of a type that has a field `type`, a pointer to an array of as many
/// numbers as the type's number is.
fn maps(btf: &Btf) -> BTreeMap<String, usize> {
    let behind = |of: &dyn BtfType| {
        let id = of.get_type_id().expect("a type");
        btf.resolve_type_by_id(id).expect("a type")
    };
    let mut found = BTreeMap::new();
    for section in btf.resolve_types_by_name(".maps").expect("maps") {
        let Type::Datasec(section) = section else {
            continue;
        };
        for variable in &section.variables {
            let Type::Var(variable) = behind(variable) else {
                panic!("a section of something else than variables");
            };
            let Type::Struct(definition) = behind(&variable) else {
                panic!("a map that is not a struct");
            };
            let kind = definition
                .members
                .iter()
                .find(|member| btf.resolve_name(*member).is_ok_and(|name| name == "type"))
                .expect("a type of map");
            let Type::Ptr(kind) = behind(kind) else {
                panic!("a type of map that is not __uint");
            };
            let Type::Array(kind) = behind(&kind) else {
                panic!("a type of map that is not __uint");
            };
            found.insert(btf.resolve_name(&variable).expect("a name"), kind.len());
        }
    }
    found
}
