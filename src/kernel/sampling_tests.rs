//! Tests of samples and the ledger with a model of the kernel: threads start, send, exec and end
//! while a sample is taken.

mod world;

use std::collections::HashMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::sampling::{SampleParts, Sampling};
use crate::model::{Extent, Ledger, ProcessId, State};
use world::{Event, Kernel};

fn event() -> impl Strategy<Value = Event> {
    let thread = || 0usize..64;
    prop_oneof![
        3 => (1u32..5).prop_map(|pid| Event::Start { pid }),
        8 => (thread(), 1u64..1000).prop_map(|(thread, bytes)| Event::Send { thread, bytes }),
        8 => (thread(), 1u16..4, 1u64..1000)
            .prop_map(|(thread, port, bytes)| Event::SendTo { thread, port, bytes }),
        3 => (thread(), any::<bool>()).prop_map(|(thread, lost)| Event::End { thread, lost }),
        1 => thread().prop_map(|thread| Event::Exec { thread }),
        1 => thread().prop_map(|thread| Event::Reuse { thread }),
        1 => thread().prop_map(|thread| Event::Spare { thread }),
        1 => (1u64..1000).prop_map(|bytes| Event::NoMemory { bytes }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Happens(Event),
    /// Exit records are taken. With `again`, the ledger gets them twice.
    Drain {
        again: bool,
    },
    /// A sample with events during each of its parts. With `interval`, it ends an interval.
    Sample {
        meanwhile: Vec<Event>,
        all: bool,
        tries: u32,
        again: bool,
        interval: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => event().prop_map(Step::Happens),
        1 => any::<bool>().prop_map(|again| Step::Drain { again }),
        3 => (vec(event(), 0..12), any::<bool>(), 1u32..4, any::<bool>(), any::<bool>()).prop_map(
            |(meanwhile, all, tries, again, interval)| {
                Step::Sample { meanwhile, all, tries, again, interval }
            }
        ),
    ]
}

/// Sums of the rows and of the unattributed row.
#[derive(Default)]
struct Shown {
    rows: HashMap<ProcessId, u64>,
    /// The part with this remote port.
    to: HashMap<(ProcessId, u16), u64>,
    unattributed: u64,
}

impl Shown {
    fn take(&mut self, ledger: &mut Ledger, kernel: &Kernel) -> Vec<(ProcessId, State)> {
        let interval = ledger.interval(|process| kernel.alive(process));
        self.unattributed += interval.unattributed.udp_send_bytes;
        for usage in &interval.usage {
            let (process, bytes) = (usage.last.process, usage.counters.udp_send_bytes);
            *self.rows.entry(process).or_default() += bytes;
            if let Some(port) = usage.remote.as_ref().and_then(|remote| remote.remote.port) {
                *self.to.entry((process, port)).or_default() += bytes;
            }
        }
        let rows = interval.usage.iter();
        rows.map(|usage| (usage.last.process, usage.state))
            .collect()
    }
}

fn take_sample(
    ledger: &mut Ledger,
    (sampling, kernel): (&mut Sampling, &mut Kernel),
    extent: Extent,
    tries: u32,
    again: bool,
) {
    let sample = sampling.take(kernel, extent, tries);
    let sample = sample.expect("the model does not fail");
    kernel.meanwhile.clear();
    sample.enter(ledger);
    if again {
        ledger.exits(&sample.exits);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Rows and the unattributed row add up to the truth. A process without a lost exit record has
    /// all of its traffic in rows.
    #[test]
    fn whatever_happens_while_samples_are_taken_adds_up_to_the_truth(
        steps in vec(step(), 0..80),
        by_thread in any::<bool>(),
    ) {
        let mut ledger = Ledger::new(by_thread).with_remotes(true);
        let (mut sampling, mut kernel) = (Sampling::default(), Kernel::default());
        kernel.by_thread = by_thread;
        let mut shown = Shown::default();
        for step in &steps {
            match step {
                Step::Happens(event) => kernel.happen(event),
                Step::Drain { again } => {
                    let exits = kernel.exited().expect("the model does not fail");
                    ledger.exits(&exits);
                    if *again {
                        ledger.exits(&exits);
                    }
                }
                Step::Sample { meanwhile, all, tries, again, interval } => {
                    kernel.meanwhile = meanwhile.iter().cloned().collect();
                    let extent = if *all { Extent::All } else { Extent::Changes };
                    take_sample(
                        &mut ledger, (&mut sampling, &mut kernel), extent, *tries, *again,
                    );
                    if *interval {
                        shown.take(&mut ledger, &kernel);
                    }
                }
            }
        }
        // Losses during the last sample appear in the next one. A changes-only sample is enough for
        // the sums.
        let extent = if by_thread { Extent::Changes } else { Extent::All };
        take_sample(&mut ledger, (&mut sampling, &mut kernel), extent, 1, false);
        for (process, state) in shown.take(&mut ledger, &kernel) {
            if !by_thread {
                prop_assert_eq!(state == State::Running, kernel.alive(process));
            }
        }

        let truth = kernel.truth.values().sum::<u64>() + kernel.unattributed;
        prop_assert_eq!(shown.rows.values().sum::<u64>() + shown.unattributed, truth);
        for (process, bytes) in &kernel.truth {
            let rows = shown.rows.get(process).copied().unwrap_or(0);
            if kernel.with_losses.contains(process) {
                prop_assert!(rows <= *bytes);
            } else {
                prop_assert_eq!(rows, *bytes, "{:?}", process);
            }
        }
        if kernel.with_losses.is_empty() {
            prop_assert_eq!(shown.unattributed, kernel.unattributed);
            prop_assert_eq!(&shown.to, &kernel.truth_to);
        }
        take_sample(&mut ledger, (&mut sampling, &mut kernel), Extent::All, 1, false);
        prop_assert!(shown.take(&mut ledger, &kernel).is_empty(), "nothing is left");
    }

    /// Counters are exact up to the largest number. A counter that wraps around adds nothing until
    /// it exceeds its old value.
    #[test]
    fn the_largest_counters_are_exact_and_wrapping_is_never_a_huge_number(
        mut totals in vec(any::<u64>(), 1..20),
        wrapped in any::<u64>(),
    ) {
        totals.sort_unstable();
        let mut ledger = Ledger::new(false);
        let (mut sampling, mut kernel) = (Sampling::default(), Kernel::default());
        kernel.start(1);
        let mut shown = 0u64;
        for total in &totals {
            kernel.living[0].counters.udp_send_bytes = *total;
            take_sample(
                &mut ledger, (&mut sampling, &mut kernel), Extent::Changes, 1, false,
            );
            let interval = ledger.interval(|_| true);
            shown += interval.usage.iter().map(|u| u.counters.udp_send_bytes).sum::<u64>();
        }
        let largest = totals.last().copied().unwrap_or_default();
        prop_assert_eq!(shown, largest);
        kernel.living[0].counters.udp_send_bytes = wrapped;
        take_sample(&mut ledger, (&mut sampling, &mut kernel), Extent::Changes, 1, false);
        let interval = ledger.interval(|_| true);
        let more: u64 = interval.usage.iter().map(|u| u.counters.udp_send_bytes).sum();
        prop_assert_eq!(more, wrapped.saturating_sub(largest));
    }
}
