//! `coracle-oci` as root of the machine: several ids, devices, control groups.

use serde_json::{Value, json};

use crate::harness::{Bundle, Done, Env, Feature, Skip, wait_until};

suite!(
    roots_containers_have_no_user_namespace,
    users_and_groups,
    several_ids_are_mapped,
    devices_are_made_and_guarded,
    groups_are_made_and_removed,
    id_mapped_mounts,
    propagation,
);

fn roots_containers_have_no_user_namespace(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let b = Bundle::of_root(e, "b");
    b.script(
        "id -u; tr -s ' ' </proc/self/uid_map; grep CapEff /proc/self/status",
        |_| {},
    );
    let outer = std::fs::read_to_string("/proc/self/uid_map").unwrap();
    let outer = outer.split_whitespace().collect::<Vec<_>>().join(" ");
    b.run()
        .code_is(0)
        .out_is(&format!("0\n {outer}\nCapEff:\t0000000020000420\n"));
    b.nothing_left();
    Ok(())
}

fn users_and_groups(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let b = Bundle::of_root(e, "b");
    b.script(
        "id -u; id -g; id -G; grep Cap /proc/self/status | cut -f2 | sort -u; echo x >/dev/stdout",
        |c| {
            c["process"]["user"] = json!({ "uid": 5, "gid": 6, "additionalGids": [7, 8] });
        },
    );
    b.run()
        .code_is(0)
        .out_is("5\n6\n6 7 8\n0000000000000000\n0000000020000420\nx\n");
    b.script("sleep 1000", |c| {
        c["process"]["user"] = json!({ "uid": 5, "gid": 6 })
    });
    assert_eq!(b.detached(["run", "-d", "c"]), (0, String::new()));
    b.cmd(["exec", "c", "id", "-u"]).ok().out_is("5\n");
    b.cmd([
        "exec",
        "-u",
        "9:10",
        "-g",
        "11",
        "c",
        "sh",
        "-c",
        "id -u; id -G",
    ])
    .ok()
    .out_is("9\n10 11\n");
    b.cmd(["delete", "-f", "c"]).ok();
    Ok(())
}

fn several_ids_are_mapped(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let b = Bundle::of_root(e, "b");
    let user = |c: &mut Value| {
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "user" }));
        let map = json!([{ "containerID": 0, "hostID": 200_000, "size": 1000 }, { "containerID": 1000, "hostID": 300_000, "size": 5 }]);
        c["linux"]["uidMappings"] = map.clone();
        c["linux"]["gidMappings"] = map;
    };
    super::harness::Cmd::host(["chown", "-R", "200000:200000"])
        .arg(b.dir.join("rootfs"))
        .ok();
    b.script("id -u; id -G; tr -s ' ' </proc/self/uid_map; touch /tmp/of-mine; ls /dev | wc -l", |c| {
        user(c);
        c["process"]["user"] = json!({ "uid": 1003, "gid": 4, "additionalGids": [5] });
        c["mounts"].as_array_mut().unwrap().push(
            json!({ "destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["mode=1777"] }),
        );
    });
    b.run()
        .code_is(0)
        .out_has("1003\n4 5\n 0 200000 1000\n 1000 300000 5\n");
    b.script("sleep 1000", user);
    assert_eq!(b.detached(["run", "-d", "c"]), (0, String::new()));
    b.cmd(["exec", "-u", "1004:3", "c", "id"])
        .ok()
        .out_has("uid=1004 gid=3");
    b.cmd(["exec", "c", "sh", "-c", "id -u; touch /made"])
        .ok()
        .out_is("0\n");
    let made = std::fs::metadata(b.dir.join("rootfs/made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), 200_000);
    b.cmd(["delete", "-f", "c"]).ok();
    b.script("id", |c| {
        user(c);
        c["process"]["user"]["uid"] = json!(1005);
    });
    b.run().fails_with(1, "does not map");
    Ok(())
}

/// Whether version 2 of control groups is there to be written to.
fn groups(e: &Env) -> Result<std::path::PathBuf, Skip> {
    e.need(Feature::Root)?;
    ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"]
        .into_iter()
        .map(std::path::PathBuf::from)
        .find(|p| p.join("cgroup.procs").exists())
        .ok_or_else(|| Skip("no control groups of version 2".to_owned()))
}

fn devices_are_made_and_guarded(e: &Env) -> Done {
    groups(e)?;
    let b = Bundle::of_root(e, "b");
    let rules = json!([
        { "allow": false, "access": "rwm" },
        { "allow": true, "type": "c", "major": 1, "minor": 11, "access": "r" },
    ]);
    // A node of any kind can be made; opened are those that the rules name.
    let script = "ls -l /dev/log-of | tr -s ' ' | cut -d' ' -f1-6; mknod /tmp/disk b 254 0 && echo made; \
                  head -c 1 /tmp/disk >/dev/null || echo guarded; mknod /tmp/null c 1 3; echo x >/tmp/null && echo usual; \
                  mknod /tmp/kmsg c 1 11; sh -c ': <>/tmp/kmsg' || echo not for writing";
    b.script(script, |c| {
        c["linux"]["resources"] = json!({ "devices": rules });
        c["linux"]["devices"] =
            json!([{ "type": "c", "path": "/dev/log-of", "major": 1, "minor": 11, "fileMode": 0o640, "uid": 3, "gid": 4 }]);
        for set in ["bounding", "effective", "permitted"] {
            c["process"]["capabilities"][set] = json!(["CAP_MKNOD", "CAP_DAC_OVERRIDE"]);
        }
    });
    let out = b.run().code_is(0);
    assert!(
        out.out()
            .starts_with("crw-r----- 1 3 4 1, 11\nmade\nguarded\nusual\n"),
        "{out:?}"
    );
    assert!(out.out().ends_with("not for writing\n"), "{out:?}");
    b.cmd(["--cgroup-manager", "disabled", "run", "c"])
        .run()
        .code_is(0);
    Ok(())
}

fn groups_are_made_and_removed(e: &Env) -> Done {
    let top = groups(e)?;
    let name = format!("coracle-e2e-{}", std::process::id());
    let b = Bundle::of_root(e, "b");
    b.script("sleep 1000 & sleep 1000; true", |c| {
        c["linux"]["cgroupsPath"] = json!(format!("/{name}/deep/er"));
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .retain(|n| n["type"] != "pid");
    });
    assert_eq!(b.detached(["run", "-d", "c"]), (0, String::new()));
    let group = top.join(&name).join("deep/er");
    let count = || {
        std::fs::read_to_string(group.join("cgroup.procs"))
            .unwrap_or_default()
            .lines()
            .count()
    };
    wait_until("both run", || count() == 3);
    b.cmd(["exec", "c", "sh", "-c", "grep 0:: /proc/self/cgroup"])
        .ok()
        .out_is("0::/\n");
    b.cmd(["ps", "-f", "json", "c"]).ok();
    b.cmd(["pause", "c"]).ok();
    assert_eq!(b.status("c"), "paused");
    b.cmd(["pause", "c"]).run().fails_with(1, "it is paused");
    b.cmd(["exec", "c", "true"])
        .run()
        .fails_with(255, "it is paused");
    b.cmd(["resume", "c"]).ok();
    assert_eq!(b.status("c"), "running");
    let events: Value =
        serde_json::from_slice(&b.cmd(["events", "--stats", "c"]).ok().stdout).unwrap();
    assert_eq!(events["id"], "c");
    assert!(
        events["data"]["cpu"]["usage"]["total"].as_u64().unwrap() > 0,
        "{events}"
    );
    b.cmd(["pause", "c"]).ok();
    b.cmd(["delete", "--force", "c"]).ok();
    assert!(
        !top.join(&name).exists(),
        "the groups are gone, with those above that were made"
    );
    Ok(())
}

fn id_mapped_mounts(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let b = Bundle::of_root(e, "b");
    let host = e.subdir("host");
    std::fs::write(host.join("file"), "x").unwrap();
    std::os::unix::fs::chown(host.join("file"), Some(4000), Some(4001)).unwrap();
    b.script("stat -c %u:%g /in/file", |c| {
        c["mounts"].as_array_mut().unwrap().push(json!({
            "destination": "/in", "type": "bind", "source": host, "options": ["bind", "idmap"],
            "uidMappings": [{ "containerID": 4000, "hostID": 12, "size": 1 }],
            "gidMappings": [{ "containerID": 4001, "hostID": 13, "size": 1 }],
        }));
    });
    b.run().code_is(0).out_is("12:13\n");
    Ok(())
}

fn propagation(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let b = Bundle::of_root(e, "b");
    for (word, want) in [
        ("private", ""),
        ("slave", "master:"),
        ("shared", "shared:"),
        ("unbindable", "unbindable"),
    ] {
        b.script(
            "grep ' / / ' /proc/self/mountinfo || grep ' / ' /proc/self/mountinfo | head -1",
            |c| {
                c["linux"]["rootfsPropagation"] = json!(word);
            },
        );
        let out = b.run().code_is(0).out();
        if word == "private" {
            assert!(
                !out.contains("shared:") && !out.contains("unbindable"),
                "{word}: {out}"
            );
        } else if word != "slave" {
            assert!(out.contains(want), "{word}: {out}");
        }
    }
    Ok(())
}
