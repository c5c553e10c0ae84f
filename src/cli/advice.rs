//! What to type instead of a command line that is not understood.
//!
//! The parser accepts each suggested command, so netatop never suggests what it would refuse.

use std::ffi::OsString;
use std::path::Path;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, ValueEnum};

use super::Cli;
use super::values::{duration, pids};
use crate::model::RemoteMode;

/// Options of similar programs, and the options of netatop with the same meaning.
const FOREIGN: [(&str, &[&str]); 21] = [
    ("--json", &["-f", "json"]),
    ("--jsonl", &["-f", "json"]),
    ("--csv", &["-f", "csv"]),
    ("--iterations", &["--count"]),
    ("--samples", &["--count"]),
    ("--delay", &["--interval"]),
    ("--period", &["--interval"]),
    ("--time", &["--duration"]),
    ("--timeout", &["--duration"]),
    ("--seconds", &["--duration"]),
    ("--pids", &["--pid"]),
    ("--process", &["--pid"]),
    ("--limit", &["--top"]),
    ("--group", &["--group-by"]),
    ("--by", &["--group-by"]),
    ("--out", &["--output"]),
    ("--output-file", &["--output"]),
    ("--children", &["--follow"]),
    ("--ports", &["--port"]),
    ("--network", &["--net"]),
    ("--subnet", &["--net"]),
];

/// What a user could type instead of `arguments` (without the program's name), which `error`
/// refuses. `None` if there is nothing to add to the error.
#[must_use]
pub fn advice(error: &clap::Error, arguments: &[OsString]) -> Option<String> {
    let words: Option<Vec<&str>> = arguments.iter().map(|a| a.to_str()).collect();
    words
        .and_then(|words| of_words(error, &words))
        .or_else(|| similar(error))
        .map(|advice| {
            // A command that is cut off is no advice.
            if advice.chars().count() > LONGEST {
                "see netatop record --help".to_owned()
            } else {
                advice
            }
        })
}

/// Number of characters that a message shows of one text.
const LONGEST: usize = 200;

/// The parser's own guess.
fn similar(error: &clap::Error) -> Option<String> {
    [ContextKind::SuggestedArg, ContextKind::SuggestedSubcommand]
        .into_iter()
        .find_map(|kind| error.get(kind))
        .and_then(|similar| match similar {
            // The parser lists the most similar one last.
            ContextValue::Strings(all) => all.last().cloned(),
            one => Some(one.to_string()),
        })
        .map(|similar| format!("did you mean {similar}?"))
}

fn of_words(error: &clap::Error, arguments: &[&str]) -> Option<String> {
    let (first, rest) = arguments.split_first()?;
    if *first == "record" {
        return of_record(error, rest);
    }
    if Cli::command().find_subcommand(first).is_some() {
        if is_question(rest) {
            return Some(type_this(&[*first, "--help"]));
        }
        let ours = renamed(arguments, usize::MAX);
        return (ours != arguments && parse(&ours).is_ok()).then(|| type_this(&ours));
    }
    match *first {
        "-?" | "-help" | "/?" => return Some(type_this(&["--help"])),
        "-v" | "-version" | "version" => return Some(type_this(&["--version"])),
        "top" | "live" | "watch" | "monitor" => {
            return Some(format!(
                "{} for a table every second",
                type_this(&["record", "-i", "1s"])
            ));
        }
        "export" => {
            return Some(
                "netatop record -i 10s -o FILE.csv writes rows for other programs".to_owned(),
            );
        }
        "run" | "exec" | "trace" if !rest.is_empty() => {
            return record(&[&["--"], rest].concat());
        }
        _ => {}
    }
    if first.starts_with('-') || duration(first).is_ok() || is_interface(first) {
        record(arguments).or_else(|| of_record(error, arguments))
    } else if is_program(first) {
        record(&[&["--"], arguments].concat())
    } else {
        None
    }
}

/// Advice for the arguments after `netatop record`.
fn of_record(error: &clap::Error, arguments: &[&str]) -> Option<String> {
    if is_question(arguments) {
        return Some(type_this(&["record", "--help"]));
    }
    // Rename as few options as possible: the others may belong to COMMAND.
    let renamed = (0..=arguments.len()).map(|most| renamed(arguments, most));
    for ours in renamed {
        if let Some(advice) = record(&ours).or_else(|| of_surplus(&ours)) {
            return Some(advice);
        }
    }
    match error.kind() {
        ErrorKind::MissingRequiredArgument => {
            // --count without --interval.
            record(&[&["-i", "1s"], arguments].concat())
        }
        ErrorKind::InvalidValue if refused(error).is_some_and(|a| a.starts_with("--pid")) => {
            let is_without = arguments
                .iter()
                .zip(arguments.iter().skip(1).map(Some).chain([None]))
                .any(|(option, value)| {
                    matches!(*option, "-p" | "--pid")
                        && value.is_none_or(|value| value.starts_with('-'))
                });
            is_without.then(|| "if it comes from pgrep, no such process was found".to_owned())
        }
        // nethogs captures UDP with -C only.
        ErrorKind::UnknownArgument
            if matches!(refused(error)?, "-C" | "-u" | "--tcp" | "--udp") =>
        {
            Some("TCP and UDP are both counted without an option".to_owned())
        }
        ErrorKind::UnknownArgument => other_case(refused(error)?).or_else(|| {
            let has_tip = error.get(ContextKind::SuggestedArg).is_some();
            (!has_tip).then(|| "see netatop record --help".to_owned())
        }),
        _ => None,
    }
}

/// Advice for arguments that belong to no option.
fn of_surplus(arguments: &[&str]) -> Option<String> {
    let (before, surplus) = surplus(arguments)?;
    if let Some(advice) = of_remote_mode(before, surplus) {
        return Some(advice);
    }
    let with = |options: &[&str], rest: &[&str]| record(&[before, options, rest].concat());
    match *surplus {
        [number, count, ref rest @ ..]
            if duration(number).is_ok() && count.parse::<u64>().is_ok() =>
        {
            with(&["-i", number, "--count", count], rest)
                .or_else(|| with(&["-p", number, count], rest))
        }
        [number, ref rest @ ..] if duration(number).is_ok() => {
            let interval = with(&["-i", number], rest);
            let Some(interval) = interval else {
                return with(&["--count", number], rest);
            };
            let is_pid = pids(number).is_ok() && Path::new("/proc").join(number).exists();
            match with(&["-p", number], rest).filter(|_| is_pid) {
                Some(process) => Some(format!(
                    "{interval} for reports every {number} s, or {} for process {number}",
                    process.trim_start_matches("type: ")
                )),
                None => Some(interval),
            }
        }
        [name] if is_interface(name) => Some(format!(
            "{name} is a network interface, and netatop counts by process on all interfaces; {}",
            record(before)?
        )),
        ref command => with(&["--"], command).map(|advice| format!("to run a command, {advice}")),
    }
}

/// Advice for a mode of `--remote` that stands apart from it.
fn of_remote_mode(before: &[&str], surplus: &[&str]) -> Option<String> {
    let (option, before) = before.split_last()?;
    let (mode, rest) = surplus.split_first()?;
    if !matches!(*option, "-r" | "--remote") || RemoteMode::from_str(mode, false).is_err() {
        return None;
    }
    let option = format!("{option}={mode}");
    record(&[before, &[option.as_str()], rest].concat())
}

/// Splits the arguments before the first one that belongs to no option.
fn surplus<'a, 'b>(arguments: &'a [&'b str]) -> Option<(&'a [&'b str], &'a [&'b str])> {
    let is_good = |arguments: &[&str]| parse(&[&["record"], arguments].concat()).is_ok();
    (0..arguments.len())
        .filter_map(|index| arguments.split_at_checked(index))
        .take_while(|(before, _)| before.last() != Some(&"--"))
        .find(|(before, from)| {
            from.first()
                .is_some_and(|surplus| !surplus.starts_with('-') && !surplus.is_empty())
                && is_good(before)
                && from
                    .get(..1)
                    .is_some_and(|surplus| !is_good(&[before, surplus].concat()))
        })
}

/// Replaces the first `most` options of other programs in `arguments` by those of netatop.
fn renamed<'a>(arguments: &[&'a str], mut most: usize) -> Vec<&'a str> {
    let mut ours = Vec::new();
    let mut is_command = false;
    for argument in arguments {
        is_command |= *argument == "--";
        let (option, value) = match argument.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (*argument, None),
        };
        match FOREIGN.iter().find(|(foreign, _)| *foreign == option) {
            Some((_, names)) if !is_command && most > 0 => {
                most -= 1;
                ours.extend_from_slice(names);
                ours.extend(value);
            }
            _ => ours.push(*argument),
        }
    }
    ours
}

/// An option that differs from `option` only in the case of its letter.
fn other_case(option: &str) -> Option<String> {
    let mut letters = option.strip_prefix('-')?.chars();
    let letter = letters.next().filter(|_| letters.next().is_none())?;
    let other = if letter.is_uppercase() {
        letter.to_ascii_lowercase()
    } else {
        letter.to_ascii_uppercase()
    };
    let command = Cli::command();
    let record = command.find_subcommand("record")?;
    let known = record
        .get_arguments()
        .find(|known| known.get_short() == Some(other))?;
    Some(format!(
        "-{other} is --{}; see netatop record --help",
        known.get_long()?
    ))
}

/// The argument that the parser refused.
fn refused(error: &clap::Error) -> Option<&str> {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(argument)) => Some(argument),
        _ => None,
    }
}

fn is_question(arguments: &[&str]) -> bool {
    matches!(arguments, ["-?" | "/?" | "-help" | "help", ..])
}

fn is_interface(name: &str) -> bool {
    !name.contains(['/', '.']) && Path::new("/sys/class/net").join(name).exists()
}

/// Whether a shell would find this program.
fn is_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    Path::new(name).is_file() && name.contains('/')
        || !name.contains('/') && std::env::split_paths(&path).any(|dir| dir.join(name).is_file())
}

fn parse(arguments: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["netatop"], arguments].concat())
}

/// The advice to type `netatop record ARGUMENTS`, if the parser accepts them.
fn record(arguments: &[&str]) -> Option<String> {
    let arguments = [&["record"], arguments].concat();
    parse(&arguments).ok()?;
    Some(type_this(&arguments))
}

fn type_this(arguments: &[&str]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
    format!("type: netatop {}", words.join(" "))
}

/// Quotes `word`, so that a shell reads it as one word.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=+@%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn advice_for(arguments: &[&str]) -> Option<String> {
        let words = [&["netatop"], arguments].concat();
        let error = Cli::try_parse_from(words).expect_err("not understood");
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        advice(&error, &arguments)
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        assert_eq!(quoted("a/b-c.d"), "a/b-c.d");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("it's $x"), r"'it'\''s $x'");
    }

    #[test]
    fn a_value_that_looks_like_a_command_is_not_taken_for_one() {
        assert_eq!(
            advice_for(&["record", "-o", "curl", "curl", "x"]).as_deref(),
            Some("to run a command, type: netatop record -o curl -- curl x")
        );
        assert_eq!(
            advice_for(&["record", "--json", "curl", "--csv"]).as_deref(),
            Some("to run a command, type: netatop record -f json -- curl --csv")
        );
    }

    proptest! {
        #[test]
        fn noise_gets_advice_without_panic(words in proptest::collection::vec(
            prop_oneof!["-.", "[a-z0-9 ']{0,4}", "--[a-z]*", "record", "[0-9]{1,3}"], 0..5
        )) {
            let line: Vec<String> = ["netatop".to_owned()].into_iter().chain(words.clone()).collect();
            if let Err(error) = Cli::try_parse_from(line) {
                let words: Vec<OsString> = words.iter().map(OsString::from).collect();
                let _ = advice(&error, &words);
            }
        }
    }
}
