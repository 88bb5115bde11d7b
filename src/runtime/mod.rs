//! From a bundle (an OCI runtime configuration and a root file system) to a running process. Sees
//! neither store nor registry nor cli, so that it serves `run` and the OCI runtime verbs alike.

pub mod caps;
pub mod seccomp;
