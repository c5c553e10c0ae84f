//! Checks rules of CONTRIBUTING.md that no other tool checks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod architecture;
mod documents;
mod layers;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A source file: its path in the repository, and its text.
struct Source {
    path: PathBuf,
    text: String,
}

impl Source {
    fn is_rust(&self) -> bool {
        self.path.extension().is_some_and(|ending| ending == "rs")
    }

    /// Whether it is only compiled for tests.
    fn is_test(&self) -> bool {
        self.path.with_extension("").iter().any(|part| {
            let part = part.to_string_lossy();
            part == "tests" || part.ends_with("_tests")
        })
    }

    /// Lines with their numbers, without those that are only a comment.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..)
            .zip(self.text.lines())
            .filter(|(_, line)| !is_comment(line))
    }
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with("//")
}

/// All Rust and BPF sources of the repository, except this file, which contains forbidden words.
fn sources() -> Vec<Source> {
    let mut sources = files(&["src", "bpf", "tests", "benches"], |path| {
        has_ending(path, &["rs", "c", "h"]) && path != Path::new("tests/source/main.rs")
    });
    sources.extend(files(&["build.rs"], |_| true));
    assert!(sources.len() > 20, "the sources were not found");
    sources
}

/// Scripts, also those of pages, and what they use.
fn scripts() -> Vec<Source> {
    let scripts = files(&["src", "tests", "benches", "scripts", ".ci"], |path| {
        path.extension().is_none() || has_ending(path, &["js", "css", "html", "py", "sh"])
    });
    assert!(scripts.len() > 10, "the scripts were not found");
    scripts
}

fn has_ending(path: &Path, endings: &[&str]) -> bool {
    path.extension()
        .is_some_and(|ending| endings.iter().any(|one| ending == *one))
}

/// The files at or under these paths that are wanted.
fn files(under: &[&str], is_wanted: impl Fn(&Path) -> bool) -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths = Vec::new();
    for path in under.iter().map(|path| root.join(path)) {
        if path.is_dir() {
            collect(&path, &mut paths);
        } else {
            paths.push(path);
        }
    }
    let mut found = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(root).expect("under the root");
        if is_wanted(relative) {
            found.push(Source {
                text: fs::read_to_string(&path).expect("a text file"),
                path: relative.to_owned(),
            });
        }
    }
    found
}

fn collect(directory: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("a directory") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a file type").is_dir() {
            collect(&entry.path(), paths);
        } else {
            paths.push(entry.path());
        }
    }
}

/// The places that break a rule. If there are any, the test fails and lists them.
#[derive(Default)]
struct Found(String);

impl Found {
    fn add(&mut self, source: &Source, line: usize, text: &str) {
        let path = source.path.display();
        writeln!(self.0, "  {path}:{line}: {}", text.trim()).expect("memory");
    }

    #[track_caller]
    fn assert_none(self) {
        assert!(self.0.is_empty(), "found:\n{}", self.0);
    }
}

#[test]
fn libbpf_is_named_only_under_src_kernel() {
    let mut found = Found::default();
    for source in sources() {
        // The benchmark loads BPF programs that are not part of netatop.
        let may = ["src/kernel", "benches/peers"];
        if source.is_rust() && !may.iter().any(|under| source.path.starts_with(under)) {
            for (number, line) in source.code() {
                if line.contains("libbpf_rs") || line.contains("libbpf_sys") {
                    found.add(&source, number, line);
                }
            }
        }
    }
    found.assert_none();
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let mut found = Found::default();
    for source in sources().into_iter().chain(scripts()) {
        let lines = source.text.lines().count();
        if lines > 400 {
            found.add(&source, lines, "lines");
        }
    }
    found.assert_none();
}

#[test]
fn only_tests_may_stop_where_something_is_not_as_expected() {
    const PANICS: [&str; 7] = [
        ".unwrap()",
        ".unwrap_err()",
        ".expect(",
        "panic!(",
        "unreachable!(",
        "todo!(",
        "unimplemented!(",
    ];
    let mut found = Found::default();
    for source in sources() {
        let is_product = source.path.starts_with("src") || source.path.ends_with("build.rs");
        if !is_product || source.is_test() {
            continue;
        }
        let mut previous = "";
        for (number, line) in source.code() {
            // The tests are the last module of a file.
            if previous.trim() == "#[cfg(test)]" && line.starts_with("mod tests {") {
                break;
            }
            if PANICS.iter().any(|panic| line.contains(panic)) {
                found.add(&source, number, line);
            }
            previous = line;
        }
    }
    found.assert_none();
}

#[test]
fn nothing_is_left_to_do() {
    let mut found = Found::default();
    for source in sources() {
        for (number, line) in (1..).zip(source.text.lines()) {
            if words(line).any(|word| ["TODO", "FIXME", "XXX", "HACK"].contains(&word)) {
                found.add(&source, number, line);
            }
        }
    }
    found.assert_none();
}

#[test]
fn every_unsafe_says_why_it_is_safe() {
    let mut found = Found::default();
    for source in sources().iter().filter(|source| source.is_rust()) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (number, line) in source.code() {
            let code = line.split(" //").next().unwrap_or_default();
            if words(code).any(|word| word == "unsafe") && !is_explained(&lines[..number - 1]) {
                found.add(source, number, line);
            }
        }
    }
    found.assert_none();
}

/// Identifiers and other words: `unsafe`, but not the lint `undocumented_unsafe_blocks`.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
}

/// Whether the comment above the statement whose earlier lines end `above` gives the reason:
/// `SAFETY:` for a block, the heading `# Safety` for a function.
fn is_explained(above: &[&str]) -> bool {
    let mut in_comment = false;
    for line in above.iter().rev().map(|line| line.trim()) {
        if is_comment(line) {
            in_comment = true;
            if line.contains("SAFETY:") || line.contains("# Safety") {
                return true;
            }
        } else if in_comment || line.is_empty() || line.ends_with([';', '{', '}']) {
            // Another statement begins, or the comment ends.
            return false;
        }
    }
    false
}

#[test]
fn the_reason_of_an_unsafe_is_looked_for_above_its_own_statement() {
    for (above, explained) in [
        (["// SAFETY: a reason.", ""].as_slice(), false),
        (&["// SAFETY: a reason."], true),
        (&["// SAFETY: a reason,", "// in two lines."], true),
        (&["// SAFETY: a reason.", "let result =", "call("], true),
        (
            &["/// # Safety", "///", "/// A promise.", "#[inline]"],
            true,
        ),
        (&["// SAFETY: a reason.", "other();"], false),
        (
            &["// SAFETY: a reason.", "other();", "// A comment."],
            false,
        ),
        (&["let result ="], false),
        (&[], false),
    ] {
        assert_eq!(is_explained(above), explained, "{above:?}");
    }
}
