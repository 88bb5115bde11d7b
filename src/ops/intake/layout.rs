//! OCI image layout, as a directory or in an archive. OCI image-spec, image-layout.md.
//!
//! The only names ever opened in it are `index.json`, `oci-layout` and `blobs/ALGORITHM/HEX` with a
//! digest that was parsed.

use std::fs::File;
use std::io::{self, Read, Seek as _};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex};
use rustix::fs::{FileType, Mode, OFlags};

use super::tar_index::Archive;
use super::{Chosen, Document, IntakeError, Source, choose, digest_of};
use crate::oci::{Digest, MANIFEST_MAX, Platform, Reference, media};
use crate::ops::Error;

const INDEX: &str = "index.json";
/// Images in one layout.
const IMAGES_MAX: usize = 10_000;
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// What containerd and docker write beside it: the complete name.
const CONTAINERD_NAME: &str = "io.containerd.image.name";

/// A layout to read from.
#[derive(Debug)]
pub(in crate::ops) enum Layout {
    Dir(PathBuf),
    Archive(Archive),
}

/// An image that a layout offers.
#[derive(Debug)]
pub(in crate::ops) struct Offer {
    pub(in crate::ops) name: Option<Reference>,
    pub(in crate::ops) chosen: Chosen,
}

impl Layout {
    /// Does the directory look like one?
    pub(in crate::ops) fn is_dir_layout(dir: &Path) -> bool {
        dir.join(INDEX).is_file()
    }

    /// Does the archive hold one?
    pub(in crate::ops) fn is_in(archive: &Archive) -> bool {
        archive.has(INDEX) && archive.has("oci-layout")
    }

    fn path(&self) -> &Path {
        match self {
            Self::Dir(path) => path,
            Self::Archive(a) => a.path(),
        }
    }

    pub(in crate::ops) fn archive(&self) -> Option<&Archive> {
        match self {
            Self::Dir(_) => None,
            Self::Archive(a) => Some(a),
        }
    }

    fn open(&self, name: &str, from: u64) -> Result<Box<dyn Read + Send + '_>, Error> {
        match self {
            Self::Dir(dir) => {
                let path = dir.join(name);
                let failed = |source: io::Error| match source.kind() {
                    io::ErrorKind::NotFound => IntakeError::Missing {
                        path: dir.clone(),
                        name: name.to_owned(),
                    },
                    _ => IntakeError::Read {
                        path: path.clone(),
                        source,
                    },
                };
                // Without O_NONBLOCK a fifo in a stranger's directory would hold us up for ever.
                let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
                let fd =
                    rustix::fs::open(&path, flags, Mode::empty()).map_err(|e| failed(e.into()))?;
                let stat = rustix::fs::fstat(&fd).map_err(|e| failed(e.into()))?;
                if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                    return Err(failed(io::Error::other("not a regular file")).into());
                }
                let mut file = File::from(fd);
                file.seek(io::SeekFrom::Start(from)).map_err(failed)?;
                Ok(Box::new(file))
            }
            Self::Archive(archive) => Ok(Box::new(archive.member(name, from)?)),
        }
    }

    /// The images in it: every named one, and of the nameless ones the one that fits the platform.
    /// `tag`: only the image of that `ref.name`.
    pub(in crate::ops) fn offers(
        &self,
        tag: Option<&str>,
        platform: Option<&Platform>,
    ) -> Result<Vec<Offer>, Error> {
        let index = self.index()?;
        let entries = index.manifests();
        let mut offers = Vec::new();
        let (named, nameless): (Vec<_>, Vec<_>) = entries
            .iter()
            .filter(|d| is_image(d))
            .partition(|d| ref_name(d).is_some());
        for d in &named {
            if tag.is_none_or(|t| ref_name(d) == Some(t)) {
                offers.push(self.offer(d, platform)?);
            }
        }
        if let Some(tag) = tag {
            if offers.is_empty() {
                let have: Vec<_> = named.iter().filter_map(|d| ref_name(d)).collect();
                return Err(IntakeError::NoTag {
                    path: self.path().to_owned(),
                    tag: tag.to_owned(),
                    have: have.join(", "),
                }
                .into());
            }
            return Ok(offers);
        }
        match &nameless[..] {
            [] => {}
            [only] => offers.push(self.offer(only, platform)?),
            several => {
                let several: Vec<Descriptor> = several.iter().map(|d| (*d).clone()).collect();
                let host = Platform::host();
                let want = platform.unwrap_or(&host);
                if several.iter().any(|d| d.platform().is_none()) {
                    for d in &several {
                        offers.push(self.offer(d, platform)?);
                    }
                } else {
                    let i = want
                        .choose(&several)
                        .ok_or_else(|| super::no_platform(want, &several))?;
                    offers.push(self.offer(&several[i], platform)?);
                }
            }
        }
        if offers.is_empty() {
            return Err(IntakeError::NoImage {
                path: self.path().to_owned(),
            }
            .into());
        }
        Ok(offers)
    }

    fn index(&self) -> Result<ImageIndex, Error> {
        let mut bytes = Vec::new();
        self.open(INDEX, 0)?
            .take(MANIFEST_MAX + 1)
            .read_to_end(&mut bytes)
            .map_err(|source| IntakeError::Read {
                path: self.path().join(INDEX),
                source,
            })?;
        if bytes.len() as u64 > MANIFEST_MAX {
            return Err(IntakeError::TooLarge {
                what: "index",
                size: bytes.len() as u64,
                max: MANIFEST_MAX,
            }
            .into());
        }
        let index: ImageIndex =
            serde_json::from_slice(&bytes).map_err(|source| IntakeError::Document {
                path: self.path().to_owned(),
                name: INDEX.to_owned(),
                source,
            })?;
        let entries = index.manifests();
        if entries.len() > IMAGES_MAX {
            return Err(IntakeError::Limit {
                path: self.path().to_owned(),
                what: "images",
                limit: IMAGES_MAX as u64,
            }
            .into());
        }
        Ok(index)
    }

    /// The one document of this tag, or of all: an image or an index.
    pub(in crate::ops) fn document(
        &self,
        tag: Option<&str>,
    ) -> Result<(Document, Option<String>), Error> {
        let index = self.index()?;
        let fits = |d: &&Descriptor| is_image(d) && tag.is_none_or(|t| ref_name(d) == Some(t));
        let found: Vec<&Descriptor> = index.manifests().iter().filter(fits).collect();
        let [only] = found[..] else {
            let have: Vec<_> = index.manifests().iter().filter_map(ref_name).collect();
            return Err(IntakeError::NoTag {
                path: self.path().to_owned(),
                tag: tag.unwrap_or("(none given)").to_owned(),
                have: have.join(", "),
            }
            .into());
        };
        let digest = digest_of(only)?;
        let bytes = self.manifest(&digest, only.size())?;
        let media_type = only.media_type().to_string();
        Ok((Document { digest, bytes }, Some(media_type)))
    }

    fn offer(&self, d: &Descriptor, platform: Option<&Platform>) -> Result<Offer, Error> {
        let digest = digest_of(d)?;
        let bytes = self.manifest(&digest, d.size())?;
        let media_type = d.media_type().to_string();
        let chosen = choose(
            self,
            Document { digest, bytes },
            Some(&media_type),
            platform,
        )?;
        Ok(Offer {
            name: self.name(d),
            chosen,
        })
    }

    /// `ref.name` is a complete name, or only a tag: then the layout's own name stands before it, as
    /// `localhost/NAME:TAG`. What cannot be a name gives none.
    fn name(&self, d: &Descriptor) -> Option<Reference> {
        if let Some(name) = annotation(d, CONTAINERD_NAME)
            && let Ok(name) = name.parse()
        {
            return Some(name);
        }
        let name = ref_name(d)?;
        if name.contains(['/', ':']) {
            return name.parse().ok();
        }
        let stem = self.path().file_name()?.to_str()?.to_lowercase();
        let stem = stem.split('.').next()?;
        format!("localhost/{stem}:{name}").parse().ok()
    }
}

impl Source for Layout {
    fn blob<'s>(
        &'s self,
        digest: &Digest,
        _size: u64,
        offset: u64,
    ) -> Result<Box<dyn Read + Send + 's>, Error> {
        let name = format!("blobs/{}/{}", digest.algorithm().name(), digest.hex());
        self.open(&name, offset)
    }
}

fn is_image(d: &Descriptor) -> bool {
    let t = d.media_type().to_string();
    let attestation = annotation(d, "vnd.docker.reference.type").is_some();
    media::ACCEPT.contains(&t.as_str()) && !attestation
}

fn annotation<'d>(d: &'d Descriptor, key: &str) -> Option<&'d str> {
    d.annotations().as_ref()?.get(key).map(String::as_str)
}

fn ref_name(d: &Descriptor) -> Option<&str> {
    annotation(d, REF_NAME)
}
