//! The atop that could show netatop's counters: from 2.10 on it can ask a server for them.

use std::io;
use std::process::{Command, Stdio};

use crate::kernel::{Finding, Status};

/// The first version that asks.
const FIRST_VERSION: (u32, u32) = (2, 10);

const REMEDY: &str =
    "recording does without it; to see the counters in atop, install 2.10 or later";

/// What PATH leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Atop {
    /// Nothing of that name.
    Absent,
    /// It does not tell its version.
    Unknown,
    /// Major and minor version.
    Version(u32, u32),
}

impl Atop {
    /// Asks the atop on PATH for its version.
    #[must_use]
    pub fn find() -> Self {
        let mut atop = Command::new("atop");
        atop.arg("-V").stdin(Stdio::null()).stderr(Stdio::null());
        match atop.output() {
            Ok(output) => Self::parse(&String::from_utf8_lossy(&output.stdout)),
            // A directory of PATH that is closed to this user is as good as empty.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
                ) =>
            {
                Self::Absent
            }
            Err(_) => Self::Unknown,
        }
    }

    /// Reads a line like `Version: 2.11.1 - 2025/03/29 <gerlof.langeveld@atoptool.nl>`.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let version = || {
            let (_, rest) = text.split_once("Version")?;
            let mut numbers = rest
                .trim_start_matches([':', ' '])
                .split(|c: char| !c.is_ascii_digit());
            let mut next = || numbers.next()?.parse().ok();
            Some(Self::Version(next()?, next()?))
        };
        version().unwrap_or(Self::Unknown)
    }

    pub(super) fn finding(&self) -> Finding {
        let there = |found: String| Finding::ok("atop", "atop 2.10 or later", found);
        let lacking = |found: String| there(String::new()).lacking(Status::Optional, found, REMEDY);
        match self {
            Self::Absent => lacking("there is no atop in PATH".to_owned()),
            Self::Unknown => lacking("the atop in PATH does not tell its version".to_owned()),
            Self::Version(major, minor) if (*major, *minor) < FIRST_VERSION => lacking(format!(
                "atop {major}.{minor} does not ask for network counters"
            )),
            Self::Version(major, minor) => there(format!("atop {major}.{minor}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_what_atop_says() {
        let line = "Version: 2.11.1 - 2025/03/29     <gerlof.langeveld@atoptool.nl>\n";
        assert_eq!(Atop::parse(line), Atop::Version(2, 11));
        assert_eq!(Atop::parse("Version: 2.8.1 - x"), Atop::Version(2, 8));
        for noise in ["", "Version", "Version: x", "Version: 2", "2.11"] {
            assert_eq!(Atop::parse(noise), Atop::Unknown, "{noise}");
        }
    }

    #[test]
    fn minor_versions_are_numbers() {
        for (atop, status) in [
            (Atop::Version(2, 9), Status::Optional),
            (Atop::Version(2, 10), Status::Ok),
            (Atop::Version(3, 0), Status::Ok),
            (Atop::Absent, Status::Optional),
            (Atop::Unknown, Status::Optional),
        ] {
            assert_eq!(atop.finding().status, status, "{atop:?}");
        }
    }
}
