//! Emulated users and owners, seen from inside: credentials, owners, and what stays when a container
//! ends. The images are real ones; the programs are Debian's and busybox's.

pub mod archives;
pub mod busybox;
pub mod calls;
pub mod distributions;
pub mod hostile;
pub mod i386;
pub mod modes;
pub mod owners;
pub mod races;
pub mod users;
