//! What was found of one requirement.

use serde::Serialize;

/// Whether something is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It is there.
    Ok,
    /// It is not there, and without it nothing can be counted.
    Missing,
    /// It is not there or could not be found out, and counting does without it.
    Optional,
}

/// What was found of one thing that is needed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// A word for programs, which never changes.
    pub id: &'static str,
    /// For people, in a few words.
    pub name: &'static str,
    /// Whether it is there.
    pub status: Status,
    /// What was found, or the cause, in one line.
    pub found: String,
    /// How to get it, in one line, where it is not there.
    pub remedy: Option<String>,
}

impl Finding {
    /// It is there.
    #[must_use]
    pub fn ok(id: &'static str, name: &'static str, found: impl Into<String>) -> Self {
        Self {
            id,
            name,
            status: Status::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    /// It is not there.
    #[must_use]
    pub fn lacking(self, status: Status, found: impl Into<String>, remedy: &str) -> Self {
        Self {
            status,
            found: found.into(),
            remedy: Some(remedy.to_owned()),
            ..self
        }
    }
}
