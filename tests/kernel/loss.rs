//! Provoked losses: unattributed traffic is reported to the exact message and byte.

use std::fs;
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Instant;

use chrono::{DateTime, Utc};
use netatop::error::Error;
use netatop::host::Cgroups;
use netatop::kernel::{Capacity, Filter, HostFacts, Storage, TracepointKind, Tracer};
use netatop::model::{Counters, Extent, Layout, Ledger};
use netatop::output::{Existing, Json, Lines, Sink};
use netatop::rollup::{Rows, SortKey};
use netatop::session::{Clock, ReaderWait, Schedule, Session, Summary, Woken};
use netatop::source::Source;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::end_to_end::{record, send_signal};
use super::filters::Cgroup;
use super::harness::{Counting, Workload, counters, wait_for};
use super::memory::MemoryCgroup;
use super::outcome::Outcome;
use super::places::sampled;

/// Runs a storm while exit records are not read. Also returns the number of lost records.
fn without_reader(capacity: Capacity, storm: &[&str]) -> (Outcome, u64) {
    let mut workload = Workload::start(&[storm, &["delay-go=1"]].concat());
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, capacity, &filter).expect("attach");
    workload.go();
    let lines = workload.finish();
    let mut ledger = Ledger::new(false);
    let sample = tracer.sample(Extent::Changes).expect("sample");
    sample.enter(&mut ledger);
    let interval = ledger.interval(|_| false);
    let rows = interval.usage.iter().map(|u| u.counters).sum();
    let outcome = Outcome {
        truth: counters(&lines[0], rows),
        rows,
        unattributed: interval.unattributed,
    };
    (outcome, sample.losses.exits_lost)
}

/// A filter for the workload and its descendants, so that losses of other processes do not count.
fn family_of(workload: &Workload) -> Filter {
    Filter {
        pids: vec![workload.pid()],
        follow: true,
        ..Filter::default()
    }
}

const TINY: Capacity = Capacity {
    remote: None,
    tcp: None,
    slots: 16,
    ring_bytes: 4096,
    overflow: 8,
    spare: 8192,
    unit_cgroups: 1,
    cgroup_bytes: 0,
    command_bytes: 0,
};

#[test]
fn a_ring_of_one_page_and_a_table_of_eight_lose_nothing_silently() {
    let (outcome, lost) = without_reader(TINY, &["process-storm", "n=2000", "parallel=4"]);
    outcome.assert_complete("process-storm n=2000, a ring of one page, a table of 8, no reader");
    assert!(lost > 1900, "{lost} lost");
    assert_eq!(outcome.unattributed.udp_send_msgs, lost);
}

#[test]
fn a_reader_that_stops_for_thirty_thousand_exits_loses_none() {
    let (outcome, lost) = without_reader(
        Capacity::default(),
        &["process-storm", "n=30000", "parallel=4"],
    );
    outcome.assert_exact("process-storm n=30000, no reader");
    assert_eq!(lost, 0);
}

/// More threads exit while the exit records behind the full ring buffer are read.
#[test]
fn a_ring_of_one_page_loses_nothing_while_there_is_room_behind_it() {
    let capacity = Capacity {
        ring_bytes: 4096,
        ..Capacity::default()
    };
    let mut workload = Workload::start(&["thread-storm", "n=100000", "parallel=4", "delay-go=1"]);
    let mut storage = Storage::default();
    let filter = family_of(&workload);
    let mut counting = Counting::with_capacity(&mut storage, capacity, &filter, false);
    workload.go();
    let case = "thread-storm n=100000, a ring of one page, sampled";
    let outcome = sampled(&mut counting, workload, 0, case);
    // Since Linux 7.0, reading a hash map can make the kernel skip program runs. The count of missed
    // events shows this.
    if counting.missed_events() > 0 {
        assert_eq!(
            TracepointKind::for_host(&HostFacts::gather()),
            TracepointKind::Classic
        );
        eprintln!("{case}: {} events missed", counting.missed_events());
    } else {
        outcome.assert_exact(case);
    }
}

#[test]
fn a_reader_that_stops_for_a_hundred_thousand_exits_loses_none() {
    let (outcome, lost) = without_reader(
        Capacity::default(),
        &["thread-storm", "n=100000", "parallel=4"],
    );
    outcome.assert_exact("thread-storm n=100000, no reader");
    assert_eq!(lost, 0);
}

#[test]
fn a_reader_that_stops_for_more_exits_than_there_is_room_for_reports_the_rest() {
    let smaller = Capacity {
        overflow: 1 << 15,
        ..Capacity::default()
    };
    let (outcome, lost) = without_reader(smaller, &["thread-storm", "n=50000", "parallel=4"]);
    outcome.assert_complete("thread-storm n=50000, a table of 32768, no reader");
    assert!(lost > 0);
}

/// Losses up to the rows of a file, with map sizes that no option can set.
#[test]
fn rows_and_summary_say_what_was_lost() {
    let mut workload = Workload::start(&["thread-storm", "n=5000", "delay-go=1", "hold=1"]);
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, TINY, &filter).expect("attach");
    workload.go();
    let truth = workload.line();
    workload.finish();
    let (mut outcome, summary) = session(&mut tracer);
    outcome.truth = counters(&truth, outcome.rows);
    outcome.assert_complete("thread-storm n=5000, a ring of one page, a table of 8, in json");
    assert!(summary.losses.exits_lost > 4000, "{:?}", summary.losses);
    assert_eq!(summary.unattributed, outcome.unattributed);
    assert_eq!(summary.total, outcome.truth);
}

/// Records one sample. Returns its rows and summary.
fn session(tracer: &mut Tracer<'_>) -> (Outcome, Summary) {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("rows.jsonl");
    let mut sink = Sink::open(&path, Existing::Refuse, Lines::Plain, None).expect("open");
    let layout = Layout::default();
    let mut json = Json::new(layout, "host".to_owned());
    let rows = Rows {
        layout,
        sort: SortKey::default(),
        top: None,
        booted: Utc::now(),
    };
    let (cgroups, mut clock) = (Cgroups::default(), AtOnce);
    let session = Session::new(tracer, &mut clock, &mut json, &mut sink, rows, cgroups);
    let summary = session.run(Schedule::default()).expect("no error");
    (rows_of(&path, "workload"), summary)
}

/// Ends a session with its first sample.
struct AtOnce;

impl Clock for AtOnce {
    fn now(&self) -> Instant {
        Instant::now()
    }

    fn utc(&self) -> DateTime<Utc> {
        Utc::now()
    }

    fn wait(&mut self, _: Option<Instant>, _: Option<BorrowedFd<'_>>) -> Result<Woken, Error> {
        Ok(Woken::Ended)
    }

    fn wait_for_reader(
        &mut self,
        _: BorrowedFd<'_>,
        _: Option<BorrowedFd<'_>>,
    ) -> Result<ReaderWait, Error> {
        Ok(ReaderWait::TimedOut)
    }
}

/// The rows of `comm` in a json file, and the unattributed row.
fn rows_of(path: &Path, comm: &str) -> Outcome {
    let text = fs::read_to_string(path).expect("rows");
    let rows: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("json"))
        .collect();
    let of = |comm: &str| -> Counters {
        rows.iter()
            .filter(|row| row["comm"] == comm)
            .map(|row| counters(row, Counters::default()))
            .sum()
    };
    Outcome {
        rows: of(comm),
        unattributed: of("(unattributed)"),
        ..Outcome::default()
    }
}

/// Swapping, a debugger or a full pipe can stop a recording like this.
#[test]
fn a_recording_stopped_during_more_exits_than_there_is_room_for_tells_what_it_lost() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("rows.jsonl");
    let mut workload = Workload::start(&["thread-storm", "n=150000", "delay-go=1"]);
    let pid = workload.pid().to_string();
    let output = path.to_str().expect("utf-8");
    let (mut child, told) = record(&["-p", &pid, "--follow", "-i", "50ms", "-o", output]);
    send_signal(&child, Signal::SIGSTOP);
    wait_for("it to stop", || {
        let stat = fs::read_to_string(format!("/proc/{}/stat", child.id())).ok()?;
        stat.contains(") T ").then_some(())
    });
    workload.go();
    let truth = workload.finish();
    send_signal(&child, Signal::SIGCONT);
    assert!(child.wait().expect("wait").success());
    let mut outcome = rows_of(&path, "workload");
    outcome.truth = counters(&truth[0], outcome.rows);
    outcome.assert_complete("thread-storm n=150000, the recording stopped by SIGSTOP");
    let lost = outcome.unattributed.udp_send_msgs;
    assert!(lost > 0 && lost < 150_000, "{lost}");
    let told = told.join().expect("messages");
    assert!(
        told.contains(&format!("unattributed of these: {lost} messages")),
        "{told}"
    );
    let why =
        format!("{lost} threads ended while neither the ring buffer nor the overflow map had room");
    assert!(told.contains(&why), "{told}");
}

/// Traffic in earlier snapshots of a thread must not count again if the exit record is lost.
#[test]
fn a_lost_exit_is_reported_without_what_rows_showed_before() {
    let mut workload = Workload::start(&["live-threads", "n=3000", "delay-go=1"]);
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, TINY, &filter).expect("attach");
    workload.go();
    let truth = workload.line();
    let mut ledger = Ledger::new(false);
    let mut sum = Counters::default();
    let mut take = |tracer: &mut Tracer<'_>| {
        let sample = tracer.sample(Extent::Changes).expect("sample");
        sample.enter(&mut ledger);
        let interval = ledger.interval(|_| false);
        let rows: Counters = interval.usage.iter().map(|u| u.counters).sum();
        sum += rows + interval.unattributed;
        sample.losses.exits_lost
    };
    assert_eq!(take(&mut tracer), 0);
    workload.finish();
    assert!(take(&mut tracer) > 2000, "most exits are lost");
    assert_eq!(sum, counters(&truth, sum), "and nothing is counted twice");
}

/// After a loss, the next snapshot covers all threads, so that threads that ended are found.
#[test]
fn who_ended_unseen_is_reported_as_ended_by_the_next_sample() {
    let chorus = |_| {
        let mut chorus = Workload::start(&["chorus", "n=200"]);
        chorus.line();
        chorus
    };
    let mut stays = chorus(0);
    let mut others: Vec<Workload> = (0..3).map(chorus).collect();
    let pids = others.iter().chain([&stays]).map(Workload::pid).collect();
    let filter = Filter {
        pids,
        ..Filter::default()
    };
    let capacity = Capacity {
        slots: 1 << 14,
        ..TINY
    };
    let mut storage = Storage::default();
    let mut tracer = Tracer::attach(&mut storage, capacity, &filter).expect("attach");
    let mut ledger = Ledger::new(false);
    let mut all = Outcome::default();
    let mut take = |extent, living| -> (Vec<u32>, Outcome) {
        let sample = tracer.sample(Extent::Changes).expect("sample");
        assert_eq!((sample.extent, sample.living.len()), (extent, living));
        sample.enter(&mut ledger);
        let interval = ledger.interval(|process| tracer.is_alive(process));
        all.unattributed += interval.unattributed;
        all.rows += interval.usage.iter().map(|u| u.counters).sum();
        let ended = interval.ended.iter().map(|process| process.pid);
        (ended.collect(), all)
    };
    let mut truth = Counters::default();
    let mut sing = |one: &mut Workload, before: Counters| -> Counters {
        one.tell("200");
        let total = counters(&one.line(), Counters::default());
        truth += total.since(before);
        total
    };
    let once: Vec<Counters> = others
        .iter_mut()
        .chain([&mut stays])
        .map(|one| sing(one, Counters::default()))
        .collect();
    take(Extent::Changes, 800);
    take(Extent::Changes, 0);
    for (rest, (mut one, before)) in (1..).zip(others.into_iter().zip(once)) {
        let pid = one.pid();
        // Traffic that no row contains yet is lost.
        sing(&mut one, before);
        one.finish();
        let (ended, _) = take(Extent::All, 800 - 200 * rest);
        assert_eq!(ended, [pid]);
        assert!(take(Extent::Changes, 0).0.is_empty());
    }
    stays.finish();
    let (_, mut all) = take(Extent::All, 0);
    all.truth = truth;
    all.assert_complete("chorus of 4 x 200 threads, a ring of one page, sampled");
    assert!(!all.unattributed.is_zero());
}

/// Much less capacity than twenty thousand threads need in any place.
fn little() -> Capacity {
    Capacity {
        slots: 1024,
        spare: 512,
        ..Capacity::default()
    }
}

#[test]
fn a_memory_limit_that_is_reached_is_reported_as_unattributed() {
    let memory = MemoryCgroup::new("all");
    // The filter tracks no other process, so that losses of other processes do not count.
    let counted = Cgroup::of_test("counted");
    let mut workload = Workload::start(&["live-threads", "n=20000", "delay-go=1"]);
    counted.adopt(workload.pid());
    let filter = Filter {
        cgroups: vec![counted.wanted(1)],
        ..Filter::default()
    };
    let mut storage = Storage::default();
    let mut tracer = memory.attach(&mut storage, little(), &filter);
    memory.end();
    workload.go();
    let truth = workload.line();
    let (mut outcome, summary) = session(&mut tracer);
    workload.finish();

    outcome.truth = counters(&truth, outcome.rows);
    outcome.assert_complete("live-threads n=20000, 1024 slots, and no memory for others");
    assert!(!outcome.unattributed.is_zero(), "the limit was reached");
    assert!(outcome.rows.msgs() > 1024, "not only slots were used");
    assert_eq!(summary.losses.no_memory, outcome.unattributed);
}

/// Threads that cannot be followed are not counted. Their number is reported.
#[test]
fn threads_that_cannot_be_followed_for_want_of_memory_are_told() {
    let memory = MemoryCgroup::new("followed");
    let mut workload = Workload::start(&["live-threads", "n=20000", "delay-go=1"]);
    let filter = family_of(&workload);
    let mut storage = Storage::default();
    let mut tracer = memory.attach(&mut storage, little(), &filter);
    memory.end();
    workload.go();
    let truth = workload.line();
    let (outcome, summary) = session(&mut tracer);
    workload.finish();

    let truth = counters(&truth, outcome.rows);
    let missing = truth.since(outcome.rows + outcome.unattributed);
    assert!(!missing.is_zero(), "the limit was reached");
    // Each missing thread sends one datagram.
    assert_eq!(missing.msgs(), summary.losses.untracked);
}
