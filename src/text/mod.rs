//! Text for people: escaping, units, standard output, and messages on standard error. All modules
//! may use this module.

mod escape;
mod glob;
mod message;
mod path;
mod shown;
mod units;

pub use escape::escaped;
pub use glob::{ByteSet, Glob, Part};
pub use message::{
    is_stdout_closed, limit_waits, limit_waits_after, to_stderr, to_stderr_raw, to_stdout,
};
pub use path::up_to_depth;
pub use shown::{shortened, shown, shown_path};
pub use units::{bits_per_second, bytes, count, counted, microseconds};
