//! The summary after a recording: totals and losses.

use std::time::Duration;

use crate::kernel::UdpEnds;
use crate::model::Tcp;
use crate::session::Summary;
use crate::text::{bytes, count, counted};

/// The totals line, and one line for each kind of loss. `remedy_for_misses` says how to prevent
/// missed events on this host. `udp_ends` says where the remote ends of unconnected UDP sockets came
/// from.
pub(super) fn describe(
    summary: &Summary,
    remedy_for_misses: Option<&str>,
    udp_ends: UdpEnds,
) -> String {
    let messages = |count| counted(count, "message", "messages");
    // Each line fits a terminal of 60 columns.
    let mut text = format!(
        "{}, {}, {}, {}",
        seconds(summary.elapsed),
        counted(summary.processes, "process", "processes"),
        messages(summary.total.msgs()),
        bytes(summary.total.bytes()),
    );
    if summary.unattributed.is_zero() {
        text.push_str(", 0 unattributed");
    } else {
        text.push_str(&format!(
            "\nunattributed of these: {}, {}",
            messages(summary.unattributed.msgs()),
            bytes(summary.unattributed.bytes()),
        ));
    }
    text.push_str(&connections(&summary.tcp));
    let losses = &summary.losses;
    let mut add = |count: u64, one: &str, plural: &str, what: &str| {
        if count > 0 {
            text.push_str(&format!("\n{} {what}", counted(count, one, plural)));
        }
    };
    add(
        losses.exits_lost,
        "thread",
        "threads",
        "ended while neither the ring buffer nor the overflow map had room: netatop was delayed",
    );
    add(
        losses.no_memory.msgs(),
        "message",
        "messages",
        "could not be counted by thread: the kernel had no memory",
    );
    add(
        losses.no_task.msgs(),
        "message",
        "messages",
        "belonged to no task",
    );
    add(
        losses.untracked,
        "new task",
        "new tasks",
        "could not be followed, no memory: their traffic is missing",
    );
    add(
        losses.cgroups,
        "cgroup change",
        "cgroup changes",
        "were lost, ring buffer full: some names may be missing",
    );
    add(
        summary.without_command,
        "process",
        "processes",
        "without command line: ended before it could be read",
    );
    add(
        losses.commands_lost,
        "command line",
        "command lines",
        "lost, ring buffer full: netatop was delayed",
    );
    add(
        losses.commands_unread,
        "command line",
        "command lines",
        "not in memory at exec: looked up in /proc",
    );
    let notes = match udp_ends {
        UdpEnds::Functions | UdpEnds::NotNeeded => "unconnected UDP, and the kernel had no memory",
        UdpEnds::CgroupHooks | UdpEnds::HashedCgroupHooks => {
            "unconnected UDP, and no address in the call"
        }
        UdpEnds::NoNetAdmin => "unconnected UDP needs CAP_NET_ADMIN",
        UdpEnds::NoCgroups => "unconnected UDP needs cgroup v2",
        UdpEnds::Refused => "unconnected UDP, and the kernel refused the programs",
    };
    add(
        losses.remote_unknown,
        "message",
        "messages",
        &format!("without remote end: {notes}"),
    );
    add(
        losses.remote_full,
        "message",
        "messages",
        "without remote end: no room for more rows",
    );
    let alone = &summary.unattributed_tcp;
    add(
        alone.out_segs.saturating_add(alone.in_segs),
        "TCP segment",
        "TCP segments",
        "unattributed: their connections have no known owner",
    );
    add(
        losses.tcp_no_account,
        "time",
        "times",
        "the kernel had no memory for TCP's account of a connection",
    );
    add(
        losses.tcp_no_row,
        "time",
        "times",
        "there was no room for a row of TCP's account: it is unattributed",
    );
    add(
        losses.tcp_unseen,
        "TCP socket",
        "TCP sockets",
        "not read at the end: closed or not accepted, in another network namespace",
    );
    add(
        losses.remote_missed,
        "UDP call",
        "UDP calls",
        "not seen by the programs that tell remote ends: these may be wrong",
    );
    add(
        losses.unmatched_msgs,
        "message",
        "messages",
        &format!(
            "left out ({}), remote end not known: {notes}",
            bytes(losses.unmatched_bytes)
        ),
    );
    add(
        losses.undecided_cgroups,
        "new cgroup",
        "new cgroups",
        "of unknown unit: no room, or the path is too long",
    );
    add(
        losses.undecided_msgs,
        "message",
        "messages",
        &format!(
            "left out ({}), unit not known",
            bytes(losses.undecided_bytes)
        ),
    );
    add(
        losses.missed_events,
        "event",
        "events",
        "missed by the kernel, of unknown size",
    );
    if losses.missed_events > 0
        && let Some(remedy) = remedy_for_misses
    {
        text.push_str(&format!("\nto avoid missed events, {remedy}"));
    }
    text
}

/// A line about connections that failed or were reset; empty if there was none.
fn connections(tcp: &Tcp) -> String {
    let mut parts = Vec::new();
    let other = tcp
        .attempt_fails
        .saturating_sub(tcp.refused)
        .saturating_sub(tcp.timed_out)
        .saturating_sub(tcp.unreachable);
    for (number, what) in [
        (tcp.refused, "refused"),
        (tcp.timed_out, "timed out"),
        (tcp.unreachable, "unreachable"),
        (other, "failed otherwise"),
        (tcp.estab_resets, "reset"),
    ] {
        if number > 0 {
            parts.push(format!("{} {what}", count(number)));
        }
    }
    if parts.is_empty() {
        return String::new();
    }
    format!("\nTCP connections: {}", parts.join(", "))
}

/// Formats a duration, with milliseconds for short commands.
fn seconds(elapsed: Duration) -> String {
    let seconds = elapsed.as_secs_f64();
    if seconds < 10.0 {
        format!("{seconds:.3} s")
    } else {
        format!("{seconds:.1} s")
    }
}

/// Followed processes that are still running, without the process `except`.
pub(super) fn describe_living(summary: &Summary, except: u32) -> String {
    /// The line names at most this many processes.
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
        "\nstill running, counted until the recording ended: {}",
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Counters, Losses, Tcp};

    #[test]
    fn each_kind_of_loss_has_a_line_with_its_cause() {
        let one = |bytes| Counters {
            udp_send_msgs: 1,
            udp_send_bytes: bytes,
            ..Counters::default()
        };
        let losses = Losses {
            no_memory: one(7),
            no_task: one(8) + one(9),
            exits_lost: 3,
            untracked: 4,
            missed_events: 5,
            remote_unknown: 6,
            remote_full: 7,
            remote_missed: 8,
            unmatched_msgs: 8,
            unmatched_bytes: 9000,
            undecided_cgroups: 2,
            undecided_msgs: 10,
            undecided_bytes: 11_000,
            tcp_no_account: 8,
            tcp_no_row: 9,
            tcp_unseen: 1,
            commands_lost: 10,
            commands_unread: 1,
            ..Losses::default()
        };
        let summary = Summary {
            losses,
            tcp: Tcp {
                attempt_fails: 4,
                refused: 2,
                timed_out: 1,
                estab_resets: 5,
                ..Tcp::default()
            },
            unattributed_tcp: Tcp {
                out_segs: 10,
                ..Tcp::default()
            },
            without_command: 2,
            ..Summary::default()
        };
        let text = describe(&summary, None, UdpEnds::CgroupHooks);
        let lines: Vec<&str> = text.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "TCP connections: 2 refused, 1 timed out, 1 failed otherwise, 5 reset",
                "3 threads ended while neither the ring buffer nor the overflow map had room: netatop was delayed",
                "1 message could not be counted by thread: the kernel had no memory",
                "2 messages belonged to no task",
                "4 new tasks could not be followed, no memory: their traffic is missing",
                "2 processes without command line: ended before it could be read",
                "10 command lines lost, ring buffer full: netatop was delayed",
                "1 command line not in memory at exec: looked up in /proc",
                "6 messages without remote end: unconnected UDP, and no address in the call",
                "7 messages without remote end: no room for more rows",
                "10 TCP segments unattributed: their connections have no known owner",
                "8 times the kernel had no memory for TCP's account of a connection",
                "9 times there was no room for a row of TCP's account: it is unattributed",
                "1 TCP socket not read at the end: closed or not accepted, in another network namespace",
                "8 UDP calls not seen by the programs that tell remote ends: these may be wrong",
                "8 messages left out (9.0 KB), remote end not known: unconnected UDP, and no address in the call",
                "2 new cgroups of unknown unit: no room, or the path is too long",
                "10 messages left out (11.0 KB), unit not known",
                "5 events missed by the kernel, of unknown size",
            ]
        );
        assert_eq!(
            describe(&Summary::default(), None, UdpEnds::CgroupHooks)
                .lines()
                .count(),
            1
        );
    }
}
