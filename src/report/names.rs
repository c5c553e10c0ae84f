//! Names and times for people.

use chrono::{DateTime, Local, SecondsFormat, Utc};

use super::collect::Collector;
use super::keys::Who;
use super::lines::{Kind, Line};
use super::remote::Remote;
use crate::text::{bits_per_second, escaped};

/// A time in RFC 3339, in UTC.
pub(super) fn rfc3339(milliseconds: i64) -> String {
    utc(milliseconds).to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn utc(milliseconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_millis(milliseconds).unwrap_or_default()
}

/// A number of 128 bits, for functions that show one of 64.
pub(super) fn clamped(value: u128) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

/// Bits per second, from bytes in some milliseconds. Only nothing at all is `0 bps`.
pub(super) fn rate(bytes: u128, milliseconds: i64) -> String {
    let rate = bits_per_second(clamped(bytes), milliseconds as f64 / 1e3);
    match rate.as_str() {
        "0 bps" if bytes > 0 => "<1 bps".to_owned(),
        _ => rate,
    }
}

/// A share in percent. Only nothing at all is `0.0%`.
pub(super) fn share(part: u128, whole: u128) -> String {
    match whole {
        0 => String::new(),
        whole => match part as f64 / whole as f64 * 100.0 {
            share if part > 0 && share < 0.05 => "<0.1%".to_owned(),
            share => format!("{share:.1}%"),
        },
    }
}

/// The name of a line, made harmless to a terminal.
pub(super) fn name(collector: &Collector, line: &Line) -> String {
    match line.kind {
        Kind::Other => "(other)".to_owned(),
        Kind::Unattributed => "(unattributed)".to_owned(),
        Kind::Row => owner_name(collector, line.owner.unwrap_or(u32::MAX)),
    }
}

/// The name of an owner, made harmless to a terminal; `-` if it has none.
pub(super) fn owner_name(collector: &Collector, owner: u32) -> String {
    escaped(plain_name(collector, owner), &[]).into_owned()
}

/// The name of an owner as it is; `-` if it has none.
fn plain_name(collector: &Collector, owner: u32) -> &str {
    let name = match collector
        .owners
        .get_index(owner as usize)
        .map(|owner| &owner.who)
    {
        Some(Who::Group(name)) => name.as_deref(),
        Some(Who::Process(..)) => {
            let details = collector.details.get(owner);
            let name = details.and_then(|details| details.texts.first());
            name.and_then(Option::as_deref)
        }
        Some(Who::Other) => Some("(other)"),
        Some(Who::Unattributed) => Some("(unattributed)"),
        None => None,
    };
    name.unwrap_or("-")
}

/// The ids of a process or thread. `None` for groups.
pub(super) fn ids(collector: &Collector, owner: u32) -> Option<(u64, Option<u64>)> {
    match &collector.owners.get_index(owner as usize)?.who {
        Who::Process(pid, _, tid) => Some((*pid, *tid)),
        _ => None,
    }
}

/// The name of a host, made harmless to a terminal; `-` if it is not known.
pub(super) fn host_name(collector: &Collector, host: Option<u32>) -> String {
    let host = host.and_then(|host| collector.hosts.get(host as usize));
    match host.map(|host| &*host.name) {
        None | Some("") => "-".to_owned(),
        Some(name) => escaped(name, &[]).into_owned(),
    }
}

/// The name of a host as it is; empty if it is not known.
pub(super) fn host_plain(collector: &Collector, host: Option<u32>) -> &str {
    let host = host.and_then(|host| collector.hosts.get(host as usize));
    host.map_or("", |host| &host.name)
}

/// A remote end: address and port, and its name if it is known.
pub(super) fn remote_end(collector: &Collector, number: u32, remote: &Remote) -> String {
    let end = match collector.remote_names.get(&number) {
        Some(name) => format!("{} ({name})", remote.end()),
        None => remote.end(),
    };
    escaped(&end, &[]).into_owned()
}

/// How times of a recording are shown, in the time zone of this host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    has_days: bool,
    has_seconds: bool,
}

impl Clock {
    /// For times from `from` to `to`, in bins of `length` milliseconds.
    pub(super) fn new((from, to): (i64, i64), length: i64) -> Self {
        Self {
            has_days: to - from > 23 * 3_600_000,
            has_seconds: length < 60_000,
        }
    }

    /// The time of the day, with the day of the month where the recording has several days.
    pub(super) fn show(self, milliseconds: i64) -> String {
        let format = match (self.has_days, self.has_seconds) {
            (false, true) => "%H:%M:%S",
            (false, false) => "%H:%M",
            (true, _) => "%d %H:%M",
        };
        let time = utc(milliseconds).with_timezone(&Local);
        time.format(format).to_string()
    }

    /// Date and time.
    pub(super) fn date(milliseconds: i64) -> String {
        let time = utc(milliseconds).with_timezone(&Local);
        time.format("%Y-%m-%d %H:%M:%S").to_string()
    }

    /// The offset of the time zone at a time: `UTC+01:00`.
    pub(super) fn zone(milliseconds: i64) -> String {
        let time = utc(milliseconds).with_timezone(&Local);
        time.format("UTC%:z").to_string()
    }
}

/// A length of time in at most two units.
pub(super) fn length(milliseconds: i64) -> String {
    let units = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000)];
    for (index, (unit, size)) in units.into_iter().enumerate() {
        if milliseconds >= size {
            let (smaller, part) = units.get(index + 1).copied().unwrap_or(("s", 1000));
            let whole = milliseconds / size;
            let rest = milliseconds % size / part;
            return match rest {
                0 => format!("{whole} {unit}"),
                rest => format!("{whole} {unit} {rest} {smaller}"),
            };
        }
    }
    match milliseconds % 1000 {
        0 => format!("{} s", milliseconds / 1000),
        _ if milliseconds < 1000 => format!("{:.2} s", milliseconds as f64 / 1e3),
        _ => format!("{:.1} s", milliseconds as f64 / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_at_most_two_units() {
        assert_eq!(length(300_000), "5 min");
        assert_eq!(length(1_000), "1 s");
        assert_eq!(length(10), "0.01 s");
        assert_eq!(length(90_061_000), "1 d 1 h");
        assert_eq!(length(5_430_000), "1 h 30 min");
        assert_eq!(length(61_000), "1 min 1 s");
    }

    #[test]
    fn a_rate_is_0_only_without_traffic() {
        assert_eq!(rate(0, 60_000), "0 bps");
        assert_eq!(rate(1, 60_000), "<1 bps");
        assert_eq!(rate(1_000, 1_000), "8.0 Kbps");
    }
}
