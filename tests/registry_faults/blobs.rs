//! Blobs that break off, and that are not what was asked for.

use std::io::Read;

use super::*;

#[test]
fn a_blob_from_any_offset() {
    let all = content(300_000);
    let data = all.clone();
    let s = Server::start(move |a, out| serve_range(a, out, &data));
    let c = client();
    for offset in [0, 1, 123_456, 299_999] {
        assert!(read_blob(&c, &s, &all, offset).unwrap() == all[offset..]);
    }
    // Nothing left: nothing asked.
    assert_eq!(read_blob(&c, &s, &all, 300_000).unwrap(), b"");
    assert_eq!(s.asked().len(), 4);
    assert_eq!(s.connections(), 1, "the connection is used again");

    let e = c
        .blob(&image(&s), &Digest::of(&all), 10, 11)
        .map(drop)
        .unwrap_err();
    assert!(matches!(e, Error::Size { .. }), "{e:?}");
}

#[test]
fn a_truncated_blob_is_resumed() {
    let all = content(200_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            serve_part(a, out, &data, 70_000);
            return After::Close;
        }
        serve_range(a, out, &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    let froms: Vec<_> = s.asked().iter().map(Asked::from).collect();
    assert_eq!(froms, [None, Some(70_000)]);
}

#[test]
fn a_truncated_chunked_blob_is_resumed() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            out.head(200, &[("Transfer-Encoding", "chunked")]);
            out.raw(&chunk(&data[..40_000]));
            return After::Close;
        }
        serve_range(a, out, &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    assert_eq!(s.asked()[1].from(), Some(40_000));
}

#[test]
fn a_reset_every_few_bytes_still_finishes() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if serve_part(a, out, &data, 9_000) {
            return After::Keep;
        }
        // Let the bytes arrive: a reset throws away what is still in the buffers.
        std::thread::sleep(Duration::from_millis(30));
        After::Reset
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    assert!(s.asked().len() >= 12);
}

#[test]
fn a_server_without_ranges_has_its_start_skipped() {
    let all = content(150_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            serve_part(a, out, &data, 100_000);
            return After::Close;
        }
        out.reply(200, &[], &data)
    });
    assert!(read_blob(&client(), &s, &all, 0).unwrap() == all);
    assert_eq!(s.asked().len(), 2);
}

#[test]
fn a_server_that_always_breaks_at_the_same_byte_is_given_up() {
    let all = content(50_000);
    let data = all.clone();
    let s = Server::start(move |_, out| {
        out.head(200, &[("Content-Length", "50000")]);
        out.raw(&data[..20_000]);
        After::Close
    });
    let e = read_blob(&client(), &s, &all, 0).unwrap_err();
    assert!(
        matches!(e, Error::Broken { .. } | Error::Short { .. }),
        "{e:?}"
    );
    assert_eq!(s.asked().len(), 4);
}

#[test]
fn a_part_that_was_not_asked_for() {
    for range in [
        "bytes 0-99/100",
        "bytes 51-99/100",
        "bytes 50-98/100",
        "bytes 50-99/101",
        "bytes 50-200/201",
        "nonsense",
        "",
    ] {
        let s =
            Server::start(move |_, out| out.reply(206, &[("Content-Range", range)], &[b'x'; 50]));
        let e = read_blob(&client(), &s, &[b'x'; 100], 50).unwrap_err();
        assert!(matches!(e, Error::Range { .. }), "{range:?}: {e:?}");
        assert_eq!(s.asked().len(), 1);
    }
}

#[test]
fn a_part_without_having_asked_for_one() {
    let s = Server::start(|_, out| {
        out.reply(206, &[("Content-Range", "bytes 0-99/100")], &[b'x'; 100])
    });
    let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
    assert!(matches!(e, Error::Status { status: 206, .. }), "{e:?}");
}

#[test]
fn a_blob_of_another_size() {
    for length in [99u64, 101, 1 << 40] {
        let s = Server::start(move |_, out| {
            out.head(200, &[("Content-Length", &length.to_string())]);
            out.raw(&[b'x'; 99]);
            After::Hang
        });
        let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
        assert!(matches!(e, Error::Size { .. }), "{length}: {e:?}");
        assert_eq!(s.asked().len(), 1);
    }
}

#[test]
fn more_bytes_than_the_manifest_allows() {
    // In chunks, and until the end of the connection: no length gives it away.
    for chunked in [true, false] {
        let s = Server::start(move |_, out| {
            if chunked {
                out.head(200, &[("Transfer-Encoding", "chunked")]);
                out.raw(&chunk(&[b'x'; 101]));
                out.raw(b"0\r\n\r\n");
            } else {
                out.head(200, &[]);
                out.raw(&[b'x'; 101]);
            }
            After::Close
        });
        let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
        assert!(matches!(e, Error::TooLong { .. }), "{chunked}: {e:?}");
    }
}

#[test]
fn a_stream_with_too_many_bytes_does_not_end_well_later() {
    let s = Server::start(|_, out| {
        out.head(200, &[("Transfer-Encoding", "chunked")]);
        out.raw(&chunk(&[b'x'; 101]));
        out.raw(b"0\r\n\r\n");
        After::Close
    });
    let mut blob = client().blob(&image(&s), &Digest::of(b""), 100, 0).unwrap();
    let mut buf = [0; 4096];
    assert!(blob.read(&mut buf).is_err());
    assert!(blob.read(&mut buf).is_err());
}

#[test]
fn bad_chunks() {
    for chunks in [&b"zz\r\nxx\r\n"[..], b"ffffffffffffffffff\r\nx", b"-1\r\nx"] {
        let s = Server::start(move |_, out| {
            out.head(200, &[("Transfer-Encoding", "chunked")]);
            out.raw(chunks);
            After::Close
        });
        let e = read_blob(&client(), &s, &[b'x'; 100], 0).unwrap_err();
        assert!(
            matches!(e, Error::Protocol { .. } | Error::Broken { .. }),
            "{e:?}"
        );
    }
}

#[test]
fn threads_share_a_client() {
    let all = content(100_000);
    let data = all.clone();
    let s = Server::start(move |a, out| serve_range(a, out, &data));
    let c = client();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                for _ in 0..5 {
                    assert!(read_blob(&c, &s, &all, 0).unwrap() == all);
                }
            });
        }
    });
    assert!(s.connections() <= 6, "{} connections", s.connections());
}
