//! Sets up a recording: first the output, then the BPF programs, then the session.

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use super::Targets;
use super::command::PausedCommand;
use super::summary::{describe, describe_living};
use super::targets::{self, describe_changes};
use super::who::{describe_absent_units, task_filter};
use super::writer::writer;
use crate::error::Error;
use crate::host::{Cgroups, Commands, Resolver, booted, can_name_cgroups};
use crate::kernel::{
    COMMAND_BYTES, Capacity, EndFilter, Filter, HostFacts, RemoteRows, Storage, TcpRows, Tracer,
    UdpEnds, libbpf_messages, remedy_for_misses,
};
use crate::model::{GroupBy, Layout};
use crate::output::{Destination, Existing, Format, Kind, OutputFormat, Request, Sink};
use crate::rollup::{Rows, SortKey};
use crate::session::{Clock, Names, Progress, Schedule, Session, Summary, SystemClock};
use crate::signals::report_file_size_limit;
use crate::text::to_stderr;

/// The checked command line of `netatop record`.
#[derive(Clone, Debug)]
pub struct Options {
    /// When the recording reports and ends.
    pub schedule: Schedule,
    /// The processes, cgroups or command to record.
    pub targets: Targets,
    /// What each row stands for.
    pub layout: Layout,
    /// The order of the rows.
    pub sort: SortKey,
    /// The number of rows to show; all without it.
    pub top: Option<usize>,
    /// The format of the rows. If `None`, the extension of `output` decides.
    pub format: Option<OutputFormat>,
    /// The output file. If `None`, rows go to standard output.
    pub output: Option<PathBuf>,
    /// What to do if the output file exists.
    pub existing: Existing,
    /// Whether to leave out the progress line, the summary, and the names of units that do not run.
    pub quiet: bool,
    /// Whether to print libbpf's messages and the time that attaching took.
    pub verbose: bool,
}

/// Records, and returns the exit status: that of COMMAND if there is one, otherwise 0.
///
/// # Errors
///
/// If the options contradict each other, the output cannot be written, or the kernel does not allow
/// counting.
pub fn run(options: &Options) -> Result<u8, Error> {
    let targets = &options.targets;
    libbpf_messages(options.verbose);
    if options.sort == SortKey::Pid && options.layout.group_by != GroupBy::Process {
        return Err(Error::Usage(
            "--sort pid needs rows of processes: groups have no process id".to_owned(),
        ));
    }
    if options.layout.depth.is_some() && options.layout.group_by != GroupBy::Cgroup {
        return Err(Error::Usage("--depth needs --group-by cgroup".to_owned()));
    }
    let needs_cgroups = match options.layout.group_by {
        GroupBy::Cgroup => Some("--group-by cgroup"),
        GroupBy::Unit => Some("--group-by unit"),
        GroupBy::Container => Some("--group-by container"),
        GroupBy::Process | GroupBy::Comm | GroupBy::Command | GroupBy::User => None,
    };
    if let Some(option) = needs_cgroups {
        targets::need_cgroups(option)?;
    }
    let processes = targets::open_pids(&targets.pids)?;
    let cgroups = targets::open_cgroups(&targets.cgroups)?;
    let who = task_filter(targets)?;
    let destination = Destination::decide(Request {
        output: options.output.as_deref(),
        format: options.format,
        existing: options.existing,
        has_command: !targets.command.is_empty(),
    })?;
    report_file_size_limit()?;
    // Open the output before attaching, so that nothing is counted for an unwritable file. Open it
    // before the signal handlers are installed, so that signals end a wait for a FIFO's reader.
    let mut sink = destination.open()?;
    let writer = writer(
        options.layout,
        options.schedule.interval.is_some(),
        &destination,
        &sink,
    )?;
    let progress = progress(options, &destination, &sink);
    let prints_summary = !options.quiet && !destination.excludes_summary(&sink);
    // Fork the command first: a fork must come before the program starts threads.
    let mut command = match targets.command.as_slice() {
        [] => None,
        command => Some(PausedCommand::start(command, targets.user.as_deref())?),
    };
    let mut clock = SystemClock::new()?;
    let mut pids = targets.pids.clone();
    pids.sort_unstable();
    pids.dedup();
    // Gather facts before the recording, so that writing the results needs no lookups.
    let facts = HostFacts::gather();
    let mut filter = Filter {
        pids: command.as_ref().map_or(pids, |command| vec![command.pid()]),
        follow: targets.follow || command.is_some(),
        cgroups: cgroups.iter().map(|cgroup| cgroup.wanted).collect(),
        who,
        ends: EndFilter {
            ports: targets.ports.clone(),
            networks: targets.networks.clone(),
            no_loopback: targets.no_loopback,
            udp_ends: UdpEnds::NotNeeded,
        },
    };
    // It takes some milliseconds to find out what the host allows.
    if options.layout.remote.is_some() || filter.ends.is_used() {
        filter.ends.udp_ends = UdpEnds::of_host(&facts);
    }
    let udp_ends = filter.ends.udp_ends;
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
    let remedy = remedy_for_misses(&facts);
    let recorded = recording.run(&facts, writer, &mut sink, &mut clock);
    let changes = || describe_changes(&cgroups);
    let Some(mut command) = command else {
        let summary = recorded?;
        if prints_summary {
            let living = if targets.follow {
                describe_living(&summary, 0)
            } else {
                String::new()
            };
            to_stderr(format!(
                "{}{living}{}",
                describe(&summary, remedy.as_deref(), udp_ends),
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
    // If the command could not be executed, its error was printed and there is no traffic.
    if prints_summary && !command.is_failed() {
        let left = match status {
            Some(_) => String::new(),
            None => format!("\nthe command is left running: {}", command.pid()),
        };
        let living = describe_living(&summary, command.pid());
        to_stderr(format!(
            "{}{left}{living}{}",
            describe(&summary, remedy.as_deref(), udp_ends),
            changes()
        ));
    }
    Ok(status.unwrap_or(0))
}

/// Handles a failed recording. A running command is not killed: netatop waits for the command to
/// end, as it would without a failure.
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
             netatop: the recording has stopped; waiting for the command to end ({})",
            command.pid()
        ));
        error = Error::Reported;
    }
    let status = loop {
        if let Some(status) = command.status()? {
            break status;
        }
        // SIGTERM is passed on to the command; a second Ctrl-C ends netatop.
        clock.wait(None, None)?;
    };
    // If only the output's reader is gone, return the command's own status.
    if is_closed_pipe {
        Ok(status)
    } else {
        Err(error)
    }
}

/// The inputs of one recording, after all files and processes are open.
struct Recording<'a> {
    options: &'a Options,
    filter: &'a Filter,
    /// The recording ends when all of these processes have ended.
    processes: Vec<OwnedFd>,
    progress: Option<Progress>,
    command: Option<&'a mut PausedCommand>,
}

impl Recording<'_> {
    /// Attaches the BPF programs, releases the command if there is one, and records.
    fn run(
        self,
        facts: &HostFacts,
        mut writer: Box<dyn Format>,
        sink: &mut Sink,
        clock: &mut SystemClock,
    ) -> Result<Summary, Error> {
        let options = self.options;
        let started = Instant::now();
        let mut storage = Storage::default();
        let names_cgroups = writer.names_cgroups() && can_name_cgroups();
        let capacity = Capacity {
            cgroup_bytes: if names_cgroups { CGROUP_BYTES } else { 0 },
            command_bytes: if options.layout.needs_commands() {
                COMMAND_BYTES
            } else {
                0
            },
            remote: options.layout.remote.map(|mode| {
                RemoteRows::of_host(mode, options.layout.threads, self.filter.ends.udp_ends)
            }),
            tcp: options
                .layout
                .tcp
                .then(|| TcpRows::new(options.layout.threads)),
            ..Capacity::of_host()
        };
        let mut tracer = Tracer::attach_to(&mut storage, capacity, self.filter, facts)?;
        // Read the hierarchy after the programs are attached, so that no change is missed.
        let cgroups = if names_cgroups {
            Cgroups::new()
        } else {
            Cgroups::default()
        };
        // The same for command lines.
        let commands = options.layout.needs_commands();
        let commands = commands.then(|| Commands::of(&self.filter.pids));
        // If no process has ended by now, its id cannot have been reused before the filter was set.
        targets::ensure_running(&self.processes)?;
        clock.watch(self.processes);
        if options.verbose {
            to_stderr(format!(
                "netatop: attached in {} ms",
                started.elapsed().as_millis()
            ));
        }
        if !options.quiet && self.filter.who.units.is_some() {
            let all = (!names_cgroups).then(Cgroups::new);
            let absent = describe_absent_units(&options.targets, all.as_ref().unwrap_or(&cgroups));
            absent.into_iter().for_each(to_stderr);
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
        let names = match options.layout.names {
            true => {
                let mut resolver = Resolver::start()?;
                let names: Names<'_> = Box::new(move |remote, now| resolver.name(remote, now));
                Some(names)
            }
            false => None,
        };
        // Start the clock before the command is released: a short command may end at once.
        let session = Session::new(&mut tracer, clock, &mut *writer, sink, rows, cgroups)
            .with_progress(self.progress)
            .with_names(names)
            .with_commands(commands);
        if let Some(command) = self.command {
            command.release()?;
        }
        session.run(schedule)
    }
}

/// Size of the ring buffer for cgroup names. It holds thousands of changes between two reads.
const CGROUP_BYTES: u32 = 1 << 19;

/// How long the recording waits for the command to end after Ctrl-C.
const GRACE: Duration = Duration::from_secs(5);

/// The progress line, if the user would otherwise see nothing. A command has output of its own.
fn progress(options: &Options, destination: &Destination, sink: &Sink) -> Option<Progress> {
    let schedule = options.schedule;
    let is_too_short = schedule
        .duration
        .is_some_and(|d| d <= Progress::SHORTEST_RECORDING);
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
