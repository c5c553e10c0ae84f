//! Parses, runs, and turns errors into an exit status.

#![deny(clippy::indexing_slicing, clippy::string_slice)]

use std::process::ExitCode;

use clap::error::{ContextValue, ErrorKind};
use clap::{CommandFactory, Parser};
use netatop::cli::{Cli, Command, advice};
use netatop::error::Error;
use netatop::text::{is_stdout_closed, shown, to_stderr};
use netatop::{check, completions, privileged, record, report, serve};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(error),
    };
    // `check` answers for `record`, so it continues as the copy too.
    if !matches!(cli.command, Command::Completions(_) | Command::Report(_)) {
        privileged::continue_as_copy();
    }
    let done = match cli.command {
        Command::Record(args) => record::run(&args.options()),
        Command::Report(args) => report::run(&args.options()),
        Command::Serve(args) => serve::run(&args.options()),
        Command::Check(args) => check::run(args.format),
        Command::Completions(args) => completions::write(args.shell, &Cli::command()),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(Error::ClosedPipe) => ExitCode::SUCCESS,
        Err(error @ Error::Reported) => ExitCode::from(error.status()),
        Err(error) => {
            to_stderr(format!("netatop: {error}"));
            ExitCode::from(error.status())
        }
    }
}

/// Help is printed as it is; anything else becomes one line, without the usage behind it.
fn usage(mut error: clap::Error) -> ExitCode {
    let status = if error.use_stderr() { 2 } else { 0 };
    if status == 0 || error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        if status == 0 && is_stdout_closed() {
            to_stderr("netatop: standard output is closed");
            return ExitCode::FAILURE;
        }
        // If the reader has gone, nobody needs the help, nor an error.
        let _ = error.print();
        return ExitCode::from(status);
    }
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let advice = advice(&error, &arguments).map(|advice| shown(&advice));
    // Before it is put into lines: what was given may have line ends of its own.
    let given: Vec<_> = error
        .context()
        .filter_map(|(kind, value)| match value {
            ContextValue::String(text) => Some((kind, shown(text))),
            _ => None,
        })
        .collect();
    for (kind, text) in given {
        error.insert(kind, ContextValue::String(text));
    }
    let text = error.render().to_string();
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        // The parser's tips: "use '-- -x'" would run -x as a command.
        .filter(|line| !line.is_empty() && !line.starts_with("tip:"))
        .collect();
    let line = lines.join(" ");
    let what = line.strip_prefix("error: ").unwrap_or(&line);
    to_stderr(match advice {
        Some(advice) => format!("netatop: {what}; {advice}"),
        None => format!("netatop: {what}"),
    });
    ExitCode::from(status)
}
