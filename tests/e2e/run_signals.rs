//! Signals go through to the program, and nothing survives its caller.

use rustix::process::Signal;

use crate::harness::{Done, Env, Runtime, pid_of, unique_sleep, wait_until};

suite!(
    forwarded,
    pid_one_ignores_what_it_does_not_handle,
    init_passes_signals_on,
    kill_of_coracle_ends_the_container,
    dispositions_are_the_default,
    broken_pipe,
    stop_signal_is_accepted,
    background_children_end_with_pid_one,
);

fn forwarded(e: &Env) -> Done {
    e.coracle_only("the proxy of podman 4.3 loses signals, and ends itself on some")?;
    for (name, signal) in [
        ("TERM", Signal::TERM),
        ("HUP", Signal::HUP),
        ("INT", Signal::INT),
        ("USR1", Signal::USR1),
        ("USR2", Signal::USR2),
        ("QUIT", Signal::QUIT),
        ("WINCH", Signal::WINCH),
    ] {
        let script = format!(
            "trap 'echo got {name}; exit 7' {name}; echo ready; while :; do sleep 0.05; done"
        );
        let p = e.run_cmd(&[], "busybox", &["sh", "-c", &script]).spawn();
        p.wait_for("ready");
        p.signal(signal);
        let out = p.wait();
        assert_eq!(
            (out.code(), out.out().trim()),
            (7, format!("got {name}").as_str()),
            "{out:?}"
        );
    }
    Ok(())
}

fn pid_one_ignores_what_it_does_not_handle(e: &Env) -> Done {
    e.coracle_only("podman 4.3 itself ends on SIGTERM")?;
    // As in docker: PID 1 has no default actions. --init is the cure.
    let script = "trap 'echo lives on; exit 7' USR1; echo ready; while :; do sleep 0.05; done";
    let p = e.run_cmd(&[], "busybox", &["sh", "-c", script]).spawn();
    p.wait_for("ready");
    p.signal(Signal::TERM);
    // Pending signals are taken by number, not by age: the second must not overtake the first.
    let status = format!("/proc/{}/status", p.pid());
    wait_until("coracle has taken the signal", || {
        let status = std::fs::read_to_string(&status).unwrap();
        let pending = status.lines().find_map(|l| l.strip_prefix("ShdPnd:"));
        u64::from_str_radix(pending.unwrap().trim(), 16).unwrap() == 0
    });
    p.signal(Signal::USR1);
    p.wait().code_is(7).out_has("lives on");
    Ok(())
}

fn init_passes_signals_on(e: &Env) -> Done {
    e.coracle_only("its init program is not installed")?;
    let p = e
        .run_cmd(
            &["--init"],
            "busybox",
            &["sh", "-c", "echo ready; exec sleep 600"],
        )
        .spawn();
    p.wait_for("ready");
    p.signal(Signal::TERM);
    p.wait().code_is(143);
    Ok(())
}

fn kill_of_coracle_ends_the_container(e: &Env) -> Done {
    e.coracle_only("conmon outlives it")?;
    let (child, first) = (unique_sleep(), unique_sleep());
    let script = format!("{child} & echo ready; exec {first}");
    let p = e.run_cmd(&[], "busybox", &["sh", "-c", &script]).spawn();
    p.wait_for("ready");
    wait_until("both sleep", || {
        pid_of(&child).is_some() && pid_of(&first).is_some()
    });
    p.signal(Signal::KILL);
    let out = p.wait();
    assert_eq!(out.killed_by(), Some(9));
    wait_until("nothing is left", || {
        pid_of(&child).is_none() && pid_of(&first).is_none()
    });
    Ok(())
}

fn dispositions_are_the_default(e: &Env) -> Done {
    // Rust programs ignore SIGPIPE, and children inherit what is ignored: it must not reach inside.
    let script = "grep -e ^SigBlk -e ^SigIgn /proc/self/status | cut -f2";
    let cmd = e.run_cmd(&[], "busybox", &["sh", "-c", script]);
    for out in [cmd.ok(), e.around("trap '' USR1 PIPE; \"$@\"", &cmd).ok()] {
        let text = out.out();
        let masks: Vec<u64> = text
            .lines()
            .map(|l| u64::from_str_radix(l, 16).unwrap())
            .collect();
        assert_eq!(masks.len(), 2, "{text}");
        // Signals 32 and 33 belong to libc, and no sigaction(3) can change them.
        let set: Vec<u64> = masks.iter().map(|m| m & !(3 << 31)).collect();
        assert_eq!(set, [0, 0], "blocked, ignored: {text}");
    }
    Ok(())
}

fn broken_pipe(e: &Env) -> Done {
    // PID 1 gets an error, as no signal's default action can end it; its child gets SIGPIPE.
    let script = format!("yes; : {}", unique_sleep());
    for argv in [&["yes"][..], &["sh", "-c", &script]] {
        let cmd = e.run_cmd(&[], "busybox", argv);
        e.around("\"$@\" | head -n 1", &cmd).ok().out_is("y\n");
    }
    if e.runtime == Runtime::Coracle {
        let shell = format!("sh -c {script}");
        wait_until("nothing is left", || pid_of(&shell).is_none());
    }
    Ok(())
}

fn stop_signal_is_accepted(e: &Env) -> Done {
    e.run(&["--stop-signal", "SIGINT"], "busybox", &["true"])
        .code_is(0);
    e.run(&["--stop-signal", "9"], "busybox", &["true"])
        .code_is(0);
    e.run(&["--stop-signal", "SIGFLY"], "busybox", &["true"])
        .code_is(125);
    Ok(())
}

fn background_children_end_with_pid_one(e: &Env) -> Done {
    let child = unique_sleep();
    // It has been there: the shell waits until the child is what it is to be.
    let script = format!(
        "{child} >/dev/null 2>&1 & until grep -q ^sleep /proc/$!/cmdline; do :; done; echo slept"
    );
    assert_eq!(e.sh(&[], &script), "slept\n");
    wait_until("it is gone", || pid_of(&child).is_none());
    Ok(())
}
