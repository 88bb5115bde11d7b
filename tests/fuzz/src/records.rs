//! Records beside a layer: owners and attributes, as a stranger with access to the store could write them.
#![no_main]

use std::path::PathBuf;
use std::sync::OnceLock;

use coracle::owners::{Owner, Owners};
use libfuzzer_sys::fuzz_target;

fn file() -> &'static PathBuf {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| {
        let dir = tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written to");
        dir.keep().join("owners")
    })
}

fuzz_target!(|bytes: &[u8]| {
    if let Some(owner) = Owner::parse(bytes) {
        assert_eq!(Owner::parse(owner.to_string().as_bytes()), Some(owner));
    }
    std::fs::write(file(), bytes).expect("written");
    if let Ok(owners) = Owners::read(file()) {
        assert!(owners.iter().all(|(path, _)| !path.starts_with(b"/")));
    }
    let _ = Owners::read_journal(file());
});
