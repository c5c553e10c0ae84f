//! What to type instead, for command lines that come from the habits of other tools.

/// What a user who typed `words` (without the program's name) and got the parser's error about
/// `word` most likely wants, as half a sentence that names a command line. `similar` is the parser's
/// own guess. `None` if there is nothing better to say than the error.
#[must_use]
pub fn hint(words: &[String], word: &str, similar: Option<String>) -> Option<String> {
    let first = words.first().map(String::as_str);
    let word = word.split('=').next().unwrap_or(word);
    match (first, word) {
        (Some("record"), word) => record(words, word, similar),
        (Some("top"), _) => Some(
            "there is no live view yet; 'netatop record -i 1s -n 20' writes a table every second"
                .to_owned(),
        ),
        (Some("report" | "export"), _) => {
            Some("'netatop record -i 10s -o FILE.csv' writes rows for other tools".to_owned())
        }
        (Some("serve" | "check" | "completions" | "help"), _) => similar,
        (Some(first), _) if !first.starts_with('-') && similar.is_some() => similar,
        (Some("-v" | "-version"), _) => Some("'netatop --version' prints the version".to_owned()),
        (Some("-?"), _) => Some("'netatop --help' lists the subcommands".to_owned()),
        (Some(option), _) if option.starts_with('-') => Some(format!(
            "options follow a subcommand: netatop record {}",
            shown(words)
        )),
        (Some(pid), _) if is_number(pid) => {
            Some(format!("to measure a process: netatop record -p {pid}"))
        }
        (Some(name), _) if is_interface(name) => {
            Some("traffic is counted by process on all interfaces: netatop record".to_owned())
        }
        (Some(_), _) => Some(format!(
            "to measure a command: netatop record -- {}",
            shown(words)
        )),
        (None, _) => None,
    }
}

/// The same for `record`, whose words `words` are.
fn record(words: &[String], word: &str, similar: Option<String>) -> Option<String> {
    match word {
        "--json" | "--jsonl" | "-j" => return Some("for JSON Lines: -f json".to_owned()),
        "--csv" => return Some("for CSV: -f csv".to_owned()),
        "--iterations" | "--samples" | "--limit" => {
            return Some("to end after N intervals: -i TIME --count N".to_owned());
        }
        "--delay" | "--refresh" => return Some("to report every TIME: -i TIME".to_owned()),
        "-C" | "-u" | "--udp" | "--tcp" => {
            return Some("TCP and UDP are both counted without an option".to_owned());
        }
        "-h" | "-?" | "help" => {
            return Some("'netatop record --help' lists the options".to_owned());
        }
        _ if word.starts_with('-') => {
            let list = || "'netatop record --help' lists the options".to_owned();
            return Some(similar.unwrap_or_else(list));
        }
        _ => {}
    }
    let from = words.iter().position(|typed| typed == word)?;
    let (before, rest) = words.split_at(from);
    let before = shown(before.get(1..).unwrap_or_default());
    let before = if before.is_empty() {
        before
    } else {
        format!(" {before}")
    };
    Some(match rest {
        [seconds] if is_number(seconds) => {
            format!("to report every {seconds} s: netatop record{before} -i {seconds}")
        }
        [seconds, count] if is_number(seconds) && is_number(count) => format!(
            "to report {count} times, every {seconds} s: netatop record{before} -i {seconds} --count {count}"
        ),
        [interface] if is_interface(interface) => {
            "traffic is counted by process on all interfaces: leave it out".to_owned()
        }
        command => format!(
            "to measure a command: netatop record{before} -- {}",
            shown(command)
        ),
    })
}

fn is_number(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit())
}

/// Names that systemd.net-naming-scheme(7) and the kernel give to network interfaces.
fn is_interface(word: &str) -> bool {
    let (name, number) = word.split_at(
        word.find(|c: char| c.is_ascii_digit())
            .unwrap_or(word.len()),
    );
    word == "lo"
        || (!number.is_empty()
            && matches!(
                name,
                "eth"
                    | "en"
                    | "eno"
                    | "ens"
                    | "enp"
                    | "wlan"
                    | "wl"
                    | "wlp"
                    | "br"
                    | "veth"
                    | "docker"
                    | "tun"
                    | "tap"
                    | "wg"
            ))
}

/// Words as they can be typed again.
fn shown(words: &[String]) -> String {
    let quoted = words.iter().map(|word| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
        if !word.is_empty() && word.chars().all(is_plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    });
    quoted.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hinted(line: &str, word: &str) -> String {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        hint(&words, word, None).unwrap_or_default()
    }

    #[test]
    fn habits_of_other_tools_are_answered_with_what_to_type() {
        for (line, word, what) in [
            ("record 1 5", "1", "netatop record -i 1 --count 5"),
            ("record -t 2", "2", "netatop record -t -i 2"),
            ("record curl x", "curl", "netatop record -- curl x"),
            (
                "record -d 5 curl x",
                "curl",
                "netatop record -d 5 -- curl x",
            ),
            ("-d 1", "-d", "netatop record -d 1"),
            ("-p 1", "-p", "netatop record -p 1"),
            ("4242", "4242", "netatop record -p 4242"),
            ("eth0", "eth0", "all interfaces"),
            ("record eth0", "eth0", "all interfaces"),
            ("curl x", "curl", "netatop record -- curl x"),
            ("record --json", "--json", "-f json"),
            ("record --csv=x", "--csv=x", "-f csv"),
            ("record -C", "-C", "TCP and UDP"),
            ("record --iterations 5", "--iterations", "--count N"),
            ("record help", "help", "netatop record --help"),
            ("top", "top", "netatop record -i 1s"),
            ("-v", "-v", "netatop --version"),
        ] {
            let hint = hinted(line, word);
            assert!(hint.contains(what), "{line}: {hint}");
        }
    }

    proptest! {
        #[test]
        fn any_words_are_one_line_or_nothing(words in prop::collection::vec("\\PC{0,12}", 0..6), word in "\\PC{0,12}") {
            for first in ["record", "top", ""] {
                let words = [&[first.to_owned()], words.as_slice()].concat();
                let hint = hint(&words, &word, None).unwrap_or_default();
                prop_assert!(!hint.contains('\n'));
            }
        }
    }
}
