//! Blobs: what is read is checked, what broke is resumed, wrong bytes are never kept.

use std::io::{self, Read};

use super::*;

#[test]
fn blobs_are_checked_when_read() {
    let (_dir, store) = store();
    let blobs = store.blobs();
    let digest = blobs.put(b"{}").unwrap();
    assert!(blobs.has(&digest));
    assert_eq!(blobs.read(&digest, 2).unwrap(), b"{}");
    assert!(matches!(
        blobs.read(&digest, 1),
        Err(Error::BlobTooLarge { .. })
    ));
    std::fs::write(blobs.path(&digest), "{ ").unwrap();
    let e = blobs.read(&digest, 9).unwrap_err();
    assert!(matches!(e, Error::BlobCorrupt { .. }), "{e}");
    // Putting it again heals it.
    blobs.put(b"{}").unwrap();
    assert_eq!(blobs.read(&digest, 2).unwrap(), b"{}");
    let none = Digest::of(b"none");
    assert!(matches!(blobs.read(&none, 9), Err(Error::BlobMissing(_))));
    assert!(matches!(
        blobs.put_as(&none, b"x"),
        Err(Error::WrongDigest { .. })
    ));
}

/// A source that breaks after `n` bytes.
struct Breaks<'a>(&'a [u8], usize);

impl Read for Breaks<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.1 == 0 {
            return Err(io::Error::other("connection reset"));
        }
        let n = buf.len().min(self.1).min(self.0.len());
        buf[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        self.1 -= n;
        Ok(n)
    }
}

fn drain(mut r: impl Read) -> Result<Vec<u8>, Error> {
    let mut all = Vec::new();
    match r.read_to_end(&mut all) {
        Ok(_) => Ok(all),
        Err(e) => Err(*e.into_inner().unwrap().downcast().unwrap()),
    }
}

fn content() -> Vec<u8> {
    (0..3_000_000u32).flat_map(u32::to_le_bytes).collect()
}

#[test]
fn a_fetch_that_broke_is_resumed() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    {
        let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        assert_eq!(ingest.resume_offset(), 0);
        let mut sink = Vec::new();
        let broken = ingest
            .reader(Breaks(&bytes, 1_234_567))
            .read_to_end(&mut sink);
        assert!(broken.is_err());
        assert!(!ingest.is_complete());
    }
    store.sweep().unwrap();
    {
        let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        assert_eq!(ingest.resume_offset(), 1_234_567);
        let rest = &bytes[1_234_567..];
        assert_eq!(drain(ingest.reader(rest)).unwrap(), bytes);
        assert!(ingest.is_complete());
    }
    assert!(store.blobs().is_sound(&digest).unwrap());
    assert_eq!(tmp_names(&store), [""; 0]);
    // Once it is there the source is not asked.
    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
    assert_eq!(ingest.resume_offset(), size);
    assert_eq!(drain(ingest.reader(Breaks(&[], 0))).unwrap(), bytes);
}

#[test]
fn wrong_bytes_are_never_published_nor_kept() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    let mut evil = bytes.clone();
    evil[5] ^= 1;
    let long = [&bytes[..], b"x"].concat();
    for (sent, kept) in [(&evil[..], 0), (&long, 0), (&bytes[..9], 9)] {
        let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        let e = drain(ingest.reader(sent)).unwrap_err();
        match e {
            Error::WrongDigest { .. } | Error::Overlong { .. } => assert_eq!(kept, 0, "{e}"),
            Error::Truncated { have: 9, .. } => assert_eq!(kept, 9, "{e}"),
            e => panic!("{e}"),
        }
        drop(ingest);
        assert!(!store.blobs().has(&digest));
        let again = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
        assert_eq!(again.resume_offset(), kept);
    }
}

#[test]
fn a_blob_damaged_on_disk_is_found_out_and_fetched_anew() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    drain(
        store
            .blobs()
            .ingest(&digest, size, Keep::Blob)
            .unwrap()
            .reader(&bytes[..]),
    )
    .unwrap();
    let mut bad = bytes.clone();
    bad[77] ^= 1;
    std::fs::write(store.blobs().path(&digest), &bad).unwrap();
    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
    let e = drain(ingest.reader(io::empty())).unwrap_err();
    assert!(matches!(e, Error::BlobCorrupt { .. }), "{e}");
    drop(ingest);
    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
    assert_eq!(ingest.resume_offset(), 0);
    drain(ingest.reader(&bytes[..])).unwrap();
    drop(ingest);
    // Cut short on disk: the same.
    std::fs::write(store.blobs().path(&digest), &bytes[..10]).unwrap();
    assert_eq!(
        store
            .blobs()
            .ingest(&digest, size, Keep::Blob)
            .unwrap()
            .resume_offset(),
        0
    );
}

#[test]
fn a_lie_about_the_size_does_not_cost_others_their_blob() {
    let (_dir, store) = store();
    let digest = store.blobs().put(b"shared by two images").unwrap();
    let e = store.blobs().ingest(&digest, 5, Keep::Blob).unwrap_err();
    assert!(
        matches!(
            e,
            Error::WrongSize {
                have: 20,
                want: 5,
                ..
            }
        ),
        "{e}"
    );
    assert!(store.blobs().has(&digest));
}

#[test]
fn two_fetches_of_one_blob_make_one() {
    let (_dir, store) = store();
    let bytes = content();
    let digest = Digest::of(&bytes);
    let size = bytes.len() as u64;
    let fetched: Vec<u64> = std::thread::scope(|s| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                s.spawn(|| {
                    let mut ingest = store.blobs().ingest(&digest, size, Keep::Blob).unwrap();
                    let from = ingest.resume_offset();
                    let rest = &bytes[usize::try_from(from).unwrap()..];
                    assert_eq!(drain(ingest.reader(rest)).unwrap().len(), bytes.len());
                    size - from
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap()).collect()
    });
    assert_eq!(fetched.iter().sum::<u64>(), size, "{fetched:?}");
}
