//! What refers to a manifest: signatures, lists of parts and the like, which name it as their `subject` (distribution
//! specification 1.1, "Listing Referrers", "Pushing Manifests with Subject").
//!
//! A registry that keeps no account of it says nothing of a subject (`OCI-Subject`) when it takes a manifest. Then the
//! account is kept by whoever pushes: an index under the tag `ALGORITHM-HEX` of the subject. Two who write it at the
//! same moment may lose one entry, which the specification accepts.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::auth::push_pair;
use super::client::Client;
use super::error::Error;
use super::listing::List;
use crate::oci::{Digest, MANIFEST_MAX, Reference, media};

/// Of an algorithm and of a digest no more goes into a tag.
const TAG_ALGORITHM_MAX: usize = 32;
const TAG_HEX_MAX: usize = 64;

/// A manifest that refers to another one, as a registry describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Referrer {
    /// Type of the manifest.
    pub media_type: String,
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// What its maker said of it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Index {
    /// Some registries say `null` for none.
    manifests: Option<Vec<Referrer>>,
}

/// Where the account of a subject is kept if the registry keeps none.
fn fallback(r: &Reference, subject: &Digest) -> Result<Reference, Error> {
    let cut = |s: &str, max: usize| s.chars().take(max).collect::<String>();
    let algorithm = cut(subject.algorithm().name(), TAG_ALGORITHM_MAX);
    let tag = format!("{algorithm}-{}", cut(subject.hex(), TAG_HEX_MAX));
    r.with_tag(&tag).map_err(|_| Error::Url { url: tag })
}

impl Client {
    /// What refers to the manifest `subject` of the repository of `r`; with a type, what is of that type.
    pub fn referrers(
        &self,
        r: &Reference,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Referrer>, Error> {
        let places = self.registries().places(r).map_err(Box::new)?;
        // Where the name itself says, as for tags: a mirror may have only some.
        let place = places.last().map_or(r, |p| &p.reference);
        let mut path = format!("/v2/{}/referrers/{subject}", place.repository());
        if let Some(wanted) = artifact_type {
            path.push('?');
            push_pair(&mut path, "artifactType", wanted);
        }
        let list = List {
            subject: self.subject(place.registry(), place.repository()),
            path,
            accept: Some(media::OCI_INDEX.to_owned()),
            what: format!("what refers to {subject} in {}", place.name()),
            limit: None,
        };
        let mut found = match self.pages(list, |page: Index| page.manifests.unwrap_or_default()) {
            Err(Error::NotFound { .. }) => self.by_tag(place, subject)?,
            found => found?,
        };
        // It may not have looked at the type, and says so only in a header.
        found.retain(|f| artifact_type.is_none_or(|t| f.artifact_type.as_deref() == Some(t)));
        Ok(found)
    }

    fn by_tag(&self, r: &Reference, subject: &Digest) -> Result<Vec<Referrer>, Error> {
        let fetched = match self.manifest(&fallback(r, subject)?) {
            Err(Error::NotFound { .. }) => return Ok(Vec::new()),
            fetched => fetched?,
        };
        let index: Index =
            serde_json::from_slice(&fetched.bytes).map_err(|source| Error::Account {
                subject: subject.to_string(),
                source,
            })?;
        Ok(index.manifests.unwrap_or_default())
    }

    /// Upload a manifest that has a subject, under the tag or the digest of `r`, and see that it is found from there.
    /// `own` describes it, but for its digest and size.
    pub fn put_referrer(
        &self,
        r: &Reference,
        bytes: &[u8],
        subject: &Digest,
        own: &Referrer,
    ) -> Result<Digest, Error> {
        let put = self.put_manifest_noted(r, bytes, &own.media_type)?;
        if put.subject.as_ref() == Some(subject) {
            return Ok(put.digest);
        }
        let mut all = self.by_tag(r, subject)?;
        if all.iter().all(|known| known.digest != put.digest) {
            all.push(Referrer {
                digest: put.digest.clone(),
                size: bytes.len() as u64,
                ..own.clone()
            });
            let index = serde_json::json!({
                "schemaVersion": 2,
                "mediaType": media::OCI_INDEX,
                "manifests": all,
            });
            let index = index.to_string().into_bytes();
            let name = fallback(r, subject)?;
            if index.len() as u64 > MANIFEST_MAX {
                return Err(Error::ManifestTooLarge {
                    what: name.to_string(),
                });
            }
            self.put_manifest(&name, &index, media::OCI_INDEX)?;
        }
        Ok(put.digest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_a_tag() {
        let r: Reference = "localhost:5000/a/b:1".parse().unwrap();
        let digest = Digest::of(b"x");
        assert_eq!(
            fallback(&r, &digest).unwrap().to_string(),
            format!("localhost:5000/a/b:sha256-{}", digest.hex())
        );
        let long: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
        let tag = fallback(&r, &long).unwrap();
        assert_eq!(tag.tag(), Some(&*format!("sha512-{}", "0".repeat(64))));
    }
}
