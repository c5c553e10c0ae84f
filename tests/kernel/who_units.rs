//! The filter by systemd unit: units that start later, that start again, and what is below them. The
//! cgroups are laid out as systemd lays them out, below a slice of the test.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use netatop::kernel::{Capacity, Storage};
use netatop::model::{Counters, Extent};
use serde_json::Value;

use super::filters::Cgroup;
use super::harness::{Counting, Workload, assert_exact, clean_up, counters, of_pid, workload};
use super::who::{WAYS, by_units, done, filter, sizes};

/// Runs a process that joins this cgroup before it starts the workload, and returns the pid and what
/// the process says it did.
fn run_in(cgroup: &Path, scenario: &str) -> (u32, Value) {
    let procs = cgroup.join("cgroup.procs");
    let mut command = Command::new(workload());
    command.arg(scenario);
    // SAFETY: the closure only writes a file between fork and exec.
    unsafe { command.pre_exec(move || fs::write(&procs, "0")) };
    let workload = Workload::of(&mut command);
    let pid = workload.pid();
    let lines = workload.finish();
    (pid, lines.into_iter().next().expect("a line"))
}

/// Removes a cgroup when its last process has ended completely.
fn remove(cgroup: &Path) {
    clean_up("the cgroup to be empty", || fs::remove_dir(cgroup).ok());
}

/// Cgroups below the slice of the test, and whether `--unit` selects them.
const PLACES: [(&str, bool); 13] = [
    ("netatop-web.service", true),
    ("netatop-web.service/workers", true),
    ("netatop-web.service/x/y/other.service", true),
    ("netatop-web.slice", false),
    ("netatop-web2.service", false),
    ("_netatop-web.service", true),
    ("docker-1.scope/system.slice/netatop-web.service", false),
    ("plain/netatop-web.service", false),
    ("system-pg.slice/netatop-pg@16-main.service", true),
    ("system-pg.slice/netatop-pg@16-main.service/backend", true),
    (
        "user-7.slice/user@7.service/app.slice/netatop-mail.service/x",
        true,
    ),
    (
        "user-7.slice/user@7.service/app.slice/netatop-web.service",
        false,
    ),
    ("netatop-mail.service", false),
];
const UNITS: [&str; 3] = [
    "netatop-web.service",
    "netatop-pg@*",
    "user@7.service/netatop-mail.service",
];

/// Makes directories, and removes those again that it made.
struct Directories(Vec<PathBuf>);

impl Directories {
    fn make(path: &Path) -> Self {
        let missing = path.ancestors().take_while(|path| !path.exists());
        let mut made: Vec<PathBuf> = missing.map(Path::to_owned).collect();
        for path in made.iter().rev() {
            fs::create_dir(path).expect("mkdir");
        }
        made.dedup();
        Self(made)
    }
}

impl Drop for Directories {
    fn drop(&mut self) {
        for path in &self.0 {
            remove(path);
        }
    }
}

/// Half of the units exist when the recording begins. All of them are started twice.
#[test]
fn units_count_from_their_first_message_also_when_they_start_later_or_again() {
    for way in WAYS {
        let slice = Cgroup::of_test("units.slice");
        let older: Vec<Directories> = PLACES
            .iter()
            .step_by(2)
            .map(|(place, _)| Directories::make(&slice.0.join(place)))
            .collect();
        let mut storage = Storage::default();
        let filter = filter(by_units(&UNITS));
        let mut counting = Counting::with_capacity(&mut storage, sizes(way), &filter, way.1);
        let mut older = Some(older);
        for start in ["first", "again"] {
            for (place, wanted) in PLACES {
                let path = slice.0.join(place);
                let directories = Directories::make(&path);
                for scenario in ["tcp", "udp6"] {
                    let (pid, line) = run_in(&path, scenario);
                    let truth = counters(&line, Counters::default());
                    assert!(!truth.is_zero());
                    let expected = if wanted { truth } else { Counters::default() };
                    let interval = counting.interval();
                    assert_eq!(done(&interval, pid).0, expected, "{way:?} {place} {start}");
                    assert_eq!(
                        of_pid(&interval, pid).is_empty(),
                        !wanted,
                        "{place} {start}"
                    );
                    assert!(interval.unattributed.is_zero());
                }
                drop(directories);
            }
            let older: Vec<Directories> = older.take().unwrap_or_default();
            older.into_iter().rev().for_each(drop);
        }
    }
}

#[test]
fn a_process_counts_while_it_is_in_the_unit() {
    let slice = Cgroup::of_test("moves.slice");
    let mut storage = Storage::default();
    let filter = filter(by_units(&["netatop-moves.service"]));
    let mut counting = Counting::new(&mut storage, &filter, false);
    let unit = Cgroup::new(slice.0.join("netatop-moves.service"));
    let mut told = Workload::start(&["told"]);
    let mut truth = Counters::default();
    for (cgroup, wanted) in [
        (&slice, false),
        (&unit, true),
        (&slice, false),
        (&unit, true),
    ] {
        cgroup.adopt(told.pid());
        told.tell("thread x");
        let line = counters(&told.line(), Counters::default());
        truth += if wanted { line } else { Counters::default() };
    }
    let pid = told.pid();
    told.finish();
    assert_eq!(done(&counting.interval(), pid).0, truth);
}

/// Units that start again and again need no more room than those that run.
#[test]
fn a_removed_cgroup_gives_its_room_back() {
    let slice = Cgroup::of_test("room.slice");
    let capacity = Capacity {
        unit_cgroups: 2,
        ..Capacity::default()
    };
    let mut storage = Storage::default();
    let filter = filter(by_units(&["netatop-room.service"]));
    let mut counting = Counting::with_capacity(&mut storage, capacity, &filter, false);
    for _ in 0..20 {
        let unit = Cgroup::new(slice.0.join("netatop-room.service"));
        let part = Cgroup::new(unit.0.join("part"));
        for cgroup in [&unit, &part] {
            let (_, line) = run_in(&cgroup.0, "udp");
            assert_exact(&counting.interval(), &line);
        }
    }
    assert_eq!(counting.sample(Extent::Changes).losses.undecided_cgroups, 0);
}

/// What cannot be decided any more is reported, and no other process gets it.
#[test]
fn without_room_for_a_cgroup_its_traffic_is_reported() {
    let slice = Cgroup::of_test("full.slice");
    let capacity = Capacity {
        unit_cgroups: 1,
        ..Capacity::default()
    };
    let mut storage = Storage::default();
    let mut told = Workload::start(&["told"]);
    let mut filter = filter(by_units(&["netatop-full@*"]));
    // Traffic of the rest of the host would be undecided as well.
    filter.pids = vec![told.pid()];
    let mut counting = Counting::with_capacity(&mut storage, capacity, &filter, false);
    slice.adopt(told.pid());
    told.tell("traffic");
    told.line();
    let [one, other] =
        ["1", "2"].map(|n| Cgroup::new(slice.0.join(format!("netatop-full@{n}.service"))));
    let losses = counting.sample(Extent::Changes).losses;
    assert_eq!((losses.undecided_cgroups, losses.undecided_msgs), (1, 0));
    let mut truths = [&one, &other].map(|cgroup| {
        cgroup.adopt(told.pid());
        told.tell("traffic");
        counters(&told.line(), Counters::default())
    });
    slice.adopt(told.pid());
    told.tell("traffic");
    truths[1] += counters(&told.line(), Counters::default());
    let losses = counting.sample(Extent::Changes).losses;
    assert_eq!(losses.undecided_msgs, truths[1].msgs());
    assert_eq!(losses.undecided_bytes, truths[1].bytes());
    assert_eq!(done(&counting.interval(), told.pid()).0, truths[0]);
    // It has room again, but the second one stays unknown.
    let pid = told.pid();
    told.finish();
    drop(one);
    let third = Cgroup::new(slice.0.join("netatop-full@3.service"));
    assert_eq!(counting.sample(Extent::Changes).losses.undecided_cgroups, 1);
    assert!(of_pid(&counting.interval(), pid).is_empty());
    drop((other, third));
}

/// The kernel tells the first 1,023 bytes of a path.
#[test]
fn a_path_that_is_too_long_to_be_decided_is_reported() {
    let slice = Cgroup::of_test("long.slice");
    let mut storage = Storage::default();
    let filter = filter(by_units(&["netatop-deep.service"]));
    let mut counting = Counting::new(&mut storage, &filter, false);
    let part = format!("{}.slice", "s".repeat(194));
    let shallow: PathBuf = (0..4).map(|_| part.as_str()).collect();
    let deep: PathBuf = (0..6).map(|_| part.as_str()).collect();
    let shallow = slice.0.join(shallow).join("netatop-deep.service");
    let directories = Directories::make(&shallow);
    let (_, line) = run_in(&shallow, "udp");
    assert_exact(&counting.interval(), &line);
    let undecided =
        |counting: &mut Counting<'_>| counting.sample(Extent::Changes).losses.undecided_cgroups;
    assert_eq!(undecided(&mut counting), 0);
    let deep = Directories::make(&slice.0.join(deep).join("netatop-deep.service"));
    // The last two slices, and the unit.
    assert_eq!(undecided(&mut counting), 3);
    drop(deep);
    drop(directories);
}
