//! The result of checking one requirement.

use serde::Serialize;

/// Whether a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The requirement is met.
    Ok,
    /// It is not met, and netatop cannot count without it.
    Missing,
    /// It is not met, or could not be checked. netatop counts without it.
    Optional,
}

/// The result of checking one requirement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Identifier for programs. It never changes.
    pub id: &'static str,
    /// Short name for people.
    pub name: &'static str,
    /// Whether the requirement is met.
    pub status: Status,
    /// The value found, or the cause of the failure, in one line.
    pub found: String,
    /// How to meet the requirement, in one line. `None` if it is met.
    pub remedy: Option<String>,
}

impl Finding {
    /// A requirement that is met.
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

    /// The same requirement, but not met.
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
