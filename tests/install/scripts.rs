//! The scripts on hosts that lack something.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output};

use super::NETATOP;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A checkout without sources, in which the program was built before.
fn checkout() -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in [
        "scripts",
        "man",
        "Cargo.toml",
        "README.md",
        "CHANGELOG.md",
        "docs",
    ] {
        symlink_all(&root().join(name), &dir.path().join(name));
    }
    let release = dir.path().join("target/release");
    fs::create_dir_all(&release).expect("directories");
    fs::copy(NETATOP, release.join("netatop")).expect("copy");
    dir
}

/// Files are linked, directories made: a script finds its repository by where it is.
fn symlink_all(from: &Path, to: &Path) {
    if !from.is_dir() {
        symlink(from, to).expect("a link");
        return;
    }
    fs::create_dir(to).expect("a directory");
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        symlink_all(&entry.path(), &to.join(entry.file_name()));
    }
}

/// Runs a script without cargo, as `sudo` does for a user who has rustup.
fn without_cargo(script: &Path, args: &[&str], path: &str) -> Output {
    Command::new(script)
        .args(args)
        .env_clear()
        .env("PATH", path)
        .env("HOME", "/nonexistent")
        .env("CARGO_HOME", "/nonexistent")
        .output()
        .expect("the script starts")
}

#[test]
fn a_built_program_is_installed_without_cargo() {
    let checkout = checkout();
    let to = tempfile::tempdir().expect("a temporary directory");
    let destdir = to.path().to_str().expect("UTF-8");
    let script = checkout.path().join("scripts/install");
    let output = without_cargo(&script, &["--destdir", destdir], "/usr/bin:/bin");
    assert!(output.status.success(), "{output:?}");
    assert!(to.path().join("usr/local/bin/netatop").exists());
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("no cargo"), "{told}");
}

#[test]
fn rust_is_looked_for_before_anything_is_installed() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("calls");
    // Everything else is missing too, and could be installed.
    for name in ["apt-get", "apt-cache", "sudo"] {
        let path = dir.path().join(name);
        fs::write(
            &path,
            format!("#!/bin/sh\necho {name} >>{}\n", log.display()),
        )
        .expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    for name in ["bash", "dirname", "sed", "id", "cat"] {
        symlink(format!("/usr/bin/{name}"), dir.path().join(name)).expect("a link");
    }
    let path = dir.path().to_str().expect("UTF-8");
    let output = without_cargo(&root().join("scripts/setup"), &["--test"], path);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(told.contains("cargo") && told.contains("rustup"), "{told}");
    assert!(!log.exists(), "{:?}", fs::read_to_string(&log));
}

/// The names of its packages on a system that has this package manager.
fn setup_with(manager: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for (name, script) in [
        (manager, "exit 0"),
        ("cargo", "echo cargo 99.0.0"),
        ("clang", "exit 1"),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    for name in ["bash", "dirname", "sed", "id"] {
        symlink(format!("/usr/bin/{name}"), dir.path().join(name)).expect("a link");
    }
    // No apt-get in PATH: this is not Debian, whatever files there are.
    let path = dir.path().to_str().expect("UTF-8");
    let output = without_cargo(&root().join("scripts/setup"), &[], path);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn other_systems_are_told_their_own_names_of_packages() {
    for (manager, package) in [
        ("apk", "elfutils-dev"),
        ("dnf", "elfutils-libelf-devel"),
        ("pacman", "libelf"),
        ("zypper", "libelf-devel"),
    ] {
        let told = setup_with(manager);
        assert!(
            told.contains(&format!("{manager} ")) && told.contains(package),
            "{told}"
        );
    }
}

#[test]
fn an_archive_can_be_installed_by_its_notes() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let archive = dir.path().join("netatop-archive");
    let script = format!(
        "set -euo pipefail; source scripts/lib/common.sh; source scripts/lib/archive.sh; \
         stage_archive {NETATOP} {}",
        archive.display()
    );
    let output = Command::new("bash")
        .args(["-c", &script])
        .current_dir(root())
        .output()
        .expect("bash");
    assert!(output.status.success(), "{output:?}");
    let unit = archive.join("lib/systemd/system/netatop-bpf.service");
    let unit = fs::read_to_string(unit).expect("the unit");
    assert!(
        unit.contains("ExecStart=/usr/local/bin/netatop serve"),
        "{unit}"
    );
    let notes = fs::read_to_string(archive.join("INSTALL")).expect("the notes");
    assert!(notes.contains("cp -R bin share lib /usr/local/"), "{notes}");
    // Everything that the notes remove is there, and everything that is copied is removed.
    let (_, remove) = notes.split_once("sudo rm ").expect("the last command");
    let removed = remove.replace("/usr/local", &archive.display().to_string());
    let removed = removed.trim_end();
    let output = Command::new("sh")
        .args([
            "-c",
            &format!(
                "rm {removed}; cd {} && find bin share lib -type f",
                archive.display()
            ),
        ])
        .output()
        .expect("sh");
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "");
}

/// The copyright holder has one name.
#[test]
fn the_copyright_holder_is_the_same_everywhere() {
    for file in [
        "LICENSE",
        "LICENSE-BSD-2-Clause",
        "scripts/debian/copyright",
    ] {
        let text = fs::read_to_string(root().join(file)).expect("a file");
        let line = text
            .lines()
            .find(|line| line.contains("opyright") && line.contains("authors"));
        assert!(
            line.is_some_and(|line| line.contains("the netatop authors")),
            "{file}: {line:?}"
        );
    }
}
