//! Whose traffic it is: the user of a row is the task's own user, whatever it works on.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use netatop::model::Extent;

use super::harness::{Workload, counting, wait_for, workload};

/// Owns nothing, on every system.
const NOBODY: u32 = 65534;

/// While a task works on an overlay file system, it acts with the credentials of the user who
/// mounted it. Containers work on such file systems all the time.
#[test]
fn work_on_an_overlay_file_system_changes_nobodys_user() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("workload");
    fs::copy(workload(), &path).expect("copy");
    for path in [dir.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).expect("chmod");
    }
    // The mounts are in a mount namespace of the workload's own, and go with it.
    let script = format!(
        "set -e; cd {dir}; mkdir tmp; mount -t tmpfs none tmp; cd tmp; \
         mkdir lower upper work merged; \
         mount -t overlay none -o lowerdir=lower,upperdir=upper,workdir=work merged; \
         chmod 777 merged; \
         exec setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups \
         {dir}/workload udp-flow size=1 files={dir}/tmp/merged",
        dir = dir.path().display(),
    );
    counting(false, |counting| {
        let workload = Workload::of(Command::new("unshare").args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            &script,
        ]));
        let pid = workload.pid();
        let mut seen = 0;
        wait_for("500 looks at the process", || {
            let sample = counting.sample(Extent::Changes);
            let of_it = sample.living.iter().map(|record| record.identity);
            for identity in of_it.filter(|identity| identity.process.pid == pid) {
                // Before its last exec it is root's.
                if identity.comm.as_bytes() == b"workload" {
                    assert_eq!((identity.uid, identity.owner), (NOBODY, Some(NOBODY)));
                    seen += 1;
                }
            }
            (seen >= 500).then_some(())
        });
        workload.finish();
    });
}

/// Root of a user namespace has all capabilities there, and none outside. Rootless containers
/// run like that, and `/proc` shows them to the user who started them.
#[test]
fn a_user_owns_what_runs_in_the_users_own_namespaces() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("workload");
    fs::copy(workload(), &path).expect("copy");
    for path in [dir.path(), &path] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("chmod");
    }
    let path = path.to_str().expect("UTF-8");
    let nested = format!("exec unshare -Ur {path} udp hold=1");
    for (arguments, owner) in [
        (vec!["unshare", "-Ur", path, "udp", "hold=1"], Some(NOBODY)),
        (vec!["unshare", "-Ur", "sh", "-c", &nested], Some(NOBODY)),
        (vec![path, "udp", "hold=1"], Some(NOBODY)),
    ] {
        counting(false, |counting| {
            let mut command = Command::new(arguments[0]);
            command.args(&arguments[1..]).uid(NOBODY).gid(NOBODY);
            let mut workload = Workload::of(&mut command);
            let pid = workload.pid();
            workload.line();
            let sample = counting.sample(Extent::All);
            let mut records = sample.living.iter().map(|record| record.identity);
            let identity = records.find(|identity| identity.process.pid == pid);
            let identity = identity.expect("it is there");
            assert_eq!(
                (identity.uid, identity.owner),
                (NOBODY, owner),
                "{arguments:?}"
            );
            workload.finish();
        });
    }
}
