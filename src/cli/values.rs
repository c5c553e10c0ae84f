//! Parsers of option values.

use std::time::Duration;

/// Parses a length of time: units, or a bare number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let length = match text.parse::<f64>() {
        Ok(seconds) => Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())?,
        Err(_) => humantime::parse_duration(text)
            .map_err(|error| format!("{error}; examples: 30s, 500ms, 5m, 1h30m"))?,
    };
    if length.is_zero() {
        return Err("it must be longer than nothing".to_owned());
    }
    Ok(length)
}

pub(super) fn interval(text: &str) -> Result<Duration, String> {
    let length = duration(text)?;
    if length < Duration::from_millis(10) {
        return Err("it must be at least 10ms".to_owned());
    }
    Ok(length)
}

pub(super) fn pid(text: &str) -> Result<u32, String> {
    match text.trim().parse() {
        Ok(0) | Err(_) => Err("it is no process id".to_owned()),
        Ok(pid) => Ok(pid),
    }
}

pub(super) fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("it must be an octal file mode up to 777, like 660".to_owned()),
    }
}

pub(super) fn clients(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(clients @ 1..=10_000) => Ok(clients),
        _ => Err("it must be a number from 1 to 10000".to_owned()),
    }
}

pub(super) fn top(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a number of rows, 1 or more".to_owned()),
        Ok(rows) => Ok(rows),
    }
}

pub(super) fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(0) | Err(_) => Err("it must be a number of reports, 1 or more".to_owned()),
        Ok(count) => Ok(count),
    }
}
