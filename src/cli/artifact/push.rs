//! `coracle artifact push NAME [FILE...]`

use std::path::PathBuf;

use crate::cli::intake::RegistryArgs;
use crate::cli::manifest::{annotation, map};
use crate::cli::push::report;
use crate::cli::{Failure, progress};
use crate::ops::artifact::{self, Made, Source, is_media_type};

/// Upload files as an artifact
///
/// One that has a subject needs no tag. Prints the digest of its manifest.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// What it is: a media type
    #[arg(long = "type", visible_alias = "artifact-type", value_name = "TYPE")]
    artifact_type: Option<String>,
    /// Image or artifact of the same repository that it refers to: a name, or a digest
    #[arg(long, value_name = "NAME")]
    subject: Option<String>,
    /// An annotation
    #[arg(short, long = "annotation", value_name = "KEY=VALUE", value_parser = annotation)]
    annotations: Vec<(String, String)>,
    /// Write the digest of the manifest to a file as well
    #[arg(long, value_name = "FILE")]
    digestfile: Option<PathBuf>,
    /// Print nothing but the digest
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// [REGISTRY/]REPOSITORY[:TAG]
    name: String,
    /// File, and what it is
    #[arg(value_name = "FILE[:MEDIATYPE]")]
    files: Vec<String>,
}

/// A file whose name ends like a media type is that file.
fn source(word: &str) -> Source {
    let whole = Source {
        path: word.into(),
        media_type: None,
    };
    match word.rsplit_once(':') {
        Some((path, media_type)) if is_media_type(media_type) && !whole.path.exists() => Source {
            path: path.into(),
            media_type: Some(media_type.to_owned()),
        },
        _ => whole,
    }
}

pub(in crate::cli) fn exec(args: &Args) -> Result<u8, Failure> {
    if args.files.is_empty() && args.artifact_type.is_none() {
        return Err(Failure::usage(
            "an artifact without files is nothing but its type and annotations: give --type",
        ));
    }
    let sources: Vec<Source> = args.files.iter().map(|f| source(f)).collect();
    let made = Made {
        access: args.registry.access(),
        artifact_type: args.artifact_type.clone(),
        subject: args.subject.clone(),
        annotations: map(&args.annotations),
    };
    let progress = progress::new(args.quiet);
    let digest = artifact::push(&args.name, &sources, &made, &*progress)?;
    drop(progress);
    report(args.digestfile.as_deref(), &digest)
}

#[cfg(test)]
mod tests {
    use super::source;

    #[test]
    fn a_media_type_stands_behind_the_last_colon() {
        for (word, path, media_type) in [
            ("a.txt", "a.txt", None),
            ("a.txt:text/plain", "a.txt", Some("text/plain")),
            ("/x:y/a:text/plain", "/x:y/a", Some("text/plain")),
            ("a:b", "a:b", None),
            ("a:b/c/d", "a:b/c/d", None),
        ] {
            let source = source(word);
            assert_eq!(
                (source.path.to_str(), source.media_type.as_deref()),
                (Some(path), media_type),
                "{word}"
            );
        }
    }
}
