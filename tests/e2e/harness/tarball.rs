//! Hand-made tar archives and images: what no honest tool would write.

use std::io::Write as _;

use sha2::{Digest as _, Sha256};

/// `sha256:…` of some bytes.
pub fn digest(data: &[u8]) -> String {
    let hash = Sha256::digest(data);
    let hex: String = hash.iter().map(|b| format!("{b:02x}")).collect();
    format!("sha256:{hex}")
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    out.write_all(data).unwrap();
    out.finish().unwrap()
}

/// A tar archive under construction: names and headers are written as they are given.
#[derive(Clone, Debug, Default)]
pub struct Tar(Vec<u8>);

impl Tar {
    pub fn new() -> Self {
        Self::default()
    }

    /// One header, with a size field of its own, which need not be true.
    pub fn header(
        mut self,
        name: &[u8],
        kind: u8,
        mode: u32,
        link: &[u8],
        size: &[u8; 12],
    ) -> Self {
        let mut h = [0_u8; 512];
        h[..name.len()].copy_from_slice(name);
        h[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        h[108..116].copy_from_slice(b"0000000\0");
        h[116..124].copy_from_slice(b"0000000\0");
        h[124..136].copy_from_slice(size);
        h[136..148].copy_from_slice(b"14524200000\0");
        h[148..156].fill(b' ');
        h[156] = kind;
        h[157..157 + link.len()].copy_from_slice(link);
        h[257..265].copy_from_slice(b"ustar\x0000");
        let sum: u32 = h.iter().map(|&b| u32::from(b)).sum();
        h[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0.extend_from_slice(&h);
        self
    }

    fn entry(self, name: &[u8], kind: u8, mode: u32, link: &[u8], data: &[u8]) -> Self {
        let size: [u8; 12] = format!("{:011o}\0", data.len())
            .into_bytes()
            .try_into()
            .unwrap();
        let mut t = self.header(name, kind, mode, link, &size);
        t.0.extend_from_slice(data);
        t.0.resize(t.0.len().next_multiple_of(512), 0);
        t
    }

    pub fn file(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'0', 0o644, b"", data.as_ref())
    }

    pub fn program(self, name: impl AsRef<[u8]>, data: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'0', 0o755, b"", data.as_ref())
    }

    pub fn dir(self, name: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'5', 0o755, b"", b"")
    }

    pub fn symlink(self, name: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'2', 0o777, to.as_ref(), b"")
    }

    pub fn hardlink(self, name: impl AsRef<[u8]>, to: impl AsRef<[u8]>) -> Self {
        self.entry(name.as_ref(), b'1', 0o644, to.as_ref(), b"")
    }

    /// A PAX header for the next entry.
    pub fn pax(self, records: &[(&str, &[u8])]) -> Self {
        let mut body = Vec::new();
        for (key, value) in records {
            let rest = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
            let mut size = rest.len();
            while size != rest.len() + size.to_string().len() {
                size = rest.len() + size.to_string().len();
            }
            body.extend_from_slice(size.to_string().as_bytes());
            body.extend_from_slice(&rest);
        }
        self.entry(b"pax", b'x', 0o644, b"", &body)
    }

    /// Bytes as they are.
    pub fn raw(mut self, data: &[u8]) -> Self {
        self.0.extend_from_slice(data);
        self
    }

    /// The archive with its end marker.
    pub fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }

    /// A busybox that can run, so that an image is complete.
    pub fn busybox() -> Self {
        let busybox = std::fs::read("/bin/busybox").unwrap();
        Self::new()
            .dir("bin")
            .program("bin/busybox", busybox)
            .symlink("bin/sh", "busybox")
            .symlink("bin/cat", "busybox")
            .symlink("bin/true", "busybox")
            .symlink("bin/ls", "busybox")
            .symlink("bin/id", "busybox")
            .dir("etc")
    }
}

/// An image to be served: blobs by digest and a manifest, each open to tampering.
#[derive(Clone, Debug)]
pub struct Image {
    /// Compressed layers with their media types and the digests of their plain forms.
    pub layers: Vec<(String, Vec<u8>, String)>,
    pub config: Vec<u8>,
    pub manifest: Vec<u8>,
    pub media_type: String,
}

impl Image {
    /// An image of gzip layers from tar archives.
    pub fn new(tars: &[Vec<u8>]) -> Self {
        let layers = tars.iter().map(|t| {
            let kind = "application/vnd.oci.image.layer.v1.tar+gzip".to_owned();
            (kind, gzip(t), digest(t))
        });
        Self::of(layers.collect())
    }

    pub fn of(layers: Vec<(String, Vec<u8>, String)>) -> Self {
        let arch = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        let diff_ids: Vec<&str> = layers.iter().map(|(_, _, diff)| diff.as_str()).collect();
        let config = serde_json::json!({
            "architecture": arch, "os": "linux", "config": {"Cmd": ["/bin/sh"], "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let mut image = Self {
            layers,
            config: config.to_string().into_bytes(),
            manifest: Vec::new(),
            media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        };
        image.remake(|_| ());
        image
    }

    /// Write the manifest anew, after `change`.
    pub fn remake(&mut self, change: impl FnOnce(&mut serde_json::Value)) {
        let layers: Vec<_> = self
            .layers
            .iter()
            .map(|(kind, data, _)| serde_json::json!({"mediaType": kind, "digest": digest(data), "size": data.len()}))
            .collect();
        let mut manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": self.media_type,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest(&self.config), "size": self.config.len()},
            "layers": layers,
        });
        change(&mut manifest);
        self.manifest = manifest.to_string().into_bytes();
    }

    pub fn blob(&self, wanted: &str) -> Option<&[u8]> {
        let layers = self.layers.iter().map(|(_, data, _)| data);
        layers
            .chain([&self.config])
            .find(|data| digest(data) == wanted)
            .map(Vec::as_slice)
    }
}
