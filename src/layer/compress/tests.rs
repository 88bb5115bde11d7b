use std::io::Read as _;
use std::process::{Command, Stdio};

use flate2::Compression as Level;

use super::sink::BLOCK;
use super::*;
use crate::oci::Digest;

fn through(compression: Compression, data: &[u8]) -> (Vec<u8>, Sums) {
    let mut out = Vec::new();
    let mut sink = Sink::new(&mut out, compression).unwrap();
    sink.write_all(data).unwrap();
    let sums = sink.finish().unwrap();
    (out, sums)
}

#[test]
fn digests_are_those_of_what_went_in_and_came_out() {
    let data = vec![7; 1_300_000];
    let (plain, sums) = through(Compression::None, &data);
    assert_eq!(plain, data);
    assert_eq!((&sums.blob, sums.blob_size), (&sums.diff_id, 1_300_000));
    let (gzip, sums) = through(Compression::default(), &data);
    assert_eq!(sums.diff_id, Digest::of(&data));
    assert_eq!(sums.blob, Digest::of(&gzip));
    assert_eq!(sums.blob_size, gzip.len() as u64);
    let mut back = Vec::new();
    flate2::read::MultiGzDecoder::new(&gzip[..])
        .read_to_end(&mut back)
        .unwrap();
    assert_eq!(back, data);
    // Neither time nor name of this machine.
    assert_eq!(gzip[4..8], [0; 4]);
    assert_eq!(gzip, through(Compression::default(), &data).0);
}

#[test]
fn the_blob_does_not_depend_on_how_the_tar_arrives() {
    // Something that matches itself at many distances.
    let mut data = Vec::new();
    let mut state = 1u32;
    while data.len() < 1_200_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let from = (state >> 8) as usize % (data.len() + 1);
        let piece: Vec<u8> = data.iter().skip(from).take(50).copied().collect();
        data.extend(piece);
        data.extend(state.to_le_bytes());
    }
    let packed = |sizes: &[usize], compression| {
        let mut out = Vec::new();
        let mut sink = Sink::new(&mut out, compression).unwrap();
        let mut rest = &data[..];
        for n in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, after) = rest.split_at((*n).min(rest.len()));
            sink.write_all(piece).unwrap();
            rest = after;
        }
        sink.finish().unwrap();
        out
    };
    for compression in [Compression::default(), Compression::zlib(6)] {
        let whole = packed(&[data.len()], compression);
        for sizes in [&[4096][..], &[1, 7, 511], &[65536, 3], &[131_071]] {
            assert!(packed(sizes, compression) == whole, "{sizes:?}");
        }
    }
}

/// Text of a kind, as long as asked for.
fn text(len: usize) -> Vec<u8> {
    let mut state = 7u32;
    let mut words = Vec::new();
    while words.len() < 40_000 {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        words.extend(format!("{} words ", state >> 20).bytes());
    }
    // No two blocks are the same.
    let mut out = Vec::new();
    while out.len() < len {
        out.extend(out.len().to_string().bytes());
        out.extend(&words);
    }
    out.truncate(len);
    out
}

#[test]
fn the_encoder_is_known_by_the_first_bytes() {
    for len in [0, 100, 3_000_000] {
        let tar = text(len);
        let zstd = [1, 3, 7, 19].map(|n| Compression::zstd(Some(n)));
        let all = (0..=9).map(Compression::gzip);
        let all = all.chain([1, 3, 6, 9].map(Compression::zlib)).chain(zstd);
        for made_by in all {
            let (blob, sums) = through(made_by, &tar);
            let head = &blob[..blob.len().min(64)];
            let whole = len < 1 << 20;
            let prefix = &tar[..len.min(1 << 20)];
            let found = Compression::candidates(head, len as u64)
                .into_iter()
                .filter(|c| c.begins(prefix, whole, head))
                .any(|c| through(c, &tar).1 == sums);
            assert!(found, "{made_by:?} {len}");
        }
    }
    // Another tool's: time, system and all that its options put there.
    let tar = text(500_000);
    let mut gzip = flate2::GzBuilder::new()
        .mtime(12)
        .operating_system(3)
        .write(Vec::new(), Level::new(6));
    for piece in tar.chunks(BLOCK) {
        gzip.write_all(piece).unwrap();
    }
    let blob = gzip.finish().unwrap();
    let again = Compression::candidates(&blob[..64], tar.len() as u64);
    assert!(through(again[0], &tar).0 == blob);
    let mut zstd = zstd::Encoder::new(Vec::new(), 5).unwrap();
    zstd.set_pledged_src_size(Some(tar.len() as u64)).unwrap();
    zstd.write_all(&tar).unwrap();
    let blob = zstd.finish().unwrap();
    let again = Compression::candidates(&blob[..64], tar.len() as u64);
    assert!(again.iter().any(|c| through(*c, &tar).0 == blob));
}

#[test]
fn what_none_of_ours_made_is_seen_at_once() {
    let tar = text(2_000_000);
    // Another strategy of deflate: what every other library's output looks like to ours.
    let (mut blob, _) = through(Compression::zlib(6), &tar);
    blob[40] ^= 1;
    let candidates = Compression::candidates(&blob[..64], tar.len() as u64);
    assert!(candidates.len() > 1);
    assert!(
        candidates
            .iter()
            .all(|c| !c.begins(&tar[..1 << 20], false, &blob[..64]))
    );
    for head in [
        &b""[..],
        b"\x1f\x8b",
        b"\x1f\x8b\x08\x08\0\0\0\0\0\0\0",
        // Ours in all but the version, the level, the system.
        b"\x1f\x8b\x08\x04\0\0\0\0\x04\xff\x06\0Cr\x02\0\x02\x01\0",
        b"\x1f\x8b\x08\x04\0\0\0\0\x04\xff\x06\0Cr\x02\0\x01\x00\0",
        b"\x1f\x8b\x08\x04\0\0\0\0\0\xff\x06\0Cr\x02\0\x01\x0a\0",
        b"\x1f\x8b\x08\x04\0\0\0\0\x04\x03\x06\0Cr\x02\0\x01\x01\0",
        b"plain tar",
    ] {
        assert_eq!(Compression::candidates(head, 5), []);
    }
}

#[test]
fn any_number_of_threads_makes_the_same_blob() {
    let block = members::BLOCK;
    for len in [0, 1, block - 1, block, block + 1, 2 * block, 9 * block + 7] {
        let tar = text(len);
        let by = |threads| {
            let mut out = Vec::new();
            let mut sink = Sink::with_threads(&mut out, Compression::anew(), threads).unwrap();
            sink.write_all(&tar).unwrap();
            sink.finish().unwrap();
            out
        };
        let one = by(1);
        // The extra field, and no more members than blocks.
        assert_eq!(one[3], 4);
        let mut first = flate2::bufread::GzDecoder::new(&one[..]);
        let mut back = Vec::new();
        first.read_to_end(&mut back).unwrap();
        assert_eq!(back.len(), len.min(block));
        for threads in [0, 2, 3, 4, 99] {
            assert!(by(threads) == one, "{len} by {threads}");
        }
    }
}

/// What is full, or breaks, after some bytes.
struct Breaks(usize);

impl Write for Breaks {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        self.0 = self
            .0
            .checked_sub(buf.len())
            .ok_or(io::ErrorKind::StorageFull)?;
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_ends_all_threads_and_is_told() {
    let tar = text(8 << 20);
    for room in [0, 5, 20, 400_000] {
        let failed = Sink::with_threads(Breaks(room), Compression::anew(), 4)
            .and_then(|mut sink| sink.write_all(&tar).and_then(|()| sink.finish()))
            .map(|_| ());
        assert_eq!(
            failed.map_err(|e| e.kind()),
            Err(io::ErrorKind::StorageFull)
        );
    }
}

/// When this breaks, the library makes something else than it did, and pushed blobs cannot be made again: count the
/// version in `members` up, and write the new digest here.
#[test]
fn the_encoder_makes_what_it_has_always_made() {
    let tar = text(1_500_000);
    let made = |compression| through(compression, &tar).1.blob.to_string();
    assert_eq!(
        made(Compression::gzip(1)),
        "sha256:d2993bc03286c111eb8623cc73795b533833c42bbb160f15cd16679b956ad38a"
    );
    assert_eq!(
        made(Compression::gzip(6)),
        "sha256:fdc7447c9d9551adf420ca703a9406a3f05b18d49072aed35d7896e7c108036c"
    );
}

#[test]
fn other_programs_read_what_the_encoder_makes() {
    let tar = text(3_000_000);
    let (blob, _) = through(Compression::anew(), &tar);
    let python = "import gzip, sys; sys.stdout.buffer.write(gzip.open(sys.stdin.buffer).read())";
    let readers = [
        &["gzip", "-dc"][..],
        &["pigz", "-dc"],
        &["igzip", "-dc"],
        &["python3", "-c", python],
    ];
    let mut read = 0;
    for reader in readers {
        let started = Command::new(reader[0])
            .args(&reader[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = started else { continue };
        let mut stdin = child.stdin.take().unwrap();
        let back = std::thread::scope(|scope| {
            scope.spawn(|| {
                stdin.write_all(&blob).unwrap();
                drop(stdin);
            });
            child.wait_with_output().unwrap()
        });
        assert!(back.status.success() && back.stdout == tar, "{reader:?}");
        read += 1;
    }
    assert!(read > 0, "there is no gzip");
}
