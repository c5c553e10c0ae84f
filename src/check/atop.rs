//! The installed atop. From version 2.10 on, it can show the counters of `netatop serve`.

use std::io;
use std::process::{Command, Stdio};

use crate::kernel::{Finding, Status};

/// The first version that can connect to a server.
const FIRST_VERSION: (u32, u32) = (2, 10);

const REMEDY: &str = "not needed for recording; to see the counters in atop, install 2.10 or later";

/// The atop found in PATH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Atop {
    /// No atop was found.
    Absent,
    /// The version of the atop is unknown.
    Unknown,
    /// Major and minor version.
    Version(u32, u32),
}

impl Atop {
    /// Runs the atop in PATH to get its version.
    #[must_use]
    pub fn find() -> Self {
        let mut atop = Command::new("atop");
        atop.arg("-V").stdin(Stdio::null()).stderr(Stdio::null());
        match atop.output() {
            Ok(output) => Self::parse(&String::from_utf8_lossy(&output.stdout)),
            // A directory of PATH that this user may not access counts as empty.
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

    /// Parses a line such as `Version: 2.11.1 - 2025/03/29 <gerlof.langeveld@atoptool.nl>`.
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
        let met = |found: String| Finding::ok("atop", "atop 2.10 or later", found);
        let lacking = |found: String| met(String::new()).lacking(Status::Optional, found, REMEDY);
        match self {
            Self::Absent => lacking("no atop was found in PATH".to_owned()),
            Self::Unknown => lacking("the version of the atop in PATH is unknown".to_owned()),
            Self::Version(major, minor) if (*major, *minor) < FIRST_VERSION => lacking(format!(
                "atop {major}.{minor} cannot show network counters of a server"
            )),
            Self::Version(major, minor) => met(format!("atop {major}.{minor}")),
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
