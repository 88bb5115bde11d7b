//! `coracle commit CONTAINER [IMAGE]`

use clap::ValueEnum;

use super::{Failure, Global, progress, text};
use crate::oci::Reference;
use crate::ops;
use crate::ops::commit::{self, Change};

/// Make an image of what a container wrote
///
/// The new image is that of the container with one layer more. Its configuration is that of the image, and
/// not what `run` was told: use --change for another command or environment. The container may run.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Who made it
    #[arg(short, long)]
    author: Option<String>,
    /// Change the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or
    /// WORKDIR, as in a Containerfile
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// Documents of which kind the image has
    #[arg(short, long, value_name = "FORMAT", default_value = "oci")]
    format: Format,
    /// A comment, shown by coracle history
    #[arg(short, long)]
    message: Option<String>,
    /// Accepted for docker's sake: nothing is paused, since a container's files can be read while it runs,
    /// and one that changes meanwhile is told
    #[arg(
        short,
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        value_parser = super::filters::truth,
        default_missing_value = "true",
        default_value_t = true,
        action = clap::ArgAction::Set
    )]
    pause: bool,
    /// Print the id of the new image and nothing else
    #[arg(short, long)]
    quiet: bool,
    /// Name or id of the container
    container: String,
    /// Name of the new image; without one it is used by its id
    image: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// OCI image-spec
    Oci,
    /// Docker schema 2
    Docker,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let name = args.image.as_deref().map(str::parse::<Reference>);
    let options = commit::Options {
        name: name.transpose().map_err(ops::Error::from)?,
        author: args.author.clone(),
        message: args.message.clone(),
        changes: args.change.clone(),
        format: match args.format {
            Format::Oci => commit::Format::Oci,
            Format::Docker => commit::Format::Docker,
        },
    };
    let store = global.store()?;
    let image = commit::commit(&store, &args.container, &options, &*progress::new(true))?;
    text::stdout(|out| writeln!(out, "{}", image.id))?;
    Ok(0)
}
