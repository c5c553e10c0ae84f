//! Formats findings as text.

use std::fmt::Write;

use super::{CheckFormat, can_record};
use crate::kernel::{Finding, Status};

/// Returns the whole output.
#[must_use]
pub fn write(findings: &[Finding], format: CheckFormat) -> String {
    match format {
        CheckFormat::Table => table(findings),
        CheckFormat::Json => json(findings),
    }
}

fn table(findings: &[Finding]) -> String {
    let names = findings.iter().map(|finding| finding.name.len());
    let width = names.max().unwrap_or(0);
    let mut text = String::new();
    let mut line = |status: &str, name: &str, what: &str| {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "{status:<8}  {name:<width$}  {what}");
    };
    for finding in findings {
        let status = match finding.status {
            Status::Ok => "ok",
            Status::Missing => "missing",
            Status::Optional => "optional",
        };
        line(status, finding.name, &finding.found);
        if let Some(remedy) = &finding.remedy {
            line("", "", remedy);
        }
    }
    text.push_str(if can_record(findings) {
        "netatop can record here\n"
    } else {
        "netatop cannot record here\n"
    });
    text
}

fn json(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        // Findings contain only text and an enumeration, which JSON can represent.
        if let Ok(line) = serde_json::to_string(finding) {
            let _ = writeln!(text, "{line}");
        }
    }
    text
}
