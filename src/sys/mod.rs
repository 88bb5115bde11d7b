//! System calls that no safe crate offers. The only room with `unsafe` code (the lint is denied
//! everywhere else); it uses no other room. Each function is a thin, safe wrapper: it takes and
//! returns owned or borrowed descriptors, never raw ones, and leaves policy to its caller.
#![allow(unsafe_code)]

pub mod bpf;
pub mod clone;
pub mod exec;
pub mod fork;
pub mod landlock;
pub mod mount;
pub mod net;
pub mod notify;
pub mod peer;
pub mod process;
pub mod scoped;
pub mod seccomp;
pub mod signal;
pub mod start;
mod stub;
pub mod trial;
pub mod userns;
