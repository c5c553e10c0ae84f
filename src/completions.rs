//! `netatop completions`: what makes a shell complete netatop's command line, made from the
//! parser's own definition.

use clap::{Command, ValueEnum};
use clap_complete::{generate, shells};

use crate::error::Error;
use crate::text::to_stdout;

/// A shell that completions can be written for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Shell {
    /// A script for use with or without the package bash-completion
    Bash,
    /// A function for a directory in fpath
    Zsh,
    /// A script for a completions directory
    Fish,
}

/// Writes the completions of `command`, the whole command line, to standard output. Returns the
/// exit status.
///
/// # Errors
///
/// If standard output cannot be written.
pub fn write(shell: Shell, command: &Command) -> Result<u8, Error> {
    to_stdout(&completions(shell, command))
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

/// Adds what clap's generators have no hint for: process ids, users, cgroups, units, and commands
/// after `--`.
fn with_hints(shell: Shell, text: &str) -> String {
    let mut hinted = String::with_capacity(text.len());
    let mut option = "";
    for line in text.lines() {
        let added = match shell {
            Shell::Bash => bash(option, line),
            Shell::Zsh => zsh(line),
            Shell::Fish => fish(line),
        };
        hinted.push_str(&added);
        hinted.push('\n');
        option = line.trim();
    }
    hinted
}

/// A command that lists the units of which there is a cgroup: the types of units that have processes,
/// as host::unit knows them.
fn seen_units() -> String {
    const MOUNT: &str = r#"$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)"#;
    let types = ["service", "scope", "mount", "socket", "swap"];
    let names = types.map(|kind| format!("-name '*.{kind}'")).join(" -o ");
    format!(r#"find "{MOUNT}" -type d \( {names} \) -printf '%f\n' 2>/dev/null | sort -u"#)
}

/// A line of bash's completions, behind the line of `option`.
fn bash(option: &str, line: &str) -> String {
    const ANY: &str = r#"COMPREPLY=($(compgen -f "${cur}"))"#;
    const DIRECTORIES: &str = "COMPREPLY=()";
    const PIDS: &str = r#"COMPREPLY=($(compgen -W "$(cd /proc && echo [0-9]*)" -- "${cur}"))"#;
    const USERS: &str = r#"COMPREPLY=($(compgen -u -- "${cur}"))"#;
    // As --cgroup takes them: relative to where cgroup v2 is mounted.
    const CGROUPS: &str = r#"COMPREPLY=($(cd "$(awk '$3 == "cgroup2" { print $2; exit }' /proc/self/mounts)" && compgen -d -- "${cur}"))"#;
    const UNITS: &str = r#"COMPREPLY=($(compgen -W "$(SEEN)" -- "${cur}"))"#;
    const AFTER_DASHES: &str = r#"    for ((i = 2; i < COMP_CWORD; i++)); do
        if [[ ${COMP_WORDS[i]} == -- ]]; then
            if ((i == COMP_CWORD - 1)); then
                COMPREPLY=($(compgen -c -- "${cur}"))
            else
                COMPREPLY=($(compgen -f -- "${cur}"))
            fi
            return 0
        fi
    done"#;
    match option {
        "--pid)" | "-p)" => line.replace(ANY, PIDS),
        "--user)" | "--uid)" => line.replace(ANY, USERS),
        "--unit)" => line.replace(ANY, &UNITS.replace("SEEN", &seen_units())),
        "--cgroup)" | "-c)" => line.replace(ANY, CGROUPS).replace(DIRECTORIES, CGROUPS),
        // For --cgroup, the only option with directories: more of them, of the working directory.
        _ if line.trim() == "compopt -o plusdirs" => line.replace("plusdirs", "nospace"),
        _ if line.trim() == r#"opts="""# => format!("{line}\n{AFTER_DASHES}"),
        _ => line.to_owned(),
    }
}

fn zsh(line: &str) -> String {
    // In single quotes, with brackets and colons that mean something to _arguments.
    let units = format!(":NAME:{{compadd -- ${{(f)\"$({})\"}}}}", seen_units());
    let units = units.replace('\'', r"'\''");
    // Its own _pids offers only processes of the same terminal.
    const PIDS: &str = ":PID:{compadd -- $(cd /proc && echo <->)}";
    const CGROUPS: &str = ":PATH:{_files -/ -W $(sed -n \"s/^[^ ]* \\([^ ]*\\) cgroup2 .*/\\1/p\" /proc/self/mounts)}";
    let line = line
        .replace(":PID:_default", PIDS)
        .replace(":PATH:_files -/", CGROUPS)
        .replace(":NAME:_default", &units);
    if line.contains("'*::command -- ") {
        line.replace(":_default'", ":_normal'")
    } else {
        line
    }
}

fn fish(line: &str) -> String {
    const CGROUPS: &str = r#"(set -l mount (string match -r -g '^\S+ (\S+) cgroup2 ' </proc/self/mounts)[1]; set -l found \$mount/(commandline -ct)*/; string replace -- \$mount/ '' \$found)"#;
    const COMMANDS: &str = "complete -c netatop -n \"__fish_netatop_using_subcommand record; and \
                            contains -- -- (commandline -opc)\" -f -a \"(__fish_complete_command)\"";
    if line.contains(" -l pid ") {
        format!(r#"{line} -f -a "(__fish_complete_pids)""#)
    } else if line.contains(" -l unit ") {
        const MOUNT: &str = r#"(string match -r -g '^\S+ (\S+) cgroup2 ' </proc/self/mounts)[1]"#;
        let found = r#"find $mount -type d -regex '.*\.\(service\|scope\|mount\|socket\|swap\)' 2>/dev/null | string replace -r '.*/' '' | sort -u"#;
        format!(r#"{line} -f -a "(set -l mount {MOUNT}; {found})""#).replace("$mount", r"\$mount")
    } else if line.contains(" -l cgroup ") {
        format!(
            "{}\n{COMMANDS}",
            line.replace("(__fish_complete_directories)", CGROUPS)
        )
    } else {
        line.to_owned()
    }
}
