//! A layer that was unpacked with a recipe, to be made again.

use std::fs::{self, File};
use std::io::Cursor;
use std::os::fd::AsFd as _;

use coracle::layer::{Applied, Limits, RebuildError, Recipe, apply_recorded, rebuild, remove_tree};
use coracle::oci::Digest;

/// An unpacked layer with its recipe.
pub(crate) struct Layer {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) applied: Applied,
}

impl Layer {
    pub(crate) fn new(blob: &[u8]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("diff")).unwrap();
        let mut layer = Self {
            dir,
            applied: Applied {
                diff_id: Digest::of(b""),
                entries: 0,
                size: 0,
                tar_bytes: 0,
                recorded: false,
            },
        };
        let dest = File::open(layer.at("")).unwrap();
        let sidecar = layer.dir.path().join("owners");
        layer.applied = apply_recorded(
            Cursor::new(blob),
            dest.as_fd(),
            &sidecar,
            &layer.recipe(),
            &Limits::default(),
        )
        .unwrap();
        assert!(layer.applied.recorded);
        layer
    }

    pub(crate) fn at(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join("diff").join(path)
    }

    pub(crate) fn recipe(&self) -> Recipe {
        Recipe {
            file: self.dir.path().join("tar"),
            replaced: self.dir.path().join("replaced"),
        }
    }

    pub(crate) fn rebuild(&self) -> Result<Vec<u8>, RebuildError> {
        let mut out = Vec::new();
        rebuild(
            &self.at(""),
            &self.recipe(),
            &self.applied.diff_id,
            &mut out,
        )
        .map(|()| out)
    }

    /// Names of what the tar replaced.
    pub(crate) fn replaced(&self) -> usize {
        fs::read_dir(self.recipe().replaced).map_or(0, Iterator::count)
    }
}

impl Drop for Layer {
    fn drop(&mut self) {
        let dir = File::open(self.dir.path()).unwrap();
        for name in ["diff", "replaced"] {
            let _ = remove_tree(dir.as_fd(), name.as_ref());
        }
    }
}
