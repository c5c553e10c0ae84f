//! Tests of the ledger with a small model of the kernel that knows the true counts.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

fn record(block: u64, pid: u32, tid: u32, bytes: u64) -> ThreadRecord {
    ThreadRecord::of_test(block, ProcessId { pid, start: 7 }, tid, counters(bytes))
}

fn counters(bytes: u64) -> Counters {
    Counters {
        tcp_send_msgs: u64::from(bytes > 0),
        tcp_send_bytes: bytes,
        ..Counters::default()
    }
}

fn exit(mut record: ThreadRecord) -> ThreadRecord {
    record.exited = true;
    record
}

fn sent(interval: &Interval) -> Vec<(u32, u64, State)> {
    let mut rows: Vec<_> = interval
        .usage
        .iter()
        .map(|u| (u.last.process.pid, u.counters.tcp_send_bytes, u.state))
        .collect();
    rows.sort_by_key(|row| (row.0, row.1));
    rows
}

#[test]
fn a_thread_seen_alive_and_then_in_its_exit_record_is_counted_once() {
    let mut ledger = Ledger::new(false);
    ledger.snapshot(&[record(1, 10, 10, 100)], Extent::All, Losses::default());
    assert_eq!(
        sent(&ledger.interval(|_| true)),
        [(10, 100, State::Running)]
    );
    ledger.snapshot(&[record(1, 10, 10, 130)], Extent::All, Losses::default());
    ledger.exits(&[exit(record(1, 10, 10, 150))]);
    assert_eq!(sent(&ledger.interval(|_| false)), [(10, 50, State::Exited)]);
    ledger.snapshot(&[], Extent::All, Losses::default());
    assert!(ledger.interval(|_| true).usage.is_empty());
}

#[test]
fn a_snapshot_older_than_the_exit_record_does_not_bring_a_thread_back() {
    let mut ledger = Ledger::new(false);
    ledger.exits(&[exit(record(1, 10, 10, 150))]);
    ledger.snapshot(&[record(1, 10, 10, 130)], Extent::All, Losses::default());
    assert_eq!(
        sent(&ledger.interval(|_| false)),
        [(10, 150, State::Exited)]
    );
    assert_eq!(ledger.living().count(), 0);
}

#[test]
fn threads_of_a_process_are_one_row_or_one_each() {
    let records = [record(1, 10, 10, 1), record(2, 10, 11, 2)];
    let mut ledger = Ledger::new(false);
    ledger.snapshot(&records, Extent::All, Losses::default());
    assert_eq!(sent(&ledger.interval(|_| true)), [(10, 3, State::Running)]);
    let mut ledger = Ledger::new(true);
    ledger.snapshot(&records, Extent::All, Losses::default());
    assert_eq!(
        sent(&ledger.interval(|_| true)),
        [(10, 1, State::Running), (10, 2, State::Running)]
    );
}

#[test]
fn exec_by_another_thread_keeps_what_both_threads_did() {
    let mut ledger = Ledger::new(false);
    ledger.snapshot(
        &[record(1, 10, 10, 100), record(2, 10, 11, 20)],
        Extent::All,
        Losses::default(),
    );
    assert_eq!(
        sent(&ledger.interval(|_| true)),
        [(10, 120, State::Running)]
    );
    // The first thread ends. The second one takes over its thread id and continues to send.
    ledger.exits(&[exit(record(1, 10, 10, 101))]);
    ledger.snapshot(&[record(2, 10, 10, 25)], Extent::All, Losses::default());
    assert_eq!(sent(&ledger.interval(|_| true)), [(10, 6, State::Running)]);
}

#[test]
fn a_process_lives_on_when_only_its_busy_thread_has_ended() {
    let mut ledger = Ledger::new(false);
    ledger.exits(&[exit(record(1, 10, 11, 5))]);
    assert_eq!(sent(&ledger.interval(|_| true)), [(10, 5, State::Running)]);
    let mut last = exit(record(2, 10, 12, 6));
    last.group_dead = true;
    ledger.exits(&[last]);
    assert_eq!(sent(&ledger.interval(|_| true)), [(10, 6, State::Exited)]);
}

#[test]
fn the_end_of_an_idle_process_is_reported_once() {
    let mut ledger = Ledger::new(false);
    let mut idle = record(1, 10, 10, 5);
    ledger.snapshot(
        &[idle, record(2, 11, 11, 5)],
        Extent::All,
        Losses::default(),
    );
    assert!(ledger.interval(|_| true).ended.is_empty());
    idle.group_dead = true;
    ledger.snapshot(&[record(2, 11, 11, 5)], Extent::All, Losses::default());
    ledger.exits(&[exit(idle), exit(record(2, 11, 11, 5))]);
    // The second process is alive, but its remaining threads never had traffic.
    let interval = ledger.interval(|process| process.pid == 11);
    assert!(interval.usage.is_empty());
    assert_eq!(interval.ended, [ProcessId { pid: 10, start: 7 }]);
    assert_eq!(interval.silent, [ProcessId { pid: 11, start: 7 }]);
    assert!(ledger.interval(|_| false).ended.is_empty());
}

#[test]
fn a_process_whose_last_exit_record_has_not_arrived_has_not_ended() {
    let mut ledger = Ledger::new(false);
    let mut flagged = exit(record(1, 10, 10, 5));
    flagged.group_dead = true;
    ledger.snapshot(&[record(2, 10, 11, 1)], Extent::All, Losses::default());
    ledger.exits(&[flagged]);
    let interval = ledger.interval(|_| false);
    assert_eq!(sent(&interval), [(10, 6, State::Exited)]);
    assert!(interval.ended.is_empty());
    ledger.snapshot(&[], Extent::All, Losses::default());
    ledger.exits(&[exit(record(2, 10, 11, 3))]);
    let interval = ledger.interval(|_| false);
    assert_eq!(sent(&interval), [(10, 2, State::Exited)]);
    assert_eq!(interval.ended.len(), 1);
}

#[test]
fn a_recycled_pid_is_another_process() {
    let mut ledger = Ledger::new(false);
    let mut second = record(2, 10, 10, 7);
    second.identity.process.start = 8;
    ledger.exits(&[exit(record(1, 10, 10, 5))]);
    ledger.snapshot(&[second], Extent::All, Losses::default());
    assert_eq!(
        sent(&ledger.interval(|p| p.start == 8)),
        [(10, 5, State::Exited), (10, 7, State::Running)]
    );
}

#[test]
fn a_counter_that_goes_backwards_adds_nothing() {
    let mut ledger = Ledger::new(false);
    ledger.snapshot(&[record(1, 10, 10, 100)], Extent::All, Losses::default());
    ledger.snapshot(&[record(1, 10, 10, 40)], Extent::All, Losses::default());
    assert_eq!(
        sent(&ledger.interval(|_| true)),
        [(10, 100, State::Running)]
    );
    ledger.snapshot(&[record(1, 10, 10, 110)], Extent::All, Losses::default());
    assert_eq!(sent(&ledger.interval(|_| true)), [(10, 10, State::Running)]);
}

#[test]
fn what_rows_already_show_of_a_lost_exit_is_not_reported_again() {
    let mut ledger = Ledger::new(false);
    ledger.snapshot(&[record(1, 10, 10, 100)], Extent::All, Losses::default());
    assert_eq!(ledger.interval(|_| true).unattributed, Counters::default());
    let lost = Losses {
        exits: Counters {
            tcp_send_msgs: 1,
            tcp_send_bytes: 130,
            ..Counters::default()
        },
        exits_lost: 1,
        ..Losses::default()
    };
    ledger.snapshot(&[], Extent::All, lost);
    assert_eq!(ledger.interval(|_| false).unattributed.tcp_send_bytes, 30);
    ledger.snapshot(&[], Extent::All, lost);
    assert!(ledger.interval(|_| false).unattributed.is_zero());
}

#[test]
fn who_did_nothing_lives_on_unless_all_were_looked_at() {
    let mut ledger = Ledger::new(false);
    let two = [record(1, 10, 10, 1), record(2, 11, 11, 2)];
    ledger.snapshot(&two, Extent::Changes, Losses::default());
    assert_eq!(ledger.interval(|_| false).usage.len(), 2);
    ledger.snapshot(&[], Extent::Changes, Losses::default());
    assert_eq!(ledger.interval(|_| false), Interval::default());
    assert_eq!(ledger.living().count(), 2);
    // A snapshot of all threads, then a changes-only one before the interval ends.
    ledger.snapshot(&[record(2, 11, 11, 2)], Extent::All, Losses::default());
    ledger.snapshot(&[], Extent::Changes, Losses::default());
    let interval = ledger.interval(|_| false);
    assert_eq!(interval.ended, [ProcessId { pid: 10, start: 7 }]);
    assert_eq!(ledger.living().count(), 1);
}

/// One step of the modelled kernel.
#[derive(Clone, Debug)]
enum Step {
    Start {
        process: u32,
    },
    Send {
        thread: usize,
        bytes: u64,
    },
    /// The thread ends. Its record is lost (`lost`), or arrives only after the next snapshot
    /// (`late`).
    End {
        thread: usize,
        lost: bool,
        late: bool,
    },
    Exec {
        thread: usize,
    },
    Drain,
    /// A snapshot of all threads, or of threads with changed counters.
    Snapshot {
        all: bool,
    },
    Interval {
        all: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (1u32..5).prop_map(|process| Step::Start { process }),
        6 => (0usize..64, 1u64..1000).prop_map(|(thread, bytes)| Step::Send { thread, bytes }),
        3 => (0usize..64, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(thread, a, b, late)| Step::End { thread, lost: a && b, late }),
        1 => (0usize..64).prop_map(|thread| Step::Exec { thread }),
        2 => Just(Step::Drain),
        2 => any::<bool>().prop_map(|all| Step::Snapshot { all }),
        2 => any::<bool>().prop_map(|all| Step::Interval { all }),
    ]
}

#[derive(Default)]
struct Model {
    living: Vec<ThreadRecord>,
    ring: Vec<ThreadRecord>,
    late: Vec<ThreadRecord>,
    losses: Losses,
    next_block: u64,
    truth: HashMap<u32, u64>,
    /// The counters in the last snapshot by block, and the number of exits lost by then.
    shown: HashMap<u64, Counters>,
    shown_lost: u64,
}

impl Model {
    fn pick(&self, thread: usize) -> Option<usize> {
        (!self.living.is_empty()).then(|| thread % self.living.len())
    }

    fn apply(&mut self, step: &Step, ledger: &mut Ledger) {
        match *step {
            Step::Start { process } => {
                self.next_block += 1;
                let tid = 100 + self.next_block as u32;
                self.living.push(record(self.next_block, process, tid, 0));
            }
            Step::Send { thread, bytes } => {
                if let Some(i) = self.pick(thread) {
                    let thread = &mut self.living[i];
                    thread.counters.udp_send_msgs += 1;
                    thread.counters.udp_send_bytes += bytes;
                    *self.truth.entry(thread.identity.process.pid).or_default() += bytes;
                }
            }
            Step::End { thread, lost, late } => {
                if let Some(i) = self.pick(thread) {
                    let last = exit(self.living.swap_remove(i));
                    if lost {
                        self.losses.exits += last.counters;
                        self.losses.exits_lost += 1;
                    } else if late {
                        self.late.push(last);
                    } else {
                        self.ring.push(last);
                    }
                }
            }
            Step::Exec { thread } => {
                if let Some(i) = self.pick(thread) {
                    self.living[i].identity.tid = self.living[i].identity.process.pid;
                }
            }
            Step::Drain => ledger.exits(&std::mem::take(&mut self.ring)),
            Step::Snapshot { all } => {
                // A changes-only snapshot is enough only while no exit record is lost.
                let all = all || self.losses.exits_lost != self.shown_lost;
                self.shown_lost = self.losses.exits_lost;
                let news = |t: &&ThreadRecord| {
                    all || (!t.counters.is_zero() && self.shown.get(&t.block) != Some(&t.counters))
                };
                let seen: Vec<_> = self.living.iter().filter(news).copied().collect();
                self.shown
                    .extend(seen.iter().map(|t| (t.block, t.counters)));
                let extent = if all { Extent::All } else { Extent::Changes };
                ledger.snapshot(&seen, extent, self.losses);
                ledger.exits(&std::mem::take(&mut self.ring));
                self.ring.append(&mut self.late);
            }
            Step::Interval { .. } => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    /// In any order of events, rows and the unattributed row add up to the truth, and no process
    /// gets more traffic than it had.
    #[test]
    fn any_interleaving_adds_up_to_the_truth(
        steps in prop::collection::vec(step(), 0..120),
        by_thread in any::<bool>(),
    ) {
        let mut ledger = Ledger::new(by_thread);
        let mut model = Model::default();
        let mut rows: HashMap<u32, u64> = HashMap::new();
        let mut unattributed = 0;
        let mut collect = |interval: Interval| {
            for usage in interval.usage {
                *rows.entry(usage.last.process.pid).or_default() += usage.counters.udp_send_bytes;
            }
            unattributed += interval.unattributed.udp_send_bytes;
        };
        for step in &steps {
            model.apply(step, &mut ledger);
            if let Step::Interval { all } = *step {
                model.apply(&Step::Snapshot { all }, &mut ledger);
                collect(ledger.interval(|_| false));
            }
        }
        // The last sample, after everything has arrived.
        for _ in 0..2 {
            model.apply(&Step::Snapshot { all: true }, &mut ledger);
        }
        model.apply(&Step::Drain, &mut ledger);
        collect(ledger.interval(|_| false));

        let truth: u64 = model.truth.values().sum();
        prop_assert_eq!(rows.values().sum::<u64>() + unattributed, truth);
        for (process, bytes) in &rows {
            prop_assert!(bytes <= model.truth.get(process).unwrap_or(&0));
        }
        if model.losses.exits_lost == 0 {
            prop_assert_eq!(unattributed, 0);
        }
    }

    /// Invalid records cause no panic.
    #[test]
    fn hostile_records_never_panic(
        values in prop::collection::vec((0u64..8, any::<u64>(), any::<bool>(), any::<bool>()), 0..60)
    ) {
        let mut ledger = Ledger::new(false);
        for (block, bytes, ended, end) in values {
            let mut one = record(block, 1, 1, bytes);
            one.exited = ended;
            if ended {
                ledger.exits(&[one]);
            } else {
                let losses = Losses { exits: counters(bytes), ..Losses::default() };
                let extent = if bytes % 2 == 0 { Extent::All } else { Extent::Changes };
                ledger.snapshot(&[one], extent, losses);
            }
            if end {
                ledger.interval(|_| true);
            }
        }
    }
}
