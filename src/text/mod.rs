//! Text for people: escaping, units, and messages on standard error. Everything may use it.

mod escape;
mod message;
mod units;

pub use escape::escaped;
pub use message::{to_stderr, to_stderr_raw};
pub use units::{bits_per_second, bytes, count, counted};
