//! The table of contents, read as a stream: of each entry only what is needed to know its content stays.

use std::fmt;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::Read;
use std::ops::Range;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};

use super::{Error, Position, TOC, check};
use crate::oci::Digest;

/// Version of the format, the only one.
const VERSION: u64 = 1;

/// Content of one file of the layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where its frames are in the blob.
    pub at: Range<u64>,
    /// Bytes of it.
    pub size: u64,
    /// SHA-256 of it.
    pub(super) digest: [u8; 32],
    /// What files that may be the same have in common: [`key`].
    pub(super) key: u64,
}

/// Files that have the same name without directories, and the same size, are worth a look: a new version of a
/// package has its files elsewhere, and not all of them are new.
pub(super) fn key(path: &[u8], size: u64) -> u64 {
    let name = path.rsplit(|b| *b == b'/').next().unwrap_or(path);
    let mut hasher = DefaultHasher::new();
    (name, size).hash(&mut hasher);
    hasher.finish()
}

/// A table of contents.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Toc {
    pub(super) files: Vec<File>,
    pub(super) split: Option<Digest>,
}

impl Toc {
    /// Most entries, chunks of files among them.
    pub const ENTRIES_MAX: u64 = 2_000_000;
    /// Most files with content: some 20 MiB of memory.
    pub const FILES_MAX: usize = 300_000;

    /// Check and read the table, given the section that `position` names. `max_bytes`: most that all files together
    /// may have.
    ///
    /// # Errors
    /// It is not the one that was promised, or makes no sense.
    pub fn read(section: &[u8], position: &Position, max_bytes: u64) -> Result<Self, Error> {
        check(TOC, section, &position.digest)?;
        Self::parse(section, position, max_bytes)
    }

    /// The same for a table whose digest nobody knows.
    pub(super) fn parse(
        section: &[u8],
        position: &Position,
        max_bytes: u64,
    ) -> Result<Self, Error> {
        let mut toc = Toc::default();
        let mut refused = None;
        let mut entries = Entries {
            toc: &mut toc,
            refused: &mut refused,
            end: position.toc.at.start,
            left: max_bytes,
            count: 0,
            version: None,
        };
        let mut plain = position.toc.open(TOC, section)?;
        let mut json = serde_json::Deserializer::from_reader(&mut plain);
        let read = entries.deserialize(&mut json).and_then(|()| json.end());
        match (refused, read) {
            (Some(e), _) => Err(e),
            (None, Err(e)) => Err(Error::Damaged {
                what: TOC,
                source: e.into(),
            }),
            (None, Ok(())) => Ok(toc),
        }
    }

    /// Files that have content, in the order of the tar.
    pub fn files(&self) -> &[File] {
        &self.files
    }

    /// Check the section of the tar-split.
    ///
    /// # Errors
    /// It is not the one that the table names, or the table names none.
    pub fn check_split(&self, section: &[u8]) -> Result<(), Error> {
        let what = super::SPLIT;
        check(
            what,
            section,
            self.split.as_ref().ok_or(Error::Digest { what })?,
        )
    }
}

/// What is read of an entry. Its name is needed for a look into the store, and checked by nobody.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    r#type: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    size: u64,
    digest: Option<String>,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    end_offset: u64,
}

struct Entries<'a> {
    toc: &'a mut Toc,
    refused: &'a mut Option<Error>,
    /// Where the last content must have ended.
    end: u64,
    /// Bytes of content that may still come.
    left: u64,
    count: u64,
    version: Option<u64>,
}

impl Entries<'_> {
    fn take(&mut self, entry: &Entry) -> Result<(), Error> {
        let senseless = |why| Error::Senseless { what: TOC, why };
        self.count += 1;
        if self.count > Toc::ENTRIES_MAX {
            return Err(too_many(Toc::ENTRIES_MAX));
        }
        // The chunks of a file lie one after the other where the file lies.
        if entry.r#type != "reg" || entry.size == 0 {
            return Ok(());
        }
        if self.toc.files.len() >= Toc::FILES_MAX {
            return Err(too_many(Toc::FILES_MAX as u64));
        }
        let digest = entry.digest.as_deref().unwrap_or_default();
        let digest = (digest.strip_prefix("sha256:"))
            .and_then(|hex| {
                let mut bytes = [0; 32];
                base16ct::lower::decode(hex, &mut bytes).ok()?;
                (hex.len() == 64).then_some(bytes)
            })
            .ok_or(senseless("a file without a digest"))?;
        let at = entry.offset..entry.end_offset;
        let before = self.toc.files.last().map_or(0, |f| f.at.end);
        if at.start < before || at.start >= at.end || at.end > self.end {
            return Err(senseless("files outside of the blob, or out of order"));
        }
        self.left = (self.left.checked_sub(entry.size))
            .ok_or(senseless("files that are larger than a layer may be"))?;
        self.toc.files.push(File {
            at,
            size: entry.size,
            digest,
            key: key(entry.name.as_bytes(), entry.size),
        });
        Ok(())
    }
}

fn too_many(max: u64) -> Error {
    Error::TooLarge { what: TOC, max }
}

impl Entries<'_> {
    fn deserialize<'de, R: Read>(
        &mut self,
        json: &mut serde_json::Deserializer<serde_json::de::IoRead<R>>,
    ) -> serde_json::Result<()>
    where
        serde_json::de::IoRead<R>: serde_json::de::Read<'de>,
    {
        de::Deserializer::deserialize_map(json, Document(self))?;
        match self.version {
            Some(VERSION) => Ok(()),
            _ => Err(de::Error::custom("want version 1")),
        }
    }
}

struct Document<'a, 'b>(&'a mut Entries<'b>);

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of contents")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "version" => self.0.version = Some(map.next_value()?),
                "entries" => map.next_value_seed(List(self.0))?,
                "tarSplitDigest" => self.0.toc.split = Some(map.next_value()?),
                _ => {
                    map.next_value::<de::IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

struct List<'a, 'b>(&'a mut Entries<'b>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();

    fn deserialize<D: de::Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(entry) = seq.next_element::<Entry>()? {
            if let Err(e) = self.0.take(&entry) {
                *self.0.refused = Some(e);
                return Err(de::Error::custom("refused"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::chunked::Section;

    fn toc(json: &str) -> Result<Toc, Error> {
        let section = zstd::encode_all(json.as_bytes(), 3).unwrap();
        let position = Position {
            digest: Digest::of(&section),
            toc: Section {
                at: 1000..1000 + section.len() as u64,
                plain: json.len() as u64,
            },
            split: Section { at: 0..1, plain: 1 },
        };
        Toc::read(&section, &position, 1 << 20)
    }

    fn reg(fields: &str) -> String {
        let digest = Digest::of(b"x");
        format!(r#"{{"type":"reg","name":"a/b","digest":"{digest}",{fields}}}"#)
    }

    fn table(entries: &[String]) -> String {
        let digest = Digest::of(b"split");
        let entries = entries.join(",");
        format!(
            r#"{{"version":1,"entries":[{entries}],"tarSplitDigest":"{digest}","more":[{{}}]}}"#
        )
    }

    #[test]
    fn files_with_content_are_kept() {
        let other = |kind: &str| {
            format!(
                r#"{{"type":"{kind}","name":"x","linkName":"y","mode":420,"xattrs":{{"a":"b"}}}}"#
            )
        };
        let entries = [
            other("dir"),
            reg(r#""size":7,"offset":10,"endOffset":20"#),
            r#"{"type":"reg","name":"empty"}"#.to_owned(),
            other("hardlink"),
            reg(r#""size":9,"offset":20,"endOffset":30,"chunkSize":4"#),
            r#"{"type":"chunk","name":"a/b","offset":25,"chunkOffset":4}"#.to_owned(),
        ];
        let toc = toc(&table(&entries)).unwrap();
        assert_eq!(toc.files.len(), 2);
        assert_eq!((toc.files[1].size, &toc.files[1].at), (9, &(20..30)));
        assert_eq!(toc.files[0].key, key(b"b", 7));
        assert_ne!(toc.files[0].key, toc.files[1].key);
        assert!(toc.check_split(b"split").is_ok());
        assert!(toc.check_split(b"splat").is_err());
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let digest = Digest::of(b"x");
        for entry in [
            reg(r#""size":7,"offset":20,"endOffset":20"#),
            reg(r#""size":7,"offset":20,"endOffset":10"#),
            reg(r#""size":7,"offset":990,"endOffset":1001"#),
            reg(r#""size":7"#),
            reg(r#""size":1048577,"offset":10,"endOffset":20"#),
            r#"{"type":"reg","size":1,"offset":1,"endOffset":2}"#.to_owned(),
            r#"{"type":"reg","size":1,"offset":1,"endOffset":2,"digest":"sha256:12"}"#.to_owned(),
        ] {
            let e = toc(&table(std::slice::from_ref(&entry))).unwrap_err();
            assert!(matches!(e, Error::Senseless { .. }), "{entry}: {e:?}");
        }
        // One over the other.
        let first = reg(r#""size":7,"offset":10,"endOffset":20"#);
        for second in [
            reg(r#""size":7,"offset":19,"endOffset":30"#),
            reg(r#""size":7,"offset":1,"endOffset":5"#),
        ] {
            let e = toc(&table(&[first.clone(), second])).unwrap_err();
            assert!(matches!(e, Error::Senseless { .. }), "{e:?}");
        }
        for entry in [
            reg(r#""size":-7,"offset":10,"endOffset":20"#),
            reg(r#""size":7.5,"offset":10,"endOffset":20"#),
            reg(r#""size":7,"offset":-10,"endOffset":20"#),
            reg(r#""size":99999999999999999999,"offset":10,"endOffset":20"#),
            r#"{"name":"no type"}"#.to_owned(),
            r#"{"type":7}"#.to_owned(),
            "[]".to_owned(),
        ] {
            let e = toc(&table(std::slice::from_ref(&entry))).unwrap_err();
            assert!(matches!(e, Error::Damaged { .. }), "{entry}: {e:?}");
        }
        let deep = format!("{}{}", r#"{"a":"#.repeat(9999), "}".repeat(9999));
        for json in [
            "",
            "{}",
            "[]",
            r#"{"version":2,"entries":[]}"#,
            r#"{"version":1,"entries":{}}"#,
            r#"{"version":1,"entries":[]} x"#,
            r#"{"version":1,"tarSplitDigest":"x"}"#,
            &deep,
        ] {
            let e = toc(json).unwrap_err();
            assert!(matches!(e, Error::Damaged { .. }), "{json}: {e:?}");
        }
        assert!(toc(&format!(r#"{{"version":1,"x":"{digest}"}}"#)).is_ok());
    }

    #[test]
    fn tables_without_end_are_refused() {
        let many = |entry: &str, n: usize| {
            let entries = vec![entry; n].join(",");
            toc(&format!(r#"{{"version":1,"entries":[{entries}]}}"#))
        };
        let e = many(r#"{"type":"dir"}"#, Toc::ENTRIES_MAX as usize + 1).unwrap_err();
        assert!(matches!(e, Error::TooLarge { .. }), "{e:?}");
        // It says that it has a hundred bytes, and has a hundred millions.
        let bomb = vec![b' '; 100_000_000];
        let section = zstd::encode_all(&bomb[..], 3).unwrap();
        let position = Position {
            digest: Digest::of(&section),
            toc: Section {
                at: 0..9,
                plain: 100,
            },
            split: Section { at: 0..1, plain: 1 },
        };
        let e = Toc::read(&section, &position, 1).unwrap_err();
        assert!(matches!(e, Error::Damaged { .. }), "{e:?}");
        let e = Toc::read(b"other bytes", &position, 1).unwrap_err();
        assert!(matches!(e, Error::Digest { .. }), "{e:?}");
    }
}
