//! `manifest`: lists made here, with skopeo and podman as referees.

use serde_json::{Value, json};

use crate::harness::{Cmd, Done, Env, Feature, digest};
use crate::save_export::podman;

suite!(
    a_list_goes_to_a_registry_and_comes_back,
    a_list_keeps_what_its_images_need,
    what_is_said_of_an_entry,
    a_list_stands_for_its_image,
    formats_of_lists,
    podman_and_coracle_make_the_same_lists,
    two_at_once,
    what_cannot_be_done,
);

/// What a registry has under a name.
fn raw(name: &str) -> String {
    Cmd::host(["skopeo", "inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{name}"))
        .limit(120)
        .ok()
        .out()
}

/// With every digest of everything checked.
fn is_complete(e: &Env, name: &str) {
    let dir = e.subdir(&format!("all-{}", name.replace(['/', ':'], "-")));
    Cmd::host(["skopeo", "--insecure-policy", "copy", "--quiet", "--all"])
        .args(["--preserve-digests", "--src-tls-verify=false"])
        .arg(format!("docker://{name}"))
        .arg(format!("dir:{}", dir.display()))
        .limit(300)
        .ok();
}

fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// `manifest` with these arguments; what it prints, without the line's end.
fn manifest(own: &Env, args: &[&str]) -> String {
    let out = own.cmd(["manifest"]).args(args).limit(300).ok().out();
    out.trim_end().to_owned()
}

fn document(own: &Env, list: &str) -> Value {
    json_of(&manifest(own, &["inspect", list]))
}

fn platforms(list: &Value) -> Vec<String> {
    let entries = list["manifests"].as_array().unwrap().iter();
    entries
        .map(|m| m["platform"]["architecture"].as_str().unwrap().to_owned())
        .collect()
}

const HERE: &str = match std::env::consts::ARCH.as_bytes() {
    b"x86_64" => "amd64",
    b"aarch64" => "arm64",
    _ => std::env::consts::ARCH,
};

fn a_list_goes_to_a_registry_and_comes_back(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let (multi, here) = (own.machine.pushed("multi"), own.image("busybox"));
    let list = "localhost/list:1";
    let first = manifest(&own, &["create", list, &here]);
    let id = manifest(&own, &["add", "--all", list, &format!("docker://{multi}")]);
    assert_ne!(first, id);
    let names = own
        .cmd(["images", "--no-trunc", "--format"])
        .arg("{{.Repository}}:{{.Tag}} {{.ID}}")
        .ok()
        .out();
    assert!(names.contains(&format!("{list} {id}\n")), "{names}");
    assert!(!names.contains(&first), "{names}");
    let local = own.cmd(["inspect", "--raw", list]).ok().out();
    assert_eq!(digest(local.as_bytes()), id);
    assert_eq!(
        platforms(&json_of(&local)),
        [HERE, "arm64", "s390x", "amd64"]
    );

    // There it is the same, digest for digest, by three ways.
    for (i, verb) in [
        &["manifest", "push"][..],
        &["push"],
        &["copy", "--all"],
        &["image", "push", "-q"],
    ]
    .iter()
    .enumerate()
    {
        let to = format!("{}/list/{i}:1", e.machine.registry);
        let place = match verb[0] {
            "copy" => format!("docker://{to}"),
            _ => to.clone(),
        };
        let said = own.cmd(*verb).args([list, &place]).limit(300).ok().out();
        assert_eq!(said.trim(), id, "{verb:?}");
        assert_eq!(raw(&to), local, "{verb:?}");
        is_complete(&own, &to);
    }
    // And back: this machine's image.
    let to = format!("{}/list/0:1", e.machine.registry);
    let back = own.with_root(own.dir.join("back"));
    back.cmd(["pull", "-q", &to]).ok();
    assert_eq!(back.cmd(["inspect", "--raw", &to]).ok().out(), local);
    back.run_name(&["--pull=never"], &to, &["echo", "there"])
        .ok()
        .out_is("there\n");
    // The list alone, where the images are.
    let alone = format!("{}/list/0:alone", e.machine.registry);
    assert_eq!(
        manifest(&own, &["push", "-q", "--all=false", list, &alone]),
        id
    );
    assert_eq!(raw(&alone), local);
    // Gone from here once it is there.
    let file = own.dir.join("digest");
    own.cmd(["manifest", "push", "-q", "--purge", "--digestfile"])
        .arg(&file)
        .args([list, &to])
        .ok();
    assert_eq!(std::fs::read_to_string(file).unwrap(), id);
    assert_eq!(own.cmd(["manifest", "exists", list]).run().code(), 1);
    own.nothing_unfinished();
    Ok(())
}

fn a_list_keeps_what_its_images_need(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    manifest(&own, &["create", "localhost/list:1", &image]);
    let layers = own.layers();
    // The image has no name of its own any more; what it needs stays, and works.
    own.cmd(["rmi", &image]).ok();
    own.cmd(["system", "prune", "-f"]).ok();
    assert_eq!(own.layers(), layers);
    own.cmd(["system", "check"]).ok();
    own.run_name(&["--pull=never"], "localhost/list:1", &["echo", "kept"])
        .ok()
        .out_is("kept\n");
    // Also under another name, and after the list has got another state.
    own.cmd(["tag", "localhost/list:1", "localhost/other:1"])
        .ok();
    let entry = document(&own, "localhost/list:1")["manifests"][0]["digest"].clone();
    manifest(
        &own,
        &["remove", "localhost/list:1", entry.as_str().unwrap()],
    );
    own.cmd(["system", "prune", "-f"]).ok();
    own.run_name(&["--pull=never"], "localhost/other:1", &["echo", "kept"])
        .ok()
        .out_is("kept\n");
    own.cmd(["run", "--pull=never", "localhost/list:1", "true"])
        .run()
        .fails_with(125, HERE);
    // With the last list everything goes.
    manifest(&own, &["rm", "localhost/other:1", "localhost/list:1"]);
    assert_eq!(own.layers(), [""; 0]);
    assert_eq!(own.cmd(["images", "-q"]).ok().out(), "");
    Ok(())
}

fn what_is_said_of_an_entry(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let list = "localhost/list:1";
    manifest(
        &own,
        &["create", "--annotation", "org.example.of=list", list],
    );
    assert_eq!(document(&own, list)["manifests"], json!([]));
    let add = ["add", "--arch", "arm", "--variant", "v7", "--os", "linux"];
    let more = ["--annotation", "a=b=c", "--features", "x,y", list, &image];
    manifest(&own, &[&add[..], &more[..]].concat());
    let said = document(&own, list);
    assert_eq!(said["annotations"], json!({ "org.example.of": "list" }));
    let entry = &said["manifests"][0];
    assert_eq!(
        entry["platform"],
        json!({ "architecture": "arm", "os": "linux", "variant": "v7", "features": ["x", "y"] })
    );
    assert_eq!(entry["annotations"], json!({ "a": "b=c" }));
    // By the image's name, the name with docker://, and by digest.
    let by_digest = entry["digest"].as_str().unwrap().to_owned();
    manifest(&own, &["annotate", "--arch", HERE, list, &image]);
    manifest(&own, &["annotate", "--os-version", "6.1", list, &by_digest]);
    manifest(&own, &["annotate", "--os-features", "f", list, &image]);
    manifest(
        &own,
        &["annotate", "--index", "--annotation", "more=1", list],
    );
    let said = document(&own, list);
    assert_eq!(
        said["manifests"][0]["platform"],
        json!({
            "architecture": HERE, "os": "linux", "variant": "v7", "features": ["x", "y"],
            "os.version": "6.1", "os.features": ["f"],
        })
    );
    assert_eq!(said["manifests"][0]["annotations"], json!({ "a": "b=c" }));
    assert_eq!(
        said["annotations"],
        json!({ "org.example.of": "list", "more": "1" })
    );
    // The same image again is the same entry.
    manifest(&own, &["add", list, &image]);
    assert_eq!(
        document(&own, list)["manifests"].as_array().unwrap().len(),
        1
    );
    Ok(())
}

fn a_list_stands_for_its_image(e: &Env) -> Done {
    let own = e.with_own_store();
    let (image, multi) = (own.image("busybox"), own.machine.pushed("multi"));
    let list = "localhost/list:1";
    let id = manifest(&own, &["create", list, &image]);
    let of = |name: &str| json_of(&own.cmd(["inspect", name]).ok().out());
    let (shown, own_image) = (of(list), of(&image));
    assert_eq!(shown[0]["Digest"], json!(id));
    for key in ["Id", "Config", "RootFS", "Size"] {
        assert_eq!(shown[0][key], own_image[0][key], "{key}");
    }
    let history = |name: &str| own.cmd(["history", "--no-trunc", name]).ok().out();
    assert_eq!(history(list), history(&image));
    // Saved as the list's name; the layout says which image it is.
    let archive = own.dir.join("list.tar");
    own.cmd(["save", "-o"]).arg(&archive).arg(list).ok();
    let back = own.with_root(own.dir.join("back"));
    back.cmd(["load", "-q", "-i"]).arg(&archive).ok();
    assert_eq!(
        json_of(&back.cmd(["inspect", list]).ok().out())[0]["Id"],
        own_image[0]["Id"]
    );
    // An entry that the store does not have is pulled when it is wanted, and only then.
    manifest(
        &own,
        &["create", "localhost/far:1", &format!("docker://{multi}")],
    );
    own.cmd(["run", "--pull=never", "localhost/far:1", "true"])
        .run()
        .fails_with(125, "not in the store");
    own.cmd(["inspect", "localhost/far:1"])
        .run()
        .fails_with(125, "not in the store")
        .err_has("coracle pull");
    own.run_name(&[], "localhost/far:1", &["echo", "far"])
        .ok()
        .out_is("far\n");
    own.run_name(&["--pull=never"], "localhost/far:1", &["echo", "here"])
        .ok()
        .out_is("here\n");
    // Of a list all entries, or the one for this machine.
    manifest(&own, &["create", "--all", "localhost/all:1", &multi]);
    manifest(&own, &["create", "localhost/one:1", "localhost/all:1"]);
    manifest(
        &own,
        &["create", "--all", "localhost/both:1", "localhost/all:1"],
    );
    assert_eq!(platforms(&document(&own, "localhost/one:1")), [HERE]);
    assert_eq!(
        document(&own, "localhost/both:1"),
        document(&own, "localhost/all:1")
    );
    // An image that came with an index remembers it.
    own.cmd(["pull", "-q", &multi]).ok();
    manifest(&own, &["create", "--all", "localhost/again:1", &multi]);
    assert_eq!(
        document(&own, "localhost/again:1"),
        document(&own, "localhost/all:1")
    );
    own.cmd(["system", "df"]).ok();
    Ok(())
}

fn formats_of_lists(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    let list = "localhost/list:1";
    manifest(&own, &["create", "--annotation", "k=v", list, &image]);
    let to = format!("{}/list/docker:1", e.machine.registry);
    let done = own
        .cmd(["manifest", "push", "--format", "v2s2", list, &to])
        .ok();
    let done = done.err_has("docker's list has no place for 1");
    let there = raw(&to);
    let index = json_of(&there);
    assert_eq!(
        index["mediaType"],
        "application/vnd.docker.distribution.manifest.list.v2+json"
    );
    assert_eq!(
        index["manifests"][0]["mediaType"],
        "application/vnd.docker.distribution.manifest.v2+json"
    );
    assert!(index.get("annotations").is_none(), "{there}");
    assert_eq!(done.out().trim(), digest(there.as_bytes()));
    is_complete(&own, &to);
    let back = own.with_root(own.dir.join("back"));
    back.cmd(["pull", "-q", &to]).ok();
    // The same image: only how it is described differs.
    let id =
        |own: &Env, name: &str| json_of(&own.cmd(["inspect", name]).ok().out())[0]["Id"].clone();
    assert_eq!(id(&back, &to), id(&own, &image));
    Ok(())
}

fn podman_and_coracle_make_the_same_lists(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    e.need(Feature::Root)?;
    e.need(Feature::Program("podman"))?;
    let own = e.with_own_store();
    let (busybox, multi) = (own.machine.pushed("busybox"), own.machine.pushed("multi"));
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let podman = |args: &[&str]| podman(dir.path(), args);
    let theirs = format!("{}/list/podman:1", e.machine.registry);
    podman(&["manifest", "create", "localhost/p:1"]);
    for args in [
        &["manifest", "add", "--tls-verify=false", "--all"][..],
        &["manifest", "add", "--tls-verify=false"],
    ] {
        let image = match args.len() {
            4 => &multi,
            _ => &busybox,
        };
        podman(&[args, &["localhost/p:1", &format!("docker://{image}")]].concat());
    }
    let destination = format!("docker://{theirs}");
    podman(&[
        "manifest",
        "push",
        "--all",
        "--tls-verify=false",
        "--format=oci",
        "localhost/p:1",
        &destination,
    ]);
    let ours = format!("{}/list/coracle:1", e.machine.registry);
    manifest(&own, &["create", "--all", "localhost/c:1", &multi]);
    manifest(
        &own,
        &["add", "localhost/c:1", &format!("docker://{busybox}")],
    );
    manifest(&own, &["push", "-q", "localhost/c:1", &ours]);
    let entries = |name: &str| {
        let mut all: Vec<(String, Value)> = json_of(&raw(name))["manifests"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| {
                let platform = &m["platform"];
                let digest = m["digest"].as_str().unwrap().to_owned();
                (
                    digest,
                    json!([platform["os"], platform["architecture"], m["size"]]),
                )
            })
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    assert_eq!(entries(&ours), entries(&theirs));
    assert_eq!(entries(&ours).len(), 4);
    // Each reads the other's: podman pulls ours, and we take theirs on as it is.
    podman(&["pull", "-q", "--tls-verify=false", &ours]);
    // This verb has no --tls-verify there.
    let text = format!(
        "[[registry]]\nlocation = '{}'\ninsecure = true\n",
        e.machine.registry
    );
    let conf = e.file("registries.conf", text);
    let conf = ["--registries-conf", conf.to_str().unwrap()];
    let said = podman(&[&conf[..], &["manifest", "inspect", &ours]].concat());
    assert_eq!(json_of(&said)["manifests"].as_array().unwrap().len(), 4);
    let mine = document(&own, &theirs);
    assert_eq!(mine, json_of(&raw(&theirs)));
    manifest(&own, &["create", "--all", "localhost/t:1", &theirs]);
    assert_eq!(
        document(&own, "localhost/t:1")["manifests"],
        mine["manifests"]
    );
    Ok(())
}

fn two_at_once(e: &Env) -> Done {
    let own = e.with_own_store();
    let list = "localhost/list:1";
    manifest(&own, &["create", list]);
    let images: Vec<String> = ["busybox", "nasty14-gzip", "busybox-config", "multi"]
        .iter()
        .map(|image| own.image(image))
        .collect();
    let adding: Vec<_> = images
        .iter()
        .map(|image| own.cmd(["manifest", "add", list, image]).spawn())
        .collect();
    for one in adding {
        one.wait().code_is(0);
    }
    assert_eq!(
        document(&own, list)["manifests"].as_array().unwrap().len(),
        4
    );
    own.cmd(["system", "check"]).ok();
    Ok(())
}

fn what_cannot_be_done(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let list = "localhost/list:1";
    manifest(&own, &["create", list, &image]);
    let zeros = format!("sha256:{}", "0".repeat(64));
    for (args, why) in [
        (&["create", list][..], "--amend"),
        (&["create", &image], "there is an image"),
        (&["create", "UPPER"], "UPPER"),
        (&["create", &format!("localhost/x@{zeros}")], "tag"),
        (&["create", "localhost/x:1", "dir:/nowhere"], "coracle pull"),
        (&["add", &image, list], "not a list"),
        (&["add", "localhost/no:1", &image], "localhost/no:1"),
        (
            &["annotate", list, "localhost/no:1", "--arch", "x"],
            "no entry",
        ),
        (&["annotate", list, &zeros, "--arch", "x"], "no entry"),
        (&["annotate", list, &image], "nothing to say"),
        (
            &["annotate", list, &image, "--arch", "a b"],
            "without spaces",
        ),
        (&["annotate", "--index", list, "--arch", "x"], "no platform"),
        (
            &["annotate", list, &image, "--annotation", "x"],
            "KEY=VALUE",
        ),
        (&["remove", list, &zeros], "no entry"),
        (&["rm", &image], "not a list"),
        (&["push", &image, "localhost/x"], "not a list"),
        (&["push", list, &format!("localhost/x@{zeros}")], "digest"),
    ] {
        own.cmd(["manifest"]).args(args).run().fails_with(125, why);
    }
    own.cmd(["manifest", "rm", "localhost/no:1"])
        .run()
        .fails_with(1, "localhost/no:1");
    manifest(&own, &["rm", "--ignore", "localhost/no:1"]);
    // A whole list goes to a registry only; the image of a platform goes anywhere.
    let layout = format!("oci:{}/layout", own.dir.display());
    own.cmd(["copy", "--all", list, &layout])
        .run()
        .fails_with(125, "registry only");
    own.cmd(["copy", "-q", list, &layout]).ok();
    // Nothing of all this changed the list, and amending does.
    assert_eq!(own.cmd(["manifest", "exists", list]).run().code(), 0);
    assert_eq!(own.cmd(["manifest", "exists", &image]).run().code(), 1);
    let more = own.image("busybox-config");
    manifest(&own, &["create", "--amend", list, &more]);
    assert_eq!(
        document(&own, list)["manifests"].as_array().unwrap().len(),
        2
    );
    Ok(())
}
