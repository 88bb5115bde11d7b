//! Nothing of the host leaks in: descriptors, environment, directory, groups, the binary itself.

use std::os::unix::fs::PermissionsExt as _;

use crate::harness::{Cmd, Done, Env, Feature, digest};

suite!(
    no_descriptors,
    inherited_descriptors_stay_outside,
    working_directory_stays_outside,
    no_directory_of_the_host_by_descriptor,
    groups_of_the_caller,
    umask_is_the_usual_one,
    no_session_of_the_caller,
    limits_are_not_changed,
    environment_of_pid_one,
    command_line_of_pid_one,
    binary_cannot_be_overwritten,
    binary_cannot_be_overwritten_by_its_own_name,
    binary_of_an_administrator,
    nothing_below_the_store_is_reachable,
    no_abstract_sockets_of_the_host,
    nice_and_oom_score,
);

const FDS: &str = "ls /proc/self/fd | sort -n | tr '\\n' ' '";

fn no_descriptors(e: &Env) -> Done {
    // 0, 1, 2, and the one by which ls reads the directory.
    assert_eq!(e.sh(&[], FDS), "0 1 2 3 ");
    assert_eq!(e.sh(&["--init"], FDS), "0 1 2 3 ");
    assert_eq!(e.sh(&["-i"], FDS), "0 1 2 3 ");
    Ok(())
}

fn inherited_descriptors_stay_outside(e: &Env) -> Done {
    let cmd = e.run_cmd(&[], "busybox", &["sh", "-c", FDS]);
    let out = e.around("exec 5</etc/passwd 7>/dev/null 9</; exec \"$@\"", &cmd);
    out.ok().out_is("0 1 2 3 ");
    Ok(())
}

fn working_directory_stays_outside(e: &Env) -> Done {
    let deep = e.subdir("somewhere");
    let cmd = e.run_cmd(
        &[],
        "busybox",
        &["sh", "-c", "pwd; readlink /proc/self/cwd"],
    );
    e.around("cd \"$DIR\"; exec \"$@\"", &cmd)
        .env("DIR", &deep)
        .ok()
        .out_is("/\n/\n");
    Ok(())
}

fn no_directory_of_the_host_by_descriptor(e: &Env) -> Done {
    // CVE-2024-21626: the working directory set to a descriptor that the runtime still holds. What
    // counts is where one comes out, so the climb is as long as any path.
    let climb = "../".repeat(40);
    let script = format!("cat {climb}etc/os-release; cd .. && cat etc/os-release; ls {climb}");
    for flags in [&[][..], &["--init"], &["-t"]] {
        for fd in 0..24 {
            for base in [
                "/proc/self/fd",
                "/proc/1/fd",
                "/dev/fd",
                "/proc/thread-self/fd",
            ] {
                let dir = format!("{base}/{fd}");
                let out = e.run(
                    &[flags, &["-w", &dir]].concat(),
                    "busybox",
                    &["sh", "-c", &script],
                );
                // busybox has no os-release; the machine does.
                let text = out.out();
                assert!(
                    !text.contains("VERSION"),
                    "{dir}: out of the container: {out:?}"
                );
                assert_eq!(out.code(), 125, "{dir}: {out:?}");
            }
        }
    }
    Ok(())
}

fn groups_of_the_caller(e: &Env) -> Done {
    e.need(Feature::Root)?;
    // One id cannot drop groups (setgroups is denied), but none may show by number or name.
    let image = e.image("busybox");
    let cmd = e.user([
        "coracle",
        "run",
        "--rm",
        "--network=none",
        &image,
        "id",
        "-G",
    ]);
    let argv: Vec<_> = cmd
        .argv()
        .into_iter()
        .map(|w| {
            if w == "--clear-groups" {
                "--groups=54321".into()
            } else {
                w
            }
        })
        .collect();
    let out = Cmd::host(argv).cwd(&e.dir).ok();
    assert!(!out.out().contains("54321"), "{out:?}");
    Ok(())
}

fn umask_is_the_usual_one(e: &Env) -> Done {
    let cmd = e.run_cmd(&[], "busybox", &["sh", "-c", "umask"]);
    e.around("umask 077; exec \"$@\"", &cmd)
        .ok()
        .out_is("0022\n");
    Ok(())
}

fn no_session_of_the_caller(e: &Env) -> Done {
    // Session and process group start inside.
    assert_eq!(e.sh(&[], "cut -d' ' -f5,6 /proc/1/stat; :"), "1 1\n");
    Ok(())
}

fn limits_are_not_changed(e: &Env) -> Done {
    let cmd = e.run_cmd(
        &[],
        "busybox",
        &["sh", "-c", "ulimit -n; ulimit -c; ulimit -s"],
    );
    let outside = Cmd::host([
        "sh",
        "-c",
        "ulimit -n 333; ulimit -c 0; ulimit -n; ulimit -c; ulimit -s",
    ])
    .ok()
    .out();
    e.around("ulimit -n 333; ulimit -c 0; exec \"$@\"", &cmd)
        .ok()
        .out_is(&outside);
    Ok(())
}

fn environment_of_pid_one(e: &Env) -> Done {
    for flags in [&[][..], &["--init"]] {
        let cmd = e.run_cmd(
            flags,
            "busybox",
            &["sh", "-c", "tr '\\0' '\\n' </proc/1/environ; :"],
        );
        cmd.env("SECRET_TOKEN", "hunter2")
            .ok()
            .out_lacks("hunter2")
            .out_lacks("CORACLE_ROOT");
    }
    Ok(())
}

fn command_line_of_pid_one(e: &Env) -> Done {
    // With --init, PID 1 is ours: its command line must not tell of the host.
    let out = e.sh(
        &["--init", "-e", "X=1"],
        "tr '\\0' ' ' </proc/1/cmdline; readlink /proc/1/exe; :",
    );
    assert!(!out.contains(&e.machine.dir.display().to_string()), "{out}");
    Ok(())
}

/// A program that tries to write to every coracle it can see, for as long as it runs.
const ATTACK: &str = r#"
import os, time
end = time.monotonic() + 2
hits = set()
while time.monotonic() < end:
    for pid in [p for p in os.listdir('/proc') if p.isdigit()] + ['self']:
        exe = f'/proc/{pid}/exe'
        try:
            if not any(w in os.readlink(exe) for w in ('coracle', 'memfd', 'deleted')) and pid != '1':
                continue
            fd = os.open(exe, os.O_PATH)
        except OSError:
            continue
        for flags in (os.O_WRONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
            try:
                w = os.open(f'/proc/self/fd/{fd}', flags)
                os.write(w, b'#!/bin/sh\necho owned\n')
                hits.add(exe)
                os.close(w)
            except OSError:
                pass
        try:
            os.unlink(os.readlink(exe))
        except OSError:
            pass
        os.close(fd)
print('attacked', sorted(hits))
"#;

fn binary_cannot_be_overwritten(e: &Env) -> Done {
    // CVE-2019-5736. The user owns the binary, so that only our own care protects it.
    let before = digest(&std::fs::read(&e.machine.binary).unwrap());
    let out = e
        .run(&["--init"], "python", &["python3", "-c", ATTACK])
        .code_is(0);
    assert_eq!(
        before,
        digest(&std::fs::read(&e.machine.binary).unwrap()),
        "{out:?}"
    );
    Ok(())
}

fn binary_cannot_be_overwritten_by_its_own_name(e: &Env) -> Done {
    let before = std::fs::read(&e.machine.binary).unwrap();
    // A program that is /proc/self/exe runs coracle itself inside, if it runs at all.
    let script = e.file("loop", "#!/proc/self/exe\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let v = format!("{}:/loop", script.display());
    for flags in [
        &["--entrypoint", "/proc/self/exe"][..],
        &["--entrypoint", "/proc/1/exe"],
        &["-v", &v, "--entrypoint", "/loop"],
        &["--init", "--entrypoint", "/proc/self/exe"],
    ] {
        let out = e.run_cmd(flags, "busybox", &["--version"]).run();
        assert!(out.code() != 0 || !out.out().is_empty(), "{out:?}");
    }
    // A script with that interpreter, which then writes through what it was given.
    let script = "(sleep 0.2; for p in /proc/[0-9]*; do for f in $p/exe; do echo x >>$f; done; done) 2>/dev/null & /proc/self/exe true; wait";
    let _ = e.run(&["--init"], "busybox", &["sh", "-c", script]);
    assert!(
        before == std::fs::read(&e.machine.binary).unwrap(),
        "the binary has changed"
    );
    Ok(())
}

fn binary_of_an_administrator(e: &Env) -> Done {
    // Owned by root and closed to the user, it is not hidden by a stub: the kernel protects it.
    e.need(Feature::Root)?;
    let dir = e.dir.join("installed");
    std::fs::create_dir_all(&dir).unwrap();
    let installed = dir.join("coracle");
    std::fs::copy(&e.machine.binary, &installed).unwrap();
    std::fs::set_permissions(&installed, std::fs::Permissions::from_mode(0o755)).unwrap();
    let before = digest(&std::fs::read(&installed).unwrap());
    let run = |flags: &[&str], image: &str, args: &[&str]| {
        let name = e.image(image);
        let words = [
            &["run", "--rm", "--network=none"],
            flags,
            &[name.as_str()],
            args,
        ]
        .concat();
        e.user([installed.as_os_str()]).args(words).limit(20).run()
    };
    run(&[], "python", &["python3", "-c", ATTACK]).code_is(0);
    let script = e.file("loop", "#!/proc/self/exe\n");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let v = format!("{}:/loop", script.display());
    for flags in [
        &["--entrypoint", "/proc/self/exe"][..],
        &["-v", &v, "--entrypoint", "/loop"],
    ] {
        run(flags, "busybox", &["--version"]);
    }
    assert_eq!(before, digest(&std::fs::read(&installed).unwrap()));
    // Without the stub, too, a program that cannot be executed is told from one that is not there.
    let text = e.file("text", "no program\n");
    let v = format!("{}:/text", text.display());
    run(&["-v", &v], "busybox", &["/text"]).code_is(126);
    run(&[], "busybox", &["/no/such"]).code_is(127);
    run(&["-v", &v], "busybox", &["sh", "-c", "exit 5"]).code_is(5);
    Ok(())
}

fn nothing_below_the_store_is_reachable(e: &Env) -> Done {
    // The lower directories of the overlay are named in the mount options: the path must lead nowhere.
    let root = e.root().display().to_string();
    let out = e.run(&[], "busybox", &["ls", &root]);
    assert_ne!(out.code(), 0, "{out:?}");
    Ok(())
}

fn no_abstract_sockets_of_the_host(e: &Env) -> Done {
    let out = e.sh(&[], "tail -n +2 /proc/net/unix | wc -l");
    assert_eq!(out, "0\n");
    Ok(())
}

fn nice_and_oom_score(e: &Env) -> Done {
    let script = "cat /proc/self/oom_score_adj; cut -d' ' -f19 /proc/self/stat; :";
    let out = Cmd::host(["sh", "-c", script]).ok().out();
    e.run_cmd(&[], "busybox", &["sh", "-c", script])
        .ok()
        .out_is(&out);
    Ok(())
}
