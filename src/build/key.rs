//! What makes two steps the same one: a digest over the step before, the instruction, and all that it reads.

use std::fmt;

use crate::oci::{Algorithm, Digest, Digester};

/// The version of what goes into a key: another one finds nothing that is older.
const VERSION: &str = "1";

/// The key of a step in the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(Digest);

impl Key {
    /// Where a stage begins: an image by its digest, or nothing.
    pub fn of_base(base: &str) -> Self {
        Self(hash(VERSION, ["base", base]))
    }

    /// The step after this one. Each part counts by itself: `a`, `bc` is not `ab`, `c`.
    pub fn then<'p>(&self, parts: impl IntoIterator<Item = &'p str>) -> Self {
        Self(hash(self.0.hex(), parts))
    }

    /// As the name of a file.
    pub fn hex(&self) -> &str {
        self.0.hex()
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.hex())
    }
}

fn hash<'p>(first: &str, parts: impl IntoIterator<Item = &'p str>) -> Digest {
    let mut digester = Digester::new(Algorithm::Sha256);
    let mut add = |part: &str| {
        digester.update(&(part.len() as u64).to_le_bytes());
        digester.update(part.as_bytes());
    };
    add(first);
    parts.into_iter().for_each(&mut add);
    digester.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_counts_by_itself() {
        let base = Key::of_base("x");
        assert_eq!(base.then(["a", "b"]), Key::of_base("x").then(["a", "b"]));
        for (a, b) in [(["a", "bc"], ["ab", "c"]), (["", "a"], ["a", ""])] {
            assert_ne!(base.then(a), base.then(b));
        }
        assert_ne!(base, Key::of_base("y"));
        assert_ne!(base.then([]), base);
    }
}
