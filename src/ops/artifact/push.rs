//! Files to a registry: blobs first, then the manifest, and where it has a subject, the account of what refers to
//! that. The same files with the same words make the same artifact.

use std::fs::File;
use std::io::{self, Read, Seek as _};

use serde_json::{Value, json};

use super::{
    ArtifactError, EMPTY_TYPE, Made, Source, TITLE, UNKNOWN_TYPE, descriptor, is_media_type, name,
    reference, tell,
};
use crate::oci::{Algorithm, Digest, Digester, Reference, media};
use crate::ops::progress::{Planned, Progress};
use crate::ops::push::Checked;
use crate::ops::{Error, jobs};
use crate::registry::{self, Client, Referrer, Upload};

/// Files of one artifact: as many as an image may have layers.
const FILES_MAX: usize = 500;
/// At a time.
const JOBS: usize = 4;
const EMPTY: &[u8] = b"{}";
/// A file of which nobody said what it is.
const BYTES_TYPE: &str = "application/octet-stream";

struct Hashed<'s> {
    source: &'s Source,
    title: String,
    digest: Digest,
    size: u64,
}

/// Push files as one artifact called `name`; one that has a subject needs no tag. Returns the digest of its manifest.
pub fn push(
    name: &str,
    sources: &[Source],
    made: &Made,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    let to = reference(name)?;
    if to.digest().is_some() {
        return Err(Error::PushDigest(to));
    }
    if sources.len() > FILES_MAX {
        return Err(ArtifactError::TooMany(FILES_MAX).into());
    }
    let types = sources.iter().filter_map(|s| s.media_type.as_ref());
    if let Some(bad) = types.chain(&made.artifact_type).find(|t| !is_media_type(t)) {
        return Err(ArtifactError::MediaType(bad.clone()).into());
    }
    let files = sources.iter().map(hashed).collect::<Result<Vec<_>, _>>()?;
    for (i, file) in files.iter().enumerate() {
        if files[..i].iter().any(|other| other.title == file.title) {
            return Err(ArtifactError::Twice(file.title.clone()).into());
        }
    }
    let client = made.access.client()?;
    let last = name.rsplit('/').next().unwrap_or_default();
    let has_tag = last.contains(':');
    let pushed = bring(&client, &to, has_tag, &files, made, progress);
    tell(&client, progress);
    pushed
}

fn bring(
    client: &Client,
    to: &Reference,
    has_tag: bool,
    files: &[Hashed<'_>],
    made: &Made,
    progress: &dyn Progress,
) -> Result<Digest, Error> {
    // Before anything is sent: it may not be there.
    let subject = made.subject.as_ref();
    let subject = subject.map(|s| subject_of(client, to, s)).transpose()?;
    let plan = files.iter().map(|f| Planned {
        digest: f.digest.clone(),
        size: f.size,
        present: false,
    });
    progress.plan(&plan.collect::<Vec<_>>());
    let empty = Digest::of(EMPTY);
    small(client, to, &empty, EMPTY)?;
    let mut blobs: Vec<&Hashed<'_>> = Vec::new();
    for file in files {
        if blobs.iter().all(|b| b.digest != file.digest) {
            blobs.push(file);
        }
    }
    jobs::each(JOBS, &blobs, |file| send(client, to, file, progress))?;

    let (artifact_type, manifest) = manifest(files, made, subject.as_ref(), &empty);
    let bytes = manifest.to_string().into_bytes();
    let name = match has_tag || subject.is_none() {
        true => to.clone(),
        false => to.with_digest(Digest::of(&bytes)),
    };
    let Some((subject, _)) = subject else {
        return Ok(client.put_manifest(&name, &bytes, media::OCI_MANIFEST)?);
    };
    let own = Referrer {
        media_type: media::OCI_MANIFEST.to_owned(),
        digest: Digest::of(&bytes),
        size: bytes.len() as u64,
        artifact_type: Some(artifact_type),
        annotations: made.annotations.clone(),
    };
    Ok(client.put_referrer(&name, &bytes, &subject, &own)?)
}

/// Its type, and the document.
fn manifest(
    files: &[Hashed<'_>],
    made: &Made,
    subject: Option<&(Digest, Value)>,
    empty: &Digest,
) -> (String, Value) {
    let nothing = descriptor(EMPTY_TYPE, empty, EMPTY.len() as u64);
    let mut layers: Vec<Value> = Vec::new();
    for file in files {
        let media_type = file.source.media_type.as_deref().unwrap_or(BYTES_TYPE);
        let mut layer = descriptor(media_type, &file.digest, file.size);
        layer["annotations"] = json!({ TITLE: file.title });
        layers.push(layer);
    }
    // Registries refuse a manifest without any layer; the specification asks for this one.
    if layers.is_empty() {
        layers.push(nothing.clone());
    }
    let artifact_type = match &made.artifact_type {
        Some(own) => own.clone(),
        None => UNKNOWN_TYPE.to_owned(),
    };
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": media::OCI_MANIFEST,
        "artifactType": artifact_type,
        "config": nothing,
        "layers": layers,
    });
    if let Some((_, subject)) = subject {
        manifest["subject"] = subject.clone();
    }
    if !made.annotations.is_empty() {
        manifest["annotations"] = json!(made.annotations);
    }
    (artifact_type, manifest)
}

fn hashed(source: &Source) -> Result<Hashed<'_>, Error> {
    let failed = |e| Error::file("read", &source.path, e);
    let title = (source.path.file_name())
        .and_then(|n| n.to_str())
        .unwrap_or_default();
    name::parts(title)?;
    // A fifo would hold us up for ever.
    if !std::fs::metadata(&source.path).map_err(failed)?.is_file() {
        return Err(ArtifactError::NotAFile(source.path.clone()).into());
    }
    let mut file = File::open(&source.path).map_err(failed)?;
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut buffer = vec![0; 256 << 10];
    let mut size = 0;
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => {
                digester.update(&buffer[..n]);
                size += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(failed(e)),
        }
    }
    Ok(Hashed {
        source,
        title: title.to_owned(),
        digest: digester.finish(),
        size,
    })
}

/// The digest of what is referred to, and its descriptor.
fn subject_of(client: &Client, to: &Reference, subject: &str) -> Result<(Digest, Value), Error> {
    let name = match subject.parse::<Digest>() {
        Ok(digest) => to.with_digest(digest),
        Err(_) => reference(subject)?,
    };
    if name.name() != to.name() {
        return Err(ArtifactError::Elsewhere {
            subject: name.to_string(),
            repository: to.name(),
        }
        .into());
    }
    let fetched = client.manifest(&name)?;
    let media_type = fetched.media_type.as_deref();
    let media_type = media_type.unwrap_or(media::OCI_MANIFEST);
    let size = fetched.bytes.len() as u64;
    let value = descriptor(media_type, &fetched.digest, size);
    Ok((fetched.digest, value))
}

fn small(client: &Client, to: &Reference, digest: &Digest, bytes: &[u8]) -> Result<(), Error> {
    if client.has_blob(to, digest)? {
        return Ok(());
    }
    let open = |from: u64| -> io::Result<Box<dyn Read + '_>> {
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        Ok(Box::new(bytes.get(from..).unwrap_or_default()))
    };
    Ok(client.push_blob(
        to,
        &Upload {
            digest,
            size: bytes.len() as u64,
            open: &open,
            progress: &|_| {},
        },
    )?)
}

fn send(
    client: &Client,
    to: &Reference,
    file: &Hashed<'_>,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Hashed {
        source,
        digest,
        size,
        ..
    } = file;
    if client.has_blob(to, digest)? {
        progress.skip(digest);
        return Ok(());
    }
    progress.begin(digest, 0);
    let open = |from: u64| -> io::Result<Box<dyn Read>> {
        let mut file = File::open(&source.path)?;
        file.seek(io::SeekFrom::Start(from))?;
        Ok(match from {
            0 => Box::new(Checked::new(file, digest, *size)),
            // The rest has no digest: the registry checks the whole.
            _ => Box::new(file),
        })
    };
    let upload = Upload {
        digest,
        size: *size,
        open: &open,
        progress: &|n| progress.advance(digest, n),
    };
    match client.push_blob(to, &upload) {
        Err(registry::Error::Source { source: e, .. }) => {
            // Shorter than it was, or other bytes.
            let changes = e.kind() == io::ErrorKind::UnexpectedEof || e.get_ref().is_some();
            return Err(match changes {
                true => ArtifactError::Changes(source.path.clone()).into(),
                false => Error::file("read", &source.path, e),
            });
        }
        result => result?,
    }
    progress.done(digest);
    Ok(())
}
