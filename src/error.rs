//! Error types and their exit statuses.

use std::fmt::Display;
use std::io;

/// The reason why netatop ends early. The text names the cause and, if useful, the remedy on a
/// second line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Bad input: the user asked for something that does not exist or is not valid.
    #[error("{0}")]
    Usage(String),
    /// The operation failed.
    #[error("{0}")]
    Failed(String),
    /// The reader closed the output. This is not an error (`| head`).
    #[error("the reader closed the output")]
    ClosedPipe,
    /// The operation failed, and the error has already been reported.
    #[error("the error was already reported")]
    Reported,
}

impl Error {
    /// An operation failed: `what` names it, `error` is the cause.
    pub fn failed(what: impl Display, error: impl Display) -> Self {
        Self::Failed(format!("{what}: {error}"))
    }

    /// A failed write to `name`.
    #[must_use]
    pub fn write(name: &str, error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::ClosedPipe;
        }
        Self::Failed(format!("{name}: could not be written: {error}"))
    }

    /// The exit status: 0, 1 or 2.
    #[must_use]
    pub fn status(&self) -> u8 {
        match self {
            Self::ClosedPipe => 0,
            Self::Failed(_) | Self::Reported => 1,
            Self::Usage(_) => 2,
        }
    }
}
