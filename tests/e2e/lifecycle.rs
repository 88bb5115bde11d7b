//! Containers in the background: `run -d`, `create`, `start`, `stop`, `kill`, `wait`, `attach`, `pause`, restart
//! policies, and what is left when one of the processes is killed.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::run_tty::on_terminal;
use crate::harness::{Done, Env, Output, pid_of, unique_sleep, wait_until};

suite!(
    lives_without_its_caller,
    starts_again_with_what_it_wrote,
    is_waited_for,
    shows_its_output_from_the_first_byte,
    input_comes_from_who_is_attached,
    detach_keys_leave_it_alone,
    is_started_again_as_its_policy_says,
    a_stop_ends_the_restarts,
    is_stopped_by_its_own_signal,
    pause_stops_all_of_it,
    a_shared_pid_namespace_is_not_paused,
    has_another_name,
    is_removed_by_force,
    one_that_removes_itself_leaves_nothing,
    a_failed_start_leaves_nothing,
    is_reached_in_the_foreground_too,
    files_for_scripts,
    ends_when_its_time_is_over,
    its_health_is_tested,
    a_monitor_is_small,
    a_killed_monitor_takes_it_along,
    an_ended_monitor_ends_it_for_good,
    a_recorded_number_fools_nobody,
    nothing_is_lost_under_random_kills,
    a_hundred_at_once,
    starts_what_shall_run_after_a_reboot,
);

/// A store of its own with busybox in it.
fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

/// `run -d` with these options, running this script; its id.
fn detached(e: &Env, image: &str, options: &[&str], script: &str) -> String {
    let out = e
        .cmd(["run", "-d", "--network=none"])
        .args(options)
        .args([image, "sh", "-c", script])
        .ok();
    let id = out.out().trim().to_owned();
    assert_eq!(id.len(), 64, "{out:?}");
    id
}

fn ps(e: &Env, format: &str) -> String {
    e.cmd(["ps", "-a", "--format", format]).ok().out()
}

fn state(e: &Env, id: &str) -> Value {
    let file = ["containers", "ephemeral"]
        .iter()
        .map(|d| e.root().join(d).join(id).join("state.json"))
        .find(|f| f.exists());
    serde_json::from_slice(&std::fs::read(file.unwrap()).unwrap()).unwrap()
}

fn log(e: &Env, id: &str) -> String {
    std::fs::read_to_string(e.root().join("containers").join(id).join("log")).unwrap()
}

fn lives_without_its_caller(e: &Env) -> Done {
    let (own, image) = own(e);
    let sleep = unique_sleep();
    let script = format!("echo out; echo err >&2; exec {sleep}");
    let id = detached(&own, &image, &["--name", "web"], &script);
    wait_until("it runs", || pid_of(&sleep).is_some());
    assert_eq!(ps(&own, "{{.Names}} {{.State}}"), "web running\n");
    wait_until("both lines are in the log", || {
        let log = log(&own, &id);
        log.contains(" stdout F out\n") && log.contains(" stderr F err\n")
    });
    let state = state(&own, &id);
    assert_eq!(state["status"], "running");
    let pid = pid_of(&sleep).unwrap().as_raw_nonzero().get();
    assert_eq!(state["pid"], pid);
    own.cmd(["rm", "web"])
        .run()
        .code_is(2)
        .err_has("is running");
    own.cmd(["stop", "-t", "0", "web"]).ok().out_is("web\n");
    assert!(pid_of(&sleep).is_none());
    assert!(ps(&own, "{{.Status}}").starts_with("Exited (137) "));
    // Nothing but the container's own things is left, and no process of ours.
    own.cmd(["rm", "web"]).ok();
    assert_eq!(ps(&own, "{{.ID}}"), "");
    Ok(())
}

fn starts_again_with_what_it_wrote(e: &Env) -> Done {
    let (own, image) = own(e);
    // What a foreground run left can be started, too.
    own.cmd(["run", "--name", "f", "--network=none", image.as_str()])
        .args(["sh", "-c", "echo x >>/n; wc -l </n; exit 3"])
        .run()
        .code_is(3)
        .out_is("1\n");
    own.cmd(["start", "-a", "f"]).run().code_is(3).out_is("2\n");
    own.cmd(["rm", "f"]).ok();
    let script = "echo $A >>/n; chown 5:7 /n; wc -l </n; stat -c %u:%g /n";
    let out = own
        .cmd(["create", "--name", "c", "-e", "A", "--network=none"])
        .env("A", "from the caller")
        .args([image.as_str(), "sh", "-c", script])
        .ok();
    assert_eq!(ps(&own, "{{.State}} {{.Status}}"), "created Created\n");
    own.cmd(["start", "-a", "c"]).ok().out_is("1\n5:7\n");
    // The image may be called something else by now.
    own.cmd(["untag", &image]).ok();
    own.cmd(["start", "-a", "c"]).ok().out_is("2\n5:7\n");
    let id = out.out().trim().to_owned();
    assert_eq!(log(&own, &id).lines().count(), 4);
    Ok(())
}

fn is_waited_for(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(&own, &image, &[], "sleep 0.3; exit 7");
    own.cmd(["wait", &id]).ok().out_is("7\n");
    // Whoever was told may remove it at once.
    own.cmd(["rm", &id]).ok();
    let id = detached(&own, &image, &[], "exit 9");
    wait_until("it has ended", || ps(&own, "{{.State}}") == "exited\n");
    own.cmd(["wait", &id]).ok().out_is("9\n");
    own.cmd(["wait", "nobody"]).run().code_is(125);
    own.cmd(["wait", "--condition", "healthy", &id])
        .ok()
        .out_is("9\n");
    Ok(())
}

fn shows_its_output_from_the_first_byte(e: &Env) -> Done {
    let (own, image) = own(e);
    for _ in 0..10 {
        own.cmd(["create", "--name", "c", "--network=none"])
            .args([image.as_str(), "sh", "-c", "echo first; echo e >&2; exit 5"])
            .ok();
        let out = own.cmd(["start", "--attach", "c"]).run();
        assert_eq!(
            (out.code(), out.out(), out.err()),
            (5, "first\n".into(), "e\n".into())
        );
        own.cmd(["rm", "c"]).ok();
    }
    // More than any buffer holds, and nobody who reads for a while.
    let script = "dd if=/dev/zero bs=1024 count=5000 2>/dev/null | tr '\\0' x; echo; echo end";
    let id = detached(&own, &image, &["-i"], &format!("read a; {script}"));
    let out = own.cmd(["attach", &id]).stdin("go\n").run();
    assert_eq!((out.code(), out.stdout.len()), (0, 5000 * 1024 + 5));
    Ok(())
}

fn input_comes_from_who_is_attached(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd([
        "create",
        "-i",
        "--name",
        "cat",
        "--network=none",
        &image,
        "cat",
    ])
    .ok();
    let p = own.cmd(["start", "cat"]).ok();
    assert_eq!(p.out(), "cat\n");
    // It stays open for the next one.
    let first = own.cmd(["attach", "cat"]).stdin("one\n").spawn();
    first.wait_for("one");
    let p = own.cmd(["attach", "cat"]).stdin("two\n").spawn();
    p.wait_for("two");
    first.wait_for("two");
    own.cmd(["stop", "-t", "0", "cat"]).ok();
    first.wait().code_is(137);
    p.wait().code_is(137);
    // With a caller who has said that it is his, the input ends with his.
    let out = own
        .cmd([
            "run",
            "-i",
            "--restart=no",
            "--sig-proxy=false",
            "--rm",
            "--network=none",
        ])
        .args([image.as_str(), "cat"])
        .stdin("a\nb\n")
        .run();
    assert_eq!((out.code(), out.out()), (0, "a\nb\n".into()), "{out:?}");
    Ok(())
}

fn detach_keys_leave_it_alone(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(
        &own,
        &image,
        &["-it", "--name", "t"],
        "stty size; while read l; do echo \"got $l\"; done",
    );
    let steps = json!([
        ["send", "hello\n"],
        ["expect", "got hello"],
        ["send", "\u{10}x\n"],
        ["expect", "got \u{10}x"],
        ["send", "\u{10}\u{11}"],
    ]);
    let cmd = own.cmd(["attach", "t"]);
    let session = on_terminal(&own, &cmd, steps);
    assert_eq!(
        (session.code, session.restored),
        (0, true),
        "{}",
        session.transcript
    );
    assert_eq!(ps(&own, "{{.State}}"), "running\n");
    let steps = json!([
        ["send", "stty\n"],
        ["expect", "got stty"],
        ["send", "a"],
        ["send", "b"]
    ]);
    let cmd = own.cmd(["attach", "--detach-keys", "a,b", "t"]);
    assert_eq!(on_terminal(&own, &cmd, steps).code, 0);
    own.cmd(["kill", &id]).ok();
    Ok(())
}

fn is_started_again_as_its_policy_says(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(
        &own,
        &image,
        &["--restart", "on-failure:2"],
        "echo x; exit 4",
    );
    wait_until("it has given up", || ps(&own, "{{.State}}") == "exited\n");
    assert_eq!(log(&own, &id).lines().count(), 3);
    assert_eq!(
        (&state(&own, &id)["restarts"], &state(&own, &id)["exitCode"]),
        (&json!(2), &json!(4))
    );
    own.cmd(["rm", &id]).ok();
    let id = detached(&own, &image, &["--restart", "on-failure"], "exit 0");
    own.cmd(["wait", &id]).ok();
    assert_eq!(ps(&own, "{{.State}}"), "exited\n");
    own.cmd(["rm", &id]).ok();
    let id = detached(&own, &image, &["--restart", "always"], "echo x");
    wait_until("it was started often", || {
        log(&own, &id).lines().count() > 3
    });
    own.cmd(["stop", &id]).ok();
    Ok(())
}

fn a_stop_ends_the_restarts(e: &Env) -> Done {
    let (own, image) = own(e);
    // While it runs, while it waits for its next start, by a signal, by force.
    let id = detached(
        &own,
        &image,
        &["--restart", "always"],
        "trap 'exit 0' TERM; echo up; while :; do sleep 0.05; done",
    );
    wait_until("it is up", || log(&own, &id).contains("up"));
    own.cmd(["stop", &id]).ok();
    let lines = log(&own, &id).lines().count();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(
        (ps(&own, "{{.State}}"), log(&own, &id).lines().count()),
        ("exited\n".into(), lines)
    );
    own.cmd(["rm", &id]).ok();
    let id = detached(&own, &image, &["--restart", "always"], "exit 1");
    wait_until("it waits", || {
        ps(&own, "{{.Status}}").starts_with("Restarting (1) ")
    });
    let began = Instant::now();
    own.cmd(["stop", &id]).ok();
    assert!(began.elapsed() < Duration::from_secs(20));
    assert_eq!(ps(&own, "{{.State}}"), "exited\n");
    own.cmd(["start", &id]).ok();
    own.cmd(["rm", "-f", &id]).ok();
    assert_eq!(ps(&own, "{{.ID}}"), "");
    let id = detached(&own, &image, &["--restart", "always"], "sleep 600");
    own.cmd(["kill", &id]).ok();
    assert_eq!(ps(&own, "{{.Status}}").split(' ').next(), Some("Exited"));
    Ok(())
}

fn is_stopped_by_its_own_signal(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "trap 'echo usr1; exit 6' USR1; trap 'echo term' TERM; echo up; while :; do sleep 0.05; done";
    let id = detached(&own, &image, &["--stop-signal", "USR1"], script);
    wait_until("it is up", || log(&own, &id).contains("up"));
    own.cmd(["kill", "-s", "TERM", &id]).ok();
    wait_until("it has heard", || log(&own, &id).contains("term"));
    own.cmd(["stop", &id]).ok();
    own.cmd(["wait", &id]).ok().out_is("6\n");
    own.cmd(["rm", &id]).ok();
    // One that does not listen is ended after its time.
    let id = detached(
        &own,
        &image,
        &["--stop-timeout", "1"],
        "trap '' TERM; sleep 600 & wait; sleep 600",
    );
    let began = Instant::now();
    own.cmd(["stop", &id]).ok();
    let took = began.elapsed();
    assert!(
        took > Duration::from_millis(900) && took < Duration::from_secs(8),
        "{took:?}"
    );
    own.cmd(["kill", "-s", "NONE", &id])
        .run()
        .code_is(125)
        .err_has("no signal");
    own.cmd(["kill", &id])
        .run()
        .code_is(125)
        .err_has("not running");
    own.cmd(["stop", &id]).ok();
    Ok(())
}

fn pause_stops_all_of_it(e: &Env) -> Done {
    let (own, image) = own(e);
    // Processes that are made all the time, in the foreground and behind.
    let script = "(while :; do echo b; sleep 0.01; done) & while :; do echo a; sleep 0.01; done";
    let id = detached(&own, &image, &[], script);
    wait_until("it writes", || log(&own, &id).lines().count() > 10);
    own.cmd(["pause", &id]).ok();
    assert!(ps(&own, "{{.State}} {{.Status}}").contains("paused Up"));
    std::thread::sleep(Duration::from_millis(100));
    let size = log(&own, &id).len();
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(log(&own, &id).len(), size);
    own.cmd(["pause", &id])
        .run()
        .code_is(125)
        .err_has("paused already");
    own.cmd(["unpause", &id]).ok();
    wait_until("it goes on", || log(&own, &id).len() > size);
    assert_eq!(ps(&own, "{{.State}}"), "running\n");
    own.cmd(["unpause", &id])
        .run()
        .code_is(125)
        .err_has("is not paused");
    own.cmd(["pause", &id]).ok();
    own.cmd(["stop", "-t", "1", &id]).ok();
    assert_eq!(ps(&own, "{{.State}}"), "exited\n");
    Ok(())
}

fn a_shared_pid_namespace_is_not_paused(e: &Env) -> Done {
    let (own, image) = own(e);
    let sleep = unique_sleep();
    let mut bystander = own.user(["sh", "-c", &format!("exec {sleep}")]).spawn();
    let id = detached(&own, &image, &["--pid", "host"], "sleep 600");
    own.cmd(["pause", &id])
        .run()
        .code_is(125)
        .err_has("pid namespace of the host");
    assert!(bystander.is_running());
    bystander.signal(Signal::KILL);
    bystander.wait();
    own.cmd(["rm", "-f", &id]).ok();
    Ok(())
}

fn has_another_name(e: &Env) -> Done {
    let (own, image) = own(e);
    let a = detached(&own, &image, &["--name", "a"], "sleep 600");
    detached(&own, &image, &["--name", "b"], "sleep 600");
    own.cmd(["rename", "a", "b"])
        .run()
        .code_is(125)
        .err_has("b");
    own.cmd(["rename", "a", "../x"]).run().code_is(125);
    own.cmd(["rename", "a", "c"]).ok();
    assert_eq!(ps(&own, "{{.Names}}"), "b\nc\n");
    let id = own
        .cmd(["ps", "-q", "--no-trunc", "--filter", "name=c"])
        .ok();
    assert_eq!(id.out().trim(), a);
    own.cmd(["rm", "-f", "c"]).ok();
    // Its names are free.
    detached(&own, &image, &["--name", "a"], "sleep 600");
    detached(&own, &image, &["--name", "c", "--rm"], "sleep 600");
    own.cmd(["rename", "c", "d"]).ok();
    own.cmd(["rm", "-f", "d", "a", "b"]).ok();
    detached(&own, &image, &["--name", "d"], "true");
    Ok(())
}

fn is_removed_by_force(e: &Env) -> Done {
    let (own, image) = own(e);
    let sleep = unique_sleep();
    detached(
        &own,
        &image,
        &["--name", "x", "--restart=always"],
        &format!("exec {sleep}"),
    );
    wait_until("it runs", || pid_of(&sleep).is_some());
    own.cmd(["rm", "--force", "x", "nobody"]).ok().out_is("x\n");
    assert!(pid_of(&sleep).is_none());
    assert_eq!(ps(&own, "{{.ID}}"), "");
    for options in [&[][..], &["--rm"]] {
        detached(&own, &image, options, "sleep 600");
    }
    own.cmd(["rm", "-t", "0", "--all", "--force"]).ok();
    assert_eq!(ps(&own, "{{.ID}}"), "");
    Ok(())
}

fn one_that_removes_itself_leaves_nothing(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(
        &own,
        &image,
        &["--rm", "--name", "r"],
        "echo x >/f; sleep 0.2; exit 3",
    );
    own.cmd(["wait", &id]).ok().out_is("3\n");
    assert_eq!(ps(&own, "{{.ID}}"), "");
    for dir in ["containers", "ephemeral", "containers/.names", "tmp"] {
        let left = std::fs::read_dir(own.root().join(dir)).unwrap().flatten();
        let left: Vec<_> = left
            .map(|f| f.file_name())
            .filter(|n| n != ".names" && n != ".spare")
            .collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    Ok(())
}

fn a_failed_start_leaves_nothing(e: &Env) -> Done {
    let (own, image) = own(e);
    for (program, code) in [("/nonexistent", 127), ("/etc/passwd", 126)] {
        own.cmd(["run", "-d", "--network=none", &image, program])
            .run()
            .code_is(code)
            .out_is("");
        assert_eq!(ps(&own, "{{.ID}}"), "");
        let id = own
            .cmd(["create", "--name", "c", "--network=none", &image, program])
            .ok();
        own.cmd(["start", "c"]).run().code_is(code);
        let state = state(&own, id.out().trim());
        assert_eq!(state["exitCode"], code);
        assert!(
            state["error"].as_str().unwrap().contains(program),
            "{state}"
        );
        own.cmd(["rm", "c"]).ok();
    }
    own.cmd(["start", "nobody"])
        .run()
        .code_is(125)
        .err_has("no such container");
    Ok(())
}

fn is_reached_in_the_foreground_too(e: &Env) -> Done {
    let (own, image) = own(e);
    for options in [&["--rm"][..], &[]] {
        let script = "trap 'exit 8' TERM; echo ready; while :; do sleep 0.05; done";
        let start = || {
            own.cmd(["run", "--name", "f", "--network=none"])
                .args(options)
                .args([image.as_str(), "sh", "-c", script])
                .spawn()
        };
        let p = start();
        p.wait_for("ready");
        own.cmd(["attach", "f"])
            .run()
            .code_is(125)
            .err_has("foreground");
        let waiter = own.cmd(["wait", "f"]).spawn();
        std::thread::sleep(Duration::from_millis(100));
        own.cmd(["stop", "f"]).ok();
        p.wait().code_is(8);
        waiter.wait().code_is(0).out_is("8\n");
        own.cmd(["rm", "-f", "f"]).ok();
        let p = start();
        p.wait_for("ready");
        own.cmd(["rm", "-f", "f"]).ok();
        p.wait().code_is(137);
        assert_eq!(ps(&own, "{{.ID}}"), "");
    }
    Ok(())
}

fn files_for_scripts(e: &Env) -> Done {
    let (own, image) = own(e);
    let dir = own.subdir("files");
    let [cid, pid] = ["cid", "pid"].map(|n| dir.join(n).to_str().unwrap().to_owned());
    let files = ["--cidfile", &cid, "--pidfile", &pid];
    let sleep = unique_sleep();
    let id = detached(&own, &image, &files, &format!("exec {sleep}"));
    assert_eq!(std::fs::read_to_string(&cid).unwrap(), id);
    wait_until("it sleeps", || pid_of(&sleep).is_some());
    let number = pid_of(&sleep).unwrap().as_raw_nonzero().to_string();
    assert_eq!(std::fs::read_to_string(&pid).unwrap(), number);
    own.cmd(["run", "-d", "--cidfile", &cid, &image, "true"])
        .run()
        .code_is(125)
        .err_has("exists");
    assert_eq!(ps(&own, "{{.ID}}").lines().count(), 1);
    own.cmd(["stop", "-t0", "--cidfile", &cid]).ok();
    own.cmd(["rm", "--cidfile", &cid]).run();
    Ok(())
}

fn ends_when_its_time_is_over(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(
        &own,
        &image,
        &["--timeout", "1", "--restart=always"],
        "sleep 600",
    );
    own.cmd(["wait", &id]).ok().out_is("137\n");
    wait_until("it stays so", || ps(&own, "{{.State}}") == "exited\n");
    Ok(())
}

fn its_health_is_tested(e: &Env) -> Done {
    let (own, image) = own(e);
    let options = [
        "--name",
        "h",
        "--health-cmd",
        "echo looked; test -e /well",
        "--health-interval",
        "100ms",
        "--health-retries",
        "2",
    ];
    let id = detached(&own, &image, &options, "touch /well; sleep 600");
    own.cmd(["wait", "--condition", "healthy", "h"]).ok();
    assert!(ps(&own, "{{.Status}}").ends_with("(healthy)\n"));
    own.cmd(["exec", "h", "rm", "/well"]).ok();
    own.cmd(["wait", "--condition", "unhealthy", "h"]).ok();
    let state = state(&own, &id);
    let log = state["health"]["log"].as_array().unwrap();
    let last = log.last().unwrap();
    assert_eq!(
        (&last["exitCode"], &last["output"]),
        (&json!(1), &json!("looked\n")),
        "{state}"
    );
    assert!(ps(&own, "{{.Status}}").ends_with("(unhealthy)\n"));
    own.cmd(["rm", "-f", "h"]).ok();
    // A test that hangs is ended, and no test is left when the container goes.
    let sleep = unique_sleep();
    let options = [
        "--health-cmd",
        &sleep,
        "--health-interval",
        "50ms",
        "--health-timeout",
        "200ms",
        "--health-retries",
        "1",
    ];
    let id = detached(&own, &image, &options, "sleep 600");
    own.cmd(["wait", "--condition", "unhealthy", &id]).ok();
    wait_until("a test hangs", || pid_of(&sleep).is_some());
    own.cmd(["rm", "-f", &id]).ok();
    wait_until("no test is left", || pid_of(&sleep).is_none());
    own.cmd([
        "run",
        "-d",
        "--health-cmd",
        "true",
        "--no-healthcheck",
        &image,
    ])
    .run()
    .code_is(125);
    Ok(())
}

/// Memory that the process alone has: what it has written to.
fn private_kib(pid: i64) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup
        .lines()
        .find_map(|l| l.strip_prefix("Private_Dirty:"));
    let kib = line.unwrap().trim().trim_end_matches(" kB");
    kib.parse().unwrap()
}

/// Processes that are monitors of this container.
fn monitors(id: &str) -> Vec<i32> {
    let ours = format!("coracle-monitor\0{id}\0");
    let pids = std::fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|p| p.file_name().to_str()?.parse().ok());
    pids.filter(|pid: &i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.starts_with(ours.as_bytes())
    })
    .collect()
}

fn a_monitor_is_small(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(
        &own,
        &image,
        &["--identity", "off"],
        "yes | head -c 3000000; sleep 600",
    );
    wait_until("all is in the log", || log(&own, &id).len() > 3_000_000);
    let monitor = state(&own, &id)["monitor"].as_i64().unwrap();
    let kib = private_kib(monitor);
    assert!(kib < 1024, "{kib} KiB");
    // No other process of ours.
    assert_eq!(monitors(&id).len(), 1);
    own.cmd(["rm", "-f", &id]).ok();
    Ok(())
}

fn a_killed_monitor_takes_it_along(e: &Env) -> Done {
    let (own, image) = own(e);
    let sleep = unique_sleep();
    let id = detached(
        &own,
        &image,
        &["--name", "m"],
        &format!("echo x >>/n; {sleep} & exec {sleep}"),
    );
    wait_until("it runs", || pid_of(&sleep).is_some());
    let monitor = state(&own, &id)["monitor"].as_i64().unwrap();
    kill_process(Pid::from_raw(monitor as i32).unwrap(), Signal::KILL).unwrap();
    wait_until("nothing of it runs", || pid_of(&sleep).is_none());
    wait_until("that is seen", || {
        ps(&own, "{{.Status}}") == "Exited (unknown)\n"
    });
    own.cmd(["wait", "m"]).ok().out_is("-1\n");
    own.cmd(["kill", "m"])
        .run()
        .code_is(125)
        .err_has("not running");
    // What it wrote is there, and it can run again.
    own.cmd(["start", "m"]).ok();
    wait_until("it runs again", || pid_of(&sleep).is_some());
    own.cmd(["rm", "-f", "m"]).ok();
    Ok(())
}

fn a_recorded_number_fools_nobody(e: &Env) -> Done {
    let (own, image) = own(e);
    let id = detached(&own, &image, &[], "exit 0");
    own.cmd(["wait", &id]).ok();
    let sleep = unique_sleep();
    let mut bystander = own.user(["sh", "-c", &format!("exec {sleep}")]).spawn();
    wait_until("it sleeps", || pid_of(&sleep).is_some());
    let number = pid_of(&sleep).unwrap().as_raw_nonzero().get();
    let file = own.root().join("containers").join(&id).join("state.json");
    let lie = json!({"status": "running", "pid": number, "monitor": number, "startedAt": "2026-01-01T00:00:00Z"});
    std::fs::write(&file, lie.to_string()).unwrap();
    assert_eq!(ps(&own, "{{.Status}}"), "Exited (unknown)\n");
    own.cmd(["kill", &id]).run().code_is(125);
    own.cmd(["stop", &id]).ok();
    own.cmd(["rm", "-f", &id]).ok();
    assert!(bystander.is_running());
    bystander.signal(Signal::KILL);
    bystander.wait();
    Ok(())
}

/// Monitors, command lines and containers are killed at random. `E2E_KILL_CYCLES` says how many times.
fn nothing_is_lost_under_random_kills(e: &Env) -> Done {
    let (own, image) = own(e);
    let cycles = std::env::var("E2E_KILL_CYCLES").ok();
    let cycles: u64 = cycles.map_or(60, |n| n.parse().unwrap());
    let sleep = unique_sleep();
    own.cmd(["create", "--name", "c", "--network=none", &image])
        .args(["sh", "-c", &format!("exec {sleep}")])
        .ok();
    let mut seed: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut random = |n: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % n
    };
    for cycle in 0..cycles {
        let start = own.cmd(["start", "c"]).spawn();
        if random(3) == 0 {
            std::thread::sleep(Duration::from_micros(random(15_000)));
            start.signal(Signal::KILL);
        }
        start.wait();
        let shown = ps(&own, "{{.Names}} {{.State}}");
        assert!(
            ["c running\n", "c exited\n", "c created\n"].contains(&shown.as_str()),
            "cycle {cycle}: {shown:?}"
        );
        match random(4) {
            0 => {
                if let Some(pid) = pid_of(&sleep) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            1 => {
                let file = own.root().join("containers");
                let state = std::fs::read_dir(&file).unwrap().flatten().find_map(|d| {
                    let json = std::fs::read(d.path().join("state.json")).ok()?;
                    let state: Value = serde_json::from_slice(&json).ok()?;
                    state["monitor"].as_i64()
                });
                if let Some(pid) = state.and_then(|p| Pid::from_raw(p as i32)) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            2 => {
                let stop = own.cmd(["stop", "-t", "0", "c"]).spawn();
                std::thread::sleep(Duration::from_micros(random(8_000)));
                stop.signal(Signal::KILL);
                stop.wait();
            }
            _ => {}
        }
        own.cmd(["stop", "-t", "0", "c"]).ok();
        wait_until("it has ended", || pid_of(&sleep).is_none());
        let shown = ps(&own, "{{.Names}} {{.State}}");
        assert!(
            ["c exited\n", "c created\n"].contains(&shown.as_str()),
            "cycle {cycle}: {shown:?}"
        );
    }
    own.cmd(["start", "c"]).ok();
    assert_eq!(ps(&own, "{{.State}}"), "running\n");
    own.cmd(["rm", "-f", "c"]).ok();
    own.cmd(["system", "check"]).ok();
    Ok(())
}

fn a_hundred_at_once(e: &Env) -> Done {
    let (own, image) = own(e);
    let sleep = unique_sleep();
    let script = format!("exec {sleep}");
    let starts: Vec<_> = (0..100)
        .map(|n| {
            own.cmd(["run", "-d", "--network=none", "--name", &format!("c{n}")])
                .args([image.as_str(), "sh", "-c", &script])
                .spawn()
        })
        .collect();
    for start in starts {
        start.wait().code_is(0);
    }
    assert_eq!(own.cmd(["ps", "-q"]).ok().out().lines().count(), 100);
    let out: Output = own.cmd(["stop", "-t", "0", "--all"]).ok();
    assert_eq!(out.out().lines().count(), 100);
    assert!(pid_of(&sleep).is_none());
    own.cmd(["rm", "--all"]).ok();
    Ok(())
}

/// As systemd ends it at a logout or when the machine goes down; who is killed after 90 seconds keeps all waiting.
fn an_ended_monitor_ends_it_for_good(e: &Env) -> Done {
    let (own, image) = own(e);
    let end = |id: &str| {
        for monitor in monitors(id) {
            kill_process(Pid::from_raw(monitor).unwrap(), Signal::TERM).unwrap();
        }
    };
    let run = |name: &str, script: &str| {
        let options = [
            "--name",
            name,
            "--restart",
            "unless-stopped",
            "--stop-timeout",
            "1",
        ];
        detached(&own, &image, &options, script)
    };
    // It does not hear SIGTERM, it does, and it waits for its next start.
    let sleep = unique_sleep();
    let deaf = run("deaf", &format!("exec {sleep}"));
    let polite = run(
        "polite",
        "trap 'exit 4' TERM; echo ready; while :; do sleep 0.1; done",
    );
    let between = run("between", "[ -e /n ] && exit 5; touch /n; exit 3");
    wait_until("it can hear", || log(&own, &polite).contains("ready"));
    wait_until("it waits for its start", || {
        state(&own, &between)["restarts"].as_i64() > Some(3)
            && state(&own, &between)["status"] == "restarting"
    });
    let asked = Instant::now();
    for id in [&deaf, &polite, &between] {
        end(id);
    }
    wait_until("all have ended", || {
        own.cmd(["ps", "-q"]).ok().out().is_empty()
    });
    assert!(asked.elapsed() < Duration::from_secs(8));
    assert_eq!(
        own.cmd(["ps", "-a", "--format", "{{.Names}} {{.State}}"])
            .ok()
            .out(),
        "between exited\npolite exited\ndeaf exited\n"
    );
    for (name, code) in [("deaf", "137\n"), ("polite", "4\n"), ("between", "5\n")] {
        own.cmd(["wait", name]).ok().out_is(code);
    }
    // Nobody has stopped them: they are what comes back after a reboot.
    own.cmd(["start", "--all"]).ok();
    wait_until("it runs again", || pid_of(&sleep).is_some());
    own.cmd(["exec", "polite", "true"]).ok();
    own.cmd(["rm", "-f", "--all"]).ok();
    Ok(())
}

fn starts_what_shall_run_after_a_reboot(e: &Env) -> Done {
    let (own, image) = own(e);
    for (name, policy) in [
        ("a", "always"),
        ("s", "unless-stopped"),
        ("u", "unless-stopped"),
        ("n", "no"),
    ] {
        let id = detached(
            &own,
            &image,
            &["--name", name, "--restart", policy],
            "sleep 600",
        );
        if name != "u" {
            continue;
        }
        // As a reboot does it.
        let monitor = state(&own, &id)["monitor"].as_i64().unwrap();
        kill_process(Pid::from_raw(monitor as i32).unwrap(), Signal::KILL).unwrap();
    }
    own.cmd(["stop", "-t0", "a", "s", "n"]).ok();
    wait_until("all have ended", || {
        own.cmd(["ps", "-q"]).ok().out().is_empty()
    });
    own.cmd(["start", "--all"]).ok();
    let mut names: Vec<String> = own
        .cmd(["ps", "--format", "{{.Names}}"])
        .ok()
        .out()
        .lines()
        .map(str::to_owned)
        .collect();
    names.sort();
    assert_eq!(names, ["a", "u"]);
    own.cmd(["rm", "-f", "--all"]).ok();
    Ok(())
}
