//! What can go wrong, and what the exit status says of it.

use std::fmt::Display;
use std::io;

/// Why netatop ends early. The text names the cause and, on a line of its own where it
/// needs one, the way out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user asked for something that does not exist or does not fit.
    #[error("{0}")]
    Usage(String),
    /// It could not be done.
    #[error("{0}")]
    Failed(String),
    /// The reader of the output has gone, which is no error (`| head`).
    #[error("the reader of the output has gone")]
    ClosedPipe,
    /// It could not be done, and the user has been told so.
    #[error("the error was reported before")]
    Reported,
}

impl Error {
    /// Something failed with `error` while doing `what`.
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
