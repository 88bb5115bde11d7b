//! Manifests and indexes: parsed by what they say they are and by what the transport says, and an image chosen.
#![no_main]

use coracle::oci::{Manifest, Platform, layer_compression, media};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for media_type in [None, Some(media::OCI_MANIFEST), Some(media::DOCKER_MANIFEST)] {
        match Manifest::parse(bytes, media_type) {
            Ok(Manifest::Image(image)) => {
                for layer in image.layers() {
                    let _ = layer_compression(layer);
                }
            }
            Ok(Manifest::Index(index)) => {
                let chosen = Platform::host().choose(index.manifests());
                assert!(chosen.is_none_or(|i| i < index.manifests().len()));
            }
            Err(e) => assert!(!e.to_string().is_empty()),
        }
    }
});
