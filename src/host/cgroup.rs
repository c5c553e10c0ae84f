//! A cgroup, and the names that people know it by.

use std::cell::OnceCell;
use std::rc::Rc;

use super::container::{self, Found};
use super::containers::Containers;
use super::runtimes::Container;
use super::unit;

/// A cgroup: its path, and the names that the path tells. They are found when they are first asked
/// for.
#[derive(Debug)]
pub struct Cgroup {
    path: Rc<str>,
    unit: OnceCell<Option<Rc<str>>>,
    container: OnceCell<Option<Rc<str>>>,
    /// Where the names of containers come from. `None`: only from the path.
    containers: Option<Rc<Containers>>,
}

impl Cgroup {
    /// A cgroup with this path below the cgroup root, which is `/` for the root itself.
    #[must_use]
    pub fn new(path: impl Into<Rc<str>>) -> Self {
        Self {
            path: path.into(),
            unit: OnceCell::new(),
            container: OnceCell::new(),
            containers: None,
        }
    }

    /// The same, with names of containers from the files of their runtimes.
    pub(super) fn with(path: impl Into<Rc<str>>, containers: Option<&Rc<Containers>>) -> Self {
        Self {
            containers: containers.cloned(),
            ..Self::new(path)
        }
    }

    /// Begins to look up the name of its container, which may soon be gone.
    pub(super) fn ask(&self) {
        if let Some(containers) = &self.containers
            && let Some(Found::Id(found)) = container::container(&self.path)
        {
            containers.ask(&self.known_by(found.id));
        }
    }

    fn known_by(&self, id: String) -> Container {
        // The containers of root are the same in a session of root.
        let user = unit::user(&self.path).filter(|user| *user != 0);
        Container { id, user }
    }

    /// The path below the cgroup root.
    #[must_use]
    pub fn path(&self) -> &Rc<str> {
        &self.path
    }

    /// The systemd unit, by the rules of systemd. A unit of a user's manager has the name of the
    /// manager before it: `user@1000.service/pipewire.service`. `None` if it belongs to no unit.
    #[must_use]
    pub fn unit(&self) -> Option<&Rc<str>> {
        let find = || unit::unit(&self.path).map(Rc::from);
        self.unit.get_or_init(find).as_ref()
    }

    /// The container by its name, if its runtime leaves the name in a file: `NAMESPACE/POD/CONTAINER`
    /// in Kubernetes, and after `user@UID.service/` if it is rootless. Otherwise the first twelve
    /// digits of its id, after the pod of Kubernetes (`podUID/ID`). `None` if it is in no container,
    /// or if the path does not tell.
    #[must_use]
    pub fn container(&self) -> Option<&Rc<str>> {
        let find = || match container::container(&self.path)? {
            Found::Name(name) => Some(Rc::from(name)),
            Found::Id(found) => {
                let short = found.short();
                let containers = self.containers.as_ref();
                let name = containers.and_then(|all| all.name(&self.known_by(found.id)));
                Some(name.unwrap_or_else(|| Rc::from(short)))
            }
        };
        self.container.get_or_init(find).as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Paths of real hosts, with their unit and container. `ID` stands for an id, `POD` for the uid
    /// of a pod, and `P_O_D` for the same with underscores.
    const PATHS: [(&str, Option<&str>, Option<&str>); 49] = [
        // systemd: src/test/test-cgroup-util.c and systemd.slice(5).
        ("/", None, None),
        ("/init.scope", Some("init.scope"), None),
        ("/system.slice", None, None),
        ("/system.slice/nginx.service", Some("nginx.service"), None),
        (
            "/system.slice/system-getty.slice/getty@tty2.service",
            Some("getty@tty2.service"),
            None,
        ),
        (
            "/system.slice/system-postgresql.slice/postgresql@16-main.service",
            Some("postgresql@16-main.service"),
            None,
        ),
        (
            "/system.slice/run-user-1000.mount",
            Some("run-user-1000.mount"),
            None,
        ),
        // Delegated: what a service makes below itself is its own.
        (
            "/system.slice/systemd-udevd.service/udev",
            Some("systemd-udevd.service"),
            None,
        ),
        (
            "/system.slice/slurmstepd.scope/job_7/step_0/user/task_0",
            Some("slurmstepd.scope"),
            None,
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            Some("session-3.scope"),
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            Some("user@1000.service"),
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            Some("user@1000.service/init.scope"),
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/session.slice/pipewire.service",
            Some("user@1000.service/pipewire.service"),
            None,
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/\
             app-org.gnome.Terminal.slice/vte-spawn-1f.scope",
            Some("user@1000.service/vte-spawn-1f.scope"),
            None,
        ),
        // Docker, with the systemd driver, the cgroupfs driver, and rootless.
        (
            "/system.slice/docker-ID.scope",
            Some("docker-ID.scope"),
            Some("9687bac58d5c"),
        ),
        ("/docker/ID", None, Some("9687bac58d5c")),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            Some("user@1000.service/docker-ID.scope"),
            Some("9687bac58d5c"),
        ),
        ("/system.slice/docker.service", Some("docker.service"), None),
        // systemd in a container of Docker: its units are not those of the host.
        (
            "/system.slice/docker-ID.scope/system.slice/nginx.service",
            Some("docker-ID.scope"),
            Some("9687bac58d5c"),
        ),
        (
            "/docker/ID/system.slice/nginx.service",
            None,
            Some("9687bac58d5c"),
        ),
        // Podman: as root, rootless, in a pod, of Quadlet, with the cgroupfs driver.
        (
            "/machine.slice/libpod-ID.scope/container",
            Some("libpod-ID.scope"),
            Some("9687bac58d5c"),
        ),
        (
            "/machine.slice/libpod-conmon-ID.scope",
            Some("libpod-conmon-ID.scope"),
            None,
        ),
        (
            "/machine.slice/machine-libpod_pod_ID.slice/libpod-ID.scope",
            Some("libpod-ID.scope"),
            Some("9687bac58d5c"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            Some("user@1000.service/libpod-ID.scope"),
            Some("9687bac58d5c"),
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-ID.scope",
            Some("user@1000.service/libpod-conmon-ID.scope"),
            None,
        ),
        (
            "/system.slice/nginx.service/libpod-payload-ID",
            Some("nginx.service"),
            Some("9687bac58d5c"),
        ),
        (
            "/system.slice/nginx.service/runtime",
            Some("nginx.service"),
            None,
        ),
        (
            "/user.slice/user-1001.slice/user@1001.service/app.slice/caddy.service/libpod-payload-ID",
            Some("user@1001.service/caddy.service"),
            Some("9687bac58d5c"),
        ),
        ("/libpod_parent/libpod-ID", None, Some("9687bac58d5c")),
        ("/libpod_parent/conmon", None, None),
        // containerd under Kubernetes, with each driver, and each class of a pod.
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podP_O_D.slice/\
             cri-containerd-ID.scope",
            Some("cri-containerd-ID.scope"),
            Some("podPOD/9687bac58d5c"),
        ),
        (
            "/kubepods.slice/kubepods-podP_O_D.slice/cri-containerd-ID.scope",
            Some("cri-containerd-ID.scope"),
            Some("podPOD/9687bac58d5c"),
        ),
        (
            "/kubepods/besteffort/podPOD/ID",
            None,
            Some("podPOD/9687bac58d5c"),
        ),
        (
            "/kubepods/pod3d6beaa3004913efb68ce073d73494b0/ID",
            None,
            Some("pod3d6beaa3004913efb68ce073d73494b0/9687bac58d5c"),
        ),
        (
            "/system.slice/containerd.service/kubepods-burstable-podP_O_D.slice:cri-containerd:ID",
            Some("containerd.service"),
            Some("podPOD/9687bac58d5c"),
        ),
        ("/k8s.io/ID", None, Some("9687bac58d5c")),
        // Kubernetes in Docker (kind).
        (
            "/system.slice/docker-ID.scope/kubelet.slice/kubelet-kubepods.slice/\
             kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podP_O_D.slice/\
             cri-containerd-ID.scope",
            Some("docker-ID.scope"),
            Some("podPOD/9687bac58d5c"),
        ),
        // CRI-O, with crun, and its helper.
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podP_O_D.slice/\
             crio-ID.scope/container",
            Some("crio-ID.scope"),
            Some("podPOD/9687bac58d5c"),
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podP_O_D.slice/\
             crio-conmon-ID.scope",
            Some("crio-conmon-ID.scope"),
            None,
        ),
        (
            "/kubepods/burstable/podPOD/crio-ID",
            None,
            Some("podPOD/9687bac58d5c"),
        ),
        // nerdctl, with each driver.
        (
            "/system.slice/nerdctl-ID.scope",
            Some("nerdctl-ID.scope"),
            Some("9687bac58d5c"),
        ),
        ("/default/ID", None, Some("9687bac58d5c")),
        // LXC: since 4, with systemd in it, and on Proxmox VE.
        ("/lxc.payload.web-1", None, Some("web-1")),
        ("/lxc.monitor.web-1", None, None),
        (
            "/lxc.payload.web/system.slice/nginx.service",
            None,
            Some("web"),
        ),
        ("/lxc/101/ns/init.scope", None, Some("101")),
        // systemd-nspawn: as a service, and registered by hand.
        (
            "/machine.slice/systemd-nspawn@my-box.service/payload/init.scope",
            Some("systemd-nspawn@my-box.service"),
            Some("my-box"),
        ),
        (
            r"/machine.slice/machine-my\x2dbox.scope/payload",
            Some(r"machine-my\x2dbox.scope"),
            Some("my-box"),
        ),
        // A virtual machine of libvirt is not a container.
        (
            r"/machine.slice/machine-qemu\x2d3\x2dweb.scope/libvirt/emulator",
            Some(r"machine-qemu\x2d3\x2dweb.scope"),
            None,
        ),
    ];

    #[test]
    fn real_paths_have_the_names_that_people_know() {
        let uid = "0b7632a2-a56e-4278-987a-22de18008dbe";
        let fill = |text: &str| {
            text.replace("P_O_D", &uid.replace('-', "_"))
                .replace("POD", uid)
                .replace(
                    "ID",
                    "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869",
                )
        };
        for (path, unit, container) in PATHS {
            let cgroup = Cgroup::new(fill(path));
            let text = |name: Option<&Rc<str>>| name.map(ToString::to_string);
            assert_eq!(text(cgroup.unit()), unit.map(fill), "{path}");
            assert_eq!(text(cgroup.container()), container.map(fill), "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_path_gives_names_or_none(path in ".{0,80}") {
            let cgroup = Cgroup::new(path.as_str());
            prop_assert_eq!(cgroup.unit().cloned(), cgroup.unit().cloned());
            prop_assert_eq!(cgroup.container().cloned(), cgroup.container().cloned());
        }
    }
}
