//! Names of containers, from files that their runtimes leave.
//!
//! No daemon is asked. A file counts only if it, or its directory, has the whole id of the container.
//! Whoever runs a container chooses its name.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, open};
use serde::Deserialize;

/// The longest file that is read, in bytes.
pub(super) const MOST_BYTES: u64 = 16 << 20;

/// How many entries of a directory are looked at.
const MOST_ENTRIES: usize = 1 << 16;

/// Where containerd has the bundles of its containers, below them `NAMESPACE/ID`: its default state
/// directory, and that of k3s (`NewTaskManager` in containerd's core/runtime/v2/task_manager.go).
const BUNDLES: [&str; 2] = ["run/containerd", "run/k3s/containerd"];
const TASKS: &str = "io.containerd.runtime.v2.task";

/// The storage of Podman and CRI-O: where it is by default, and where volatile containers (`--rm`)
/// are (`newContainerStore` and `jsonPath` in containers/storage's containers.go).
const STORAGES: [&str; 2] = ["var/lib/containers/storage", "run/containers/storage"];
/// The same below the home of a user.
const OWN_STORAGE: &str = ".local/share/containers/storage";
/// Storage drivers, which are part of the names of directories.
const DRIVERS: [&str; 3] = ["overlay", "vfs", "btrfs"];
const LISTS: [&str; 2] = ["containers.json", "volatile-containers.json"];

/// A container with an id of 64 digits, and the user whose container it is, if it is rootless.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Container {
    pub(super) id: String,
    pub(super) user: Option<u32>,
}

/// The name of a container, by the files below `root`, which is `/` on a host. `home` returns the home
/// of a user. Files of a user name only containers of that user.
pub(super) fn name(
    root: &Path,
    home: impl Fn(u32) -> Option<PathBuf>,
    container: &Container,
) -> Option<String> {
    let id = container.id.as_str();
    if let Some(user) = container.user {
        let home = home(user)?;
        // The home is an absolute path.
        let home = root.join(home.strip_prefix("/").unwrap_or(&home));
        let runtime = format!("run/user/{user}/containers");
        let storages = [home.join(OWN_STORAGE), root.join(runtime)];
        let name = docker(&home.join(".local/share/docker"), id)
            .or_else(|| storages.iter().find_map(|place| storage(place, id)))?;
        return Some(format!("user@{user}.service/{name}"));
    }
    bundle(root, id)
        .or_else(|| docker(&docker_root(root), id))
        .or_else(|| log(&root.join("var/log/containers"), id))
        .or_else(|| {
            STORAGES
                .iter()
                .find_map(|place| storage(&root.join(place), id))
        })
}

/// Docker's directory: `data-root` of its configuration (dockerd(8)).
fn docker_root(root: &Path) -> PathBuf {
    let file = read(&root.join("etc/docker/daemon.json"));
    let configured = file.and_then(|bytes| serde_json::from_slice::<DockerDaemon>(&bytes).ok());
    let place = configured.and_then(|daemon| daemon.data_root);
    let place = place.unwrap_or_else(|| "/var/lib/docker".into());
    root.join(place.strip_prefix("/").unwrap_or(&place))
}

#[derive(Deserialize)]
struct DockerDaemon {
    #[serde(rename = "data-root")]
    data_root: Option<PathBuf>,
}

/// Docker (`Container` and `configFileName` in moby's daemon/container/container.go).
fn docker(place: &Path, id: &str) -> Option<String> {
    let file = place.join("containers").join(id).join("config.v2.json");
    docker_name(&read(&file)?, id)
}

#[derive(Deserialize)]
struct DockerContainer {
    #[serde(rename = "ID")]
    id: String,
    #[serde(rename = "Name")]
    name: String,
    #[serde(rename = "Config", default)]
    config: DockerConfig,
}

#[derive(Default, Deserialize)]
struct DockerConfig {
    #[serde(rename = "Labels", default)]
    labels: Option<HashMap<String, String>>,
}

/// Under Kubernetes, cri-dockerd has the names in labels (`newContainerLabels` in its
/// core/container_create.go), and Docker's own name is made of them.
fn docker_name(bytes: &[u8], id: &str) -> Option<String> {
    let container: DockerContainer = serde_json::from_slice(bytes).ok()?;
    let labels = container.config.labels.unwrap_or_default();
    let name = container.name.strip_prefix('/').unwrap_or(&container.name);
    let own = || is_name(name).then(|| name.to_owned());
    (container.id == id)
        .then(|| annotated(&labels).or_else(own))
        .flatten()
}

/// The specification of a container of containerd or CRI-O, which is in a directory with its id.
fn bundle(root: &Path, id: &str) -> Option<String> {
    let containerd = BUNDLES.iter().flat_map(|place| {
        let tasks = fs::read_dir(root.join(place).join(TASKS));
        let namespaces = tasks.into_iter().flatten().flatten().take(MOST_ENTRIES);
        namespaces.map(|namespace| namespace.path().join(id).join("config.json"))
    });
    // `containerDir` with `userdata` in CRI-O's internal/storage/runtime.go.
    let crio = DRIVERS.iter().map(|driver| {
        let containers = format!("run/containers/storage/{driver}-containers");
        root.join(containers).join(id).join("userdata/config.json")
    });
    containerd
        .chain(crio)
        .find_map(|file| bundle_name(&read(&file)?))
}

#[derive(Deserialize)]
struct Specification {
    annotations: HashMap<String, String>,
}

fn bundle_name(bytes: &[u8]) -> Option<String> {
    let specification: Specification = serde_json::from_slice(bytes).ok()?;
    annotated(&specification.annotations)
}

/// The names of the annotations: of containerd (internal/cri/annotations/annotations.go); of the
/// kubelet, which CRI-O and cri-dockerd keep (pkg/kubelet/types/labels.go); of nerdctl
/// (pkg/labels/labels.go).
fn annotated(annotations: &HashMap<String, String>) -> Option<String> {
    let get = |key: &str| {
        let value = annotations.get(key).map(String::as_str);
        value.filter(|value| is_name(value))
    };
    let cri = |key: &str| get(&format!("io.kubernetes.cri.{key}"));
    let kubelet = |key: &str| get(&format!("io.kubernetes.{key}"));
    let in_pod = |namespace: Option<&str>, pod: Option<&str>, container: Option<&str>| {
        Some(format!("{}/{}/{}", namespace?, pod?, container?))
    };
    in_pod(
        cri("sandbox-namespace"),
        cri("sandbox-name"),
        cri("container-name"),
    )
    .or_else(|| {
        in_pod(
            kubelet("pod.namespace"),
            kubelet("pod.name"),
            kubelet("container.name"),
        )
    })
    .or_else(|| get("nerdctl/name").map(str::to_owned))
}

/// The links to logs that the kubelet makes: `POD_NAMESPACE_CONTAINER-ID.log` (`logSymlink` and
/// `LogSymlink` in pkg/kubelet/kuberuntime/legacy.go).
fn log(directory: &Path, id: &str) -> Option<String> {
    let entries = fs::read_dir(directory).ok()?.flatten().take(MOST_ENTRIES);
    entries
        .filter_map(|entry| log_name(entry.file_name().to_str()?, id))
        .next()
}

fn log_name(file: &str, id: &str) -> Option<String> {
    let names = file.strip_suffix(".log")?.strip_suffix(id)?;
    // None of the names contains an underscore.
    let mut names = names.strip_suffix('-')?.split('_');
    let (pod, namespace, container) = (names.next()?, names.next()?, names.next()?);
    let is_whole = names.next().is_none() && [pod, namespace, container].into_iter().all(is_name);
    is_whole.then(|| format!("{namespace}/{pod}/{container}"))
}

/// Podman. CRI-O's containers are in the same list, but they have bundles.
fn storage(place: &Path, id: &str) -> Option<String> {
    DRIVERS.iter().find_map(|driver| {
        let directory = place.join(format!("{driver}-containers"));
        LISTS
            .iter()
            .find_map(|list| stored_name(&read(&directory.join(list))?, id))
    })
}

/// `Container` in containers/storage's containers.go.
#[derive(Deserialize)]
struct StoredContainer {
    id: String,
    #[serde(default)]
    names: Option<Vec<String>>,
}

fn stored_name(bytes: &[u8], id: &str) -> Option<String> {
    let containers: Vec<StoredContainer> = serde_json::from_slice(bytes).ok()?;
    let container = containers.into_iter().find(|known| known.id == id)?;
    let name = container.names?.into_iter().next();
    name.filter(|name| is_name(name))
}

/// Runtimes allow letters, digits, dashes, underscores and dots (`RestrictedNameChars` of moby, RFC
/// 1123 in Kubernetes). Anything else is not the name of a container.
fn is_name(name: &str) -> bool {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    !name.is_empty() && name.len() <= 253 && name.bytes().all(is_allowed)
}

/// Reads a regular file of limited size. Whoever owns the directory could have put something else
/// there, which would block.
fn read(path: &Path) -> Option<Vec<u8>> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(open(path, flags, Mode::empty()).ok()?);
    let about = file.metadata().ok()?;
    if !about.is_file() || about.len() > MOST_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MOST_BYTES).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// All parsers of these files, for `fuzzing`.
pub(crate) fn parse(bytes: &[u8]) {
    let id = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869";
    let names = [
        docker_name(bytes, id),
        bundle_name(bytes),
        stored_name(bytes, id),
        log_name(&String::from_utf8_lossy(bytes), id),
    ];
    for name in names.into_iter().flatten() {
        debug_assert!(name.split('/').all(is_name));
    }
}
