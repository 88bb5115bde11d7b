//! Files of the user's and the machine's that other tools write: logins, registries.conf, policy.json.
#![no_main]

use std::path::Path;

use coracle::config::auth::Credentials;
use coracle::config::registries::Registries;
use coracle::oci::Reference;
use coracle::trust::{Image, Policy};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let path = Path::new("/x");
    let name: Reference = "quay.io/a/b:1".parse().expect("a name");
    let _ = Credentials::parse(text, path);
    if let Ok(registries) = Registries::parse(text, path) {
        let _ = registries.meaning("b");
        if let Ok(places) = registries.places(&name) {
            assert!(!places.is_empty());
        }
    }
    if let Ok(policy) = Policy::parse(text.as_bytes()) {
        assert!(!policy.requirements(Image::Docker(&name)).is_empty(), "nothing asked for is not nothing needed");
    }
});
