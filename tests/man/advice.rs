//! Instructions to give the program capabilities must first restrict execution to a group.

use std::fs;
use std::process::Command;

use super::{Tested, root};

/// The steps that restrict the file to a group, in the required order. `chown` clears capabilities,
/// and open permissions would give the capabilities to every local user.
const OWNER: [&str; 2] = ["chown root:", "chgrp "];
const MODE: [&str; 2] = ["chmod 0750", "chmod 750"];
const SETCAP: &str = "setcap cap_bpf,cap_perfmon";

/// The first `setcap` in `text` for which a step is missing or too far away.
fn unsafe_advice(text: &str) -> Option<usize> {
    text.match_indices(SETCAP).map(|(at, _)| at).find(|&at| {
        let mut start = at.saturating_sub(300);
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        let before = &text[start..at];
        let last = |names: [&str; 2]| names.iter().filter_map(|name| before.rfind(name)).max();
        let (Some(owner), Some(mode)) = (last(OWNER), last(MODE)) else {
            return true;
        };
        owner > mode
    })
}

#[test]
fn capabilities_are_advised_only_after_owner_group_and_mode() -> Tested {
    let mut paths = vec![root("README.md"), root("scripts/lib/INSTALL.in")];
    paths.push(root("src/kernel/requirements.rs"));
    paths.push(root("tests/golden/expected/check_bare.table"));
    for entry in fs::read_dir(root("man"))? {
        paths.push(entry?.path());
    }
    let mut advised = 0;
    for path in paths {
        let text = fs::read_to_string(&path)?;
        advised += text.matches(SETCAP).count();
        if let Some(at) = unsafe_advice(&text) {
            let line = text[..at].lines().count();
            return Err(format!(
                "{}:{line}: setcap without chown and chmod before it",
                path.display()
            )
            .into());
        }
    }
    assert!(advised >= 5, "only {advised} places give the advice");
    Ok(())
}

/// The program's own messages.
#[test]
fn the_program_advises_nothing_unsafe() -> Tested {
    let output = Command::new(env!("CARGO_BIN_EXE_netatop"))
        .args(["check"])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    assert_eq!(unsafe_advice(&text), None, "{text}");
    Ok(())
}

#[test]
fn a_bare_setcap_is_noticed() {
    assert!(unsafe_advice("sudo setcap cap_bpf,cap_perfmon+ep FILE").is_some());
    let reversed = "chmod 0750 F; chown root:g F; setcap cap_bpf,cap_perfmon+ep F";
    assert!(unsafe_advice(reversed).is_some());
    let right = "chown root:g F; chmod 0750 F; setcap cap_bpf,cap_perfmon+ep F";
    assert_eq!(unsafe_advice(right), None);
}
