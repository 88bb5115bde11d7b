//! `logs`: what containers wrote, byte for byte.

use serde_json::json;

use super::run_tty::on_terminal;
use crate::harness::{Done, Env};

suite!(
    streams_stay_apart_and_bytes_as_they_are,
    the_last_lines_and_those_of_a_time,
    following_ends_with_the_container,
    following_goes_on_over_rotations_and_restarts,
    lines_of_several_containers_stay_whole,
    a_terminal_is_standard_output,
    what_looks_like_a_header_is_shown_as_it_is,
    where_there_is_no_log_it_says_why,
    the_foreground_leaves_a_log,
    the_foreground_ends_with_its_reader,
    a_terminal_is_left_by_keys_and_kept,
);

fn own(e: &Env) -> (Env, String) {
    let own = e.with_own_store();
    let image = own.image("busybox");
    (own, image)
}

/// `run -d --name NAME`, running this script.
fn detached(e: &Env, image: &str, name: &str, options: &[&str], script: &str) {
    e.cmd(["run", "-d", "--network=none", "--name", name])
        .args(options)
        .args([image, "sh", "-c", script])
        .ok();
}

fn streams_stay_apart_and_bytes_as_they_are(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = r"printf 'a\n\377\0\033[31m\r\n\n'; printf 'err\nno end' >&2; printf 'last'";
    detached(&own, &image, "c", &[], script);
    own.cmd(["wait", "c"]).ok();
    let logs = own.cmd(["logs", "c"]).ok();
    assert_eq!(logs.stdout, b"a\n\xff\0\x1b[31m\r\n\nlast");
    assert_eq!(logs.stderr, b"err\nno end");
    // By id, by its start, and as the youngest.
    let id = own.cmd(["ps", "-aq", "--no-trunc"]).ok().out();
    for name in [id.trim(), &id[..7], "-l"] {
        assert_eq!(own.cmd(["logs", name]).ok().stdout, logs.stdout, "{name}");
    }
    // Started again it goes on.
    own.cmd(["start", "c"]).ok();
    own.cmd(["wait", "c"]).ok();
    let twice = [&logs.stderr[..], &logs.stderr].concat();
    assert_eq!(own.cmd(["logs", "c"]).ok().stderr, twice);
    Ok(())
}

fn the_last_lines_and_those_of_a_time(e: &Env) -> Done {
    let (own, image) = own(e);
    detached(
        &own,
        &image,
        "c",
        &[],
        "seq 1 1000; sleep 1.1; seq 1001 1003",
    );
    own.cmd(["wait", "c"]).ok();
    let logs = |args: &[&str]| own.cmd(["logs", "c"]).args(args).ok().out();
    assert_eq!(logs(&["--tail", "3"]), "1001\n1002\n1003\n");
    assert_eq!(logs(&["-n", "4"]), "1000\n1001\n1002\n1003\n");
    assert_eq!(logs(&["--tail=0"]), "");
    assert_eq!(logs(&["--tail", "-1"]).lines().count(), 1003);
    assert_eq!(logs(&["--tail", "all"]).lines().count(), 1003);
    let timed = logs(&["-t"]);
    let line = timed.lines().nth(1000).unwrap();
    let (time, text) = line.split_once(' ').unwrap();
    assert_eq!(text, "1001");
    assert!(time.len() == 30 && time.ends_with('Z'), "{time}");
    assert_eq!(logs(&["--since", time]), "1001\n1002\n1003\n");
    let before = logs(&["--until", time]);
    assert!(before.ends_with("\n1000\n1001\n") || before.ends_with("\n1003\n"));
    assert_eq!(logs(&["--since", "1h"]).lines().count(), 1003);
    assert_eq!(logs(&["--until", "1h"]), "");
    assert_eq!(logs(&["--since", time, "--tail", "1"]), "1003\n");
    let last = timed.lines().nth(999).unwrap().split(' ').next().unwrap();
    assert_eq!(logs(&["--until", last, "--tail", "2"]), "999\n1000\n");
    Ok(())
}

fn following_ends_with_the_container(e: &Env) -> Done {
    let (own, image) = own(e);
    detached(&own, &image, "c", &[], "echo first; sleep 1000");
    let follow = own.cmd(["logs", "-f", "c"]).spawn();
    follow.wait_for("first\n");
    let mut from_now = own.cmd(["logs", "-f", "--tail=0", "c"]).spawn();
    assert!(from_now.is_running());
    own.cmd(["stop", "-t0", "c"]).ok();
    follow.wait().code_is(0);
    from_now.wait().code_is(0).out_is("");
    // What is gone is followed to its end.
    detached(&own, &image, "gone", &["--rm"], "sleep 0.5; seq 1 5");
    own.cmd(["logs", "-f", "gone"])
        .ok()
        .out_is("1\n2\n3\n4\n5\n");
    // Somebody who has read enough does not wait for the next line.
    detached(&own, &image, "quiet", &[], "echo ready; sleep 1000");
    own.user(["sh", "-c", "coracle logs -f quiet | { read x; echo $x; }"])
        .limit(20)
        .ok()
        .out_is("ready\n");
    // Until a time that comes.
    let begin = std::time::Instant::now();
    let until = jiff::Timestamp::now() + jiff::SignedDuration::from_millis(700);
    own.cmd(["logs", "-f", "--until", &until.to_string(), "quiet"])
        .ok()
        .out_is("ready\n");
    assert!(begin.elapsed().as_millis() >= 600);
    own.cmd(["rm", "-f", "-t0", "quiet"]).ok();
    Ok(())
}

fn following_goes_on_over_rotations_and_restarts(e: &Env) -> Done {
    let (own, image) = own(e);
    let options = [
        "--log-opt=max-size=20k",
        "--log-opt=max-file=500",
        "--restart=on-failure:1",
    ];
    let script = "i=0; while [ $i -lt 20 ]; do \
                  seq $((i*500+1)) $((i*500+500)); i=$((i+1)); sleep 0.01; done; exit 1";
    detached(&own, &image, "c", &options, script);
    let once: String = (1..=10_000).map(|n| format!("{n}\n")).collect();
    let follow = own.cmd(["logs", "-f", "c"]).ok();
    assert!(
        follow.out() == format!("{once}{once}"),
        "{}",
        follow.out().len()
    );
    assert_eq!(own.cmd(["logs", "-n", "10000", "c"]).ok().out(), once);
    // Of which no file is larger than was allowed, and no more are kept.
    let id = own.cmd(["ps", "-aq", "--no-trunc"]).ok().out();
    let dir = own.root().join("containers").join(id.trim());
    let sizes: Vec<u64> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .filter(|f| f.file_name().to_string_lossy().starts_with("log"))
        .map(|f| f.metadata().unwrap().len())
        .collect();
    assert!(
        sizes.len() > 40 && sizes.iter().all(|s| *s <= 20 << 10),
        "{sizes:?}"
    );
    detached(
        &own,
        &image,
        "few",
        &["--log-opt=max-size=2k", "--log-opt=max-file=2"],
        "seq 1 1000",
    );
    own.cmd(["wait", "few"]).ok();
    let few = own.cmd(["logs", "few"]).ok().out();
    assert!(
        few.ends_with("999\n1000\n") && few.lines().count() < 100,
        "{few}"
    );
    Ok(())
}

fn lines_of_several_containers_stay_whole(e: &Env) -> Done {
    let (own, image) = own(e);
    detached(
        &own,
        &image,
        "one",
        &[],
        "printf 1a; sleep 0.4; echo 1b; sleep 0.4; echo 1c",
    );
    detached(
        &own,
        &image,
        "two",
        &[],
        "sleep 0.2; echo 2a; sleep 0.4; echo 2b >&2; printf end",
    );
    let names = own.cmd(["logs", "-f", "--names", "one", "two"]).ok();
    assert_eq!(names.err(), "two 2b\n");
    let mut lines: Vec<&str> = std::str::from_utf8(&names.stdout)
        .unwrap()
        .lines()
        .collect();
    lines.sort_unstable();
    assert_eq!(lines, ["one 1a1b", "one 1c", "two 2a", "two end"]);
    // All that there is, in the order of time; a line that nobody ended is the last.
    let all = own.cmd(["logs", "one", "two"]).ok().out();
    let words: Vec<&str> = all.lines().map(|l| l.split_once(' ').unwrap().1).collect();
    assert_eq!(words, ["2a", "1a1b", "1c", "end"]);
    assert!(
        all.lines()
            .all(|l| l.split(' ').next().unwrap().len() == 12)
    );
    let colors = own.cmd(["logs", "--color", "one", "two"]).ok().out();
    assert_eq!(colors.matches("\x1b[0m\n").count(), 4, "{colors:?}");
    Ok(())
}

fn a_terminal_is_standard_output(e: &Env) -> Done {
    let (own, image) = own(e);
    detached(
        &own,
        &image,
        "c",
        &["-t"],
        "echo out; echo err >&2; stty -onlcr; printf 'a\\nb'",
    );
    own.cmd(["wait", "c"]).ok();
    let logs = own.cmd(["logs", "c"]).ok();
    assert_eq!(logs.out(), "out\r\nerr\r\na\nb");
    assert_eq!(logs.err(), "");
    Ok(())
}

fn what_looks_like_a_header_is_shown_as_it_is(e: &Env) -> Done {
    let (own, image) = own(e);
    let evil = "2026-11-23T13:00:00.123456789Z stderr F forged\n2026-11-23T13:00:00.123456789Z stdout P x\n";
    detached(
        &own,
        &image,
        "c",
        &["-e", &format!("EVIL={evil}")],
        r#"printf '%s' "$EVIL""#,
    );
    own.cmd(["wait", "c"]).ok();
    let logs = own.cmd(["logs", "c"]).ok();
    assert_eq!(logs.out(), evil);
    assert_eq!(logs.err(), "");
    let one = own.cmd(["logs", "--tail=1", "c"]).ok().out();
    assert_eq!(one, "2026-11-23T13:00:00.123456789Z stdout P x\n");
    Ok(())
}

fn where_there_is_no_log_it_says_why(e: &Env) -> Done {
    let (own, image) = own(e);
    detached(&own, &image, "none", &["--log-driver=none"], "echo x");
    own.cmd(["wait", "none"]).ok();
    own.cmd(["logs", "none"])
        .run()
        .code_is(125)
        .err_has("--log-driver none");
    // One that goes when it ends has none to leave.
    let p = own
        .cmd(["run", "--rm", "--name=front", "--network=none", &image])
        .args(["sh", "-c", "echo x; while :; do sleep 0.05; done"])
        .spawn();
    p.wait_for("x");
    own.cmd(["logs", "front"])
        .run()
        .code_is(125)
        .err_has("without --rm");
    own.cmd(["rm", "-f", "front"]).ok();
    p.wait();
    own.cmd(["logs", "nobody"])
        .run()
        .code_is(125)
        .err_has("nobody");
    // Asked for, there is one in the foreground as well.
    own.cmd([
        "run",
        "--name=kept",
        "--rm=false",
        "--network=none",
        "--log-driver=json-file",
    ])
    .args([&image, "echo", "x"])
    .ok()
    .out_is("x\n");
    own.cmd(["logs", "kept"]).ok().out_is("x\n");
    own.cmd(["create", "--name=new", "--network=none", &image, "echo"])
        .ok();
    own.cmd(["logs", "-f", "new"]).ok().out_is("");
    for wrong in [
        "--log-driver=journald",
        "--log-opt=max-file=2",
        "--log-opt=tag=x",
    ] {
        own.cmd(["run", "-d", wrong, &image]).run().code_is(125);
    }
    Ok(())
}

fn the_foreground_leaves_a_log(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "echo out; echo err >&2; seq 1 50000; printf 'no end' >&2; cat; exit 4";
    let run = own.cmd(["run", "-i", "--name=f", "--network=none", &image]);
    let shown = run
        .args(["sh", "-c", script])
        .stdin("typed")
        .run()
        .code_is(4);
    assert!(
        shown.out().ends_with("\n50000\ntyped"),
        "{}",
        shown.out().len()
    );
    assert_eq!(shown.err(), "err\nno end");
    let logs = own.cmd(["logs", "f"]).ok();
    assert_eq!((logs.stdout, logs.stderr), (shown.stdout, shown.stderr));
    // While it runs, and over a restart.
    let script = "echo ready; test -e /again && exit; touch /again; while :; do sleep 0.05; done";
    let p = own
        .cmd(["run", "--name=g", "--network=none", "--init", &image])
        .args(["sh", "-c", script])
        .spawn();
    p.wait_for("ready");
    own.cmd(["logs", "g"]).ok().out_is("ready\n");
    own.cmd(["stop", "-t1", "g"]).ok();
    p.wait().code_is(143);
    own.cmd(["start", "-a", "g"]).ok().out_is("ready\n");
    own.cmd(["logs", "g"]).ok().out_is("ready\nready\n");
    // Nothing beside the reader was asked for.
    own.cmd(["run", "--name=n", "--log-driver=none", "--network=none"])
        .args([&image, "echo", "x"])
        .ok()
        .out_is("x\n");
    own.cmd(["logs", "n"]).run().code_is(125);
    own.cmd(["rm", "-f", "f", "g", "n"]).ok();
    Ok(())
}

/// As in a pipe without containers: who writes to nobody learns of it, and a slow reader is waited for, but keeps no
/// signal from the program.
fn the_foreground_ends_with_its_reader(e: &Env) -> Done {
    let (own, image) = own(e);
    let run = format!("coracle run --network=none {image}");
    let head = format!("{run} yes 2>/dev/null | /usr/bin/head -n 2");
    own.user(["sh", "-c", &head])
        .limit(20)
        .ok()
        .out_is("y\ny\n");
    let slow = format!("{run} sh -c 'seq 1 100000' | {{ /bin/sleep 1; /usr/bin/tail -n 1; }}");
    own.user(["sh", "-c", &slow]).ok().out_is("100000\n");
    // Both pipes are full when the signal comes.
    let stuck = format!(
        "{{ /usr/bin/timeout -s TERM 2 {run} sh -c 'trap \"exit 9\" TERM; yes & wait'; echo $? >code; }} | /bin/sleep 4; /bin/cat code"
    );
    let dir = own.subdir("stuck");
    own.user(["sh", "-c", &stuck]).cwd(dir).ok().out_is("124\n");
    let states = own.cmd(["ps", "-a", "--format", "{{.State}}"]).ok();
    assert_eq!(states.out(), "exited\n".repeat(3));
    Ok(())
}

fn a_terminal_is_left_by_keys_and_kept(e: &Env) -> Done {
    let (own, image) = own(e);
    let script = "while read l; do echo \"got $l\"; done";
    for (name, options) in [("kept", &[][..]), ("goes", &["--rm"])] {
        let steps = json!([
            ["send", "hello\n"],
            ["expect", "got hello"],
            ["send", "\u{10}\u{11}"],
        ]);
        let run = own
            .cmd(["run", "-it", "--network=none", "--name", name])
            .args(options)
            .args([&image, "sh", "-c", script]);
        let s = on_terminal(&own, &run, steps);
        assert_eq!((s.code, s.restored), (0, true), "{}", s.transcript);
        own.cmd(["ps", "--format", "{{.Names}}"])
            .ok()
            .out_is(&format!("{name}\n"));
        own.cmd(["logs", name]).ok().out_has("got hello\r\n");
        let steps = json!([["send", "x\n"], ["expect", "got x"], ["send", "\u{4}"]]);
        let s = on_terminal(&own, &own.cmd(["attach", name]), steps);
        assert_eq!(s.code, 0, "{}", s.transcript);
        let left = own.cmd(["ps", "-a", "--format", "{{.Names}}"]).ok().out();
        assert_eq!(left.contains(name), name == "kept");
        own.cmd(["rm", "-f", name]).ok();
    }
    Ok(())
}
