//! Terminals: `-t`, raw mode, window size, job control.

use serde_json::{Value, json};

use crate::harness::{Cmd, Done, Env, Runtime, unique_sleep};

suite!(
    a_terminal_of_its_own,
    no_terminal_without_t,
    window_size,
    window_size_changes,
    control_c_goes_inside,
    terminal_is_restored,
    terminal_is_restored_after_a_kill,
    job_control,
    term_variable,
    interactive_session,
    output_is_complete,
    exit_code_through_a_terminal,
    t_with_i_and_no_terminal_warns,
    t_without_i_needs_none,
    callers_terminal_stays_outside,
);

pub struct Session {
    pub transcript: String,
    pub code: i64,
    pub restored: bool,
}

/// Run a command on a terminal of 30 × 90; see terminal.py for the steps.
#[track_caller]
pub fn on_terminal(e: &Env, cmd: &Cmd, steps: Value) -> Session {
    let out = Cmd::host(["python3", "-"])
        .stdin(include_str!("terminal.py"))
        .args(["30", "90"])
        .arg(steps.to_string())
        .args(cmd.argv())
        .cwd(&e.dir)
        .run();
    let reply: Value = serde_json::from_slice(&out.stdout).unwrap_or_else(|_| panic!("{out:?}"));
    assert_eq!(
        reply["failed"],
        Value::Null,
        "{}",
        reply["transcript"].as_str().unwrap()
    );
    Session {
        transcript: reply["transcript"].as_str().unwrap().to_owned(),
        code: reply["code"].as_i64().unwrap(),
        restored: reply["restored"].as_bool().unwrap(),
    }
}

fn a_terminal_of_its_own(e: &Env) -> Done {
    let cmd = e.run_cmd(
        &["-it"],
        "busybox",
        &[
            "sh",
            "-c",
            "tty; test -t 0 && test -t 1 && test -t 2 && echo all three",
        ],
    );
    let s = on_terminal(e, &cmd, json!([]));
    assert!(
        s.transcript.contains("/dev/pts/0\r\n") || s.transcript.contains("/dev/console\r\n"),
        "{}",
        s.transcript
    );
    assert!(s.transcript.contains("all three\r\n"), "{}", s.transcript);
    assert_eq!(s.code, 0);
    Ok(())
}

fn no_terminal_without_t(e: &Env) -> Done {
    e.run(
        &[],
        "busybox",
        &[
            "sh",
            "-c",
            "test -t 0 || test -t 1 || test -t 2 || echo none",
        ],
    )
    .code_is(0)
    .out_is("none\n");
    Ok(())
}

fn window_size(e: &Env) -> Done {
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["stty", "size"]),
        json!([]),
    );
    assert_eq!(s.transcript, "30 90\r\n");
    Ok(())
}

fn window_size_changes(e: &Env) -> Done {
    let script = "trap 'stty size; exit 0' WINCH; echo ready; while :; do sleep 0.05; done";
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["sh", "-c", script]),
        json!([
            ["expect", "ready"],
            ["resize", 41, 101],
            ["expect", "41 101"]
        ]),
    );
    assert_eq!(s.code, 0);
    Ok(())
}

fn control_c_goes_inside(e: &Env) -> Done {
    let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.05; done";
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["sh", "-c", script]),
        json!([["expect", "ready"], ["send", "\u{3}"], ["expect", "caught"]]),
    );
    assert_eq!(s.code, 3, "{}", s.transcript);
    Ok(())
}

fn terminal_is_restored(e: &Env) -> Done {
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["sh", "-c", "stty raw -echo; exit 4"]),
        json!([]),
    );
    assert_eq!((s.code, s.restored), (4, true), "{}", s.transcript);
    Ok(())
}

fn terminal_is_restored_after_a_kill(e: &Env) -> Done {
    e.coracle_only("it does not")?;
    let sleep = unique_sleep();
    let script = format!("exec {sleep}");
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it", "--init"], "busybox", &["sh", "-c", &script]),
        json!([["runs", sleep], ["send", "\u{1c}"]]),
    );
    assert!(s.restored && s.code >= 128, "{} {}", s.code, s.transcript);
    Ok(())
}

fn job_control(e: &Env) -> Done {
    let sleep = unique_sleep();
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["sh"]),
        json!([
            ["expect", "# "],
            ["send", format!("{sleep}\n")],
            // The child takes the terminal before it executes the program.
            ["runs", sleep],
            ["send", "\u{1a}"],
            ["expect", "Stopped"],
            ["send", "kill -9 %1; echo $((40+2))\n"],
            ["expect", "42"],
            // exit(1) would mind a job that is not reaped yet.
            ["send", "exec sh -c 'exit 6'\n"]
        ]),
    );
    assert_eq!(s.code, 6, "{}", s.transcript);
    assert!(
        !s.transcript.contains("can't access tty"),
        "{}",
        s.transcript
    );
    assert!(
        !s.transcript.contains("job control turned off"),
        "{}",
        s.transcript
    );
    Ok(())
}

fn term_variable(e: &Env) -> Done {
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["sh", "-c", "echo $TERM"]),
        json!([]),
    );
    assert_eq!(s.transcript, "xterm\r\n");
    if e.runtime == Runtime::Coracle {
        assert_eq!(e.sh(&[], "echo ${TERM-unset}"), "unset\n");
    }
    Ok(())
}

fn interactive_session(e: &Env) -> Done {
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "python", &["bash", "--norc"]),
        json!([
            ["expect", "# "],
            ["send", "echo $((6*7))\n"],
            ["expect", "42\r\n"],
            ["expect", "# "],
            ["send", "false; echo code $?\n"],
            ["expect", "code 1"],
            // Before its prompt a shell does not read, and what ends a line is not what ends a shell.
            ["expect", "# "],
            ["send", "\u{4}"]
        ]),
    );
    assert!(s.restored, "{}", s.transcript);
    Ok(())
}

fn output_is_complete(e: &Env) -> Done {
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["sh", "-c", "seq 1 20000"]),
        json!([]),
    );
    let lines: Vec<&str> = s.transcript.split("\r\n").collect();
    assert_eq!(
        (lines.len(), lines[19_999]),
        (20_001, "20000"),
        "the end is missing"
    );
    Ok(())
}

fn exit_code_through_a_terminal(e: &Env) -> Done {
    for code in [0, 1, 77, 255] {
        let s = on_terminal(
            e,
            &e.run_cmd(&["-it"], "busybox", &["sh", "-c", &format!("exit {code}")]),
            json!([]),
        );
        assert_eq!(s.code, code);
    }
    let s = on_terminal(
        e,
        &e.run_cmd(&["-it"], "busybox", &["no-such-program"]),
        json!([]),
    );
    assert_eq!((s.code, s.restored), (127, true), "{}", s.transcript);
    Ok(())
}

fn t_with_i_and_no_terminal_warns(e: &Env) -> Done {
    e.coracle_only("it warns in the log alone")?;
    let out = e
        .run_cmd(&["-it"], "busybox", &["cat"])
        .stdin("x\n\u{4}")
        .run();
    out.code_is(0).out_has("x").err_has("terminal");
    Ok(())
}

fn t_without_i_needs_none(e: &Env) -> Done {
    let out = e.run(
        &["-t"],
        "busybox",
        &["sh", "-c", "test -t 1 && echo terminal"],
    );
    out.code_is(0).out_is("terminal\r\n");
    Ok(())
}

fn callers_terminal_stays_outside(e: &Env) -> Done {
    // With -i alone on a terminal, the program must not get hold of it as its controlling terminal.
    let script = "(: </dev/tty) 2>/dev/null && echo got the terminal; echo end";
    let s = on_terminal(
        e,
        &e.run_cmd(&["-i"], "busybox", &["sh", "-c", script]),
        json!([["expect", "end"]]),
    );
    assert!(
        !s.transcript.contains("got the terminal"),
        "{}",
        s.transcript
    );
    Ok(())
}
