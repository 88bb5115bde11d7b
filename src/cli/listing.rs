//! Flags that every list has: what of it is shown, and how. docker-ps(1), docker-image-ls(1).

use super::format;

#[derive(Debug, clap::Args)]
pub(super) struct Listing {
    /// Print with a Go-like template, "table TEMPLATE", or "json"
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,
    /// Do not shorten ids and other long fields
    #[arg(long)]
    pub(super) no_trunc: bool,
    /// Print ids only
    #[arg(short, long)]
    pub(super) quiet: bool,
}

impl Listing {
    /// The template, if it is not the table that is printed anyway.
    pub(super) fn template(&self) -> Option<&str> {
        format::wanted(self.format.as_deref())
    }
}
