//! The outcome of a workload's traffic: in a row, unattributed, or lost.

use netatop::kernel::{Filter, Storage};
use netatop::model::Counters;

use super::harness::{
    Counting, Named, Workload, assert_exact, counters, counting, is_left_out, of_pid,
};
use super::remote::{MODES, capacity};

/// Scales the size of a large test: the whole size with `NETATOP_TEST_SCALE=1`, and a tenth by
/// default.
pub fn scaled(whole: usize) -> String {
    let scale = std::env::var("NETATOP_TEST_SCALE").map_or(0.1, |scale| {
        scale
            .parse::<f64>()
            .expect("NETATOP_TEST_SCALE is a number")
    });
    ((whole as f64 * scale) as usize).max(1).to_string()
}

/// The outcome of all traffic of a workload. Printed for `scripts/stress-table`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    pub truth: Counters,
    pub rows: Counters,
    pub unattributed: Counters,
}

impl Outcome {
    /// Checks that no traffic is lost or counted twice.
    #[track_caller]
    pub fn assert_complete(&self, case: &str) {
        let lost = i128::from(self.truth.msgs())
            - i128::from(self.rows.msgs())
            - i128::from(self.unattributed.msgs());
        println!(
            "stress: | {case} | {} | {} | {} | {lost} |",
            self.truth.msgs(),
            self.rows.msgs(),
            self.unattributed.msgs(),
        );
        assert_eq!(self.rows + self.unattributed, self.truth, "{case}");
    }

    /// Adds the outcome of another workload.
    pub fn add(&mut self, other: Self) {
        self.truth += other.truth;
        self.rows += other.rows;
        self.unattributed += other.unattributed;
    }

    #[track_caller]
    pub fn assert_exact(&self, case: &str) {
        self.assert_complete(case);
        assert!(self.unattributed.is_zero(), "{case}: {self:?}");
    }
}

/// Runs a scenario from start to end, and compares every process.
pub fn exact(args: &[&str]) {
    counting(false, |counting| {
        let case = args.join(" ");
        if let Some(outcome) = finish_exactly(counting, Workload::start(args), &case) {
            outcome.assert_exact(&case);
        }
    });
}

/// The same in each mode of remote ends: the rows of a process add up to its own counters.
pub fn exact_split(args: &[&str]) {
    for mode in MODES {
        let mut storage = Storage::default();
        let filter = Filter::default();
        let sizes = capacity(mode, false);
        let mut counting = Counting::with_capacity(&mut storage, sizes, &filter, false);
        let case = format!("{} {mode:?}", args.join(" "));
        if let Some(outcome) = finish_exactly(&mut counting, Workload::start(args), &case) {
            outcome.assert_exact(&case);
        }
    }
}

/// Lets a workload end, and compares every process. Returns no lines if the scenario is left out.
pub fn finish_exactly(
    counting: &mut Counting<'_>,
    workload: Workload,
    case: &str,
) -> Option<Outcome> {
    let lines = workload.finish();
    if is_left_out(case.split(' ').next().unwrap_or(case), &lines) {
        return None;
    }
    assert!(!lines.is_empty(), "the workload said nothing");
    let interval = counting.interval();
    let mut all = Outcome {
        unattributed: interval.unattributed,
        ..Outcome::default()
    };
    for line in &lines {
        let pid = line["pid"].as_u64().expect("a pid") as u32;
        let rows = of_pid(&interval, pid).iter().map(|u| u.counters).sum();
        all.rows += rows;
        all.truth += counters(line, rows);
    }
    for line in &lines {
        assert_exact(&interval, line);
    }
    Some(all)
}

/// Runs a scenario with very many tasks, and compares the sums. Exit records are read as they
/// arrive, as in a session.
pub fn exact_sum(args: &[&str]) {
    counting(false, |counting| {
        let named = Named::new("netatop-storm");
        let mut workload = named.start(args);
        let line = std::thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let line = workload.line();
                workload.finish();
                line
            });
            while !reader.is_finished() {
                counting.drain();
                std::thread::yield_now();
            }
            reader.join().expect("reader")
        });
        let interval = counting.interval();
        let rows = named.of(&interval);
        let outcome = Outcome {
            truth: counters(&line, rows),
            rows,
            unattributed: interval.unattributed,
        };
        outcome.assert_exact(&args.join(" "));
    });
}
