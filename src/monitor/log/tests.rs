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
