//! `scripts/install` and `scripts/package-deb`, with the program that was built for the tests, and
//! what goes with the program of `scripts/release`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "../support/leave_out.rs"]
mod support;
use support::leave_out;

mod debian;
mod notices;
mod scripts;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NETATOP: &str = env!("CARGO_BIN_EXE_netatop");

fn script(name: &str, args: &[&str]) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut script = Command::new(root.join("scripts").join(name));
    script.args(args).env_remove("DESTDIR");
    script.env("DEBFULLNAME", "A Packager");
    script.env("DEBEMAIL", "packager@debian.org");
    script
}

#[track_caller]
fn succeed(name: &str, args: &[&str]) -> String {
    let output = script(name, args).output().expect("the script starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Everything under `path`, directories too.
fn tree(path: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(path).expect("a directory") {
        let entry = entry.expect("an entry");
        found.push(entry.path());
        if entry.file_type().expect("a file type").is_dir() {
            tree(&entry.path(), found);
        }
    }
}

#[test]
fn what_is_installed_is_removed_and_nothing_else() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let root = dir.path().to_str().expect("UTF-8");
    let mine = dir.path().join("opt/n/share/man/man1/mine.1");
    fs::create_dir_all(mine.parent().expect("a parent")).expect("directories");
    fs::write(&mine, "mine\n").expect("a file");
    let mut before = Vec::new();
    tree(dir.path(), &mut before);
    let to = ["--prefix", "/opt/n", "--destdir", root];
    // Twice: the second time over the first.
    for _ in 0..2 {
        succeed("install", &[&to[..], &["--binary", NETATOP]].concat());
    }
    for file in [
        "bin/netatop",
        "share/man/man1/netatop-check.1",
        "share/man/man5/netatop-recording.5",
        "share/bash-completion/completions/netatop",
        "share/zsh/site-functions/_netatop",
        "share/fish/vendor_completions.d/netatop.fish",
    ] {
        let path = dir.path().join("opt/n").join(file);
        assert!(
            fs::metadata(&path).is_ok_and(|file| file.len() > 0),
            "{file}"
        );
    }
    succeed("install", &[&to[..], &["--uninstall"]].concat());
    let mut after = Vec::new();
    tree(dir.path(), &mut after);
    before.sort();
    after.sort();
    assert_eq!(after, before);
    let mut again = script("install", &[&to[..], &["--uninstall"]].concat());
    let again = again.output().expect("the script starts");
    assert_eq!(again.status.code(), Some(1), "{again:?}");
}

#[test]
fn a_bad_option_is_refused_and_help_is_given() {
    for name in ["install", "package-deb", "release", "notices"] {
        let bad = script(name, &["--nonsense"]).output();
        let bad = bad.expect("the script starts");
        assert_eq!(bad.status.code(), Some(2), "{bad:?}");
        assert!(succeed(name, &["--help"]).contains(&format!("scripts/{name}")));
    }
}

#[test]
fn the_debian_package_has_no_errors_and_the_notices_of_what_is_inside() {
    if !Path::new("/etc/debian_version").exists() {
        leave_out("debian", "packages are made on Debian");
        return;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let to = dir.path().to_str().expect("UTF-8");
    let package = succeed("package-deb", &["--binary", NETATOP, to]);
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error", "--allow-root", package.trim()]);
    let output = lintian
        .output()
        .expect("lintian: scripts/setup --test installs it");
    assert!(output.status.success(), "{output:?}");
    let unpacked = dir.path().join("unpacked");
    let mut unpack = Command::new("dpkg-deb");
    unpack.arg("-x").arg(package.trim()).arg(&unpacked);
    assert!(unpack.status().expect("dpkg-deb").success());
    let mut zcat = Command::new("zcat");
    let notices = zcat.arg(unpacked.join("usr/share/doc/netatop/notices.gz"));
    let notices = notices.output().expect("zcat");
    let notices = String::from_utf8_lossy(&notices.stdout).into_owned();
    for notice in ["==== crates/libc-", "==== libbpf/", "==== rust/"] {
        assert!(notices.contains(notice), "{notice}");
    }
}
