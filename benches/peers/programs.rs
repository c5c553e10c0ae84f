//! Runs the programs of `benches/bpf` in a separate process, like any tracer.

use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libbpf_rs::{Link, MapCore, MapFlags, MapType, ObjectBuilder};
use netatop::kernel::{HostFacts, SocketWalk, UdpEnds, try_tcp};

use super::load::Numbers;

/// Compiles a program and returns the path of the object file.
pub fn compile(name: &str) -> Result<PathBuf, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR"));
    std::fs::create_dir_all(directory).map_err(|error| error.to_string())?;
    let object = directory.join(format!("bench-{name}.bpf.o"));
    let status = Command::new("clang")
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall"])
        .arg("-I")
        .arg(root.join("bpf"))
        .arg("-c")
        .arg(root.join(format!("benches/bpf/{name}.bpf.c")))
        .arg("-o")
        .arg(&object)
        .status()
        .map_err(|error| format!("clang: {error}"))?;
    status
        .success()
        .then_some(object)
        .ok_or_else(|| format!("clang failed on {name}"))
}

/// Attaches the object file, prints `ready`, waits for the end of standard input, and prints the
/// counters by process.
pub fn main(object: &Path) {
    let object = ObjectBuilder::default()
        .open_file(object)
        .and_then(|open| open.load())
        .expect("load");
    let links: Vec<Link> = object
        .progs_mut()
        .map(|program| program.attach().expect("attach"))
        .collect();
    println!("ready");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(links);
    let mut counts: HashMap<u32, Numbers> = HashMap::new();
    for map in object.maps() {
        if map.map_type() != MapType::PercpuHash {
            continue;
        }
        for key in map.keys() {
            let of_cpus = map.lookup_percpu(&key, MapFlags::ANY).expect("look up");
            let pid = u32::from_ne_bytes(key.try_into().expect("a pid"));
            let sum = counts.entry(pid).or_default();
            for one in of_cpus.into_iter().flatten() {
                for (to, from) in sum.iter_mut().zip(one.chunks_exact(8)) {
                    *to += u64::from_ne_bytes(from.try_into().expect("8 bytes"));
                }
            }
        }
    }
    println!("{}", serde_json::to_string(&counts).expect("json"));
}

/// Whether the remote ends of unconnected UDP come from programs at the kernel's functions.
pub fn has_functions() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| UdpEnds::Functions.can_load())
}

/// Whether living sockets are found by their accounts.
pub fn visits_accounts() -> bool {
    static FOUND: OnceLock<bool> = OnceLock::new();
    *FOUND.get_or_init(|| try_tcp(&HostFacts::gather()).is_ok_and(|w| w == SocketWalk::Accounts))
}
