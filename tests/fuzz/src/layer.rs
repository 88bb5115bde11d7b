//! Layers: unpacked in a directory of their own, recorded, made again, and removed.
#![no_main]

use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::OnceLock;

use coracle::layer::{Limits, Recipe, apply_recorded, rebuild, remove_tree};
use libfuzzer_sys::fuzz_target;
use rustix::fs::{CWD, Mode, OFlags, openat};

fn place() -> &'static Path {
    static PLACE: OnceLock<tempfile::TempDir> = OnceLock::new();
    PLACE
        .get_or_init(|| tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written to"))
        .path()
}

fuzz_target!(|blob: &[u8]| {
    let (tree, sidecar) = (place().join("diff"), place().join("owners"));
    let recipe = Recipe {
        file: place().join("tar"),
        replaced: place().join("replaced"),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat(CWD, place(), flags, Mode::empty()).expect("it is there");
    std::fs::create_dir(&tree).expect("it was removed");
    let dest = openat(CWD, &tree, flags, Mode::empty()).expect("it was made");
    let limits = Limits {
        max_entries: 1000,
        max_bytes: 1 << 20,
        max_path: 300,
        max_pax: 1 << 12,
    };
    if let Ok(applied) = apply_recorded(blob, dest.as_fd(), &sidecar, &recipe, &limits) {
        // A tar that replaces too much has none.
        if recipe.file.exists() {
            rebuild(&tree, &recipe, &applied.diff_id, std::io::sink()).expect("the same tar");
        }
    }
    for name in ["diff", "replaced"] {
        remove_tree(parent.as_fd(), name.as_ref()).expect("it can be removed");
    }
    for file in [&sidecar, &recipe.file] {
        let _ = std::fs::remove_file(file);
    }
    let left: Vec<_> = std::fs::read_dir(place()).expect("a list").flatten().collect();
    assert!(left.is_empty(), "outside of the tree: {left:?}");
});
