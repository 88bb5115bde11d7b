//! Layers and options to a root file system.

mod content;
pub mod flatten;
mod lower;
pub mod view;
