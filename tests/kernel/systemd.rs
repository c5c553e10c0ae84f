//! A service of a real systemd has its unit in rows.
//!
//! Where systemd runs the host, the service is one of the host. Elsewhere, the test starts a systemd in
//! namespaces of its own. It begins at the root of the cgroups, as on a host, and starts nothing but
//! the service of the test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use netatop::host::cgroup_mount;
use serde_json::Value;

use super::harness::{NETATOP, clean_up, leave_out, wait_for};

const SYSTEMD: &str = "/lib/systemd/systemd";

const SCRIPT: &str = r#"
set -e
mount -t tmpfs none /run
mount -t tmpfs none /tmp
umount -lR /sys/fs/cgroup
mount -t cgroup2 none /sys/fs/cgroup
mkdir -p /run/systemd/system
cat >/run/systemd/system/netatop-test.target <<END
[Unit]
DefaultDependencies=no
Wants=$UNIT
END
cat >"/run/systemd/system/$UNIT" <<END
[Unit]
DefaultDependencies=no
[Service]
ExecStart=/bin/bash -c "$TRAFFIC"
END
export container=netatop-test
exec "$SYSTEMD" --system --unit=netatop-test.target --show-status=no
"#;

const TRAFFIC: &str = "while :; do echo x >/dev/udp/127.0.0.1/9; sleep 0.05; done";

/// A service of the systemd that runs this host.
struct Service<'a>(&'a str);

impl<'a> Service<'a> {
    fn start(unit: &'a str) -> Self {
        let started = Command::new("systemd-run")
            .args(["--quiet", "--collect", "--unit", unit])
            .args(["/bin/bash", "-c", TRAFFIC])
            .output()
            .expect("systemd-run");
        assert!(started.status.success(), "{started:?}");
        Self(unit)
    }
}

impl Drop for Service<'_> {
    fn drop(&mut self) {
        let _ = Command::new("systemctl").args(["stop", self.0]).output();
    }
}

/// A systemd in namespaces, which ends with everything that it has started.
struct Systemd {
    child: Child,
    root: PathBuf,
}

impl Systemd {
    fn start(unit: &str, root: PathBuf, messages: &Path) -> Self {
        let messages = fs::File::create(messages).expect("a file");
        let child = Command::new("unshare")
            .args([
                "--pid",
                "--fork",
                "--kill-child",
                "--mount",
                "--propagation",
            ])
            .args(["private", "--uts", "--ipc", "--mount-proc"])
            .args(["bash", "-c", SCRIPT])
            .env("UNIT", unit)
            .env("SYSTEMD", SYSTEMD)
            .env("TRAFFIC", TRAFFIC)
            .stdin(Stdio::null())
            .stdout(messages.try_clone().expect("a copy"))
            .stderr(messages)
            .spawn()
            .expect("unshare");
        Self { child, root }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        for name in ["system.slice", "init.scope"] {
            let top = self.root.join(name);
            // Directories can be removed from below, when the last process has gone.
            clean_up("the cgroups of systemd to be empty", || {
                remove_below(&top);
                (!top.exists()).then_some(())
            });
        }
    }
}

fn remove_below(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            remove_below(&entry.path());
        }
    }
    let _ = fs::remove_dir(dir);
}

/// The rows of a recording of some moments.
fn rows(args: &[&str]) -> Vec<Value> {
    let output = Command::new(NETATOP)
        .args(["record", "-q", "-d", "300ms", "-f", "json"])
        .args(args)
        .output()
        .expect("netatop");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let rows = text.lines().map(serde_json::from_str);
    rows.map(|row| row.expect("a row")).collect()
}

#[test]
fn a_service_of_systemd_has_its_unit() {
    let Some(root) = cgroup_mount() else {
        return leave_out("systemd", "cgroup v2 is not mounted");
    };
    if !Path::new(SYSTEMD).exists() {
        return leave_out("systemd", &format!("there is no {SYSTEMD}"));
    }
    let dir = tempfile::tempdir().expect("tempdir");
    let messages = dir.path().join("messages");
    let unit = format!("netatop-test-{}.service", std::process::id());
    let cgroup = root.join("system.slice").join(&unit);
    let is_host = fs::read_to_string("/proc/1/comm").is_ok_and(|name| name == "systemd\n");
    let service = is_host.then(|| Service::start(&unit));
    let systemd = (!is_host).then(|| Systemd::start(&unit, root, &messages));
    let pid = wait_for("the service", || {
        let pids = fs::read_to_string(cgroup.join("cgroup.procs")).ok()?;
        pids.lines().next()?.parse::<u64>().ok()
    });
    let found = wait_for("its traffic", || {
        let rows = rows(&["--unit", &unit]);
        rows.into_iter().find(|row| row["pid"] == pid)
    });
    assert_eq!(found["unit"], *unit, "{found}");
    assert_eq!(found["cgroup"], format!("/system.slice/{unit}"), "{found}");
    let group = rows(&["-g", "unit"]).into_iter();
    let group = group.filter(|row| row["unit"] == *unit).collect::<Vec<_>>();
    assert_eq!(group.len(), 1, "{group:?}");
    assert_ne!(group[0]["udp_send_msgs"], 0, "{group:?}");
    drop((service, systemd));
}
