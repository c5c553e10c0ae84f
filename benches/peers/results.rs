//! Medians, ratios, and tables of them.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Value, json};

use super::load::{LOADS, Numbers};
use super::tracer::Tracer;

/// One run of one load with one tracer.
#[derive(Clone, Debug)]
pub struct Outcome {
    load: &'static str,
    /// Nanoseconds per unit of the load.
    cpu: f64,
    wall: f64,
    truth: Numbers,
    seen: Numbers,
    pids: Vec<u32>,
    /// CPU time of the tracer itself during the load in nanoseconds, and its memory at the end in
    /// bytes.
    pub own_cpu: u64,
    pub memory: u64,
    /// Nanoseconds per run of its programs, while the kernel's statistics are enabled.
    pub run: Option<f64>,
    /// CPU time of its start, in nanoseconds.
    pub start_cpu: u64,
}

impl Outcome {
    pub fn new(load: &'static str, units: u64, output: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(output).expect("the load's figures");
        let per_unit = |name: &str| value[name].as_u64().expect("a number") as f64 / units as f64;
        Self {
            load,
            cpu: per_unit("cpu"),
            wall: per_unit("wall"),
            truth: serde_json::from_value(value["numbers"].clone()).expect("four numbers"),
            seen: Numbers::default(),
            pids: serde_json::from_value(value["pids"].clone()).expect("pids"),
            own_cpu: 0,
            memory: 0,
            run: None,
            start_cpu: 0,
        }
    }

    /// Adds up the traffic that a tracer has seen of this load's processes.
    pub fn take_seen(&mut self, seen: &HashMap<u32, Numbers>) {
        for one in self.pids.iter().filter_map(|pid| seen.get(pid)) {
            for (to, from) in self.seen.iter_mut().zip(one) {
                *to += from;
            }
        }
    }
}

/// All measurements.
pub struct Results {
    tracers: Vec<Tracer>,
    missing: Vec<String>,
    /// Outcomes by tracer and round. A round can have several loads.
    outcomes: Vec<Vec<(usize, Outcome)>>,
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

fn millions(bytes: f64) -> String {
    format!("{:.1} MB", bytes / 1e6)
}

impl Results {
    pub fn new(tracers: &[Tracer], missing: Vec<String>) -> Self {
        Self {
            tracers: tracers.to_vec(),
            missing,
            outcomes: vec![Vec::new(); tracers.len()],
        }
    }

    pub fn add(&mut self, tracer: usize, round: usize, outcome: Outcome) {
        self.outcomes[tracer].push((round, outcome));
    }

    fn place(&self, wanted: &Tracer) -> Option<usize> {
        self.tracers.iter().position(|tracer| tracer == wanted)
    }

    fn of(&self, tracer: usize, load: &str) -> impl Iterator<Item = &(usize, Outcome)> {
        self.outcomes[tracer]
            .iter()
            .filter(move |(_, outcome)| outcome.load == load)
    }

    fn median(&self, tracer: usize, load: &str, what: impl Fn(&Outcome) -> f64) -> f64 {
        median(self.of(tracer, load).map(|(_, o)| what(o)).collect())
    }

    /// The median over the rounds of the ratio to the same round without a tracer.
    fn ratio(&self, tracer: usize, load: &str, what: impl Fn(&Outcome) -> f64) -> f64 {
        let without: HashMap<usize, f64> = self
            .of(0, load)
            .map(|(round, o)| (*round, what(o)))
            .collect();
        let ratios = self.of(tracer, load);
        median(ratios.map(|(round, o)| what(o) / without[round]).collect())
    }

    /// Half the distance between the quartiles, relative to the median, without a tracer.
    fn noise(&self, load: &str) -> f64 {
        let mut values: Vec<f64> = self.of(0, load).map(|(_, o)| o.cpu).collect();
        values.sort_by(f64::total_cmp);
        let at = |part: usize| values[(values.len() - 1) * part / 4];
        (at(3) - at(1)) / 2.0 / median(values.clone())
    }

    /// The share of the true traffic that was seen, in percent. Messages are compared if the tracer
    /// counts them.
    fn seen(&self, tracer: usize, load: &str) -> String {
        let is_there = self.of(tracer, load).all(|(_, outcome)| outcome.memory > 0);
        if self.tracers[tracer] != Tracer::Nothing && !is_there {
            return "exited by itself".to_owned();
        }
        let (mut truth, mut seen) = ([0_u64; 2], [0_u64; 2]);
        let mut exact = true;
        for (_, outcome) in self.of(tracer, load) {
            exact &= outcome.seen == outcome.truth;
            for (place, (is, was)) in outcome.truth.iter().zip(outcome.seen).enumerate() {
                truth[place % 2] += is;
                seen[place % 2] += was;
            }
        }
        let percent = |place: usize| {
            let share = 100.0 * seen[place] as f64 / truth[place] as f64;
            if seen[place] == truth[place] {
                "100".to_owned()
            } else {
                format!("{share:.3}")
            }
        };
        match &self.tracers[tracer] {
            // Packet capture counts packets with their headers instead of messages.
            Tracer::Nothing | Tracer::Program("floor") | Tracer::Bandwhich | Tracer::Nethogs => {
                "–".to_owned()
            }
            _ if exact => "exact".to_owned(),
            _ => format!("{} % of messages, {} % of bytes", percent(0), percent(1)),
        }
    }

    pub fn print_comparison(&self) {
        for (load, title, _) in LOADS {
            if self.of(0, load).next().is_none() {
                continue;
            }
            println!("\n### {title}\n");
            println!(
                "| | CPU time, ratio | wall time, ratio | counts | its own CPU | its memory |"
            );
            println!("|---|---|---|---|---|---|");
            for (place, tracer) in self.tracers.iter().enumerate() {
                println!(
                    "| {} | {:.3} | {:.3} | {} | {:.2} ms | {} |",
                    tracer.name(),
                    self.ratio(place, load, |o| o.cpu),
                    self.ratio(place, load, |o| o.wall),
                    self.seen(place, load),
                    self.median(place, load, |o| o.own_cpu as f64) / 1e6,
                    millions(self.median(place, load, |o| o.memory as f64)),
                );
            }
            println!(
                "\nWithout a tracer: {:.1} ns of CPU a unit, give or take {:.1} %.",
                self.median(0, load, |o| o.cpu),
                100.0 * self.noise(load)
            );
        }
        println!();
        for missing in &self.missing {
            println!("Missing: {missing}.");
        }
    }

    /// Prints the cost of one event: in total, and above the floor.
    pub fn print_events(&self, load: &'static str) {
        let (Some(floor), Some(classic)) = (
            self.place(&Tracer::Program("floor")),
            self.place(&Tracer::Program("classic")),
        ) else {
            println!("No event costs: the floor or the classic way could not be loaded.");
            return;
        };
        // Differences are taken within a round: a slowdown of the machine for seconds affects both
        // sides.
        let more = |tracer: usize, than: usize| {
            let base: HashMap<usize, f64> = self.of(than, load).map(|(r, o)| (*r, o.cpu)).collect();
            median(
                self.of(tracer, load)
                    .map(|(r, o)| o.cpu - base[r])
                    .collect(),
            )
        };
        let what = LOADS.iter().find(|(name, ..)| *name == load);
        println!(
            "\n### One event, CPU time: {}\n",
            what.map_or(load, |(_, what, _)| *what)
        );
        println!(
            "| | ns | more than nothing | of the classic way | above the floor | of the classic way |"
        );
        println!("|---|---|---|---|---|---|");
        for (at, tracer) in self.tracers.iter().enumerate() {
            println!(
                "| {} | {:.1} | {:.1} | {:.2} | {:.1} | {:.2} |",
                tracer.name(),
                self.median(at, load, |o| o.cpu),
                more(at, 0),
                more(at, 0) / more(classic, 0),
                more(at, floor),
                more(at, floor) / more(classic, floor),
            );
        }
    }

    /// Prints the time of one run of each tracer's programs, from the kernel's statistics.
    pub fn print_runs(&self, load: &'static str) {
        let run = |tracer: usize| self.median(tracer, load, |o| o.run.expect("it has run"));
        let Some(floor) = self.place(&Tracer::Program("floor")).map(run) else {
            println!("No runs: the floor could not be loaded.");
            return;
        };
        println!("\n### The same by the kernel's statistics: one run of the program\n");
        println!("| | ns, with the keeping of statistics | above the empty program |");
        println!("|---|---|---|");
        for (at, tracer) in self.tracers.iter().enumerate() {
            let run = run(at);
            println!("| {} | {run:.1} | {:.1} |", tracer.name(), run - floor);
        }
    }

    /// Writes all figures as JSON under the target directory.
    pub fn write(&self, name: &str) {
        let outcomes: Vec<Value> = self
            .tracers
            .iter()
            .zip(&self.outcomes)
            .flat_map(|(tracer, outcomes)| {
                outcomes.iter().map(|(round, o)| {
                    json!({
                        "tracer": tracer.name(), "round": round, "load": o.load,
                        "cpu_ns": o.cpu, "wall_ns": o.wall, "truth": o.truth, "seen": o.seen,
                        "own_cpu_ns": o.own_cpu, "start_cpu_ns": o.start_cpu, "memory": o.memory,
                        "run_ns": o.run,
                    })
                })
            })
            .collect();
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("bench-{name}.json"));
        let value = json!({ "missing": self.missing, "outcomes": outcomes });
        std::fs::write(&path, value.to_string()).expect("write the figures");
        eprintln!("every figure: {}", path.display());
    }
}
