//! Layers that are larger, deeper or longer than they say, or than anybody can bear.

use super::{harmless, nothing_left, refused, refused_with};
use crate::harness::{Done, Env, Evil, Image, Tar, digest};

suite!(
    negative_and_huge_sizes,
    too_many_entries,
    bomb,
    bomb_of_zstd,
    sparse_bomb,
    endless_pax_header,
    path_too_long,
    deep_nesting,
    too_many_implied_directories,
);

fn negative_and_huge_sizes(e: &Env) -> Done {
    let mut sizes: Vec<[u8; 12]> = vec![
        *b"77777777777\0",
        *b"-0000000001\0",
        *b"99999999999\0",
        *b"           \0",
    ];
    // Base 256: negative, then the largest.
    sizes.push([0xff; 12]);
    let mut largest = [0xff; 12];
    largest[0] = 0x80;
    sizes.push(largest);
    for size in sizes {
        let tar = Tar::busybox()
            .header(b"evil", b'0', 0o644, b"", &size)
            .raw(b"few bytes");
        let evil = Evil::honest(Image::new(&[tar.end()]));
        // Blanks are zero for some: then it is a file of no bytes, and the rest is garbage.
        refused(e, &evil, "");
    }
    for size in [
        "-1",
        "99999999999999999999",
        "18446744073709551615",
        "9223372036854775807",
        "1e9",
        "",
    ] {
        let tar = Tar::busybox().pax(&[("size", size.as_bytes())]).header(
            b"evil",
            b'0',
            0o644,
            b"",
            b"00000000000\0",
        );
        let evil = Evil::honest(Image::new(&[tar.end()]));
        let own = e.with_own_store();
        let out = own.cmd(["pull", &evil.name()]).run();
        // Empty means: forget the record.
        if !(size.is_empty() && out.code() == 0) {
            out.fails_with(125, "");
            nothing_left(&own);
        }
    }
    Ok(())
}

fn too_many_entries(e: &Env) -> Done {
    // 5.2 million headers that describe nothing: 2.6 GB of tar, a few MB of gzip.
    let block = Tar::new()
        .header(b"g", b'g', 0o644, b"", b"00000000000\0")
        .end();
    let many = block[..512].repeat(4096);
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut hash = sha2::Sha256::default();
    for _ in 0..1270 {
        std::io::Write::write_all(&mut out, &many).unwrap();
        sha2::Digest::update(&mut hash, &many);
    }
    std::io::Write::write_all(&mut out, &[0; 1024]).unwrap();
    sha2::Digest::update(&mut hash, [0; 1024]);
    let hex: String = sha2::Digest::finalize(hash)
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let layer = (
        "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        out.finish().unwrap(),
        format!("sha256:{hex}"),
    );
    refused(e, &Evil::honest(Image::of(vec![layer])), "entries");
    Ok(())
}

fn bomb(e: &Env) -> Done {
    // 256 MiB of zeros in one file; the limit is 64 MiB.
    let tar = Tar::busybox().file("zeros", vec![0; 256 << 20]).end();
    let evil = Evil::honest(Image::new(&[tar]));
    refused_with(e, &evil, "67108864", &["--max-layer-size", "67108864"]);
    let own = e.with_own_store();
    own.cmd(["pull", "-q", &evil.name()])
        .env("CORACLE_MAX_LAYER_SIZE", "1000000")
        .run()
        .fails_with(125, "1000000");
    // It is the limit that refuses, not the image.
    own.cmd(["pull", "-q", &evil.name()]).ok();
    Ok(())
}

fn bomb_of_zstd(e: &Env) -> Done {
    let tar = Tar::busybox().file("zeros", vec![0; 256 << 20]).end();
    let data = zstd::bulk::compress(&tar, 3).unwrap();
    let layer = (
        "application/vnd.oci.image.layer.v1.tar+zstd".to_owned(),
        data,
        digest(&tar),
    );
    refused_with(
        e,
        &Evil::honest(Image::of(vec![layer])),
        "67108864",
        &["--max-layer-size", "67108864"],
    );
    Ok(())
}

fn sparse_bomb(e: &Env) -> Done {
    // A PAX 1.0 sparse file of 8 EiB: no data at all.
    let map = format!("{:\0<512}", "0\n");
    let records: [(&str, &[u8]); 5] = [
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"huge"),
        ("GNU.sparse.realsize", b"9000000000000000000"),
        ("size", b"512"),
    ];
    let tar = Tar::busybox()
        .pax(&records)
        .file("GNUSparseFile.0/huge", map)
        .end();
    refused(e, &Evil::honest(Image::new(&[tar])), "");
    Ok(())
}

fn endless_pax_header(e: &Env) -> Done {
    let value = vec![b'x'; 64 << 20];
    let tar = Tar::busybox()
        .pax(&[("comment", &value)])
        .file("f", "x")
        .end();
    refused(e, &Evil::honest(Image::new(&[tar])), "");
    Ok(())
}

fn path_too_long(e: &Env) -> Done {
    let long = "d/".repeat(3000) + "f";
    let tar = Tar::busybox()
        .pax(&[("path", long.as_bytes())])
        .file("f", "x")
        .end();
    refused(e, &Evil::honest(Image::new(&[tar])), "");
    let tar = Tar::busybox()
        .pax(&[("path", "n".repeat(256).as_bytes())])
        .file("f", "x")
        .end();
    refused(e, &Evil::honest(Image::new(&[tar])), "");
    Ok(())
}

fn deep_nesting(e: &Env) -> Done {
    // Allowed, but neither unpacking nor removal may overflow a stack.
    let deep = "d/".repeat(1900) + "f";
    let tar = Tar::busybox()
        .pax(&[("path", deep.as_bytes())])
        .file("f", "x")
        .end();
    if let Some(own) = harmless(e, &[tar]) {
        own.cmd(["rmi", "-f", "attack"]).ok();
        let _ = own
            .cmd(["rmi", "-f"])
            .args(own.cmd(["images", "-q"]).ok().out().split_whitespace())
            .run();
        nothing_left(&own);
    }
    Ok(())
}

/// What lower layers say of them is repeated in a layer on top, which is held in memory: not for any number.
fn too_many_implied_directories(e: &Env) -> Done {
    let (mut lower, mut upper) = (Tar::busybox(), Tar::new());
    for i in 0..10_001 {
        lower = lower.dir(format!("d{i}"));
        upper = upper.file(format!("d{i}/f"), "");
    }
    let evil = Evil::honest(Image::new(&[lower.end(), upper.end()]));
    let own = e.with_own_store();
    own.cmd(["pull", "-q", &evil.name()])
        .ok()
        .err_has("without listing them");
    own.run_name(&[], &evil.name(), &["ls", "/d10000"])
        .ok()
        .out_is("f\n");
    Ok(())
}
