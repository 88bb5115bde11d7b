//! Coracle: a rootless container tool that needs nobody's permission.
//!
//! # Map
//!
//! `coracle run IMAGE CMD` flows one way; each room hands a value on and none calls back:
//!
//! ```text
//! cli → ops → registry → layer → store → rootfs → runtime → monitor
//! ```
//!
//! | room | what lives there |
//! |---|---|
//! | [`cli`] | clap definitions, one file a verb; tables, progress, error report; no other I/O |
//! | [`ops`] | one use case a file; the only place that joins the rooms below |
//! | [`build`] | Containerfiles: parser, expansion, ignore files, stages, cache keys; no I/O |
//! | [`registry`] | HTTP client, authentication, blob streams, uploads; never sees the store |
//! | [`layer`] | tar to directory and back, byte for byte: safe unpack, recipe, pack, whiteouts, owners; compression |
//! | [`store`] | the truth on disk: blobs, layers, images, containers, locks |
//! | [`rootfs`] | layers and options to a root file system: overlay, fuse-overlayfs or copy |
//! | [`runtime`] | plan (pure data), spawn (parent), init (child until exec), seccomp, capabilities |
//! | [`cgroup`] | control groups of version 2: where one may be made, limits, freezing, what is in one |
//! | [`emulate`] | identities under one id: filter rules, credentials, the supervisor that answers system calls |
//! | [`monitor`] | waits, forwards signals, relays the terminal |
//! | [`host`] | what this machine allows, found out by doing it in a forked child |
//! | [`owners`] | owners and xattrs that an ordinary user cannot set: their formats at rest, and whose counts in a stack |
//! | [`oci`] | pure types: reference, digest, platform, manifest; no I/O |
//! | [`trust`] | who must have signed an image, and whether they have: policy, keys, sigstore signatures |
//! | [`config`] | directories, registry configuration, credentials |
//! | [`trees`] | directory trees laid over each other: whiteouts, opaque directories, merged listings |
//! | [`sys`] | the only room with `unsafe` code |
//!
//! # Who may use whom
//!
//! `cli → ops → {registry, layer, store, rootfs, runtime, monitor, cgroup} → {oci, config, host, owners, trees}`; all may
//! use [`sys`], which uses none. `config` also uses [`oci`]: it says which places stand for an image.
//! `ops` also uses [`build`], which is pure and knows digests only.
//! `runtime` also uses [`emulate`]: it installs its rules with its own and starts its supervisor between the
//! plan and the clone. `ops` also uses [`trust`], which knows names and digests and is handed what a registry says.
//! Two exceptions are forbidden outright: `runtime` sees neither store
//! nor registry nor cli (it takes a bundle, so that it can serve the OCI runtime verbs), and `store`
//! never sees `runtime` (liveness is passed in). `tests/rooms.rs` holds these rules.
//!
//! # Threat model
//!
//! Hostile: image contents, layer tars, registry replies, seccomp and env files, and whatever runs
//! inside a container. Trusted: the kernel, the user who calls us, and the user's own files. The
//! boundary between a container and the user's session is made by the kernel (user, mount, pid, ipc,
//! uts, cgroup and network namespaces, seccomp, no_new_privs); this crate only has to set it up in an
//! order that leaves no gap. A container can never do more than the user who started it.

pub mod build;
pub mod cgroup;
pub mod cli;
pub mod config;
pub mod emulate;
pub mod host;
pub mod layer;
pub mod monitor;
pub mod oci;
pub mod ops;
pub mod owners;
pub mod registry;
pub mod rootfs;
pub mod runtime;
pub mod store;
pub mod sys;
pub mod trees;
pub mod trust;
