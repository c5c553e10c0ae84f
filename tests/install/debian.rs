//! The scripts that Debian runs when the package is installed, upgraded and removed, with stand-ins
//! for the programs that they call.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

/// Runs `postinst` on a host with systemd. Returns what it printed, and the calls of systemctl.
fn configured(before: &[&str]) -> (String, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let log = dir.path().join("calls");
    fs::write(&log, "").expect("a file");
    for (name, script) in [
        ("getent", "exit 0".to_owned()),
        ("dpkg-statoverride", "exit 0".to_owned()),
        ("systemctl", format!("echo \"$*\" >>{}", log.display())),
        (
            "deb-systemd-invoke",
            format!("echo \"invoke $*\" >>{}", log.display()),
        ),
    ] {
        let path = dir.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let postinst = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/debian/postinst");
    let script = format!(
        "mount -t tmpfs none /run && mkdir -p /run/systemd/system && PATH={}:$PATH sh {} configure {}",
        dir.path().display(),
        postinst.display(),
        before.join(" ")
    );
    let mut unshare = Command::new("unshare");
    unshare.args(["--map-root-user", "--mount", "sh", "-c", &script]);
    let output = unshare.output().expect("unshare");
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    (told, fs::read_to_string(&log).expect("the calls"))
}

#[test]
fn an_upgrade_restarts_the_server_if_it_runs() {
    let (told, calls) = configured(&["0.1.0-1"]);
    assert_eq!(
        calls,
        "--system daemon-reload\ninvoke try-restart netatop-bpf.service\n"
    );
    assert_eq!(told, "");
}

#[test]
fn a_first_installation_starts_nothing_and_says_how_to_join_the_group() {
    let (told, calls) = configured(&[]);
    assert_eq!(calls, "--system daemon-reload\n");
    assert!(told.contains("adduser USER netatop"), "{told}");
}
