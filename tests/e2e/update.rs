//! `update`: what changes of a container that is there.

use crate::harness::{Done, Env, wait_until};

suite!(
    a_policy_counts_from_now_on,
    a_policy_counts_at_the_next_start,
    one_that_waits_for_its_next_start_is_changed,
    what_would_have_no_effect_is_refused,
);

fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

fn inspect(e: &Env, format: &str) -> String {
    let out = e.cmd(["inspect", "-f", format, "c"]).ok().out();
    out.trim_end().to_owned()
}

const POLICY: &str =
    "{{.HostConfig.RestartPolicy.Name}}:{{.HostConfig.RestartPolicy.MaximumRetryCount}}";

fn a_policy_counts_from_now_on(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done";
    own.cmd([
        "run",
        "-d",
        "--name=c",
        "--network=none",
        &image,
        "sh",
        "-c",
        script,
    ])
    .ok();
    let lives = |n: usize| {
        wait_until("it runs", || {
            own.cmd(["logs", "c"]).ok().out() == "ready\n".repeat(n)
        });
    };
    lives(1);
    own.cmd(["update", "--restart", "on-failure:7", "c"])
        .ok()
        .out_is("c\n");
    assert_eq!(inspect(&own, POLICY), "on-failure:7");
    own.cmd(["kill", "-s", "USR1", "c"]).ok();
    lives(2);
    assert_eq!(inspect(&own, "{{.RestartCount}}"), "1");
    own.cmd(["container", "update", "--restart=no", "c"]).ok();
    own.cmd(["kill", "-s", "USR1", "c"]).ok();
    own.cmd(["wait", "c"]).ok().out_is("3\n");
    wait_until("it has ended", || {
        inspect(&own, "{{.State.Status}}") == "exited"
    });
    own.cmd([
        "events",
        "--stream=false",
        "--filter",
        "event=update",
        "--format",
        "{{.Name}}",
    ])
    .ok()
    .out_is("c\nc\n");
    Ok(())
}

fn a_policy_counts_at_the_next_start(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd([
        "create",
        "--name=c",
        "--network=none",
        &image,
        "sh",
        "-c",
        "exit 4",
    ])
    .ok();
    own.cmd([
        "create",
        "--name=d",
        "--network=none",
        "--restart=always",
        &image,
    ])
    .ok();
    // One that is not there keeps the others from nothing.
    own.cmd(["update", "--restart=on-failure:2", "c", "nobody", "d"])
        .run()
        .code_is(125)
        .out_is("c\nd\n")
        .err_has("nobody");
    assert_eq!(inspect(&own, POLICY), "on-failure:2");
    own.cmd(["start", "c"]).ok();
    wait_until("it was started twice again", || {
        inspect(&own, "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    Ok(())
}

fn one_that_waits_for_its_next_start_is_changed(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd([
        "run",
        "-d",
        "--name=c",
        "--network=none",
        "--restart=always",
        &image,
    ])
    .arg("true")
    .ok();
    wait_until("the pauses are long", || {
        inspect(&own, "{{.RestartCount}}").parse::<u32>().unwrap() > 3
    });
    own.cmd(["update", "--restart=no", "c"]).ok();
    wait_until("it stays ended", || {
        inspect(&own, "{{.State.Status}}") == "exited"
    });
    assert_eq!(inspect(&own, POLICY), "no:0");
    Ok(())
}

fn what_would_have_no_effect_is_refused(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd([
        "run",
        "-d",
        "--rm",
        "--name=c",
        "--network=none",
        &image,
        "sleep",
        "600",
    ])
    .ok();
    own.cmd(["update", "--restart=always", "c"])
        .run()
        .fails_with(125, "removes itself");
    own.cmd(["update", "--restart=no", "c"]).ok();
    own.cmd(["rm", "-f", "c"]).ok();
    let p = own
        .cmd(["run", "--name=f", "--network=none", &image])
        .args(["sh", "-c", "echo ready; while :; do sleep 0.05; done"])
        .spawn();
    p.wait_for("ready");
    own.cmd(["update", "--restart=always", "f"])
        .run()
        .fails_with(125, "foreground");
    own.cmd(["rm", "-f", "f"]).ok();
    p.wait();
    for option in [["-m", "5m"], ["--cpus", "2"], ["--pids-limit", "9"]] {
        own.cmd(["update"])
            .args(option)
            .arg("c")
            .run()
            .fails_with(125, "cgroup");
    }
    own.cmd(["update", "c"]).run().fails_with(125, "--restart");
    own.cmd(["update", "--restart=sometimes", "c"])
        .run()
        .code_is(125);
    Ok(())
}
