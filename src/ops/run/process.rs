//! The program of a container: its arguments and its environment, from the image and the options.

use std::collections::HashSet;

use oci_spec::image::ImageConfiguration;

use super::options::Options;
use crate::ops::Error;

/// Docker's, when the image has none.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What an image says about its program.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageDefaults {
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub env: Vec<String>,
    pub user: String,
    pub workdir: String,
    pub labels: Vec<(String, String)>,
    pub stop_signal: Option<String>,
    /// Where it wants volumes.
    pub volumes: Vec<String>,
}

impl ImageDefaults {
    pub(super) fn of(image: &ImageConfiguration) -> Self {
        let Some(c) = image.config() else {
            return Self::default();
        };
        let list = |v: &Option<Vec<String>>| v.clone().unwrap_or_default();
        let mut labels: Vec<_> = c.labels().clone().unwrap_or_default().into_iter().collect();
        labels.sort();
        Self {
            entrypoint: list(c.entrypoint()),
            cmd: list(c.cmd()),
            env: list(c.env()),
            user: c.user().clone().unwrap_or_default(),
            workdir: c.working_dir().clone().unwrap_or_default(),
            labels,
            stop_signal: c.stop_signal().clone(),
            volumes: list(c.volumes()),
        }
    }
}

/// Entrypoint and command as docker joins them: `--entrypoint` drops the image's command as well, and
/// arguments replace the command only.
pub(super) fn args(o: &Options, image: &ImageDefaults) -> Result<Vec<String>, Error> {
    let mut args = match &o.entrypoint {
        Some(e) if e.is_empty() => Vec::new(),
        Some(e) => vec![e.clone()],
        None => image.entrypoint.clone(),
    };
    if !o.command.is_empty() {
        args.extend(o.command.iter().cloned());
    } else if o.entrypoint.is_none() {
        args.extend(image.cmd.iter().cloned());
    }
    if args.is_empty() {
        return Err(Error::NoCommand);
    }
    Ok(args)
}

/// The environment: defaults, the image's, then the options', later ones winning in place. HOME is
/// left to the runtime, which knows the container's passwd file.
pub(super) fn environment(
    o: &Options,
    image: &ImageDefaults,
    hostname: &str,
    caller: impl Fn(&str) -> Option<String>,
) -> Vec<String> {
    let mut all = vec![DEFAULT_PATH.to_owned(), format!("HOSTNAME={hostname}")];
    if o.tty {
        all.push("TERM=xterm".to_owned());
    }
    all.push("container=coracle".to_owned());
    all.extend(image.env.iter().cloned());
    all.extend(o.env.iter().filter_map(|e| e.text(&caller)));
    latest(all)
}

/// Of variables that are set several times the last, in its place.
pub(in crate::ops) fn latest(all: Vec<String>) -> Vec<String> {
    let name = |e: &str| e.split('=').next().unwrap_or_default().to_owned();
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = Vec::with_capacity(all.len());
    for e in all.into_iter().rev() {
        if seen.insert(name(&e)) {
            kept.push(e);
        }
    }
    kept.reverse();
    kept
}
