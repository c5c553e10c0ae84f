//! What counting needs, whether it is there, and the way out where it is not. Pure: it
//! decides on facts that [`HostFacts`] gathered.

use super::HostFacts;

/// One thing that counting cannot do without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// What is needed, in a few words.
    pub name: &'static str,
    /// `None` where it is there; else the cause and the way out, one line each.
    pub missing: Option<String>,
}

/// Everything that is needed, in the order in which it should be put right.
#[must_use]
pub fn requirements(facts: &HostFacts) -> Vec<Requirement> {
    let need = |name, missing| Requirement { name, missing };
    vec![
        need("kernel type information (BTF)", missing_btf(facts)),
        need("socket tracepoints", missing_tracepoints(facts)),
        need("initial user namespace", missing_user_namespace(facts)),
        need("capabilities", missing_capabilities(facts)),
        need("initial pid namespace", missing_pid_namespace(facts)),
        need("open files", missing_files(facts)),
    ]
}

/// The first thing that stands in the way; `None` if nothing is known to.
#[must_use]
pub fn missing(facts: &HostFacts) -> Option<String> {
    requirements(facts).into_iter().find_map(|r| r.missing)
}

fn missing_btf(facts: &HostFacts) -> Option<String> {
    let error = facts.btf.as_ref().err()?;
    Some(format!(
        "no type information from the kernel ({error})\n\
         the kernel must be built with CONFIG_DEBUG_INFO_BTF, and /sys must be mounted"
    ))
}

fn missing_tracepoints(facts: &HostFacts) -> Option<String> {
    (facts.tracepoints == Some(false)).then(|| {
        format!(
            "this kernel ({}) has no tracepoints sock_send_length and sock_recv_length\n\
             they came with Linux 6.3: a newer kernel is needed",
            facts.release
        )
    })
}

fn missing_user_namespace(facts: &HostFacts) -> Option<String> {
    (!facts.initial_user_namespace).then(|| {
        "CAP_BPF and CAP_PERFMON count only in the initial user namespace, and this is another one\n\
         run it outside of the container or of unshare, with sudo"
            .to_owned()
    })
}

fn missing_capabilities(facts: &HostFacts) -> Option<String> {
    let what = match (facts.cap_bpf, facts.cap_perfmon) {
        (true, true) => return None,
        (false, false) => "CAP_BPF and CAP_PERFMON are",
        (true, false) => "CAP_PERFMON is",
        (false, true) => "CAP_BPF is",
    };
    Some(format!(
        "{what} missing\n\
         run it with sudo, or give the program both: setcap cap_bpf,cap_perfmon+ep FILE"
    ))
}

fn missing_pid_namespace(facts: &HostFacts) -> Option<String> {
    (!facts.initial_pid_namespace).then(|| {
        "from inside a pid namespace the processes outside of it cannot be told apart\n\
         run it on the host, or in a container that shares the host's pid namespace"
            .to_owned()
    })
}

/// Maps, programs, links and standard streams need 28 of them; libbpf opens a few more on
/// the way, and says something else if it cannot.
const FILES: u64 = 48;

fn missing_files(facts: &HostFacts) -> Option<String> {
    let limit = facts.open_files.filter(|limit| *limit < FILES)?;
    Some(format!(
        "at most {limit} files may be open at a time, and counting needs {FILES}\n\
         raise the limit: ulimit -n 1024"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn able() -> HostFacts {
        HostFacts {
            cap_bpf: true,
            cap_perfmon: true,
            initial_user_namespace: true,
            initial_pid_namespace: true,
            btf: Ok(()),
            tracepoints: Some(true),
            open_files: Some(1024),
            release: "6.12.1".to_owned(),
        }
    }

    fn told(change: impl FnOnce(&mut HostFacts)) -> String {
        let mut facts = able();
        change(&mut facts);
        missing(&facts).expect("something is missing")
    }

    #[test]
    fn nothing_is_missing_on_an_able_host() {
        assert_eq!(missing(&able()), None);
        let boundless = HostFacts {
            open_files: None,
            ..able()
        };
        assert_eq!(missing(&boundless), None);
    }

    #[test]
    fn each_cause_is_named_with_its_way_out() {
        let none = told(|f| (f.cap_bpf, f.cap_perfmon) = (false, false));
        assert!(none.contains("CAP_BPF and CAP_PERFMON are missing") && none.contains("sudo"));
        let half = told(|f| f.cap_perfmon = false);
        assert!(half.starts_with("CAP_PERFMON is missing") && half.contains("setcap"));
        let btf = told(|f| f.btf = Err("no such file".to_owned()));
        assert!(btf.contains("CONFIG_DEBUG_INFO_BTF") && btf.contains("no such file"));
        let old = told(|f| (f.tracepoints, f.release) = (Some(false), "5.15.0".to_owned()));
        assert!(old.contains("5.15.0") && old.contains("6.3"));
        let files = told(|f| f.open_files = Some(16));
        assert!(files.contains("at most 16 files") && files.contains("ulimit -n"));
        assert!(told(|f| f.initial_user_namespace = false).contains("user namespace"));
        assert!(told(|f| f.initial_pid_namespace = false).contains("pid namespace"));
    }

    #[test]
    fn a_message_is_two_lines() {
        for change in [
            (|f| f.cap_bpf = false) as fn(&mut HostFacts),
            |f| f.btf = Err("x".to_owned()),
            |f| f.tracepoints = Some(false),
            |f| f.initial_user_namespace = false,
            |f| f.initial_pid_namespace = false,
            |f| f.open_files = Some(0),
        ] {
            assert_eq!(told(change).lines().count(), 2);
        }
    }
}
