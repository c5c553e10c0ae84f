//! Automata for the programs: patterns as tables, of which a program reads one number for each byte
//! of a name (`bpf/who.h`). So the cost of an event does not grow with the number of patterns.
//!
//! An automaton is found by trying all bytes in all states that can be reached (the powerset
//! construction). Patterns that need too many states are refused.

use std::collections::BTreeSet;
use std::hash::Hash;

use foldhash::HashMap;

use super::skel::types;
use crate::text::{ByteSet, Glob, Part};

/// The answer of an automaton for a text that does not match, for one that does, and the state in
/// which it begins.
const NO: u16 = 0;
const YES: u16 = 1;

/// Maximum number of states. They take 2 MB.
const MAX_STATES: usize = 1 << 12;

/// The patterns need more states than an automaton can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooComplex;

/// A table of states. The first two are the answers no and yes, and the third one is the beginning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Automaton {
    states: Vec<[u16; 256]>,
}

/// What follows a state.
pub(super) enum Next<S> {
    /// The text does not match, whatever follows.
    No,
    /// The text matches, whatever follows.
    Yes,
    /// That is not known yet.
    State(S),
}

impl Automaton {
    /// Finds all states that can be reached from `begin`. `step` says what follows a state by a byte,
    /// and by the end of the text, which is the byte 0; a state does not follow an end. `alike` has a
    /// byte for each byte that is not told from it.
    ///
    /// # Errors
    ///
    /// If there are too many.
    pub(super) fn build<S: Clone + Eq + Hash>(
        begin: S,
        alike: &[u8; 256],
        step: impl Fn(&S, u8) -> Next<S>,
    ) -> Result<Self, TooComplex> {
        let mut states = vec![[NO; 256], [YES; 256]];
        let mut numbers = HashMap::default();
        numbers.insert(begin.clone(), 0);
        let mut found = vec![begin];
        while let Some(state) = found.get(states.len() - 2).cloned() {
            let mut next = [NO; 256];
            for byte in 0..=u8::MAX {
                let first = alike.get(usize::from(byte)).filter(|first| **first < byte);
                let to = match first.and_then(|first| next.get(usize::from(*first)).copied()) {
                    Some(to) => to,
                    None => match step(&state, byte) {
                        Next::Yes => YES,
                        Next::State(other) if byte != 0 => {
                            let number = *numbers.entry(other).or_insert_with_key(|other| {
                                found.push(other.clone());
                                found.len() - 1
                            });
                            let number = number + 2;
                            if number >= MAX_STATES {
                                return Err(TooComplex);
                            }
                            u16::try_from(number).map_err(|_| TooComplex)?
                        }
                        Next::No | Next::State(_) => NO,
                    },
                };
                if let Some(place) = next.get_mut(usize::from(byte)) {
                    *place = to;
                }
            }
            states.push(next);
        }
        Ok(Self { states })
    }

    /// The automaton of all names that match one of the patterns.
    ///
    /// # Errors
    ///
    /// If it would be too large.
    pub fn of_names(globs: &[Glob]) -> Result<Self, TooComplex> {
        let mut patterns = Patterns::default();
        for glob in globs {
            patterns.add(glob.parts());
        }
        let (begin, alike) = (patterns.begin(|_| true), patterns.alike(&[0]));
        Self::build(begin, &alike, |positions, byte| match byte {
            0 if patterns.ends(positions).next().is_some() => Next::Yes,
            0 => Next::No,
            byte => match patterns.step(positions, byte) {
                none if none.is_empty() => Next::No,
                // Without this, there would be a state for each set of such patterns.
                positions if patterns.takes_all(&positions) => Next::Yes,
                positions => Next::State(positions),
            },
        })
    }

    /// Whether the text matches. A program does the same.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut state = YES + 1;
        for byte in text.iter().chain(&[0]) {
            let next = self.states.get(usize::from(state));
            let next = next.and_then(|next| next.get(usize::from(*byte)));
            state = next.copied().unwrap_or(NO);
        }
        state == YES
    }

    /// The states for the programs, by number.
    pub(super) fn states(&self) -> impl Iterator<Item = (u32, types::automaton_state)> {
        let of = |next: &[u16; 256]| types::automaton_state { next: *next };
        (0..).zip(self.states.iter().map(of))
    }

    /// Number of states.
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.states.len()).unwrap_or(u32::MAX)
    }
}

/// Where in the patterns a text can be, by the part that follows.
pub(super) type Positions = BTreeSet<usize>;

/// Some patterns, one after the other, each with an end.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    parts: Vec<Option<Part>>,
    /// Which pattern each part belongs to.
    pattern: Vec<usize>,
    begins: Vec<usize>,
}

impl Patterns {
    /// Adds a pattern, and returns its number.
    pub(super) fn add(&mut self, parts: &[Part]) -> usize {
        let number = self.begins.len();
        self.begins.push(self.parts.len());
        self.parts.extend(parts.iter().copied().map(Some));
        self.parts.push(None);
        self.pattern.resize(self.parts.len(), number);
        number
    }

    /// For each byte the first one that is in the same sets. Those of `special` are like no other.
    pub(super) fn alike(&self, special: &[u8]) -> [u8; 256] {
        let mut sets: Vec<ByteSet> = Vec::new();
        for part in self.parts.iter().flatten() {
            let (Part::One(set) | Part::Many(set)) = part;
            if !sets.contains(set) {
                sets.push(*set);
            }
        }
        let mut firsts: HashMap<Vec<bool>, u8> = HashMap::default();
        let mut alike = [0; 256];
        for (byte, first) in (0..=u8::MAX).zip(&mut alike) {
            let is_in = sets.iter().map(|set| set.contains(byte)).collect();
            *first = match special.contains(&byte) {
                true => byte,
                false => *firsts.entry(is_in).or_insert(byte),
            };
        }
        alike
    }

    /// The positions at the beginning of these patterns.
    pub(super) fn begin(&self, is_used: impl Fn(usize) -> bool) -> Positions {
        let mut positions = Positions::new();
        for (number, begin) in self.begins.iter().enumerate() {
            if is_used(number) {
                self.enter(&mut positions, *begin);
            }
        }
        positions
    }

    /// Adds a position, and those behind parts that can be empty.
    fn enter(&self, positions: &mut Positions, mut position: usize) {
        positions.insert(position);
        while let Some(Some(Part::Many(_))) = self.parts.get(position) {
            position += 1;
            positions.insert(position);
        }
    }

    /// The positions behind one more byte.
    pub(super) fn step(&self, positions: &Positions, byte: u8) -> Positions {
        let mut next = Positions::new();
        for position in positions {
            match self.parts.get(*position) {
                Some(Some(Part::One(set))) if set.contains(byte) => {
                    self.enter(&mut next, position + 1);
                }
                Some(Some(Part::Many(set))) if set.contains(byte) => {
                    self.enter(&mut next, *position);
                }
                _ => {}
            }
        }
        next
    }

    /// Whether a pattern matches whatever follows.
    fn takes_all(&self, positions: &Positions) -> bool {
        positions.iter().any(|position| {
            let of = |position| self.parts.get(position);
            let is_last = matches!(of(position + 1), Some(None));
            matches!(of(*position), Some(Some(Part::Many(set))) if is_last && set.has_all())
        })
    }

    /// The pattern of a position.
    pub(super) fn pattern(&self, position: usize) -> Option<usize> {
        self.pattern.get(position).copied()
    }

    /// The patterns that end here.
    pub(super) fn ends(&self, positions: &Positions) -> impl Iterator<Item = usize> {
        let at_end = positions
            .iter()
            .filter(|position| matches!(self.parts.get(**position), Some(None)));
        at_end.filter_map(|position| self.pattern(*position))
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;

    use super::*;
    use proptest::prelude::*;

    fn automaton(globs: &[&str]) -> Automaton {
        let globs: Vec<Glob> = globs
            .iter()
            .map(|glob| Glob::parse(glob).expect("a glob"))
            .collect();
        Automaton::of_names(&globs).expect("small enough")
    }

    /// Whether fnmatch(3) says that the name matches.
    fn fnmatch(glob: &str, name: &[u8]) -> bool {
        let glob = CString::new(glob).expect("no 0");
        let name = CString::new(name).expect("no 0");
        // SAFETY: two strings that end with 0 and live during the call.
        unsafe { nix::libc::fnmatch(glob.as_ptr(), name.as_ptr(), 0) == 0 }
    }

    #[test]
    fn one_of_several_patterns_is_enough() {
        let shells = automaton(&["*sh", "python*", "[a-c]?"]);
        for (name, wanted) in [
            ("sh", true),
            ("bash", true),
            ("python", true),
            ("python3.12", true),
            ("pythosh", true),
            ("ax", true),
            ("dx", false),
            ("shell", false),
            ("", false),
        ] {
            assert_eq!(shells.matches(name.as_bytes()), wanted, "{name}");
        }
    }

    #[test]
    fn many_patterns_with_stars_are_small() {
        let globs: Vec<String> = ('a'..='z').map(|c| format!("*{c}1*")).collect();
        let globs: Vec<&str> = globs.iter().map(String::as_str).collect();
        let automaton = automaton(&globs);
        assert!(automaton.len() < 100, "{} states", automaton.len());
        assert!(automaton.matches(b"worker-f1-x") && !automaton.matches(b"worker-f-1"));
    }

    /// Each star of `*a??????` and each question mark doubles the states.
    #[test]
    fn patterns_with_too_many_states_are_refused() {
        let glob = Glob::parse("*a?????????????").expect("a glob");
        assert_eq!(Automaton::of_names(&[glob]), Err(TooComplex));
    }

    /// Patterns of few characters, so that names match.
    const GLOB: &str = r"(\*|\?|[abc-]|\\[*?\[\\a]|\[[!^]?(\]?[abc-]{0,3}(a-c|[b*?!^\\-]-[xz]|\[:(alpha|digit|punct|space|xdigit):\]|\\[\]a-])?[a-c]{0,2})\]){1,6}";

    proptest! {
        #[test]
        fn names_match_as_fnmatch_says(
            globs in prop::collection::vec(GLOB, 1..4),
            names in prop::collection::vec(r"([abc]|[-\[\]*?\\!^: xz0]|.){0,8}", 30),
        ) {
            let parsed: Vec<(&String, Glob)> = globs
                .iter()
                .filter_map(|text| Some((text, Glob::parse(text).ok()?)))
                .collect();
            prop_assume!(!parsed.is_empty());
            let all: Vec<Glob> = parsed.iter().map(|(_, glob)| glob.clone()).collect();
            let automaton = Automaton::of_names(&all).expect("small enough");
            for name in names.iter().filter(|name| !name.contains('\0')) {
                let name = name.as_bytes();
                let wanted = parsed.iter().any(|(text, _)| fnmatch(text, name));
                prop_assert_eq!(automaton.matches(name), wanted, "{:?} {:?}", globs, name);
            }
        }
    }
}
