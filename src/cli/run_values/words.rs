//! Variables, labels and choices.

use std::path::Path;

use super::Parsed;
use crate::cli::Failure;
use crate::ops::pull::PullPolicy;
use crate::ops::run::EnvVar;
use crate::rootfs::Driver;

/// `-w`
pub(in crate::cli) fn absolute(s: &str) -> Parsed<std::path::PathBuf> {
    if s.starts_with('/') {
        Ok(s.into())
    } else {
        Err(format!("{s:?} is not an absolute path in the container"))
    }
}

/// `NAME[=VALUE]`
pub(in crate::cli) fn env(s: &str) -> Parsed<EnvVar> {
    match s.split_once('=') {
        Some(("", _)) => Err("a variable needs a name".to_owned()),
        Some((name, value)) => Ok(EnvVar::Set(name.to_owned(), value.to_owned())),
        None if s.is_empty() => Err("a variable needs a name".to_owned()),
        None => Ok(EnvVar::Inherit(s.to_owned())),
    }
}

/// docker's env-file: a variable a line, `#` starts a comment line, nothing is quoted.
pub(in crate::cli) fn env_file(path: &Path) -> Result<Vec<EnvVar>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|e| Failure::usage(format!("--env-file {}: {e}", path.display())))?;
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split('=').next().unwrap_or_default();
        if name.contains(char::is_whitespace) {
            return Err(Failure::usage(format!(
                "--env-file {}: line {}: the name {name:?} has white space",
                path.display(),
                number + 1
            )));
        }
        out.push(env(line).map_err(|e| {
            Failure::usage(format!(
                "--env-file {}: line {}: {e}",
                path.display(),
                number + 1
            ))
        })?);
    }
    Ok(out)
}

/// `NAME=VALUE`
pub(in crate::cli) fn pair(s: &str) -> Parsed<(String, String)> {
    match s.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("want NAME=VALUE".to_owned()),
    }
}

/// `NAME[=VALUE]`
pub(in crate::cli) fn label(s: &str) -> Parsed<(String, String)> {
    match s.split_once('=') {
        Some(("", _)) => Err("a label needs a name".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), value.to_owned())),
        None if s.is_empty() => Err("a label needs a name".to_owned()),
        None => Ok((s.to_owned(), String::new())),
    }
}

/// `--pull`
pub(in crate::cli) fn pull(s: &str) -> Parsed<PullPolicy> {
    match s {
        "missing" => Ok(PullPolicy::Missing),
        "always" | "true" => Ok(PullPolicy::Always),
        "never" | "false" => Ok(PullPolicy::Never),
        "newer" => Ok(PullPolicy::Newer),
        _ => Err(format!(
            "unknown policy {s:?}: want missing, always, newer or never"
        )),
    }
}

/// Where the storage driver is forced.
pub(in crate::cli) fn driver(s: &str) -> Parsed<Driver> {
    // podman's name for it.
    let name = if s == "vfs" { Driver::Copy.name() } else { s };
    [Driver::Overlay, Driver::FuseOverlayfs, Driver::Copy]
        .into_iter()
        .find(|d| d.name() == name)
        .ok_or_else(|| {
            format!("unknown storage driver {s:?}: want overlay, fuse-overlayfs or copy")
        })
}
/// `--detach-keys`
pub(in crate::cli) fn keys(s: &str) -> Parsed<crate::ops::start::Keys> {
    crate::ops::start::Keys::parse(s)
        .ok_or_else(|| format!("{s:?}: want letters or ctrl-LETTER, with commas between"))
}
