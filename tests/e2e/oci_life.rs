//! The life of a bundle's container under `coracle-oci`: runtime-spec, runtime.md, and what callers expect of runc.

use serde_json::{Value, json};

use crate::harness::{Bundle, Cmd, Done, Env, pid_of, unique_sleep, wait_until};

suite!(
    from_create_to_delete,
    run_is_all_in_one,
    the_same_verbs_under_coracle,
    ids_cannot_be_paths,
    options_may_follow_the_id,
    whatever_is_killed_can_be_deleted,
    a_creation_that_was_broken_off_leaves_no_process,
    hooks_run_in_their_order,
    a_hook_that_fails_or_hangs_ends_the_creation,
    a_process_that_is_killed_while_it_is_made_hangs_nobody,
    further_programs,
    a_program_that_is_not_there,
    errors_go_to_the_log,
    terminals_go_to_the_console_socket,
    descriptors_are_handed_on_when_asked,
    signals_reach_all_processes,
    features_and_spec,
);

fn from_create_to_delete(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("echo hello; exec sleep 1000", |_| {});
    let (code, said) = b.detached(["create", "--pid-file", "pid", "c"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let state = b.state("c");
    assert_eq!(state["status"], "created");
    assert_eq!(state["bundle"], b.dir.to_str().unwrap());
    assert_eq!(state["id"], "c");
    let pid = state["pid"].as_i64().unwrap();
    assert_eq!(
        std::fs::read_to_string(b.dir.join("pid")).unwrap(),
        pid.to_string()
    );
    assert_eq!(b.printed(), "", "nothing has run yet");
    b.cmd(["create", "c"]).run().fails_with(1, "exists already");
    b.cmd(["delete", "c"]).run().fails_with(1, "it is created");
    b.cmd(["list", "-q"]).ok().out_is("c\n");
    let list: Value = serde_json::from_slice(&b.cmd(["list", "-f", "json"]).ok().stdout).unwrap();
    assert_eq!(list[0]["pid"], pid);

    b.cmd(["start", "c"]).ok().out_is("").err_is("");
    wait_until("it runs", || b.printed() == "hello\n");
    assert_eq!(b.status("c"), "running");
    assert_eq!(b.state("c")["pid"], pid);
    b.cmd(["start", "c"]).run().fails_with(1, "it is running");
    b.cmd(["delete", "c"]).run().fails_with(1, "it is running");
    let pids: Value =
        serde_json::from_slice(&b.cmd(["ps", "-f", "json", "c"]).ok().stdout).unwrap();
    assert_eq!(pids, json!([pid]));
    b.cmd(["ps", "c"]).ok().out_has("sleep 1000");

    b.cmd(["kill", "c", "KILL"]).ok();
    wait_until("it ended", || b.status("c") == "stopped");
    b.cmd(["kill", "c", "TERM"])
        .run()
        .fails_with(1, "not running");
    b.cmd(["start", "c"]).run().fails_with(1, "it is stopped");
    b.cmd(["delete", "c"]).ok();
    for verb in ["state", "start", "delete", "kill", "ps", "pause"] {
        b.cmd([verb, "c"]).run().fails_with(1, "does not exist");
    }
    b.cmd(["delete", "--force", "c"]).ok();
    b.nothing_left();
    Ok(())
}

fn run_is_all_in_one(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("id -u; hostname; exit 7", |_| {});
    b.run().code_is(7).out_is("0\ncoracle\n");
    b.nothing_left();
    b.script("kill -9 $$", |c| {
        // Not the first process of a pid namespace, which is not killed from within.
        c["process"]["args"] = json!(["sh", "-c", "sh -c 'kill -9 $$'; exit $?"]);
    });
    b.run().code_is(137);
    b.cmd(["run", "--keep", "c"]).run().code_is(137);
    assert_eq!(b.status("c"), "stopped");
    b.cmd(["delete", "c"]).ok();
    b.script("sleep 1000", |_| {});
    assert_eq!(b.detached(["run", "--detach", "c"]).0, 0);
    assert_eq!(b.status("c"), "running");
    b.cmd(["delete", "-f", "c"]).ok();
    b.nothing_left();
    Ok(())
}

fn the_same_verbs_under_coracle(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("echo here", |_| {});
    let state = e.dir.join("other");
    e.user(["coracle", "--root"])
        .arg(state)
        .args(["oci", "run", "x"])
        .cwd(&b.dir)
        .ok()
        .out_is("here\n");
    Ok(())
}

fn ids_cannot_be_paths(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    for id in ["..", ".", "a/b", "../b", "", "a b", "\u{1b}[2J"] {
        for verb in ["create", "state", "delete"] {
            b.cmd([verb, "--", id]).run().fails_with(1, "");
        }
        b.cmd(["delete", "--force", "--", id])
            .run()
            .fails_with(1, "");
    }
    assert!(b.dir.join("rootfs").exists());
    Ok(())
}

fn options_may_follow_the_id(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("echo $0 from the bundle", |_| {});
    std::fs::rename(b.dir.join("config.json"), b.dir.join("other.json")).unwrap();
    let at = b.dir.to_str().unwrap().to_owned();
    b.cmd(["run", "c", "--bundle", &at, "--config", "other.json"])
        .cwd("/")
        .run()
        .fails_with(1, "other.json");
    let config = format!("{at}/other.json");
    b.cmd(["run", "c", "--bundle", &at, "--config", &config])
        .cwd("/")
        .ok()
        .out_is("sh from the bundle\n");
    for ignored in [
        &["--debug", "--systemd-cgroup"][..],
        &["--rootless=auto", "--criu", "x"],
        &["--rootless", "--log-level", "debug"],
        &["--cgroup-manager", "disabled"],
    ] {
        b.cmd(
            ignored
                .iter()
                .copied()
                .chain(["run", "--config", &config, "c"]),
        )
        .ok();
    }
    Ok(())
}

fn whatever_is_killed_can_be_deleted(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("sleep 1000", |_| {});
    // The process that waits for its start.
    assert_eq!(b.detached(["create", "c"]).0, 0);
    let kill = |pid: &Value| {
        let pid = rustix::process::Pid::from_raw(pid.as_i64().unwrap() as i32).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    };
    kill(&b.state("c")["pid"]);
    wait_until("it ended", || b.status("c") == "stopped");
    b.cmd(["start", "c"]).run().fails_with(1, "it is stopped");
    b.cmd(["delete", "c"]).ok();
    // A program that runs.
    assert_eq!(b.detached(["run", "-d", "c"]).0, 0);
    kill(&b.state("c")["pid"]);
    wait_until("it ended", || b.status("c") == "stopped");
    b.cmd(["delete", "c"]).ok();
    b.nothing_left();
    Ok(())
}

fn a_creation_that_was_broken_off_leaves_no_process(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let sleep = unique_sleep();
    b.script(&format!("exec {sleep}"), |_| {});
    for pause in 0..25 {
        // Killed at every step of the way, or not before the end.
        let script = format!(
            "\"$@\" </dev/null >/dev/null 2>&1 & sleep 0.{:03}; kill -9 $! 2>/dev/null; wait",
            pause * 3
        );
        b.around(&script, &b.cmd(["create", "c"])).run();
        b.cmd(["delete", "--force", "c"]).ok();
        b.nothing_left();
    }
    let waiting = format!("{}/bin/coracle-oci", e.machine.dir.display());
    wait_until("no process waits", || pid_of(&waiting).is_none());
    assert_eq!(pid_of(&sleep), None);
    Ok(())
}

/// A hook that writes its name, status and pid to a file of the host.
fn hook(b: &Bundle<'_>, name: &str) -> Value {
    let script = format!(
        "state=$(cat); echo \"$state\" | grep -o '\"status\":\"[a-z]*\"' | sed \"s/^/{name} $WHO /\" >>{}/hooks",
        b.dir.display()
    );
    json!([{ "path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/usr/bin:/bin", "WHO=me"], "timeout": 60 }])
}

fn hooks_run_in_their_order(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let inside = "cat >/state; echo startContainer >>/inside";
    b.script("echo program >>/inside", |c| {
        for name in [
            "prestart",
            "createRuntime",
            "createContainer",
            "poststart",
            "poststop",
        ] {
            c["hooks"][name] = hook(&b, name);
        }
        c["hooks"]["startContainer"] =
            json!([{ "path": "/bin/sh", "args": ["sh", "-c", inside], "env": ["PATH=/bin"] }]);
        c["annotations"] = json!({ "org.example": "kept" });
    });
    let hooks = || std::fs::read_to_string(b.dir.join("hooks")).unwrap_or_default();
    assert_eq!(b.detached(["create", "c"]), (0, String::new()));
    let created = "prestart me \"status\":\"creating\"\ncreateRuntime me \"status\":\"creating\"\n\
                   createContainer me \"status\":\"creating\"\n";
    assert_eq!(hooks(), created);
    assert!(!b.dir.join("rootfs/inside").exists());
    b.cmd(["start", "c"]).ok();
    wait_until("it ended", || b.status("c") == "stopped");
    assert_eq!(
        hooks(),
        format!("{created}poststart me \"status\":\"running\"\n")
    );
    let inside = std::fs::read_to_string(b.dir.join("rootfs/inside")).unwrap();
    assert_eq!(inside, "startContainer\nprogram\n");
    let state = std::fs::read(b.dir.join("rootfs/state")).unwrap();
    let state: Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["status"], "created");
    assert_eq!(state["annotations"]["org.example"], "kept");
    assert!(state["pid"].as_i64().unwrap() > 0);
    b.cmd(["delete", "c"]).ok();
    assert!(hooks().ends_with("poststop me \"status\":\"stopped\"\n"));
    Ok(())
}

fn a_hook_that_fails_or_hangs_ends_the_creation(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let fails = json!([{ "path": "/bin/sh", "args": ["sh", "-c", "echo not today >&2; exit 3"] }]);
    let hangs = json!([{ "path": "/bin/sleep", "args": ["sleep", "1000"], "timeout": 1 }]);
    let missing = json!([{ "path": "/no/such/hook" }]);
    for name in ["prestart", "createRuntime", "createContainer"] {
        for (hook, why) in [
            (&fails, "not today"),
            (&hangs, "within 1 s"),
            (&missing, "cannot be run"),
        ] {
            b.script("true", |c| c["hooks"][name] = hook.clone());
            let (code, said) = b.detached(["create", "c"]);
            assert_eq!(code, 1);
            assert!(said.contains(name) && said.contains(why), "{name}: {said}");
            b.nothing_left();
        }
    }
    // In the container, where the program is looked for in its root.
    b.script("true", |c| c["hooks"]["startContainer"] = fails.clone());
    assert_eq!(b.detached(["create", "c"]).0, 0);
    b.cmd(["start", "c"]).run().fails_with(1, "not today");
    wait_until("it ended", || b.status("c") == "stopped");
    b.cmd(["delete", "c"]).ok();
    // After the end a failure is told, and keeps nothing.
    b.script("true", |c| c["hooks"]["poststop"] = fails.clone());
    b.cmd(["run", "c"]).ok();
    b.nothing_left();
    b.script("true", |c| {
        c["hooks"]["prestart"] = json!([{ "path": "relative" }])
    });
    b.run().fails_with(1, "not absolute");
    Ok(())
}

fn a_process_that_is_killed_while_it_is_made_hangs_nobody(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let kill = r#"kill -9 $(grep -o '"pid":[0-9]*' | cut -d: -f2)"#;
    b.script("true", |c| {
        c["hooks"]["createRuntime"] = json!([{ "path": "/bin/sh", "args": ["sh", "-c", kill] }]);
    });
    let (code, said) = b.detached(["create", "c"]);
    assert_eq!(code, 1, "{said}");
    b.cmd(["list", "-q"]).ok().out_is("");
    Ok(())
}

fn further_programs(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script("sleep 1000", |c| {
        c["process"]["env"] = json!(["PATH=/bin", "A=1"])
    });
    assert_eq!(b.detached(["run", "-d", "c"]).0, 0);
    b.cmd(["exec", "c", "sh", "-c", "exit 9"]).run().code_is(9);
    b.cmd([
        "exec",
        "--cwd",
        "/tmp",
        "-e",
        "B=2",
        "c",
        "sh",
        "-c",
        "pwd; echo $A$B; id -u",
    ])
    .ok()
    .out_is("/tmp\n12\n0\n");
    b.cmd(["exec", "c", "cat"])
        .stdin("through\n")
        .ok()
        .out_is("through\n");
    b.cmd(["exec", "c", "no-such-program"])
        .run()
        .fails_with(255, "not found in $PATH");
    b.cmd([
        "exec",
        "--cap",
        "CAP_SYS_ADMIN",
        "c",
        "grep",
        "CapEff",
        "/proc/self/status",
    ])
    .ok()
    .out_is("CapEff:\t0000000020200420\n");
    let process = json!({ "args": ["sh", "-c", "echo $X; umask; pwd"], "cwd": "/bin",
        "env": ["PATH=/bin", "X=file"], "user": { "uid": 0, "gid": 0, "umask": 0o77 } });
    let file = e.file("process.json", process.to_string());
    b.cmd(["exec", "--process"])
        .arg(&file)
        .arg("c")
        .ok()
        .out_is("file\n0077\n/bin\n");
    let (code, said) = b.detached(["exec", "-d", "--pid-file", "further", "c", "sleep", "500"]);
    assert_eq!((code, said.as_str()), (0, ""));
    let pid: i64 = std::fs::read_to_string(b.dir.join("further"))
        .unwrap()
        .parse()
        .unwrap();
    let pids: Value =
        serde_json::from_slice(&b.cmd(["ps", "-f", "json", "c"]).ok().stdout).unwrap();
    assert!(pids.as_array().unwrap().contains(&json!(pid)), "{pids}");
    b.cmd(["delete", "-f", "c"]).ok();
    b.cmd(["exec", "c", "true"])
        .run()
        .fails_with(255, "does not exist");
    Ok(())
}

fn a_program_that_is_not_there(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.configure(|c| c["process"]["args"] = json!(["no-such-program"]));
    let (code, said) = b.detached(["create", "c"]);
    // podman knows it by these words.
    assert!(
        code == 1
            && said.contains("`no-such-program` not found in $PATH: No such file or directory"),
        "{said}"
    );
    b.nothing_left();
    b.configure(|c| c["process"]["args"] = json!([]));
    b.run().fails_with(1, "process.args");
    // It is there when it is created, and cannot be executed when it is started.
    std::fs::write(b.dir.join("rootfs/bad"), "no program").unwrap();
    std::fs::set_permissions(
        b.dir.join("rootfs/bad"),
        std::os::unix::fs::PermissionsExt::from_mode(0o755),
    )
    .unwrap();
    b.configure(|c| c["process"]["args"] = json!(["/bad"]));
    assert_eq!(b.detached(["create", "c"]).0, 0);
    b.cmd(["start", "c"])
        .run()
        .fails_with(1, "Exec format error");
    b.cmd(["delete", "--force", "c"]).ok();
    Ok(())
}

fn errors_go_to_the_log(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.cmd([
        "--log",
        "log.json",
        "--log-format",
        "json",
        "state",
        "nobody",
    ])
    .run()
    .fails_with(1, "does not exist");
    let log = std::fs::read_to_string(b.dir.join("log.json")).unwrap();
    let line: Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!(line["level"], "error");
    assert!(
        line["msg"]
            .as_str()
            .unwrap()
            .contains("\"nobody\" does not exist")
    );
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    b.cmd(["--log", "log.txt", "state", "nobody"])
        .run()
        .code_is(1);
    let log = std::fs::read_to_string(b.dir.join("log.txt")).unwrap();
    assert!(log.contains("level=error msg=\"container"), "{log}");
    Ok(())
}

/// Listens at `console`, runs a command, and prints what comes from the terminal that arrives.
const CONSOLE: &str = r#"
import array, os, socket, subprocess, sys
s = socket.socket(socket.AF_UNIX); s.bind("console"); s.listen(); os.chmod("console", 0o666)
ends = subprocess.run(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
assert ends.returncode == 0, ends
c, _ = s.accept()
name, fds, _, _ = socket.recv_fds(c, 100, 1)
assert name and len(fds) == 1, (name, fds)
os.write(fds[0], b"typed\n")
text = b""
while b"done" not in text:
    try: part = os.read(fds[0], 1000)
    except OSError: break
    text += part
print(text.decode())
"#;

fn terminals_go_to_the_console_socket(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script(
        "tty; stty size; read word; echo got $word; ls -l /dev/console | cut -c1; echo done",
        |c| {
            c["process"]["terminal"] = json!(true);
            c["process"]["consoleSize"] = json!({ "height": 31, "width": 77 });
        },
    );
    b.cmd(["create", "c"])
        .run()
        .fails_with(1, "--console-socket");
    Cmd::host(["python3", "-c", CONSOLE])
        .args(
            b.cmd(["run", "-d", "--console-socket", "console", "c"])
                .argv(),
        )
        .cwd(&b.dir)
        .ok()
        .out_has("/dev/pts/0")
        .out_has("31 77")
        .out_has("got typed")
        .out_has("\nc");
    b.cmd(["delete", "-f", "c"]).ok();
    b.script("true", |_| {});
    b.cmd(["create", "--console-socket", "console", "c"])
        .run()
        .fails_with(1, "--console-socket is for");
    Ok(())
}

fn descriptors_are_handed_on_when_asked(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let given = e.file("given", "handed on\n");
    let show = "ls /proc/self/fd | wc -l; cat <&3; cat <&4";
    b.script(show, |_| {});
    let script = format!("exec 3<{0} 4<{0}; exec \"$@\"", given.display());
    // The shell's three, and that of ls for the directory.
    let out = b
        .around(&script, &b.cmd(["run", "--preserve-fds", "2", "c"]))
        .ok();
    assert_eq!(out.out(), "6\nhanded on\nhanded on\n", "{out:?}");
    let out = b.around(&script, &b.cmd(["run", "c"])).run();
    assert!(
        out.out().starts_with("4\n") && !out.out().contains("handed"),
        "{out:?}"
    );
    b.cmd(["run", "--preserve-fds", "7", "c"])
        .run()
        .fails_with(1, "descriptor 3 is not open");
    Ok(())
}

fn signals_reach_all_processes(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    b.script(
        "trap 'echo caught; exit 0' USR1; sleep 1000 & echo ready; wait",
        |_| {},
    );
    assert_eq!(b.detached(["run", "-d", "c"]).0, 0);
    wait_until("it is ready", || b.printed().contains("ready"));
    b.cmd(["kill", "c", "0"]).ok();
    b.cmd(["kill", "c", "NOSUCH"])
        .run()
        .fails_with(1, "no signal");
    b.cmd(["kill", "c", "10"]).ok();
    wait_until("it ended", || b.status("c") == "stopped");
    assert!(b.printed().contains("caught"));
    b.cmd(["delete", "c"]).ok();
    // Without a pid namespace the others do not end with the first.
    let sleep = unique_sleep();
    b.script(&format!("{sleep} & exec sleep 1000"), |c| {
        let all = c["linux"]["namespaces"].as_array_mut().unwrap();
        all.retain(|n| n["type"] != "pid");
    });
    assert_eq!(b.detached(["run", "-d", "c"]).0, 0);
    wait_until("it runs", || pid_of(&sleep).is_some());
    b.cmd(["kill", "--all", "c", "KILL"]).ok();
    wait_until("all have ended", || pid_of(&sleep).is_none());
    b.cmd(["delete", "-f", "c"]).ok();
    Ok(())
}

fn features_and_spec(e: &Env) -> Done {
    let b = Bundle::new(e, "b");
    let features: Value = serde_json::from_slice(&b.cmd(["features"]).ok().stdout).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["hooks"].as_array().unwrap().len(), 6);
    assert!(
        features["linux"]["namespaces"]
            .as_array()
            .unwrap()
            .contains(&json!("time"))
    );
    b.cmd(["--version"])
        .ok()
        .out_has("coracle-oci version")
        .out_has("\nspec: 1.");
    b.cmd(["spec"]).run().fails_with(1, "exists");
    std::fs::remove_file(b.dir.join("config.json")).unwrap();
    b.cmd(["spec", "--rootless"]).ok();
    let text = std::fs::read(b.dir.join("config.json")).unwrap();
    let mut config: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(config["linux"]["uidMappings"][0]["hostID"], e.machine.uid);
    config["process"]["terminal"] = json!(false);
    config["process"]["args"] = json!(["echo", "rootless"]);
    std::fs::write(b.dir.join("config.json"), config.to_string()).unwrap();
    assert_eq!(b.out(), "rootless\n");
    b.cmd(["no-such-verb"]).run().fails_with(1, "no-such-verb");
    Ok(())
}
