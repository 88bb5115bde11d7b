//! `coracle-oci create`

use std::path::PathBuf;

use super::{Context, Problem};
use crate::ops::oci::create::{self, Options};

/// Create a container from a bundle, and have it wait for its start
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    making: Making,
}

/// Options of `create` and `run`.
#[derive(Debug, clap::Args)]
pub(super) struct Making {
    /// Name of the container
    id: String,
    /// Directory of the bundle
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,
    /// Configuration, if that is not the bundle's config.json
    #[arg(short = 'f', long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Unix socket to which the terminal is sent
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,
    /// Write the process id of the container there
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,
    /// Hand on this many open descriptors, from 3
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,
    /// Enter the root file system without pivot_root(2)
    #[arg(long)]
    no_pivot: bool,
    /// Keep the caller's session keyring
    #[arg(long)]
    no_new_keyring: bool,
}

impl Making {
    pub(super) fn options(&self) -> Options {
        Options {
            id: self.id.clone(),
            bundle: self.bundle.clone(),
            config: self.config.clone(),
            console_socket: self.console_socket.clone(),
            pid_file: self.pid_file.clone(),
            preserve_fds: self.preserve_fds,
            no_pivot: self.no_pivot,
            no_new_keyring: self.no_new_keyring,
        }
    }
}

pub(super) fn exec(c: &Context<'_>, args: &Args) -> Result<u8, Problem> {
    create::create(&c.runtime, &args.making.options())?;
    Ok(0)
}
