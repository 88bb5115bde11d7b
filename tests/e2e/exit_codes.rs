//! Exit codes of `run` (docker-run(1), "Exit Status").

use rustix::process::Signal;

use crate::harness::{Done, Env, Output, Runtime, pid_of, unique_sleep, wait_until};

suite!(
    of_the_program,
    not_found_is_127,
    not_found_in_the_path_of_the_container,
    not_executable_is_126,
    a_directory_is_126,
    wrong_format_is_126,
    missing_interpreter,
    killed_by_signal_is_128_and_n,
    killed_from_outside,
    own_failures_are_125,
    unknown_flag_is_125,
    messages_are_clear,
);

fn of_the_program(e: &Env) -> Done {
    for code in [0, 1, 42, 124, 125, 126, 127, 128, 255] {
        let script = format!("exit {code}");
        e.run(&[], "busybox", &["sh", "-c", &script])
            .code_is(code)
            .err_is("");
    }
    Ok(())
}

fn not_found_is_127(e: &Env) -> Done {
    e.run(&[], "busybox", &["no-such-program"])
        .code_is(127)
        .err_has("no-such-program");
    e.run(&[], "busybox", &["/no/such/program"])
        .code_is(127)
        .err_has("/no/such/program");
    Ok(())
}

fn not_found_in_the_path_of_the_container(e: &Env) -> Done {
    e.run(&["-e", "PATH=/nowhere"], "busybox", &["echo"])
        .code_is(127);
    e.run(&["-e", "PATH=/nowhere:/bin"], "busybox", &["echo", "x"])
        .code_is(0)
        .out_is("x\n");
    Ok(())
}

fn not_executable_is_126(e: &Env) -> Done {
    let out = e.run(&[], "busybox", &["/etc/passwd"]).code_is(126);
    e.run(
        &["--entrypoint", "/srv/not-executable"],
        "busybox-config",
        &[],
    )
    .code_is(126);
    names_the_program(e, out, "/etc/passwd");
    Ok(())
}

fn a_directory_is_126(e: &Env) -> Done {
    let out = e.run(&[], "busybox", &["/etc"]).code_is(126);
    names_the_program(e, out, "/etc");
    Ok(())
}

fn names_the_program(e: &Env, out: Output, program: &str) {
    // crun does not.
    if e.runtime == Runtime::Coracle {
        out.fails_with(126, program);
    }
}

fn wrong_format_is_126(e: &Env) -> Done {
    e.coracle_only("its code depends on the OCI runtime")?;
    let file = e.file("garbage", "\x01\x02 neither ELF nor script");
    let volume = format!("{}:/garbage", make_executable(&file));
    e.run(&["-v", &volume], "busybox", &["/garbage"])
        .fails_with(126, "/garbage");
    Ok(())
}

fn missing_interpreter(e: &Env) -> Done {
    e.coracle_only("its code depends on the OCI runtime")?;
    let file = e.file("script", "#!/no/such/interpreter\n");
    let volume = format!("{}:/script", make_executable(&file));
    let out = e.run(&["-v", &volume], "busybox", &["/script"]);
    assert!([126, 127].contains(&out.code()), "{out:?}");
    out.err_has("/script");
    Ok(())
}

fn make_executable(path: &std::path::Path) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

fn killed_by_signal_is_128_and_n(e: &Env) -> Done {
    // A child, since PID 1 is immune to most signals from within.
    for (signal, code) in [("KILL", 137), ("TERM", 143), ("SEGV", 139), ("USR1", 138)] {
        let script = format!("sh -c 'kill -{signal} $$'; exit $?");
        e.run(&[], "busybox", &["sh", "-c", &script]).code_is(code);
    }
    Ok(())
}

fn killed_from_outside(e: &Env) -> Done {
    e.coracle_only("its conmon stands between")?;
    let sleep = unique_sleep();
    let script = format!("exec {sleep}");
    let p = e.run_cmd(&[], "busybox", &["sh", "-c", &script]).spawn();
    wait_until("it sleeps", || pid_of(&sleep).is_some());
    rustix::process::kill_process(pid_of(&sleep).unwrap(), Signal::KILL).unwrap();
    let out = p.wait();
    assert_eq!(
        out.killed_by(),
        None,
        "coracle itself must not die of it: {out:?}"
    );
    out.code_is(137);
    Ok(())
}

fn own_failures_are_125(e: &Env) -> Done {
    e.run(
        &["-v", "relative/path-with:too:many:colons:here"],
        "busybox",
        &["true"],
    )
    .code_is(125);
    e.run(&["--user", "no-such-user"], "busybox", &["true"])
        .code_is(match e.runtime {
            Runtime::Coracle => 125,
            // Its OCI runtime's code.
            Runtime::Podman => 126,
        });
    e.run(&["--env-file", "/no/such/file"], "busybox", &["true"])
        .code_is(125)
        .err_has("/no/such/file");
    Ok(())
}

fn unknown_flag_is_125(e: &Env) -> Done {
    e.cmd(["run", "--no-such-flag", "x"])
        .run()
        .code_is(125)
        .err_has("no-such-flag");
    Ok(())
}

fn messages_are_clear(e: &Env) -> Done {
    e.coracle_only("the words are ours")?;
    let out = e
        .run(&[], "busybox", &["no-such-program"])
        .fails_with(127, "no-such-program");
    assert!(out.err().starts_with("coracle: "), "{out:?}");
    out.out_is("");
    let out = e.cmd(["run"]).run().code_is(125);
    assert!(out.err().contains("Usage"), "{out:?}");
    e.cmd(["run", "--rm", "UPPER:case:name"])
        .run()
        .fails_with(125, "UPPER");
    Ok(())
}
