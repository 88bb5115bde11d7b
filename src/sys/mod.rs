//! System calls that no safe crate offers. The only room with `unsafe` code.

pub mod fork;
pub mod trial;
