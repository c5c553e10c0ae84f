//! The programs of the benchmarks can be compiled. They use headers of `bpf/`, and are otherwise
//! compiled only when something is measured.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn the_programs_of_the_benchmarks_can_be_compiled() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut compiled = 0;
    for entry in fs::read_dir(root.join("benches/bpf")).expect("benches/bpf") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|extension| extension != "c") {
            continue;
        }
        let output = Command::new("clang")
            .args([
                "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror",
            ])
            .arg("-I")
            .arg(root.join("bpf"))
            .arg("-c")
            .arg(&path)
            .args(["-o", "/dev/null"])
            .output()
            .expect("clang");
        let messages = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {messages}", path.display());
        compiled += 1;
    }
    assert!(compiled > 5, "{compiled}");
}
