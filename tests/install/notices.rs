//! `scripts/notices`: the licenses that go with the static program.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{script, succeed, tree};

/// The files that were gathered, by their paths.
fn gather() -> BTreeMap<PathBuf, Vec<u8>> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = dir.path().join("licenses");
    succeed("notices", &[to.to_str().expect("UTF-8")]);
    let mut paths = Vec::new();
    tree(&to, &mut paths);
    let files = paths.into_iter().filter(|path| path.is_file());
    files
        .map(|path| {
            let content = fs::read(&path).expect("a file");
            let path = path.strip_prefix(&to).expect("under it").to_owned();
            (path, content)
        })
        .collect()
}

/// What is not Debian has the notices of its libraries elsewhere, and no archive is made there.
fn is_debian() -> bool {
    let debian = Path::new("/etc/debian_version").exists();
    if !debian {
        super::leave_out("debian", "notices are gathered on Debian");
    }
    debian
}

/// The crates of the static program, as NAME-VERSION.
fn crates() -> Vec<String> {
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(["tree", "--locked", "-e", "normal", "--features", "static"]);
    cargo.args(["--prefix", "none", "--format", "{p}"]);
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    text.lines()
        .filter_map(|line| line.split_once(" v"))
        .map(|(name, rest)| (name, rest.split(' ').next().expect("a version")))
        .filter(|(name, _)| *name != "netatop")
        .map(|(name, version)| format!("{name}-{version}"))
        .collect()
}

#[test]
fn every_crate_and_library_of_the_static_program_has_its_notice() {
    if !is_debian() {
        return;
    }
    let files = gather();
    let has = |directory: &Path| {
        files
            .iter()
            .any(|(path, content)| path.starts_with(directory) && !content.is_empty())
    };
    let crates = crates();
    assert!(crates.len() > 30, "the crates were not found");
    for name in &crates {
        assert!(has(&Path::new("crates").join(name)), "{name}");
    }
    for library in ["libelf", "glibc", "zlib", "libgcc", "libbpf", "rust"] {
        assert!(has(Path::new(library)), "{library}");
    }
    for text in ["Apache-2.0", "GPL-2", "GPL-3", "LGPL-2.1", "LGPL-3"] {
        assert!(has(&Path::new("common").join(text)), "{text}");
    }
    // And the list of it names each.
    let list = String::from_utf8(files[Path::new("README")].clone()).expect("UTF-8");
    let listed = |name: &str| {
        list.lines().any(|line| {
            let mut words = line.split_whitespace();
            words
                .next()
                .zip(words.next())
                .is_some_and(|(a, b)| format!("{a}-{b}") == name)
        })
    };
    for name in &crates {
        assert!(listed(name), "{name} is not in the list");
    }
}

#[test]
fn notices_are_the_same_each_time() {
    if is_debian() {
        assert!(gather() == gather());
    }
}

#[test]
fn without_the_texts_of_licenses_it_is_refused() {
    if !is_debian() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = dir.path().join("licenses");
    let mut refused = script("notices", &[to.to_str().expect("UTF-8")]);
    refused.env("COMMON_LICENSES", dir.path());
    let output = refused.output().expect("the script starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("Apache-2.0 is missing"), "{said}");
}

#[test]
fn what_is_there_is_not_mixed_with() {
    if !is_debian() {
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("mine"), "mine\n").expect("a file");
    let to = dir.path().to_str().expect("UTF-8");
    let output = script("notices", &[to]).output().expect("it starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
}
