//! Containers whose lock somebody has who does not answer: a monitor that is stopped, or another program altogether.
//! Nobody waits long for those.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::harness::{Cmd, Done, Env, pid_of, unique_sleep, wait_until};

suite!(
    a_stopped_monitor_is_told_of_and_ended_by_force,
    a_wait_goes_on_with_its_monitor,
    a_lock_of_somebody_else_is_no_monitor,
    a_file_for_the_id_goes_with_a_failed_start,
);

/// What a verb may take that asks for what cannot be: below the ten seconds that it once was, and a slow machine.
const AT_ONCE: Duration = Duration::from_secs(4);

fn quickly(cmd: &Cmd) -> crate::harness::Output {
    let begin = Instant::now();
    let out = cmd.run();
    let took = begin.elapsed();
    assert!(took < AT_ONCE, "{took:?}: {:?}", cmd.argv());
    out
}

fn container(e: &Env) -> PathBuf {
    let dirs = ["containers", "ephemeral"].map(|d| e.root().join(d));
    let mut all = dirs
        .iter()
        .flat_map(|d| std::fs::read_dir(d).into_iter().flatten());
    let id = |p: &PathBuf| p.file_name().is_some_and(|n| n.len() == 64);
    all.find_map(|entry| Some(entry.unwrap().path()).filter(id))
        .unwrap()
}

fn monitor(e: &Env) -> Pid {
    let config = std::fs::read(container(e).join("config.json")).unwrap();
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    let pid = config["annotations"]["io.coracle.monitor"]
        .as_str()
        .unwrap();
    Pid::from_raw(pid.parse().unwrap()).unwrap()
}

fn a_stopped_monitor_is_told_of_and_ended_by_force(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    for options in [&["--rm"][..], &[], &["-d"], &["-d", "--rm"]] {
        let sleep = unique_sleep();
        let mut run = own
            .cmd(["run", "--name", "s", "--network=none"])
            .args(options)
            .args([&image, "sh", "-c", &format!("exec {sleep}")])
            .spawn();
        wait_until("it runs", || pid_of(&sleep).is_some());
        if options.contains(&"-d") {
            wait_until("it is in the background", || !run.is_running());
        }
        let monitor = monitor(&own);
        kill_process(monitor, Signal::STOP).unwrap();
        for verb in [
            &["exec", "s", "true"][..],
            &["top", "s"],
            &["kill", "s"],
            &["stop", "s"],
        ] {
            // A socket in the background takes connections whether or not anybody will answer.
            let limit = match options.contains(&"-d") {
                true => Duration::from_secs(9),
                false => AT_ONCE,
            };
            let begin = Instant::now();
            let out = own.cmd(verb).run().fails_with(125, "does not answer");
            assert!(begin.elapsed() < limit, "{verb:?}");
            assert!(out.err().contains("rm --force s"), "{}", out.err());
        }
        quickly(&own.cmd(["rm", "s"])).code_is(2);
        quickly(&own.cmd(["rm", "-f", "s"])).code_is(0);
        wait_until("nothing of it runs", || pid_of(&sleep).is_none());
        own.cmd(["ps", "-aq"]).ok().out_is("");
    }
    Ok(())
}

fn a_wait_goes_on_with_its_monitor(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let sleep = unique_sleep();
    own.cmd(["run", "-d", "--name", "s", "--network=none", &image])
        .args(["sh", "-c", &format!("trap 'exit 7' TERM; {sleep} & wait")])
        .ok();
    let monitor = monitor(&own);
    kill_process(monitor, Signal::STOP).unwrap();
    let waiter = own.cmd(["wait", "s"]).spawn();
    // Longer than any answer may take.
    std::thread::sleep(Duration::from_secs(6));
    kill_process(monitor, Signal::CONT).unwrap();
    own.cmd(["stop", "s"]).ok();
    waiter.wait().code_is(0).out_is("7\n");
    Ok(())
}

fn a_lock_of_somebody_else_is_no_monitor(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    own.cmd([
        "run",
        "--name",
        "s",
        "--network=none",
        &image,
        "sh",
        "-c",
        "exit 3",
    ])
    .run()
    .code_is(3);
    let dir = container(&own);
    let sleep = unique_sleep();
    let words: Vec<&str> = sleep.split(' ').collect();
    let mut other = own.user(["/usr/bin/flock"]).arg(&dir).args(words).spawn();
    wait_until("it is locked", || pid_of(&sleep).is_some());
    for verb in [&["exec", "s", "true"][..], &["top", "s"], &["kill", "s"]] {
        quickly(&own.cmd(verb)).fails_with(125, "not running");
    }
    quickly(&own.cmd(["stop", "s"])).code_is(0);
    quickly(&own.cmd(["wait", "s"])).code_is(0).out_is("3\n");
    // Whoever has it is not ended for that.
    quickly(&own.cmd(["rm", "-f", "s"])).code_is(2);
    assert!(other.is_running());
    kill_process(pid_of(&sleep).unwrap(), Signal::KILL).unwrap();
    other.wait();
    own.cmd(["rm", "-f", "s"]).ok();
    Ok(())
}

fn a_file_for_the_id_goes_with_a_failed_start(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let file = own.subdir("files").join("cid");
    let path = file.to_str().unwrap();
    for options in [
        &["--rm"][..],
        &[],
        &["-d"],
        &["--timeout=9"],
        &["-d", "--rm"],
    ] {
        own.cmd(["run", "--network=none", "--cidfile", path])
            .args(options)
            .args([image.as_str(), "/nonexistent"])
            .run()
            .code_is(127);
        assert!(!file.exists(), "{options:?}");
        own.cmd(["ps", "-aq"]).ok().out_is("");
    }
    // Before there is a program to start.
    own.cmd([
        "create",
        "--network=none",
        "--cidfile",
        path,
        "-v",
        "/nonexistent:/x",
        &image,
    ])
    .run()
    .code_is(125);
    assert!(!file.exists());
    // One that has run has its file, as docker's, and one of somebody else's stays.
    own.cmd([
        "run",
        "--network=none",
        "--name",
        "x",
        "--cidfile",
        path,
        &image,
        "true",
    ])
    .ok();
    let id = std::fs::read_to_string(&file).unwrap();
    own.cmd(["ps", "-aq", "--no-trunc"])
        .ok()
        .out_is(&format!("{id}\n"));
    own.cmd([
        "run",
        "--network=none",
        "--cidfile",
        path,
        &image,
        "/nonexistent",
    ])
    .run()
    .code_is(125);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), id);
    Ok(())
}
