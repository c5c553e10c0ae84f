//! The container that a cgroup belongs to, from the path of the cgroup.
//!
//! Of several containers within each other, the innermost is taken. A directory that no rule knows
//! gives no name, for a missing name is better than a wrong one. So there is none for containers of
//! `ctr`, and for those of Docker with the cgroupfs driver and `--cgroup-parent`.
//!
//! A helper process of a runtime is not in the container. The rules do not match its cgroup:
//! `libpod-conmon-ID.scope`, `crio-conmon-ID.scope`, `runtime` (Podman with `--cgroups=split`),
//! `lxc.monitor.NAME`, and `supervisor` (systemd-nspawn).

/// Prefixes of the scopes that runtimes request from systemd, before the id and `.scope` (runc's
/// docs/systemd.md):
///
/// - Docker: `getCgroupPath` in moby's daemon/oci_linux.go;
/// - Podman: `getOCICgroupPath` in libpod/container_internal_linux.go;
/// - CRI-O: `CrioPrefix` in internal/config/cgmgr/cgmgr_linux.go;
/// - containerd: `getCgroupsPath` in internal/cri/server/helpers_linux.go;
/// - nerdctl: `generateCgroupPath` in pkg/cmd/container/run_cgroup_linux.go.
const SCOPES: [&str; 5] = ["docker-", "libpod-", "crio-", "cri-containerd-", "nerdctl-"];

/// Prefixes of directories that runtimes make themselves: Podman and CRI-O with the cgroupfs driver,
/// and Podman with `--cgroups=split`, as Quadlet uses it (podman-run(1)). The same files as for
/// `SCOPES`.
const DIRECTORIES: [&str; 3] = ["libpod-", "libpod-payload-", "crio-"];

/// Where the directory of a container has only its id as name, with the cgroupfs driver: Docker, and
/// containerd's namespaces of nerdctl and of Kubernetes (`WithDefaultSpec` in containerd's
/// pkg/oci/spec_opts.go has `/NAMESPACE/ID`). Podman is not here: it has pods in such a place.
const PARENTS: [&str; 3] = ["docker", "default", "k8s.io"];

/// What the path of a cgroup tells of its container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// Containers of LXC and machines of systemd have their own name.
    Name(String),
    /// The other runtimes have files that may name it.
    Id(WithId),
}

/// A container that has an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WithId {
    /// The uid of its pod in Kubernetes.
    pod: Option<String>,
    /// 64 digits.
    pub(super) id: String,
}

impl WithId {
    /// The first twelve digits of the id, as `docker ps` and `podman ps` print them. In a pod of
    /// Kubernetes they follow the uid of the pod: `podUID/ID`.
    pub(super) fn short(&self) -> String {
        let short = self.id.get(..12).unwrap_or(&self.id);
        match &self.pod {
            Some(uid) => format!("pod{uid}/{short}"),
            None => short.to_owned(),
        }
    }
}

/// The container of a cgroup with this path below the cgroup root. `None` if it is in no container,
/// or if the path does not tell.
pub(super) fn container(path: &str) -> Option<Found> {
    let mut directories = path.rsplit('/').filter(|directory| !directory.is_empty());
    let (mut child, mut directory) = (None, directories.next()?);
    loop {
        let parent = directories.next();
        let found = lxc(parent, directory)
            .map(Found::Name)
            .or_else(|| with_id(parent, directory).map(Found::Id))
            .or_else(|| machine(directory, child).map(Found::Name));
        if found.is_some() {
            return found;
        }
        (child, directory) = (Some(directory), parent?);
    }
}

fn with_id(parent: Option<&str>, directory: &str) -> Option<WithId> {
    // containerd with the cgroupfs driver makes a directory of this name where the kubelet uses the
    // systemd driver, and so passes a path that is meant for systemd.
    if let Some((slice, id)) = directory.split_once(":cri-containerd:") {
        return named(pod(slice), id);
    }
    let uid = parent.and_then(pod);
    let after = |prefixes: &[&str], name| {
        let mut ids = prefixes
            .iter()
            .filter_map(|prefix| str::strip_prefix(name, prefix));
        ids.find(|id| is_id(id))
    };
    let id = match directory.strip_suffix(".scope") {
        Some(scope) => after(&SCOPES, scope)?,
        None => after(&DIRECTORIES, directory).or_else(|| {
            let is_parent = parent.is_some_and(|parent| PARENTS.contains(&parent));
            (is_parent || uid.is_some()).then_some(directory)
        })?,
    };
    named(uid, id)
}

/// A container with this id, in the pod with this uid.
fn named(pod: Option<String>, id: &str) -> Option<WithId> {
    is_id(id).then(|| WithId {
        pod,
        id: id.to_owned(),
    })
}

/// All these runtimes make ids of 256 bits.
fn is_id(id: &str) -> bool {
    id.len() == 64 && id.bytes().all(is_hex)
}

fn is_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

/// The uid of the pod whose directory this is: `podUID`, or with the systemd driver
/// `kubepods-QOS-podUID.slice` with `_` instead of each `-` (`escapeSystemdCgroupName` and
/// `GetPodContainerName` in the kubelet's pkg/kubelet/cm).
fn pod(directory: &str) -> Option<String> {
    let uid = match directory.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => directory.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then_some(uid)
}

/// The API server makes UUIDs. The kubelet makes 32 digits for the pods that it finds in files
/// (`applyDefaults` in pkg/kubelet/config/common.go).
fn is_uid(uid: &str) -> bool {
    let is_dash = |at| matches!(at, 8 | 13 | 18 | 23);
    match uid.len() {
        32 => uid.bytes().all(is_hex),
        36 => (0..).zip(uid.bytes()).all(|(at, byte)| match byte {
            b'-' => is_dash(at),
            _ => is_hex(byte) && !is_dash(at),
        }),
        _ => false,
    }
}

/// LXC, also under LXD and Incus: `lxc.payload.NAME` since LXC 4, `lxc/NAME` before and on Proxmox VE
/// (`lxc.cgroup.dir.container` and `lxc.cgroup.dir.monitor` in lxc.container.conf(5)). If the
/// directory of an earlier container is left over, LXC appends a number, which cannot be told from
/// the name.
fn lxc(parent: Option<&str>, directory: &str) -> Option<String> {
    let name = match directory.strip_prefix("lxc.payload.") {
        Some(name) => name,
        None if parent == Some("lxc") && !directory.starts_with("lxc.") => directory,
        None => return None,
    };
    (!name.is_empty()).then(|| name.to_owned())
}

/// A machine of systemd: `machine-NAME.scope` with an escaped name (`machine_start_scope` in systemd's
/// src/machine/machine-dbus.c), or `systemd-nspawn@NAME.service`, which passes the name on as it is
/// (units/systemd-nspawn@.service.in). libvirt's virtual machines are registered as machines too:
/// `qemu-NUMBER-NAME` and `ch-NUMBER-NAME` (`virSystemdMakeMachineName`).
fn machine(directory: &str, child: Option<&str>) -> Option<String> {
    if child == Some("supervisor") {
        return None;
    }
    let scope = directory
        .strip_prefix("machine-")
        .and_then(|name| name.strip_suffix(".scope"));
    let name = match scope {
        Some(escaped) => unescape(escaped)?,
        None => directory
            .strip_prefix("systemd-nspawn@")?
            .strip_suffix(".service")?
            .to_owned(),
    };
    (is_machine_name(&name) && !is_virtual_machine(&name)).then_some(name)
}

/// `hostname_is_valid` of systemd's src/basic/hostname-util.c, which names of machines must be: letters,
/// digits, dashes, underscores and dots.
fn is_machine_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(is_allowed)
}

fn is_virtual_machine(name: &str) -> bool {
    let mut parts = name.splitn(3, '-');
    let is_driver = matches!(parts.next(), Some("qemu" | "ch"));
    let number = parts.next().filter(|_| is_driver);
    number.is_some_and(|number| {
        !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// Replaces `\xHH` by the byte (`unit_name_unescape` of systemd's src/basic/unit-name.c). `None` if
/// something else is escaped, or if there is a `-`, which stands for a slash.
fn unescape(escaped: &str) -> Option<String> {
    let mut parts = escaped.split("\\x");
    let mut name = parts.next()?.to_owned();
    let is_plain = |text: &str| !text.contains(['-', '\\']);
    if !is_plain(&name) {
        return None;
    }
    for part in parts {
        let (digits, rest) = part.split_at_checked(2)?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        let byte = u8::from_str_radix(digits, 16).ok()?;
        if !is_hex || !byte.is_ascii() || !is_plain(rest) {
            return None;
        }
        name.push(byte.into());
        name.push_str(rest);
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The name of a container that no file names.
    fn container(path: &str) -> Option<String> {
        Some(match super::container(path)? {
            Found::Name(name) => name,
            Found::Id(container) => container.short(),
        })
    }
    use proptest::prelude::*;

    const ID: &str = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869";
    /// What people see of it.
    const SHORT: &str = "9687bac58d5c";
    const UID: &str = "0b7632a2-a56e-4278-987a-22de18008dbe";

    #[test]
    fn what_is_not_in_a_container_has_no_name() {
        let uid = UID.replace('-', "_");
        for path in [
            format!("/machine.slice/libpod-conmon-{ID}.scope"),
            format!("/kubepods.slice/kubepods-pod{uid}.slice/crio-conmon-{ID}.scope"),
            format!("/kubepods/burstable/pod{UID}/crio-conmon-{ID}"),
            format!("/libpod_parent/{ID}"),
            "/libpod_parent/conmon".to_owned(),
            "/system.slice/web.service/runtime".to_owned(),
            "/lxc.monitor.web".to_owned(),
            "/lxc.monitor/101".to_owned(),
            "/lxc".to_owned(),
            "/lxc/lxc.monitor.web".to_owned(),
            "/lxc.payload.".to_owned(),
            "/machine.slice/machine-web.scope/supervisor".to_owned(),
            r"/machine.slice/machine-qemu\x2d3\x2dweb.scope/libvirt/emulator".to_owned(),
            "/machine.slice/machine-a-b.scope".to_owned(),
            r"/machine.slice/machine-a\x2.scope".to_owned(),
            r"/machine.slice/machine-a\xé.scope".to_owned(),
            r"/machine.slice/machine-a\y2d.scope".to_owned(),
            r"/machine.slice/machine-a\x1b.scope".to_owned(),
            r"/machine.slice/systemd-nspawn@a\x2db.service".to_owned(),
            "/machine.slice/systemd-nspawn@.service".to_owned(),
            // Too short, capital letters, not alone, and in no known place.
            format!("/system.slice/docker-{SHORT}.scope"),
            format!("/docker/{}", ID.to_uppercase()),
            format!("/system.slice/docker-{ID}"),
            format!("/docker/x{ID}"),
            format!("/{ID}"),
            format!("/jobs/{ID}"),
            format!("/podx/{ID}"),
        ] {
            assert_eq!(container(&path), None, "{path}");
        }
    }

    #[test]
    fn only_the_directory_above_a_container_is_its_pod() {
        for (path, expected) in [
            (format!("/podx.slice/docker-{ID}.scope"), SHORT.to_owned()),
            (format!("/pod{UID}/x/docker-{ID}.scope"), SHORT.to_owned()),
            (
                format!("/kubepods/pod{UID}/{ID}/deeper/still"),
                format!("pod{UID}/{SHORT}"),
            ),
        ] {
            assert_eq!(container(&path), Some(expected), "{path}");
        }
    }

    #[test]
    fn of_containers_within_each_other_the_innermost_is_taken() {
        let inner = format!("/docker/{}/docker/{ID}/init", "a".repeat(64));
        assert_eq!(container(&inner).as_deref(), Some(SHORT));
        // A helper of the inner runtime is in the outer container.
        let helper = format!("/docker/{ID}/x.slice/crio-conmon-{}.scope", "a".repeat(64));
        assert_eq!(container(&helper).as_deref(), Some(SHORT));
    }

    fn directory() -> impl Strategy<Value = String> {
        let known = vec![
            ID,
            UID,
            "docker",
            "docker-",
            "libpod-",
            "crio-",
            "payload-",
            "conmon-",
            "lxc",
            "lxc.payload.",
            "machine-",
            "systemd-nspawn@",
            ".scope",
            ".service",
            ".slice",
            "pod",
            "kubepods-",
            "\\x2d",
            "\\x",
            ":cri-containerd:",
            "qemu-1-",
            "é",
        ];
        let known = prop::sample::select(known).prop_map(str::to_owned);
        let part = prop_oneof![3 => known, 1 => ".{0,3}"];
        prop::collection::vec(part, 0..4).prop_map(|parts| parts.concat())
    }

    proptest! {
        #[test]
        fn any_path_gives_a_name_or_none(directories in prop::collection::vec(directory(), 0..5)) {
            let path = format!("/{}", directories.join("/"));
            if let Some(name) = container(&path) {
                prop_assert!(!name.is_empty(), "{path}");
            }
        }

        #[test]
        fn the_name_of_a_machine_survives_escaping(name in "[a-z0-9][-_.a-z0-9]{0,20}") {
            // As `unit_name_escape` does it.
            let escaped = name.replace('-', "\\x2d");
            let found = container(&format!("/machine.slice/machine-{escaped}.scope/payload"));
            prop_assert_eq!(found, (!is_virtual_machine(&name)).then_some(name));
        }
    }
}
