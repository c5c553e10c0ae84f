//! Compiles the BPF programs and generates their Rust bindings.

use std::env;
use std::path::PathBuf;

use libbpf_cargo::SkeletonBuilder;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=bpf");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Where it was built is nobody's business, and no reason for another program.
    let unnamed = format!("-ffile-prefix-map={}=.", env::var("CARGO_MANIFEST_DIR")?);
    SkeletonBuilder::new()
        .source("bpf/netatop.bpf.c")
        // Kept for tests/bpf, which look into it.
        .obj(out.join("netatop.o"))
        .clang_args([
            "-Wall",
            "-Wextra",
            "-Werror",
            // libbpf's BPF_PROG gives every program a context, used or not.
            "-Wno-unused-parameter",
            // Atomics that return a value: in every kernel since 5.12.
            "-mcpu=v3",
            &unnamed,
        ])
        .build_and_generate(out.join("netatop.skel.rs"))
        .map_err(|error| {
            format!("the BPF programs could not be compiled (is clang 14 or later installed?): {error:#}")
        })?;
    Ok(())
}
