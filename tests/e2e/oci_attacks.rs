//! Escapes that hit other OCI runtimes. Each test is named after what it does; the CVE stands in its comment.

use serde_json::{Value, json};

use crate::harness::{Bundle, Done, Env};

suite!(
    our_own_file_is_out_of_reach,
    no_directory_of_the_host_is_left_open,
    the_null_device_cannot_be_swapped,
    the_console_cannot_be_led_elsewhere,
    writes_to_proc_go_nowhere_else,
    an_images_proc_is_no_link,
    a_waiting_container_is_not_started_by_others,
    hostile_configurations,
);

/// CVE-2019-5736: what the container executes as /proc/self/exe is never our program.
fn our_own_file_is_out_of_reach(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let before = std::fs::read(e.machine.dir.join("bin/coracle")).unwrap();
    b.configure(|c| c["process"]["args"] = json!(["/proc/self/exe", "--version"]));
    b.run().out_lacks("coracle");
    let script = b.dir.join("rootfs/bad");
    std::fs::write(&script, "#!/proc/self/exe\n").unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    b.configure(|c| c["process"]["args"] = json!(["/bad"]));
    b.run().out_lacks("coracle");
    // A hook of the container's, and a further program.
    let look = "for p in /proc/[0-9]*; do readlink -f $p/exe; cat $p/exe >/found-${p#/proc/} 2>/dev/null; done >/exes";
    b.script("sleep 1000", |c| {
        c["hooks"]["startContainer"] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", look], "env": ["PATH=/bin"] }]);
    });
    assert_eq!(b.detached(["run", "-d", "c"]), (0, String::new()));
    b.cmd(["exec", "c", "/proc/self/exe", "--version"])
        .run()
        .out_lacks("coracle");
    b.cmd(["exec", "c", "/bad"]).run().out_lacks("coracle");
    let found = std::fs::read_dir(b.dir.join("rootfs")).unwrap().flatten();
    for file in found.filter(|f| f.file_name().to_string_lossy().starts_with("found-")) {
        let content = std::fs::read(file.path()).unwrap();
        assert!(
            content.len() < before.len() && content != before,
            "{:?}",
            file.path()
        );
    }
    b.cmd(["delete", "-f", "c"]).ok();
    assert!(std::fs::read(e.machine.dir.join("bin/coracle")).unwrap() == before);
    Ok(())
}

/// CVE-2024-21626: neither by descriptor nor as a working directory.
fn no_directory_of_the_host_is_left_open(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let open = format!("exec 9<{} 8<.; \"$@\"", e.dir.display());
    b.script("ls -l /proc/self/fd; pwd", |_| {});
    let out = b.around(&open, &b.cmd(["run", "c"])).ok().out();
    assert_eq!(
        out.lines().filter(|l| l.contains(" -> ")).count(),
        3,
        "{out}"
    );
    for fd in 3..16 {
        b.script("ls -d ../../../../../../root; pwd -P", |c| {
            c["process"]["cwd"] = json!(format!("/proc/self/fd/{fd}"));
        });
        let out = b.around(&open, &b.cmd(["run", "c"])).run();
        assert_eq!(out.code(), 1, "descriptor {fd}: {out:?}");
        b.nothing_left();
    }
    b.script("sleep 1000", |_| {});
    assert_eq!(b.detached(["run", "-d", "c"]).0, 0);
    for fd in 3..16 {
        let cwd = format!("/proc/self/fd/{fd}");
        let out = b
            .around(&open, &b.cmd(["exec", "--cwd", &cwd, "c", "pwd"]))
            .run();
        assert_eq!(out.code(), 255, "descriptor {fd}: {out:?}");
    }
    b.cmd(["delete", "-f", "c"]).ok();
    Ok(())
}

/// Without a /dev of its own, which would cover what the root file system has there.
fn without_dev(c: &mut Value) {
    c["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|m| !m["destination"].as_str().unwrap().starts_with("/dev"));
}

/// CVE-2025-31133: what hides a path is the null device, whatever has its name.
fn the_null_device_cannot_be_swapped(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let dev = b.dir.join("rootfs/dev");
    std::fs::create_dir_all(&dev).unwrap();
    let _ = std::fs::remove_file(dev.join("null"));
    std::os::unix::fs::symlink("/proc/sys/kernel/core_pattern", dev.join("null")).unwrap();
    let show = "cat /proc/kcore /proc/keys 2>/dev/null | head -c 99; echo end";
    b.script(show, without_dev);
    let out = b.run();
    // Either it is refused, or what is hidden is empty.
    assert!(out.code() == 1 || out.out() == "end\n", "{out:?}");
    assert!(!out.out().contains("core"), "{out:?}");
    Ok(())
}

/// CVE-2025-52565: a terminal is bound on what /dev/console is in the container, and on nothing that it leads to.
fn the_console_cannot_be_led_elsewhere(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let dev = b.dir.join("rootfs/dev");
    std::fs::create_dir_all(&dev).unwrap();
    let _ = std::fs::remove_file(dev.join("console"));
    std::os::unix::fs::symlink("/proc/sys/kernel/hostname", dev.join("console")).unwrap();
    b.script(
        "grep -c 'kernel/hostname' /proc/self/mountinfo; echo end",
        |c| {
            c["process"]["terminal"] = json!(true);
            c["mounts"].as_array_mut().unwrap().retain(|m| {
                m["destination"] != "/dev"
                    && m["destination"] != "/dev/shm"
                    && m["destination"] != "/dev/mqueue"
            });
        },
    );
    let out = b.run();
    assert!(out.code() == 1 || out.out().starts_with("0\r\n"), "{out:?}");
    Ok(())
}

/// CVE-2025-52881: a /proc that is none gets no kernel parameters, nor anything else.
fn writes_to_proc_go_nowhere_else(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let fake = b.dir.join("rootfs/proc/sys/net/ipv4");
    std::fs::create_dir_all(&fake).unwrap();
    std::fs::write(fake.join("ip_forward"), "untouched").unwrap();
    b.script("true", |c| {
        c["mounts"]
            .as_array_mut()
            .unwrap()
            .retain(|m| m["destination"] != "/proc");
        c["linux"]["sysctl"] = json!({ "net.ipv4.ip_forward": "1" });
        c["linux"]["maskedPaths"] = json!([]);
        c["linux"]["readonlyPaths"] = json!([]);
    });
    b.run().fails_with(1, "ip_forward");
    assert_eq!(
        std::fs::read_to_string(fake.join("ip_forward")).unwrap(),
        "untouched"
    );
    Ok(())
}

/// CVE-2019-19921, CVE-2023-27561: /proc and /sys are mounted on what they are called.
fn an_images_proc_is_no_link(e: &Env) -> Done {
    for name in ["proc", "sys"] {
        let b = Bundle::new(e, name);
        let _ = std::fs::remove_dir(b.dir.join("rootfs").join(name));
        std::fs::create_dir_all(b.dir.join("rootfs/elsewhere")).unwrap();
        std::os::unix::fs::symlink("elsewhere", b.dir.join("rootfs").join(name)).unwrap();
        b.script("true", |_| {});
        b.run().fails_with(1, &format!("/{name}"));
    }
    Ok(())
}

/// The socket that starts a container is the caller's alone, and says nothing to whoever only looks.
fn a_waiting_container_is_not_started_by_others(e: &Env) -> Done {
    use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
    let b = Bundle::new(e, "b");
    b.script("echo started", |_| {});
    assert_eq!(b.detached(["create", "c"]).0, 0);
    let socket = e.dir.join("state/c/start");
    let above = std::fs::metadata(e.dir.join("state/c")).unwrap();
    assert_eq!(above.mode() & 0o777, 0o700);
    assert!(std::fs::metadata(&socket).unwrap().file_type().is_socket());
    for word in ["", "stop", "starts", "start\\n"] {
        let script = "import socket,sys; s=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET); \
                      s.connect(sys.argv[1]); s.send(sys.argv[2].encode())";
        e.user(["python3", "-c", script])
            .arg(&socket)
            .arg(word)
            .env("PATH", "/usr/bin:/bin")
            .ok();
        assert_eq!(b.status("c"), "created", "{word:?}");
    }
    b.cmd(["start", "c"]).ok();
    b.cmd(["delete", "-f", "c"]).ok();
    assert_eq!(b.printed(), "started\n");
    Ok(())
}

/// Nothing here may hang, crash or leave anything.
fn hostile_configurations(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let deep = "[".repeat(50_000);
    let long = "x".repeat(5000);
    for text in [
        deep.clone(),
        format!("{{\"ociVersion\":\"1.0\",\"process\":{{\"args\":{deep}"),
        json!({ "ociVersion": "1.0.0", "root": { "path": "rootfs" }, "process": { "args": ["sh"], "cwd": "/",
            "env": ["A=\u{0}"] }, "linux": { "namespaces": [{ "type": "mount" }] } }).to_string(),
        json!({ "ociVersion": "1.0.0", "root": { "path": long }, "process": { "args": ["sh"], "cwd": "/" },
            "linux": { "namespaces": [{ "type": "mount" }] } }).to_string(),
        json!({ "ociVersion": "1.0.0", "root": { "path": "../.." }, "process": { "args": [long], "cwd": "/" },
            "linux": { "namespaces": [{ "type": "mount" }], "uidMappings":
                [{ "containerID": 4294967295u32, "hostID": 4294967295u32, "size": 4294967295u32 }] } }).to_string(),
        json!({ "ociVersion": "1.0.0", "root": { "path": "rootfs" }, "process": { "args": ["sh"], "cwd": "/",
            "user": { "uid": 4294967295u32, "gid": 0 } }, "linux": { "namespaces": [{ "type": "mount" }] } }).to_string(),
    ] {
        std::fs::write(b.dir.join("config.json"), text).unwrap();
        b.run().fails_with(1, "");
        b.nothing_left();
    }
    // Standard input that never ends is not a configuration: a limit holds.
    std::fs::write(b.dir.join("config.json"), vec![b' '; 17 << 20]).unwrap();
    b.run().fails_with(1, "larger than");
    Ok(())
}
