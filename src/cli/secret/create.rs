//! `coracle secret create NAME FILE|-`

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

use crate::cli::{Failure, Global, run_values as values, text};
use crate::ops::secret::{self, DATA_MAX, Options};

/// Keep a secret
///
/// Prints its id. Its content is that of FILE, or of standard input for "-".
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// Driver; there is one
    #[arg(short, long, value_name = "DRIVER", default_value = "file", value_parser = ["file"])]
    driver: String,
    /// FILE is the name of an environment variable that has the content
    #[arg(long)]
    env: bool,
    /// Label it: NAME[=VALUE]
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = values::label)]
    label: Vec<(String, String)>,
    /// Put it in the place of one of this name
    #[arg(long)]
    replace: bool,
    /// Its name
    name: String,
    /// File with its content, or - for standard input
    file: PathBuf,
}

pub(in crate::cli) fn exec(global: &Global, args: &Args) -> Result<u8, Failure> {
    let mut options = Options {
        name: args.name.clone(),
        labels: args.label.clone(),
        replace: args.replace,
        ..Options::default()
    };
    options.data.0 = content(args)?;
    let id = secret::create(&global.store()?, &options)?;
    text::stdout(|out| writeln!(out, "{id}"))?;
    Ok(0)
}

/// No more than shows that it is too much.
fn content(args: &Args) -> Result<Vec<u8>, Failure> {
    let shown = args.file.display();
    if args.env {
        let value = std::env::var_os(&args.file);
        let value = value.ok_or_else(|| Failure::usage(format!("there is no variable {shown}")))?;
        return Ok(value.into_vec());
    }
    let failed = |e: io::Error| Failure::io(format!("cannot read {shown}: {e}"));
    let mut data = Vec::new();
    let from: Box<dyn Read> = match args.file.as_os_str() == "-" {
        true => Box::new(io::stdin().lock()),
        false => Box::new(File::open(&args.file).map_err(failed)?),
    };
    from.take(DATA_MAX as u64)
        .read_to_end(&mut data)
        .map_err(failed)?;
    Ok(data)
}
