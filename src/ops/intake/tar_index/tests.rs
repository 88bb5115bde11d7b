use super::*;

fn indexed(build: impl FnOnce(&mut tar::Builder<Vec<u8>>)) -> Result<Archive, Error> {
    let mut builder = tar::Builder::new(Vec::new());
    build(&mut builder);
    open(&builder.into_inner().unwrap())
}

fn open(bytes: &[u8]) -> Result<Archive, Error> {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("s")).unwrap();
    let path = dir.path().join("a.tar");
    std::fs::write(&path, bytes).unwrap();
    Archive::open(&store, &Input::Path(path), 1 << 20)
}

fn add(b: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]) {
    let mut h = tar::Header::new_gnu();
    h.set_size(data.len() as u64);
    b.append_data(&mut h, name, data).unwrap();
}

fn link(b: &mut tar::Builder<Vec<u8>>, kind: EntryType, name: &str, target: &str) {
    let mut h = tar::Header::new_gnu();
    h.set_entry_type(kind);
    h.set_size(0);
    b.append_link(&mut h, name, target).unwrap();
}

#[test]
fn members_are_found_by_name_and_through_links() {
    let long = format!("{}/layer.tar", "d".repeat(200));
    let a = indexed(|b| {
        add(b, "./manifest.json", b"[]");
        add(b, &long, b"layer");
        link(b, EntryType::Symlink, "x/layer.tar", &format!("../{long}"));
        link(b, EntryType::Link, "hard", "x/layer.tar");
    })
    .unwrap();
    assert_eq!(a.document("manifest.json", "manifest", 9).unwrap(), b"[]");
    for name in [&long, "x/layer.tar", "./x//layer.tar", "hard"] {
        assert_eq!(a.document(name, "layer", 9).unwrap(), b"layer", "{name}");
    }
    let mut rest = String::new();
    a.member("hard", 2)
        .unwrap()
        .read_to_string(&mut rest)
        .unwrap();
    assert_eq!(rest, "yer");
    assert!(matches!(
        a.document("hard", "layer", 4),
        Err(Error::Intake(IntakeError::TooLarge { size: 5, .. }))
    ));
}

#[test]
fn packed_archives_and_pipes_are_spooled() {
    let mut b = tar::Builder::new(Vec::new());
    add(&mut b, "f", b"data");
    let plain = b.into_inner().unwrap();
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut gz, &plain).unwrap();
    for packed in [
        gz.finish().unwrap(),
        zstd::encode_all(&plain[..], 1).unwrap(),
        plain,
    ] {
        assert_eq!(
            open(&packed).unwrap().document("f", "f", 9).unwrap(),
            b"data"
        );
    }
    let xz = open(b"\xfd7zXZ\0.......").unwrap_err();
    assert!(matches!(
        xz,
        Error::Intake(IntakeError::Compression { kind: "xz", .. })
    ));
    // Two megabytes of nothing against a limit of one.
    let bomb = zstd::encode_all(&vec![0u8; 2 << 20][..], 1).unwrap();
    let e = open(&bomb).unwrap_err();
    assert!(matches!(e, Error::Intake(IntakeError::Limit { .. })), "{e}");
}

#[test]
fn hostile_archives_are_refused_or_harmless() {
    let a = indexed(|b| {
        link(b, EntryType::Symlink, "loop", "loop");
        link(b, EntryType::Symlink, "abs", "/etc/passwd");
        link(b, EntryType::Symlink, "up", "../../../../etc/passwd");
        link(b, EntryType::Symlink, "nowhere", "gone");
    })
    .unwrap();
    for name in ["loop", "abs", "up", "nowhere", "../x", "/etc/passwd", ""] {
        assert!(!a.has(name), "{name}");
    }
    for garbage in [&b""[..], b"hello", &[b'x'; 2048]] {
        let e = open(garbage).unwrap_err();
        assert!(
            matches!(e, Error::Intake(IntakeError::NotTar { .. })),
            "{e}"
        );
    }
    // Sizes beyond the end, and a size that wraps around.
    let mut h = tar::Header::new_gnu();
    h.set_path("f").unwrap();
    for size in [513, u64::MAX - 600, u64::MAX / 2] {
        h.set_size(size);
        h.set_cksum();
        let mut bytes = h.as_bytes().to_vec();
        bytes.extend([0; 512]);
        let e = open(&bytes).unwrap_err();
        assert!(
            matches!(e, Error::Intake(IntakeError::NotTar { .. })),
            "{size}: {e}"
        );
    }
    // A name of a megabyte.
    let mut h = tar::Header::new_gnu();
    h.set_entry_type(EntryType::GNULongName);
    h.set_size(1 << 20);
    h.set_cksum();
    let mut bytes = h.as_bytes().to_vec();
    bytes.extend(vec![b'n'; 1 << 20]);
    let e = open(&bytes).unwrap_err();
    assert!(matches!(e, Error::Intake(IntakeError::Limit { .. })), "{e}");
}
