//! The filter by unit: an automaton that reads the path of a cgroup, as `host::Cgroup::unit` does.
//!
//! The program on new cgroups runs it, so that the first message in a unit that starts later is
//! counted. A cgroup below the one of a unit belongs to the unit as well.

use std::collections::BTreeSet;

use super::automaton::{Automaton, Next, Patterns, Positions, TooComplex};
use crate::host::UNIT_TYPES;
use crate::text::{ByteSet, Glob, Part};

/// Units: those of the system, or those of a manager such as `user@1000.service`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnitPattern {
    /// The unit of the manager. `None` for units of the system.
    pub manager: Option<Glob>,
    /// The name of the unit, with its type. Only names of units match, whatever the pattern.
    pub name: Glob,
}

impl Automaton {
    /// The automaton of all paths of cgroups of these units, and below them.
    ///
    /// # Errors
    ///
    /// If it would be too large.
    pub fn of_units(wanted: &[UnitPattern]) -> Result<Self, TooComplex> {
        let paths = Paths::new(wanted);
        let alike = paths.patterns.alike(b"\0/_");
        Self::build(State::root(), &alike, |state, byte| paths.step(state, byte))
    }
}

/// How far a path was read.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    /// The managers whose unit the path has entered, by number of the wanted unit. `None` if all
    /// directories so far are slices of the system.
    within: Option<BTreeSet<usize>>,
    /// Where in the patterns the current directory is. `None` at the beginning of a directory.
    inside: Option<Positions>,
}

impl State {
    fn root() -> Self {
        Self::entering(None)
    }

    fn entering(within: Option<BTreeSet<usize>>) -> Self {
        Self {
            within,
            inside: None,
        }
    }
}

/// What a pattern stands for, in the name of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// A unit that is wanted.
    Wanted(usize),
    /// The manager of a wanted unit.
    ManagerOf(usize),
    /// Any slice.
    Slice,
    /// Any unit but a slice.
    Unit,
    /// Any manager with units of its own.
    Manager,
    /// A directory of LXC, which is not a unit whatever it is called.
    Lxc,
}

struct Paths {
    patterns: Patterns,
    /// What each pattern means.
    meanings: Vec<Meaning>,
    /// Which of the wanted units are units of a manager.
    is_inner: Vec<bool>,
}

impl Paths {
    fn new(wanted: &[UnitPattern]) -> Self {
        let mut paths = Self {
            patterns: Patterns::default(),
            meanings: Vec::new(),
            is_inner: wanted.iter().map(|unit| unit.manager.is_some()).collect(),
        };
        for (number, unit) in wanted.iter().enumerate() {
            paths.add(Meaning::Wanted(number), unit.name.parts());
            if let Some(manager) = &unit.manager {
                paths.add(Meaning::ManagerOf(number), manager.parts());
            }
        }
        let name = ByteSet::of(|byte| byte.is_ascii_alphanumeric() || b":-_.\\".contains(&byte));
        let with_at = ByteSet::of(|byte| byte == b'@' || name.contains(byte));
        let digit = ByteSet::of(|byte| byte.is_ascii_digit());
        let some = |set| vec![Part::One(set), Part::Many(set)];
        paths.add(Meaning::Slice, &[some(name), text(".slice")].concat());
        for kind in UNIT_TYPES.iter().filter(|kind| **kind != "slice") {
            let ending = text(&format!(".{kind}"));
            let instance = [some(name), text("@"), some(with_at), ending.clone()].concat();
            paths.add(Meaning::Unit, &[some(name), ending].concat());
            paths.add(Meaning::Unit, &instance);
        }
        for (begin, instance) in [("user@", digit), ("capsule@", with_at)] {
            let manager = [text(begin), some(instance), text(".service")].concat();
            paths.add(Meaning::Manager, &manager);
        }
        let lxc = [text("lxc."), vec![Part::Many(ByteSet::of(|_| true))]].concat();
        paths.add(Meaning::Lxc, &lxc);
        paths
    }

    fn add(&mut self, meaning: Meaning, parts: &[Part]) {
        self.patterns.add(parts);
        self.meanings.push(meaning);
    }

    fn step(&self, state: &State, byte: u8) -> Next<State> {
        let inside = match (&state.inside, byte) {
            (None, 0) => return Next::No,
            (None, b'/') => return Next::State(state.clone()),
            (Some(positions), 0 | b'/') => return self.leave(state, positions, byte),
            // systemd's escape: see `host::unit`.
            (None, b'_') => self.enter(state, true),
            (None, byte) => self.patterns.step(&self.enter(state, false), byte),
            (Some(positions), byte) => self.patterns.step(positions, byte),
        };
        let is_any = |find: fn(Meaning) -> bool| {
            let mut patterns = inside.iter().filter_map(|at| self.patterns.pattern(*at));
            patterns.any(|pattern| self.meanings.get(pattern).copied().is_some_and(find))
        };
        let is_wanted = is_any(|m| matches!(m, Meaning::Wanted(_) | Meaning::ManagerOf(_)));
        if !is_wanted && !is_any(|meaning| meaning == Meaning::Slice) {
            return Next::No;
        }
        // Without a wanted unit it means nothing which other unit it is, and there are fewer states.
        let slice = |at: &usize| self.meaning(*at) == Some(Meaning::Slice);
        let inside = match is_wanted {
            true => inside,
            false => inside.into_iter().filter(slice).collect(),
        };
        Next::State(State {
            within: state.within.clone(),
            inside: Some(inside),
        })
    }

    fn meaning(&self, position: usize) -> Option<Meaning> {
        let pattern = self.patterns.pattern(position)?;
        self.meanings.get(pattern).copied()
    }

    /// The positions at the beginning of a directory.
    fn enter(&self, state: &State, is_escaped: bool) -> Positions {
        let within = state.within.as_ref();
        self.patterns.begin(|pattern| {
            let wants = |number: &usize| match within {
                Some(managers) => managers.contains(number),
                None => self.is_inner.get(*number) == Some(&false),
            };
            self.meanings
                .get(pattern)
                .is_some_and(|meaning| match meaning {
                    Meaning::Wanted(number) => wants(number),
                    Meaning::ManagerOf(_) | Meaning::Manager => within.is_none(),
                    Meaning::Slice | Meaning::Unit => true,
                    Meaning::Lxc => !is_escaped,
                })
        })
    }

    /// At the end of a directory.
    fn leave(&self, state: &State, positions: &Positions, byte: u8) -> Next<State> {
        let ends: Vec<Meaning> = self
            .patterns
            .ends(positions)
            .filter_map(|pattern| self.meanings.get(pattern).copied())
            .collect();
        let is_end = byte == 0;
        if ends.contains(&Meaning::Slice) {
            return match is_end {
                true => Next::No,
                false => Next::State(State::entering(state.within.clone())),
            };
        }
        if !ends.contains(&Meaning::Unit) || ends.contains(&Meaning::Lxc) {
            return Next::No;
        }
        if ends.iter().any(|end| matches!(end, Meaning::Wanted(_))) {
            return Next::Yes;
        }
        let managers: BTreeSet<usize> = ends
            .iter()
            .filter_map(|end| match end {
                Meaning::ManagerOf(number) => Some(*number),
                _ => None,
            })
            .collect();
        if is_end || managers.is_empty() || !ends.contains(&Meaning::Manager) {
            return Next::No;
        }
        Next::State(State::entering(Some(managers)))
    }
}

/// The parts of a text without wildcards.
fn text(text: &str) -> Vec<Part> {
    let one = |byte| Part::One(ByteSet::of(|other| other == byte));
    text.bytes().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Cgroup;
    use proptest::prelude::*;

    fn pattern(text: &str) -> UnitPattern {
        let glob = |text| Glob::parse_without_escapes(text).expect("a glob");
        let (manager, name) = match text.split_once('/') {
            Some((manager, name)) => (Some(glob(manager)), glob(name)),
            None => (None, glob(text)),
        };
        UnitPattern { manager, name }
    }

    fn automaton(units: &[&str]) -> Automaton {
        let units: Vec<UnitPattern> = units.iter().map(|unit| pattern(unit)).collect();
        Automaton::of_units(&units).expect("small enough")
    }

    /// Patterns for the manager and for the name.
    type Names = (Option<Automaton>, Automaton);

    fn names(units: &[&str]) -> Vec<Names> {
        let of = |glob| Automaton::of_names(&[glob]).expect("small enough");
        let units = units.iter().map(|unit| pattern(unit));
        units
            .map(|unit| (unit.manager.map(of), of(unit.name)))
            .collect()
    }

    /// Whether the unit of a path, as the column has it, is wanted.
    fn is_wanted(path: &str, units: &[Names]) -> bool {
        let cgroup = Cgroup::new(path);
        let Some(unit) = cgroup.unit() else {
            return false;
        };
        let (first, second) = match unit.split_once('/') {
            Some((manager, name)) => (manager, Some(name)),
            None => (&**unit, None),
        };
        let [first, second] = [Some(first), second].map(|name| name.map(str::as_bytes));
        let matches =
            |wanted: &Automaton, name: Option<&[u8]>| name.is_some_and(|name| wanted.matches(name));
        units.iter().any(|(manager, name)| match manager {
            // All units of a manager are below its own unit.
            None => matches(name, first),
            Some(manager) => matches(manager, first) && matches(name, second),
        })
    }

    #[test]
    fn units_are_known_by_the_path_of_their_cgroup() {
        let units = [
            "nginx.service",
            r"a\x2db.scope",
            "pg@*.service",
            "user@*.service/mail.service",
        ];
        let automaton = automaton(&units);
        for (path, wanted) in [
            ("/", false),
            ("/system.slice", false),
            ("/system.slice/nginx.service", true),
            ("/system.slice/nginx.service/", true),
            ("/system.slice/nginx.service/worker/1", true),
            ("/nginx.service", true),
            ("/a.slice/a-b.slice/nginx.service", true),
            ("/_nginx.service", true),
            ("/__nginx.service", false),
            ("/system.slice/nginx.service2", false),
            ("/system.slice/xnginx.service", false),
            ("/system.slice/nginx.servic", false),
            ("/docker/9687bac58d5c/system.slice/nginx.service", false),
            ("/system.slice/docker.service/nginx.service", false),
            (r"/a\x2db.scope", true),
            ("/system.slice/system-pg.slice/pg@16-main.service", true),
            ("/system.slice/pg@.service", false),
            (
                "/user.slice/user-7.slice/user@7.service/app.slice/mail.service/x",
                true,
            ),
            (
                "/user.slice/user-7.slice/user@x.service/app.slice/mail.service",
                false,
            ),
            ("/user.slice/user-7.slice/user@7.service", false),
            (
                "/user.slice/user-7.slice/user@7.service/other.service/mail.service",
                false,
            ),
            ("/system.slice/mail.service", false),
        ] {
            assert_eq!(automaton.matches(path.as_bytes()), wanted, "{path}");
            assert_eq!(is_wanted(path, &names(&units)), wanted, "{path}");
        }
    }

    /// A service for each of the longest names that are usual.
    #[test]
    fn many_long_names_are_small_enough() {
        let names: Vec<String> = (0..30)
            .map(|number| format!("docker-{}.scope", format!("{number:02x}").repeat(32)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let all = automaton(&names);
        for name in names {
            assert!(all.matches(format!("/system.slice/{name}/init").as_bytes()));
        }
    }

    const DIRECTORY: &str = r"(_?(system|a-b|a@b|)\.slice|_{0,2}(a|b|a@b|@|a@|lxc\.a|user@(1|x|17)|capsule@c|\\a)\.(service|scope|unit)|lxc|a b|_)";

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn paths_are_read_as_for_the_column(
            paths in prop::collection::vec(prop::collection::vec(DIRECTORY, 0..5), 60),
            units in prop::collection::vec(prop::sample::select(vec![
                "a.service", "a@b.service", "a*", "*", r"\a.scope", "lxc.a.service", "*@*",
                "user@1.service", "user@*.service", "user@*.service/a.service", "*/a*",
                "capsule@c.service/*", "user@17.service/a@b.service", "*.slice",
            ]), 1..4),
        ) {
            let (automaton, names) = (automaton(&units), names(&units));
            for path in paths {
                let path = format!("/{}", path.join("/"));
                prop_assert_eq!(
                    automaton.matches(path.as_bytes()),
                    is_wanted(&path, &names),
                    "{} {:?}", path, units
                );
            }
        }
    }
}
