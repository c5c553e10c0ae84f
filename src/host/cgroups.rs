//! Names of cgroups: maps ids reported by the kernel to paths.

use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use foldhash::HashMap;

use super::proc;
use crate::model::CgroupChange;

/// The paths of all existing cgroups, and of removed cgroups that can still appear in a row.
///
/// The hierarchy is read once. After that, the kernel reports changes, so that even a short-lived
/// cgroup has a name.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    /// Paths by cgroup id. `None` for a path that the kernel did not report in full.
    paths: HashMap<u64, Option<Rc<str>>>,
    /// Ids of removed cgroups: since the last call of `forget_removed`, and before that call.
    removed: [Vec<u64>; 2],
}

/// The error and the remedy for a host without [`cgroup_mount`].
pub const NO_CGROUPS: [&str; 2] = [
    "this host has no cgroup v2 hierarchy: none is mounted",
    "start it with systemd.unified_cgroup_hierarchy=1, or filter by process",
];

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
        let mut cgroups = Self {
            mount: cgroup_mount().filter(|_| is_initial_cgroup_namespace()),
            ..Self::default()
        };
        cgroups.scan();
        cgroups
    }

    /// Applies a change of the hierarchy.
    pub fn apply(&mut self, change: CgroupChange) {
        if self.mount.is_none() {
            return;
        }
        let path = change.path.map(Rc::from);
        if change.removed {
            // The cgroup may have been removed before the hierarchy was read.
            self.paths.entry(change.id).or_insert(path);
            self.removed[0].push(change.id);
        } else {
            self.paths.insert(change.id, path);
        }
    }

    /// The path below the cgroup root, `/` for the root itself. `None` if the path is not known.
    #[must_use]
    pub fn path(&self, id: u64) -> Option<&Rc<str>> {
        self.paths.get(&id)?.as_ref()
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
        self.paths.insert(ROOT, Some("/".into()));
        self.scan_directory(&mount, "");
    }

    fn scan_directory(&mut self, directory: &Path, path: &str) {
        // A cgroup can be removed at any moment. A removed cgroup has no children.
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                self.scan_directory(&entry.path(), &path);
                self.paths.entry(entry.ino()).or_insert(Some(path.into()));
            }
        }
    }
}

/// The mount point of cgroup v2, on pure and on hybrid hosts; `None` if cgroup v2 is not mounted.
#[must_use]
pub fn cgroup_mount() -> Option<PathBuf> {
    find_mount(&proc::mountinfo()?)
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

/// The mount point of the cgroup v2 hierarchy in /proc/PID/mountinfo (proc(5)).
pub(crate) fn find_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
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
        let pure = "35 24 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        assert_eq!(find_mount(pure), Some("/sys/fs/cgroup".into()));
        let hybrid = "30 24 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
                      31 30 0:27 / /sys/fs/cgroup/my\\040v2 rw - cgroup2 cgroup rw\n\
                      32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        assert_eq!(find_mount(hybrid), Some("/sys/fs/cgroup/my v2".into()));
        assert_eq!(find_mount("31 30 0:27 / /x rw - cgroup cgroup rw\n"), None);
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
        let known = |cgroups: &Cgroups| cgroups.path(7).map(|path| path.to_string());
        cgroups.apply(change(7, "/a", false));
        cgroups.apply(change(7, "/a", true));
        cgroups.apply(change(8, "/never-seen-alive", true));
        assert_eq!(cgroups.removed(), 2);
        cgroups.forget_removed();
        assert_eq!(known(&cgroups).as_deref(), Some("/a"));
        assert!(cgroups.path(8).is_some());
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

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".{0,200}") {
            let _ = find_mount(&text);
        }
    }
}
