//! An image may be had from several places: its mirrors, and where its name says. They are tried in order,
//! and why each did not serve is told when none did.
//!
//! The place that gave the manifest is asked first for everything else of the repository, so that one pull
//! talks to one place while it works.

use super::client::Client;
use super::error::{Error, Notice};
use crate::config::registries::Place;
use crate::oci::Reference;

impl Client {
    /// Where to ask for an image; never empty.
    pub(super) fn places(&self, r: &Reference) -> Result<Vec<Place>, Error> {
        let mut places = self.registries().places(r).map_err(Box::new)?;
        if let Some(name) = self.served_by(r)
            && let Some(at) = places.iter().position(|p| p.reference.name() == name)
        {
            places[..=at].rotate_right(1);
        }
        Ok(places)
    }

    /// Do something at the first place where it works. One that fails is left for the next; a warning
    /// tells of a mirror that should have worked.
    pub(super) fn at_places<T>(
        &self,
        r: &Reference,
        mut attempt: impl FnMut(&Place) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut tried = Vec::new();
        for place in self.places(r)? {
            match attempt(&place) {
                Ok(value) => {
                    for (reference, e) in tried {
                        self.passed_over(&reference, &e);
                    }
                    self.note_served(r, &place);
                    return Ok(value);
                }
                Err(e) => tried.push((place.reference, e)),
            }
        }
        Err(none(r, tried))
    }

    /// A place failed, and another is asked.
    pub(super) fn passed_over(&self, place: &Reference, e: &Error) {
        // Mirrors need not have everything.
        if !matches!(e, Error::NotFound { .. }) {
            self.add_notice(Notice::PassedOver {
                place: place.to_string(),
                why: e.told(),
            });
        }
    }
}

/// The error of several places; of one it is its own.
pub(super) fn none(r: &Reference, mut tried: Vec<(Reference, Error)>) -> Error {
    match (tried.pop(), tried.is_empty()) {
        (Some((_, only)), true) => only,
        (Some((place, last)), false) => Error::Nowhere {
            what: r.to_string(),
            tried: tried
                .into_iter()
                .map(|(place, e)| format!("{place}: {}", e.told()))
                .chain([format!("{place}: {}", last.told())])
                .collect(),
            last: Box::new(last),
        },
        // Not reached: there is at least one place.
        (None, _) => Error::Url { url: r.to_string() },
    }
}
