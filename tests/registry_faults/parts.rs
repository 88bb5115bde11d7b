//! Parts of blobs: what is asked for, and what is no answer to that.

use std::io::Read;
use std::ops::Range;

use super::*;

fn read_part(c: &Client, s: &Server, all: &[u8], part: Range<u64>) -> Result<Vec<u8>, Error> {
    let mut blob = c.part(&image(s), &Digest::of(all), all.len() as u64, part)?;
    let mut got = Vec::new();
    blob.read_to_end(&mut got)
        .map_err(|e| Error::from_io(e).unwrap())?;
    Ok(got)
}

#[test]
fn any_part_of_a_blob() {
    let all = content(300_000);
    let data = all.clone();
    let s = Server::start(move |a, out| serve_range(a, out, &data));
    let c = client();
    for (from, to) in [
        (0, 1),
        (0, 300_000),
        (5, 6),
        (123, 200_000),
        (299_999, 300_000),
    ] {
        let got = read_part(&c, &s, &all, from as u64..to as u64).unwrap();
        assert!(got == all[from..to], "{from}..{to}");
    }
    assert_eq!(s.asked()[0].header("range"), Some("bytes=0-0"));
    // Nothing wanted: nothing asked.
    assert_eq!(read_part(&c, &s, &all, 7..7).unwrap(), b"");
    assert_eq!(s.asked().len(), 5);
    assert_eq!(s.connections(), 1, "the connection is used again");
    #[expect(clippy::reversed_empty_ranges, reason = "that is the point")]
    for outside in [0..300_001, 300_001..300_002, 9..8] {
        let e = read_part(&c, &s, &all, outside).unwrap_err();
        assert!(matches!(e, Error::Size { .. }), "{e:?}");
    }
    assert_eq!(s.asked().len(), 5);
}

#[test]
fn a_part_that_breaks_off_is_resumed_to_its_end() {
    let all = content(200_000);
    let data = all.clone();
    let s = Server::start(move |a, out| {
        if a.index == 0 {
            out.head(
                206,
                &[
                    ("Content-Length", "100000"),
                    ("Content-Range", "bytes 50000-149999/200000"),
                ],
            );
            out.raw(&data[50_000..70_000]);
            return After::Close;
        }
        serve_range(a, out, &data)
    });
    let got = read_part(&client(), &s, &all, 50_000..150_000).unwrap();
    assert!(got == all[50_000..150_000]);
    assert_eq!(s.asked()[1].header("range"), Some("bytes=70000-149999"));
}

#[test]
fn a_server_that_knows_no_parts_is_told_apart_before_its_bytes_are_read() {
    for part in [0..10, 50..60] {
        let s = Server::start(|_, out| out.reply(200, &[], &[b'x'; 100]));
        let e = read_part(&client(), &s, &[b'x'; 100], part).unwrap_err();
        assert!(matches!(e, Error::NoRanges { .. }), "{e:?}");
        assert_eq!(s.asked().len(), 1);
    }
}

#[test]
fn another_part_than_the_one_that_was_asked_for() {
    for range in [
        "bytes 0-9/100",
        "bytes 50-99/100",
        "bytes 50-58/100",
        "bytes 50-59/1000",
        "bytes 51-60/100",
        "",
    ] {
        let s =
            Server::start(move |_, out| out.reply(206, &[("Content-Range", range)], &[b'x'; 10]));
        let e = read_part(&client(), &s, &[b'x'; 100], 50..60).unwrap_err();
        assert!(matches!(e, Error::Range { .. }), "{range:?}: {e:?}");
    }
    // The right words, and more or fewer bytes.
    for n in [9, 11, 1 << 20] {
        let s = Server::start(move |_, out| {
            out.reply(206, &[("Content-Range", "bytes 50-59/100")], &vec![b'x'; n])
        });
        let e = read_part(&client(), &s, &[b'x'; 100], 50..60).unwrap_err();
        assert!(matches!(e, Error::Size { .. }), "{n}: {e:?}");
    }
}
