//! What the documents name exists: files, headings and tests.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The documents of the repository, with their texts.
fn documents() -> Vec<(PathBuf, String)> {
    let docs = fs::read_dir(root().join("docs")).expect("docs");
    let docs = docs.map(|entry| entry.expect("an entry").path());
    let pages = ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"].map(|name| root().join(name));
    pages
        .into_iter()
        .chain(docs)
        .filter(|path| path.extension().is_some_and(|ending| ending == "md"))
        .map(|path| (path.clone(), fs::read_to_string(path).expect("a document")))
        .collect()
}

/// The text of each link target.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let parts = text.split("](").skip(1);
    parts.filter_map(|part| part.split_once(')').map(|(inside, _)| inside))
}

/// The text of each code span.
fn spans(text: &str) -> impl Iterator<Item = &str> {
    let lines = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("```"));
    lines.flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// The anchors of the headings of a document, as web pages of repositories derive them.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| line.trim_start_matches('#').trim().to_lowercase())
        .map(|heading| heading.replace(' ', "-"))
        .map(|heading| {
            let kept = |c: &char| c.is_alphanumeric() || ['-', '_'].contains(c);
            heading.chars().filter(kept).collect()
        })
        .collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    for (page, text) in documents() {
        let links = links(&text).filter(|link| !link.starts_with("http"));
        for link in links {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => page.clone(),
                file => page.parent().expect("a directory").join(file),
            };
            let page = page.display();
            assert!(target.exists(), "{page} links to {link}");
            if !heading.is_empty() {
                let there = anchors(&fs::read_to_string(&target).expect("a document"));
                assert!(there.contains(heading), "{page} links to {link}: {there:?}");
            }
        }
    }
}

#[test]
fn every_file_that_a_document_names_exists() {
    let tops = [
        "src/", "bpf/", "tests/", "scripts/", "man/", "docs/", "benches/", "fuzz/", ".ci/",
    ];
    for (page, text) in documents() {
        for name in spans(&text).filter(|name| tops.iter().any(|t| name.starts_with(t))) {
            // A command has arguments, and a pattern stands for several files.
            let file = name.split([' ', '*', ':']).next().unwrap_or_default();
            let file = match name.contains('*') {
                true => file
                    .rsplit_once('/')
                    .map_or(file, |(directory, _)| directory),
                false => file,
            };
            assert!(root().join(file).exists(), "{}: {name}", page.display());
        }
    }
}

/// Names of functions, modules and rows of tables of tests: all words that code contains.
fn words() -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for source in crate::sources() {
        let separated = source
            .text
            .split(|c: char| !c.is_alphanumeric() && c != '_');
        words.extend(separated.map(str::to_owned));
    }
    words
}

#[test]
fn every_test_that_a_document_names_exists() {
    let words = words();
    for (page, text) in documents() {
        let is_path = |name: &&str| {
            let is_part = |part: &str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_lowercase() || c == '_')
            };
            name.contains("::") && name.split("::").all(is_part)
        };
        for name in spans(&text).filter(is_path) {
            let last = name.rsplit("::").next().unwrap_or_default();
            let page = page.display();
            assert!(
                words.contains(last),
                "{page} names {name}, which does not exist"
            );
        }
    }
}
