//! Parses, runs, and turns errors into an exit status.

use std::process::ExitCode;

use clap::Parser;
use netatop::cli::{Cli, Command};
use netatop::error::Error;
use netatop::record;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let done = match cli.command {
        Command::Record(args) => record::run(&args.options()),
        Command::Held(args) => Ok(record::become_command(&args.command, args.user.as_deref())),
    };
    match done {
        Ok(status) => ExitCode::from(status),
        Err(Error::ClosedPipe) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netatop: {error}");
            ExitCode::from(error.status())
        }
    }
}

/// Help goes to standard output; anything else is one line, without the usage behind it.
fn usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Who asked for help and does not read it has no use for an error either.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let text = error.render().to_string();
    let line = text.lines().next().unwrap_or_default();
    eprintln!("netatop: {}", line.strip_prefix("error: ").unwrap_or(line));
    ExitCode::from(2)
}
