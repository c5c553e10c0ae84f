//! The closing words: what was recorded, and what could not be.

use super::Summary;
use crate::output::{bytes, count};

/// The closing line, and one for each kind of loss.
pub(super) fn describe(summary: &Summary) -> String {
    let mut text = format!(
        "{:.1} s, {} processes, {} messages, {}; unattributed: {} messages, {}",
        summary.elapsed.as_secs_f64(),
        summary.processes,
        count(summary.total.msgs()),
        bytes(summary.total.bytes()),
        count(summary.unattributed.msgs()),
        bytes(summary.unattributed.bytes()),
    );
    let losses = &summary.losses;
    if losses.exits_lost > 0 {
        text.push_str(&format!(
            "\n{} threads ended while there was no room for a record of it: the reader was held up",
            losses.exits_lost
        ));
    }
    if !losses.no_memory.is_zero() {
        text.push_str(&format!(
            "\n{} messages came when the kernel had no memory to count them by thread",
            losses.no_memory.msgs()
        ));
    }
    if !losses.no_task.is_zero() {
        text.push_str(&format!(
            "\n{} messages were no task's",
            losses.no_task.msgs()
        ));
    }
    if losses.untracked > 0 {
        text.push_str(&format!(
            "\n{} new tasks could not be followed for want of memory: their traffic is missing",
            losses.untracked
        ));
    }
    if losses.missed_events > 0 {
        text.push_str(&format!(
            "\n{} events were missed by the kernel, and nobody knows how large they were",
            losses.missed_events
        ));
    }
    text
}

/// Descendants that live on, for a recording that followed some.
pub(super) fn describe_living(summary: &Summary, except: u32) -> String {
    /// More would not be read.
    const NAMED: usize = 10;
    let living: Vec<_> = summary
        .living
        .iter()
        .filter(|(pid, _)| *pid != except)
        .collect();
    if living.is_empty() {
        return String::new();
    }
    let mut names: Vec<String> = living
        .iter()
        .take(NAMED)
        .map(|(pid, comm)| format!("{pid} ({})", comm.to_str_lossy().escape_debug()))
        .collect();
    if living.len() > NAMED {
        names.push(format!("{} more", living.len() - NAMED));
    }
    format!(
        "\nstill running, and counted up to now: {}",
        names.join(", ")
    )
}
