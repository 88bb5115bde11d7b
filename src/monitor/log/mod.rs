//! What a container wrote, kept in a file: written by its monitor, read by `logs`.
//!
//! A record is a line of the format that CRI runtimes and podman's k8s-file driver have:
//!
//! ```text
//! 2026-11-23T13:00:00.123456789Z stdout F a whole line
//! 2026-11-23T13:00:00.123456789Z stderr P a piece of a line, which another record continues
//! ```
//!
//! # Invariants
//!
//! - The bytes after the header are the container's, unchanged. `F` stands for a line end that the container wrote,
//!   `P` for none: what comes out again is what went in, byte for byte and in order for each stream.
//! - A header has [`HEADER`](record::HEADER) bytes and a record at most [`RECORD_MAX`](record::RECORD_MAX). Since no
//!   record has a line end inside, nothing that a container writes can look like a header.
//! - Whatever ends in a line end is complete and stays as it is. Only what follows the last line end can be torn (a
//!   write that was killed or that the disk had no room for), and readers do not take it before they must.
//! - `log` is written to, `log.1` was before it, and so on. A file that was renamed is never written to again, and one
//!   is never cut short to begin anew: who reads on in it finds all that was written, then goes to the next.
//!
//! One process writes: the one that holds the container's lock. Any number read, and none of them locks.

mod config;
mod files;
mod reader;
mod record;
mod tail;
mod watch;
mod writer;

pub use config::{Config, Driver, Limits};
pub use reader::Reader;
pub use record::{Record, Stream, TIME, time};
pub use watch::Watch;
pub use writer::Writer;

/// The name of a container's log, in its directory.
pub const NAME: &str = "log";

#[cfg(test)]
mod tests;
