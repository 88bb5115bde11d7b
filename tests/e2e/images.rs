//! load, images, tag, inspect, history, rmi.

use serde_json::Value;

use crate::harness::{Cmd, Done, Env, Feature, Image, Tar};

suite!(
    load_oci_directory,
    load_oci_archive,
    load_docker_archive,
    load_from_stdin,
    load_compressed_archive,
    load_garbage,
    load_truncated,
    images_table,
    images_json,
    tag_and_rmi,
    rmi_frees_space,
    rmi_keeps_shared_layers,
    rmi_of_something_else,
    rmi_of_an_image_in_use,
    inspect,
    history,
    ids_can_be_short,
    names_are_shown_without_control_characters,
);

fn quiet_ids(e: &Env) -> Vec<String> {
    e.cmd(["images", "-q"])
        .ok()
        .out()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn runs(e: &Env, name: &str) {
    e.run_name(&["--pull=never"], name, &["echo", "loaded"])
        .ok()
        .out_is("loaded\n");
}

fn load_oci_directory(e: &Env) -> Done {
    let own = e.with_own_store();
    let dir = e.layout("busybox");
    own.cmd(["load", "-i"]).arg(dir).ok();
    let ids = quiet_ids(&own);
    assert_eq!(ids.len(), 1);
    runs(&own, &ids[0]);
    Ok(())
}

/// The busybox image in another form.
fn archive(e: &Env, form: &str, name: &str) -> std::path::PathBuf {
    let source = format!("oci:{}:latest", e.layout("busybox").display());
    let file = e.dir.join(name);
    let target = match form {
        "docker-archive" => format!("docker-archive:{}:example.com/boat:v1", file.display()),
        _ => format!("oci-archive:{}:example.com/boat:v1", file.display()),
    };
    Cmd::host([
        "skopeo",
        "--insecure-policy",
        "copy",
        "--quiet",
        &source,
        &target,
    ])
    .ok();
    Cmd::host(["chmod", "644"]).arg(&file).ok();
    file
}

fn load_oci_archive(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    own.cmd(["load", "-i"])
        .arg(archive(e, "oci-archive", "a.tar"))
        .ok()
        .out_has("example.com/boat:v1");
    runs(&own, "example.com/boat:v1");
    Ok(())
}

fn load_docker_archive(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let file = archive(e, "docker-archive", "d.tar");
    own.cmd(["load", "--input"])
        .arg(&file)
        .ok()
        .out_has("example.com/boat:v1");
    runs(&own, "example.com/boat:v1");
    // Again: nothing changes.
    own.cmd(["load", "-q", "-i"]).arg(&file).ok();
    assert_eq!(quiet_ids(&own).len(), 1);
    Ok(())
}

fn load_from_stdin(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    for form in ["docker-archive", "oci-archive"] {
        let own = e.with_root(e.dir.join(form));
        let data = std::fs::read(archive(e, form, &format!("{form}.tar"))).unwrap();
        own.cmd(["load"]).stdin(data).ok();
        runs(&own, "example.com/boat:v1");
    }
    Ok(())
}

fn load_compressed_archive(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let file = archive(e, "docker-archive", "d.tar");
    Cmd::host(["gzip"]).arg(&file).ok();
    own.cmd(["load", "-i"]).arg(e.dir.join("d.tar.gz")).ok();
    runs(&own, "example.com/boat:v1");
    Ok(())
}

fn is_empty(own: &Env) {
    assert_eq!(quiet_ids(own).len(), 0);
    for dir in ["layers", "blobs/sha256", "tmp"] {
        let left: Vec<_> = std::fs::read_dir(own.root().join(dir))
            .map(|d| d.flatten().map(|f| f.file_name()).collect())
            .unwrap_or_default();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
}

fn load_garbage(e: &Env) -> Done {
    let own = e.with_own_store();
    let text = e.file("text", "this is no archive\n".repeat(1000));
    own.cmd(["load", "-i"])
        .arg(&text)
        .run()
        .fails_with(125, "text");
    own.cmd(["load"]).stdin("").run().code_is(125);
    let empty = e.file("empty.tar", vec![0; 10240]);
    own.cmd(["load", "-i"]).arg(&empty).run().code_is(125);
    own.cmd(["load", "-i", "/no/such/file"])
        .run()
        .fails_with(125, "/no/such/file");
    is_empty(&own);
    Ok(())
}

fn load_truncated(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    for form in ["docker-archive", "oci-archive"] {
        let data = std::fs::read(archive(e, form, &format!("{form}.tar"))).unwrap();
        for part in [3, 2] {
            let own = e.with_root(e.dir.join(format!("{form}-{part}")));
            let out = own
                .cmd(["load"])
                .stdin(&data[..data.len() * (part - 1) / part])
                .run();
            assert_eq!(out.code(), 125, "{form} cut: {out:?}");
            is_empty(&own);
        }
    }
    Ok(())
}

fn images_table(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox");
    let out = own.cmd(["images"]).ok().out();
    let lines: Vec<Vec<&str>> = out
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    assert_eq!(lines[0][..3], ["REPOSITORY", "TAG", "IMAGE"], "{out}");
    assert_eq!(
        lines[1][..2],
        [name.trim_end_matches(":latest"), "latest"],
        "{out}"
    );
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[1][2].len(), 12);
    own.cmd(["images", "no-such-image"]).ok();
    let format = own
        .cmd(["images", "--format", "{{.Repository}}|{{.Tag}}|{{.ID}}"])
        .ok()
        .out();
    assert_eq!(
        format,
        format!(
            "{}|latest|{}\n",
            name.trim_end_matches(":latest"),
            lines[1][2]
        )
    );
    Ok(())
}

fn images_json(e: &Env) -> Done {
    let own = e.with_own_store();
    own.image("busybox");
    let out = own.cmd(["images", "--format", "json"]).ok().out();
    let value: Value = serde_json::from_str(&out).unwrap();
    let first = value.as_array().map_or(&value, |a| &a[0]);
    assert!(first.is_object(), "{out}");
    Ok(())
}

fn tag_and_rmi(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox");
    own.cmd(["tag", &name, "boat:v2", "example.com/other"]).ok();
    runs(&own, "boat:v2");
    runs(&own, "docker.io/library/boat:v2");
    runs(&own, "example.com/other:latest");
    own.cmd(["rmi", &name]).ok();
    own.cmd(["run", "--rm", "--pull=never", &name, "true"])
        .run()
        .code_is(125);
    runs(&own, "boat:v2");
    own.cmd(["tag", "no-such-image", "x"])
        .run()
        .err_has("no-such-image");
    own.cmd(["tag", "boat:v2", "UPPER"]).run().err_has("UPPER");
    Ok(())
}

fn rmi_frees_space(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox");
    own.cmd(["rmi", &name]).ok();
    is_empty(&own);
    Ok(())
}

fn rmi_keeps_shared_layers(e: &Env) -> Done {
    let own = e.with_own_store();
    let (one, two) = (own.image("busybox"), own.image("busybox-config"));
    own.cmd(["rmi", &two]).ok();
    runs(&own, &one);
    let two = own.image("busybox-config");
    own.cmd(["rmi", &one]).ok();
    own.run_name(&[], &two, &["x"]).ok().out_is("entry x\n");
    Ok(())
}

fn rmi_of_something_else(e: &Env) -> Done {
    let own = e.with_own_store();
    own.image("busybox");
    own.cmd(["rmi", "no-such-image"])
        .run()
        .fails_with(1, "no-such-image");
    own.cmd(["rmi", "--force", "no-such-image"])
        .run()
        .code_is(0);
    assert_eq!(quiet_ids(&own).len(), 1);
    Ok(())
}

fn rmi_of_an_image_in_use(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox");
    let script = "trap 'ls /bin/vi; exit' USR1; echo ready; while :; do sleep 0.05; done";
    let p = own.run_cmd(&[], "busybox", &["sh", "-c", script]).spawn();
    p.wait_for("ready");
    own.cmd(["rmi", &name]).run().fails_with(2, "in use");
    // Even by force the running container keeps its layers.
    let _ = own.cmd(["rmi", "-f", &name]).run();
    p.signal(rustix::process::Signal::USR1);
    p.wait().code_is(0).out_is("/bin/vi\n");
    Ok(())
}

fn inspect(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox-config");
    let out = own.cmd(["inspect", &name]).ok().out();
    let value: Value = serde_json::from_str(&out).unwrap();
    let config = &value[0]["Config"];
    assert_eq!(config["User"], "1234:2345", "{out}");
    assert_eq!(config["WorkingDir"], "/srv/dir");
    assert_eq!(config["Labels"]["org.example.label"], "a value");
    assert_eq!(
        config["Entrypoint"],
        serde_json::json!(["/bin/echo", "entry"])
    );
    assert_eq!(value[0]["RootFS"]["Layers"].as_array().unwrap().len(), 2);
    let out = own
        .cmd(["inspect", "--format", "{{.Config.User}} {{.Os}}", &name])
        .ok();
    out.out_is("1234:2345 linux\n");
    own.cmd(["inspect", "no-such-image"])
        .run()
        .err_has("no-such-image");
    Ok(())
}

fn history(e: &Env) -> Done {
    let own = e.with_own_store();
    let name = own.image("busybox-config");
    let out = own.cmd(["history", &name]).ok().out();
    assert_eq!(out.lines().count(), 3, "{out}");
    // The newest step is at the top.
    assert!(out.lines().nth(1).unwrap().contains("layer 2"), "{out}");
    Ok(())
}

fn ids_can_be_short(e: &Env) -> Done {
    let own = e.with_own_store();
    own.image("busybox");
    let id = quiet_ids(&own).remove(0);
    runs(&own, &id);
    runs(&own, &id[..6]);
    own.cmd(["tag", &id[..8], "by-id"]).ok();
    runs(&own, "by-id");
    Ok(())
}

fn names_are_shown_without_control_characters(e: &Env) -> Done {
    // History and labels come from strangers.
    let mut image = Image::new(&[Tar::busybox().end()]);
    let mut config: Value = serde_json::from_slice(&image.config).unwrap();
    config["history"] = serde_json::json!([{"created_by": "\u{1b}[2J\u{7}wipe", "created": "2025-01-01T00:00:00Z"}]);
    config["config"]["Labels"] = serde_json::json!({"\u{1b}[31m": "\u{1b}]0;title\u{7}"});
    image.config = config.to_string().into_bytes();
    image.remake(|_| ());
    let evil = crate::harness::Evil::honest(image);
    let own = e.with_own_store();
    own.cmd(["pull", "-q", &evil.name()]).ok();
    for args in [
        &["history", "--no-trunc"][..],
        &["inspect"],
        &["history", "--format", "{{.CreatedBy}}"],
    ] {
        let out = own.cmd(args).arg(evil.name()).ok();
        assert!(
            out.stdout
                .iter()
                .all(|&b| b == b'\n' || b == b'\t' || (b >= 0x20 && b != 0x7f)),
            "{out:?}"
        );
        assert!(
            out.out().contains("wipe") || args[0] == "inspect",
            "{out:?}"
        );
    }
    Ok(())
}
