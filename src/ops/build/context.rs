//! The directory that a build is given, its Containerfile, and what of it is none of the build.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::super::Error;
use super::BuildError;
use crate::build::{IGNORE_MAX, Ignore, TEXT_MAX};
use crate::layer::pack::Tree;

/// Names of the file when none is given, in podman's order.
const NAMES: [&str; 2] = ["Containerfile", "Dockerfile"];
/// Names of the ignore file when the Containerfile has none of its own, in podman's order.
const IGNORES: [&str; 2] = [".containerignore", ".dockerignore"];

/// Both.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) dir: PathBuf,
    /// The Containerfile, for messages.
    pub(super) file: PathBuf,
    /// What it says.
    pub(super) text: String,
    pub(super) ignore: Ignore,
}

impl Context {
    /// `file`: as it was given; `-` is standard input.
    pub(super) fn open(dir: &Path, file: Option<&Path>) -> Result<Self, Error> {
        let dir = dir
            .canonicalize()
            .map_err(|e| Error::file("open the context", dir, e))?;
        let file = match file {
            Some(file) if file == Path::new("-") => file.to_owned(),
            // As podman: of the current directory, else of the context.
            Some(file) if file.exists() || file.is_absolute() => file.to_owned(),
            Some(file) => dir.join(file),
            None => {
                let mut all = NAMES.iter().map(|n| dir.join(n));
                let found = all.find(|f| f.exists());
                found.ok_or_else(|| BuildError::NoFile(dir.clone()))?
            }
        };
        let text = match file == Path::new("-") {
            true => text(&file, std::io::stdin(), TEXT_MAX)?,
            false => text(&file, open(&file)?, TEXT_MAX)?,
        };
        let ignore = ignore(&dir, &file)?;
        Ok(Self {
            dir,
            file,
            text,
            ignore,
        })
    }

    /// Its files.
    pub(super) fn tree(&self) -> Tree {
        Tree::bare(self.dir.clone())
    }
}

/// `Containerfile.dockerignore` beside the Containerfile, else that of the context.
fn ignore(dir: &Path, file: &Path) -> Result<Ignore, Error> {
    let own = IGNORES.map(|end| {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(end);
        file.with_file_name(name)
    });
    let all = own.into_iter().chain(IGNORES.map(|n| dir.join(n)));
    let Some(found) = { all }.find(|f| f.exists()) else {
        return Ok(Ignore::default());
    };
    let text = text(&found, open(&found)?, IGNORE_MAX)?;
    let parsed = Ignore::parse(&text);
    Ok(parsed.map_err(|problem| BuildError::Ignore {
        file: found,
        problem,
    })?)
}

/// A fifo or device would hold us up.
fn open(path: &Path) -> Result<File, Error> {
    let meta = std::fs::metadata(path);
    let file = meta.and_then(|m| match m.is_file() {
        true => File::open(path),
        false => Err(std::io::Error::other("not a regular file")),
    });
    file.map_err(|e| Error::file("open", path, e))
}

fn text(path: &Path, from: impl std::io::Read, max: usize) -> Result<String, Error> {
    let mut bytes = Vec::new();
    from.take(max as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|e| Error::file("read", path, e))?;
    if bytes.len() > max {
        let file = path.to_owned();
        return Err(BuildError::TooLarge { file, max }.into());
    }
    let text = String::from_utf8(bytes);
    Ok(text.map_err(|_| BuildError::NotText(path.to_owned()))?)
}
