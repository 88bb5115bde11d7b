//! `images`: what is in the store. docker-image-ls(1).

use std::collections::{BTreeMap, HashSet};

use jiff::Timestamp;

use super::filters::labels_of;
pub use super::filters::{Label, NamePattern};
use super::{Error, stored};
use crate::oci::{Digest, Reference};
use crate::store::{ImageRecord, ImageSummary, Store};

/// Which images to list.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Those of this repository, or of this name if it has a tag.
    pub name: Option<String>,
    /// Those of additional stores, too.
    pub additional: bool,
    /// What must be true of them. Of several of one kind, one must be; of labels and times, all.
    pub filters: Vec<Filter>,
}

/// What may be true of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// It has no name, or it has one.
    Dangling(bool),
    /// Its name fits a pattern.
    Reference(NamePattern),
    /// It has a label, or has not.
    Label(Label),
    /// Its id begins so.
    Id(String),
    /// It was made before this image.
    Before(String),
    /// It was made after this image.
    Since(String),
    /// It was made before this time.
    Until(Timestamp),
    /// It is in a store of somebody else, or not.
    ReadOnly(bool),
}

/// The images, one entry a name, the youngest first.
pub fn images(store: &Store, wanted: &Wanted) -> Result<Vec<ImageSummary>, Error> {
    let mut records = store.images().summaries()?;
    if wanted.additional {
        add_shared(store, &mut records)?;
    }
    if let Some(name) = &wanted.name {
        let wanted: Reference = name.parse()?;
        let has_tag = name.rsplit_once(':').is_some_and(|(_, t)| !t.contains('/'));
        records.retain(|r| {
            r.reference
                .as_ref()
                .is_some_and(|have| *have == wanted || (!has_tag && have.name() == wanted.name()))
        });
    }
    let tests = wanted.filters.iter().map(|f| Test::new(store, f));
    let tests: Vec<Test<'_>> = tests.collect::<Result<_, _>>()?;
    let mut kept = Vec::new();
    for record in records {
        match passes(store, &record, &tests) {
            Ok(true) => kept.push(record),
            Ok(false) => {}
            // Removed since it was listed.
            Err(e) if stored::is_gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    // As times: RFC 3339 allows several ways to write one.
    kept.sort_by_cached_key(|r| std::cmp::Reverse(made(r.created.as_deref())));
    Ok(kept)
}

/// Add the images of additional stores whose names are not ours: those are what the names stand for.
fn add_shared(store: &Store, records: &mut Vec<ImageSummary>) -> Result<(), Error> {
    let mut known: HashSet<_> = records.iter().map(|r| r.reference.clone()).collect();
    for additional in store.additional() {
        for mut image in additional.summaries()? {
            // Without a name it is of no use to others, but for those who know its id.
            if image.reference.is_some()
                && !image.is_list()
                && known.insert(image.reference.clone())
            {
                image.read_only = true;
                records.push(image);
            }
        }
    }
    Ok(())
}

/// The image called `name` (name or id).
pub fn find(store: &Store, name: &str) -> Result<ImageRecord, Error> {
    stored::find(store, name)
}

/// The labels of the image with this id; none if it is gone.
pub fn labels(store: &Store, id: &Digest) -> Result<BTreeMap<String, String>, Error> {
    match labels_of(store, id) {
        Err(e) if stored::is_gone(&e) => Ok(BTreeMap::new()),
        labels => labels,
    }
}

/// When it was made, if it says so.
pub(super) fn made(created: Option<&str>) -> Option<Timestamp> {
    created?.parse().ok()
}

/// A filter with the time of the image that it names.
struct Test<'a> {
    filter: &'a Filter,
    time: Option<Timestamp>,
}

impl<'a> Test<'a> {
    fn new(store: &Store, filter: &'a Filter) -> Result<Self, Error> {
        let time = match filter {
            Filter::Before(name) | Filter::Since(name) => {
                made(stored::find(store, name)?.created.as_deref())
            }
            Filter::Until(time) => Some(*time),
            _ => None,
        };
        Ok(Self { filter, time })
    }

    fn holds(&self, store: &Store, image: &ImageSummary) -> Result<bool, Error> {
        let name = image.reference.as_ref();
        // Of unknown age: neither before nor after anything.
        let ages = made(image.created.as_deref()).zip(self.time);
        Ok(match self.filter {
            Filter::ReadOnly(wanted) => image.read_only == *wanted,
            Filter::Dangling(wanted) => name.is_none() == *wanted,
            Filter::Reference(pattern) => name.is_some_and(|n| pattern.fits(n)),
            Filter::Label(label) => label.holds(&labels_of(store, &image.id)?),
            Filter::Id(start) => {
                let start = start.strip_prefix("sha256:").unwrap_or(start);
                image.id.hex().starts_with(start)
            }
            Filter::Before(_) | Filter::Until(_) => ages.is_some_and(|(made, t)| made < t),
            Filter::Since(_) => ages.is_some_and(|(made, t)| made > t),
        })
    }

    /// Whether one of its kind is enough.
    fn is_alternative_to(&self, other: &Self) -> bool {
        let alone = matches!(self.filter, Filter::Reference(_) | Filter::Id(_));
        alone && std::mem::discriminant(self.filter) == std::mem::discriminant(other.filter)
    }
}

fn passes(store: &Store, image: &ImageSummary, tests: &[Test<'_>]) -> Result<bool, Error> {
    for test in tests {
        let mut holds = test.holds(store, image)?;
        for other in tests.iter().filter(|o| test.is_alternative_to(o)) {
            holds = holds || other.holds(store, image)?;
        }
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}
