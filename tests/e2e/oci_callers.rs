//! Those who drive a runtime: podman as a user with subordinate ids, containerd as root.

use std::path::Path;

use crate::harness::{Bundle, Cmd, Done, Env, Feature, Machine, Output, wait_until};

suite!(podman_drives_it, containerd_drives_it);

/// Version 2 of control groups alone: podman refuses a machine with both. In a mount namespace of its own.
const ONE_VERSION: &str =
    "if [ -d /sys/fs/cgroup/unified ]; then mount -t cgroup2 none /sys/fs/cgroup; fi; exec \"$@\"";

fn podman_drives_it(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.need(Feature::Program("podman"))?;
    e.need(Feature::Program("newuidmap"))?;
    let (uid, gid) = Machine::peer();
    // A short path: podman wants its own below 50 characters.
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let dir = temporary.path();
    std::os::unix::fs::chown(dir, Some(uid), Some(gid)).unwrap();
    let bundle = Bundle::new(e, "b");
    let archive = dir.join("rootfs.tar");
    Cmd::host(["tar", "-cf"])
        .arg(&archive)
        .arg("-C")
        .arg(bundle.dir.join("rootfs"))
        .arg(".")
        .ok();
    let runtime = e.machine.dir.join("bin/coracle-oci");
    let conf = dir.join("containers.conf");
    let text = format!(
        "[engine]\nruntime_supports_nocgroup = [\"coracle-oci\"]\n[engine.runtimes]\ncoracle-oci = [{:?}]\n",
        runtime.to_str().unwrap()
    );
    std::fs::write(&conf, text).unwrap();
    let (uid, gid) = (uid.to_string(), gid.to_string());
    let podman = |args: &[&str]| -> Cmd {
        let drop = [
            "setpriv",
            "--reuid",
            &uid,
            "--regid",
            &gid,
            "--clear-groups",
        ];
        let part = |name: &str| dir.join(name).into_os_string();
        Cmd::new(drop.map(Into::into).to_vec(), ["podman"])
            .args([
                "--root".into(),
                part("root"),
                "--runroot".into(),
                part("run"),
                "--tmpdir".into(),
                part("tmp"),
            ])
            .args([
                "--cgroup-manager=cgroupfs",
                "--events-backend=none",
                "--storage-driver=vfs",
                "--runtime=coracle-oci",
            ])
            .args(args)
            .env("HOME", dir)
            .env("XDG_RUNTIME_DIR", dir)
            .env("CONTAINERS_CONF", &conf)
            .env("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin")
            .cwd(dir)
            .prepared(ONE_VERSION)
            .limit(200)
    };
    let run = |args: &[&str]| -> Output { podman(args).run() };
    run(&["import", archive.to_str().unwrap(), "bb"]).code_is(0);
    run(&[
        "run",
        "--rm",
        "--network=none",
        "bb",
        "sh",
        "-c",
        "id -u; exit 5",
    ])
    .code_is(5)
    .out_is("0\n");
    run(&[
        "run",
        "--rm",
        "--cgroups=disabled",
        "--network=none",
        "--user=33:44",
        "bb",
        "id",
        "-u",
    ])
    .code_is(0)
    .out_is("33\n");
    run(&["run", "--rm", "--network=none", "bb", "no-such-program"]).fails_with(127, "not found");
    run(&[
        "run",
        "--rm",
        "--network=none",
        "--userns=keep-id",
        "bb",
        "id",
        "-u",
    ])
    .code_is(0)
    .out_is(&format!("{uid}\n"));
    run(&["run", "--rm", "--network=none", "--hostname=h", "--ulimit=nofile=99", "--sysctl=net.ipv4.ip_forward=1",
        "--tmpfs=/t", "--read-only", "--cap-add=net_raw", "bb", "sh", "-c",
        "hostname; ulimit -n; cat /proc/sys/net/ipv4/ip_forward; touch /t/x; ls /t; touch /x || echo read-only"])
        .code_is(0)
        .out_is("h\n99\n1\nx\nread-only\n");
    run(&["run", "--rm", "-t", "--network=none", "bb", "tty"])
        .code_is(0)
        .out_has("/dev/pts/0");

    let script = "trap 'exit 3' TERM; echo ready; while :; do sleep 0.1; done";
    // conmon keeps the streams that it is given.
    let started = e.around(
        "\"$@\" </dev/null >/dev/null 2>&1",
        &podman(&[
            "run",
            "-d",
            "--name=c",
            "--network=none",
            "bb",
            "sh",
            "-c",
            script,
        ]),
    );
    started.limit(200).ok();
    wait_until("it is ready", || run(&["logs", "c"]).out() == "ready\n");
    run(&["exec", "c", "sh", "-c", "id -u; exit 4"])
        .code_is(4)
        .out_is("0\n");
    run(&[
        "exec",
        "-u",
        "5:6",
        "-w",
        "/tmp",
        "-e",
        "A=1",
        "c",
        "sh",
        "-c",
        "id -u; pwd; echo $A",
    ])
    .code_is(0)
    .out_is("5\n/tmp\n1\n");
    podman(&["exec", "-i", "c", "cat"])
        .stdin("through\n")
        .ok()
        .out_is("through\n");
    run(&["exec", "c", "no-such-program"]).fails_with(127, "not found");
    run(&["ps", "--format", "{{.Names}} {{.State}}"])
        .code_is(0)
        .out_has("c Up ");
    run(&["top", "c", "comm"]).code_is(0).out_has("sh");
    run(&["stop", "c"]).code_is(0);
    run(&[
        "inspect",
        "--format",
        "{{.State.ExitCode}} {{.OCIRuntime}}",
        "c",
    ])
    .code_is(0)
    .out_is("3 coracle-oci\n");
    run(&["rm", "c"]).code_is(0);
    run(&["unshare", "rm", "-rf", dir.join("root").to_str().unwrap()]);
    Ok(())
}

/// A containerd of its own, ended with the shell that starts it; `"$@"` runs beside it.
const CONTAINERD: &str = r#"
containerd --config config.toml >containerd.log 2>&1 & pid=$!
trap 'kill $pid; wait $pid' EXIT
for i in $(seq 100); do [ -S sock ] && break; sleep 0.1; done
"$@"
"#;

const SCRIPT: &str = r#"
set -e
C="ctr --address sock"
$C images import --snapshotter native --base-name bb --no-unpack image.tar >/dev/null
R="--snapshotter native --runc-binary $RUNTIME"
$C run --rm $R bb:latest one echo hello
set +e
$C run --rm $R bb:latest two sh -c 'exit 6'; echo "code $?"
$C run -d $R bb:latest four sleep 1000
$C task exec --exec-id a four sh -c 'echo inside; exit 4'; echo "code $?"
$C task pause four; $C task ls | grep -o PAUSED
$C task resume four; $C task ls | grep -o RUNNING
$C task kill -s KILL four; sleep 1
$C task rm four 2>/dev/null; $C container rm four; $C container ls -q
echo end
"#;

fn containerd_drives_it(e: &Env) -> Done {
    e.need(Feature::Root)?;
    e.need(Feature::Program("containerd"))?;
    e.need(Feature::Program("ctr"))?;
    // Not in the test's directory: the names of its sockets would be too long.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let at = dir.path().display();
    let config = format!(
        "version = 2\nroot = \"{at}/root\"\nstate = \"{at}/state\"\n\
         disabled_plugins = [\"io.containerd.grpc.v1.cri\", \"io.containerd.internal.v1.opt\"]\n\
         [grpc]\n  address = \"{at}/sock\"\n[ttrpc]\n  address = \"{at}/sock.ttrpc\"\n"
    );
    std::fs::write(dir.path().join("config.toml"), config).unwrap();
    let layout = crate::harness::layout("busybox");
    Cmd::host(["tar", "-cf"])
        .arg(dir.path().join("image.tar"))
        .arg("-C")
        .arg(layout)
        .arg(".")
        .ok();
    let out = Cmd::host(["sh", "-c", CONTAINERD, "sh", "sh", "-c", SCRIPT])
        .prepared("exec \"$@\"")
        .env("RUNTIME", e.machine.dir.join("bin/coracle-oci"))
        .cwd(dir.path())
        .limit(200)
        .run();
    let log = std::fs::read_to_string(dir.path().join("containerd.log")).unwrap_or_default();
    assert_eq!(
        out.out(),
        "hello\ncode 6\ninside\ncode 4\nPAUSED\nRUNNING\nend\n",
        "{out:?}\n{log}"
    );
    for top in ["/sys/fs/cgroup/unified/default", "/sys/fs/cgroup/default"] {
        assert!(!Path::new(top).exists(), "{top} is left");
    }
    Ok(())
}
