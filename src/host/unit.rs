//! The systemd unit that a cgroup belongs to, from the path of the cgroup.
//!
//! The rules are those of systemd's src/basic/cgroup-util.c (`cg_path_get_unit`,
//! `cg_path_get_user_unit`) and src/basic/unit-name.c (`unit_name_is_valid`). A path is read from
//! its beginning: below a unit, a delegated cgroup can have any name, also that of another unit.

/// The types of units: `unit_type_table` of systemd's src/basic/unit-def.c.
pub const UNIT_TYPES: [&str; 11] = [
    "service",
    "scope",
    "slice",
    "socket",
    "mount",
    "swap",
    "target",
    "device",
    "automount",
    "timer",
    "path",
];

/// `UNIT_NAME_MAX` of systemd's src/basic/unit-name.h. Names are shorter.
const UNIT_NAME_MAX: usize = 256;

/// The unit of a cgroup with this path below the cgroup root. `None` if it belongs to no unit, or
/// only to slices.
///
/// A unit of a user's own manager (`user@UID.service`, or `capsule@NAME.service`) has the name of
/// the manager before its own, such as `user@1000.service/pipewire.service`. Without it, it could
/// be taken for a unit of the system or of another user.
pub(super) fn unit(path: &str) -> Option<String> {
    let mut directories = path.split('/').filter(|directory| !directory.is_empty());
    let unit = next_unit(&mut directories)?;
    let inner = is_manager(unit).then(|| next_unit(&mut directories));
    Some(match inner.flatten() {
        Some(inner) => format!("{unit}/{inner}"),
        None => unit.to_owned(),
    })
}

/// Skips slices, and takes the directory after them, which must be that of a unit
/// (`skip_slices`, `cg_path_decode_unit`).
fn next_unit<'p>(directories: &mut impl Iterator<Item = &'p str>) -> Option<&'p str> {
    let directory = directories.find(|directory| !is_slice(unescape(directory)))?;
    // LXC's directory of a container that is called, for example, `web.service` (see `container`).
    let is_lxc = directory.starts_with("lxc.");
    let unit = unescape(directory);
    let is_named = is_unit(unit) && !unit.ends_with(".slice");
    (is_named && !is_lxc).then_some(unit)
}

/// Removes the underscore that systemd puts before a name that could be one of the kernel's files
/// (`cg_escape`, `cg_unescape`).
fn unescape(directory: &str) -> &str {
    directory.strip_prefix('_').unwrap_or(directory)
}

/// Slices have no instances (`valid_slice_name`).
fn is_slice(unit: &str) -> bool {
    unit.ends_with(".slice") && is_unit(unit) && !unit.contains('@')
}

/// Whether this is the name of a plain unit or of an instance (`unit_name_is_valid`).
#[must_use]
pub fn is_unit(unit: &str) -> bool {
    let Some((name, kind)) = unit.rsplit_once('.') else {
        return false;
    };
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    let has_instance = match name.split_once('@') {
        Some((template, instance)) => !template.is_empty() && !instance.is_empty(),
        None => !name.is_empty(),
    };
    unit.len() < UNIT_NAME_MAX
        && UNIT_TYPES.contains(&kind)
        && name.bytes().all(is_allowed)
        && has_instance
}

/// The user whose manager a cgroup with this path belongs to. `None` if it belongs to none.
pub(super) fn user(path: &str) -> Option<u32> {
    let mut directories = path.split('/').filter(|directory| !directory.is_empty());
    let unit = next_unit(&mut directories).filter(|unit| is_manager(unit))?;
    let uid = unit.strip_prefix("user@")?.strip_suffix(".service")?;
    uid.parse().ok()
}

/// Whether the unit is a manager with units of its own (`skip_user_manager`).
#[must_use]
pub fn is_manager(unit: &str) -> bool {
    let instance = unit
        .strip_suffix(".service")
        .and_then(|name| name.split_once('@'));
    match instance {
        Some(("user", uid)) => {
            uid.bytes().all(|byte| byte.is_ascii_digit()) && uid.parse::<u32>().is_ok()
        }
        Some(("capsule", _)) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The cases of systemd's own rules that have no example in `cgroup`.
    #[test]
    fn names_are_read_as_systemd_reads_them() {
        let long = "x".repeat(247);
        for (path, expected) in [
            ("/", None),
            ("", None),
            ("/system.slice", None),
            ("/-.slice/getty@tty1.service", Some("getty@tty1.service")),
            ("/_cgroup.service", Some("cgroup.service")),
            ("/__odd.service", Some("_odd.service")),
            ("/system.slice/getty@.service", None),
            ("/system.slice/@tty1.service", None),
            ("/system.slice/.service", None),
            ("/system.slice/a b.service", None),
            ("/system.slice/a.unit", None),
            ("/system.slice/foo@1.slice/a.service", None),
            ("/netns/a.service", None),
            ("/lxc.payload.web.service", None),
            ("/a.b.service/b.service", Some("a.b.service")),
            (
                "/system.slice/dev-hugepages.mount",
                Some("dev-hugepages.mount"),
            ),
            (r"/system.slice/a\x2db.service", Some(r"a\x2db.service")),
            ("/user@.service/a.service", None),
            ("/user@x.service/a.service", Some("user@x.service")),
            ("/user@+1.service/a.service", None),
            (
                "/user@4294967296.service/a.service",
                Some("user@4294967296.service"),
            ),
            ("/user@1.service/x/a.service", Some("user@1.service")),
            (
                "/capsule.slice/capsule@c.service/app.slice/a.service",
                Some("capsule@c.service/a.service"),
            ),
            (
                &format!("/{long}.service"),
                Some(&format!("{long}.service")),
            ),
            (&format!("/x{long}.service"), None),
        ] {
            assert_eq!(unit(path).as_deref(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_gives_a_valid_name_or_none(
            path in r"(/(.{0,9}|[-_@a.]{0,4}\.(slice|service|scope)|user@[0-9x]{0,11}\.service)){0,5}"
        ) {
            if let Some(unit) = unit(&path) {
                let names: Vec<&str> = unit.split('/').collect();
                prop_assert!(names.len() <= 2 && names.iter().all(|name| is_unit(name)), "{unit}");
                // Nothing is made up.
                prop_assert!(names.iter().all(|name| path.contains(name)), "{unit}");
            }
        }
    }
}
