//! Layers and options to a root file system.

pub mod flatten;
mod lower;
pub mod view;
