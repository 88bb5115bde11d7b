//! A registry as it should be, in memory: blobs, uploads, manifests by tag and digest. Those who want it to misbehave
//! stand before it.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use coracle::oci::Digest;

use super::serve_range;
use super::server::{After, Asked, Out};

#[derive(Default)]
pub(crate) struct Hub {
    pub(crate) blobs: Mutex<HashMap<String, Vec<u8>>>,
    /// By tag and by digest: type and bytes.
    pub(crate) manifests: Mutex<HashMap<String, (String, Vec<u8>)>>,
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    count: AtomicU64,
}

impl Hub {
    pub(crate) fn put_blob(&self, bytes: &[u8]) {
        let digest = Digest::of(bytes).to_string();
        self.blobs.lock().unwrap().insert(digest, bytes.to_vec());
    }

    pub(crate) fn put_manifest(&self, name: &str, media_type: &str, bytes: &[u8]) {
        let mut manifests = self.manifests.lock().unwrap();
        for name in [name.to_owned(), Digest::of(bytes).to_string()] {
            manifests.insert(name, (media_type.to_owned(), bytes.to_vec()));
        }
    }

    /// What came of an upload before its connection broke. Whether it is kept is the registry's affair.
    pub(crate) fn keep_part(&self, a: &Asked) {
        let id = a.path.split('?').next().unwrap().rsplit('/').next();
        if let Some(upload) = self.uploads.lock().unwrap().get_mut(id.unwrap()) {
            upload.extend_from_slice(&a.bytes);
        }
    }

    pub(crate) fn forget_upload(&self, a: &Asked) {
        let id = a.path.split('?').next().unwrap().rsplit('/').next();
        self.uploads.lock().unwrap().remove(id.unwrap());
    }

    pub(crate) fn serve(&self, a: &Asked, out: &mut Out<'_>) -> After {
        let (path, query) = a.path.split_once('?').unwrap_or((&a.path, ""));
        let (before, last) = path.rsplit_once('/').unwrap();
        match before.rsplit('/').next().unwrap() {
            "blobs" if last == "uploads" || last.is_empty() => self.begin(a, out),
            "uploads" if last.is_empty() => self.begin(a, out),
            "uploads" => self.upload(a, path, last, query, out),
            "blobs" => self.blob(a, last, out),
            "manifests" => self.manifest(a, last, out),
            _ => out.reply(404, &[], b""),
        }
    }

    fn begin(&self, a: &Asked, out: &mut Out<'_>) -> After {
        let id = self.count.fetch_add(1, Ordering::SeqCst).to_string();
        let path = a.path.split('?').next().unwrap();
        let location = format!("{path}{id}");
        self.uploads.lock().unwrap().insert(id, Vec::new());
        out.reply(202, &[("Location", &location)], b"")
    }

    fn upload(&self, a: &Asked, path: &str, id: &str, query: &str, out: &mut Out<'_>) -> After {
        let mut uploads = self.uploads.lock().unwrap();
        let Some(upload) = uploads.get_mut(id) else {
            return out.reply(404, &[], b"");
        };
        if let Some(range) = a.header("content-range") {
            let want = format!("{}-{}", upload.len(), upload.len() + a.bytes.len() - 1);
            if range != want {
                return out.reply(416, &[], b"");
            }
        }
        upload.extend_from_slice(&a.bytes);
        if a.method == "PUT" {
            let bytes = uploads.remove(id).unwrap();
            let digest = Digest::of(&bytes).to_string();
            if !query.ends_with(&format!("digest={digest}")) {
                return out.reply(400, &[], br#"{"errors":[{"code":"DIGEST_INVALID"}]}"#);
            }
            self.put_blob(&bytes);
            return out.reply(201, &[], b"");
        }
        let range = format!("0-{}", upload.len().saturating_sub(1));
        let status = if a.method == "GET" { 204 } else { 202 };
        out.reply(status, &[("Location", path), ("Range", &range)], b"")
    }

    fn blob(&self, a: &Asked, digest: &str, out: &mut Out<'_>) -> After {
        let bytes = self.blobs.lock().unwrap().get(digest).cloned();
        match (bytes, a.method.as_str()) {
            (Some(_), "HEAD") => out.head_only(200),
            (None, "HEAD") => out.head_only(404),
            (Some(bytes), _) => serve_range(a, out, &bytes),
            (None, _) => out.reply(404, &[], b""),
        }
    }

    fn manifest(&self, a: &Asked, name: &str, out: &mut Out<'_>) -> After {
        if a.method == "PUT" {
            let media_type = a.header("content-type").unwrap();
            self.put_manifest(name, media_type, &a.bytes);
            return out.reply(201, &[], b"");
        }
        let found = self.manifests.lock().unwrap().get(name).cloned();
        match found {
            Some((media_type, bytes)) => out.reply(200, &[("Content-Type", &media_type)], &bytes),
            None => out.reply(404, &[], b""),
        }
    }
}
