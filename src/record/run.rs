//! Puts a recording together: output first, then the kernel's side, then the session.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Targets;
use super::command::PausedCommand;
use super::summary::{describe, describe_living};
use super::targets::{self, describe_changes};
use super::writer::writer;
use crate::error::Error;
use crate::host::{Cgroups, booted, can_name_cgroups};
use crate::kernel::{
    Capacity, Filter, HostFacts, Storage, Tracer, libbpf_messages, remedy_for_misses,
};
use crate::model::{GroupBy, Layout};
use crate::output::{Destination, Existing, Format, Kind, OutputFormat, Request, Sink};
use crate::rollup::{Rows, SortKey};
use crate::session::{Clock, Progress, Schedule, Session, Summary, SystemClock};
use crate::signals::report_file_size_limit;
use crate::text::to_stderr;

/// Everything that `netatop record` was asked for, checked.
#[derive(Clone, Debug)]
pub struct Options {
    /// When it reports and ends.
    pub schedule: Schedule,
    /// What it is about.
    pub targets: Targets,
    /// What rows stand for.
    pub layout: Layout,
    /// Their order.
    pub sort: SortKey,
    /// How many of them.
    pub top: Option<usize>,
    /// How they are written; by the ending of `output` without one.
    pub format: Option<OutputFormat>,
    /// Where to; standard output without one.
    pub output: Option<PathBuf>,
    /// What to do if that exists.
    pub existing: Existing,
    /// No progress, no summary.
    pub quiet: bool,
    /// Also libbpf's messages, and how long attaching took.
    pub verbose: bool,
}

/// Records, and returns the exit status: COMMAND's if there is one, else 0.
///
/// # Errors
///
/// If the output cannot be written, this host cannot count, or something failed on the way.
pub fn run(options: &Options) -> Result<u8, Error> {
    let targets = &options.targets;
    libbpf_messages(options.verbose);
    if options.sort == SortKey::Pid && options.layout.group_by != GroupBy::Process {
        return Err(Error::Usage(
            "--sort pid needs rows of processes: groups have no process id".to_owned(),
        ));
    }
    if options.layout.group_by == GroupBy::Cgroup {
        targets::need_cgroups("--group-by cgroup")?;
    }
    let processes = targets::open_pids(&targets.pids)?;
    let cgroups = targets::open_cgroups(&targets.cgroups)?;
    let destination = Destination::decide(Request {
        output: options.output.as_deref(),
        format: options.format,
        existing: options.existing,
        has_command: !targets.command.is_empty(),
    })?;
    report_file_size_limit()?;
    // Before anything is attached: a file that cannot be written is no reason to count. And before
    // signals are taken over: they end the program while it waits for the reader of a FIFO.
    let mut sink = destination.open()?;
    let writer = writer(
        options.layout,
        options.schedule.interval.is_some(),
        &destination,
        &sink,
    )?;
    let progress = progress(options, &destination, &sink);
    let tells = !options.quiet && !destination.excludes_summary(&sink);
    // The command's process first: it is forked, and so must be before there are threads.
    let mut command = match targets.command.as_slice() {
        [] => None,
        command => Some(PausedCommand::start(command, targets.user.as_deref())?),
    };
    let mut clock = SystemClock::new()?;
    let mut pids = targets.pids.clone();
    pids.sort_unstable();
    pids.dedup();
    let filter = Filter {
        pids: command.as_ref().map_or(pids, |command| vec![command.pid()]),
        follow: targets.follow || command.is_some(),
        cgroups: cgroups.iter().map(|cgroup| cgroup.wanted).collect(),
    };
    let recording = Recording {
        options,
        filter: &filter,
        processes: match &command {
            Some(command) => targets::open_pids(&[command.pid()])?,
            None => processes,
        },
        progress,
        command: command.as_mut(),
    };
    // Before the recording: nothing about the host is looked up while results are written.
    let facts = HostFacts::gather();
    let remedy = remedy_for_misses(&facts);
    let recorded = recording.run(&facts, writer, &mut sink, &mut clock);
    let changes = || describe_changes(&cgroups);
    let Some(mut command) = command else {
        let summary = recorded?;
        if tells {
            let living = if targets.follow {
                describe_living(&summary, 0)
            } else {
                String::new()
            };
            to_stderr(format!(
                "{}{living}{}",
                describe(&summary, remedy.as_deref()),
                changes()
            ));
        }
        return Ok(0);
    };
    let summary = match recorded {
        Ok(summary) => summary,
        Err(error) => return after_failure(error, &mut command, &mut clock),
    };
    let status = command.status()?;
    // A command that could not be executed has said why, and did nothing.
    if tells && !command.is_failed() {
        let left = match status {
            Some(_) => String::new(),
            None => format!("\nthe command is left running: {}", command.pid()),
        };
        let living = describe_living(&summary, command.pid());
        to_stderr(format!(
            "{}{left}{living}{}",
            describe(&summary, remedy.as_deref()),
            changes()
        ));
    }
    Ok(status.unwrap_or(0))
}

/// After a recording that failed. A command that runs is not the recording's to end: netatop waits
/// for it, as if it had not been recorded.
fn after_failure(
    error: Error,
    command: &mut PausedCommand,
    clock: &mut SystemClock,
) -> Result<u8, Error> {
    if !command.is_released() {
        command.cancel();
        return Err(error);
    }
    let is_closed_pipe = matches!(error, Error::ClosedPipe);
    let mut error = error;
    if command.status()?.is_none() && !is_closed_pipe {
        to_stderr(format!(
            "netatop: {error}\n\
             netatop: not recording any more; waiting for the command to end ({})",
            command.pid()
        ));
        error = Error::Reported;
    }
    let status = loop {
        if let Some(status) = command.status()? {
            break status;
        }
        // SIGTERM is passed on; a second Ctrl-C ends netatop.
        clock.wait(None, None)?;
    };
    // Without a reader of the output the command's own status counts.
    if is_closed_pipe {
        Ok(status)
    } else {
        Err(error)
    }
}

/// What one recording takes, once everything is open.
struct Recording<'a> {
    options: &'a Options,
    filter: &'a Filter,
    /// The processes whose end is its end.
    processes: Vec<OwnedFd>,
    progress: Option<Progress>,
    command: Option<&'a mut PausedCommand>,
}

impl Recording<'_> {
    /// Attaches, lets the command go if there is one, and records.
    fn run(
        self,
        facts: &HostFacts,
        mut writer: Box<dyn Format>,
        sink: &mut Sink,
        clock: &mut SystemClock,
    ) -> Result<Summary, Error> {
        let options = self.options;
        let begun = Instant::now();
        let mut storage = Storage::default();
        let names_cgroups = writer.names_cgroups() && can_name_cgroups();
        let capacity = Capacity {
            cgroup_bytes: if names_cgroups { CGROUP_BYTES } else { 0 },
            ..Capacity::of_host()
        };
        let mut tracer = Tracer::attach_to(&mut storage, capacity, self.filter, facts)?;
        // After the programs are attached, so that no change is missed.
        let cgroups = if names_cgroups {
            Cgroups::new()
        } else {
            Cgroups::default()
        };
        // Only now is it sure that no other process had got one of the ids.
        targets::still_there(&self.processes)?;
        clock.watch(self.processes);
        if options.verbose {
            to_stderr(format!(
                "netatop: attached in {} ms",
                begun.elapsed().as_millis()
            ));
        }
        let rows = Rows {
            layout: options.layout,
            sort: options.sort,
            top: options.top,
            booted: booted(),
        };
        let mut schedule = options.schedule;
        if let Some(command) = &self.command {
            schedule.grace = Some(GRACE);
            clock.pass_on_to(command.pid());
        }
        // Its time begins before the command's, which may be over in a moment.
        let session = Session::new(&mut tracer, clock, &mut *writer, sink, rows, cgroups)
            .with_progress(self.progress);
        if let Some(command) = self.command {
            command.release()?;
        }
        session.run(schedule)
    }
}

/// The ring buffer for names of cgroups: thousands of them between two looks at it.
const CGROUP_BYTES: u32 = 1 << 19;

/// How long a command may take to end after Ctrl-C until the recording ends without it.
const GRACE: Duration = Duration::from_secs(5);

/// Only for a person who would otherwise see nothing: a command has its own output.
fn progress(options: &Options, destination: &Destination, sink: &Sink) -> Option<Progress> {
    let schedule = options.schedule;
    let is_too_short = schedule.duration.is_some_and(|d| d <= Progress::WORTH_IT);
    let standard_output = Kind::of(io::stdout()).ok();
    let wanted = !options.quiet
        && options.targets.command.is_empty()
        && !is_too_short
        && !destination.excludes_progress(
            sink.kind(),
            standard_output,
            schedule.interval.is_some(),
        )
        && Progress::is_possible();
    wanted.then(|| Progress::new(schedule.duration))
}
