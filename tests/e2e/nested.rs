//! Inside of other containers: a masked /proc, no /dev/fuse, no pivot_root, a namespace of many ids.

use crate::harness::{Cmd, Done, Env, Feature};

suite!(
    masked_proc,
    masked_proc_shows_no_process_of_the_host,
    masked_proc_lets_no_signal_out,
    root_is_no_mount,
    in_a_chroot,
    no_user_namespaces,
    inside_of_a_user_namespace,
    as_root,
    coracle_in_coracle,
    without_dev_shm_and_mqueue,
    without_a_home,
    read_only_cgroups,
);

/// Runs a command where no user namespace can be made.
pub const WITHOUT_USER_NAMESPACES: [&str; 2] = [
    "python3",
    concat!(env!("CARGO_MANIFEST_DIR"), "/tests/e2e/userns.py"),
];

/// As docker masks its containers' /proc: the kernel then refuses a fresh one in a user namespace.
const MASK: &str = "mount -t tmpfs -o ro none /proc/acpi 2>/dev/null || mount -t tmpfs -o ro none /proc/driver; \
                    mount --bind /dev/null /proc/timer_list; mount --bind /proc/sys /proc/sys; \
                    mount -o remount,bind,ro /proc/sys; exec \"$@\"";

fn masked_proc(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let cmd = e.run_cmd(&[], "busybox", &["sh", "-c", "id -u; cat /proc/self/comm; head -c 5 /proc/version; echo; test -d /proc/self/fd && echo fd"]);
    cmd.clone()
        .prepared(MASK)
        .ok()
        .out_is("0\ncat\nLinux\nfd\n");
    e.need(Feature::Overlay)?;
    // What the first attempt has left behind is not in the way of the second.
    let root = [
        "sh",
        "-c",
        "grep ' / / ' /proc/self/mountinfo | grep -c ' overlay '",
    ];
    let cmd = e.run_cmd(&["--storage-driver=overlay"], "busybox", &root);
    cmd.clone().prepared(MASK).ok().out_is("1\n");
    Ok(())
}

fn masked_proc_shows_no_process_of_the_host(e: &Env) -> Done {
    e.need(Feature::Root)?;
    // What shows of them may not be touched: no environment, no descriptors, no root.
    let script = "for p in /proc/[0-9]*; do [ $p = /proc/$$ ] || { cat $p/environ; ls $p/root/ $p/fd/ $p/cwd/; } 2>/dev/null; done | head -c 200";
    let cmd = e
        .run_cmd(&[], "busybox", &["sh", "-c", script])
        .env("SECRET_TOKEN", "hunter2");
    cmd.clone()
        .prepared(MASK)
        .ok()
        .out_lacks("hunter2")
        .out_lacks("HOME=/var")
        .out_lacks("coracle-e2e");
    Ok(())
}

fn masked_proc_lets_no_signal_out(e: &Env) -> Done {
    e.need(Feature::Root)?;
    // The pid namespace is shared then: our launcher, of the same uid, is in reach and must not be.
    let script = "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = $$ ] || if kill -0 $p 2>/dev/null; then echo $p; fi; done; echo end";
    let cmd = e.run_cmd(&[], "busybox", &["sh", "-c", script]);
    let out = cmd.clone().prepared(MASK).ok().out_is("end\n");
    assert!(
        out.err().contains("shares the outer pid namespace"),
        "{out:?}"
    );
    Ok(())
}

fn root_is_no_mount(e: &Env) -> Done {
    e.need(Feature::Root)?;
    // pivot_root is EINVAL when the root is the initramfs; here it is a shared mount, which is next to it.
    let cmd = e.run_cmd(&[], "busybox", &["echo", "fine"]);
    cmd.clone()
        .prepared("mount --make-rshared / && exec \"$@\"")
        .ok()
        .out_is("fine\n");
    Ok(())
}

fn in_a_chroot(e: &Env) -> Done {
    e.need(Feature::Root)?;
    // User namespaces are refused in a chroot whose root is no mount point: the message must say so.
    let root = e.subdir("jail");
    let script = format!(
        "mount --rbind / {0} && exec chroot {0} \"$@\"",
        root.display()
    );
    let cmd = e.run_cmd(&[], "busybox", &["echo", "fine"]);
    let out = cmd.clone().prepared(&script).run();
    if out.code() != 0 {
        out.fails_with(125, "namespace");
    } else {
        out.out_is("fine\n");
    }
    Ok(())
}

fn no_user_namespaces(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let name = e.image("busybox");
    let cmd = e.run_name(&[], &name, &["true"]);
    let out = cmd.wrapped(WITHOUT_USER_NAMESPACES).run();
    let out = out.fails_with(125, "user namespace");
    // What an admin can do is said.
    assert!(out.err().contains("hint: "), "{out:?}");
    Ok(())
}

fn inside_of_a_user_namespace(e: &Env) -> Done {
    e.need(Feature::UserNamespaces)?;
    // As its root, and as somebody else with one id.
    let cmd = e.run_cmd(&[], "busybox", &["id", "-u"]);
    let argv = cmd.argv();
    let at = argv.iter().position(|w| w == "env").unwrap();
    for flags in [&["--map-root-user"][..], &["--map-current-user"]] {
        let mut all = argv.clone();
        let words = [&["unshare", "--user"][..], flags, &["--"]].concat();
        all.splice(at..at, words.iter().map(Into::into));
        Cmd::host(all).cwd(&e.dir).ok().out_is("0\n");
    }
    Ok(())
}

fn as_root(e: &Env) -> Done {
    e.need(Feature::Root)?;
    // Whoever is root (in a CI container, say) gets a store and containers of root's own.
    let root = e.dir.join("roots-store");
    let run = |args: &[&str]| {
        Cmd::new(Vec::new(), [e.machine.binary.as_os_str()])
            .env("HOME", &e.home)
            .env("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")
            .env("CORACLE_ROOT", &root)
            .args(args)
            .cwd(&e.dir)
    };
    let name = e.machine.pushed("busybox");
    run(&["pull", "-q", &name]).ok();
    run(&[
        "run",
        "--rm",
        "--network=none",
        &name,
        "sh",
        "-c",
        "id -u; rm /bin/vi; touch /x && echo wrote",
    ])
    .ok()
    .out_is("0\nwrote\n");
    run(&["rmi", &name]).ok();
    Ok(())
}

fn coracle_in_coracle(e: &Env) -> Done {
    e.need(Feature::Overlay)?;
    let binary = format!("{}:/usr/bin/coracle:ro", e.machine.binary.display());
    let store = e.subdir("inner");
    let layout = e.layout("busybox");
    let (store, layout) = (
        format!("{}:/store", store.display()),
        format!("{}:/layout:ro", layout.display()),
    );
    let script = "coracle --root /store load -q -i /layout >/dev/null && \
                  coracle --root /store run --rm --network none $(coracle --root /store images -q) id -u";
    let flags = ["--privileged", "-v", &binary, "-v", &store, "-v", &layout];
    assert_eq!(e.sh(&flags, script), "0\n");
    Ok(())
}

fn without_dev_shm_and_mqueue(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let cmd = e.run_cmd(
        &[],
        "busybox",
        &[
            "sh",
            "-c",
            "echo x >/dev/shm/x && ls /dev/mqueue && echo fine",
        ],
    );
    cmd.clone()
        .prepared("mount -t tmpfs -o ro none /dev/shm 2>/dev/null; exec \"$@\"")
        .ok()
        .out_is("fine\n");
    Ok(())
}

fn without_a_home(e: &Env) -> Done {
    // CORACLE_ROOT says it all; a HOME that is not there must not matter.
    let cmd = e
        .run_cmd(&[], "busybox", &["echo", "fine"])
        .env("HOME", "/nonexistent");
    cmd.ok().out_is("fine\n");
    // Neither: a clear message.
    let cmd = e
        .user(["coracle", "images"])
        .env("HOME", "/nonexistent")
        .without_env("CORACLE_ROOT");
    cmd.run().fails_with(125, "/nonexistent");
    Ok(())
}

fn read_only_cgroups(e: &Env) -> Done {
    e.need(Feature::Root)?;
    let cmd = e.run_cmd(&[], "busybox", &["echo", "fine"]);
    cmd.clone()
        .prepared("mount -t tmpfs -o ro none /sys/fs/cgroup; exec \"$@\"")
        .ok()
        .out_is("fine\n");
    cmd.clone()
        .prepared("mount -t tmpfs -o ro none /sys; exec \"$@\"")
        .ok()
        .out_is("fine\n");
    Ok(())
}
