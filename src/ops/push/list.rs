//! A list with its images: each under its digest, those of other registries handed through, and then the list.

use super::image::Image;
use super::{Options, Pushed};
use crate::oci::{MANIFEST_MAX, Platform, Reference};
use crate::ops::list::{Document, ListError};
use crate::ops::progress::Progress;
use crate::ops::{Error, copy};
use crate::registry::Client;
use crate::store::{ImageRecord, Member, Store};

/// See the module. An image whose layers had to be compressed anew, or that gets another format, has another digest
/// there, and so has the list.
pub(super) fn push(
    store: &Store,
    list: &ImageRecord,
    reference: &Reference,
    client: &Client,
    options: &Options,
    progress: &dyn Progress,
) -> Result<Pushed, Error> {
    if reference.digest().is_some() {
        return Err(Error::PushDigest(reference.clone()));
    }
    let mut document = Document::parse(&store.blobs().read(&list.id, MANIFEST_MAX)?)?;
    if !options.bare {
        for member in list.members.iter().flatten() {
            match &member.image {
                Some(image) => {
                    let image = Image::new(store, image, reference, client, options, progress)?;
                    document.rename(&member.digest, &image.push_nameless()?);
                }
                None => hand_through(store, member, reference, options, progress)?,
            }
        }
    }
    if let Some(format) = options.format {
        let gone = document.convert(format);
        if gone > 0 {
            progress.warn(&format!(
                "docker's list has no place for {gone} of what the list says (annotations and the like): it is left out"
            ));
        }
    }
    let pushed = client.put_manifest(reference, &document.bytes()?, document.media_type());
    for notice in client.take_notices() {
        progress.warn(&notice.to_string());
    }
    Ok(Pushed {
        reference: reference.clone(),
        digest: pushed?,
    })
}

/// An image that the store does not have.
fn hand_through(
    store: &Store,
    member: &Member,
    to: &Reference,
    options: &Options,
    progress: &dyn Progress,
) -> Result<(), Error> {
    let Some(repository) = &member.repository else {
        return Err(ListError::Nowhere {
            digest: member.digest.clone(),
            image: member.name.clone(),
        }
        .into());
    };
    let from = repository.parse::<Reference>()?;
    let options = copy::Options {
        access: options.access.clone(),
        all: true,
        platform: None::<Platform>,
    };
    copy::nameless(
        store,
        &from.with_digest(member.digest.clone()),
        to,
        &options,
        progress,
    )
}
