//! `--output FILE` of verbs that write an archive.

use std::fs::File;
use std::io::{self, IsTerminal as _};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use super::Failure;

/// Where an archive goes. A file that is not complete in the end is removed.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    /// To be removed.
    path: Option<PathBuf>,
}

impl Output {
    /// A file, or standard output, which must not be a terminal.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let failed = |what: &Path| {
            let what = what.display().to_string();
            move |e: io::Error| Failure::io(format!("cannot create {what}: {e}"))
        };
        match path.filter(|p| p.as_os_str() != "-") {
            Some(path) => Ok(Self {
                file: File::create(path).map_err(failed(path))?,
                // A device or a pipe stays.
                path: path.is_file().then(|| path.to_owned()),
            }),
            None if io::stdout().is_terminal() => {
                Err(Failure::usage("cannot write an archive to a terminal")
                    .with_hint("give a file with --output, or redirect standard output"))
            }
            None => Ok(Self {
                file: File::from(io::stdout().as_fd().try_clone_to_owned()?),
                path: None,
            }),
        }
    }

    /// What to write to.
    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// It is complete.
    pub(super) fn keep(mut self) {
        self.path = None;
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            // The failure that led here is the one to tell.
            let _ = std::fs::remove_file(path);
        }
    }
}
