//! Image configurations: an image that has nothing else is loaded, shown and removed.
#![no_main]

use std::path::Path;
use std::sync::OnceLock;

use coracle::oci::{Digest, media};
use coracle::ops::load::{Input, Request};
use coracle::ops::progress::Silent;
use coracle::ops::{IntakeOptions, history, inspect, load, rmi};
use coracle::store::Store;
use libfuzzer_sys::fuzz_target;
use serde_json::json;

fn place() -> &'static Path {
    static PLACE: OnceLock<tempfile::TempDir> = OnceLock::new();
    PLACE
        .get_or_init(|| tempfile::tempdir_in("/dev/shm").expect("/dev/shm can be written to"))
        .path()
}

/// A layout without layers: the diff_ids must be none, or the image is refused.
fn write(layout: &Path, config: &[u8]) {
    let put = |bytes: &[u8]| {
        let digest = Digest::of(bytes);
        std::fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).expect("written");
        json!({ "digest": digest, "size": bytes.len() })
    };
    std::fs::create_dir_all(layout.join("blobs/sha256")).expect("made");
    let mut config = put(config);
    config["mediaType"] = json!(media::OCI_CONFIG);
    let manifest = json!({"schemaVersion": 2, "mediaType": media::OCI_MANIFEST, "config": config, "layers": []});
    let mut entry = put(manifest.to_string().as_bytes());
    entry["mediaType"] = json!(media::OCI_MANIFEST);
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    std::fs::write(layout.join("index.json"), index.to_string()).expect("written");
    std::fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).expect("written");
}

fuzz_target!(|config: &[u8]| {
    // Most of what libFuzzer makes is no JSON, and says nothing beyond that.
    if serde_json::from_slice::<serde_json::Value>(config).is_err() {
        return;
    }
    let (layout, root) = (place().join("layout"), place().join("store"));
    let _ = std::fs::remove_dir_all(&layout);
    write(&layout, config);
    let store = Store::open(&root).expect("a store");
    let request = Request {
        input: Input::Path(layout),
        tag: None,
        options: IntakeOptions::default(),
    };
    for loaded in load::load(&store, &request, &Silent).into_iter().flatten() {
        let id = loaded.image.id.to_string();
        let _ = inspect::inspect(&store, &id, &inspect::Options::default(), &Silent);
        let _ = history::history(&store, &id);
        rmi::remove(&store, &id, true).expect("it can be removed");
    }
    rmi::collect(&store).expect("what is left can be collected");
    assert_eq!(store.all_blobs().expect("a list").len(), 0);
});
