//! The user of a row is the task's own user, even while the task has other credentials. The owner is
//! the user whom the kernel allows to inspect the task.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use netatop::model::{Extent, Identity};

use super::harness::{NOBODY, Workload, counting, on_overlay, public_workload, wait_for};

/// A user id without an entry in the user database.
const SOMEBODY: u32 = 54321;
/// User 33 of a namespace that maps 33 to this.
const MAPPED: u32 = 200_033;

/// During an operation on an overlay file system, a task has the credentials of the user who mounted
/// the file system. Containers use such file systems all the time.
#[test]
fn work_on_an_overlay_file_system_changes_nobodys_user() {
    for scenario in ["flow", "udp-flow"] {
        let dir = tempfile::tempdir().expect("tempdir");
        counting(false, |counting| {
            let workload = on_overlay(dir.path(), scenario);
            let pid = workload.pid();
            let mut seen = 0;
            wait_for("500 looks at the process", || {
                let sample = counting.sample(Extent::Changes);
                let of_it = sample.living.iter().map(|record| record.identity);
                for identity in of_it.filter(|identity| identity.process.pid == pid) {
                    assert_eq!((identity.uid, identity.owner), (NOBODY, Some(NOBODY)));
                    seen += 1;
                }
                (seen >= 500).then_some(())
            });
            workload.finish();
        });
    }
}

/// The maps of user and group ids that root writes for a new user namespace.
struct Map(&'static str);

/// Each user has the same id inside and outside.
const SAME: Option<Map> = Some(Map("0 0 4294967295"));
/// Root inside is nobody outside, and other users have ids that the host does not use.
const SHIFTED: Option<Map> = Some(Map("0 65534 1\n1 200001 100"));

#[test]
fn an_ordinary_process_is_its_users() {
    agrees_with_proc(NOBODY, "exec PROGRAM udp hold=1", None, NOBODY, &[NOBODY]);
}

/// Root of a user namespace has all capabilities there, and none outside.
#[test]
fn a_rootless_container_is_its_users() {
    let script = "exec unshare -Ur PROGRAM udp hold=1";
    agrees_with_proc(NOBODY, script, None, NOBODY, &[NOBODY]);
}

#[test]
fn a_rootless_container_in_another_is_its_users() {
    let script = "exec unshare -Ur unshare -Ur unshare -Ur PROGRAM udp hold=1";
    agrees_with_proc(NOBODY, script, None, NOBODY, &[NOBODY]);
}

/// A task of another user in a rootless container belongs to the user who created the container.
#[test]
fn another_user_of_a_rootless_container_is_its_makers() {
    let script = "read go; exec setpriv --reuid 33 --regid 33 --clear-groups PROGRAM udp hold=1";
    agrees_with_proc(NOBODY, script, SHIFTED, MAPPED, &[NOBODY]);
}

/// A service in a user namespace made by root, as with systemd's PrivateUsers=. Tracing the service
/// needs capabilities in that namespace, which the service's user does not have.
#[test]
fn a_user_in_a_namespace_that_root_made_sees_nothing() {
    let script = "read go; \
                  exec setpriv --reuid 65534 --regid 65534 --clear-groups PROGRAM udp hold=1";
    agrees_with_proc(0, script, SAME, NOBODY, &[]);
}

#[test]
fn a_process_with_a_capability_is_roots() {
    let script = "exec setpriv --reuid 65534 --regid 65534 --clear-groups \
                  --inh-caps +net_raw --ambient-caps +net_raw PROGRAM udp hold=1";
    agrees_with_proc(0, script, None, NOBODY, &[]);
}

/// Runs a script as a user, in a new user namespace if there is a map for it, and compares the
/// owner in its record with the users who can read `/proc/PID/maps`. That is decided by the same rule
/// as `/proc/PID/io`, but the file's mode lets everybody try.
#[track_caller]
fn agrees_with_proc(runs_as: u32, script: &str, map: Option<Map>, uid: u32, readers: &[u32]) {
    let dir = tempfile::tempdir().expect("tempdir");
    let program = public_workload(dir.path(), 0o755);
    let script = script.replace("PROGRAM", program.to_str().expect("UTF-8"));
    counting(false, |counting| {
        let mut command = Command::new(if map.is_some() { "unshare" } else { "sh" });
        if map.is_some() {
            command.args(["--user", "sh"]);
        }
        command.args(["-c", &script]).uid(runs_as).gid(runs_as);
        let mut workload = Workload::of(&mut command);
        let pid = workload.pid();
        if let Some(Map(map)) = map {
            wait_for("the namespace", || {
                let of = |pid: &str| fs::read_link(format!("/proc/{pid}/ns/user")).ok();
                (of(&pid.to_string())? != of("self")?).then_some(())
            });
            for name in ["uid_map", "gid_map"] {
                fs::write(format!("/proc/{pid}/{name}"), map).expect(name);
            }
            workload.go();
        }
        workload.line();
        let sample = counting.sample(Extent::All);
        let mut records = sample.living.iter().map(|record| record.identity);
        let identity: Identity = records
            .find(|identity| identity.process.pid == pid)
            .expect("it has traffic");
        let users = [NOBODY, SOMEBODY, MAPPED].into_iter();
        let can_read: Vec<u32> = users.filter(|user| can_read(*user, pid)).collect();
        assert_eq!(can_read, readers, "what the kernel lets users see");
        let owner = identity.owner.filter(|owner| *owner != 0);
        assert_eq!(
            (identity.uid, owner),
            (uid, can_read.first().copied()),
            "{script}"
        );
        workload.finish();
    });
}

fn can_read(user: u32, pid: u32) -> bool {
    let path = format!("/proc/{pid}/maps");
    assert!(Path::new(&path).exists(), "{path}");
    Command::new("cat")
        .arg(path)
        .uid(user)
        .gid(user)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("cat")
        .success()
}
