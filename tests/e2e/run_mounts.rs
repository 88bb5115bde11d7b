//! Volumes, tmpfs, /dev and the files in /etc.

use std::os::unix::fs::symlink;

use crate::harness::{Cmd, Done, Env, Feature, Runtime};

suite!(
    volume_both_ways,
    volume_read_only,
    volume_of_a_file,
    volume_makes_its_target,
    volumes_are_ordered_by_depth,
    volume_target_stays_inside,
    volume_covers_with_what_is_below,
    read_only_volume_covers_what_is_below,
    mount_bind,
    mount_bind_missing_source,
    mount_tmpfs,
    mount_rejects_nonsense,
    tmpfs_size_and_mode,
    read_only_root_and_writable_volume,
    shm_size,
    standard_devices,
    device_flag,
    etc_files,
    etc_files_can_be_replaced,
    image_without_etc,
    no_mount_of_the_host_shows,
    sys_and_proc_are_there,
    relative_target_is_refused,
);

fn volume_both_ways(e: &Env) -> Done {
    let dir = e.subdir("v");
    std::fs::write(dir.join("in"), "from outside\n").unwrap();
    let v = format!("{}:/v", dir.display());
    assert_eq!(
        e.sh(&["-v", &v], "cat /v/in; echo from inside >/v/out"),
        "from outside\n"
    );
    assert_eq!(
        std::fs::read_to_string(dir.join("out")).unwrap(),
        "from inside\n"
    );
    let long = format!("--volume={v}:rw");
    assert_eq!(e.sh(&[&long], "cat /v/out"), "from inside\n");
    Ok(())
}

fn volume_read_only(e: &Env) -> Done {
    let dir = e.subdir("v");
    let v = format!("{}:/v:ro", dir.display());
    assert_eq!(
        e.sh(&["-v", &v], "touch /v/x 2>&1; true"),
        "touch: /v/x: Read-only file system\n"
    );
    assert!(!dir.join("x").exists());
    Ok(())
}

fn volume_of_a_file(e: &Env) -> Done {
    let file = e.file("f", "one\n");
    let v = format!("{}:/etc/new-file", file.display());
    assert_eq!(
        e.sh(&["-v", &v], "cat /etc/new-file; echo two >>/etc/new-file"),
        "one\n"
    );
    assert_eq!(std::fs::read_to_string(file).unwrap(), "one\ntwo\n");
    Ok(())
}

fn volume_makes_its_target(e: &Env) -> Done {
    let dir = e.subdir("v");
    std::fs::write(dir.join("f"), "deep\n").unwrap();
    let v = format!("{}:/a/b/c", dir.display());
    assert_eq!(e.sh(&["-v", &v], "cat /a/b/c/f"), "deep\n");
    Ok(())
}

fn volumes_are_ordered_by_depth(e: &Env) -> Done {
    let (outer, inner) = (e.subdir("outer"), e.subdir("inner"));
    e.subdir("outer/sub");
    std::fs::write(outer.join("o"), "outer\n").unwrap();
    std::fs::write(inner.join("i"), "inner\n").unwrap();
    let (o, i) = (
        format!("{}:/m", outer.display()),
        format!("{}:/m/sub", inner.display()),
    );
    for flags in [["-v", &o, "-v", &i], ["-v", &i, "-v", &o]] {
        assert_eq!(e.sh(&flags, "cat /m/o /m/sub/i"), "outer\ninner\n");
    }
    Ok(())
}

fn volume_target_stays_inside(e: &Env) -> Done {
    e.coracle_only("crun refuses a link whose target is missing")?;
    // The image has links that point out of it; a target below them must land inside.
    let root = e.subdir("rootfs");
    for d in ["bin", "proc", "sys", "dev", "etc"] {
        e.subdir(&format!("rootfs/{d}"));
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let outside = e.subdir("outside");
    symlink(&outside, root.join("absolute")).unwrap();
    symlink("../../../../../../../../var/tmp", root.join("relative")).unwrap();
    let dir = e.subdir("v");
    std::fs::write(dir.join("f"), "x").unwrap();
    let path = root.display().to_string();
    for (target, resolved) in [
        ("/absolute/t", outside.display().to_string()),
        ("/relative/t", "/var/tmp".into()),
    ] {
        let v = format!("{}:{target}", dir.display());
        let shown = format!("{resolved}/t/f");
        let cmd = e.run_name(
            &["-v"],
            &v,
            &["--rootfs", &path, "/bin/busybox", "ls", &shown],
        );
        cmd.ok().out_is(&format!("{shown}\n"));
        assert!(!outside.join("t").exists(), "made outside: {target}");
        assert!(!std::path::Path::new("/var/tmp/t").exists());
    }
    Ok(())
}

fn volume_covers_with_what_is_below(e: &Env) -> Done {
    e.coracle_only("it lives in a mount namespace made earlier")?;
    e.need(Feature::Root)?;
    let dir = e.subdir("v");
    let sub = e.subdir("v/sub");
    Cmd::host(["mount", "-t", "tmpfs", "-o", "mode=777", "none"])
        .arg(&sub)
        .ok();
    std::fs::write(sub.join("f"), "below\n").unwrap();
    let v = format!("{}:/v", dir.display());
    let out = e.run(&["-v", &v], "busybox", &["cat", "/v/sub/f"]);
    Cmd::host(["umount", "-l"]).arg(&sub).ok();
    out.code_is(0).out_is("below\n");
    Ok(())
}

fn read_only_volume_covers_what_is_below(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.coracle_only("podman 4 leaves mounts below a read-only volume writable")?;
    let dir = e.subdir("v");
    let sub = e.subdir("v/sub");
    Cmd::host(["mount", "-t", "tmpfs", "-o", "mode=777", "none"])
        .arg(&sub)
        .ok();
    let v = format!("{}:/v:ro", dir.display());
    let out = e.run(&["-v", &v], "busybox", &["touch", "/v/sub/f"]);
    Cmd::host(["umount", "-l"]).arg(&sub).ok();
    out.code_is(1).err_has("read-only file system");
    Ok(())
}

fn mount_bind(e: &Env) -> Done {
    let dir = e.subdir("v");
    std::fs::write(dir.join("f"), "x\n").unwrap();
    let d = dir.display();
    let script =
        "cat /v/f; rm -f /v/new 2>/dev/null; touch /v/new 2>/dev/null && echo written; true";
    for (flag, want) in [
        (format!("type=bind,source={d},target=/v"), "x\nwritten\n"),
        (format!("type=bind,src={d},dst=/v"), "x\nwritten\n"),
        (format!("type=bind,src={d},destination=/v,readonly"), "x\n"),
        (format!("type=bind,src={d},dst=/v,ro=true"), "x\n"),
    ] {
        assert_eq!(e.sh(&["--mount", &flag], script), want, "{flag}");
    }
    Ok(())
}

fn mount_bind_missing_source(e: &Env) -> Done {
    e.run(
        &["--mount", "type=bind,src=/no/such/dir,dst=/v"],
        "busybox",
        &["true"],
    )
    .code_is(125)
    .err_has("/no/such/dir");
    Ok(())
}

fn mount_tmpfs(e: &Env) -> Done {
    let flag = "type=tmpfs,destination=/t,tmpfs-size=1048576,tmpfs-mode=1770";
    let out = e.sh(
        &["--mount", flag],
        "stat -f -c %T /t; df -k /t | tail -1 | awk '{print $2}'; stat -c %a /t",
    );
    assert_eq!(out, "tmpfs\n1024\n1770\n");
    Ok(())
}

fn mount_rejects_nonsense(e: &Env) -> Done {
    for flag in [
        "type=bind,src=/tmp",
        "type=nonsense,dst=/x",
        "dst=/x,what=that",
        "type=bind,dst=/x",
        "",
    ] {
        let out = e.run(&["--mount", flag], "busybox", &["true"]);
        assert_eq!(out.code(), 125, "{flag:?}: {out:?}");
    }
    Ok(())
}

fn tmpfs_size_and_mode(e: &Env) -> Done {
    let script = "df -k /t | tail -1 | awk '{print $2}'; stat -c %a /t; \
                  dd if=/dev/zero of=/t/big bs=1k count=3000 2>&1 | grep -c 'No space left'; \
                  cp /bin/busybox /u/; /u/busybox echo ran";
    let flags = ["--tmpfs", "/t:size=2m,mode=0700", "--tmpfs=/u:exec"];
    assert_eq!(e.sh(&flags, script), "2048\n700\n1\nran\n");
    // docker-run(1): rw,noexec,nosuid,nodev unless said otherwise.
    e.coracle_only("it leaves noexec out")?;
    let options = e.sh(
        &["--tmpfs", "/t"],
        "grep ' /t ' /proc/mounts | cut -d' ' -f4",
    );
    for option in ["rw", "noexec", "nosuid", "nodev"] {
        assert!(
            options.trim().split(',').any(|o| o == option),
            "{option} in {options}"
        );
    }
    Ok(())
}

fn read_only_root_and_writable_volume(e: &Env) -> Done {
    let dir = e.subdir("v");
    let v = format!("{}:/v", dir.display());
    assert_eq!(
        e.sh(
            &["--read-only", "-v", &v],
            "touch /v/x && touch /y 2>&1; true"
        ),
        "touch: /y: Read-only file system\n"
    );
    assert!(dir.join("x").exists());
    Ok(())
}

fn shm_size(e: &Env) -> Done {
    let df = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    assert_eq!(e.sh(&["--shm-size", "2m"], df), "2048\n");
    assert_eq!(e.sh(&["--shm-size=1048576"], df), "1024\n");
    // docker has 64 MiB, podman 64,000 KiB.
    let default = if e.runtime == Runtime::Coracle {
        "65536\n"
    } else {
        "64000\n"
    };
    assert_eq!(e.sh(&[], df), default);
    Ok(())
}

fn standard_devices(e: &Env) -> Done {
    let out = e.sh(&[], "ls /dev");
    let mut names: Vec<&str> = out.lines().collect();
    // console belongs to -t; podman's is always there, and core is a link that docker makes too.
    names.retain(|n| !["console", "core"].contains(n));
    assert_eq!(
        names,
        [
            "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
            "stdout", "tty", "urandom", "zero"
        ]
    );
    let script = "for d in null zero full random urandom tty; do stat -c '%n %F %t:%T %a' /dev/$d; done; \
                  echo x >/dev/null && head -c 3 /dev/zero | od -An -tx1; echo x >/dev/full 2>&1; \
                  head -c 4 /dev/urandom | wc -c; for l in fd stdin ptmx; do readlink /dev/$l; done; stat -f -c %T /dev/shm; \
                  grep -c ' /dev/mqueue mqueue ' /proc/mounts";
    let out = e
        .run(&[], "busybox", &["sh", "-c", script])
        .code_is(0)
        .out();
    let want = "/dev/null character special file 1:3 666\n/dev/zero character special file 1:5 666\n\
                /dev/full character special file 1:7 666\n/dev/random character special file 1:8 666\n\
                /dev/urandom character special file 1:9 666\n/dev/tty character special file 5:0 666\n 00 00 00\n";
    assert!(out.starts_with(want), "{out}");
    assert!(
        out.ends_with("4\n/proc/self/fd\n/proc/self/fd/0\npts/ptmx\ntmpfs\n1\n"),
        "{out}"
    );
    Ok(())
}

fn device_flag(e: &Env) -> Done {
    let out = e.sh(
        &["--device", "/dev/zero:/dev/my-zero"],
        "head -c 2 /dev/my-zero | od -An -tx1",
    );
    assert_eq!(out, " 00 00\n");
    e.run(&["--device", "/dev/no-such-device"], "busybox", &["true"])
        .code_is(125)
        .err_has("no-such-device");
    Ok(())
}

fn etc_files(e: &Env) -> Done {
    e.coracle_only("it refuses --dns without a network")?;
    let flags = [
        "--add-host",
        "db:10.1.2.3",
        "--add-host=six:fe80::1",
        "--dns",
        "9.9.9.9",
        "--hostname",
        "boat",
    ];
    let out = e.sh(&flags, "cat /etc/hosts; echo --; cat /etc/resolv.conf");
    let (hosts, resolv) = out.split_once("--\n").unwrap();
    let hosts: Vec<Vec<&str>> = hosts
        .lines()
        .map(|l| l.split_whitespace().collect())
        .collect();
    for want in [["10.1.2.3", "db"], ["fe80::1", "six"]] {
        assert!(hosts.contains(&want.to_vec()), "{want:?} in {hosts:?}");
    }
    assert!(
        hosts
            .iter()
            .any(|l| l.first() == Some(&"127.0.0.1") && l.contains(&"localhost")),
        "{hosts:?}"
    );
    let servers: Vec<&str> = resolv
        .lines()
        .filter(|l| l.starts_with("nameserver"))
        .collect();
    assert_eq!(servers, ["nameserver 9.9.9.9"]);
    e.run(&["--add-host", "nonsense"], "busybox", &["true"])
        .code_is(125);
    e.run(&["--dns", "not-an-address"], "busybox", &["true"])
        .code_is(125);
    Ok(())
}

fn etc_files_can_be_replaced(e: &Env) -> Done {
    let file = e.file("hosts", "1.1.1.1 mine\n");
    let v = format!("{}:/etc/hosts", file.display());
    assert_eq!(e.sh(&["-v", &v], "cat /etc/hosts"), "1.1.1.1 mine\n");
    // They are the container's own: it may write to them.
    assert_eq!(
        e.sh(&[], "echo '2.2.2.2 x' >>/etc/hosts && tail -1 /etc/hosts"),
        "2.2.2.2 x\n"
    );
    Ok(())
}

fn image_without_etc(e: &Env) -> Done {
    e.coracle_only("it needs coracle's --rootfs")?;
    let root = e.subdir("bare");
    std::fs::copy("/bin/busybox", root.join("busybox")).unwrap();
    let path = root.display().to_string();
    e.cmd([
        "run",
        "--rm",
        "--rootfs",
        &path,
        "/busybox",
        "ls",
        "/proc/self/fd",
    ])
    .ok();
    Ok(())
}

fn no_mount_of_the_host_shows(e: &Env) -> Done {
    let out = e.sh(&[], "cut -d' ' -f5 /proc/self/mountinfo");
    for point in out.lines() {
        let known = point == "/"
            || ["/proc", "/sys", "/dev", "/etc/", "/run/"]
                .iter()
                .any(|p| point.starts_with(p));
        assert!(known, "{point} in\n{out}");
    }
    if e.runtime == Runtime::Coracle {
        let home = e.machine.dir.display().to_string();
        let options = e.sh(&[], "cat /proc/self/mountinfo");
        let binds = options
            .lines()
            .filter(|l| !l.contains(" overlay "))
            .filter(|l| l.contains(&home))
            .count();
        // hosts, hostname and resolv.conf may be bound from the container's own directory.
        assert!(binds <= 3, "{options}");
    }
    Ok(())
}

fn sys_and_proc_are_there(e: &Env) -> Done {
    let out = e.sh(
        &[],
        "test -d /sys/class && stat -f -c %T /proc; touch /sys/x 2>&1; cat /proc/1/comm; :",
    );
    assert_eq!(out, "proc\ntouch: /sys/x: Read-only file system\nsh\n");
    Ok(())
}

fn relative_target_is_refused(e: &Env) -> Done {
    let dir = e.subdir("v").display().to_string();
    let (relative, root) = (format!("{dir}:relative"), format!("{dir}:/"));
    for flags in [["-v", &relative], ["-v", &root], ["--tmpfs", "relative"]] {
        let out = e.run(&flags, "busybox", &["true"]);
        match e.runtime {
            Runtime::Coracle => drop(out.fails_with(125, "")),
            // It leaves the last check to crun.
            Runtime::Podman => assert!([125, 126].contains(&out.code()), "{out:?}"),
        }
    }
    Ok(())
}
