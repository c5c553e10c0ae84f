//! The files of each runtime, as they are laid out on a host, and files that name nothing.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::runtimes::{Container, MOST_BYTES, name, parse};

const ID: &str = "9687bac58d5c4d1606aa46af33d1a21c1d1652e0ac9fb3fc0fc86e3495f42869";

/// Where each runtime leaves a name: the path and the contents of a file, the user whose container
/// it is, and the name. `ID` stands for the id.
const FILES: [(&str, &str, Option<u32>, &str); 14] = [
    (
        "var/lib/docker/containers/ID/config.v2.json",
        r#"{"StreamConfig":{},"State":{"Running":true},"ID":"ID","Name":"/shop-db-1",
            "Config":{"Hostname":"x","Labels":{"com.docker.compose.service":"db"}}}"#,
        None,
        "shop-db-1",
    ),
    (
        "var/lib/docker/containers/ID/config.v2.json",
        r#"{"ID":"ID","Name":"/k8s_api_web-7f9c_prod_0b7632a2_0","Config":{"Labels":{
            "io.kubernetes.pod.namespace":"prod","io.kubernetes.pod.name":"web-7f9c",
            "io.kubernetes.container.name":"api"}}}"#,
        None,
        "prod/web-7f9c/api",
    ),
    (
        "home/1000/.local/share/docker/containers/ID/config.v2.json",
        r#"{"ID":"ID","Name":"/web","Config":{"Labels":null}}"#,
        Some(1000),
        "user@1000.service/web",
    ),
    (
        "var/lib/containers/storage/overlay-containers/containers.json",
        r#"[{"id":"0000","names":["other"]},{"id":"ID","names":["web"],"image":"x","flags":{}}]"#,
        None,
        "web",
    ),
    (
        "run/containers/storage/overlay-containers/volatile-containers.json",
        r#"[{"id":"ID","names":["build"]}]"#,
        None,
        "build",
    ),
    (
        "var/lib/containers/storage/vfs-containers/containers.json",
        r#"[{"id":"ID","names":["web"]}]"#,
        None,
        "web",
    ),
    (
        "home/1000/.local/share/containers/storage/overlay-containers/containers.json",
        r#"[{"id":"ID","names":["web"]}]"#,
        Some(1000),
        "user@1000.service/web",
    ),
    (
        "run/user/1000/containers/overlay-containers/volatile-containers.json",
        r#"[{"id":"ID","names":["build"]}]"#,
        Some(1000),
        "user@1000.service/build",
    ),
    (
        "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
        r#"{"ociVersion":"1.1.0","annotations":{"io.kubernetes.cri.container-type":"container",
            "io.kubernetes.cri.container-name":"api","io.kubernetes.cri.sandbox-name":"web-7f9c",
            "io.kubernetes.cri.sandbox-namespace":"prod"}}"#,
        None,
        "prod/web-7f9c/api",
    ),
    (
        "run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
        r#"{"annotations":{"io.kubernetes.cri.container-name":"api",
            "io.kubernetes.cri.sandbox-name":"db-0","io.kubernetes.cri.sandbox-namespace":"test"}}"#,
        None,
        "test/db-0/api",
    ),
    (
        "run/containerd/io.containerd.runtime.v2.task/default/ID/config.json",
        r#"{"annotations":{"nerdctl/name":"web","nerdctl/namespace":"default"}}"#,
        None,
        "web",
    ),
    (
        "run/containers/storage/overlay-containers/ID/userdata/config.json",
        r#"{"annotations":{"io.kubernetes.container.name":"api","io.kubernetes.pod.name":"web-7f9c",
            "io.kubernetes.pod.namespace":"prod","io.kubernetes.cri-o.ContainerID":"ID"}}"#,
        None,
        "prod/web-7f9c/api",
    ),
    (
        "var/log/containers/web-7f9c_prod_api-ID.log",
        "",
        None,
        "prod/web-7f9c/api",
    ),
    (
        "data/containers/ID/config.v2.json",
        r#"{"ID":"ID","Name":"/web"}"#,
        None,
        "web",
    ),
];

/// A directory with one of these files.
fn root(path: &str, contents: &str) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("tempdir");
    let file = root.path().join(path.replace("ID", ID));
    fs::create_dir_all(file.parent().expect("a directory")).expect("mkdir");
    fs::write(&file, contents.replace(":\"ID", &format!(":\"{ID}"))).expect("write");
    if path.starts_with("data/") {
        let configured = root.path().join("etc/docker");
        fs::create_dir_all(&configured).expect("mkdir");
        let daemon = r#"{"data-root":"/data"}"#;
        fs::write(configured.join("daemon.json"), daemon).expect("write");
    }
    root
}

fn found(root: &Path, id: &str, user: Option<u32>) -> Option<String> {
    let home = |user| Some(PathBuf::from(format!("/home/{user}")));
    let id = id.to_owned();
    name(root, home, &Container { id, user })
}

#[test]
fn each_runtime_leaves_the_name_of_a_container_in_a_file() {
    let other = ID.replace('9', "0");
    for (path, contents, user, expected) in FILES {
        let root = root(path, contents);
        let root = root.path();
        assert_eq!(found(root, ID, user).as_deref(), Some(expected), "{path}");
        // The files of one user, or of root, say nothing about the containers of others.
        assert_eq!(found(root, ID, Some(1001)), None, "{path}");
        let not_root = user.xor(Some(1000));
        assert_eq!(found(root, ID, not_root), None, "{path}");
        assert_eq!(found(root, &other, user), None, "{path}");
    }
}

#[test]
fn what_may_be_wrong_is_no_name() {
    let docker = "var/lib/docker/containers/ID/config.v2.json";
    let pod = "run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json";
    let storage = "var/lib/containers/storage/overlay-containers/containers.json";
    for (path, contents) in [
        (docker, r#"{"ID":"other","Name":"/web"}"#),
        (docker, r#"{"ID":"ID","Name":"/a/b"}"#),
        (docker, r#"{"ID":"ID","Name":"/"}"#),
        (docker, r#"{"ID":"ID"}"#),
        (docker, r#"{"ID":"ID","Na"#),
        (docker, ""),
        // The pause container, and a container whose namespace is not known.
        (
            pod,
            r#"{"annotations":{"io.kubernetes.cri.container-type":"sandbox",
                "io.kubernetes.cri.sandbox-name":"web","io.kubernetes.cri.sandbox-namespace":"a"}}"#,
        ),
        (
            pod,
            r#"{"annotations":{"io.kubernetes.cri.container-name":"api",
                "io.kubernetes.cri.sandbox-name":"web"}}"#,
        ),
        (pod, "{}"),
        (storage, "[]"),
        (storage, r#"[{"id":"ID"}]"#),
        (storage, r#"[{"id":"ID","names":[]}]"#),
        (storage, r#"[{"id":"ID","names":["\u001b[31m"]}]"#),
        ("var/log/containers/web_api-ID.log", ""),
        ("var/log/containers/a_b_c_d-ID.log", ""),
        ("var/log/containers/a_b_c-xID.log", ""),
    ] {
        let root = root(path, contents);
        assert_eq!(found(root.path(), ID, None), None, "{path}: {contents}");
    }
}

#[test]
fn only_files_are_read() {
    let root = root("var/lib/docker/containers/ID/x", "");
    let file = root
        .path()
        .join(format!("var/lib/docker/containers/{ID}/config.v2.json"));
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(found(root.path(), ID, None), None);
    fs::remove_file(&file).expect("unlink");
    std::os::unix::fs::symlink("/dev/zero", &file).expect("a link");
    assert_eq!(found(root.path(), ID, None), None);
    fs::remove_file(&file).expect("unlink");
    let large = File::create(&file).expect("a file");
    large.set_len(MOST_BYTES + 1).expect("truncate");
    assert_eq!(found(root.path(), ID, None), None);
}

proptest! {
    #[test]
    fn any_file_gives_a_name_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60), text in ".{0,60}") {
        parse(&bytes);
        parse(text.as_bytes());
        let quoted = serde_json::to_string(&text).expect("text");
        parse(format!(r#"{{"ID":"{ID}","Name":{quoted},"annotations":{{"nerdctl/name":{quoted}}}}}"#).as_bytes());
        parse(format!(r#"[{{"id":"{ID}","names":[{quoted}]}}]"#).as_bytes());
        parse(format!("{text}-{ID}.log").as_bytes());
    }
}
