//! `coracle sign --key FILE IMAGE`

use std::path::PathBuf;

use super::intake::RegistryArgs;
use super::prompt::{self, NoAnswer};
use super::{Failure, Global, text};
use crate::oci::Reference;
use crate::ops::sign::{self, Request};

/// Environment variable of cosign's for the passphrase.
const PASSPHRASE: &str = "COSIGN_PASSWORD";

/// Sign an image of a registry with a private key
///
/// The signature says that what is there now is the image of this name, and is stored beside it. Prints the digest
/// of what was signed.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Private key: PKCS #8 in PEM, or one that cosign made
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File with the passphrase of the key [default: $COSIGN_PASSWORD, else it is asked for]
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// Of an index sign also the images in it
    #[arg(short, long)]
    recursive: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Name of the image
    image: Reference,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let request = Request {
        image: args.image.clone(),
        key: args.key.clone(),
        recursive: args.recursive,
        access: args.registry.access(),
    };
    let signed = sign::sign(&request, || passphrase(args))?;
    text::stdout(|out| signed.iter().try_for_each(|d| writeln!(out, "{d}")))?;
    Ok(0)
}

fn passphrase(args: &Args) -> Result<String, Failure> {
    if let Some(path) = &args.passphrase_file {
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|e| Failure::io(format!("cannot read {}: {e}", path.display())))?;
        let line = text.strip_suffix('\n').unwrap_or(&text);
        return Ok(line.strip_suffix('\r').unwrap_or(line).to_owned());
    }
    if let Some(word) = std::env::var_os(PASSPHRASE) {
        return word
            .into_string()
            .map_err(|_| Failure::usage(format!("{PASSPHRASE} is not text")));
    }
    if !prompt::possible() {
        return Err(Failure::usage(
            "the key is sealed, and its passphrase cannot be asked for: standard input is not a terminal",
        )
        .with_hint(format!("use --passphrase-file, or set {PASSPHRASE}")));
    }
    prompt::hidden("Passphrase of the key: ").map_err(|e| match e {
        NoAnswer::Io(e) => Failure::io(format!("cannot read from the terminal: {e}")),
        NoAnswer::Interrupted | NoAnswer::End => Failure::usage("no passphrase was given"),
    })
}
