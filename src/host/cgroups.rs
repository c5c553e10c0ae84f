//! Names of cgroups: from the id that the kernel's side reports to a path.

use std::fs;
use std::os::unix::fs::DirEntryExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use foldhash::HashMap;

use crate::model::ThreadRecord;

/// Remembers the path of every cgroup that was ever seen, also of those that are gone.
#[derive(Debug, Default)]
pub struct Cgroups {
    mount: Option<PathBuf>,
    /// `None` for one that was gone before it could be looked up.
    paths: HashMap<u64, Option<Rc<str>>>,
}

/// Why a cgroup cannot be asked for on a host without [`cgroup_mount`], and the way out.
pub const NO_CGROUPS: [&str; 2] = [
    "this host has no cgroup v2 hierarchy: none is mounted",
    "start it with systemd.unified_cgroup_hierarchy=1, or filter by process",
];

/// The id of the root: the inode number of the topmost directory.
const ROOT: u64 = 1;

impl Cgroups {
    /// Finds the cgroup v2 hierarchy of this host, on hybrid hosts too, and reads it.
    #[must_use]
    pub fn new() -> Self {
        let mut cgroups = Self {
            mount: cgroup_mount(),
            paths: HashMap::default(),
        };
        cgroups.scan();
        cgroups
    }

    /// Looks up the cgroups of `records` while they are most likely still there.
    pub fn learn<'a>(&mut self, records: impl IntoIterator<Item = &'a ThreadRecord>) {
        let mut scanned = false;
        for record in records {
            if self.paths.contains_key(&record.identity.cgroup) {
                continue;
            }
            if !scanned {
                self.scan();
                scanned = true;
            }
            self.paths.entry(record.identity.cgroup).or_insert(None);
        }
    }

    /// The path under the cgroup root, `/` for the root itself.
    #[must_use]
    pub fn path(&self, id: u64) -> Option<&Rc<str>> {
        self.paths.get(&id)?.as_ref()
    }

    fn scan(&mut self) {
        let Some(mount) = self.mount.clone() else {
            return;
        };
        self.paths.insert(ROOT, Some("/".into()));
        self.scan_directory(&mount, "");
    }

    fn scan_directory(&mut self, directory: &Path, path: &str) {
        // A cgroup can go at any moment; what is left of it has no children.
        let Ok(entries) = fs::read_dir(directory) else {
            return;
        };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = format!("{path}/{}", entry.file_name().to_string_lossy());
                self.scan_directory(&entry.path(), &path);
                self.paths.insert(entry.ino(), Some(path.into()));
            }
        }
    }
}

/// Where cgroup v2 is mounted, on pure and on hybrid hosts; `None` where it is not.
#[must_use]
pub fn cgroup_mount() -> Option<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    find_mount(&mountinfo)
}

/// The mount point of the cgroup v2 hierarchy in /proc/PID/mountinfo (proc(5)).
pub(crate) fn find_mount(mountinfo: &str) -> Option<PathBuf> {
    mountinfo.lines().find_map(|line| {
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        let mut fields = mount.split(' ').skip(3);
        // A part of the hierarchy that is mounted somewhere has another root.
        let whole = fields.next()? == "/";
        (kind == "cgroup2" && whole).then(|| fields.next().map(unescape))?
    })
}

/// Undoes the octal escapes of blanks in mountinfo.
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

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".{0,200}") {
            let _ = find_mount(&text);
        }
    }
}
