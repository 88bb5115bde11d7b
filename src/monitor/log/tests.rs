use std::os::unix::fs::FileExt as _;
use std::path::Path;

use jiff::Timestamp;
use tempfile::TempDir;

use super::record::{DATA_MAX, HEADER, Header, time};
use super::*;

fn unlimited() -> Limits {
    Limits::default()
}

/// What a stream wrote, from all files of a log, the oldest first.
fn content(path: &Path, stream: Stream) -> Vec<u8> {
    let name = |n: u32| match n {
        0 => path.to_owned(),
        n => path.with_extension(n.to_string()),
    };
    let mut out = Vec::new();
    for n in (0..20).rev() {
        let Ok(bytes) = std::fs::read(name(n)) else {
            continue;
        };
        for line in bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty()) {
            let record = Record::parse(line).expect("a record");
            if record.stream == stream {
                out.extend_from_slice(record.data);
                out.extend(record.whole.then_some(b'\n'));
            }
        }
    }
    out
}

#[test]
fn the_format_is_that_of_cri() {
    let at: Timestamp = "2026-11-23T13:00:00.1234Z".parse().unwrap();
    let mut header = Header::new(at, Stream::Stderr);
    assert_eq!(
        header.whole(true),
        b"2026-11-23T13:00:00.123400000Z stderr F "
    );
    let line = b"2026-11-23T13:00:00.123400000Z stdout P a b";
    let record = Record::parse(line).unwrap();
    assert_eq!(record.data, b"a b");
    assert_eq!(record.stream, Stream::Stdout);
    assert!(!record.whole);
    assert_eq!(record.time, &line[..30]);
    for bad in [
        "",
        "2026-11-23T13:00:00.123400000Z stdout P",
        "2026-11-23T13:00:00.123400000Z stdin  F x",
        "2026-11-23T13:00:00.123400000Z stdout X x",
        "2026-11-23T13:00:00.12340000Z  stdout F x",
        "2026-11-23 13:00:00.123400000Z stdout F x",
    ] {
        assert_eq!(Record::parse(bad.as_bytes()), None, "{bad}");
    }
    assert_eq!(&time(Timestamp::MAX)[..4], b"9999");
    assert_eq!(&time(Timestamp::MIN)[..4], b"1970");
}

#[test]
fn lines_pieces_and_line_ends_come_out_as_they_went_in() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut writer = Writer::open(&path, unlimited()).unwrap();
    let long = vec![b'x'; 2 * DATA_MAX + 5];
    for bytes in [&b"a\nb"[..], b"", b"c\n\n\r\n", b"\0\xff", &long, b"\n"] {
        writer.write(Stream::Stdout, bytes);
        writer.write(Stream::Stderr, b"e");
    }
    drop(writer);
    let want = [&b"a\nbc\n\n\r\n\0\xff"[..], &long, b"\n"].concat();
    assert_eq!(content(&path, Stream::Stdout), want);
    assert_eq!(content(&path, Stream::Stderr), b"eeeeee");
    let first = std::fs::read(&path).unwrap();
    assert!(first[30..].starts_with(b" stdout F a\n"), "{first:?}");
}

#[test]
fn what_looks_like_a_header_is_data() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let evil = b"2026-11-23T13:00:00.123456789Z stderr F not from stderr\nP\n stdout F \n";
    Writer::open(&path, unlimited())
        .unwrap()
        .write(Stream::Stdout, evil);
    assert_eq!(content(&path, Stream::Stdout), evil);
    assert_eq!(content(&path, Stream::Stderr), b"");
}

#[test]
fn rotation_keeps_so_many_files_of_such_a_size() {
    let dir = TempDir::new().unwrap();
    for (max_files, want) in [(1, &["log"][..]), (3, &["log", "log.1", "log.2"])] {
        let path = dir.path().join(max_files.to_string()).join("log");
        let parent = path.parent().unwrap();
        std::fs::create_dir(parent).unwrap();
        let limits = Limits {
            max_size: Some(1000),
            max_files,
        };
        let mut writer = Writer::open(&path, limits).unwrap();
        let mut all = Vec::new();
        for i in 0..100 {
            let line = format!("line {i}\n").repeat(3);
            writer.write(Stream::Stdout, line.as_bytes());
            all.extend_from_slice(line.as_bytes());
        }
        let mut files: Vec<String> = std::fs::read_dir(parent)
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        assert_eq!(files, want);
        for file in &files {
            let size = std::fs::metadata(parent.join(file)).unwrap().len();
            assert!(
                (900..=1000).contains(&size) || file == "log",
                "{file} {size}"
            );
        }
        assert!(all.ends_with(&content(&path, Stream::Stdout)));
        // A record that is larger than a file has one of its own.
        let large = [&[b'x'; 5000][..], b"\nend"].concat();
        writer.write(Stream::Stdout, &large);
        drop(writer);
        assert!(content(&path, Stream::Stdout).ends_with(if max_files == 1 {
            b"end"
        } else {
            &large
        }));
        // And the next to open it goes on where it was.
        let size = std::fs::metadata(&path).unwrap().len();
        let mut writer = Writer::open(&path, limits).unwrap();
        writer.write(Stream::Stdout, b"more");
        let more = std::fs::metadata(&path).unwrap().len();
        assert_eq!(more, size + HEADER as u64 + 5);
    }
}

#[test]
fn a_torn_end_is_ended_and_a_torn_header_goes() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    for (keep, want) in [
        (0, "two\n"),
        (HEADER - 1, "two\n"),
        (HEADER, "\ntwo\n"),
        (HEADER + 2, "on\ntwo\n"),
        (HEADER + 3, "one\ntwo\n"),
        (HEADER + 4, "one\ntwo\n"),
    ] {
        for before in [&b""[..], b"zero\n"] {
            let _ = std::fs::remove_file(&path);
            let write = |bytes: &[u8]| {
                let mut writer = Writer::open(&path, unlimited()).unwrap();
                writer.write(Stream::Stdout, bytes);
            };
            write(before);
            let size = std::fs::metadata(&path).unwrap().len();
            write(b"one\n");
            let file = std::fs::File::options().write(true).open(&path).unwrap();
            file.set_len(size + keep as u64).unwrap();
            write(b"two\n");
            let want = [before, want.as_bytes()].concat();
            assert_eq!(content(&path, Stream::Stdout), want, "{keep}");
        }
    }
    // What is no log of ours at all is not continued either.
    std::fs::write(&path, vec![0; 200_000]).unwrap();
    Writer::open(&path, unlimited())
        .unwrap()
        .write(Stream::Stdout, b"x\n");
    let mut end = [0; 2];
    let size = std::fs::metadata(&path).unwrap().len();
    let file = std::fs::File::open(&path).unwrap();
    file.read_exact_at(&mut end, 200_000).unwrap();
    assert_eq!(end, *b"\n2");
    assert_eq!(size, 200_001 + HEADER as u64 + 2);
}

/// A limit on the size of files does what a full disk does: part of a write is taken, then none. It holds for the
/// process, so this runs in one of its own.
#[test]
fn what_the_disk_cannot_take_is_counted_and_told() {
    const ALONE: &str = "CORACLE_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let name = "monitor::log::tests::what_the_disk_cannot_take_is_counted_and_told";
        let program = std::env::current_exe().unwrap();
        let mut child = std::process::Command::new(program);
        let output = child.args(["--exact", name]).env(ALONE, "1").output();
        let output = output.unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        return;
    }
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGXFSZ);
    signals.thread_block().unwrap();
    let limit = |size: Option<u64>| {
        let limit = rustix::process::Rlimit {
            current: size,
            maximum: None,
        };
        rustix::process::setrlimit(rustix::process::Resource::Fsize, limit).unwrap();
    };
    let dir = TempDir::new().unwrap();
    for room in (0..220).step_by(3) {
        let path = dir.path().join("log");
        let _ = std::fs::remove_file(&path);
        limit(None);
        let mut writer = Writer::open(&path, unlimited()).unwrap();
        writer.write(Stream::Stderr, b"begun");
        writer.write(Stream::Stdout, b"before");
        let size = std::fs::metadata(&path).unwrap().len();
        limit(Some(size + room));
        // Three calls: one that is cut somewhere, one that finds no room, and a large one.
        // With room for them, the words about it would be there at once.
        let lines = [" after\n", "second\n", "third\n", "fourth\n"];
        writer.write(Stream::Stdout, lines.concat().as_bytes());
        writer.write(Stream::Stdout, &[b'x'; 10_000]);
        writer.write(Stream::Stdout, b"lost\n");
        let full = std::fs::read(&path).unwrap();
        assert!(full.ends_with(b"\n"), "{room}: the end is torn");
        limit(None);
        writer.write(Stream::Stdout, b"there is room again\n");
        let full = String::from_utf8(full).unwrap();
        let kept = lines.iter().filter(|l| full.contains(**l)).count();
        let lost: usize = lines[kept..].iter().map(|l| l.len()).sum::<usize>() + 10_000 + 5;
        let told = format!(
            "begun\ncoracle: {lost} bytes are missing here, which could not be written: {}\n",
            std::io::Error::from_raw_os_error(libc::EFBIG)
        );
        let stderr = String::from_utf8(content(&path, Stream::Stderr)).unwrap();
        assert_eq!(stderr, told, "{room}");
        let open = if kept == 0 { "\n" } else { "" };
        let want = format!(
            "before{}{open}there is room again\n",
            lines[..kept].concat()
        );
        let stdout = String::from_utf8(content(&path, Stream::Stdout)).unwrap();
        assert_eq!(stdout, want, "{room}");
    }
}

/// All records from here to the end, as text: `o` or `e` for the stream, and a line end where there is one.
fn rest(reader: &mut Reader) -> String {
    let mut out = String::new();
    while let Some(r) = reader.next_record().unwrap() {
        out.push(if r.stream == Stream::Stdout { 'o' } else { 'e' });
        out.push_str(&String::from_utf8_lossy(r.data));
        out.push_str(if r.whole { "\n" } else { "|" });
    }
    out
}

fn tail(path: &Path, lines: u64) -> String {
    rest(&mut Reader::open(path, Some(lines), None).unwrap().unwrap())
}

#[test]
fn the_last_lines_are_found_from_the_end() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut writer = Writer::open(&path, unlimited()).unwrap();
    let (out, err) = (Stream::Stdout, Stream::Stderr);
    for (stream, text) in [
        (out, "1\n"),
        (err, "2a"),
        (out, "3\n4"),
        (err, "2b\n"),
        (out, "4b\n5a"),
        (out, "5b"),
    ] {
        writer.write(stream, text.as_bytes());
    }
    for (lines, want) in [
        (0, ""),
        (1, "o5a|o5b|"),
        (2, "o4|o4b\no5a|o5b|"),
        (3, "e2a|o4|e2b\no4b\no5a|o5b|"),
        (4, "e2a|o3\no4|e2b\no4b\no5a|o5b|"),
        (5, "o1\ne2a|o3\no4|e2b\no4b\no5a|o5b|"),
        (6, "o1\ne2a|o3\no4|e2b\no4b\no5a|o5b|"),
        (u64::MAX, "o1\ne2a|o3\no4|e2b\no4b\no5a|o5b|"),
    ] {
        assert_eq!(tail(&path, lines), want, "{lines}");
    }
}

#[test]
fn the_last_lines_of_many_files() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let limits = Limits {
        max_size: Some(500),
        max_files: 100,
    };
    let mut writer = Writer::open(&path, limits).unwrap();
    let line = |n: usize| format!("{n}{}\n", "x".repeat(n * n % 300));
    for n in 0..200 {
        writer.write(Stream::Stdout, line(n).as_bytes());
    }
    for lines in [0, 1, 2, 10, 57, 199, 200, 300] {
        let from = 200_usize.saturating_sub(lines);
        let want: String = (from..200).map(|n| format!("o{}", line(n))).collect();
        assert_eq!(tail(&path, lines as u64), want, "{lines}");
    }
}

#[test]
fn a_line_longer_than_any_window_is_one() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut writer = Writer::open(&path, unlimited()).unwrap();
    let long = [b'x'; 3 * DATA_MAX];
    writer.write(Stream::Stdout, b"first\n");
    for _ in 0..10 {
        writer.write(Stream::Stdout, &long);
    }
    writer.write(Stream::Stdout, b"end\nlast\n");
    let text = tail(&path, 2);
    assert!(text.ends_with("|oend\nolast\n") && text.starts_with("ox"));
    assert_eq!(text.bytes().filter(|b| *b == b'x').count(), 10 * long.len());
    assert!(tail(&path, 3).starts_with("ofirst\nox"));
}

#[test]
fn what_is_younger_does_not_count() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let mut text = String::new();
    for second in 10..30 {
        text += &format!("2026-01-01T00:00:{second}.000000000Z stdout F {second}\n");
    }
    std::fs::write(&path, text).unwrap();
    let until = time("2026-01-01T00:00:15Z".parse().unwrap());
    let mut reader = Reader::open(&path, Some(2), Some(&until)).unwrap().unwrap();
    assert!(rest(&mut reader).starts_with("o14\no15\no16\n"));
}

#[test]
fn garbage_is_passed_over_and_a_torn_end_is_shown_at_the_end_only() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let header = "2026-01-01T00:00:00.000000000Z stdout F ";
    let mut bytes = format!("{header}a\n\0\0\0\nnonsense\n").into_bytes();
    bytes.extend(vec![b'g'; 1_000_000]);
    bytes.extend_from_slice(format!("\n{header}b\n{header}torn").as_bytes());
    std::fs::write(&path, bytes).unwrap();
    let mut reader = Reader::open(&path, None, None).unwrap().unwrap();
    assert_eq!(rest(&mut reader), "oa\nob\n");
    reader.follow().unwrap();
    assert_eq!(rest(&mut reader), "");
    reader.finish().unwrap();
    assert_eq!(rest(&mut reader), "otorn\n");
    assert_eq!(rest(&mut reader), "");
    assert_eq!(tail(&path, 1), "ob\n");
    assert_eq!(tail(&path, 2), "oa\nob\n");
    assert!(
        Reader::open(&dir.path().join("none"), None, None)
            .unwrap()
            .is_none()
    );
    let no_dir = dir.path().join("no/log");
    assert!(Reader::open(&no_dir, None, None).unwrap().is_none());
}

/// A writer that rotates all the time, and a reader that follows: nothing is lost, doubled or out of order as long as
/// no file goes before it was read.
#[test]
fn a_follower_sees_all_through_rotations() {
    const LINES: u32 = 20_000;
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    let limits = Limits {
        max_size: Some(2000),
        max_files: 9000,
    };
    let mut writer = Writer::open(&path, limits).unwrap();
    let mut reader = Reader::open(&path, None, None).unwrap().unwrap();
    let write = std::thread::spawn(move || {
        for n in 0..LINES {
            writer.write(Stream::Stdout, format!("{n}\n").as_bytes());
        }
    });
    let mut watch = Watch::new([dir.path()]);
    let mut next = 0;
    loop {
        let done = write.is_finished();
        if done {
            reader.finish().unwrap();
        }
        while let Some(r) = reader.next_record().unwrap() {
            assert_eq!(r.data, next.to_string().as_bytes());
            next += 1;
        }
        if done {
            break;
        }
        watch.wait(None);
        reader.follow().unwrap();
    }
    write.join().unwrap();
    assert_eq!(next, LINES);
}

/// One that is too slow misses files, but never goes back.
#[test]
fn a_slow_follower_goes_on_with_what_is_left() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("log");
    for max_files in [1, 3] {
        let limits = Limits {
            max_size: Some(200),
            max_files,
        };
        let _ = std::fs::remove_file(&path);
        let mut writer = Writer::open(&path, limits).unwrap();
        let mut write = |n: u32| writer.write(Stream::Stdout, format!("{n}\n").as_bytes());
        write(0);
        let mut reader = Reader::open(&path, None, None).unwrap().unwrap();
        assert_eq!(rest(&mut reader), "o0\n");
        (1..100).for_each(&mut write);
        reader.follow().unwrap();
        let text = rest(&mut reader);
        let lines: Vec<u32> = text.lines().map(|l| l[1..].parse().unwrap()).collect();
        assert!(lines.is_sorted() && lines.ends_with(&[98, 99]), "{lines:?}");
        // What was in the file that it had open is not lost.
        assert!(lines.starts_with(&[1, 2, 3]), "{lines:?}");
    }
    // And one that was emptied by hand is read from its beginning.
    let path = dir.path().join("emptied");
    let mut writer = Writer::open(&path, unlimited()).unwrap();
    let mut reader = Reader::open(&path, None, None).unwrap().unwrap();
    writer.write(Stream::Stdout, b"before, and long\n");
    assert_eq!(rest(&mut reader), "obefore, and long\n");
    std::fs::File::create(&path).unwrap();
    writer.write(Stream::Stdout, b"after\n");
    assert_eq!(rest(&mut reader), "oafter\n");
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    /// Any bytes in any pieces on any stream come out again, per stream in order, whatever the limits; and of the
    /// last lines what a plain reading of all of it gives.
    #[test]
    fn bytes_survive(
        calls in proptest::collection::vec(
            (proptest::bool::ANY, proptest::collection::vec(
                proptest::prop_oneof![proptest::num::u8::ANY, proptest::strategy::Just(b'\n')], 0..200)),
            0..40),
        max_size in proptest::option::of(500_u64..4000),
        lines in 0_u64..30,
    ) {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("log");
        let limits = Limits { max_size, max_files: 1000 };
        let mut writer = Writer::open(&path, limits).unwrap();
        let mut want = [Vec::new(), Vec::new()];
        for (error, bytes) in &calls {
            let stream = if *error { Stream::Stderr } else { Stream::Stdout };
            writer.write(stream, bytes);
            want[stream as usize].extend_from_slice(bytes);
        }
        let mut have = [Vec::new(), Vec::new()];
        // Which line of its stream a record belongs to, by where its line ends.
        let mut records: Vec<(usize, bool, String)> = Vec::new();
        let mut reader = Reader::open(&path, None, None).unwrap().unwrap();
        while let Some(r) = reader.next_record().unwrap() {
            let out = &mut have[r.stream as usize];
            out.extend_from_slice(r.data);
            out.extend(r.whole.then_some(b'\n'));
            records.push((r.stream as usize, r.whole, format!("{r:?}")));
        }
        proptest::prop_assert_eq!(&have, &want);
        // The slow way: each record knows how many lines end at it or after it.
        let mut seen = 0;
        let mut line = [None; 2];
        let mut kept = Vec::new();
        for (stream, whole, text) in records.iter().rev() {
            if *whole || line[*stream].is_none() {
                seen += 1;
                line[*stream] = Some(seen);
            }
            if line[*stream].is_some_and(|number| number <= lines) {
                kept.push(text.clone());
            }
        }
        kept.reverse();
        let mut reader = Reader::open(&path, Some(lines), None).unwrap().unwrap();
        let mut last = Vec::new();
        while let Some(r) = reader.next_record().unwrap() {
            last.push(format!("{r:?}"));
        }
        proptest::prop_assert_eq!(last, kept);
    }
}
