//! `exec` and `top`: one more program in a container that runs.

use rustix::process::Signal;
use serde_json::json;

use crate::harness::{Cmd, Done, Env, Output, Proc, digest, pid_of, unique_sleep};
use crate::run_tty::on_terminal;

suite!(
    it_is_inside,
    it_has_what_the_container_has,
    variables_directory_and_user,
    exit_codes,
    users_are_emulated_for_it_too,
    set_id_programs_work_for_it,
    strict_access_holds_for_it,
    one_identity,
    profiles_hold_for_it,
    privileged,
    standard_input,
    no_descriptors,
    a_terminal,
    a_terminal_left_behind,
    in_the_background,
    in_the_background_with_a_terminal,
    signals_are_handed_on,
    it_ends_with_the_container,
    a_shared_pid_namespace,
    passwd_is_not_followed_out,
    working_directory_stays_inside,
    binary_cannot_be_overwritten,
    many_at_once,
    a_container_that_ends,
    a_container_that_does_not_run,
    processes_are_shown,
);

/// A container that waits.
struct Up<'a> {
    e: &'a Env,
    name: String,
    run: Proc,
}

impl<'a> Up<'a> {
    fn new(e: &'a Env, flags: &[&str], image: &str) -> Self {
        Self::with(e, flags, image, "echo ready; exec sleep 600")
    }

    /// `script` says when it is ready.
    fn with(e: &'a Env, flags: &[&str], image: &str, script: &str) -> Self {
        let name = unique_sleep().replace(' ', "-");
        let flags = [&["--name", name.as_str()], flags].concat();
        let run = e.run_cmd(&flags, image, &["sh", "-c", script]).spawn();
        run.wait_for("ready");
        Self { e, name, run }
    }

    fn cmd(&self, flags: &[&str], args: &[&str]) -> Cmd {
        let words = [&["exec"], flags, &[self.name.as_str()], args].concat();
        self.e.cmd(words)
    }

    #[track_caller]
    fn exec(&self, flags: &[&str], args: &[&str]) -> Output {
        self.cmd(flags, args).run()
    }

    /// A shell script; expects exit code 0 and returns stdout.
    #[track_caller]
    fn sh(&self, flags: &[&str], script: &str) -> String {
        let out = self.exec(flags, &["sh", "-c", script]).code_is(0);
        assert_eq!(out.err(), "", "{out:?}");
        out.out()
    }

    /// End it, and expect that it lived until now.
    #[track_caller]
    fn end(self) {
        let mut run = self.run;
        assert!(run.is_running(), "{:?}", run.wait());
        run.signal(Signal::KILL);
        run.wait();
    }
}

fn it_is_inside(e: &Env) -> Done {
    let up = Up::new(e, &["-h", "inside"], "busybox");
    assert_eq!(
        up.sh(&[], "hostname; echo $HOSTNAME; pwd"),
        "inside\ninside\n/\n"
    );
    up.sh(&[], "echo x >/left");
    assert_eq!(up.sh(&[], "cat /left"), "x\n");
    let namespaces = "for n in user mnt pid net ipc uts cgroup; do readlink /proc/$P/ns/$n; done";
    let first = up.sh(&["-e", "P=1"], namespaces);
    assert_eq!(up.sh(&["-e", "P=self"], namespaces), first);
    // Its own session, and nobody of the container its parent.
    let stat = up.sh(&[], "exec cat /proc/self/stat");
    let fields: Vec<&str> = stat.split(' ').collect();
    assert_eq!((fields[3], fields[5]), ("0", fields[0]), "{stat}");
    up.end();
    Ok(())
}

const CONFINED: &str = "grep -E '^(Cap|NoNewPrivs|Seccomp|Umask|Groups)' /proc/$P/status";

fn it_has_what_the_container_has(e: &Env) -> Done {
    for flags in [
        &[][..],
        &["--cap-drop=ALL", "--cap-add=CHOWN"],
        &[
            "--identity=off",
            "--security-opt",
            "no-new-privileges=false",
        ],
        &["--identity=ids", "--cap-add=SYS_PTRACE"],
        &["--privileged"],
        &["--init", "-u", "7:8"],
    ] {
        let up = Up::new(e, flags, "busybox");
        let first = up.sh(&["-e", "P=1"], CONFINED);
        assert_eq!(up.sh(&["-e", "P=self"], CONFINED), first, "{flags:?}");
        up.end();
    }
    let flags = [
        "--ulimit",
        "nofile=77:99",
        "--ulimit",
        "core=0",
        "-e",
        "A=b",
        "-w",
        "/tmp",
    ];
    let up = Up::new(e, &flags, "busybox");
    let script = "ulimit -n; ulimit -Hn; ulimit -c; echo $A; pwd; echo $HOME";
    assert_eq!(up.sh(&[], script), "77\n99\n0\nb\n/tmp\n/root\n");
    up.end();
    Ok(())
}

fn variables_directory_and_user(e: &Env) -> Done {
    let up = Up::new(e, &["-e", "A=1", "-e", "B=2"], "debian");
    let file = e.file("env", "C=3\nD\n");
    let file = file.display().to_string();
    let flags = [
        "-e",
        "B=x",
        "-e",
        "E",
        "--env-file",
        &file,
        "-w",
        "/usr/lib",
    ];
    let out = up.cmd(&flags, &["sh", "-c", "echo $A $B $C $D $E $PWD"]);
    let out = out.env("D", "4").env("E", "5").ok();
    assert_eq!(out.out(), "1 x 3 4 5 /usr/lib\n");
    for (user, want) in [
        ("www-data", "33 33 33 /var/www\n"),
        ("33:7", "33 7 7 /var/www\n"),
        ("4242", "4242 0 0 /\n"),
        (":8", "0 8 8 /root\n"),
        ("0:mail", "0 8 8 /root\n"),
    ] {
        let script = "echo $(id -u) $(id -g) $(id -G) $HOME";
        assert_eq!(up.sh(&["-u", user], script), want, "{user}");
    }
    up.exec(&["-u", "nobody-here"], &["true"])
        .fails_with(125, "nobody-here");
    up.exec(&["-w", "/no/where"], &["true"])
        .fails_with(125, "/no/where");
    // Who is new inside is known at once.
    up.sh(
        &[],
        "echo new:x:77:78::/tmp:/bin/sh >>/etc/passwd; echo more:x:79:a,new >>/etc/group",
    );
    assert_eq!(
        up.sh(&["-u", "new"], "id -u; id -g; id -G"),
        "77\n78\n78 79\n"
    );
    up.end();
    Ok(())
}

fn exit_codes(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    up.exec(&[], &["sh", "-c", "exit 7"]).code_is(7);
    up.exec(&[], &["sh", "-c", "kill -9 $$"]).code_is(137);
    up.exec(&[], &["no-such-program"])
        .fails_with(127, "no-such-program");
    up.exec(&[], &["/etc"]).fails_with(126, "/etc");
    up.sh(&[], "echo '#!/no/such' >/bad; chmod 755 /bad");
    up.exec(&[], &["/bad"]).fails_with(127, "/bad");
    e.cmd(["exec", "no-such-container", "true"])
        .run()
        .fails_with(125, "no-such-container");
    up.end();
    Ok(())
}

fn users_are_emulated_for_it_too(e: &Env) -> Done {
    let up = Up::with(
        e,
        &[],
        "debian",
        "touch /a; chown 5:6 /a; echo ready; while ! [ -e /go ]; do sleep 0.05; done; stat -c %u:%g /b; exec sleep 600",
    );
    assert_eq!(up.sh(&[], "stat -c %u:%g /a"), "5:6\n");
    // What it gives away the container sees, and who comes next.
    up.sh(&[], "touch /b; chown daemon:mail /b; touch /go");
    up.run.wait_for("1:8");
    assert_eq!(up.sh(&[], "stat -c %U:%G /b"), "daemon:mail\n");
    let who =
        "id -u; touch /tmp/$$; stat -c %u /tmp/$$; chown 0 /tmp/$$ 2>/dev/null || echo refused";
    assert_eq!(up.sh(&["-u", "www-data"], who), "33\n33\nrefused\n");
    // Two at a time are two.
    let first = up.cmd(&["-u", "7"], &["sh", "-c", "echo on; sleep 1; id -u"]);
    let first = first.spawn();
    first.wait_for("on");
    assert_eq!(up.sh(&["-u", "8"], "id -u; sh -c 'id -u'"), "8\n8\n");
    first.wait().code_is(0).out_is("7\n");
    // More calls than are answered by one thread at a time.
    let busy = "for i in 1 2 3 4 5 6 7 8; do (for j in $(seq 50); do chown $i /b; stat /b >/dev/null; done) & done; wait; echo done";
    assert_eq!(up.sh(&[], busy), "done\n");
    up.end();
    Ok(())
}

fn set_id_programs_work_for_it(e: &Env) -> Done {
    let up = Up::new(e, &[], "debian");
    up.sh(&[], "cp /usr/bin/id /suid; chown 5 /suid; chmod 4755 /suid");
    assert_eq!(up.sh(&["-u", "9"], "/suid -u; id -u"), "5\n9\n");
    // Also as the first that it executes.
    up.exec(&["-u", "9"], &["/suid", "-u"])
        .code_is(0)
        .out_is("5\n");
    up.end();
    let none = Up::new(e, &["--security-opt", "no-new-privileges"], "debian");
    none.sh(&[], "cp /usr/bin/id /suid; chown 5 /suid; chmod 4755 /suid");
    none.exec(&["-u", "9"], &["/suid", "-u"])
        .code_is(0)
        .out_is("9\n");
    none.end();
    Ok(())
}

fn strict_access_holds_for_it(e: &Env) -> Done {
    let up = Up::new(e, &["--identity", "strict"], "debian");
    up.sh(&[], "echo secret >/s; chmod 600 /s");
    up.exec(&["-u", "9"], &["cat", "/s"])
        .code_is(1)
        .err_has("denied");
    assert_eq!(up.sh(&[], "cat /s"), "secret\n");
    up.end();
    Ok(())
}

fn one_identity(e: &Env) -> Done {
    let up = Up::new(e, &["--identity", "off"], "busybox");
    assert_eq!(up.sh(&[], "id -u"), "0\n");
    assert_eq!(up.sh(&["-u", "root"], "id -u"), "0\n");
    up.exec(&["-u", "7"], &["true"]).fails_with(125, "7:0");
    up.sh(&[], "touch /x; ! chown 5 /x 2>/dev/null");
    up.end();
    let up = Up::new(e, &["--identity", "ids"], "busybox");
    up.sh(&[], "touch /x; chown 5 /x");
    up.end();
    Ok(())
}

fn profiles_hold_for_it(e: &Env) -> Done {
    let profile = json!({
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [{"names": ["sethostname"], "action": "SCMP_ACT_ERRNO", "errnoRet": 95}],
    });
    let file = e.file("profile.json", profile.to_string());
    let option = format!("seccomp={}", file.display());
    let flags = ["--security-opt", &option, "--cap-add", "SYS_ADMIN"];
    let up = Up::new(e, &flags, "busybox");
    // What counts is the profile as it was.
    std::fs::write(&file, "{}").unwrap();
    up.exec(&[], &["hostname", "x"])
        .code_is(1)
        .err_has("not supported");
    assert_eq!(up.sh(&["--privileged"], "hostname y; hostname"), "y\n");
    up.end();
    let up = Up::new(
        e,
        &["--security-opt", "seccomp=unconfined", "--identity=off"],
        "busybox",
    );
    assert_eq!(
        up.sh(&[], "grep Seccomp: /proc/self/status"),
        "Seccomp:\t0\n"
    );
    up.end();
    Ok(())
}

fn privileged(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    let mount = "mkdir -p /m; mount -t tmpfs x /m 2>/dev/null && echo yes || echo no";
    assert_eq!(up.sh(&[], mount), "no\n");
    assert_eq!(up.sh(&["--privileged"], mount), "yes\n");
    up.end();
    Ok(())
}

fn standard_input(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    up.cmd(&["-i"], &["cat"]).stdin("a\0b").ok().out_is("a\0b");
    up.cmd(&[], &["cat"]).stdin("text").ok().out_is("");
    up.end();
    Ok(())
}

const FDS: &str = "ls /proc/self/fd | sort -n | tr '\\n' ' '";

fn no_descriptors(e: &Env) -> Done {
    for flags in [&[][..], &["--identity=off"], &["--pid=host"]] {
        let up = Up::new(e, flags, "busybox");
        for flags in [&[][..], &["-i"], &["--privileged"]] {
            let cmd = up.cmd(flags, &["sh", "-c", FDS]);
            let out = e.around("exec 5</etc/passwd 7>/dev/null 9</; exec \"$@\"", &cmd);
            out.ok().out_is("0 1 2 3 ");
        }
        let cmd = up.cmd(&["--preserve-fds", "1"], &["cat", "/proc/self/fd/3"]);
        let out = e.around("exec 3</proc/sys/kernel/ostype; exec \"$@\"", &cmd);
        out.ok().out_is("Linux\n");
        up.end();
    }
    Ok(())
}

fn a_terminal(e: &Env) -> Done {
    for flags in [&[][..], &["--identity=off"], &["-t"]] {
        let up = Up::new(e, flags, "busybox");
        let script = "trap 'stty size; exit 5' WINCH; tty; stty size; echo $TERM; while :; do sleep 0.05; done";
        let cmd = up.cmd(&["-it"], &["sh", "-c", script]);
        let steps = json!([
            ["expect", "xterm"],
            ["resize", 41, 101],
            ["expect", "41 101"]
        ]);
        let s = on_terminal(e, &cmd, steps);
        let want = match flags {
            ["-t"] => "/dev/pts/1\r\n30 90\r\n",
            _ => "/dev/pts/0\r\n30 90\r\n",
        };
        assert!(s.transcript.starts_with(want), "{}", s.transcript);
        assert_eq!((s.code, s.restored), (5, true));
        // Ctrl-C goes inside.
        let script = "trap 'echo caught; exit 3' INT; echo on; while :; do sleep 0.05; done";
        let cmd = up.cmd(&["-it"], &["sh", "-c", script]);
        let s = on_terminal(e, &cmd, json!([["expect", "on"], ["send", "\u{3}"]]));
        assert_eq!(s.code, 3, "{}", s.transcript);
        up.exec(&["-t"], &["sh", "-c", "test -t 1 && echo yes"])
            .code_is(0)
            .out_is("yes\r\n");
        up.end();
    }
    Ok(())
}

fn a_terminal_left_behind(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    let script = "echo on; read x; echo got $x >/got; while :; do echo more; sleep 0.05; done";
    for (flags, keys) in [
        (&["-it"][..], "\u{10}\u{11}"),
        (&["-it", "--detach-keys", "x,ctrl-a"], "x\u{1}"),
    ] {
        let cmd = up.cmd(flags, &["sh", "-c", script]);
        let line = format!("hello\n{keys}");
        let s = on_terminal(e, &cmd, json!([["expect", "on"], ["send", line]]));
        assert_eq!((s.code, s.restored), (0, true), "{}", s.transcript);
        // It goes on, and has its terminal.
        up.sh(&[], "until [ -e /got ]; do sleep 0.05; done; sleep 0.3");
        let ps = up.sh(
            &[],
            "cat /got; rm /got; ps -o args | grep -c '^sh -c echo [o]n'",
        );
        assert_eq!(ps, "got hello\n1\n");
        let kill = "ps -o pid,args | grep '[o]n; read' | while read p rest; do kill -9 $p; done";
        up.sh(&[], kill);
    }
    let wrong = up.exec(&["--detach-keys", "ctrl-1"], &["true"]);
    assert_eq!(wrong.code(), 125, "{wrong:?}");
    up.end();
    Ok(())
}

fn in_the_background(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    let sleep = unique_sleep();
    let script = format!("id -u >/tmp/who; echo lost; echo lost >&2; exec {sleep}");
    up.exec(&["-d", "-u", "5"], &["sh", "-c", &script])
        .code_is(0)
        .out_is("")
        .err_is("");
    up.sh(&[], "until [ -s /tmp/who ]; do sleep 0.05; done");
    assert_eq!(up.sh(&[], "cat /tmp/who"), "5\n");
    assert!(pid_of(&sleep).is_some());
    up.exec(&["-d"], &["no-such-program"])
        .fails_with(127, "no-such-program");
    up.exec(&["-d", "-i"], &["cat"])
        .fails_with(125, "exclude each other");
    up.end();
    crate::harness::wait_until("it is gone", || pid_of(&sleep).is_none());
    Ok(())
}

fn in_the_background_with_a_terminal(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    let sleep = unique_sleep();
    let script = format!("tty >/tty; yes | head -c 200000; echo >/done; exec {sleep}");
    up.exec(&["-dt"], &["sh", "-c", &script])
        .code_is(0)
        .out_is("");
    up.sh(&[], "until [ -e /done ]; do sleep 0.05; done");
    assert_eq!(up.sh(&[], "cat /tty"), "/dev/pts/0\n");
    up.end();
    crate::harness::wait_until("it is gone", || pid_of(&sleep).is_none());
    Ok(())
}

fn signals_are_handed_on(e: &Env) -> Done {
    let up = Up::new(e, &[], "busybox");
    let script = "trap 'echo term; exit 4' TERM; echo on; while :; do sleep 0.05; done";
    let p = up.cmd(&[], &["sh", "-c", script]).spawn();
    p.wait_for("on");
    p.signal(Signal::TERM);
    p.wait().code_is(4).out_is("term\n");
    up.end();
    Ok(())
}

fn it_ends_with_the_container(e: &Env) -> Done {
    for flags in [&[][..], &["--identity=off"], &["--pid=host"]] {
        let up = Up::new(e, flags, "busybox");
        let sleep = unique_sleep();
        let p = up
            .cmd(&[], &["sh", "-c", &format!("echo on; exec {sleep}")])
            .spawn();
        p.wait_for("on");
        up.end();
        let out = p.wait();
        // By SIGKILL, unless the monitor went first: then its calls fail, or it was not yet known to run.
        assert_ne!(out.code(), 0, "{out:?}");
        assert!(pid_of(&sleep).is_none());
    }
    Ok(())
}

fn a_shared_pid_namespace(e: &Env) -> Done {
    let up = Up::new(e, &["--pid=host"], "busybox");
    let sleep = unique_sleep();
    assert_eq!(up.sh(&[], "id -u; chown 5 /etc; stat -c %u /etc"), "0\n5\n");
    // What it leaves behind goes with it, since nobody else would end it.
    up.sh(&[], &format!("{sleep} >/dev/null 2>&1 & echo"));
    crate::harness::wait_until("it is gone", || pid_of(&sleep).is_none());
    up.exec(&["-d"], &["sh", "-c", &format!("exec {sleep}")])
        .code_is(0);
    crate::harness::wait_until("it runs", || pid_of(&sleep).is_some());
    up.end();
    crate::harness::wait_until("it is gone", || pid_of(&sleep).is_none());
    Ok(())
}

fn passwd_is_not_followed_out(e: &Env) -> Done {
    let outside = e.file("passwd", "intruder:x:0:0::/:/bin/sh\n");
    let outside = outside.display().to_string();
    let deep = format!("{}{outside}", "../".repeat(30));
    for flags in [&[][..], &["--identity=off"]] {
        let up = Up::new(e, flags, "busybox");
        for target in [
            &deep,
            outside.as_str(),
            "/proc/self/root/etc/passwd",
            "/dev/zero",
            "/proc/1/mem",
            "/",
        ] {
            up.sh(&["-e", &format!("T={target}")], "ln -sfn $T /etc/passwd");
            up.exec(&["-u", "intruder"], &["true"]).code_is(125);
        }
        // Nobody waits for it.
        up.sh(&[], "rm /etc/passwd; mkfifo /etc/passwd");
        up.cmd(&["-u", "intruder"], &["true"])
            .limit(20)
            .run()
            .code_is(125);
        up.sh(
            &[],
            "rm /etc/passwd; dd if=/dev/zero of=/etc/passwd bs=1M count=17 2>/dev/null",
        );
        up.exec(&["-u", "intruder"], &["true"]).code_is(125);
        up.end();
    }
    Ok(())
}

fn working_directory_stays_inside(e: &Env) -> Done {
    // CVE-2024-21626, also by a link that the container makes, while it is made.
    for flags in [&[][..], &["--identity=off"]] {
        let up = Up::new(e, flags, "busybox");
        let climb = "../".repeat(40);
        let look = format!("cat {climb}etc/hostname; ls {climb}; pwd");
        let root = up.sh(&[], "ls /");
        for number in 0..24 {
            for dir in [format!("/proc/self/fd/{number}"), format!("/link{number}")] {
                up.sh(
                    &[],
                    &format!("ln -sfn /proc/self/fd/{number} /link{number}"),
                );
                let cmd = up.cmd(&["-i", "-w", &dir], &["sh", "-c", &look]);
                let out = e.around("exec 3</ 4</etc 9</; exec \"$@\" </", &cmd).run();
                if out.code() != 125 {
                    assert!(
                        out.out().contains(&root) || out.out().is_empty(),
                        "{dir}: {out:?}"
                    );
                }
            }
        }
        up.end();
    }
    Ok(())
}

/// Looks at everybody who comes, as often as it can, and takes what it gets.
const WATCH: &str = r#"
import os, sys, ctypes
own = {p for p in os.listdir('/proc') if p.isdigit()} | {str(os.getpid())}
hits = set()
print('ready', flush=True)
libc = ctypes.CDLL(None, use_errno=True)
while True:
    for p in os.listdir('/proc'):
        if not p.isdigit() or p in own:
            continue
        try:
            exe = os.readlink(f'/proc/{p}/exe')
            if 'coracle' in exe and 'memfd' not in exe:
                hits.add('exe ' + exe)
                print('HIT', exe, flush=True)
        except OSError:
            pass
        for fd in (0, 1, 2, *range(3, 40)):
            try:
                to = os.readlink(f'/proc/{p}/fd/{fd}')
                if fd > 2 and ('containers' in to or 'ephemeral' in to or '/proc' in to or 'control' in to):
                    print('HIT', to, flush=True)
            except OSError:
                pass
        try:
            with open(f'/proc/{p}/exe', 'r+b', buffering=0) as f:
                print('HIT write', flush=True)
        except OSError:
            pass
        if libc.ptrace(16, int(p), 0, 0) == 0:
            try:
                os.waitpid(int(p), 0x40000000)
                exe = os.readlink(f'/proc/{p}/exe')
                if 'coracle' in exe and 'memfd' not in exe:
                    print('HIT ptrace', exe, flush=True)
            except OSError:
                pass
            libc.ptrace(17, int(p), 0, 0)
            try:
                # It may have got a second signal to stop meanwhile.
                os.kill(int(p), 18)
            except OSError:
                pass
"#;

fn binary_cannot_be_overwritten(e: &Env) -> Done {
    // CVE-2019-5736 and CVE-2016-9962: somebody inside waits for who comes in, with the right to trace.
    let before = digest(&std::fs::read(&e.machine.binary).unwrap());
    for flags in [
        &["--cap-add=SYS_PTRACE"][..],
        &["--privileged", "--identity=off"],
    ] {
        let name = unique_sleep().replace(' ', "-");
        let flags = [&["--name", name.as_str()], flags].concat();
        let run = e
            .run_cmd(&flags, "python", &["python3", "-c", WATCH])
            .spawn();
        run.wait_for("ready");
        for i in 0..100 {
            let program: &[&str] = match i % 3 {
                0 => &["/proc/self/exe", "--version"],
                _ => &["/bin/true"],
            };
            let out = e
                .cmd([&["exec", name.as_str()], program].concat())
                .limit(30)
                .run();
            assert!(!out.out().contains("coracle"), "{out:?}");
        }
        run.signal(Signal::KILL);
        let out = run.wait();
        assert!(!out.out().contains("HIT"), "{flags:?}: {out:?}");
    }
    assert_eq!(before, digest(&std::fs::read(&e.machine.binary).unwrap()));
    Ok(())
}

fn many_at_once(e: &Env) -> Done {
    for flags in [&[][..], &["--identity=off"]] {
        let up = Up::new(e, flags, "busybox");
        let threads = "grep Threads /proc/self/status; ls /proc | grep -c '^[0-9]'";
        let before = up.sh(&[], threads);
        let all: Vec<Proc> = (0..200)
            .map(|i| {
                let id = if flags.is_empty() { i } else { 0 };
                let script =
                    format!("test $(id -u) = {id} && touch /tmp/f{i} && stat -c %u /tmp/f{i}");
                up.cmd(&["-u", &id.to_string()], &["sh", "-c", &script])
                    .spawn()
            })
            .collect();
        for (i, p) in all.into_iter().enumerate() {
            let id = if flags.is_empty() { i } else { 0 };
            p.wait().code_is(0).out_is(&format!("{id}\n"));
        }
        assert_eq!(up.sh(&[], "ls /tmp | grep -c '^f[0-9]'"), "200\n");
        assert_eq!(up.sh(&[], threads), before, "something is left");
        up.end();
    }
    Ok(())
}

fn a_container_that_ends(e: &Env) -> Done {
    for flags in [&[][..], &["--identity=off"]] {
        for _ in 0..10 {
            let up = Up::with(e, flags, "busybox", "echo ready; exec sleep 0.1");
            let all: Vec<Proc> = (0..6)
                .map(|_| {
                    up.cmd(&[], &["sh", "-c", "sleep 0.05; true"])
                        .limit(30)
                        .spawn()
                })
                .collect();
            for p in all {
                let out = p.wait();
                assert!([0, 125, 137].contains(&out.code()), "{out:?}");
            }
            up.run.wait().code_is(0);
        }
    }
    Ok(())
}

fn a_container_that_does_not_run(e: &Env) -> Done {
    let own = e.with_own_store();
    let image = own.image("busybox");
    let words = [
        "run",
        "--name",
        "over",
        "--network=none",
        image.as_str(),
        "true",
    ];
    own.cmd(words).ok();
    for verb in [&["exec", "over", "true"][..], &["top", "over"]] {
        own.cmd(verb).run().fails_with(125, "over is not running");
    }
    Ok(())
}

fn processes_are_shown(e: &Env) -> Done {
    for (flags, user) in [
        (&["-u", "4242:43"][..], "4242"),
        (&["--identity=off"], "root"),
    ] {
        let up = Up::new(e, flags, "busybox");
        let p = up
            .cmd(&[], &["sh", "-c", "echo on; sleep 603 & wait"])
            .spawn();
        p.wait_for("on");
        let top = |words: &[&str]| {
            let words = [&["top", up.name.as_str()], words].concat();
            e.cmd(words).ok().out()
        };
        let out = top(&[]);
        let lines: Vec<&str> = out.lines().collect();
        let head: Vec<&str> = lines[0].split_whitespace().collect();
        let default = [
            "USER", "PID", "PPID", "%CPU", "ELAPSED", "TTY", "TIME", "COMMAND",
        ];
        assert_eq!(head, default, "{out}");
        assert_eq!(lines.len(), 4, "{out}");
        let first: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(first[..3], [user, "1", "0"], "{out}");
        assert_eq!(first[7..], ["sleep", "600"], "{out}");
        let tree = top(&["pid,ppid", "args"]);
        let lines: Vec<Vec<&str>> = tree
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        // The child's parent is who was started from outside.
        assert_eq!(lines[2][1], "0", "{tree}");
        assert_eq!((lines[3][1], lines[3][2]), (lines[2][0], "sleep"), "{tree}");
        let hpid = top(&["hpid,args"]);
        let host = hpid.lines().find(|l| l.ends_with("sleep 600")).unwrap();
        let host = host.split_whitespace().next().unwrap();
        let line = std::fs::read(format!("/proc/{host}/cmdline")).unwrap();
        assert_eq!(line, b"sleep\x00600\0");
        e.cmd(["top", &up.name, "capeff"])
            .run()
            .fails_with(125, "capeff");
        up.end();
        p.wait();
    }
    Ok(())
}
