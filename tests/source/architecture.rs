//! `docs/architecture.md` lists exactly the files of the program.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The first two cells of each row in the table between the markers.
fn table() -> Vec<(String, String)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/architecture.md");
    let text = fs::read_to_string(page).expect("docs/architecture.md");
    let (_, rest) = text.split_once("<!-- files -->").expect("its beginning");
    let (table, _) = rest.split_once("<!-- /files -->").expect("its end");
    table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.strip_suffix(" |"))
        .map(|row| row.split_once("` | ").expect("two cells"))
        .map(|(file, purpose)| (file.to_owned(), purpose.to_owned()))
        .collect()
}

#[test]
fn the_table_of_files_has_every_file_of_the_program_once() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut paths: Vec<PathBuf> = Vec::new();
    for directory in ["src", "bpf"] {
        crate::collect(&root.join(directory), &mut paths);
    }
    let there: BTreeSet<String> = paths
        .iter()
        .map(|path| path.strip_prefix(root).expect("under the root"))
        .map(|path| path.to_str().expect("UTF-8").to_owned())
        .collect();
    let rows = table();
    let named: BTreeSet<String> = rows.iter().map(|(file, _)| file.clone()).collect();
    assert_eq!(named.len(), rows.len(), "a file is named twice");
    let missing: Vec<_> = there.difference(&named).collect();
    let gone: Vec<_> = named.difference(&there).collect();
    assert!(
        missing.is_empty() && gone.is_empty(),
        "docs/architecture.md does not name {missing:?}, and names {gone:?}, which are not there"
    );
}

#[test]
fn every_file_has_a_purpose_of_its_own() {
    let rows = table();
    let purposes: BTreeSet<&str> = rows.iter().map(|(_, purpose)| purpose.trim()).collect();
    assert!(!purposes.contains(""), "a file has no purpose");
    assert_eq!(purposes.len(), rows.len(), "two files have the same");
}
