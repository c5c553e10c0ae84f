//! Names of cgroups: maps ids reported by the kernel to paths.

use std::fs;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use foldhash::{HashMap, HashSet};
use rustix::fs::{FsWord, statfs};

use super::containers::Containers;
use super::{Cgroup, proc};
use crate::model::CgroupChange;

/// The paths of all existing cgroups, and of removed cgroups that can still appear in a row.
///
/// The hierarchy is read once. After that, the kernel reports changes, so that even a short-lived
/// cgroup has a name.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    /// Paths by cgroup id. `None` for a path that the kernel did not report in full.
    paths: HashMap<u64, Option<Rc<Cgroup>>>,
    /// The names of containers.
    containers: Option<Rc<Containers>>,
    /// Ids of removed cgroups: since the last call of `forget_removed`, and before that call.
    removed: [Vec<u64>; 2],
}

/// The error and the remedy for a host without [`cgroup_mount`].
pub const NO_CGROUPS: [&str; 2] = [
    "no cgroup v2 hierarchy is mounted here",
    "mount it: mount -t cgroup2 none /sys/fs/cgroup; or do without cgroups",
];

/// CGROUP2_SUPER_MAGIC of include/uapi/linux/magic.h.
const CGROUP2_SUPER_MAGIC: FsWord = 0x6367_7270;

/// The id of the root: the inode number of the topmost directory.
const ROOT: u64 = 1;

/// `PROC_CGROUP_INIT_INO` of include/uapi/linux/nsfs.h.
const INITIAL_CGROUP_NS: u64 = 0xEFFF_FFFB;

/// Whether this process is in the initial cgroup namespace. In another namespace, the paths that
/// this process sees differ from the host's.
#[must_use]
pub fn is_initial_cgroup_namespace() -> bool {
    proc::namespace("cgroup") == Some(INITIAL_CGROUP_NS)
}

impl Cgroups {
    /// Finds and reads the cgroup v2 hierarchy of this host, on hybrid hosts too. Outside the
    /// initial cgroup namespace, no paths are known.
    #[must_use]
    pub fn new() -> Self {
        let mount = can_name_cgroups().then(cgroup_mount).flatten();
        let containers = mount.as_ref().and_then(|_| Containers::of_host());
        let mut cgroups = Self {
            mount,
            containers: containers.map(Rc::new),
            ..Self::default()
        };
        cgroups.scan();
        cgroups
    }

    /// Cgroups with these ids and paths, without a hierarchy.
    #[cfg(test)]
    pub(crate) fn of_test(cgroups: impl IntoIterator<Item = (u64, &'static str)>) -> Self {
        let cgroups = cgroups.into_iter();
        Self {
            paths: cgroups
                .map(|(id, path)| (id, Some(Rc::new(Cgroup::new(path)))))
                .collect(),
            ..Self::default()
        }
    }

    /// Applies a change of the hierarchy.
    pub fn apply(&mut self, change: CgroupChange) {
        if self.mount.is_none() {
            return;
        }
        let containers = self.containers.as_ref();
        let path = change.path.map(|path| Cgroup::with(path, containers));
        let path = path.map(Rc::new);
        if change.removed {
            // The cgroup may have been removed before the hierarchy was read.
            self.paths.entry(change.id).or_insert(path);
            self.removed[0].push(change.id);
        } else {
            if let Some(cgroup) = &path {
                cgroup.ask();
            }
            self.paths.insert(change.id, path);
        }
    }

    /// The cgroup with this id. `None` if its path is not known.
    #[must_use]
    pub fn get(&self, id: u64) -> Option<&Rc<Cgroup>> {
        self.paths.get(&id)?.as_ref()
    }

    /// The ids and paths of all cgroups whose path is known.
    pub fn iter(&self) -> impl Iterator<Item = (u64, &str)> {
        self.paths
            .iter()
            .filter_map(|(id, cgroup)| Some((*id, &**cgroup.as_ref()?.path())))
    }

    /// How many removed cgroups are still remembered.
    #[must_use]
    pub fn removed(&self) -> usize {
        self.removed.iter().map(Vec::len).sum()
    }

    /// Forgets cgroups that were removed before the last call. All their traffic has been written
    /// by then.
    pub fn forget_removed(&mut self) {
        let [new, old] = &mut self.removed;
        for id in old.drain(..) {
            self.paths.remove(&id);
        }
        std::mem::swap(new, old);
    }

    /// Reads the whole hierarchy, to find cgroups whose changes were not reported.
    pub fn scan(&mut self) {
        let Some(mount) = self.mount.clone() else {
            return;
        };
        let mut living = HashSet::default();
        self.set(ROOT, "/", &mut living);
        self.scan_directory(&mount, "", &mut living);
        // These were removed, but the removal was not reported. Keep them until their last rows
        // are written.
        living.extend(self.removed.iter().flatten());
        let gone = self.paths.keys().filter(|id| !living.contains(id));
        self.removed[0].extend(gone);
    }

    fn scan_directory(&mut self, directory: &Path, path: &str, living: &mut HashSet<u64>) {
        // A cgroup can be removed at any moment. A removed cgroup has no children.
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                self.scan_directory(&entry.path(), &path, living);
                self.set(entry.ino(), &path, living);
            }
        }
    }

    fn set(&mut self, id: u64, path: &str, living: &mut HashSet<u64>) {
        living.insert(id);
        // A path that was not reported in full is known now.
        self.paths
            .entry(id)
            .or_default()
            .get_or_insert_with(|| Rc::new(Cgroup::with(path, self.containers.as_ref())));
    }
}

/// The visible mount point of cgroup v2, on pure and on hybrid hosts; `None` if there is none.
#[must_use]
pub fn cgroup_mount() -> Option<PathBuf> {
    let is_initial = is_initial_cgroup_namespace();
    find_mounts(&proc::mountinfo()?).find(|mount| {
        // Something else can be mounted over it, such as a part of the hierarchy.
        let is_root = fs::metadata(mount).is_ok_and(|root| root.ino() == ROOT || !is_initial);
        is_root && statfs(mount).is_ok_and(|fs| fs.f_type == CGROUP2_SUPER_MAGIC)
    })
}

/// Whether the paths of cgroups can be known: in another cgroup namespace than the initial one, a
/// process does not see those of the host.
#[must_use]
pub fn can_name_cgroups() -> bool {
    is_initial_cgroup_namespace() && cgroup_mount().is_some()
}

/// Whether there are cgroup v1 hierarchies with controllers. On a hybrid host, a container may have
/// cgroups only in these.
#[must_use]
pub fn has_cgroup1() -> bool {
    proc::own_cgroups().is_some_and(|text| names_cgroup1(&text))
}

/// Lines of /proc/PID/cgroup are `ID:CONTROLLERS:PATH`. cgroup v2 has no controllers there, and
/// systemd's own hierarchy has `name=systemd` (cgroups(7)).
fn names_cgroup1(text: &str) -> bool {
    let mut controllers = text.lines().filter_map(|line| line.split(':').nth(1));
    controllers.any(|names| !names.is_empty() && !names.starts_with("name="))
}

/// The mount points of the cgroup v2 hierarchy in /proc/PID/mountinfo (proc(5)).
pub(crate) fn find_mounts(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        let mut fields = mount.split(' ').skip(3);
        // A bind mount of a part of the hierarchy has another root.
        let whole = fields.next()? == "/";
        (kind == "cgroup2" && whole).then(|| fields.next().map(unescape))?
    })
}

/// Replaces the octal escapes of mountinfo by their characters.
fn unescape(field: &str) -> PathBuf {
    let mut path = field.to_owned();
    for (escape, character) in [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ] {
        path = path.replace(escape, character);
    }
    PathBuf::from(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_v2_mount_is_found_on_pure_and_on_hybrid_hosts() {
        let mounts = |text| -> Vec<String> {
            find_mounts(text)
                .map(|mount| mount.display().to_string())
                .collect()
        };
        let pure = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(mounts(pure), ["/sys/fs/cgroup"]);
        let hybrid = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:27 / /sys/fs/cgroup/my\\040v2 rw - cgroup2 cgroup rw\n\
                      32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(mounts(hybrid), ["/sys/fs/cgroup/my v2"]);
        assert!(mounts("31 30 0:27 / /x rw - cgroup cgroup rw\n").is_empty());
    }

    #[test]
    fn a_hybrid_host_has_controllers_in_v1() {
        assert!(names_cgroup1(
            "5:cpu,cpuacct:/a\n1:name=systemd:/b\n0::/c\n"
        ));
        assert!(!names_cgroup1("1:name=systemd:/b\n0::/c\n"));
        assert!(!names_cgroup1("0::/\n"));
    }

    fn change(id: u64, path: &str, removed: bool) -> CgroupChange {
        CgroupChange {
            id,
            path: Some(path.to_owned()),
            removed,
        }
    }

    #[test]
    fn a_removed_cgroup_keeps_its_path_until_its_rows_are_made() {
        let mut cgroups = Cgroups {
            mount: Some("/nonexistent".into()),
            ..Cgroups::default()
        };
        let known = |cgroups: &Cgroups| cgroups.get(7).map(|cgroup| cgroup.path().to_string());
        cgroups.apply(change(7, "/a", false));
        cgroups.apply(change(7, "/a", true));
        cgroups.apply(change(8, "/never-seen-alive", true));
        assert_eq!(cgroups.removed(), 2);
        cgroups.forget_removed();
        assert_eq!(known(&cgroups).as_deref(), Some("/a"));
        assert!(cgroups.get(8).is_some());
        cgroups.forget_removed();
        assert_eq!((known(&cgroups), cgroups.removed()), (None, 0));
    }

    /// A day of short-lived containers.
    #[test]
    fn memory_does_not_grow_with_removed_cgroups() {
        let mut cgroups = Cgroups {
            mount: Some("/nonexistent".into()),
            ..Cgroups::default()
        };
        for id in 2..100_000 {
            cgroups.apply(change(id, "/container", false));
            cgroups.apply(change(id, "/container", true));
            if id % 100 == 0 {
                cgroups.forget_removed();
            }
        }
        assert!(cgroups.paths.len() <= 200);
    }

    /// After a full ring buffer, changes are missing.
    #[test]
    fn a_scan_makes_up_for_changes_that_were_not_reported() {
        let hierarchy = tempfile::tempdir().expect("tempdir");
        let make = |name: &str| {
            let path = hierarchy.path().join(name);
            fs::create_dir(&path).expect("mkdir");
            fs::metadata(&path).expect("stat").ino()
        };
        let [lost, cut] = ["lost", "cut"].map(make);
        let mut cgroups = Cgroups {
            mount: Some(hierarchy.path().to_owned()),
            ..Cgroups::default()
        };
        cgroups.apply(CgroupChange {
            id: cut,
            path: None,
            removed: false,
        });
        cgroups.apply(change(u64::MAX, "/gone", false));
        cgroups.scan();
        let known = |cgroups: &Cgroups, id| cgroups.get(id).map(|cgroup| cgroup.path().to_string());
        assert_eq!(known(&cgroups, lost).as_deref(), Some("/lost"));
        assert_eq!(known(&cgroups, cut).as_deref(), Some("/cut"));
        // Rows of the last interval may be about it.
        assert_eq!(known(&cgroups, u64::MAX).as_deref(), Some("/gone"));
        cgroups.forget_removed();
        cgroups.scan();
        assert_eq!(cgroups.removed(), 1);
        cgroups.forget_removed();
        assert_eq!(known(&cgroups, u64::MAX), None);
        assert_eq!(known(&cgroups, lost).as_deref(), Some("/lost"));
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".{0,200}") {
            find_mounts(&text).for_each(drop);
        }
    }
}
