//! `push` to a real registry, with skopeo, podman, buildah and umoci as referees.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::commit::kept;
use crate::harness::{Cmd, Done, Env, Feature, closed_port, digest, wait_until};
use crate::save_export::podman;

suite!(
    to_where_the_name_says,
    what_was_pulled_keeps_its_digests_in_the_same_registry,
    what_was_pulled_keeps_its_digests_in_another_registry,
    kept_blobs_keep_their_digests_without_the_source,
    without_blobs_and_source_the_id_stays,
    what_coracle_made_keeps_its_digests,
    images_of_other_tools_keep_their_digests,
    podman_pulls_what_was_pushed,
    formats_and_compressions,
    layers_of_an_older_store,
    all_tags,
    what_is_there_is_not_sent,
    a_changed_layer_is_not_pushed,
    what_cannot_be_pushed,
    a_login_is_used,
    several_at_once,
);

/// A registry of the test's own; ends when dropped.
struct Registry {
    child: Child,
    name: String,
}

impl Registry {
    fn start(e: &Env, name: &str, more: &str) -> Self {
        let root = e.subdir(name);
        for _ in 0..5 {
            let address = format!("127.0.0.1:{}", closed_port().1);
            let text = format!(
                "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp: {{addr: '{address}'}}\n{more}",
                root.display()
            );
            let config = e.file(&format!("{name}.yml"), text);
            let log = std::fs::File::create(e.dir.join(format!("{name}.log"))).unwrap();
            let mut argv = e.machine.drop_privileges();
            argv.splice(1..1, ["--pdeathsig".into(), "KILL".into()]);
            let mut child = Command::new(&argv[0])
                .args(&argv[1..])
                .args(["docker-registry", "serve"])
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap();
            let mut ended = false;
            wait_until("the registry answers", || {
                ended = child.try_wait().unwrap().is_some();
                ended || TcpStream::connect(&address).is_ok()
            });
            if !ended {
                return Self {
                    child,
                    name: address,
                };
            }
        }
        panic!("the registry does not start");
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What a registry has under a name: the manifest, as skopeo sees it.
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

/// The manifest of the image for this machine, if the name is that of an index.
fn image_manifest(name: &str) -> String {
    let text = raw(name);
    let document: Value = serde_json::from_str(&text).unwrap();
    let Some(manifests) = document["manifests"].as_array() else {
        return text;
    };
    let arch = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let mine = manifests
        .iter()
        .find(|m| m["platform"]["architecture"] == arch)
        .unwrap();
    let (repository, _) = name.rsplit_once(':').unwrap();
    raw(&format!(
        "{repository}@{}",
        mine["digest"].as_str().unwrap()
    ))
}

/// Copy it elsewhere with every digest checked.
fn is_complete(e: &Env, name: &str) {
    let dir = e.subdir(&format!("copy-{}", name.replace(['/', ':'], "-")));
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--preserve-digests",
    ])
    .args(["--src-tls-verify=false", &format!("docker://{name}")])
    .arg(format!("dir:{}", dir.display()))
    .limit(300)
    .ok();
}

/// Push, and see that what is there is what was printed. Returns what was said on stderr.
fn pushed(own: &Env, flags: &[&str], image: &str, to: &str) -> String {
    let out = own
        .cmd(["push"])
        .args(flags)
        .args([image, to])
        .limit(300)
        .ok();
    let there = raw(to);
    assert_eq!(out.out().trim(), digest(there.as_bytes()), "{there}");
    is_complete(own, to);
    own.nothing_unfinished();
    out.err()
}

#[track_caller]
fn not_anew(said: &str) {
    assert!(!said.contains("warning"), "{said}");
}

fn skopeo(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))
}

fn to_where_the_name_says(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    let name = format!("{}/push/by-name:v1", e.machine.registry);
    own.cmd(["tag", &image, &name]).ok();
    let out = own.cmd(["push", "-q", &name]).ok();
    assert_eq!(out.err(), "");
    assert_eq!(out.out(), format!("{}\n", digest(raw(&name).as_bytes())));
    is_complete(&own, &name);
    // By id as well, if it is said where to.
    let id = own.cmd(["images", "-q", "--no-trunc"]).ok().out();
    let id = id
        .lines()
        .next()
        .unwrap()
        .trim_start_matches("sha256:")
        .to_owned();
    let other = format!("docker://{}/push/by-id:v1", e.machine.registry);
    own.cmd(["push", &id[..12], &other]).ok();
    is_complete(&own, other.trim_start_matches("docker://"));
    Ok(())
}

/// Layers of all compressions, and one image of an index.
const IMAGES: [&str; 4] = ["nasty14", "nasty14-gzip-docker", "multi", "debian"];

fn what_was_pulled_keeps_its_digests_in_the_same_registry(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    for image in IMAGES {
        let name = own.image(image);
        let to = format!("{}/moved/{image}:1", e.machine.registry);
        not_anew(&pushed(&own, &[], &name, &to));
        assert_eq!(image_manifest(&name), raw(&to), "{image}");
    }
    Ok(())
}

fn what_was_pulled_keeps_its_digests_in_another_registry(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let other = Registry::start(e, "other", "");
    for image in IMAGES {
        let name = own.image(image);
        let to = format!("{}/{image}:1", other.name);
        not_anew(&pushed(&own, &[], &name, &to));
        assert_eq!(image_manifest(&name), raw(&to), "{image}");
    }
    Ok(())
}

/// The image in a registry that is gone afterwards, and pulled from there before.
fn pulled_from_a_registry_that_goes(own: &Env, image: &str, flags: &[&str]) -> (String, String) {
    let source = Registry::start(own, &format!("source-{image}"), "");
    let name = format!("{}/{image}:1", source.name);
    let known = own.machine.pushed(image);
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--all",
        "--preserve-digests",
    ])
    .args(["--src-tls-verify=false", "--dest-tls-verify=false"])
    .args([format!("docker://{known}"), format!("docker://{name}")])
    .limit(300)
    .ok();
    own.cmd(["pull", "-q"])
        .args(flags)
        .arg(&name)
        .limit(300)
        .ok();
    let manifest = image_manifest(&name);
    (name, manifest)
}

fn kept_blobs_keep_their_digests_without_the_source(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let (name, before) = pulled_from_a_registry_that_goes(&own, "nasty14", &["--keep-blobs"]);
    let to = format!("{}/push/kept:1", e.machine.registry);
    not_anew(&pushed(&own, &[], &name, &to));
    assert_eq!(raw(&to), before);
    Ok(())
}

/// A layout of the debian image with layers that Go's encoder compressed; it would copy blobs that it knows.
fn compressed_by_skopeo(own: &Env, format: &str) -> std::path::PathBuf {
    let plain = own.subdir(&format!("plain-{format}"));
    let layout = own.dir.join(format!("go-{format}"));
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--dest-decompress",
    ])
    .arg(format!("oci:{}:latest", own.layout("debian").display()))
    .arg(format!("dir:{}", plain.display()))
    .limit(300)
    .ok();
    Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet"])
        .args(["--dest-compress-format", format])
        .arg(format!("dir:{}", plain.display()))
        .arg(format!("oci:{}:latest", layout.display()))
        .limit(300)
        .ok();
    Cmd::host(["chmod", "-R", "a+rX"]).arg(&layout).ok();
    layout
}

fn put_there(layout: &Path, name: &str) {
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        "--preserve-digests",
    ])
    .arg("--dest-tls-verify=false")
    .arg(format!("oci:{}:latest", layout.display()))
    .arg(format!("docker://{name}"))
    .limit(300)
    .ok();
}

fn without_blobs_and_source_the_id_stays(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    // Compressed by Go, which none of our encoders is.
    let layout = compressed_by_skopeo(&own, "gzip");
    own.cmd(["pull", "-q"])
        .arg(format!("oci:{}", layout.display()))
        .limit(300)
        .ok();
    let id = own.cmd(["images", "-q", "--no-trunc"]).ok().out();
    let target = Registry::start(e, "target", "");
    let to = format!("{}/anew:1", target.name);
    let said = pushed(&own, &[], id.trim(), &to);
    assert!(said.contains("compressed anew"), "{said}");
    assert_eq!(manifest(&to)["config"]["digest"], id.trim());
    let back = own.with_root(own.dir.join("back"));
    back.cmd(["pull", "-q", &to]).ok();
    assert_eq!(back.cmd(["images", "-q", "--no-trunc"]).ok().out(), id);
    // The tree as well, and from now on its digests too.
    let again = format!("{}/anew:2", target.name);
    not_anew(&pushed(&back, &[], &to, &again));
    assert_eq!(raw(&to), raw(&again));
    Ok(())
}

fn what_coracle_made_keeps_its_digests(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(
        &own,
        "c",
        &[],
        &image,
        "seq 100000 >/numbers; mkdir /d; echo x >/d/x",
    );
    own.cmd(["commit", "c", "localhost/made:1"]).ok();
    for (flags, kind) in [
        (&[][..], "plain"),
        (
            &["--compression-format=zstd", "--compression-level=7"],
            "zstd",
        ),
        (&["--compression=gzip", "--compression-level=9"], "gzip"),
    ] {
        let source = Registry::start(e, &format!("first-{kind}"), "");
        let first = format!("{}/made:1", source.name);
        not_anew(&pushed(&own, flags, "localhost/made:1", &first));
        let before = raw(&first);
        let other = own.with_root(own.dir.join(format!("store-{kind}")));
        other.cmd(["pull", "-q", &first]).ok();
        drop(source);
        let second = format!("{}/push/made-{kind}:1", e.machine.registry);
        let said = pushed(&other, &[], &first, &second);
        // What is not ours in it (busybox) was compressed by the tests' own zlib, and its source is gone.
        let anew = said.contains("compressed anew");
        assert!(!anew || said.contains("1 of 2 layers"), "{kind}: {said}");
        let (before, after): (Value, Value) =
            (serde_json::from_str(&before).unwrap(), manifest(&second));
        assert_eq!(before["layers"][1], after["layers"][1], "{kind}");
        assert_eq!(
            before["config"]["digest"], after["config"]["digest"],
            "{kind}"
        );
    }
    Ok(())
}

fn images_of_other_tools_keep_their_digests(e: &Env) -> Done {
    skopeo(e)?;
    e.need(Feature::Root)?;
    e.need(Feature::Program("umoci"))?;
    let own = e.with_own_store();
    let other = Registry::start(e, "other", "");
    // Go's gzip and zstd, by skopeo (containers/image, as in podman and buildah); by umoci.
    for kind in ["gzip", "zstd", "umoci"] {
        let name = format!("{}/tools/{kind}:1", e.machine.registry);
        let layout = match kind {
            "umoci" => {
                let layout = e.dir.join(kind);
                Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet"])
                    .arg(format!("oci:{}:latest", e.layout("debian").display()))
                    .arg(format!("oci:{}:latest", layout.display()))
                    .limit(300)
                    .ok();
                let new = e.file("new", "a file".repeat(1000));
                Cmd::host(["umoci", "insert", "--image"])
                    .arg(format!("{}:latest", layout.display()))
                    .arg(&new)
                    .arg("/new-file")
                    .ok();
                layout
            }
            format => compressed_by_skopeo(&own, format),
        };
        put_there(&layout, &name);
        let types = manifest(&name).to_string();
        assert!(
            types.contains(if kind == "zstd" {
                "tar+zstd"
            } else {
                "tar+gzip"
            }),
            "{types}"
        );
        own.cmd(["pull", "-q", &name]).limit(300).ok();
        let to = format!("{}/tools/{kind}:1", other.name);
        not_anew(&pushed(&own, &[], &name, &to));
        assert_eq!(raw(&name), raw(&to), "{kind}");
    }
    Ok(())
}

fn podman_pulls_what_was_pushed(e: &Env) -> Done {
    skopeo(e)?;
    e.need(Feature::Root)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    kept(&own, "c", &[], &image, "echo new >/file");
    own.cmd(["commit", "c", "localhost/made:1"]).ok();
    // It takes no path of more than 50 characters.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    for format in ["oci", "docker"] {
        let to = format!("{}/push/podman:{format}", e.machine.registry);
        pushed(&own, &["--format", format], "localhost/made:1", &to);
        podman(dir.path(), &["pull", "-q", "--tls-verify=false", &to]);
        let said = podman(
            dir.path(),
            &["image", "inspect", "--format", "{{.RepoDigests}}", &to],
        );
        assert!(
            said.contains(&digest(raw(&to).as_bytes())),
            "{format}: {said}"
        );
        // And back: what podman pushes of it, coracle pulls.
        let back = format!("{}/push/back:{format}", e.machine.registry);
        podman(
            dir.path(),
            &["push", "-q", "--tls-verify=false", &to, &back],
        );
        own.cmd(["pull", "-q", &back]).ok();
        own.run_name(&["--pull=never"], &back, &["cat", "/file"])
            .ok()
            .out_is("new\n");
    }
    Ok(())
}

fn formats_and_compressions(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let name = own.image("nasty14");
    let id = own.cmd(["images", "-q", "--no-trunc"]).ok().out();
    let to = |tag: &str| format!("{}/push/formats:{tag}", e.machine.registry);
    let types = |name: &str| -> Vec<String> {
        let document = manifest(name);
        let layers = document["layers"].as_array().unwrap();
        let own = document["mediaType"].as_str().unwrap().to_owned();
        let layers = layers
            .iter()
            .map(|l| l["mediaType"].as_str().unwrap().to_owned());
        std::iter::once(own).chain(layers).collect()
    };
    for (tag, flags, want) in [
        (
            "gzip",
            &["--compression", "gzip"][..],
            "vnd.oci.image.layer.v1.tar+gzip",
        ),
        (
            "zstd",
            &["--compression-format", "zstd", "--compression-level", "1"],
            "vnd.oci.image.layer.v1.tar+zstd",
        ),
        (
            "docker",
            &["-f", "docker", "--compression", "gzip"],
            "vnd.docker.image.rootfs.diff.tar.gzip",
        ),
    ] {
        let name_there = to(tag);
        pushed(&own, flags, &name, &name_there);
        let types = types(&name_there);
        assert!(
            types[1..].iter().all(|t| t.ends_with(want)),
            "{tag}: {types:?}"
        );
        assert_eq!(types[0].contains("docker"), tag == "docker", "{types:?}");
        // The same image, whatever it is packed in.
        let back = own.with_root(own.dir.join(tag));
        back.cmd(["pull", "-q", &name_there]).ok();
        assert_eq!(back.cmd(["images", "-q", "--no-trunc"]).ok().out(), id);
        // The same bytes each time.
        let again = to(&format!("{tag}-again"));
        pushed(&own, flags, &name, &again);
        assert_eq!(raw(&name_there), raw(&again));
    }
    // Docker's format alone: only what it has no type for is compressed anew.
    let docker = to("docker-alone");
    pushed(&own, &["--format=docker"], &name, &docker);
    assert!(
        types(&docker).iter().all(|t| t.contains("vnd.docker")),
        "{:?}",
        types(&docker)
    );
    own.cmd([
        "push",
        "--format=docker",
        "--compression=zstd",
        &name,
        &to("x"),
    ])
    .run()
    .fails_with(125, "zstd");
    own.cmd([
        "push",
        "--compression=gzip",
        "--compression-level=10",
        &name,
        &to("x"),
    ])
    .run()
    .fails_with(125, "0 to 9");
    own.cmd(["push", "--compression-level=3", &name, &to("x")])
        .run()
        .code_is(125);
    let file = own.dir.join("digest");
    own.cmd(["push", "-q", "--digestfile"])
        .arg(&file)
        .args([&name, &to("file")])
        .ok();
    let written = std::fs::read_to_string(&file).unwrap();
    assert_eq!(written, digest(raw(&to("file")).as_bytes()));
    Ok(())
}

fn layers_of_an_older_store(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let name = own.image("nasty14-gzip");
    for layer in std::fs::read_dir(own.root().join("layers"))
        .unwrap()
        .flatten()
    {
        let _ = std::fs::remove_file(layer.path().join("tar"));
        let info = layer.path().join("info.json");
        let mut document: Value = serde_json::from_slice(&std::fs::read(&info).unwrap()).unwrap();
        document.as_object_mut().unwrap().remove("packed");
        std::fs::write(&info, document.to_string()).unwrap();
    }
    // With the source, and anew without it.
    let other = Registry::start(e, "other", "");
    let to = format!("{}/old:1", other.name);
    not_anew(&pushed(&own, &[], &name, &to));
    assert_eq!(raw(&name), raw(&to));
    let to = format!("{}/old:2", other.name);
    pushed(
        &own,
        &["--compression=gzip", "--force-compression"],
        &name,
        &to,
    );
    let back = own.with_root(own.dir.join("back"));
    back.cmd(["pull", "-q", &to]).ok();
    Ok(())
}

fn all_tags(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let (a, b) = (own.image("busybox"), own.image("busybox-config"));
    let name = format!("{}/push/tags", e.machine.registry);
    for (image, tag) in [(&a, "1"), (&b, "2"), (&a, "latest")] {
        own.cmd(["tag", image, &format!("{name}:{tag}")]).ok();
    }
    own.cmd(["tag", &a, &format!("{name}-not:1")]).ok();
    let out = own.cmd(["push", "-q", "--all-tags", &name]).ok().out();
    let want: String = ["1", "2", "latest"]
        .map(|tag| {
            let full = format!("{name}:{tag}");
            format!("{full} {}\n", digest(raw(&full).as_bytes()))
        })
        .concat();
    assert_eq!(out, want);
    own.cmd(["push", "-a", &format!("{name}-none")])
        .run()
        .code_is(125);
    Ok(())
}

fn what_is_there_is_not_sent(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let name = own.image("nasty14");
    let to = format!("{}/push/twice:1", e.machine.registry);
    let first = own.cmd(["push", &name, &to]).ok().out();
    let second = own.cmd(["push", &name, &to]).ok();
    assert_eq!(first, second.out());
    let said = second.err();
    assert!(
        said.contains("already exists") && !said.contains("done"),
        "{said}"
    );
    // Where it came from as well.
    let third = own.cmd(["push", &name]).ok();
    assert!(!third.err().contains("done"), "{third:?}");
    Ok(())
}

fn a_changed_layer_is_not_pushed(e: &Env) -> Done {
    let own = e.with_own_store();
    let (name, _) = pulled_from_a_registry_that_goes(&own, "busybox", &[]);
    for layer in std::fs::read_dir(own.root().join("layers"))
        .unwrap()
        .flatten()
    {
        let busybox = layer.path().join("diff/bin/busybox");
        if busybox.is_file() {
            let mut content = std::fs::read(&busybox).unwrap();
            content[1000] ^= 1;
            std::fs::write(&busybox, content).unwrap();
        }
    }
    let to = format!("{}/push/changed:1", e.machine.registry);
    own.cmd(["push", "--compression=zstd", &name, &to])
        .run()
        .fails_with(125, "was changed");
    own.cmd(["pull", "-q", &to]).run().code_is(125);
    Ok(())
}

fn what_cannot_be_pushed(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox");
    own.cmd(["push", "no-such-image"])
        .run()
        .fails_with(125, "no-such-image");
    own.cmd(["push", &name, "Upper/Case"]).run().code_is(125);
    let by_digest = format!("{}/x@sha256:{}", e.machine.registry, "0".repeat(64));
    own.cmd(["push", &name, &by_digest]).run().code_is(125);
    let (_held, port) = closed_port();
    own.cmd(["push", &name, &format!("127.0.0.1:{port}/x:1")])
        .run()
        .fails_with(125, "127.0.0.1");
    // A word of another tool is no registry's name.
    own.cmd(["push", &name, "containers-storage:x"])
        .run()
        .fails_with(125, "containers-storage");
    own.cmd(["push", "--format=oci", &name, "oci:layout"])
        .run()
        .fails_with(125, "--format");
    let layout = own.dir.join("layout");
    let digest = own
        .cmd(["push", "-q", &name, &format!("oci:{}", layout.display())])
        .ok()
        .out();
    let index = std::fs::read_to_string(layout.join("index.json")).unwrap();
    assert!(index.contains(digest.trim()), "{index} {digest}");
    own.cmd(["push", "--all-tags", &name, "somewhere"])
        .run()
        .code_is(125);
    Ok(())
}

fn a_login_is_used(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let name = own.image("nasty14");
    // bcrypt of "s3cret".
    let passwords = e.file(
        "htpasswd",
        "me:$2y$04$abcdefghijklmnopqrstuuLZYjhNQAOdpbzt4WxWlUHjv1wsyH5DG\n",
    );
    let auth = format!(
        "auth: {{htpasswd: {{realm: x, path: '{}'}}}}\n",
        passwords.display()
    );
    let locked = Registry::start(e, "locked", &auth);
    let to = format!("{}/team/app:1", locked.name);
    let login = |password: &str| {
        use base64::Engine as _;
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("me:{password}"));
        let text = format!(r#"{{"auths":{{"{}":{{"auth":"{pair}"}}}}}}"#, locked.name);
        own.file("auth.json", text)
    };
    let push = |password: &str| {
        let file = login(password);
        own.cmd(["push", &name, &to])
            .env("REGISTRY_AUTH_FILE", file)
    };
    own.cmd(["push", &name, &to]).run().fails_with(125, "login");
    push("wrong").run().fails_with(125, "login");
    let pushed = push("s3cret").ok().out();
    let raw = Cmd::host([
        "skopeo",
        "inspect",
        "--raw",
        "--tls-verify=false",
        "--creds=me:s3cret",
    ])
    .arg(format!("docker://{to}"))
    .ok()
    .out();
    assert_eq!(pushed.trim(), digest(raw.as_bytes()));

    // One on the command line counts before one that is kept, and for its registry alone.
    let kept = login("wrong");
    let with = |args: &[&str]| own.cmd(args).env("REGISTRY_AUTH_FILE", &kept);
    with(&["push", "--creds", "me:wrong", &name, &to])
        .run()
        .fails_with(125, "login");
    with(&["push", "--creds", "me:s3cret", &name, &to]).ok();
    with(&["pull", "--creds", "me:s3cret", &to]).ok();
    with(&["pull", &to]).run().fails_with(125, "login");
    let (from, aside) = (format!("docker://{to}"), own.home.join("aside"));
    let aside = format!("oci:{}", aside.display());
    with(&["copy", "--src-creds", "me:s3cret", &from, &aside]).ok();
    with(&["copy", "--dest-creds", "me:s3cret", &from, &aside])
        .run()
        .fails_with(125, "--dest-creds");
    with(&["pull", "--creds", "me:s3cret", &to, "elsewhere.example/app"])
        .run()
        .fails_with(125, "one registry");
    with(&["push", "--creds", "me", &name, &to])
        .run()
        .fails_with(125, "not a terminal");
    Ok(())
}

fn several_at_once(e: &Env) -> Done {
    skopeo(e)?;
    let own = e.with_own_store();
    let name = own.image("nasty14");
    let target = Registry::start(e, "target", "");
    let names: Vec<String> = (0..3)
        .map(|n| format!("{}/same:{n}", target.name))
        .collect();
    let all: Vec<_> = names
        .iter()
        .map(|to| own.cmd(["push", "-q", &name, to]).limit(300).spawn())
        .collect();
    let digests: Vec<String> = all.into_iter().map(|p| p.wait().code_is(0).out()).collect();
    assert!(digests.iter().all(|d| *d == digests[0]), "{digests:?}");
    for to in &names {
        is_complete(&own, to);
    }
    Ok(())
}
