//! Tables of contents of layers: what they say, what they lead to, and that what we write leads back. The first byte
//! says which of these the others are for.
#![no_main]

use std::collections::HashMap;
use std::io::{self, Read as _, Write as _};

use coracle::layer::chunked::{self, Parts, Position, Section, Toc};
use coracle::layer::{Compression, Sink};
use coracle::oci::Digest;
use libfuzzer_sys::fuzz_target;

const MAX: u64 = 1 << 20;

/// A zstd frame with these bytes as they are (RFC 8878, 3.1.1), so that what is changed is what is read.
fn frame(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0x28, 0xb5, 0x2f, 0xfd, 0xa0];
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    let block = 1 | (bytes.len() as u32) << 3;
    out.extend_from_slice(&block.to_le_bytes()[..3]);
    out.extend_from_slice(bytes);
    out
}

/// A blob in memory.
struct Whole<'a>(&'a [u8]);

impl Parts for Whole<'_> {
    fn read(&mut self, at: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = usize::try_from(at).ok().and_then(|at| self.0.get(at..));
        let rest = rest.unwrap_or_default();
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        Ok(n)
    }
}

/// The rest of a table, a tar-split, and a blob.
fn tables(data: &[u8]) {
    let mut parts = data.splitn(3, |b| *b == 0);
    let mut next = || parts.next().unwrap_or_default();
    let (table, split, blob) = (next(), next(), next());
    let split = frame(split);
    let digest = Digest::of(&split);
    let mut plain = format!(r#"{{"version":1,"tarSplitDigest":"{digest}","#).into_bytes();
    plain.extend_from_slice(table);
    let section = frame(&plain);
    let position = Position {
        digest: Digest::of(&section),
        toc: Section {
            at: 8192..16384,
            plain: plain.len() as u64,
        },
        split: Section {
            at: 16384..20000,
            plain: split.len() as u64,
        },
    };
    let Ok(toc) = Toc::read(&section, &position, MAX) else {
        return;
    };
    let missing: Vec<_> = toc.files().iter().map(|f| f.at.clone()).collect();
    let ranges = chunked::wanted(&missing);
    for file in &missing {
        assert!(
            ranges
                .iter()
                .any(|r| r.start <= file.start && file.end <= r.end)
        );
    }
    let found = chunked::find(toc.files(), []);
    let tar = chunked::Tar::open(&toc, &position, &split, &found, Whole(blob));
    let mut tar = tar.expect("the digest is right").take(MAX);
    let _ = io::copy(&mut tar, &mut io::sink());
}

/// A tar, or what passes for one.
fn there_and_back(tar: &[u8]) {
    let mut blob = Vec::new();
    let mut sink = Sink::new(&mut blob, Compression::zstd_chunked(Some(1))).expect("a level");
    sink.write_all(tar).expect("memory");
    // It may break off in a file.
    let Ok(sums) = sink.finish() else { return };
    let Some(annotations) = sums.annotations else {
        return;
    };
    let annotations: HashMap<_, _> = annotations.into_iter().collect();
    let position = Position::of(&annotations, blob.len() as u64);
    let position = position.expect("ours").expect("all of them");
    let section = |s: &Section| &blob[s.at.start as usize..s.at.end as usize];
    let toc = Toc::read(section(&position.toc), &position, MAX).expect("ours");
    let found = chunked::find(toc.files(), []);
    let mut again = Vec::new();
    chunked::Tar::open(
        &toc,
        &position,
        section(&position.split),
        &found,
        Whole(&blob),
    )
    .expect("ours")
    .read_to_end(&mut again)
    .expect("ours");
    assert!(again == tar, "another tar");
}

/// What a manifest says.
fn annotations(text: &str) {
    let keys = [
        "manifest-checksum",
        "manifest-position",
        "tarsplit-position",
    ];
    let keys = keys.map(|key| format!("io.github.containers.zstd-chunked.{key}"));
    let values = text.split('\n').map(str::to_owned);
    if let Ok(Some(p)) = Position::of(&keys.into_iter().zip(values).collect(), MAX) {
        for (s, max) in [(p.toc, Position::TOC_MAX), (p.split, Position::SPLIT_MAX)] {
            assert!(s.at.start < s.at.end && s.at.end <= MAX && s.plain <= max);
        }
    }
}

fuzz_target!(|data: &[u8]| {
    match data.split_first() {
        Some((0, data)) => tables(data),
        Some((1, data)) => there_and_back(data),
        Some((_, data)) => annotations(&String::from_utf8_lossy(data)),
        None => {}
    }
});
