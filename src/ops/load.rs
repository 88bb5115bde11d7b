//! `load`: images from an archive or a directory. docker-load(1), podman-load(1).

use super::Error;
use super::events::{self, Action};
use super::intake::docker::{self, DockerArchive};
use super::intake::layout::Layout;
use super::intake::tar_index::Archive;
use super::intake::{self, IntakeError, Names};
use super::progress::Progress;
use super::signatures;
use crate::oci::Reference;
use crate::store::{ImageRecord, Store};
use crate::trust::Image;

pub use super::intake::tar_index::Input;

/// An image that was loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// Its record, under its first name.
    pub image: ImageRecord,
    /// The names that it was given.
    pub names: Vec<Reference>,
}

/// What to load.
#[derive(Clone, Debug)]
pub struct Request {
    /// Where from.
    pub input: Input,
    /// Only the image of this tag (OCI layouts).
    pub tag: Option<String>,
    /// As for pull.
    pub options: intake::Options,
}

/// Load every image of an OCI layout directory, an OCI archive or a docker archive, plain or packed
/// with gzip or zstd. An image is complete before the next one begins.
pub fn load(
    store: &Store,
    request: &Request,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, Error> {
    super::sweep(store);
    let loaded = all(store, request, progress).inspect_err(|e| intake::discard(store, e))?;
    for one in &loaded {
        events::happened_to_image(store, &one.image, Action::Load);
    }
    Ok(loaded)
}

fn all(store: &Store, request: &Request, progress: &dyn Progress) -> Result<Vec<Loaded>, Error> {
    let options = &request.options;
    let path = match &request.input {
        Input::Path(path) => Some(path.as_path()),
        Input::Stdin => None,
    };
    let check = |transport| {
        let image = Image::File { transport, path };
        signatures::check(image, &[], options, None)
    };
    let layout = match &request.input {
        Input::Path(path) if path.is_dir() => {
            if !Layout::is_dir_layout(path) {
                return Err(IntakeError::NoImage { path: path.clone() }.into());
            }
            check("oci")?;
            Layout::Dir(path.clone())
        }
        input => {
            let archive = Archive::open(store, input, options.limits.max_bytes)?;
            if !Layout::is_in(&archive) {
                if docker::is_in(&archive) {
                    check("docker-archive")?;
                    return load_docker(store, archive, options, progress);
                }
                let path = archive.path().to_owned();
                return Err(IntakeError::NoImage { path }.into());
            }
            check("oci-archive")?;
            Layout::Archive(archive)
        }
    };
    let mut known = match layout.archive() {
        Some(archive) if docker::is_in(archive) => docker::names(archive)?,
        _ => std::collections::HashMap::new(),
    };
    let mut loaded = Vec::new();
    for offer in layout.offers(request.tag.as_deref(), options.platform.as_ref())? {
        let id = offer.chosen.manifest.config().digest().to_string();
        let also = id.split_once(':').and_then(|(_, hex)| known.remove(hex));
        let references = match offer.name {
            Some(name) => vec![name],
            None => also.unwrap_or_default(),
        };
        let names = Names {
            references,
            repository: None,
        };
        let image = intake::image(store, &layout, &offer.chosen, &names, options, progress)?;
        loaded.push(Loaded {
            image,
            names: names.references,
        });
    }
    Ok(loaded)
}

fn load_docker(
    store: &Store,
    archive: Archive,
    options: &intake::Options,
    progress: &dyn Progress,
) -> Result<Vec<Loaded>, Error> {
    let (source, offers) = DockerArchive::open(archive)?;
    let mut loaded = Vec::with_capacity(offers.len());
    for offer in offers {
        let names = Names {
            references: offer.names,
            repository: None,
        };
        let image = intake::image(store, &source, &offer.chosen, &names, options, progress)?;
        loaded.push(Loaded {
            image,
            names: names.references,
        });
    }
    Ok(loaded)
}
