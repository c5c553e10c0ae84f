//! Replays what fuzzing found worth keeping, without a fuzzer: `fuzz/corpus/NAME/*`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::{Path, PathBuf};

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

#[test]
fn no_input_that_was_kept_panics() {
    for (name, target) in netatop::fuzzing::targets() {
        let inputs = fs::read_dir(corpus().join(name));
        let inputs = inputs.unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut count = 0;
        for input in inputs {
            let path = input.expect("an entry").path();
            target(&fs::read(&path).expect("an input"));
            count += 1;
        }
        assert!(count > 0, "{name} has no inputs");
    }
}

#[test]
fn every_parser_has_a_target_and_every_corpus_a_parser() {
    let mut names: Vec<_> = netatop::fuzzing::targets()
        .iter()
        .map(|t| t.0.to_owned())
        .collect();
    names.sort_unstable();
    let in_directory = |path: PathBuf| {
        let entries = fs::read_dir(path).expect("a directory");
        let stem = |path: PathBuf| {
            path.file_stem()
                .map(|stem| stem.to_string_lossy().into_owned())
        };
        let mut found: Vec<_> = entries
            .filter_map(|e| stem(e.expect("an entry").path()))
            .collect();
        found.sort_unstable();
        found
    };
    assert_eq!(in_directory(corpus()), names);
    assert_eq!(in_directory(corpus().join("../fuzz_targets")), names);
}
