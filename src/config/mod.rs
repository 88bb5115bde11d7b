//! Where things are: the data root and the run-time directory, registry configuration, credentials.
//! Parsing (`&str` in) is apart from loading (files in), and the environment is handed in as a
//! [`Env`], so that every rule can be tested without touching the process.
//!
//! Everyone below `ops` may use this room; it uses only `oci`, `sys` and the operating system.

pub mod auth;
pub mod certs;
pub mod containers_conf;
mod dirs;
pub mod proxy;
pub mod registries;

pub use dirs::{Dirs, DirsError, data_root, oci_state_dir};

use std::ffi::OsString;
use std::path::PathBuf;

/// A view of the environment variables. [`Env::process`] is the real one.
#[derive(Clone, Copy)]
pub struct Env<'a>(&'a dyn Fn(&str) -> Option<OsString>);

impl<'a> Env<'a> {
    /// The environment of this process.
    pub fn process() -> Env<'static> {
        Env(&|name| std::env::var_os(name))
    }

    /// An environment of the caller's making.
    pub fn new(get: &'a dyn Fn(&str) -> Option<OsString>) -> Self {
        Self(get)
    }

    /// The value of a variable. Set to nothing counts as not set, as in the XDG specification.
    pub fn get(&self, name: &str) -> Option<OsString> {
        (self.0)(name).filter(|v| !v.is_empty())
    }

    /// The value of an XDG variable: the specification says that a relative path is to be ignored.
    fn xdg(&self, name: &str) -> Option<PathBuf> {
        self.get(name)
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    }

    /// `$XDG_CONFIG_HOME`, else `~/.config`.
    pub fn config_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_CONFIG_HOME")
            .or_else(|| Some(self.home()?.join(".config")))
    }

    /// `$XDG_CACHE_HOME`, else `~/.cache`.
    fn cache_home(&self) -> Option<PathBuf> {
        self.xdg("XDG_CACHE_HOME")
            .or_else(|| Some(self.home()?.join(".cache")))
    }

    /// `$HOME`, if it is an absolute path.
    fn home(&self) -> Option<PathBuf> {
        self.xdg("HOME")
    }
}

impl std::fmt::Debug for Env<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Env")
    }
}
