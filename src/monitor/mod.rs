//! The process after it was started. For a foreground `run` the command line is its own monitor: no
//! further process is needed. A detached container, and one with a terminal that its user may leave, has a small one,
//! which `ops` starts. Both answer on the
//! container's control socket ([`control`]), the foreground one only once somebody asks it to.

mod attach;
mod control;
mod detached;
mod follow;
mod foreground;
mod health;
mod keep;
pub mod log;
mod orphans;
pub mod packet;
mod relay;
mod signals;
mod tee;
mod wire;

pub use attach::{Client, Description, Keys, Left};
pub use control::{Control, SOCKET};
pub use detached::{Around, Ends, Record, idle, keep, pipes};
pub use follow::follow;
pub use foreground::{Ended, Error, gone, settle, watch};
pub use health::{Checks, Outcome, State as HealthState, Status as HealthStatus};
pub use keep::{Health, Keep, Restart, STOP_TIMEOUT, pause};
pub use signals::{OPEN, Signals};
pub use tee::Tee;
