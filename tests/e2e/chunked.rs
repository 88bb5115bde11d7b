//! Layers whose blobs say where their files are: what a pull of them moves, and what becomes of one that lies.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use coracle::layer::{Compression, Sink};
use serde_json::{Value, json};

use crate::harness::{Cmd, Done, Env, Evil, Feature, Image, Registry, Reply, Tar, digest, walk};

suite!(
    a_pull_moves_what_is_missing,
    what_came_in_parts_goes_out_as_it_was,
    other_tools_read_it,
    a_registry_that_gives_no_parts,
    lies_cost_a_whole_download,
    what_is_wrong_in_any_way_is_not_published,
);

/// The tar of 400 files that do not shrink, 12 MB together; the contents of those that `changed` says are others.
fn tar(changed: impl Fn(u32) -> bool) -> Vec<u8> {
    let mut tar = Tar::busybox().dir("data");
    for n in 0..400 {
        let mut state = n * 2 + u32::from(changed(n)) + 1;
        let noise = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let content: Vec<u8> = (0..20_000 + n * 50).map(noise).collect();
        tar = tar.file(format!("data/f{n}"), content);
    }
    tar.end()
}

fn old() -> Vec<u8> {
    tar(|_| false)
}

/// A tenth of the files is new.
fn new() -> Vec<u8> {
    tar(|n| n % 10 == 3)
}

/// An image of one layer with a table of contents.
fn image(tar: &[u8]) -> Image {
    let mut blob = Vec::new();
    let mut sink = Sink::new(&mut blob, Compression::zstd_chunked(None)).unwrap();
    sink.write_all(tar).unwrap();
    let annotations = sink.finish().unwrap().annotations.unwrap();
    let kind = "application/vnd.oci.image.layer.v1.tar+zstd".to_owned();
    let mut image = Image::of(vec![(kind, blob, digest(tar))]);
    image.remake(|m| m["layers"][0]["annotations"] = json!(annotations));
    image
}

/// Relays connections and counts the bytes that come back.
struct Counted {
    address: String,
    bytes: Arc<AtomicU64>,
}

impl Counted {
    fn before(upstream: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bytes = Arc::new(AtomicU64::new(0));
        let (upstream, counter) = (upstream.to_owned(), Arc::clone(&bytes));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let server = TcpStream::connect(&upstream).unwrap();
                for stream in [&client, &server] {
                    stream.set_nodelay(true).unwrap();
                }
                let there = (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || relay(there.0, there.1, &AtomicU64::new(0)));
                let counter = Arc::clone(&counter);
                std::thread::spawn(move || relay(server, client, &counter));
            }
        });
        Self { address, bytes }
    }
}

fn relay(mut from: TcpStream, mut to: TcpStream, bytes: &AtomicU64) {
    let mut buf = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buf) {
        bytes.fetch_add(n as u64, Ordering::Relaxed);
        if to.write_all(&buf[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// A registry of the test's own with both images, pushed by us, and the size of the second one's layer. Registries
/// share what they have, so the repository has a name of its own.
fn pushed(own: &Env, repository: &str) -> (Registry, u64) {
    let registry = Registry::start(own, "", "");
    for (tag, tar) in [("old", old()), ("new", new())] {
        let file = own.file(&format!("{tag}.tar"), tar);
        let local = format!("localhost/{tag}:1");
        own.cmd(["import"]).arg(&file).arg(&local).ok();
        let to = format!("{}/{repository}:{tag}", registry.name);
        let out = own
            .cmd(["push", "-q", "--compression=zstd:chunked", &local, &to])
            .ok();
        assert_eq!(out.err(), "");
    }
    let layer = &manifest(&format!("{}/{repository}:new", registry.name))["layers"][0];
    (registry, layer["size"].as_u64().unwrap())
}

fn raw(name: &str) -> String {
    Cmd::host(["skopeo", "inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{name}"))
        .limit(120)
        .ok()
        .out()
}

fn manifest(name: &str) -> Value {
    serde_json::from_str(&raw(name)).unwrap()
}

/// All that a store has of the layer of the second image, but for its record and when it came.
fn layer(e: &Env) -> Vec<String> {
    let hex = digest(&new()).split_off("sha256:".len());
    let mut lines = walk::tree(&e.root().join("layers").join(hex), &[]);
    lines.retain(|line| !line.starts_with("info.json "));
    for line in &mut lines {
        if !line.starts_with("diff/") {
            let words = line.split(' ').enumerate();
            *line = words.filter(|(i, _)| *i != 5).map(|(_, w)| w).collect();
        }
    }
    lines
}

fn a_pull_moves_what_is_missing(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let (registry, size) = pushed(&own, "moved");
    let whole = own.with_root(own.dir.join("whole"));
    let name = |registry: &str, tag: &str| format!("{registry}/moved:{tag}");
    whole.cmd(["pull", "-q", &name(&registry.name, "new")]).ok();

    let parts = own.with_root(own.dir.join("parts"));
    parts.cmd(["pull", "-q", &name(&registry.name, "old")]).ok();
    let counted = Counted::before(&registry.name);
    let out = parts.cmd(["pull", &name(&counted.address, "new")]).ok();
    let moved = counted.bytes.load(Ordering::Relaxed);
    assert!(
        out.err().contains("of it are here already"),
        "{}",
        out.err()
    );
    assert!(moved < size * 15 / 100, "{moved} of {size} bytes");
    // A tenth cannot come with less.
    assert!(moved > size * 9 / 100, "{moved} of {size} bytes");
    // Nothing tells the layer from one that came whole, its times and modes, its recipe and its record included.
    let (came_whole, in_parts) = (layer(&whole), layer(&parts));
    let differ: Vec<_> = in_parts
        .iter()
        .filter(|l| !came_whole.contains(l))
        .collect();
    assert!(came_whole == in_parts, "{differ:?}");
    assert!(came_whole.len() > 400, "{}", came_whole.len());
    parts.nothing_unfinished();
    parts.cmd(["system", "check"]).ok();

    // Who keeps blobs needs all of it, and who has nothing, too.
    for (root, flag) in [("keeps", "--keep-blobs"), ("empty", "-q")] {
        let other = own.with_root(own.dir.join(root));
        if root == "keeps" {
            other.cmd(["pull", "-q", &name(&registry.name, "old")]).ok();
        }
        counted.bytes.store(0, Ordering::Relaxed);
        other
            .cmd(["pull", flag, &name(&counted.address, "new")])
            .ok();
        assert!(counted.bytes.load(Ordering::Relaxed) >= size, "{root}");
    }
    Ok(())
}

fn what_came_in_parts_goes_out_as_it_was(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let (registry, _) = pushed(&own, "kept");
    let before = raw(&format!("{}/kept:new", registry.name));
    let parts = own.with_root(own.dir.join("parts"));
    for tag in ["old", "new"] {
        parts
            .cmd(["pull", "-q", &format!("{}/kept:{tag}", registry.name)])
            .ok();
    }
    let name = format!("{}/kept:new", registry.name);
    drop(registry);
    let to = format!("{}/chunked/again:1", e.machine.registry);
    let out = parts.cmd(["push", &name, &to]).ok();
    assert!(!out.err().contains("warning"), "{}", out.err());
    assert_eq!(raw(&to), before);
    // Asked for what it is, it is left as it is; a manifest that is written anew keeps what it says of the layer.
    parts
        .cmd(["push", "-q", "--compression=zstd:chunked", &name, &to])
        .ok();
    assert_eq!(raw(&to), before);
    parts
        .cmd(["run", "--name=c", &name, "sh", "-c", "echo x >/etc/new"])
        .ok();
    parts.cmd(["commit", "c", "localhost/more:1"]).ok();
    parts.cmd(["push", "-q", "localhost/more:1", &to]).ok();
    let (before, after) = (
        serde_json::from_str::<Value>(&before).unwrap(),
        manifest(&to),
    );
    assert_eq!(before["layers"][0], after["layers"][0]);
    Ok(())
}

fn other_tools_read_it(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    e.need(Feature::Root)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let (registry, _) = pushed(&own, "others");
    let name = format!("{}/others:new", registry.name);
    let id = manifest(&name)["config"]["digest"].clone();
    // It takes no path of more than 50 characters.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| crate::save_export::podman(dir.path(), args);
    podman(&["pull", "-q", "--tls-verify=false", &name]);
    let said = podman(&["image", "inspect", "--format", "sha256:{{.Id}}", &name]);
    assert_eq!(json!(said.trim()), id);
    // And the other way round. What it writes may have no tar-split: then it comes whole, and is right as well.
    // To another registry: in the same one it would find our blob.
    let theirs = format!("{}/chunked/podman:1", e.machine.registry);
    podman(&[
        "push",
        "-q",
        "--tls-verify=false",
        "--compression-format=zstd:chunked",
        &name,
        &theirs,
    ]);
    let layer = &manifest(&theirs)["layers"][0];
    assert!(
        layer["annotations"].to_string().contains("zstd-chunked"),
        "{layer}"
    );
    let parts = own.with_root(own.dir.join("parts"));
    for name in [&format!("{}/others:old", registry.name), &theirs] {
        parts.cmd(["pull", "-q", name]).ok();
    }
    parts.cmd(["system", "check"]).ok();
    Ok(())
}

/// How a registry serves blobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Serves {
    Honestly,
    /// As if nobody had asked for a part.
    Whole,
    /// Other bytes in parts.
    Noise,
    /// Other bytes everywhere.
    NoiseOnly,
    /// Another part than the one that was asked for.
    Elsewhere,
    /// More than was asked for.
    Longer,
    /// Only the tables, and then no more.
    Refuses,
}

fn serve(image: &Image, how: Serves) -> Evil {
    let image = image.clone();
    Evil::new(move |path, headers| {
        let Some((_, wanted)) = path.split_once("/blobs/") else {
            return Reply::new(200, image.manifest.clone())
                .header("Content-Type", &image.media_type);
        };
        let Some(blob) = image.blob(wanted) else {
            return Reply::new(404, "{}");
        };
        let range = headers.iter().find_map(|h| {
            let (name, value) = h.split_once(':')?;
            let (from, to) = value.trim().strip_prefix("bytes=")?.split_once('-')?;
            let is = name.eq_ignore_ascii_case("range");
            is.then(|| (from.parse::<usize>().unwrap(), to.parse::<usize>().unwrap()))
        });
        let is_layer = blob.len() > 100_000;
        let Some((mut from, mut to)) = range.filter(|_| how != Serves::Whole) else {
            let mut blob = blob.to_vec();
            if is_layer && how == Serves::NoiseOnly {
                let middle = blob.len() / 2;
                blob[middle] ^= 1;
            }
            return Reply::new(200, blob);
        };
        let tables = from > blob.len() * 9 / 10;
        match how {
            Serves::Elsewhere => (from, to) = (from - 1, to - 1),
            Serves::Longer => to = (to + 10).min(blob.len() - 1),
            Serves::Refuses if !tables => return Reply::new(416, "{}"),
            _ => {}
        }
        let mut part = blob[from..=to].to_vec();
        if matches!(how, Serves::Noise | Serves::NoiseOnly) && !tables {
            part.fill(7);
        }
        let range = format!("bytes {from}-{to}/{}", blob.len());
        Reply::new(206, part).header("Content-Range", &range)
    })
}

/// A store that has the first image.
fn with_old(own: &Env, root: &str) -> Env {
    let store = own.with_root(own.dir.join(root));
    let evil = serve(&image(&old()), Serves::Honestly);
    store.cmd(["pull", "-q", &evil.name()]).ok();
    store
}

fn a_registry_that_gives_no_parts(e: &Env) -> Done {
    let own = e.with_own_store();
    let store = with_old(&own, "store");
    let evil = serve(&image(&new()), Serves::Whole);
    // Nobody needs to know.
    let out = store.cmd(["pull", "-q", &evil.name()]).ok();
    assert_eq!(out.err(), "");
    store.nothing_unfinished();
    store.cmd(["system", "check"]).ok();
    Ok(())
}

/// Change the table of contents of the image's layer, behind the back of everything but the manifest.
fn with_table(image: &Image, change: impl FnOnce(&mut Value)) -> Image {
    let mut image = image.clone();
    let key = |what: &str| format!("io.github.containers.zstd-chunked.{what}");
    let manifest: Value = serde_json::from_slice(&image.manifest).unwrap();
    let mut annotations = manifest["layers"][0]["annotations"].clone();
    let position = annotations[key("manifest-position")].as_str().unwrap();
    let position: Vec<usize> = position.split(':').map(|n| n.parse().unwrap()).collect();
    let blob = &mut image.layers[0].1;
    let section = &blob[position[0]..position[0] + position[1]];
    let mut table = serde_json::from_slice(&zstd::decode_all(section).unwrap()).unwrap();
    change(&mut table);
    let plain = serde_json::to_vec(&table).unwrap();
    let section = zstd::encode_all(&plain[..], 3).unwrap();
    // One more frame to be passed over.
    blob.extend_from_slice(&[0x50, 0x2a, 0x4d, 0x18]);
    blob.extend_from_slice(&u32::try_from(section.len()).unwrap().to_le_bytes());
    let at = blob.len();
    blob.extend_from_slice(&section);
    annotations[key("manifest-position")] =
        json!(format!("{at}:{}:{}:1", section.len(), plain.len()));
    annotations[key("manifest-checksum")] = json!(digest(&section));
    image.remake(|m| m["layers"][0]["annotations"] = annotations);
    image
}

fn lies_cost_a_whole_download(e: &Env) -> Done {
    let own = e.with_own_store();
    let honest = image(&new());
    let annotated = |what: &str, value: &str| {
        let mut image = honest.clone();
        let mut annotations: Value = serde_json::from_slice(&image.manifest).unwrap();
        annotations = annotations["layers"][0]["annotations"].take();
        annotations[format!("io.github.containers.zstd-chunked.{what}")] = json!(value);
        image.remake(|m| m["layers"][0]["annotations"] = annotations);
        image
    };
    let file = |table: &mut Value, n: usize| -> usize {
        let entries = table["entries"].as_array().unwrap();
        let name = format!("data/f{n}");
        entries.iter().position(|e| e["name"] == name).unwrap()
    };
    let cases = [
        // What was never a table is not worth a word, nor what a registry cannot do.
        (
            "position",
            annotated("manifest-position", "-1:2:3:1"),
            Serves::Honestly,
            "",
        ),
        (
            "outside",
            annotated("tarsplit-position", "999999999:9:9"),
            Serves::Honestly,
            "",
        ),
        ("elsewhere", honest.clone(), Serves::Elsewhere, ""),
        ("longer", honest.clone(), Serves::Longer, ""),
        ("refuses", honest.clone(), Serves::Refuses, ""),
        (
            "digest",
            annotated("manifest-checksum", &digest(b"x")),
            Serves::Honestly,
            "digest",
        ),
        ("noise", honest.clone(), Serves::Noise, "cannot be read"),
        (
            // The store has a file of that name, size and digest: it is taken, and the diff_id tells.
            "another file",
            with_table(&honest, |t| {
                let n = file(t, 13);
                let size = t["entries"][n]["size"].as_u64().unwrap();
                let old = old();
                let at = old.windows(9).position(|w| w == b"data/f13\0").unwrap() + 512;
                t["entries"][n]["digest"] = json!(digest(&old[at..at + size as usize]));
            }),
            Serves::Honestly,
            "unpacks to",
        ),
        (
            "overlapping",
            with_table(&honest, |t| {
                let n = file(t, 13);
                t["entries"][n]["offset"] = json!(5);
            }),
            Serves::Honestly,
            "out of order",
        ),
        (
            "beyond the end",
            with_table(&honest, |t| {
                let n = file(t, 399);
                t["entries"][n]["endOffset"] = json!(u64::MAX);
            }),
            Serves::Honestly,
            "outside",
        ),
        (
            "a file less",
            with_table(&honest, |t| {
                let n = file(t, 200);
                t["entries"].as_array_mut().unwrap().remove(n);
            }),
            Serves::Honestly,
            "tar-split makes no sense",
        ),
        (
            "negative",
            with_table(&honest, |t| {
                let n = file(t, 200);
                t["entries"][n]["size"] = json!(-5);
            }),
            Serves::Honestly,
            "cannot be read",
        ),
    ];
    for (what, image, how, said) in cases {
        let store = with_old(&own, what);
        let evil = serve(&image, how);
        let out = store.cmd(["pull", "-q", &evil.name()]).ok();
        let err = out.err();
        match said {
            "" => assert_eq!(err, "", "{what}"),
            _ => assert!(
                err.contains("of no use") && err.contains(said),
                "{what}: {err}"
            ),
        }
        assert!(!layer(&store).is_empty(), "{what}");
        store.nothing_unfinished();
        store.cmd(["system", "check"]).ok();
    }
    Ok(())
}

fn what_is_wrong_in_any_way_is_not_published(e: &Env) -> Done {
    let own = e.with_own_store();
    let store = with_old(&own, "store");
    let before = store.layers();
    let evil = serve(&image(&new()), Serves::NoiseOnly);
    let pull = || store.cmd(["pull", "-q", &evil.name()]).run();
    assert!(pull().code_is(125).err().contains("of no use"));
    assert_eq!(store.layers(), before);
    store.nothing_unfinished();
    Ok(())
}
