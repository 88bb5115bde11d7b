//! `coracle verify --key FILE IMAGE`

use std::path::PathBuf;

use serde_json::Value;

use super::intake::RegistryArgs;
use super::{Failure, Global, report, text};
use crate::oci::Reference;
use crate::ops::verify::{self, Request};

/// There is no good signature, as cosign has it.
const EXIT_NOT_SIGNED: u8 = 1;

/// Check who has signed an image of a registry
///
/// Looks for sigstore signatures that were made with a key pair, and prints what they say. Ends with 1 if there
/// is none that the key fits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Public key, in PEM; of several one must fit
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// The signature must be for the very tag, not only for the repository
    #[arg(long)]
    exact: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// Name of the image
    image: Reference,
}

pub(super) fn exec(_: &Global, args: &Args) -> Result<u8, Failure> {
    let request = Request {
        image: args.image.clone(),
        keys: args.keys.clone(),
        exact: args.exact,
        access: args.registry.access(),
    };
    let verified = match verify::verify(&request) {
        Ok(verified) => verified,
        Err(e) if e.is_not_signed() => {
            report::failure(&e.into());
            return Ok(EXIT_NOT_SIGNED);
        }
        Err(e) => return Err(e.into()),
    };
    let payloads = verified.payloads.iter();
    // They were parsed before the key counted.
    let list: Vec<Value> = payloads
        .filter_map(|p| serde_json::from_slice(p).ok())
        .collect();
    let json = Value::Array(list).to_string();
    text::stdout(|out| writeln!(out, "{}", text::json_printable(&json)))?;
    text::stderr(&format!(
        "{} is signed, as {}",
        request.image, verified.manifest
    ));
    Ok(0)
}
