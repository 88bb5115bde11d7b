//! Which containers a verb is about, in podman's words, and what to say of each.

use std::path::PathBuf;

use super::ps::filter;
use super::{Failure, report, text};
use crate::ops::ps::{self, Filter, Wanted};
use crate::ops::{self, Store};
use crate::store;

/// The choice of containers
#[derive(Debug, Default, clap::Args)]
pub(super) struct Which {
    /// All containers that the verb makes sense for
    #[arg(short, long, conflicts_with_all = ["containers", "latest", "cidfile"])]
    pub(super) all: bool,
    /// The youngest container
    #[arg(short, long, conflicts_with = "containers")]
    pub(super) latest: bool,
    /// Read an id from a file
    #[arg(long, value_name = "FILE")]
    pub(super) cidfile: Vec<PathBuf>,
    /// Those of which this is true, as with ps
    #[arg(short, long = "filter", value_name = "KEY=VALUE", value_parser = filter, conflicts_with = "containers")]
    pub(super) filters: Vec<Filter>,
    /// Do not complain about a container that is not there
    #[arg(short, long)]
    pub(super) ignore: bool,
    /// Name or id of the container
    #[arg(required_unless_present_any = ["all", "latest", "cidfile", "filters"], value_name = "CONTAINER")]
    pub(super) containers: Vec<String>,
}

impl Which {
    /// Their names or ids. `sensible`: which of all.
    pub(super) fn names(
        &self,
        store: &Store,
        sensible: impl Fn(&ps::Container) -> bool,
    ) -> Result<Vec<String>, Failure> {
        let mut names = self.containers.clone();
        for file in &self.cidfile {
            match std::fs::read_to_string(file) {
                Ok(text) => names.push(text.lines().next().unwrap_or_default().to_owned()),
                Err(e) if self.ignore && e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(Failure::io(format!("cannot read {}: {e}", file.display())));
                }
            }
        }
        if self.all || self.latest || !self.filters.is_empty() {
            let wanted = Wanted {
                all: true,
                filters: self.filters.clone(),
                last: self.latest.then_some(1),
            };
            let list = ps::ps(store, &wanted)?;
            names.extend(
                list.into_iter()
                    .filter(|c| self.latest || sensible(c))
                    .map(|c| c.id),
            );
        }
        Ok(names)
    }

    /// Whether a container that went meanwhile, or was never there, is worth a word.
    pub(super) fn is_forgiven(&self, e: &ops::Error) -> bool {
        (self.ignore || self.all || !self.filters.is_empty())
            && matches!(e, ops::Error::Store(store::Error::NoSuchContainer(_)))
    }

    /// Do it to each and print the name of each to which it was done; the others are told about, and the last
    /// failure decides the exit code.
    pub(super) fn each(
        &self,
        store: &Store,
        sensible: impl Fn(&ps::Container) -> bool,
        act: impl Fn(&str) -> Result<(), ops::Error>,
    ) -> Result<u8, Failure> {
        let mut code = 0;
        for name in self.names(store, sensible)? {
            match act(&name) {
                Ok(()) => text::stdout(|out| writeln!(out, "{name}"))?,
                Err(e) if self.is_forgiven(&e) => {}
                Err(e) => code = report::failure(&e.into()),
            }
        }
        Ok(code)
    }
}
