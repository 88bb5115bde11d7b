//! Whom a conversation is with: what tokens, connections and the choice of http or https depend on.

use crate::oci::Reference;

/// A repository of a registry, or the registry as such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject<'a> {
    /// As the user names it: `docker.io`, not the host of its API.
    pub(super) registry: &'a str,
    /// Empty for the registry as such.
    pub(super) repository: &'a str,
    /// Whether certificates are checked, and plain http refused.
    pub(super) verify: bool,
    /// Whether something is written: what was granted for reading may not do for that, and not every registry asks
    /// for more (401) instead of refusing (403).
    pub(super) push: bool,
}

/// The same, to be kept: what was granted to one is not used for another.
pub(super) type Key = (String, String, bool, bool);

impl<'a> Subject<'a> {
    /// The repository of an image.
    pub(super) fn of(r: &'a Reference, verify: bool) -> Self {
        Self {
            registry: r.registry(),
            repository: r.repository(),
            verify,
            push: false,
        }
    }

    /// To write there.
    pub(super) fn pushing(self) -> Self {
        Self { push: true, ..self }
    }

    pub(super) fn key(&self) -> Key {
        (
            self.registry.to_owned(),
            self.repository.to_owned(),
            self.verify,
            self.push,
        )
    }

    /// For messages.
    pub(super) fn shown(&self) -> String {
        match self.repository {
            "" => "its interface".to_owned(),
            repository => repository.to_owned(),
        }
    }
}
