//! Images made on the spot, for the tests that drive the binary: OCI layouts and docker archives,
//! right ones and such as only a stranger would make. And a way to run the binary on a store of its
//! own.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use coracle::oci::Digest;
use serde_json::{Value, json};

/// One layer: files and their contents.
pub(crate) type Files<'a> = &'a [(&'a str, &'a [u8])];

/// A plain tar of regular files.
pub(crate) fn tar(files: Files<'_>) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress, the same each time.
pub(crate) fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(len);
    bytes
}

/// An image before it is written down; every part may be spoilt first.
pub(crate) struct Image {
    pub(crate) config: Value,
    pub(crate) config_type: &'static str,
    /// Blob and descriptor of each layer.
    pub(crate) layers: Vec<(Vec<u8>, Value)>,
    pub(crate) tag: Option<String>,
}

impl Image {
    /// Layers with gzip, bottom first.
    pub(crate) fn new(tag: &str, layers: &[Files<'_>]) -> Self {
        let tars: Vec<Vec<u8>> = layers.iter().map(|l| tar(l)).collect();
        let diff_ids: Vec<Digest> = tars.iter().map(|t| Digest::of(t)).collect();
        let history: Vec<Value> = (1..=tars.len())
            .map(|i| json!({"created": "2024-11-12T00:00:00Z", "created_by": format!("step {i}")}))
            .collect();
        Self {
            config: json!({
                "created": "2024-11-12T00:00:00Z",
                "architecture": coracle::oci::Platform::host().architecture,
                "os": "linux",
                "config": {"Cmd": ["sh"], "Env": ["A=b"], "Labels": {"x.y": "z"}},
                "rootfs": {"type": "layers", "diff_ids": diff_ids},
                "history": history,
            }),
            config_type: "application/vnd.oci.image.config.v1+json",
            layers: tars
                .iter()
                .map(|tar| {
                    let blob = gzip(tar);
                    let descriptor = json!({
                        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                        "digest": Digest::of(&blob),
                        "size": blob.len(),
                    });
                    (blob, descriptor)
                })
                .collect(),
            tag: Some(tag.to_owned()),
        }
    }

    pub(crate) fn config_bytes(&self) -> Vec<u8> {
        self.config.to_string().into_bytes()
    }

    /// Full id, with `sha256:`.
    pub(crate) fn id(&self) -> String {
        Digest::of(&self.config_bytes()).to_string()
    }

    pub(crate) fn manifest(&self) -> Value {
        let config = self.config_bytes();
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {
                "mediaType": self.config_type,
                "digest": Digest::of(&config),
                "size": config.len(),
            },
            "layers": self.layers.iter().map(|(_, d)| d.clone()).collect::<Vec<_>>(),
        })
    }

    /// Write an OCI layout with this image alone.
    pub(crate) fn write(&self, dir: &Path) {
        write_layout(dir, &[self]);
    }
}

pub(crate) fn write_layout(dir: &Path, images: &[&Image]) {
    let blobs = dir.join("blobs/sha256");
    std::fs::create_dir_all(&blobs).unwrap();
    let put = |name: &str, bytes: &[u8]| {
        let (_, hex) = name.split_once(':').unwrap();
        std::fs::write(blobs.join(hex), bytes).unwrap();
    };
    let mut entries = Vec::new();
    for image in images {
        for (blob, descriptor) in &image.layers {
            put(descriptor["digest"].as_str().unwrap(), blob);
        }
        put(&image.id(), &image.config_bytes());
        let manifest = image.manifest().to_string().into_bytes();
        let digest = Digest::of(&manifest).to_string();
        put(&digest, &manifest);
        let mut entry = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": manifest.len(),
        });
        if let Some(tag) = &image.tag {
            entry["annotations"] = json!({"org.opencontainers.image.ref.name": tag});
        }
        entries.push(entry);
    }
    std::fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let index = json!({"schemaVersion": 2, "manifests": entries});
    std::fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// A place for one test: a home, a store, and the binary.
pub(crate) struct Place {
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path("store")
    }

    pub(crate) fn store(&self) -> coracle::store::Store {
        coracle::store::Store::open(&self.root()).unwrap()
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command
            .env_clear()
            .env("HOME", self.dir.path())
            .env("TMPDIR", self.dir.path())
            .env("PATH", "/usr/bin:/bin")
            .arg("--root")
            .arg(self.root())
            .args(args)
            .current_dir(self.dir.path())
            .stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        Ran::from(self.command(args).output().unwrap())
    }

    /// Run, and insist on success; returns stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(0), "{args:?}: {}", ran.err);
        ran.out
    }

    /// Run, and insist on failure with code 125; returns stderr.
    pub(crate) fn fails(&self, args: &[&str]) -> String {
        let ran = self.run(args);
        assert_eq!(ran.code, Some(125), "{args:?}: {}{}", ran.out, ran.err);
        assert!(
            ran.err.lines().any(|l| l.starts_with("coracle: ")),
            "{}",
            ran.err
        );
        ran.err
    }

    /// Names in a directory of the store, sorted.
    pub(crate) fn names(&self, dir: &str) -> Vec<String> {
        names(&self.root().join(dir))
    }

    /// What one file of an image holds, in the topmost layer that has it.
    pub(crate) fn file(&self, image: &str, name: &str) -> Option<Vec<u8>> {
        let store = self.store();
        let image = store.images().find(image).unwrap();
        image
            .diff_ids()
            .rev()
            .find_map(|d| std::fs::read(store.layer_path(d).join(name)).ok())
    }
}

impl From<Output> for Ran {
    fn from(o: Output) -> Self {
        Self {
            code: o.status.code(),
            out: String::from_utf8(o.stdout).unwrap(),
            err: String::from_utf8(o.stderr).unwrap(),
        }
    }
}

pub(crate) fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
