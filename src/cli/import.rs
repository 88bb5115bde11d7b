//! `coracle import FILE [IMAGE]`

use std::io::IsTerminal as _;
use std::path::PathBuf;

use super::{Failure, Global, progress, text};
use crate::layer::Limits;
use crate::oci::{Platform, Reference};
use crate::ops;
use crate::ops::import::{self, Change};
use crate::ops::load::Input;

/// Make an image of a tar of files
///
/// The tar, plain or compressed with gzip or zstd, becomes the image's only layer as it is.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Change the configuration: CMD, ENTRYPOINT, ENV, EXPOSE, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME or
    /// WORKDIR, as in a Containerfile
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<Change>,
    /// A comment, shown by coracle history
    #[arg(short, long)]
    message: Option<String>,
    /// Platform that the files are for [default: this machine's]
    #[arg(long, value_name = "OS/ARCH[/VARIANT]")]
    platform: Option<Platform>,
    /// Refuse a tar that unpacks to more than this
    #[arg(
        long,
        value_name = "BYTES",
        env = "CORACLE_MAX_LAYER_SIZE",
        hide_env_values = true
    )]
    max_layer_size: Option<u64>,
    /// Print the id of the image and nothing else (it is all that is printed anyway)
    #[arg(short, long)]
    quiet: bool,
    /// The tar; - for standard input
    file: String,
    /// Name of the image; without one it is used by its id
    image: Option<String>,
}

pub(super) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    if args.file.starts_with("http://") || args.file.starts_with("https://") {
        let hint = format!("curl -fL {} | coracle import - ...", args.file);
        return Err(Failure::usage("import reads files, not the network").with_hint(hint));
    }
    let input = match args.file.as_str() {
        "-" if std::io::stdin().is_terminal() => {
            return Err(Failure::usage("cannot read a tar from a terminal")
                .with_hint("give a file, or redirect standard input"));
        }
        "-" => Input::Stdin,
        path => Input::Path(PathBuf::from(path)),
    };
    let mut limits = Limits::default();
    if let Some(max) = args.max_layer_size {
        limits.max_bytes = max;
    }
    let name = args.image.as_deref().map(str::parse::<Reference>);
    let request = import::Request {
        input,
        name: name.transpose().map_err(ops::Error::from)?,
        message: args.message.clone(),
        changes: args.change.clone(),
        platform: args.platform.clone(),
        limits,
    };
    let store = global.store()?;
    let image = import::import(&store, &request, &*progress::new(true))?;
    text::stdout(|out| writeln!(out, "{}", image.id))?;
    Ok(0)
}
