//! Text for people: escaping, units, standard output, and messages on standard error. Everything may use it.

mod escape;
mod message;
mod shown;
mod units;

pub use escape::escaped;
pub use message::{
    give_up_after, give_up_soon, is_stdout_closed, to_stderr, to_stderr_raw, to_stdout,
};
pub use shown::{shortened, shown, shown_path};
pub use units::{bits_per_second, bytes, count, counted};
