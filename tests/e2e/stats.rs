//! `stats`: what containers use.

use serde_json::Value;

use crate::harness::{Done, Env, wait_until};

suite!(
    figures_are_of_all_its_processes,
    those_that_do_not_run_have_none,
    looks_go_on_until_the_end,
    forms_are_podmans,
);

fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

fn run(e: &Env, image: &str, name: &str, options: &[&str], script: &str) {
    e.cmd(["run", "-d", "--network=none", "--name", name])
        .args(options)
        .args([image, "sh", "-c", script])
        .ok();
}

fn stats(e: &Env, name: &str, format: &str) -> String {
    let args = ["stats", "--no-stream", "--format", format, name];
    e.cmd(args).ok().out().trim_end().to_owned()
}

fn megabytes(e: &Env, name: &str) -> f64 {
    let usage = stats(e, name, "{{.MemUsageBytes}}");
    let used = usage.split(' ').next().unwrap().to_owned();
    used.strip_suffix("MiB").map_or(0.0, |n| n.parse().unwrap())
}

fn figures_are_of_all_its_processes(e: &Env) -> Done {
    let (own, image) = own(e);
    for (name, options) in [("own", &[][..]), ("host", &["--pid=host"])] {
        // What burns ends, and is waited for; the rest stays, and a child shares its memory.
        let script = "(i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done)
            x=$(head -c 30000000 /dev/zero | tr '\\0' a); (sleep 600; : $x) & sleep 600";
        run(&own, &image, name, options, script);
        wait_until("it has its memory", || megabytes(&own, name) > 25.0);
        assert!(megabytes(&own, name) < 55.0, "shared pages count once");
        let time = stats(&own, name, "{{.CPUTime}}");
        assert!(time != "0s", "{name}: {time}");
        wait_until("a shell and two sleeps are left", || {
            stats(&own, name, "{{.PIDs}}") == "3"
        });
        // A parent outside makes no difference.
        own.cmd(["exec", "-d", name, "sleep", "600"]).ok();
        wait_until("one more sleeps", || stats(&own, name, "{{.PIDs}}") == "4");
        assert_eq!(stats(&own, name, "{{.NetIO}}"), "-- / --");
        own.cmd(["rm", "-f", name]).ok();
    }
    let busy = "while :; do :; done";
    run(&own, &image, "busy", &[], busy);
    run(&own, &image, "idle", &[], "sleep 600");
    let out = own
        .cmd(["stats", "--no-stream", "--format", "{{.Name}} {{.CPUPerc}}"])
        .ok()
        .out();
    let lines: Vec<&str> = out.lines().collect();
    assert!(lines.len() == 2 && lines.contains(&"idle 0.00%"), "{out}");
    wait_until("it is seen to be busy", || {
        stats(&own, "busy", "{{.CPUPerc}}") != "0.00%"
    });
    own.cmd(["rm", "-fa"]).ok();
    Ok(())
}

fn those_that_do_not_run_have_none(e: &Env) -> Done {
    let (own, image) = own(e);
    own.cmd(["create", "--name=c", "--network=none", &image])
        .ok();
    own.cmd(["stats", "--no-stream", "c"])
        .run()
        .fails_with(125, "not running");
    own.cmd(["stats", "--no-stream", "nobody"])
        .run()
        .fails_with(125, "nobody");
    own.cmd(["stats", "--no-stream", "--format={{.Name}}"])
        .ok()
        .out_is("");
    own.cmd([
        "stats",
        "-a",
        "--no-stream",
        "--format={{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.PIDs}}",
    ])
    .ok()
    .out_is("c -- -- / -- --\n");
    own.cmd(["stats", "--interval=0"]).run().code_is(125);
    Ok(())
}

fn looks_go_on_until_the_end(e: &Env) -> Done {
    let (own, image) = own(e);
    run(&own, &image, "c", &[], "sleep 600");
    let watch = own
        .cmd(["stats", "-i", "1", "--format", "{{.Name}}", "c"])
        .spawn();
    watch.wait_for("c\nc\n");
    own.cmd(["rm", "-f", "c"]).ok();
    let out = watch.wait();
    assert!(out.out().lines().all(|l| l == "c"), "{out:?}");
    Ok(())
}

fn forms_are_podmans(e: &Env) -> Done {
    let (own, image) = own(e);
    run(&own, &image, "c", &["--rm"], "sleep 600");
    let json: Vec<Value> = serde_json::from_str(&stats(&own, "c", "json")).unwrap();
    let keys: Vec<&str> = json[0]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        keys,
        [
            "avg_cpu",
            "block_io",
            "cpu_percent",
            "cpu_time",
            "id",
            "mem_percent",
            "mem_usage",
            "name",
            "net_io",
            "pids"
        ]
    );
    assert_eq!(
        (&json[0]["name"], &json[0]["pids"]),
        (&"c".into(), &"1".into())
    );
    let table = own
        .cmd(["container", "stats", "--no-stream=true", "-l"])
        .ok()
        .out();
    assert!(table.starts_with("ID            NAME  CPU %"), "{table}");
    let id = own.cmd(["ps", "-q", "--no-trunc"]).ok().out();
    own.cmd(["stats", "--no-stream", "--no-trunc", "--format", "{{.ID}}"])
        .ok()
        .out_is(&id);
    let table = stats(&own, "c", "table {{.Name}} {{.PIDs}}");
    assert_eq!(table, "NAME  PIDS\nc     1");
    own.cmd(["rm", "-f", "c"]).ok();
    Ok(())
}
