//! What `run` does with an image, a command and the standard streams.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use crate::harness::{Done, Env, Feature};

suite!(
    prints_and_ends,
    streams_are_separate,
    stdin_is_empty_without_i,
    stdin_is_passed_with_i,
    image_command_is_used,
    entrypoint_and_command_of_image,
    arguments_replace_command,
    entrypoint_flag_clears_command,
    no_command_at_all,
    working_directory_of_image,
    working_directory_flag,
    working_directory_is_made,
    working_directory_must_be_absolute,
    hostname_flag,
    hostname_by_default,
    pid_one_and_no_other_process,
    init_reaps_orphans,
    init_passes_the_exit_code,
    read_only_root,
    changes_do_not_reach_the_image,
    rm_leaves_nothing,
    without_rm_the_container_stays_on_disk,
    several_at_once,
    ten_megabytes_through_stdout,
    ten_megabytes_through_stdin,
    strange_arguments,
    flags_end_at_the_image,
    names,
    pull_never,
    pull_missing_is_the_default,
    closed_stdout,
    labels_and_annotations,
    rootfs_directory,
    many_layers_python,
);

fn prints_and_ends(e: &Env) -> Done {
    let out = e.run(&[], "busybox", &["echo", "hello"]);
    out.code_is(0).out_is("hello\n").err_is("");
    Ok(())
}

fn streams_are_separate(e: &Env) -> Done {
    let out = e.run(&[], "busybox", &["sh", "-c", "echo out; echo err >&2"]);
    out.code_is(0).out_is("out\n").err_is("err\n");
    Ok(())
}

fn stdin_is_empty_without_i(e: &Env) -> Done {
    let out = e
        .run_cmd(&[], "busybox", &["cat"])
        .stdin("not for you")
        .run();
    out.code_is(0).out_is("");
    Ok(())
}

fn stdin_is_passed_with_i(e: &Env) -> Done {
    let out = e
        .run_cmd(&["-i"], "busybox", &["cat"])
        .stdin("for you\n")
        .run();
    out.code_is(0).out_is("for you\n");
    Ok(())
}

fn image_command_is_used(e: &Env) -> Done {
    let out = e
        .run_cmd(&["-i"], "busybox", &[])
        .stdin("echo from a shell\n")
        .run();
    out.code_is(0).out_is("from a shell\n");
    Ok(())
}

fn entrypoint_and_command_of_image(e: &Env) -> Done {
    e.run(&[], "busybox-config", &[])
        .code_is(0)
        .out_is("entry from cmd\n");
    Ok(())
}

fn arguments_replace_command(e: &Env) -> Done {
    e.run(&[], "busybox-config", &["a", "b"])
        .code_is(0)
        .out_is("entry a b\n");
    Ok(())
}

fn entrypoint_flag_clears_command(e: &Env) -> Done {
    // docker-run(1): the image's command is dropped when --entrypoint is given.
    e.run(&["--entrypoint", "echo"], "busybox-config", &[])
        .code_is(0)
        .out_is("\n");
    e.run(&["--entrypoint", "echo"], "busybox-config", &["x"])
        .code_is(0)
        .out_is("x\n");
    // Empty: no entry point.
    e.run(&["--entrypoint", ""], "busybox-config", &["echo", "y"])
        .code_is(0)
        .out_is("y\n");
    Ok(())
}

fn no_command_at_all(e: &Env) -> Done {
    let out = e
        .run(&["--entrypoint", ""], "busybox-config", &[])
        .code_is(125);
    assert!(
        out.err().contains("command") || out.err().contains("program"),
        "{out:?}"
    );
    Ok(())
}

fn working_directory_of_image(e: &Env) -> Done {
    e.run(&["--entrypoint", "pwd"], "busybox-config", &[])
        .code_is(0)
        .out_is("/srv/dir\n");
    e.run(&[], "busybox", &["pwd"]).code_is(0).out_is("/\n");
    Ok(())
}

fn working_directory_flag(e: &Env) -> Done {
    e.run(&["-w", "/tmp"], "busybox", &["pwd"])
        .code_is(0)
        .out_is("/tmp\n");
    e.run(&["--workdir=/etc"], "busybox-config", &[]).code_is(0);
    Ok(())
}

fn working_directory_is_made(e: &Env) -> Done {
    e.coracle_only("podman 4 refuses a missing working directory, docker makes it")?;
    e.run(&["-w", "/made/deep"], "busybox", &["pwd"])
        .code_is(0)
        .out_is("/made/deep\n");
    Ok(())
}

fn working_directory_must_be_absolute(e: &Env) -> Done {
    e.coracle_only("it leaves this to its OCI runtime")?;
    e.run(&["-w", "tmp"], "busybox", &["pwd"])
        .fails_with(125, "absolute");
    Ok(())
}

fn hostname_flag(e: &Env) -> Done {
    let out = e.sh(
        &["--hostname", "boat"],
        "hostname; echo $(cat /etc/hostname); uname -n; grep -c boat /etc/hosts",
    );
    assert_eq!(out, "boat\nboat\nboat\n1\n");
    Ok(())
}

fn hostname_by_default(e: &Env) -> Done {
    let name = e.sh(&[], "hostname");
    let name = name.trim();
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_ne!(name, host.trim(), "the machine's own name leaks in");
    assert!(
        name.len() == 12 && name.bytes().all(|b| b.is_ascii_hexdigit()),
        "not an id: {name:?}"
    );
    assert_ne!(name, e.sh(&[], "hostname").trim(), "the same name twice");
    Ok(())
}

fn pid_one_and_no_other_process(e: &Env) -> Done {
    // A glob of the shell itself: the parts of a pipeline start at their own times.
    let out = e.sh(&[], "echo $$; set -- /proc/[0-9]*; echo $*");
    assert_eq!(out, "1\n/proc/1\n");
    Ok(())
}

fn init_reaps_orphans(e: &Env) -> Done {
    // An orphan that has ended is gone, not a zombie; the shell is not its parent.
    let script = "(sleep 0.1 & echo $! >/tmp/p; exec true); p=$(cat /tmp/p); n=0; \
                  while [ -e /proc/$p ] && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done; \
                  [ -e /proc/$p ] && cat /proc/$p/stat; [ $$ = 1 ] || echo not pid 1";
    let out = e.run(&["--init"], "busybox", &["sh", "-c", script]);
    if e.runtime != crate::harness::Runtime::Coracle && out.err().contains("catatonit") {
        return e.coracle_only("its init program is not installed");
    }
    out.code_is(0).out_is("not pid 1\n");
    Ok(())
}

fn init_passes_the_exit_code(e: &Env) -> Done {
    e.coracle_only("its init program is not installed")?;
    e.run(&["--init"], "busybox", &["sh", "-c", "exit 9"])
        .code_is(9);
    e.run(&["--init"], "busybox", &["sh", "-c", "kill -KILL $$"])
        .code_is(137);
    e.run(&["--init"], "busybox", &["no-such-program"])
        .code_is(127);
    Ok(())
}

fn read_only_root(e: &Env) -> Done {
    let script = "touch /x 2>&1; touch /etc/x 2>&1; echo y >/dev/shm/y && echo shm; echo z >/t/z && echo tmpfs";
    let out = e.sh(&["--read-only", "--tmpfs", "/t"], script);
    assert_eq!(
        out,
        "touch: /x: Read-only file system\ntouch: /etc/x: Read-only file system\nshm\ntmpfs\n"
    );
    Ok(())
}

fn changes_do_not_reach_the_image(e: &Env) -> Done {
    e.sh(
        &[],
        "echo changed >/etc/passwd; rm /bin/vi; mkdir /new; chmod 700 /home",
    );
    let out = e.sh(
        &[],
        "head -1 /etc/passwd; ls /bin/vi; ls -d /new 2>&1; stat -c %a /home",
    );
    assert_eq!(
        out,
        "root:x:0:0:root:/root:/bin/sh\n/bin/vi\nls: /new: No such file or directory\n755\n"
    );
    Ok(())
}

/// Directories below a container store, as the product documents them.
fn containers(e: &Env) -> usize {
    std::fs::read_dir(e.root().join("containers")).map_or(0, |d| d.flatten().count())
}

fn rm_leaves_nothing(e: &Env) -> Done {
    e.coracle_only("it looks into coracle's store")?;
    let own = e.with_own_store();
    own.image("busybox");
    let before = containers(&own);
    own.sh(&[], "mkdir -p /a/b; chmod 000 /a; echo x >/tmp/x");
    own.run(&[], "busybox", &["false"]).code_is(1);
    own.run(&[], "busybox", &["no-such-program"]).code_is(127);
    assert_eq!(containers(&own), before, "--rm left something behind");
    Ok(())
}

fn without_rm_the_container_stays_on_disk(e: &Env) -> Done {
    e.coracle_only("it looks into coracle's store")?;
    let own = e.with_own_store();
    let image = own.image("busybox");
    let before = containers(&own);
    own.cmd(["run", "--name", "kept", &image, "true"]).ok();
    assert_eq!(containers(&own), before + 1);
    own.cmd(["run", "--name", "kept", &image, "true"])
        .run()
        .fails_with(125, "kept");
    Ok(())
}

fn several_at_once(e: &Env) -> Done {
    let all: Vec<_> = (0..6)
        .map(|i| {
            let script = format!("echo {i} >/tmp/n; sleep 0.3; cat /tmp/n");
            e.run_cmd(&[], "busybox", &["sh", "-c", &script]).spawn()
        })
        .collect();
    for (i, p) in all.into_iter().enumerate() {
        p.wait().code_is(0).out_is(&format!("{i}\n"));
    }
    Ok(())
}

fn ten_megabytes_through_stdout(e: &Env) -> Done {
    let out = e.run(
        &[],
        "busybox",
        &[
            "sh",
            "-c",
            "dd if=/dev/zero bs=1M count=10 2>/dev/null; echo end",
        ],
    );
    let out = out.code_is(0);
    assert_eq!(out.stdout.len(), (10 << 20) + 4);
    assert!(out.stdout.ends_with(b"\0end\n"));
    Ok(())
}

fn ten_megabytes_through_stdin(e: &Env) -> Done {
    let out = e
        .run_cmd(&["-i"], "busybox", &["wc", "-c"])
        .stdin(vec![7; 10 << 20])
        .run();
    out.code_is(0).out_is("10485760\n");
    Ok(())
}

fn strange_arguments(e: &Env) -> Done {
    let image = e.image("busybox");
    let strange: Vec<OsString> = [
        &b"a b"[..],
        b"",
        b"new\nline",
        b"$HOME",
        b"'\"",
        b"--",
        b"-x",
        b"*",
    ]
    .into_iter()
    .map(|b| OsString::from_vec(b.to_vec()))
    .collect();
    let script = "for a; do printf '<%s>' \"$a\"; done";
    let cmd = e.run_name(&[], &image, &["sh", "-c", script, "sh"]);
    cmd.args(&strange)
        .run()
        .code_is(0)
        .out_is("<a b><><new\nline><$HOME><'\"><--><-x><*>");
    Ok(())
}

fn flags_end_at_the_image(e: &Env) -> Done {
    e.run(&[], "busybox", &["echo", "--rm", "-e", "A=b"])
        .code_is(0)
        .out_is("--rm -e A=b\n");
    Ok(())
}

fn names(e: &Env) -> Done {
    for good in ["a1", "My_name.2-x"] {
        e.run(&["--name", good], "busybox", &["true"]).code_is(0);
    }
    for bad in ["", "-x", "a b", "a/b", "..", "ü"] {
        let out = e.run(&[&format!("--name={bad}")], "busybox", &["true"]);
        if e.runtime == crate::harness::Runtime::Coracle || !bad.is_empty() {
            out.code_is(125);
        }
    }
    Ok(())
}

fn pull_never(e: &Env) -> Done {
    let name = format!("{}/not-there:latest", e.machine.registry);
    e.cmd(["run", "--rm", "--pull", "never", &name, "true"])
        .run()
        .code_is(125)
        .err_has("not-there");
    Ok(())
}

fn pull_missing_is_the_default(e: &Env) -> Done {
    e.coracle_only("it wants --tls-verify=false for a loopback registry")?;
    let own = e.with_own_store();
    let name = own.machine.pushed("busybox");
    let out = own.cmd(["run", "--rm", &name, "echo", "pulled"]).ok();
    assert_eq!(
        out.out(),
        "pulled\n",
        "progress must not go to stdout: {out:?}"
    );
    own.cmd(["run", "--rm", "--pull", "never", &name, "true"])
        .ok();
    own.cmd(["run", "--rm", "--pull", "always", &name, "echo", "again"])
        .ok()
        .out_is("again\n");
    own.cmd(["run", "--rm", "--pull", "sometimes", &name, "true"])
        .run()
        .code_is(125);
    let none = format!("{}/none:latest", e.machine.registry);
    own.cmd(["run", "--rm", &none, "true"])
        .run()
        .fails_with(125, "none");
    Ok(())
}

fn closed_stdout(e: &Env) -> Done {
    let out = e
        .around(
            "\"$@\" <&- >&- 2>&-; echo $?",
            &e.run_cmd(&[], "busybox", &["true"]),
        )
        .ok();
    out.out_is("0\n");
    Ok(())
}

fn labels_and_annotations(e: &Env) -> Done {
    let flags = [
        "--label",
        "a=b",
        "--label=only-a-key",
        "-l",
        "c=d",
        "--annotation",
        "x.y=z",
    ];
    e.run(&flags, "busybox", &["true"]).code_is(0);
    Ok(())
}

fn rootfs_directory(e: &Env) -> Done {
    let root = e.subdir("rootfs");
    for d in ["bin", "proc", "sys", "dev", "etc", "tmp"] {
        e.subdir(&format!("rootfs/{d}"));
    }
    std::fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    let path = root.display().to_string();
    let script = "/bin/busybox id -u; /bin/busybox touch /made; /bin/busybox ls /";
    let cmd = e.run_name(&["--rootfs"], &path, &["/bin/busybox", "sh", "-c", script]);
    let out = cmd.ok().out();
    assert!(out.starts_with("0\nbin\ndev\netc\n"), "{out}");
    // Changes go to the directory itself: that is what the flag is for.
    assert!(root.join("made").exists());
    Ok(())
}

fn many_layers_python(e: &Env) -> Done {
    e.need(Feature::UserNamespaces)?;
    let out = e.python(
        &[],
        "import sys, json, os; print(json.dumps([6 * 7, os.getuid(), sys.version_info >= (3, 9)]))",
    );
    assert_eq!(out, "[42, 0, true]\n");
    Ok(())
}
