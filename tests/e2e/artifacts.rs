//! `artifact` with docker-registry, which keeps no account of what refers to what; skopeo is the referee.

use serde_json::{Value, json};

use crate::harness::{Cmd, Done, Env, Feature, digest};

suite!(
    files_go_there_and_come_back,
    what_refers_to_an_image_is_found,
    an_artifact_is_no_image,
    what_cannot_be_pushed,
);

const SBOM: &str = "application/vnd.example.sbom";

fn raw(name: &str) -> String {
    Cmd::host(["skopeo", "inspect", "--raw", "--tls-verify=false"])
        .arg(format!("docker://{name}"))
        .ok()
        .out()
}

/// `artifact` with these arguments; what it prints, without the line's end.
fn artifact(own: &Env, args: &[&str]) -> String {
    let out = own.cmd(["artifact"]).args(args).limit(300).ok().out();
    out.trim_end().to_owned()
}

fn files_go_there_and_come_back(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let big: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    own.file("one.txt", "one\n");
    own.file("big", &big);
    own.file("nothing", "");
    let name = format!("{}/files/a:1", e.machine.registry);
    let push = |to: &str| {
        artifact(
            &own,
            &[
                "push",
                "-q",
                "--type",
                SBOM,
                "--annotation",
                "k=a=b",
                to,
                "one.txt:text/plain",
                "big",
                "nothing:application/json",
            ],
        )
    };
    let pushed = push(&name);
    let there = raw(&name);
    assert_eq!(pushed, digest(there.as_bytes()));
    let manifest: Value = serde_json::from_str(&there).unwrap();
    assert_eq!(manifest["artifactType"], SBOM);
    assert_eq!(manifest["annotations"], json!({ "k": "a=b" }));
    assert_eq!(
        manifest["config"],
        json!({ "mediaType": "application/vnd.oci.empty.v1+json", "digest": digest(b"{}"), "size": 2 })
    );
    assert_eq!(
        manifest["layers"][0],
        json!({
            "mediaType": "text/plain", "digest": digest(b"one\n"), "size": 4,
            "annotations": { "org.opencontainers.image.title": "one.txt" },
        })
    );
    // The same files make the same artifact, and by its digest it comes back.
    let again = format!("{}/files/b:2", e.machine.registry);
    assert_eq!(push(&again), pushed);
    let by_digest = format!("{}/files/b@{pushed}", e.machine.registry);
    let names = artifact(&own, &["pull", "-q", "-o", "back", &by_digest]);
    assert_eq!(names, "back/one.txt\nback/big\nback/nothing");
    assert_eq!(
        std::fs::read(own.dir.join("back/one.txt")).unwrap(),
        b"one\n"
    );
    assert!(std::fs::read(own.dir.join("back/big")).unwrap() == big);
    assert_eq!(std::fs::read(own.dir.join("back/nothing")).unwrap(), b"");
    let listed = artifact(
        &own,
        &[
            "ls",
            "--format",
            "{{.Name}} {{.MediaType}} {{.Size}}",
            &name,
        ],
    );
    assert_eq!(
        listed,
        "one.txt text/plain 4\nbig application/octet-stream 5000000\nnothing application/json 0"
    );
    let shown: Value = serde_json::from_str(&artifact(&own, &["inspect", &name])).unwrap();
    assert_eq!(
        (&shown["Digest"], &shown["Manifest"]),
        (&json!(pushed), &manifest)
    );
    // It can be copied as it is.
    let copied = format!("docker://{}/files/copied:1", e.machine.registry);
    own.cmd(["copy", "-q", &format!("docker://{name}"), &copied])
        .ok();
    assert_eq!(raw(copied.strip_prefix("docker://").unwrap()), there);
    // No store was made for any of this but for the copy.
    own.nothing_unfinished();
    Ok(())
}

fn what_refers_to_an_image_is_found(e: &Env) -> Done {
    e.need(Feature::Program("skopeo"))?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    let to = format!("{}/refers/app:1", e.machine.registry);
    let repository = to.strip_suffix(":1").unwrap();
    own.cmd(["push", "-q", &image, &to]).ok();
    assert_eq!(artifact(&own, &["referrers", "-q", &to]), "");
    own.file("bom.json", "{}\n");
    let mut pushed = Vec::new();
    for (kind, annotation) in [(SBOM, "n=1"), ("application/vnd.example.note", "n=2")] {
        pushed.push(artifact(
            &own,
            &[
                "push",
                "-q",
                "--type",
                kind,
                "-a",
                annotation,
                "--subject",
                &to,
                repository,
                "bom.json",
            ],
        ));
    }
    // Without files, for a subject by its digest, under a tag.
    let subject = digest(raw(&to).as_bytes());
    let tagged = format!("{repository}:note");
    pushed.push(artifact(
        &own,
        &["push", "-q", "--type", SBOM, "--subject", &subject, &tagged],
    ));
    let found = artifact(&own, &["referrers", "-q", &to]);
    let want: Vec<String> = pushed.iter().map(|d| format!("{repository}@{d}")).collect();
    assert_eq!(found.lines().collect::<Vec<_>>(), want);
    let some = artifact(
        &own,
        &[
            "discover",
            "--type",
            SBOM,
            "--format",
            "{{.Digest}} {{.Annotations.n}}",
            &to,
        ],
    );
    assert_eq!(some.lines().next().unwrap(), format!("{} 1", pushed[0]));
    assert_eq!(some.lines().count(), 2);
    // As the specification has it: an index under a tag, whose entries say what they are.
    let tag = format!(
        "{repository}:sha256-{}",
        subject.strip_prefix("sha256:").unwrap()
    );
    let account: Value = serde_json::from_str(&raw(&tag)).unwrap();
    assert_eq!(
        account["mediaType"],
        "application/vnd.oci.image.index.v1+json"
    );
    for (entry, digest_of) in account["manifests"].as_array().unwrap().iter().zip(&pushed) {
        let manifest = raw(&format!("{repository}@{digest_of}"));
        assert_eq!(entry["digest"], digest(manifest.as_bytes()));
        assert_eq!(entry["size"], manifest.len());
        let manifest: Value = serde_json::from_str(&manifest).unwrap();
        assert_eq!(manifest["subject"]["digest"], json!(subject));
        assert_eq!(manifest["artifactType"], entry["artifactType"]);
        assert_eq!(manifest.get("annotations"), entry.get("annotations"));
    }
    // The untagged ones have no tag but the account's.
    let tags = own.cmd(["tags", repository]).ok().out();
    assert_eq!(tags.lines().count(), 3, "{tags}");
    artifact(&own, &["pull", "-q", "-o", "bom", &want[0]]);
    assert_eq!(
        std::fs::read(own.dir.join("bom/bom.json")).unwrap(),
        b"{}\n"
    );
    Ok(())
}

fn an_artifact_is_no_image(e: &Env) -> Done {
    let own = e.with_own_store();
    own.file("f", "x");
    let name = format!("{}/files/no-image:1", e.machine.registry);
    artifact(&own, &["push", "-q", &name, "f"]);
    own.cmd(["pull", &name])
        .run()
        .fails_with(125, "not a container image");
    own.cmd(["run", "--rm", &name, "true"])
        .run()
        .fails_with(125, "not a container image");
    own.nothing_unfinished();
    let multi = own.machine.pushed("multi");
    own.cmd(["artifact", "pull", &multi])
        .run()
        .fails_with(125, "index");
    Ok(())
}

fn what_cannot_be_pushed(e: &Env) -> Done {
    let own = e.with_own_store();
    own.file("f", "x");
    own.subdir("d");
    own.file("odd\nname", "x");
    let image = own.machine.pushed("busybox");
    let to = format!("{}/files/none:1", e.machine.registry);
    let zeros = format!(
        "{}/files/none@sha256:{}",
        e.machine.registry,
        "0".repeat(64)
    );
    for (args, why) in [
        (&["push", &to][..], "--type"),
        (&["push", &to, "no-such-file"], "no-such-file"),
        (&["push", &to, "d"], "not a regular file"),
        (&["push", &to, "odd\nname"], "no name for one"),
        (&["push", &to, "f", "f"], "two files"),
        (&["push", "--type", "nonsense", &to, "f"], "media type"),
        (&["push", "--annotation", "x", &to, "f"], "KEY=VALUE"),
        (&["push", &zeros, "f"], "digest"),
        (
            &["push", "--subject", &image, &to, "f"],
            "not in the repository",
        ),
        (&["push", "--subject", &to, &to, "f"], "not there"),
        (&["pull", &to], "not there"),
        (&["referrers", "--type", "x", &to], "media type"),
    ] {
        own.cmd(["artifact"]).args(args).run().fails_with(125, why);
    }
    own.cmd(["tags", to.strip_suffix(":1").unwrap()])
        .run()
        .fails_with(125, "");
    Ok(())
}
