//! Names of images, digests and platforms: what is taken comes back as it is written.
#![no_main]

use coracle::oci::{Digest, Platform, Reference};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(name) = text.parse::<Reference>() {
        let again: Reference = name.to_string().parse().expect("what was printed is a name");
        assert_eq!(again, name);
        // It becomes part of URLs and file names.
        assert!(name.to_string().bytes().all(|b| b.is_ascii_graphic()));
        assert!(!name.repository().split('/').any(|part| part.is_empty() || part.starts_with('.')));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        let _ = platform.to_string().parse::<Platform>();
    }
});
