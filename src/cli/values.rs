//! Parsers of option values.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::{IpNet, Ipv4Net};

use crate::text::{Glob, shown};

/// Parses a length of time: units, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let length = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds)
            .map_err(|_| "not a length of time; examples: 30s, 500ms, 5m, 1h30m".to_owned())?,
        Err(_) if text.replacen(',', ".", 1).parse::<f64>().is_ok() => {
            return Err(format!("type: {}", text.replacen(',', ".", 1)));
        }
        Err(_) => humantime::parse_duration(text).map_err(|error| {
            format!(
                "{}; examples: 30s, 500ms, 5m, 1h30m",
                shown(&error.to_string())
            )
        })?,
    };
    if length.is_zero() {
        return Err("must be greater than zero".to_owned());
    }
    Ok(length)
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let length = duration(text)?;
    if length < Duration::from_millis(10) {
        return Err("must be at least 10ms".to_owned());
    }
    Ok(length)
}

/// Process ids, as `pgrep` writes them: one to a line, or with commas or blanks in between.
pub(super) fn pids(text: &str) -> Result<Pids, String> {
    let ids: Result<Vec<u32>, String> = text
        .split([',', ' ', '\t', '\n'])
        .filter(|id| !id.is_empty())
        .map(pid)
        .collect();
    let mut ids = ids?;
    if ids.is_empty() {
        return Err("no process id; if it comes from pgrep, no such process was found".into());
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(Pids(ids))
}

/// The process ids of one argument.
#[derive(Clone, Debug)]
pub struct Pids(pub(super) Vec<u32>);

fn pid(text: &str) -> Result<u32, String> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    match text.parse() {
        Ok(0) => Err("a process id is 1 or more".to_owned()),
        Ok(pid) => Ok(pid),
        Err(_)
            if text
                .split_once('-')
                .is_some_and(|(a, b)| is_number(a) && is_number(b)) =>
        {
            Err("not a process id; type each id of a range: -p 1,2,3".to_owned())
        }
        Err(_) if is_name(text) => Err(format!(
            "not a process id; by name, type: -p \"$(pgrep -x {text})\""
        )),
        Err(_) => Err("not a process id".to_owned()),
    }
}

/// Whether this can be the name of a process that a shell takes as it is.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.len() <= 15
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
}

/// A pattern of the names of processes. The kernel keeps 15 bytes of a name (`TASK_COMM_LEN` of
/// include/linux/sched.h, with the 0 at its end).
pub(super) fn comm(text: &str) -> Result<Glob, String> {
    const LONGEST: usize = 15;
    let glob = Glob::parse(text)?;
    if glob.shortest() <= LONGEST {
        return Ok(glob);
    }
    let is_plain = text
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    Err(match text.get(..LONGEST) {
        Some(kept) if is_plain => format!("the kernel keeps 15 bytes of a name: {kept}"),
        _ => "no name is that long: the kernel keeps 15 bytes of a name".to_owned(),
    })
}

/// Ports, with commas in between.
pub(super) fn ports(text: &str) -> Result<Ports, String> {
    text.split(',')
        .map(port)
        .collect::<Result<_, _>>()
        .map(Ports)
}

/// The ports of one argument.
#[derive(Clone, Debug)]
pub struct Ports(pub(super) Vec<u16>);

fn port(text: &str) -> Result<u16, String> {
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let is_range = |between: char| {
        text.split_once(between)
            .is_some_and(|(first, last)| is_number(first) && is_number(last))
    };
    match text.parse() {
        Ok(port @ 1..) if is_number(text) => Ok(port),
        _ if is_number(text) => Err("a port is a number from 1 to 65535".to_owned()),
        _ if is_range('-') || is_range(':') => {
            Err("not a port; type each port of a range: --port 8000,8001".to_owned())
        }
        _ => Err("not a port; examples: 53, 80,443".to_owned()),
    }
}

/// A network in CIDR notation, or a single address. IPv4-mapped IPv6 addresses are IPv4 addresses.
pub(super) fn network(text: &str) -> Result<IpNet, String> {
    if text.contains(',') {
        return Err("not a network; type --net once for each network".to_owned());
    }
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| "not a network; examples: 10.0.0.0/8, 2001:db8::/32, 192.0.2.7".to_owned())?;
    let whole = IpNet::from(address);
    let network = match length {
        None => whole,
        Some(length) => length
            .parse()
            .ok()
            .filter(|_| length.chars().all(|c| c.is_ascii_digit()))
            .and_then(|length| IpNet::new(address, length).ok())
            .ok_or_else(|| {
                format!(
                    "the length of a prefix is a number from 0 to {}",
                    whole.max_prefix_len()
                )
            })?,
    };
    if network != network.trunc() {
        return Err(format!(
            "not the first address of the network; type {} for the network, or {address} for the address",
            network.trunc()
        ));
    }
    Ok(canonical(network))
}

/// An IPv4-mapped network as an IPv4 network.
fn canonical(network: IpNet) -> IpNet {
    let IpNet::V6(v6) = network else {
        return network;
    };
    let bits = v6.prefix_len().checked_sub(128 - 32);
    v6.network()
        .to_ipv4_mapped()
        .zip(bits)
        .and_then(|(address, bits)| Ipv4Net::new(address, bits).ok())
        .map_or(network, IpNet::V4)
}

pub(super) fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("must be an octal file mode up to 777, like 660".to_owned()),
    }
}

pub(super) fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients @ 1..=10_000) => Ok(clients),
        _ => Err("must be a number from 1 to 10000".to_owned()),
    }
}

pub(super) fn top(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a number of rows, 1 or more".to_owned()),
        Ok(rows) => Ok(rows),
    }
}

pub(super) fn depth(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a depth below the root, 1 or more".to_owned()),
        Ok(depth) => Ok(depth),
    }
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("must be a number of reports, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}
