//! Use cases, one a file: the only room that joins the others. An operation takes an options struct,
//! prints nothing, and returns a value or an [`Error`]; `cli` turns arguments into the one and the
//! other into text.

pub mod doctor;
mod error;
mod progress;
pub mod pull;
pub mod run;

pub use error::Error;
