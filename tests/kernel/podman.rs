//! Real containers of Podman have their name in rows, although they are gone when it is written.
//!
//! Podman's files are in directories of the test, which a mount namespace puts where they are on a
//! host. No image is fetched: the test makes one of the shell.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::harness::{NETATOP, leave_out};

/// What runs in the mount namespace. crun refuses hybrid hosts, so it sees only cgroup v2. Not all
/// hosts allow limits to be set, which a container does not need here.
const SCRIPT: &str = r#"
set -e
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /var/lib/containers /run/containers
mount --bind storage /var/lib/containers
mount --bind state /run/containers
pod() {
	podman --cgroup-manager cgroupfs --storage-driver vfs --runtime "$PWD/runtime" "$@"
}
run() {
	pod run --rm --privileged --pids-limit 0 --network host "$@"
}
tar -C root -cf image.tar .
pod import image.tar localhost/shell:1 >messages 2>&1
run localhost/shell:1 /bin/bash -c 'exit 0' >messages 2>&1 || exit 99
exec 3>&1 >messages 2>&1
"$NETATOP" record -q -o rows.jsonl -- "$BASH" -c '
	run=$1; shift
	eval "$run"
	run --name netatop-web --cidfile named localhost/shell:1 /bin/bash -c "echo x >/dev/udp/127.0.0.1/9"
	run --name netatop-plain --cidfile plain --rootfs "$PWD/root" /bin/bash -c "echo x >/dev/udp/127.0.0.1/9"
' bash "$(declare -f pod run)"
# Podman leaves its directories behind. Those that are in use cannot be removed.
find /sys/fs/cgroup/libpod_parent -depth -type d -exec rmdir {} \; || true
"#;

const RUNTIME: &str = r#"#!/bin/sh
bundle=. previous=
for argument; do
	[ "$previous" = --bundle ] && bundle=$argument
	previous=$argument
done
[ -f "$bundle/config.json" ] && sed -i 's/,"rlimits":\[[^]]*\]//' "$bundle/config.json"
exec crun "$@"
"#;

/// Copies a program and the libraries that it needs.
fn copy_program(program: &str, root: &Path) {
    let output = Command::new("ldd").arg(program).output().expect("ldd");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let libraries = text.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries.chain([program]) {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("a directory")).expect("mkdir");
        fs::copy(file, to).expect("copy");
    }
}

#[test]
fn a_container_of_podman_has_its_name() {
    for program in ["podman", "crun"] {
        if Command::new(program).arg("--version").output().is_err() {
            return leave_out("podman", &format!("the program {program} is not installed"));
        }
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let here = dir.path();
    for name in [
        "storage",
        "state",
        "root/tmp",
        "root/proc",
        "root/sys",
        "root/dev",
    ] {
        fs::create_dir_all(here.join(name)).expect("mkdir");
    }
    copy_program("/bin/bash", &here.join("root"));
    let runtime = here.join("runtime");
    fs::write(&runtime, RUNTIME).expect("write");
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&runtime, executable).expect("chmod");
    let done = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "bash", "-c", SCRIPT])
        .env("NETATOP", NETATOP)
        .current_dir(here)
        .stdin(Stdio::null())
        .status()
        .expect("unshare");
    let messages = fs::read_to_string(here.join("messages")).unwrap_or_default();
    if done.code() == Some(99) {
        return leave_out("podman", &format!("no container runs here: {messages}"));
    }
    assert!(done.success(), "{messages}");
    let id = |file: &str| fs::read_to_string(here.join(file)).expect("an id");
    let (named, plain) = (id("named"), id("plain"));
    let rows = fs::read_to_string(here.join("rows.jsonl")).expect("rows");
    let rows = rows
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("a row"));
    let of_containers = rows.filter(|row| row["comm"] == "bash").map(|row| {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
        (
            text("cgroup"),
            (text("container"), row["udp_send_msgs"].clone()),
        )
    });
    let place = |id: &str| format!("/libpod_parent/libpod-{id}");
    let expected = BTreeMap::from([
        (place(&named), ("netatop-web".to_owned(), Value::from(1))),
        (place(&plain), ("netatop-plain".to_owned(), Value::from(1))),
    ]);
    assert_eq!(
        of_containers.collect::<BTreeMap<_, _>>(),
        expected,
        "{messages}"
    );
}
