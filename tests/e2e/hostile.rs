//! Images and registries that mean harm: each attack ends in a clear error, with nothing written
//! outside and nothing left behind.

use std::path::Path;

use crate::harness::{
    Done, Env, Evil, Feature, Image, Output, Reply, Tar, Then, digest, gzip, wait_until, walk,
};

suite!(
    dot_dot_names,
    absolute_names,
    symlink_escape,
    symlink_escape_of_an_earlier_layer,
    hard_link_escape,
    hard_link_through_a_symlink,
    hard_link_to_an_earlier_layer,
    whiteout_of_dot_dot,
    opaque_outside,
    devices,
    negative_and_huge_sizes,
    too_many_entries,
    bomb,
    bomb_of_zstd,
    sparse_bomb,
    endless_pax_header,
    path_too_long,
    deep_nesting,
    wrong_layer_digest,
    wrong_layer_size,
    wrong_diff_id,
    wrong_manifest_digest,
    truncated_layer,
    truncated_gzip,
    garbage_after_the_archive,
    wrong_media_type,
    layer_of_another_media_type,
    config_that_is_none,
    manifest_that_is_none,
    huge_manifest,
    endless_manifest,
    huge_config,
    redirect_loop,
    redirect_to_a_file,
    stalling_registry,
    resetting_registry,
    registry_that_recovers,
    control_characters_in_names,
    control_characters_in_errors,
    overlay_marks_in_a_layer,
    hostile_passwd,
    hostile_working_directory,
);

/// Pull a hostile image into a store of its own; it must fail with 125, leave nothing, and touch
/// nothing outside.
#[track_caller]
fn refused(e: &Env, evil: &Evil, message: &str) -> Output {
    refused_with(e, evil, message, &[])
}

#[track_caller]
fn refused_with(e: &Env, evil: &Evil, message: &str, flags: &[&str]) -> Output {
    let own = e.with_own_store();
    let outside = outside(e);
    let out = own
        .cmd(["pull"])
        .args(flags)
        .arg(evil.name())
        .limit(400)
        .run();
    let out = out.fails_with(125, message);
    nothing_left(&own);
    unchanged(e, &outside);
    out
}

/// The connection breaks: what came of a blob may wait for the next pull, nothing else.
#[track_caller]
fn broken_off(e: &Env, evil: &Evil) {
    let own = e.with_own_store();
    let outside = outside(e);
    own.cmd(["pull"])
        .arg(evil.name())
        .limit(400)
        .run()
        .fails_with(125, "");
    only_partial_blobs_left(&own);
    unchanged(e, &outside);
}

/// Everything in the test's folder but the store.
fn outside(e: &Env) -> Vec<String> {
    std::fs::write(e.dir.join("victim"), "untouched").unwrap();
    walk::tree(
        &e.dir,
        &["store".to_owned(), "home".to_owned(), "own".to_owned()],
    )
}

#[track_caller]
fn unchanged(e: &Env, before: &[String]) {
    let after = walk::tree(
        &e.dir,
        &["store".to_owned(), "home".to_owned(), "own".to_owned()],
    );
    assert_eq!(before, after, "something was written outside");
    for name in ["evil", "escaped"] {
        for dir in ["/tmp", "/var/tmp", "/"] {
            assert!(!Path::new(dir).join(name).exists(), "{dir}/{name}");
        }
    }
}

#[track_caller]
fn nothing_left(own: &Env) {
    only_partial_blobs_left(own);
    let left: Vec<_> = std::fs::read_dir(own.root().join("tmp"))
        .map(|d| d.flatten().map(|f| f.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "{left:?}");
}

/// After a broken connection the beginning of a blob may stay, for the next pull to resume.
#[track_caller]
fn only_partial_blobs_left(own: &Env) {
    own.cmd(["images", "-q"]).ok().out_is("");
    let tmp = std::fs::read_dir(own.root().join("tmp"))
        .into_iter()
        .flatten()
        .flatten();
    let drafts: Vec<_> = tmp
        .map(|f| f.file_name())
        .filter(|n| !n.to_string_lossy().starts_with("partial-"))
        .collect();
    assert!(drafts.is_empty(), "{drafts:?}");
    let left: Vec<_> = std::fs::read_dir(own.root().join("layers"))
        .map(|d| d.flatten().map(|f| f.file_name()).collect())
        .unwrap_or_default();
    assert!(left.is_empty(), "layers: {left:?}");
}

/// An attack that may also be made harmless: either refused, or unpacked with nothing outside.
#[track_caller]
fn harmless(e: &Env, tars: &[Vec<u8>]) -> Option<Env> {
    let evil = Evil::honest(Image::new(tars));
    let own = e.with_own_store();
    let before = outside(e);
    let out = own.cmd(["pull", "-q", &evil.name()]).run();
    unchanged(e, &before);
    if out.code() == 0 {
        let image = own.cmd(["tag", &evil.name(), "attack"]).run();
        assert_eq!(image.code(), 0, "{image:?}");
        return Some(own);
    }
    out.code_is(125);
    nothing_left(&own);
    None
}

fn dot_dot_names(e: &Env) -> Done {
    for name in [
        "../escaped",
        "a/../../escaped",
        "a/../../../../../../../../tmp/escaped",
        "..",
        "../../../store/meta.json",
    ] {
        let evil = Evil::honest(Image::new(&[Tar::busybox().file(name, "x").end()]));
        refused(e, &evil, "..");
    }
    Ok(())
}

fn absolute_names(e: &Env) -> Done {
    // As tar and docker do: relative to the root.
    let name = e.dir.join("escaped").display().to_string();
    if let Some(own) = harmless(
        e,
        &[Tar::busybox()
            .file(&name, "x")
            .file("//tmp//escaped", "y")
            .end()],
    ) {
        let out = own.cmd([
            "run",
            "--rm",
            "--network=none",
            "attack",
            "cat",
            &name,
            "/tmp/escaped",
        ]);
        out.ok().out_is("xy");
    }
    Ok(())
}

fn symlink_escape(e: &Env) -> Done {
    let target = e.dir.display().to_string();
    for link in [
        target.as_str(),
        "../../../../../../../../../../tmp",
        "/tmp",
        "/proc/self/root/tmp",
        ".",
    ] {
        // Through a link of the same layer.
        let own = harmless(
            e,
            &[Tar::busybox()
                .symlink("l", link)
                .file("l/escaped", "x")
                .end()],
        );
        if let Some(own) = own {
            assert!(
                own.cmd(["run", "--rm", "--network=none", "attack", "ls", "/"])
                    .run()
                    .code()
                    == 0
            );
        }
        // A file over a link replaces the link, and does not follow it.
        let file = format!("{link}/escaped");
        let _ = harmless(
            e,
            &[Tar::busybox().symlink("f", &file).file("f", "x").end()],
        );
    }
    Ok(())
}

fn symlink_escape_of_an_earlier_layer(e: &Env) -> Done {
    let target = e.dir.display().to_string();
    for link in [target.as_str(), "../../../../../../../../tmp", "/"] {
        let first = Tar::busybox().symlink("l", link).end();
        let second = Tar::new().file("l/escaped", "x").dir("l/escaped-dir").end();
        let third = Tar::new()
            .file("l/.wh.victim", "")
            .file("l/.wh..wh..opq", "")
            .end();
        let _ = harmless(e, &[first, second, third]);
    }
    Ok(())
}

fn hard_link_escape(e: &Env) -> Done {
    let victim = e.dir.join("victim").display().to_string();
    let deep = "../../../../../../../../../../../../etc/passwd";
    for target in [
        victim.as_str(),
        deep,
        "/etc/passwd",
        "../meta.json",
        "../../../meta.json",
    ] {
        let own = harmless(e, &[Tar::busybox().hardlink("stolen", target).end()]);
        if let Some(own) = own {
            let out = own
                .cmd(["run", "--rm", "--network=none", "attack", "cat", "/stolen"])
                .run();
            assert!(
                !out.out().contains("untouched") && !out.out().contains("root:"),
                "{out:?}"
            );
        }
    }
    Ok(())
}

fn hard_link_through_a_symlink(e: &Env) -> Done {
    let dir = e.dir.display().to_string();
    let own = harmless(
        e,
        &[Tar::busybox()
            .symlink("l", &dir)
            .hardlink("stolen", "l/victim")
            .file("stolen", "overwritten")
            .end()],
    );
    if let Some(own) = own {
        own.cmd(["run", "--rm", "--network=none", "attack", "cat", "/stolen"])
            .ok()
            .out_is("overwritten");
    }
    // To a link itself: a second name of the link, not of what it points to.
    let own = harmless(
        e,
        &[Tar::busybox()
            .symlink("l", format!("{dir}/victim"))
            .hardlink("h", "l")
            .end()],
    );
    if let Some(own) = own {
        let out = own
            .cmd(["run", "--rm", "--network=none", "attack", "cat", "/h"])
            .run();
        assert!(!out.out().contains("untouched"), "{out:?}");
    }
    Ok(())
}

fn hard_link_to_an_earlier_layer(e: &Env) -> Done {
    // Legal, if rare: the file exists only below.
    let own = harmless(
        e,
        &[
            Tar::busybox().file("below", "content\n").end(),
            Tar::new().hardlink("above", "below").end(),
        ],
    );
    if let Some(own) = own {
        own.cmd(["run", "--rm", "--network=none", "attack", "cat", "/above"])
            .ok()
            .out_is("content\n");
    }
    Ok(())
}

fn whiteout_of_dot_dot(e: &Env) -> Done {
    for name in [
        ".wh...",
        ".wh..",
        "bin/.wh...",
        ".wh.",
        "a/.wh.",
        ".wh./",
        ".wh.../x",
    ] {
        let evil = Evil::honest(Image::new(&[
            Tar::busybox().end(),
            Tar::new().file(name, "").end(),
        ]));
        let own = e.with_own_store();
        let before = outside(e);
        let out = own.cmd(["pull", "-q", &evil.name()]).run();
        unchanged(e, &before);
        if out.code() == 0 {
            // Read as an ordinary name, it must have deleted nothing.
            own.cmd([
                "run",
                "--rm",
                "--network=none",
                &evil.name(),
                "ls",
                "/bin/busybox",
            ])
            .ok();
            own.cmd(["rmi", &evil.name()]).ok();
        } else {
            out.code_is(125);
            nothing_left(&own);
        }
    }
    Ok(())
}

fn opaque_outside(e: &Env) -> Done {
    let evil = Evil::honest(Image::new(&[Tar::busybox()
        .file("../.wh..wh..opq", "")
        .end()]));
    refused(e, &evil, "..");
    Ok(())
}

fn devices(e: &Env) -> Done {
    // Block and character devices become records, never nodes that open the machine's disk.
    let size = b"00000000000\0";
    let tar = Tar::busybox()
        .header(b"disk", b'4', 0o666, b"", size)
        .header(b"mem", b'3', 0o666, b"", size);
    if let Some(own) = harmless(e, &[tar.end()]) {
        let out = own
            .cmd([
                "run",
                "--rm",
                "--network=none",
                "attack",
                "ls",
                "-l",
                "/disk",
                "/mem",
            ])
            .ok()
            .out();
        assert!(
            !out.lines()
                .any(|l| l.starts_with('b') || l.starts_with('c')),
            "{out}"
        );
        for line in walk::tree(&own.root().join("layers"), &[]) {
            assert!(!line.contains(" b ") && !line.contains(" c "), "{line}");
        }
    }
    Ok(())
}

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

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

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

fn simple() -> Image {
    Image::new(&[Tar::busybox().end()])
}

fn wrong_layer_digest(e: &Env) -> Done {
    let image = simple();
    let other = gzip(&Tar::busybox().file("evil", "x").end());
    let wanted = digest(&image.layers[0].1);
    let size = image.layers[0].1.len();
    let evil = Evil::image(image, move |path, reply| {
        if !path.ends_with(&wanted) {
            return reply;
        }
        // Of the right size, too.
        let mut body = other.clone();
        body.resize(size, 0);
        Reply::new(200, body)
    });
    refused(e, &evil, "digest");
    Ok(())
}

fn wrong_layer_size(e: &Env) -> Done {
    for wrong in [1_u64, 100, u64::from(u32::MAX), i64::MAX as u64] {
        let mut image = simple();
        image.remake(|m| m["layers"][0]["size"] = wrong.into());
        broken_off(e, &Evil::honest(image));
    }
    let mut image = simple();
    image.remake(|m| m["layers"][0]["size"] = (-5).into());
    broken_off(e, &Evil::honest(image));
    Ok(())
}

fn wrong_diff_id(e: &Env) -> Done {
    let mut image = simple();
    let text = String::from_utf8(image.config.clone()).unwrap();
    image.config = text
        .replace(&image.layers[0].2, &format!("sha256:{}", "1".repeat(64)))
        .into_bytes();
    image.remake(|_| ());
    refused(e, &Evil::honest(image), "unpacks to");
    Ok(())
}

fn wrong_manifest_digest(e: &Env) -> Done {
    let evil = Evil::honest(simple());
    let name = format!("{}/evil/image@sha256:{}", evil.address, "2".repeat(64));
    let own = e.with_own_store();
    own.cmd(["pull", &name]).run().fails_with(125, "digest");
    nothing_left(&own);
    Ok(())
}

fn truncated_layer(e: &Env) -> Done {
    let image = simple();
    let wanted = digest(&image.layers[0].1);
    let evil = Evil::image(image, move |path, reply| {
        if path.ends_with(&wanted) {
            reply.cut(5000, Then::Close)
        } else {
            reply
        }
    });
    broken_off(e, &evil);
    Ok(())
}

fn truncated_gzip(e: &Env) -> Done {
    // The digest is right: it is the stream itself that ends early.
    let tar = Tar::busybox().end();
    let mut data = gzip(&tar);
    data.truncate(data.len() / 2);
    let layer = (GZIP.to_owned(), data, digest(&tar));
    refused(e, &Evil::honest(Image::of(vec![layer])), "");
    // And a tar that ends in the middle of a file.
    let tar = tar[..tar.len() / 2].to_vec();
    let layer = (GZIP.to_owned(), gzip(&tar), digest(&tar));
    refused(e, &Evil::honest(Image::of(vec![layer])), "");
    Ok(())
}

fn garbage_after_the_archive(e: &Env) -> Done {
    let tar = Tar::busybox().end();
    let mut data = gzip(&tar);
    data.extend_from_slice(b"garbage after the gzip stream");
    let layer = (GZIP.to_owned(), data, digest(&tar));
    let evil = Evil::honest(Image::of(vec![layer]));
    let own = e.with_own_store();
    let out = own.cmd(["pull", "-q", &evil.name()]).run();
    // gunzip warns and goes on, and so may we; but it must not be taken for content.
    assert!([0, 125].contains(&out.code()), "{out:?}");
    Ok(())
}

fn wrong_media_type(e: &Env) -> Done {
    for media_type in [
        "text/html",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
        "application/vnd.oci.image.config.v1+json",
    ] {
        let mut image = simple();
        image.media_type = media_type.to_owned();
        image.remake(|_| ());
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn layer_of_another_media_type(e: &Env) -> Done {
    for media_type in [
        "application/vnd.wasm.content.layer.v1+wasm",
        "application/vnd.oci.image.layer.v1.tar+bzip2",
        "text/plain",
    ] {
        let mut image = simple();
        image.layers[0].0 = media_type.to_owned();
        image.remake(|_| ());
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn config_that_is_none(e: &Env) -> Done {
    for config in [
        "",
        "{",
        "[]",
        "null",
        "{\"rootfs\": 5}",
        "{\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[]}}",
    ] {
        let mut image = simple();
        image.config = config.as_bytes().to_vec();
        image.remake(|_| ());
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn manifest_that_is_none(e: &Env) -> Done {
    let deep = format!("{}{}", "[".repeat(200_000), "]".repeat(200_000));
    for manifest in [
        "",
        "{",
        "<html>not found</html>",
        "{}",
        "{\"schemaVersion\":1}",
        &deep,
        "{\"schemaVersion\":2,\"layers\":[]}",
    ] {
        let mut image = simple();
        image.manifest = manifest.as_bytes().to_vec();
        refused(e, &Evil::honest(image), "");
    }
    Ok(())
}

fn huge_manifest(e: &Env) -> Done {
    let mut image = simple();
    image.remake(|m| m["annotations"] = serde_json::json!({"x": "y".repeat(100 << 20)}));
    refused(e, &Evil::honest(image), "manifest");
    Ok(())
}

fn endless_manifest(e: &Env) -> Done {
    // 4 GiB without a true end, sent as fast as it is taken.
    let evil = Evil::new(|path, _| {
        let mut reply = Reply::new(200, vec![b' '; 1 << 20]);
        if path.contains("/manifests/") {
            reply.times = 4096;
        }
        reply.header("Content-Type", "application/vnd.oci.image.manifest.v1+json")
    });
    refused(e, &evil, "");
    Ok(())
}

fn huge_config(e: &Env) -> Done {
    let mut image = simple();
    let mut config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
    config["config"]["Labels"] = serde_json::json!({"x": "y".repeat(100 << 20)});
    image.config = config.to_string().into_bytes();
    image.remake(|_| ());
    refused(e, &Evil::honest(image), "");
    Ok(())
}

fn redirect_loop(e: &Env) -> Done {
    for status in [301, 302, 307, 308] {
        let evil = Evil::new(move |path, _| {
            let next = if path.contains("?a") {
                path.replace("?a", "?b")
            } else {
                format!("{}?a", path.split('?').next().unwrap())
            };
            Reply::new(status, "").header("Location", &next)
        });
        refused(e, &evil, "redirect");
        assert!(
            evil.requests().len() < 100,
            "{} requests",
            evil.requests().len()
        );
    }
    Ok(())
}

fn redirect_to_a_file(e: &Env) -> Done {
    let victim = e.file("secret", "secret").display().to_string();
    for target in [
        format!("file://{victim}"),
        "ftp://127.0.0.1/x".into(),
        "gopher://x".into(),
        "javascript:x".into(),
        "http://".into(),
    ] {
        let image = simple();
        let evil = Evil::image(image, move |path, reply| {
            if path.contains("/blobs/") {
                Reply::new(307, "").header("Location", &target)
            } else {
                reply
            }
        });
        refused(e, &evil, "");
    }
    Ok(())
}

fn stalling_registry(e: &Env) -> Done {
    let image = simple();
    let evil = Evil::image(image, |path, reply| {
        if path.contains("/blobs/") {
            reply.cut(1000, Then::Stall)
        } else {
            reply
        }
    });
    let own = e.with_own_store();
    let mut p = own.cmd(["pull", &evil.name()]).limit(400).spawn();
    wait_until("the blobs are asked for", || {
        evil.requests().iter().any(|r| r.contains("/blobs/"))
    });
    // Into the silence; nothing depends on how far.
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert!(p.is_running());
    p.signal(rustix::process::Signal::INT);
    // The limit for silence is the product's, 30 s; that Ctrl-C works at once is what people need.
    let start = std::time::Instant::now();
    let out = p.wait();
    assert!(start.elapsed().as_secs() < 20, "{out:?}");
    assert_ne!(out.code(), 0);
    own.cmd(["images", "-q"]).ok().out_is("");
    Ok(())
}

fn resetting_registry(e: &Env) -> Done {
    let image = simple();
    let evil = Evil::image(image, |path, reply| {
        if path.contains("/blobs/") {
            reply.cut(1000, Then::Reset)
        } else {
            reply
        }
    });
    broken_off(e, &evil);
    assert!(
        evil.requests().len() < 60,
        "{} requests",
        evil.requests().len()
    );
    Ok(())
}

fn registry_that_recovers(e: &Env) -> Done {
    // Twice cut off, once busy, then all is well: the pull must succeed.
    let image = simple();
    let count = std::sync::atomic::AtomicUsize::new(0);
    let evil = Evil::image(image, move |path, reply| {
        if !path.contains("/blobs/") {
            return reply;
        }
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => reply.cut(20_000, Then::Reset),
            1 => Reply::new(503, "busy").header("Retry-After", "1"),
            2 => reply.cut(0, Then::Close),
            _ => reply,
        }
    });
    let own = e.with_own_store();
    own.cmd(["pull", "-q", &evil.name()]).limit(400).ok();
    own.cmd(["run", "--rm", "--network=none", &evil.name(), "true"])
        .ok();
    Ok(())
}

fn control_characters_in_names(e: &Env) -> Done {
    // A name that would clear the screen, in an entry that is refused for another reason.
    let name = b"\x1b[2J\x1b]0;gotcha\x07/../../escaped";
    let evil = Evil::honest(Image::new(&[Tar::busybox().file(name, "x").end()]));
    let out = refused(e, &evil, "");
    assert!(
        !out.stderr.contains(&0x1b) && !out.stderr.contains(&7),
        "{out:?}"
    );
    Ok(())
}

fn control_characters_in_errors(e: &Env) -> Done {
    let body = "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"\\u001b[2Jno\\u0007\",\"detail\":\"\\u001b]0;x\\u0007\"}]}";
    let evil =
        Evil::new(move |_, _| Reply::new(403, body).header("Warning", "299 - \"\u{1b}[31mred\""));
    let out = refused(e, &evil, "");
    assert!(
        !out.stderr.contains(&0x1b) && !out.stderr.contains(&7),
        "{out:?}"
    );
    Ok(())
}

fn overlay_marks_in_a_layer(e: &Env) -> Done {
    // xattrs that overlay would take for its own: a redirect to another directory, an opaque mark.
    e.need(Feature::Overlay)?;
    let marks: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.user.overlay.redirect", b"/../../../../etc"),
        ("SCHILY.xattr.user.overlay.opaque", b"y"),
        ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        (
            "SCHILY.xattr.user.containers.override_stat",
            b"0:0:0104755:file",
        ),
    ];
    let first = Tar::busybox().dir("bin2").file("bin2/kept", "kept").end();
    let second = Tar::new()
        .pax(&marks)
        .dir("bin2")
        .pax(&marks)
        .file("f", "x")
        .end();
    if let Some(own) = harmless(e, &[first, second]) {
        let out = own.cmd([
            "run",
            "--rm",
            "--network=none",
            "attack",
            "sh",
            "-c",
            "cat /bin2/kept; [ -u /f ] || echo not set-id",
        ]);
        out.ok().out_is("keptnot set-id\n");
    }
    Ok(())
}

fn hostile_passwd(e: &Env) -> Done {
    // /etc/passwd of the image is read to find a user: it may be a link out, a fifo, or huge.
    let fifo = Tar::busybox()
        .header(b"etc/passwd", b'6', 0o644, b"", b"00000000000\0")
        .end();
    let link = Tar::busybox()
        .symlink("etc/passwd", "../../../../../../../../etc/passwd")
        .end();
    let device = Tar::busybox().symlink("etc/passwd", "/dev/zero").end();
    let huge = Tar::busybox()
        .file("etc/passwd", vec![b'x'; 64 << 20])
        .end();
    for (i, tar) in [fifo, link, device, huge].into_iter().enumerate() {
        let evil = Evil::honest(Image::new(&[tar]));
        let own = e.with_root(e.dir.join(format!("store{i}")));
        own.cmd(["pull", "-q", &evil.name()]).ok();
        let out = own
            .cmd([
                "run",
                "--rm",
                "--network=none",
                "-u",
                "daemon",
                &evil.name(),
                "id",
                "-u",
            ])
            .run();
        assert_eq!(out.code(), 125, "a user from nowhere: {out:?}");
        // A number needs no look into the file; a refusal is clear as well.
        let flags = ["run", "--rm", "--network=none", "-u", "7"];
        let out = own
            .cmd(flags)
            .arg(evil.name())
            // Not id(1), which reads the file itself and would wait for ever.
            .args(["busybox", "stat", "-L", "-c", "%u", "/proc/self"])
            .run();
        assert!(out.out() == "7\n" || out.code() == 125, "{out:?}");
    }
    Ok(())
}

fn hostile_working_directory(e: &Env) -> Done {
    // CVE-2024-21626 by image: the descriptor that the runtime still holds as working directory.
    for fd in 3..20 {
        let mut image = simple();
        let mut config: serde_json::Value = serde_json::from_slice(&image.config).unwrap();
        config["config"]["WorkingDir"] = format!("/proc/self/fd/{fd}").into();
        image.config = config.to_string().into_bytes();
        image.remake(|_| ());
        let evil = Evil::honest(image);
        let own = e.with_own_store();
        own.cmd(["pull", "-q", &evil.name()]).ok();
        let script = format!("cat {}etc/os-release", "../".repeat(40));
        let out = own
            .cmd([
                "run",
                "--rm",
                "--network=none",
                &evil.name(),
                "sh",
                "-c",
                &script,
            ])
            .run();
        assert!(
            !out.out().contains("VERSION"),
            "out of the container: {out:?}"
        );
    }
    Ok(())
}
