//! Recordings of every kind, and texts that are none.
