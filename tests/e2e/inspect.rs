//! `inspect` of what is in the store and of what is not, with skopeo as referee; `untag`.

use serde_json::Value;

use crate::harness::{Cmd, Done, Env, Feature, digest};

suite!(
    the_manifest_is_printed_as_it_is,
    images_elsewhere_are_shown_without_being_pulled,
    what_is_asked_for_and_is_not_there,
    a_name_goes_and_the_image_stays,
);

fn skopeo(args: &[&str]) -> String {
    Cmd::host(["skopeo", "inspect", "--tls-verify=false"])
        .args(args)
        .limit(120)
        .ok()
        .out()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn the_manifest_is_printed_as_it_is(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    for image in ["multi", "nasty14-gzip", "nasty14-gzip-docker"] {
        let name = own.machine.pushed(image);
        let remote = format!("docker://{name}");
        let want = skopeo(&["--raw", &remote]);
        let raw = |args: &[&str]| own.cmd(["inspect", "--raw"]).args(args).ok().out();
        assert_eq!(raw(&[&remote]), want, "{image}");
        own.cmd(["pull", "-q", &name]).ok();
        assert_eq!(raw(&[&name]), want, "{image}");
        // The digest that is shown is that of what is printed, here, there and with skopeo.
        let shown = |name: &str| json(&own.cmd(["inspect", name]).ok().out())[0]["Digest"].clone();
        for name in [&name, &remote] {
            assert_eq!(shown(name), digest(want.as_bytes()), "{name}");
        }
        assert_eq!(json(&skopeo(&[&remote]))["Digest"], shown(&remote));
        // Of one platform, here and there.
        let mine = raw(&["--platform", "linux/amd64", &name]);
        assert_eq!(raw(&["--platform", "linux/amd64", &remote]), mine);
        assert_eq!(
            image == "multi",
            mine != want && want.contains(&digest(mine.as_bytes()))
        );
        assert!(json(&mine)["layers"].is_array(), "{mine}");
    }
    let multi = format!("docker://{}", own.machine.pushed("multi"));
    let other = own
        .cmd(["image", "inspect", "--raw", "--platform", "linux/s390x"])
        .arg(&multi)
        .ok()
        .out();
    let index = own.cmd(["inspect", "--raw", &multi]).ok().out();
    assert!(index.contains(&digest(other.as_bytes())), "{other}");
    Ok(())
}

fn images_elsewhere_are_shown_without_being_pulled(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let name = own.machine.pushed("nasty14-gzip");
    let remote = format!("docker://{name}");
    let want = json(&skopeo(&[&remote]));
    let got = json(&own.cmd(["inspect", &remote]).ok().out());
    let got = &got[0];
    for key in ["Digest", "Created", "Architecture", "Os"] {
        assert_eq!(got[key], want[key], "{key}");
    }
    // Older ones of skopeo list only these.
    let layers = got["LayersData"].as_array().unwrap().iter();
    let layers: Value = layers.map(|l| l["Digest"].clone()).collect();
    assert_eq!(layers, want["Layers"]);
    assert_eq!(got["RepoTags"], serde_json::json!([name]));
    own.cmd(["inspect", "-f", "{{.Architecture}}", &remote])
        .ok()
        .out_is(&format!("{}\n", want["Architecture"].as_str().unwrap()));
    // The same image from all places: only what it is called differs.
    let layout = format!("oci:{}:latest", own.layout("nasty14-gzip").display());
    let archive = format!("oci-archive:{}/a.tar:x", own.dir.display());
    let dir = format!("dir:{}/d", own.dir.display());
    for to in [&archive, &dir] {
        own.cmd(["copy", "-q", &layout, to]).ok();
    }
    for place in [&layout, &archive, &dir] {
        let there = json(&own.cmd(["inspect", place]).ok().out());
        for key in ["Id", "Digest", "Config", "RootFS", "LayersData", "History"] {
            assert_eq!(there[0][key], got[key], "{place}: {key}");
        }
    }
    // What the store calls the same image's parts is the same.
    own.cmd(["pull", "-q", &name]).ok();
    let local = json(&own.cmd(["inspect", &name]).ok().out());
    for key in [
        "Id",
        "Digest",
        "RepoTags",
        "RepoDigests",
        "Config",
        "RootFS",
    ] {
        assert_eq!(local[0][key], got[key], "{key}");
    }
    own.cmd(["rmi", &name]).ok();
    own.cmd(["inspect", &remote]).ok();
    assert_eq!(own.cmd(["images", "-q"]).ok().out(), "");
    own.nothing_unfinished();
    Ok(())
}

fn what_is_asked_for_and_is_not_there(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("nasty14-gzip");
    let remote = format!("docker://{name}");
    own.cmd(["inspect", "--raw", &name, &name])
        .run()
        .fails_with(125, "one image");
    for name in [&name, &remote] {
        let no = own
            .cmd(["inspect", "--raw", "--platform", "linux/riscv64", name])
            .run();
        // A manifest that is no index has no platform to choose: of a registry it is what there is.
        match name == &remote {
            true => no.code_is(0),
            false => no.fails_with(125, "riscv64"),
        };
    }
    let multi = format!("docker://{}", own.machine.pushed("multi"));
    own.cmd(["inspect", "--platform", "linux/riscv64", &multi])
        .run()
        .fails_with(125, "riscv64");
    let gone = format!("docker://{}/no/such:1", own.machine.registry);
    for flags in [&["inspect"][..], &["inspect", "--raw"]] {
        own.cmd(flags).arg(&gone).run().fails_with(125, "no/such");
    }
    Ok(())
}

fn a_name_goes_and_the_image_stays(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("nasty14-gzip");
    let id = own.cmd(["images", "-q"]).ok().out();
    for other in ["localhost/a:1", "localhost/b:1", "localhost/c:1"] {
        own.cmd(["image", "tag", &name, other]).ok();
    }
    let names = || {
        own.cmd(["images", "--format", "{{.Repository}}:{{.Tag}}"])
            .ok()
            .out()
    };
    own.cmd(["untag", &name, "localhost/a:1", "localhost/no:1"])
        .run()
        .fails_with(125, "localhost/no:1");
    assert_eq!(names().lines().count(), 4);
    own.cmd(["untag", &name, "localhost/a:1", "localhost/b:1"])
        .ok();
    assert!(!names().contains("localhost/a") && names().contains("localhost/c:1"));
    own.cmd(["image", "untag", "localhost/c:1"]).ok();
    assert_eq!(names(), "<none>:<none>\n");
    own.cmd(["image", "tag", id.trim(), "localhost/back:1"])
        .ok();
    assert_eq!(names(), "localhost/back:1\n");
    own.cmd(["image", "push", "-q", "localhost/back:1"])
        .arg(format!("{}/image/push:1", own.machine.registry))
        .ok();
    Ok(())
}
