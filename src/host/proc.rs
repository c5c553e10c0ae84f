//! Reads and parses files of /proc (proc(5)).

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::OnceLock;

/// Whether /proc is that of this process's pid namespace.
///
/// # Errors
///
/// Why it is not.
pub fn check() -> Result<(), String> {
    if fs::read_link("/proc/self").is_ok() {
        return Ok(());
    }
    // The other files are there for everyone, the link only for processes of the namespace.
    Err(if fs::exists("/proc/loadavg").unwrap_or(false) {
        "/proc is that of another pid namespace".to_owned()
    } else {
        "/proc is not mounted".to_owned()
    })
}

/// Fields of /proc/PID/status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Effective capabilities: bit N is capability N. `None` if the line is missing.
    pub capabilities: Option<u64>,
    /// Ignored signals: bit N-1 is signal N. `None` if the line is missing.
    pub ignored: Option<u64>,
    /// Whether a seccomp filter restricts the system calls of the process.
    pub seccomp_filter: bool,
}

/// The status of this process; the default without /proc.
#[must_use]
pub fn own_status() -> Status {
    let text = fs::read_to_string("/proc/self/status");
    text.map_or_else(|_| Status::default(), |text| parse_status(&text))
}

/// Parses /proc/PID/status.
pub(crate) fn parse_status(text: &str) -> Status {
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    };
    let mask = |name| u64::from_str_radix(value(name)?, 16).ok();
    Status {
        capabilities: mask("CapEff:"),
        ignored: mask("SigIgn:"),
        // SECCOMP_MODE_FILTER
        seccomp_filter: value("Seccomp:") == Some("2"),
    }
}

/// Fields of /proc/PID/stat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The state of the first thread, such as `S` or `Z`.
    pub state: char,
    /// How many threads the process has.
    pub threads: u64,
    /// Start of the process in clock ticks since boot.
    pub start: u64,
}

/// The stat of process `pid`; `None` if there is no such process, if /proc hides it, or if it is
/// the /proc of another pid namespace.
#[must_use]
pub fn stat(pid: u32) -> Option<Stat> {
    static OWN: OnceLock<bool> = OnceLock::new();
    if !OWN.get_or_init(|| check().is_ok()) {
        return None;
    }
    // The process name is not always UTF-8.
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&String::from_utf8_lossy(&stat))
}

/// Parses /proc/PID/stat (do_task_stat in fs/proc/array.c).
pub(crate) fn parse_stat(text: &str) -> Option<Stat> {
    // The name in parentheses can contain parentheses and blanks.
    let (_, rest) = text.rsplit_once(") ")?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // The first of these is field 3 of the file.
    Some(Stat {
        state: fields.first()?.chars().next()?,
        threads: fields.get(17)?.parse().ok()?,
        start: fields.get(19)?.parse().ok()?,
    })
}

/// How many threads this host has; `None` without /proc.
#[must_use]
pub fn threads() -> Option<u32> {
    parse_loadavg(&fs::read_to_string("/proc/loadavg").ok()?)
}

/// The number after the slash in /proc/loadavg (fs/proc/loadavg.c).
pub(crate) fn parse_loadavg(text: &str) -> Option<u32> {
    let running_and_total = text.split_ascii_whitespace().nth(3)?;
    running_and_total.split_once('/')?.1.parse().ok()
}

/// The inode number of this process's namespace of a kind, such as `user`; `None` without /proc.
/// The initial namespaces have fixed numbers (include/uapi/linux/nsfs.h).
#[must_use]
pub fn namespace(kind: &str) -> Option<u64> {
    namespace_of("self", kind)
}

/// The same of the calling thread.
pub(super) fn thread_namespace(kind: &str) -> Option<u64> {
    namespace_of("thread-self", kind)
}

/// The inode number of the network namespace of the host: that of process 1, or that of this process
/// if process 1 may not be looked at.
#[must_use]
pub fn host_netns() -> Option<u32> {
    let namespace = namespace_of("1", "net").or_else(|| namespace("net"))?;
    u32::try_from(namespace).ok()
}

/// `process` is the name of a directory of /proc.
fn namespace_of(process: &str, kind: &str) -> Option<u64> {
    let namespace = fs::metadata(format!("/proc/{process}/ns/{kind}"));
    namespace.ok().map(|namespace| namespace.ino())
}

/// Nanoseconds that this process's time namespace adds to CLOCK_BOOTTIME; `None` without /proc, or
/// if the kernel has no time namespaces.
pub(super) fn clock_offset() -> Option<i64> {
    parse_clock_offset(&fs::read_to_string("/proc/self/timens_offsets").ok()?)
}

/// Reads the line `boottime SECONDS NANOSECONDS` of /proc/PID/timens_offsets (time_namespaces(7)).
pub(crate) fn parse_clock_offset(text: &str) -> Option<i64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("boottime"))?;
    let mut numbers = line.split_ascii_whitespace();
    let mut next = || numbers.next()?.parse::<i64>().ok();
    let (seconds, nanoseconds) = (next()?, next()?);
    seconds.checked_mul(1_000_000_000)?.checked_add(nanoseconds)
}

/// /proc/self/mountinfo; `None` without /proc.
pub(super) fn mountinfo() -> Option<String> {
    fs::read_to_string("/proc/self/mountinfo").ok()
}

/// /proc/self/cgroup; `None` without /proc.
pub(super) fn own_cgroups() -> Option<String> {
    fs::read_to_string("/proc/self/cgroup").ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn capabilities_signals_and_seccomp_are_read_from_the_status() {
        let status = "Name:\tx\nCapPrm:\t0000000000000001\nCapEff:\t000000c000000000\n\
                      SigBlk:\t0000000000000000\nSigIgn:\t0000000000001001\nSeccomp:\t2\n\
                      Seccomp_filters:\t1\n";
        assert_eq!(
            parse_status(status),
            Status {
                capabilities: Some(0xc0_0000_0000),
                ignored: Some(0x1001),
                seccomp_filter: true,
            }
        );
        assert_eq!(parse_status(""), Status::default());
        let odd = "CapEff:\tzz\nSigIgn:\tx\nSeccomp:\t0\nSeccomp_filters:\t2\n";
        assert_eq!(parse_status(odd), Status::default());
    }

    #[test]
    fn a_process_name_can_contain_parentheses_and_blanks() {
        let text = "7 (a) b) S 1 7 7 0 -1 4194304 1 0 0 0 0 0 0 0 20 0 3 0 123 1 2 3";
        let stat = Stat {
            state: 'S',
            threads: 3,
            start: 123,
        };
        assert_eq!(parse_stat(text), Some(stat));
        assert_eq!(parse_stat("garbage"), None);
    }

    #[test]
    fn the_number_of_threads_follows_the_slash() {
        assert_eq!(parse_loadavg("0.00 0.01 0.05 2/345 1234\n"), Some(345));
        assert_eq!(parse_loadavg("0.00 0.01\n"), None);
        assert!(threads().is_some_and(|threads| threads > 0));
    }

    #[test]
    fn the_offset_of_a_time_namespace_is_read() {
        let offset = |text| parse_clock_offset(text);
        let text = "monotonic           0         7\nboottime       86400 500000000\n";
        assert_eq!(offset(text), Some(86_400_500_000_000));
        assert_eq!(offset("boottime -1 250\n"), Some(-999_999_750));
        assert_eq!(offset("monotonic 1 2\n"), None);
        assert_eq!(offset("boottime 9223372036854775807 0\n"), None);
    }

    proptest! {
        #[test]
        fn noise_does_not_panic(text in ".*") {
            let _ = (parse_status(&text), parse_stat(&text), parse_loadavg(&text));
        }
    }
}
