//! The process after it was started. For a foreground `run` the command line is its own monitor: no
//! further process is needed.

mod foreground;
pub mod log;
mod orphans;
mod relay;
mod signals;

pub use foreground::{Ended, Error, watch};
pub use signals::Signals;
