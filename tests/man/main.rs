//! Checks that the manual and the README match the program. The pages in `man/` are generated from
//! the templates in this directory, the parser and the column definitions. This command updates
//! them:
//!
//! ```text
//! UPDATE_MAN=1 cargo test --test man
//! ```
//!
//! In a template, lines with one word between at signs are replaced: `@NAME@`, `@SYNOPSIS@`,
//! `@SUBCOMMANDS@` and `@OPTIONS@` from the parser, and `@COLUMNS@`, `@GROUPED@`, `@REMOTE@` and `@TCP@` from the columns.
//! `@VERSION@` is replaced anywhere in a line.

#[path = "../support/leave_out.rs"]
mod support;

mod advice;
mod pages;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Parser;
use netatop::cli::Cli;
use pages::{PAGES, Page};

type Tested = Result<(), Box<dyn Error>>;

const HOW: &str = "UPDATE_MAN=1 cargo test --test man";

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// Compares a committed file with the expected text, or updates the file with `UPDATE_MAN`.
fn compare(path: &str, wanted: &str) -> Tested {
    if std::env::var_os("UPDATE_MAN").is_some_and(|value| value == "1") {
        fs::write(root(path), wanted)?;
        return Ok(());
    }
    let found = fs::read_to_string(root(path)).unwrap_or_default();
    let other = found
        .lines()
        .zip(wanted.lines())
        .position(|(found, wanted)| found != wanted)
        .unwrap_or_else(|| found.lines().count().min(wanted.lines().count()));
    assert!(
        found == wanted,
        "{path} is not what the program says, from line {} on\n is: {}\nnow: {}\nmake it so with: {HOW}",
        other + 1,
        found.lines().nth(other).unwrap_or("(end of file)"),
        wanted.lines().nth(other).unwrap_or("(end of file)"),
    );
    Ok(())
}

#[test]
fn the_pages_are_what_the_program_says() -> Tested {
    for page in &PAGES {
        compare(&format!("man/{}", page.file()), &page.render()?)?;
    }
    let mut there: Vec<_> = fs::read_dir(root("man"))?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<_, std::io::Error>>()?;
    let mut made: Vec<_> = PAGES.iter().map(Page::file).collect();
    there.sort();
    made.sort();
    assert_eq!(
        there, made,
        "man/ holds the generated pages and nothing else"
    );
    Ok(())
}

#[test]
fn the_readme_explains_the_columns_there_are() -> Tested {
    let (begin, end) = ("<!-- columns -->\n", "<!-- /columns -->");
    let readme = fs::read_to_string(root("README.md"))?;
    let (before, rest) = readme
        .split_once(begin)
        .ok_or("README.md has no line <!-- columns -->")?;
    let (_, after) = rest
        .split_once(end)
        .ok_or("README.md has no line <!-- /columns -->")?;
    let table = pages::markdown_columns();
    compare("README.md", &format!("{before}{begin}{table}{end}{after}"))
}

/// The parser accepts all examples.
#[test]
fn every_example_is_understood() -> Tested {
    let mut texts = vec![("README.md", fs::read_to_string(root("README.md"))?)];
    for page in &PAGES {
        texts.push((page.name, page.template.replace("\\-", "-")));
    }
    let mut tried = 0;
    for (name, text) in &texts {
        // In a table, examples are between backticks.
        for line in text.lines().flat_map(|line| line.split('`')) {
            // The shell replaces this by process ids.
            let line = line.replace("\"$(pgrep -x nginx)\"", "1");
            let words: Vec<_> = line
                .split_whitespace()
                .skip_while(|word| matches!(*word, "$" | "sudo"))
                .take_while(|word| !matches!(*word, "|" | ">" | "&" | "#"))
                .collect();
            if !matches!(
                words[..],
                ["netatop" | "./scripts/run", "record" | "report", _, ..]
                    | ["netatop" | "./scripts/run", "check" | "completions", ..]
            ) {
                continue;
            }
            if let Err(error) = Cli::try_parse_from(&words) {
                // The parser returns help as an error, but an example may ask for help.
                let help = !error.use_stderr();
                assert!(help, "{name}: this does not work: {line}\n{error}");
            }
            tried += 1;
        }
    }
    assert!(tried > 20, "only {tried} examples were found");
    Ok(())
}

/// Every id in the output of `netatop check` is explained in the manual and listed in
/// docs/compatibility.md.
#[test]
fn every_finding_is_explained_and_promised() -> Tested {
    let output = Command::new(env!("CARGO_BIN_EXE_netatop"))
        .args(["check", "--format", "json"])
        .output()?;
    let manual = fs::read_to_string(root("man/netatop-check.1"))?;
    let promise = fs::read_to_string(root("docs/compatibility.md"))?;
    let mut ids = 0;
    for line in String::from_utf8(output.stdout)?.lines() {
        let finding: serde_json::Value = serde_json::from_str(line)?;
        let id = finding["id"].as_str().ok_or("a finding without id")?;
        let entry = |line: &str| line.starts_with(".B") && line.contains(id);
        assert!(manual.lines().any(entry), "the manual lacks {id}");
        assert!(promise.contains(&format!("`{id}`")), "promise lacks {id}");
        ids += 1;
    }
    assert!(ids > 5, "only {ids} findings");
    Ok(())
}

/// Checks the pages with the tools that read them, if these are installed.
#[test]
fn the_pages_are_sound() -> Tested {
    let dir = tempfile::tempdir()?;
    for page in &PAGES {
        let path = dir.path().join(page.file());
        fs::write(&path, page.render()?)?;
        if let Some((done, said)) = run("mandoc", &["-T", "lint", "-W", "warning"], &path)? {
            assert!(done && said.is_empty(), "{}: {said}", page.file());
        }
        if let Some((done, said)) = run("lexgrog", &[], &path)? {
            let wanted = format!("\"{} - ", page.name);
            assert!(done && said.contains(&wanted), "{}: {said}", page.file());
        }
    }
    Ok(())
}

/// The success and the output of a tool; `None` if the tool is not installed.
fn run(
    program: &str,
    args: &[&str],
    path: &Path,
) -> Result<Option<(bool, String)>, Box<dyn Error>> {
    match Command::new(program).args(args).arg(path).output() {
        Ok(output) => {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            Ok(Some((output.status.success(), text)))
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            support::leave_out(program, "it is not installed");
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
