//! `netatop completions`: what makes a shell complete netatop's command line, made from the
//! parser's own definition.

use std::io::{self, Write};

use clap::{Command, ValueEnum};
use clap_complete::{generate, shells};

use crate::error::Error;

/// A shell that completions can be written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// With the package bash-completion or without
    Bash,
    /// A function for fpath
    Zsh,
    /// For a completions directory
    Fish,
}

/// Writes the completions of `command`, the whole command line, to standard output. Returns the
/// exit status.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn write(shell: Shell, command: &Command) -> Result<u8, Error> {
    io::stdout()
        .lock()
        .write_all(completions(shell, command).as_bytes())
        .map_err(|error| Error::write("standard output", &error))?;
    Ok(0)
}

/// The completions of `command` for `shell`.
#[must_use]
pub fn completions(shell: Shell, command: &Command) -> String {
    let mut command = command.clone();
    let mut text = Vec::new();
    // To memory first: the generators panic if they cannot write.
    match shell {
        Shell::Bash => generate(shells::Bash, &mut command, "netatop", &mut text),
        Shell::Zsh => generate(shells::Zsh, &mut command, "netatop", &mut text),
        Shell::Fish => generate(shells::Fish, &mut command, "netatop", &mut text),
    }
    with_hints(shell, &String::from_utf8_lossy(&text))
}

/// Adds what clap has no hint for, or bash's generator no use for: process ids and users.
fn with_hints(shell: Shell, text: &str) -> String {
    const ANY: &str = r#"COMPREPLY=($(compgen -f "${cur}"))"#;
    const PIDS: &str = r#"COMPREPLY=($(compgen -W "$(cd /proc && echo [0-9]*)" -- "${cur}"))"#;
    const USERS: &str = r#"COMPREPLY=($(compgen -u -- "${cur}"))"#;
    // Its own _pids offers only what runs on the same terminal.
    const ZSH_PIDS: &str = ":PID:{compadd -- $(cd /proc && echo <->)}";
    let mut hinted = String::with_capacity(text.len());
    let mut option = "";
    for line in text.lines() {
        let word = line.trim();
        let line = match (shell, option) {
            (Shell::Bash, "--pid)" | "-p)") => line.replace(ANY, PIDS),
            (Shell::Bash, "--user)") => line.replace(ANY, USERS),
            (Shell::Zsh, _) => line.replace(":PID:_default", ZSH_PIDS),
            (Shell::Fish, _) if line.contains(" -l pid ") => {
                format!(r#"{line} -f -a "(__fish_complete_pids)""#)
            }
            _ => line.to_owned(),
        };
        hinted.push_str(&line);
        hinted.push('\n');
        option = word;
    }
    hinted
}
