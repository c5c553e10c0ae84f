//! One copy of each text that many rows have.

use std::rc::Rc;

use foldhash::HashSet;

/// Texts that are kept once.
#[derive(Debug, Default)]
pub(super) struct Texts(HashSet<Rc<str>>);

impl Texts {
    /// The copy of a text.
    pub(super) fn get(&mut self, text: &str) -> Rc<str> {
        if let Some(there) = self.0.get(text) {
            return Rc::clone(there);
        }
        let new: Rc<str> = text.into();
        self.0.insert(Rc::clone(&new));
        new
    }
}
