//! Containers that run and that were kept: `ps` and `rm`.

use rustix::process::Signal;

use crate::harness::{Done, Env};

suite!(
    namespaces_are_shown,
    a_container_is_listed_while_it_runs_and_after,
    a_removed_container_leaves_nothing,
    one_killed_with_coracle_is_not_running,
    what_has_ended_is_counted_and_pruned,
);

/// What `ps -a` says of the containers of a store.
fn listed(e: &Env, format: &str) -> String {
    e.cmd(["ps", "-a", "--format", format]).ok().out()
}

fn a_container_is_listed_while_it_runs_and_after(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let p = own
        .cmd(["run", "--name", "web", "--network=none", "-l", "a=b"])
        .args([
            image.as_str(),
            "sh",
            "-c",
            "trap 'exit 7' TERM; echo ready; sleep 600 & wait",
        ])
        .spawn();
    p.wait_for("ready");
    let all = "{{.Names}} {{.State}} {{.Image}} {{.Networks}} {{.Labels}} {{.ExitCode}}";
    let running = listed(&own, all);
    assert!(
        running.starts_with(&format!("web running {image} none ")),
        "{running}"
    );
    assert!(running.contains("a:b"), "{running}");
    own.cmd(["rm", "web"])
        .run()
        .code_is(2)
        .err_has("is running");
    p.signal(Signal::TERM);
    p.wait().code_is(7);
    let ended = listed(&own, all);
    assert!(
        ended.starts_with("web exited ") && ended.ends_with(" 7\n"),
        "{ended}"
    );
    assert_eq!(own.cmd(["ps", "-q"]).ok().out(), "");
    Ok(())
}

fn a_removed_container_leaves_nothing(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let script = "mkdir -p /a/b; echo x >/a/b/c; chmod 0 /a/b/c /a/b /a; exit 7";
    own.cmd(["run", "--network=none", image.as_str(), "sh", "-c", script])
        .run()
        .code_is(7);
    let status = listed(&own, "{{.Status}}");
    assert!(status.starts_with("Exited (7) "), "{status}");
    let name = listed(&own, "{{.Names}}");
    assert!(name.trim_end().split('_').count() == 2, "{name}");
    own.cmd(["rm", name.trim_end()])
        .run()
        .code_is(0)
        .out_is(&name);
    assert_eq!(listed(&own, "{{.ID}}"), "");
    for dir in ["containers", "containers/.names", "tmp"] {
        let left = std::fs::read_dir(own.root().join(dir)).unwrap().flatten();
        let left: Vec<_> = left
            .map(|f| f.file_name())
            .filter(|n| n != ".names")
            .collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    Ok(())
}

fn one_killed_with_coracle_is_not_running(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let p = own
        .cmd(["run", "--name", "lost", "--network=none"])
        .args([image.as_str(), "sh", "-c", "echo ready; sleep 600"])
        .spawn();
    p.wait_for("ready");
    p.signal(Signal::KILL);
    p.wait();
    crate::harness::wait_until("it is dead", || {
        listed(&own, "{{.Status}}") == "Exited (unknown)\n"
    });
    own.cmd(["rm", "lost"]).run().code_is(0);
    Ok(())
}

/// What one wrote counts although it shuts out its owner; what runs stays.
fn what_has_ended_is_counted_and_pruned(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let running = own
        .cmd(["run", "--name", "on", "--network=none"])
        .args([image.as_str(), "sh", "-c", "echo ready; sleep 600"])
        .spawn();
    running.wait_for("ready");
    let script = "mkdir /a; head -c 5000 /dev/zero >/a/b; chmod 0 /a/b /a";
    let args = [
        "run",
        "--name",
        "off",
        "--network=none",
        image.as_str(),
        "sh",
        "-c",
        script,
    ];
    own.cmd(args).ok();
    let df = [
        "system",
        "df",
        "--format",
        "{{.Type}} {{.Total}} {{.Active}} {{.RawReclaimable}}",
    ];
    let said = own.cmd(df).ok().out();
    assert!(
        said.contains("Images 1 1 0\nContainers 2 1 5000\n"),
        "{said}"
    );
    let pruned = own.cmd(["container", "prune", "-f"]).ok().out();
    let lines: Vec<&str> = pruned.lines().collect();
    assert_eq!(lines.len(), 2, "{pruned}");
    assert_eq!(lines[1], "Total reclaimed space: 5kB");
    assert_eq!(listed(&own, "{{.Names}}"), "on\n");
    // Nor does its image go.
    let none = own.cmd(["system", "prune", "-af"]).ok().out();
    assert_eq!(none, "Total reclaimed space: 0B\n");
    own.cmd(["system", "check"]).ok();
    own.cmd(["container", "exists", "on"]).ok();
    running.signal(Signal::TERM);
    running.signal(Signal::KILL);
    Ok(())
}

fn namespaces_are_shown(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let run = |name: &str, options: &[&str]| {
        own.cmd(["run", "-d", "--network=none", "--name", name])
            .args(options)
            .args([
                image.as_str(),
                "sh",
                "-c",
                "readlink /proc/self/ns/net; sleep 600",
            ])
            .ok();
    };
    run("a", &[]);
    run("b", &["--rm", "--uts=host"]);
    own.cmd(["create", "--name=c", &image]).ok();
    let net = own
        .cmd(["exec", "a", "readlink", "/proc/self/ns/net"])
        .ok()
        .out();
    let of = |name: &str, format: &str| {
        let filter = format!("name=^{name}$");
        let args = ["ps", "-a", "--ns", "--filter", &filter, "--format", format];
        own.cmd(args).ok().out().trim_end().to_owned()
    };
    assert_eq!(net, format!("net:[{}]\n", of("a", "{{.NET}}")));
    let host = own
        .user(["/usr/bin/readlink", "/proc/self/ns/uts"])
        .ok()
        .out();
    assert_eq!(host, format!("uts:[{}]\n", of("b", "{{.UTS}}")));
    for key in ["CGROUPNS", "IPC", "MNT", "PIDNS", "USERNS"] {
        let format = format!("{{{{.{key}}}}}");
        let (a, b) = (of("a", &format), of("b", &format));
        assert!(a != b && a.parse::<u64>().is_ok(), "{key}: {a} {b}");
        assert_eq!(of("c", &format), "", "{key}");
    }
    let json: serde_json::Value = serde_json::from_str(&of("a", "json")).unwrap();
    let keys = json[0]["Namespaces"].as_object().unwrap();
    let keys: Vec<&str> = keys.keys().map(String::as_str).collect();
    assert_eq!(
        keys,
        ["Cgroup", "Ipc", "Mnt", "Net", "Pidns", "User", "Uts"]
    );
    let table = own.cmd(["ps", "-a", "--ns"]).ok().out();
    let heading = table.lines().next().unwrap().split_whitespace();
    assert_eq!(
        heading.skip(2).collect::<Vec<_>>().join(" "),
        "NAMES PID CGROUPNS IPC MNT NET PIDNS USERNS UTS"
    );
    assert_eq!(table.lines().count(), 4);
    // Not asked for, they are not looked for.
    own.cmd(["ps", "--format={{.NET}}"]).ok().out_is("\n\n");
    own.cmd(["ps", "--ns", "--size"]).run().code_is(125);
    own.cmd(["rm", "-fa"]).ok();
    Ok(())
}
