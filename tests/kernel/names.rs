//! Rows have the unit and the container of their process, also if it has ended and its cgroup is
//! gone. Groups by these names add up to what the processes did. The cgroups are laid out as systemd
//! and the runtimes of containers lay them out, below a slice of the test.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use netatop::model::Counters;
use serde_json::Value;

use super::cgroups::{recording, rows};
use super::filters::{Cgroup, mount};
use super::harness::{Workload, counters, wait_for, workload};

const ID: &str = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869";

/// Directories below the slice of the test, and the unit and container that belong to each. `ID`
/// stands for an id, `P_O_D` for the uid of a pod.
const PLACES: [(&str, Option<&str>, Option<&str>); 8] = [
    ("web.service", Some("web.service"), None),
    ("web.service/workers", Some("web.service"), None),
    (
        "docker-ID.scope",
        Some("docker-ID.scope"),
        Some("9687bac58d5c"),
    ),
    // Another service of this name: that of a container with its own systemd.
    (
        "docker-ID.scope/system.slice/web.service",
        Some("docker-ID.scope"),
        Some("9687bac58d5c"),
    ),
    (
        "kubepods-podP_O_D.slice/crio-ID.scope/container",
        Some("crio-ID.scope"),
        Some("pod0b7632a2-a56e-4278-987a-22de18008dbe/9687bac58d5c"),
    ),
    (
        "user-7.slice/user@7.service/user.slice/libpod-ID.scope/container",
        Some("user@7.service/libpod-ID.scope"),
        Some("9687bac58d5c"),
    ),
    (
        "user-7.slice/user@7.service/user.slice/libpod-conmon-ID.scope",
        Some("user@7.service/libpod-conmon-ID.scope"),
        None,
    ),
    ("plain", None, None),
];

fn filled(text: &str) -> String {
    text.replace("P_O_D", "0b7632a2_a56e_4278_987a_22de18008dbe")
        .replace("ID", ID)
}

/// Runs a process in this cgroup, and returns what the process says it did.
fn run_in(cgroup: &Path, scenario: &str) -> Value {
    let procs = cgroup.join("cgroup.procs");
    let mut command = Command::new(workload());
    command.arg(scenario);
    // SAFETY: the closure only writes a file between fork and exec.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    let lines = Workload::of(&mut command).finish();
    lines.into_iter().next().expect("a line")
}

/// The number of processes and their counters, for each name. Absent names are `None`.
type Sums = BTreeMap<Option<String>, (u64, Counters)>;

fn grouped(rows: &[Value], key: &str) -> Sums {
    let row = |row: &Value| {
        let processes = row["processes"].as_u64().expect("a number");
        let name = row[key].as_str().map(str::to_owned);
        (name, (processes, counters(row, Counters::default())))
    };
    let sums: Sums = rows.iter().map(row).collect();
    assert_eq!(sums.len(), rows.len(), "two rows have one name: {rows:?}");
    sums
}

#[test]
fn rows_and_groups_have_the_names_of_units_and_containers() {
    let slice = format!("netatoptest{}.slice", std::process::id());
    let slice = Cgroup::new(mount().expect("cgroup v2").join(slice));
    let filter = ["-c", slice.0.to_str().expect("UTF-8")];
    let dir = tempfile::tempdir().expect("tempdir");
    let groups: [&[&str]; 3] = [&[], &["-g", "unit"], &["-g", "container"]];
    let [by_process, by_unit, by_container] = groups.map(|group| {
        let file = dir
            .path()
            .join(format!("{}.jsonl", group.len() + group.concat().len()));
        let recording = recording(&file, &[&filter[..], group].concat());
        (recording, file)
    });
    let (mut processes, mut units, mut containers) = (BTreeMap::new(), Sums::new(), Sums::new());
    for (number, (place, unit, container)) in PLACES.into_iter().enumerate() {
        let path = slice.0.join(filled(place));
        fs::create_dir_all(&path).expect("mkdir");
        let [unit, container] = [unit, container].map(|name| name.map(filled));
        for scenario in ["tcp", "udp"].into_iter().take(1 + number % 2) {
            let line = run_in(&path, scenario);
            let done = counters(&line, Counters::default());
            assert!(done.bytes() > 0, "{line}");
            for (sums, name) in [(&mut units, &unit), (&mut containers, &container)] {
                let (count, sum) = sums.entry(name.clone()).or_default();
                *count += 1;
                *sum += done;
            }
            let pid = line["pid"].as_u64().expect("a pid");
            processes.insert(pid, (unit.clone(), container.clone(), done));
        }
        // Before its row is written, the cgroup is gone.
        let is_own = |path: &&Path| *path != slice.0;
        for made in path.ancestors().take_while(is_own) {
            let is_gone = || match fs::remove_dir(made) {
                Err(error) if error.kind() == std::io::ErrorKind::ResourceBusy => None,
                done => Some(done),
            };
            wait_for("the cgroup to be empty", is_gone).expect("rmdir");
        }
    }
    let found: BTreeMap<_, _> = rows(by_process.0, &by_process.1)
        .iter()
        .map(|row| {
            let name = |key: &str| row[key].as_str().map(str::to_owned);
            let done = counters(row, Counters::default());
            let pid = row["pid"].as_u64().expect("a pid");
            (pid, (name("unit"), name("container"), done))
        })
        .collect();
    assert_eq!(found, processes);
    assert_eq!(grouped(&rows(by_unit.0, &by_unit.1), "unit"), units);
    let by_container = rows(by_container.0, &by_container.1);
    assert_eq!(grouped(&by_container, "container"), containers);
    assert_eq!((units.len(), containers.len()), (6, 3));
}
