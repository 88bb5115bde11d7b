//! The values of `run`'s options: text in, typed or refused with the reason.

mod limits;
mod log;
mod mounts;
mod network;
mod secrets;
mod security;
mod words;

pub(super) use limits::{signal, size, ulimit};
pub(super) use log::{LogOption, log_config, log_driver, log_option};
pub(super) use mounts::{
    device, image_volumes, mount, no_duplicate_targets, tmpfs, volume, volumes_from,
};
pub(super) use network::{add_host, hostname, network};
pub(super) use secrets::secret;
pub(super) use security::{capability, group_add, identity, namespace, security, userns};
pub(super) use words::{absolute, driver, env, env_file, keys, label, pair, pull};

type Parsed<T> = Result<T, String>;
