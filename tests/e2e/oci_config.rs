//! What `coracle-oci` makes of a config.json, for an ordinary user: runtime-spec, config.md and config-linux.md.

use serde_json::{Value, json};

use crate::harness::{Bundle, Cmd, Done, Env, wait_until};

suite!(
    any_version_of_the_first_and_unknown_properties,
    configurations_that_are_none,
    an_ordinary_user_is_root_inside,
    one_id_is_mapped_and_no_more,
    process_properties,
    capabilities,
    mounts,
    recursive_attributes,
    a_tmpfs_can_begin_with_what_it_covers,
    masked_and_read_only_paths,
    devices_are_bound,
    sysctls_of_own_namespaces,
    namespaces_by_path,
    time_namespace,
    seccomp,
    seccomp_listener,
    limits_without_a_group_are_refused,
    what_cannot_be_honoured_is_refused,
);

fn any_version_of_the_first_and_unknown_properties(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    for version in ["1.0.0", "1.0.2-dev", "1.3.0", "1.99.1"] {
        b.script("echo ok", |c| {
            c["ociVersion"] = json!(version);
            c["future"] = json!({ "a": 1 });
            c["process"]["future"] = json!(1);
            c["linux"]["future"] = json!([]);
            c["hooks"] = json!(null);
            c["linux"]["seccomp"] = json!(null);
        });
        assert_eq!(b.out(), "ok\n");
    }
    Ok(())
}

fn configurations_that_are_none(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let refused = |why: &str, change: &dyn Fn(&mut Value)| {
        b.script("true", |c| change(c));
        b.run().fails_with(1, why);
        b.nothing_left();
    };
    refused("ociVersion", &|c| c["ociVersion"] = json!("2.0.0"));
    refused("no process", &|c| c["process"] = json!(null));
    refused("no root", &|c| c["root"] = json!(null));
    refused("not an absolute path", &|c| {
        c["process"]["cwd"] = json!("tmp")
    });
    refused("CAP_FLY", &|c| {
        c["process"]["capabilities"]["bounding"] = json!(["CAP_FLY"])
    });
    refused("RLIMIT_FLY", &|c| {
        c["process"]["rlimits"] = json!([{ "type": "RLIMIT_FLY", "soft": 1, "hard": 1 }]);
    });
    refused("twice", &|c| {
        let one = json!({ "type": "RLIMIT_CORE", "soft": 0, "hard": 0 });
        c["process"]["rlimits"] = json!([one, one]);
    });
    refused("twice", &|c| {
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "pid" }));
    });
    refused("\"fly\"", &|c| {
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "fly" }));
    });
    refused("rootfsPropagation", &|c| {
        c["linux"]["rootfsPropagation"] = json!("fly")
    });
    refused("no such file", &|c| {
        c["root"]["path"] = json!("no-such-root")
    });
    std::fs::write(b.dir.join("config.json"), "{").unwrap();
    b.run().fails_with(1, "not valid");
    std::fs::remove_file(b.dir.join("config.json")).unwrap();
    b.run().fails_with(1, "config.json");
    Ok(())
}

fn an_ordinary_user_is_root_inside(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script(
        "id -u; id -g; cat /proc/self/uid_map | tr -s ' '; touch /made",
        |_| {},
    );
    assert_eq!(b.out(), format!("0\n0\n 0 {} 1\n", e.machine.uid));
    let made = std::fs::metadata(b.dir.join("rootfs/made")).unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::uid(&made), e.machine.uid);
    Ok(())
}

fn one_id_is_mapped_and_no_more(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let map = |inside: u32, outside: u32, size: u32| json!([{ "containerID": inside, "hostID": outside, "size": size }]);
    let own = |c: &mut Value, inside: u32, size: u32| {
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "user" }));
        c["linux"]["uidMappings"] = map(inside, e.machine.uid, size);
        c["linux"]["gidMappings"] = map(inside, e.machine.gid, size);
    };
    b.script("id -u; id -g", |c| {
        own(c, 33, 1);
        c["process"]["user"] = json!({ "uid": 33, "gid": 33 });
    });
    assert_eq!(b.out(), "33\n33\n");
    b.script("id", |c| own(c, 0, 65536));
    b.run().fails_with(1, "there is one");
    b.script("id", |c| c["process"]["user"]["uid"] = json!(5));
    b.run().fails_with(1, "does not map");
    b.script("id", |c| {
        c["process"]["user"]["additionalGids"] = json!([5])
    });
    b.run().fails_with(1, "group 5");
    Ok(())
}

fn process_properties(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let script = "pwd; umask; ulimit -n; ulimit -Hn; echo $A; cat /proc/self/oom_score_adj; \
                  grep NoNewPrivs /proc/self/status; cat /proc/sys/kernel/domainname; env | grep HOME";
    b.script(script, |c| {
        let p = &mut c["process"];
        p["cwd"] = json!("/new/directory");
        p["user"]["umask"] = json!(0o27);
        p["rlimits"] = json!([{ "type": "RLIMIT_NOFILE", "soft": 100, "hard": 200 }]);
        p["env"] = json!(["PATH=/bin", "A=b c"]);
        p["oomScoreAdj"] = json!(500);
        p["noNewPrivileges"] = json!(true);
        p["ioPriority"] = json!({ "class": "IOPRIO_CLASS_IDLE", "priority": 0 });
        p["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        c["domainname"] = json!("example");
        c["linux"]["personality"] = json!({ "domain": "LINUX32" });
    });
    assert_eq!(
        b.out(),
        "/new/directory\n0027\n100\n200\nb c\n500\nNoNewPrivs:\t1\nexample\nHOME=/root\n"
    );
    b.script("cut -d' ' -f19,41 /proc/self/stat; uname -m", |c| {
        c["process"]["scheduler"] = json!({ "policy": "SCHED_BATCH", "nice": 5 });
        c["linux"]["personality"] = json!({ "domain": "LINUX32" });
    });
    let machine = if cfg!(target_arch = "x86_64") {
        "i686"
    } else {
        "armv8l"
    };
    assert_eq!(b.out(), format!("5 3\n{machine}\n"));
    Ok(())
}

fn capabilities(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("grep Cap /proc/self/status", |c| {
        c["process"]["user"] = json!({ "uid": 5, "gid": 5 });
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "user" }));
        let map = |id: u32| json!([{ "containerID": 5, "hostID": id, "size": 1 }]);
        c["linux"]["uidMappings"] = map(e.machine.uid);
        c["linux"]["gidMappings"] = map(e.machine.gid);
        c["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "effective": ["CAP_KILL"],
            "ambient": ["CAP_KILL", "CAP_CHOWN"],
        });
    });
    // After exec of a file without capabilities: what is ambient.
    assert_eq!(
        b.out(),
        "CapInh:\t0000000000000020\nCapPrm:\t0000000000000020\nCapEff:\t0000000000000020\n\
         CapBnd:\t0000000000002021\nCapAmb:\t0000000000000020\n"
    );
    b.script("grep -c 0000000000000000 /proc/self/status", |c| {
        c["process"]["capabilities"] = json!(null);
    });
    assert!(b.out().trim().parse::<u32>().unwrap() >= 5);
    Ok(())
}

/// One more mount.
fn add(c: &mut Value, mount: Value) {
    c["mounts"].as_array_mut().unwrap().push(mount);
}

fn mounts(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let host = e.subdir("host");
    std::fs::write(host.join("file"), "from outside\n").unwrap();
    let script = "cat /in/file; echo x >/in/new; cat /in/new; echo x >/ro/file || echo refused; \
                  cat /one; grep ' /t ' /proc/self/mountinfo | cut -d' ' -f6; ls /rel; echo x >/root-is || echo read-only";
    b.script(script, |c| {
        c["root"]["readonly"] = json!(true);
        add(c, json!({ "destination": "/in", "type": "bind", "source": host, "options": ["rbind", "rw", "rprivate"] }));
        add(c, json!({ "destination": "/ro", "source": host, "options": ["bind", "ro", "nosuid"] }));
        add(c, json!({ "destination": "/one", "type": "none", "source": host.join("file"), "options": ["bind"] }));
        add(c, json!({ "destination": "/t", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec", "size=64k"] }));
        add(c, json!({ "destination": "/rel", "type": "bind", "source": "../host", "options": ["bind"] }));
    });
    // Places are made before the root becomes read-only.
    assert_eq!(
        b.out(),
        "from outside\nx\nrefused\nfrom outside\nrw,nosuid,noexec,relatime\nfile\nnew\nread-only\n"
    );
    b.script("true", |c| add(c, json!({ "destination": "/x", "type": "bind", "source": "/no/such", "options": ["bind"] })));
    b.run().fails_with(1, "/no/such");
    b.script("true", |c| {
        add(
            c,
            json!({ "destination": "/x", "type": "nofs", "source": "x" }),
        )
    });
    b.run().fails_with(1, "No such device");
    // Through links of the root file system the way stays inside.
    std::os::unix::fs::symlink("/../../../../etc", b.dir.join("rootfs/away")).unwrap();
    b.script("cat /etc/deep/file", |c| {
        add(c, json!({ "destination": "/away/deep", "type": "bind", "source": host, "options": ["bind"] }));
    });
    assert_eq!(b.out(), "from outside\n");
    Ok(())
}

fn recursive_attributes(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let below = |options: &[&str]| {
        // A tree of two mounts: the second is a tmpfs of the container's own.
        b.script("echo x >/again/t/new && echo written || echo refused", |c| {
            add(c, json!({ "destination": "/tree/t", "type": "tmpfs", "source": "tmpfs" }));
            let source = b.dir.join("rootfs/tree");
            add(c, json!({ "destination": "/again", "type": "bind", "source": source, "options": options }));
        });
        b.out()
    };
    assert_eq!(below(&["rbind"]), "written\n");
    assert_eq!(
        below(&["rbind", "ro"]),
        "written\n",
        "of the first mount alone"
    );
    assert_eq!(below(&["rbind", "rro"]), "refused\n");
    assert_eq!(below(&["rbind", "ro", "rrw"]), "written\n");
    Ok(())
}

fn a_tmpfs_can_begin_with_what_it_covers(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let tree = b.dir.join("rootfs/data");
    std::fs::create_dir_all(tree.join("deep/er")).unwrap();
    std::fs::write(tree.join("deep/er/file"), "content\n").unwrap();
    std::os::unix::fs::symlink("../elsewhere", tree.join("link")).unwrap();
    b.script("cat /data/deep/er/file; readlink /data/link; echo x >/data/deep/er/file; cat /data/deep/er/file", |c| {
        let options = ["tmpcopyup", "size=1m", "mode=755"];
        add(c, json!({ "destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": options }));
    });
    assert_eq!(b.out(), "content\n../elsewhere\nx\n");
    assert_eq!(
        std::fs::read_to_string(tree.join("deep/er/file")).unwrap(),
        "content\n"
    );
    Ok(())
}

fn masked_and_read_only_paths(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    std::fs::create_dir(b.dir.join("rootfs/secret")).unwrap();
    std::fs::write(b.dir.join("rootfs/secret/file"), "x").unwrap();
    std::fs::write(b.dir.join("rootfs/hidden"), "x").unwrap();
    let script = "ls /secret | wc -l; wc -c </hidden; touch /secret/new || echo no; \
                  echo x >/fixed/new || echo fixed; ls /proc/acpi 2>/dev/null | wc -l";
    b.script(script, |c| {
        c["linux"]["maskedPaths"] = json!(["/secret", "/hidden", "/not-there", "/proc/acpi"]);
        c["linux"]["readonlyPaths"] = json!(["/fixed", "/not-there"]);
        add(
            c,
            json!({ "destination": "/fixed", "type": "tmpfs", "source": "tmpfs" }),
        );
    });
    assert_eq!(b.out(), "0\n0\nno\nfixed\n0\n");
    b.script("true", |c| c["linux"]["maskedPaths"] = json!(["relative"]));
    b.run().fails_with(1, "not absolute");
    Ok(())
}

fn devices_are_bound(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let script = "for d in null zero full random urandom tty; do test -c /dev/$d || echo no $d; done; \
                  echo x >/dev/null; head -c 3 /dev/zero | wc -c; for l in fd stdout ptmx; do readlink /dev/$l; done; \
                  ls -l /dev/mine | tr -s ' ' | cut -d' ' -f5-6; test -p /dev/pipe && echo pipe";
    b.script(script, |c| {
        c["linux"]["devices"] = json!([
            { "type": "c", "path": "/dev/mine", "major": 1, "minor": 7 },
            { "type": "p", "path": "/dev/pipe" },
        ]);
    });
    let by_number = std::path::Path::new("/dev/char/1:7").exists();
    if by_number {
        assert_eq!(
            b.out(),
            "3\n/proc/self/fd\n/proc/self/fd/1\npts/ptmx\n1, 7\npipe\n"
        );
    } else {
        b.run().fails_with(1, "/dev/mine");
        b.script(script, |c| {
            c["linux"]["devices"] = json!([{ "type": "p", "path": "/dev/pipe" }])
        });
        b.run()
            .out_has("3\n/proc/self/fd\n/proc/self/fd/1\npts/ptmx\n")
            .out_has("pipe\n");
    }
    // Of the caller's own /dev nothing is changed.
    let own = e.subdir("own-dev");
    b.script("ls /dev", |c| {
        c["mounts"] =
            json!([{ "destination": "/dev", "type": "bind", "source": own, "options": ["bind"] }]);
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    assert_eq!(b.out(), "");
    Ok(())
}

fn sysctls_of_own_namespaces(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script(
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced",
        |c| {
            c["linux"]["sysctl"] =
                json!({ "net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1" });
        },
    );
    assert_eq!(b.out(), "1\n1\n");
    b.script("true", |c| {
        c["linux"]["sysctl"] = json!({ "kernel.core_pattern": "|/bin/evil" })
    });
    b.run().fails_with(1, "kernel.core_pattern");
    Ok(())
}

fn namespaces_by_path(e: &Env) -> Done {
    let a = Bundle::new(e, "a");
    a.script("hostname; sleep 1000", |c| {
        c["hostname"] = json!("first");
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "user" }));
    });
    assert_eq!(a.detached(["run", "-d", "a"]).0, 0);
    wait_until("it runs", || a.printed() == "first\n");
    let pid = a.state("a")["pid"].as_i64().unwrap();
    let b = Bundle::new(e, "b");
    let script = "hostname; ps | grep -c '[s]leep 1000'; for n in user pid net ipc uts; do stat -L -c %i /proc/self/ns/$n; done";
    b.script(script, |c| {
        c["hostname"] = json!(null);
        let path = |kind: &str, file: &str| json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") });
        c["linux"]["namespaces"] = json!([
            path("user", "user"), path("pid", "pid"), path("network", "net"), path("ipc", "ipc"), path("uts", "uts"),
            { "type": "mount" }, { "type": "cgroup" },
        ]);
    });
    let inode = |n: &str| {
        let link = std::fs::read_link(format!("/proc/{pid}/ns/{n}")).unwrap();
        let link = link.to_str().unwrap().to_owned();
        link[link.find('[').unwrap() + 1..link.len() - 1].to_owned()
    };
    let mut want = String::from("first\n1\n");
    for n in ["user", "pid", "net", "ipc", "uts"] {
        want.push_str(&inode(n));
        want.push('\n');
    }
    assert_eq!(b.out(), want);
    // What is joined has to be there, and to be what it is called.
    b.script("true", |c| {
        c["linux"]["namespaces"] =
            json!([{ "type": "mount" }, { "type": "network", "path": "/no/such" }]);
        c["hostname"] = json!(null);
    });
    b.run().fails_with(1, "/no/such");
    b.script("true", |c| {
        c["linux"]["namespaces"] =
            json!([{ "type": "mount" }, { "type": "network", "path": format!("/proc/{pid}/ns/uts") }]);
        c["hostname"] = json!(null);
    });
    b.run().fails_with(1, "/ns/uts");
    a.cmd(["delete", "-f", "a"]).ok();
    Ok(())
}

fn time_namespace(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("cut -d. -f1 /proc/uptime", |c| {
        c["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({ "type": "time" }));
        c["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1_000_000_000, "nanosecs": 5 } });
    });
    assert!(b.out().trim().parse::<u64>().unwrap() > 1_000_000_000);
    b.script("true", |c| {
        c["linux"]["timeOffsets"] = json!({ "boottime": { "secs": 1 } })
    });
    b.run().fails_with(1, "no new time namespace");
    Ok(())
}

fn seccomp(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    for nnp in [true, false] {
        b.script("mkdir /x && echo made; mkdir /y || echo refused; uname", |c| {
            c["process"]["noNewPrivileges"] = json!(nnp);
            c["linux"]["seccomp"] = json!({
                "defaultAction": "SCMP_ACT_ALLOW",
                "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
                "syscalls": [{ "names": ["mkdir", "mkdirat", "no_such_call"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95 }],
            });
        });
        let out = b.run().code_is(0).out_is("refused\nLinux\n");
        assert!(
            out.err().contains("Not supported") || out.err().contains("not supported"),
            "{out:?}"
        );
    }
    b.script("true", |c| {
        c["linux"]["seccomp"] = json!({ "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{ "names": ["mkdir"], "action": "SCMP_ACT_NOTIFY" }] });
    });
    b.run().fails_with(1, "listener");
    Ok(())
}

/// Listens at `agent`, takes a listener, and answers its first notification with an errno.
const AGENT: &str = r#"
import fcntl, json, os, socket, struct, subprocess, sys
s = socket.socket(socket.AF_UNIX); s.bind("agent"); s.listen(); os.chmod("agent", 0o666)
p = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
c, _ = s.accept()
text, fds, _, _ = socket.recv_fds(c, 65536, 4)
told = json.loads(text)
assert len(fds) == 1 and told["fds"] == ["seccompFd"], told
assert told["metadata"] == "for the agent" and told["state"]["id"] == "c" and told["pid"] > 0, told
buf = bytearray(80)
fcntl.ioctl(fds[0], 0xc0502100, buf)
id = struct.unpack_from("Q", buf)[0]
fcntl.ioctl(fds[0], 0xc0182101, struct.pack("QqiI", id, 0, -28, 0))
os.close(fds[0])
print(p.communicate()[0].decode(), p.returncode)
"#;

fn seccomp_listener(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("mkdir /x; echo done", |c| {
        c["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": b.dir.join("agent"), "listenerMetadata": "for the agent",
            "syscalls": [{ "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY" }],
        });
    });
    Cmd::host(["python3", "-c", AGENT])
        .args(b.cmd(["run", "c"]).argv())
        .cwd(&b.dir)
        .ok()
        .out_has("No space left on device")
        .out_has("done\n 0");
    Ok(())
}

fn limits_without_a_group_are_refused(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    // What asks for nothing is no limit.
    b.script(
        "true",
        |c| {
            c["linux"]["resources"] =
                json!({ "devices": [{ "allow": false, "access": "rwm" }], "memory": {} })
        },
    );
    b.cmd(["run", "c"]).ok();
    b.script("true", |c| {
        c["linux"]["resources"] = json!({ "memory": { "limit": 10_000_000 } })
    });
    b.cmd(["--cgroup-manager", "disabled", "run", "c"])
        .run()
        .fails_with(1, "memory cannot be limited");
    b.nothing_left();
    b.script("sleep 1000", |_| {});
    assert_eq!(
        b.detached(["--cgroup-manager", "disabled", "run", "-d", "c"])
            .0,
        0
    );
    for verb in [
        &["pause", "c"][..],
        &["update", "--memory", "1000000", "c"],
        &["events", "--stats", "c"],
    ] {
        b.cmd(verb).run().fails_with(1, "no control group");
    }
    b.cmd(["resume", "c"]).run().fails_with(1, "it is running");
    b.cmd(["delete", "-f", "c"]).ok();
    Ok(())
}

fn what_cannot_be_honoured_is_refused(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let refused = |why: &str, change: &dyn Fn(&mut Value)| {
        b.script("true", |c| change(c));
        b.run().fails_with(1, why);
    };
    refused("intelRdt", &|c| {
        c["linux"]["intelRdt"] = json!({ "closID": "x" })
    });
    refused("mount namespace", &|c| {
        c["linux"]["namespaces"] = json!([{ "type": "pid" }, { "type": "uts" }]);
    });
    refused("uts namespace", &|c| {
        c["linux"]["namespaces"] = json!([{ "type": "mount" }])
    });
    refused("tmpcopyup", &|c| {
        add(
            c,
            json!({ "destination": "/x", "type": "bind", "source": "/", "options": ["bind", "tmpcopyup"] }),
        );
    });
    refused("rlimit", &|c| {
        c["process"]["rlimits"] =
            json!([{ "type": "RLIMIT_NOFILE", "soft": 1u64 << 40, "hard": 1u64 << 40 }]);
    });
    refused("personality flag", &|c| {
        c["linux"]["personality"] = json!({ "domain": "LINUX", "flags": ["X"] });
    });
    Ok(())
}
