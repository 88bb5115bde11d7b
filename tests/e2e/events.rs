//! `events`, and what `generate systemd` and `port` make of a container.

use crate::harness::{Done, Env, Feature};

suite!(
    a_life_is_told_from_create_to_remove,
    images_are_told_of_too,
    who_waits_is_told_at_once,
    a_unit_starts_the_container_or_a_new_one,
    systemd_takes_the_unit,
    no_port_is_published,
);

fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

fn told(e: &Env, args: &[&str]) -> String {
    e.cmd(["events", "--stream=false"]).args(args).ok().out()
}

fn a_life_is_told_from_create_to_remove(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd([
        "run",
        "-d",
        "--name=c",
        "--network=none",
        "-l",
        "a=b",
        &image,
    ])
    .args(["sh", "-c", "trap 'exit 3' TERM; sleep 1000 & wait"])
    .ok();
    own.cmd(["pause", "c"]).ok();
    own.cmd(["unpause", "c"]).ok();
    own.cmd(["rename", "c", "d"]).ok();
    own.cmd(["stop", "-t", "20", "d"]).ok();
    own.cmd(["rm", "d"]).ok();
    own.cmd(["run", "--rm", "--network=none", &image, "true"])
        .ok();
    let short = "{{.Type}} {{.Status}} {{.Name}}";
    let filter = ["--filter=type=container", "--format", short];
    assert_eq!(
        told(&own, &filter),
        "container create c\ncontainer start c\ncontainer pause c\ncontainer unpause c\n\
         container rename d\ncontainer died c\ncontainer stop d\ncontainer remove d\n"
    );
    let died = [
        "--filter=event=die",
        "--format",
        "{{.Action}} {{.Actor.Attributes.exitCode}} {{.Actor.Attributes.a}}",
    ];
    assert_eq!(told(&own, &died), "die 3 b\n");
    let json = told(&own, &["--filter=event=create", "--format=json"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["Image"], image.as_str());
    assert_eq!(json["Attributes"]["name"], "c");
    let plain = told(&own, &["--filter=container=c", "--filter=event=start"]);
    assert!(
        plain.contains(" container start ") && plain.contains(", name=c"),
        "{plain}"
    );
    assert_eq!(told(&own, &["--until=1h"]), "");
    Ok(())
}

fn images_are_told_of_too(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd(["tag", &image, "localhost/other"]).ok();
    own.cmd(["untag", &image, "localhost/other"]).ok();
    let words = [
        "--filter=image=localhost/other",
        "--format",
        "{{.Status}} {{.Name}}",
    ];
    assert_eq!(
        told(&own, &words),
        "tag localhost/other:latest\nuntag localhost/other:latest\n"
    );
    own.cmd(["volume", "create", "data"]).ok();
    own.cmd(["volume", "rm", "data"]).ok();
    let volumes = [
        "--filter=volume=data",
        "--format",
        "{{.Type}} {{.Action}} {{.ID}}",
    ];
    assert_eq!(
        told(&own, &volumes),
        "volume create data\nvolume destroy data\n"
    );
    own.cmd(["rmi", &image]).ok();
    let last = told(&own, &["--format", "{{.Type}} {{.Action}}"]);
    assert!(last.ends_with("image untag\nimage delete\n"), "{last}");
    Ok(())
}

fn who_waits_is_told_at_once(e: &Env) -> Done {
    let (own, image) = own(e);
    let wait = own.cmd([
        "events",
        "--filter=event=tag",
        "--format={{.Name}}",
        "--until",
    ]);
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(60);
    let wait = wait.arg(until.to_string()).spawn();
    own.cmd(["tag", &image, "localhost/one"]).ok();
    wait.wait_for("localhost/one:latest\n");
    own.cmd(["tag", &image, "localhost/two"]).ok();
    wait.wait_for("localhost/two:latest\n");
    wait.signal(rustix::process::Signal::TERM);
    assert_eq!(wait.wait().killed_by(), Some(15));
    Ok(())
}

fn a_unit_starts_the_container_or_a_new_one(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd([
        "create",
        "--name=c",
        "--network=none",
        "-e",
        "A=$x 100%",
        "-t",
    ])
    .args([&image, "sh", "-c", "echo \"$A\""])
    .ok();
    let unit = own.cmd(["generate", "systemd", "--name", "c"]).ok().out();
    assert!(unit.contains(" start --attach c\n"), "{unit}");
    let dir = e.subdir("units");
    let path = own
        .cmd(["generate", "systemd", "-n", "--new", "-f", "c"])
        .cwd(&dir)
        .ok()
        .out();
    let path = path.trim();
    assert!(path.ends_with("/container-c.service"), "{path}");
    let unit = std::fs::read_to_string(path).unwrap();
    let line = unit
        .lines()
        .find_map(|l| l.strip_prefix("ExecStart="))
        .unwrap();
    assert!(
        line.ends_with(&format!(
            " run --rm --network=none -e \"A=$$x 100%%\" -t --name c {image} sh -c \"echo \\\"$$A\\\"\""
        )) || line.contains("--name=c"),
        "{line}"
    );
    own.cmd(["generate", "systemd", "nobody"])
        .run()
        .code_is(125);
    Ok(())
}

/// Of what is written above it, the one judge.
fn systemd_takes_the_unit(e: &Env) -> Done {
    e.need(Feature::Program("systemd-analyze"))?;
    let (own, image) = own(e);
    own.cmd([
        "create",
        "--name=c",
        "--network=none",
        "-e",
        "A=$x 100% \"q\" ; \\",
        &image,
        "true",
    ])
    .ok();
    let dir = e.subdir("units");
    for new in [&[][..], &["--new"]] {
        own.cmd(["generate", "systemd", "-n", "-f", "c"])
            .args(new)
            .cwd(&dir)
            .ok();
        let verified = e
            .user(["/usr/bin/systemd-analyze", "--user", "--man=no", "verify"])
            .arg(dir.join("container-c.service"))
            .run();
        assert!(
            !verified.err().contains("container-c.service:"),
            "{verified:?}"
        );
    }
    Ok(())
}

fn no_port_is_published(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd(["create", "--name=c", "--network=none", &image, "true"])
        .ok();
    own.cmd(["port", "c"]).ok().out_is("");
    own.cmd(["port", "c", "80"])
        .run()
        .code_is(125)
        .err_has("80/tcp");
    own.cmd(["port", "nobody"]).run().code_is(125);
    Ok(())
}
