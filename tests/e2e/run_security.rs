//! Namespaces, capabilities, seccomp, masked paths, limits.

use crate::harness::{Done, Env, Runtime};

/// The capabilities that docker leaves: 14 of them.
const DOCKER_CAPS: &str = "00000000a80425fb";
/// podman leaves 11.
const PODMAN_CAPS: &str = "00000000800405fb";

suite!(
    capabilities_by_default,
    capabilities_of_another_user,
    cap_drop_and_add,
    unknown_capability_is_an_error,
    privileged,
    no_new_privileges,
    seccomp_is_on,
    seccomp_blocks_what_docker_blocks,
    seccomp_unconfined,
    seccomp_profile_file,
    seccomp_profile_errors,
    masked_paths,
    unmask,
    read_only_paths,
    all_namespaces_are_new,
    host_namespaces,
    network_none_has_loopback_only,
    network_host,
    networks_that_do_not_exist_yet,
    ulimits,
    ulimit_above_the_hard_limit,
    sysctls,
    sysctl_outside_a_namespace_is_an_error,
    unknown_security_option_is_an_error,
    no_keyring,
    mounting_is_denied,
    no_way_to_the_old_root,
);

fn status(e: &Env, flags: &[&str], field: &str) -> String {
    let script = format!("grep ^{field}: /proc/self/status | cut -f2");
    e.sh(flags, &script).trim().to_owned()
}

fn default_caps(e: &Env) -> &'static str {
    match e.runtime {
        Runtime::Coracle => DOCKER_CAPS,
        Runtime::Podman => PODMAN_CAPS,
    }
}

fn capabilities_by_default(e: &Env) -> Done {
    let out = e.sh(&[], "grep ^Cap /proc/self/status | cut -f2");
    let caps = default_caps(e);
    let lines: Vec<&str> = out.lines().collect();
    // Inheritable is empty since CVE-2022-24769; ambient is for users that are not root.
    assert_eq!(
        lines,
        ["0000000000000000", caps, caps, caps, "0000000000000000"]
    );
    Ok(())
}

fn capabilities_of_another_user(e: &Env) -> Done {
    let out = e.sh(
        &["-u", "1000"],
        "grep -e ^CapPrm -e ^CapEff -e ^CapAmb /proc/self/status | cut -f2",
    );
    assert_eq!(
        out,
        "0000000000000000\n0000000000000000\n0000000000000000\n"
    );
    assert_eq!(status(e, &["-u", "1000"], "CapBnd"), default_caps(e));
    Ok(())
}

fn cap_drop_and_add(e: &Env) -> Done {
    assert_eq!(
        status(e, &["--cap-drop", "ALL"], "CapEff"),
        "0000000000000000"
    );
    assert_eq!(
        status(e, &["--cap-drop=all", "--cap-add=NET_RAW"], "CapEff"),
        "0000000000002000"
    );
    assert_eq!(
        status(
            e,
            &["--cap-drop", "ALL", "--cap-add", "CAP_SYS_CHROOT"],
            "CapEff"
        ),
        "0000000000040000"
    );
    assert_eq!(
        status(e, &["--cap-drop", "ALL", "--cap-add", "net_raw"], "CapBnd"),
        "0000000000002000"
    );
    let dropped = u64::from_str_radix(&status(e, &["--cap-drop", "CHOWN"], "CapEff"), 16).unwrap();
    assert_eq!(
        dropped,
        u64::from_str_radix(default_caps(e), 16).unwrap() & !1
    );
    Ok(())
}

fn unknown_capability_is_an_error(e: &Env) -> Done {
    e.run(&["--cap-add", "FLY"], "busybox", &["true"])
        .code_is(125)
        .err_has("FLY");
    e.run(&["--cap-drop", "CAP_FLY"], "busybox", &["true"])
        .code_is(125)
        .err_has("FLY");
    Ok(())
}

/// Emulated users need a filter, if one that forbids nothing.
fn no_emulation(e: &Env) -> &'static [&'static str] {
    match e.runtime {
        Runtime::Coracle => &["--identity=off"],
        Runtime::Podman => &[],
    }
}

fn privileged(e: &Env) -> Done {
    let caps = u64::from_str_radix(&status(e, &["--privileged"], "CapEff"), 16).unwrap();
    assert!(caps & (1 << 21) != 0, "no SYS_ADMIN in {caps:x}");
    let mut flags = vec!["--privileged"];
    flags.extend(no_emulation(e));
    assert_eq!(status(e, &flags, "Seccomp"), "0");
    let out = e.sh(&["--privileged"], "mount -t tmpfs none /mnt 2>/dev/null || { mkdir -p /m && mount -t tmpfs none /m; } && echo mounted");
    assert_eq!(out, "mounted\n");
    Ok(())
}

fn no_new_privileges(e: &Env) -> Done {
    e.coracle_only("it sets it only when asked")?;
    assert_eq!(status(e, &[], "NoNewPrivs"), "1");
    assert_eq!(
        status(e, &["--security-opt", "no-new-privileges"], "NoNewPrivs"),
        "1"
    );
    Ok(())
}

fn seccomp_is_on(e: &Env) -> Done {
    assert_eq!(status(e, &[], "Seccomp"), "2");
    Ok(())
}

/// Prints the errno of raw system calls, each `name number args`.
const SYSCALLS: &str = r#"
import ctypes, sys, platform
libc = ctypes.CDLL(None, use_errno=True)
calls = {"x86_64": {"keyctl": 250, "add_key": 248, "bpf": 321, "userfaultfd": 323, "kexec_load": 246, "init_module": 175,
                    "mount": 165, "unshare": 272, "setns": 308, "perf_event_open": 298, "ptrace": 101, "clone3": 435,
                    "personality": 135, "io_uring_setup": 425, "open_by_handle_at": 304, "swapon": 167}}
calls = calls.get(platform.machine())
if calls is None:
    print("unknown machine"); sys.exit(0)
def call(name, *args):
    ctypes.set_errno(0)
    r = libc.syscall(calls[name], *args)
    return 0 if r >= 0 else ctypes.get_errno()
E = {}
E["keyctl"] = call("keyctl", 0, -3, 0)
E["bpf"] = call("bpf", 0, 0, 0)
E["userfaultfd"] = call("userfaultfd", 0)
E["kexec_load"] = call("kexec_load", 0, 0, 0, 0)
E["init_module"] = call("init_module", 0, 0, 0)
E["mount"] = call("mount", 0, 0, 0, 0, 0)
E["unshare"] = call("unshare", 0x10000000)
E["setns"] = call("setns", -1, 0)
E["swapon"] = call("swapon", 0, 0)
E["open_by_handle_at"] = call("open_by_handle_at", -1, 0, 0)
E["clone3"] = call("clone3", 0, 0)
E["personality"] = call("personality", 0x0040000)
print(" ".join(f"{k}={v}" for k, v in E.items()))
"#;

fn seccomp_blocks_what_docker_blocks(e: &Env) -> Done {
    e.coracle_only("its profile answers ENOSYS for some")?;
    let out = e.python(&[], SYSCALLS);
    if out.contains("unknown machine") {
        return Ok(());
    }
    // clone3 is ENOSYS, so that libc falls back to clone, whose flags a filter can see.
    assert_eq!(
        out,
        "keyctl=1 bpf=1 userfaultfd=1 kexec_load=1 init_module=1 mount=1 unshare=1 setns=1 swapon=1 \
         open_by_handle_at=1 clone3=38 personality=1\n"
    );
    Ok(())
}

fn seccomp_unconfined(e: &Env) -> Done {
    let mut flags = vec!["--security-opt", "seccomp=unconfined"];
    flags.extend(no_emulation(e));
    assert_eq!(status(e, &flags, "Seccomp"), "0");
    Ok(())
}

fn seccomp_profile_file(e: &Env) -> Done {
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
                     {"names": ["symlink", "symlinkat"], "action": "SCMP_ACT_ERRNO"},
                     {"names": ["no_such_call_on_any_machine"], "action": "SCMP_ACT_ERRNO"}]}"#;
    let option = format!("seccomp={}", e.file("profile.json", profile).display());
    let out = e.sh(
        &["--security-opt", &option],
        "mkdir /x 2>&1; ln -s a /y 2>&1; touch /z && echo z; grep ^Seccomp: /proc/self/status",
    );
    assert_eq!(
        out,
        "mkdir: can't create directory '/x': No space left on device\nln: /y: Operation not permitted\nz\nSeccomp:\t2\n"
    );
    Ok(())
}

fn seccomp_profile_errors(e: &Env) -> Done {
    for (name, text) in [
        ("bad.json", "{ not json"),
        ("action.json", r#"{"defaultAction": "SCMP_ACT_FLY"}"#),
    ] {
        let option = format!("seccomp={}", e.file(name, text).display());
        let out = e.run(&["--security-opt", &option], "busybox", &["true"]);
        assert_ne!(out.code(), 0, "{out:?}");
        if e.runtime == Runtime::Coracle {
            out.fails_with(125, name);
        }
    }
    let out = e.run(
        &["--security-opt", "seccomp=/no/such/file"],
        "busybox",
        &["true"],
    );
    out.code_is(125).err_has("/no/such/file");
    Ok(())
}

fn masked_paths(e: &Env) -> Done {
    let script = "for f in kcore keys timer_list latency_stats sched_debug; do \
                  [ ! -e /proc/$f ] || [ \"$(head -c 1 /proc/$f 2>/dev/null | wc -c)\" = 0 ] || echo $f is readable; done; \
                  for d in acpi scsi; do [ ! -e /proc/$d ] || [ -z \"$(ls /proc/$d)\" ] || echo $d has entries; done; \
                  [ ! -e /sys/firmware ] || [ -z \"$(ls /sys/firmware)\" ] || echo firmware has entries; echo done";
    assert_eq!(e.sh(&[], script), "done\n");
    Ok(())
}

fn unmask(e: &Env) -> Done {
    // Present on every kernel, and masked by docker and podman.
    const MASKED: &str = "/proc/timer_list";
    let mounts = |flags: &[&str]| -> bool {
        e.sh(flags, "cut -d' ' -f5 /proc/self/mountinfo")
            .lines()
            .any(|l| l == MASKED)
    };
    assert!(mounts(&[]), "{MASKED} is not masked");
    assert!(!mounts(&["--security-opt", &format!("unmask={MASKED}")]));
    assert!(!mounts(&["--security-opt", "unmask=ALL"]));
    assert!(!mounts(&["--privileged"]));
    Ok(())
}

fn read_only_paths(e: &Env) -> Done {
    let out = e.run(&[], "busybox", &["sh", "-c", "echo h >/proc/sysrq-trigger"]);
    out.code_is(1).err_has("/proc/sysrq-trigger");
    let out = e.run(
        &[],
        "busybox",
        &["sh", "-c", "echo x >/proc/sys/kernel/hostname"],
    );
    out.code_is(1).err_has("read-only file system");
    Ok(())
}

const NAMESPACES: &[&str] = &["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"];

fn inside(e: &Env, flags: &[&str]) -> Vec<String> {
    let script = format!(
        "for n in {}; do readlink /proc/self/ns/$n; done",
        NAMESPACES.join(" ")
    );
    e.sh(flags, &script).lines().map(str::to_owned).collect()
}

fn outside() -> Vec<String> {
    NAMESPACES
        .iter()
        .map(|n| {
            std::fs::read_link(format!("/proc/self/ns/{n}"))
                .unwrap()
                .display()
                .to_string()
        })
        .collect()
}

fn all_namespaces_are_new(e: &Env) -> Done {
    for ((name, inner), outer) in NAMESPACES.iter().zip(inside(e, &[])).zip(outside()) {
        // podman 4 shares the cgroup namespace on cgroup v1.
        if *name != "cgroup" || e.runtime == Runtime::Coracle {
            assert_ne!(inner, outer, "{name}");
        }
    }
    Ok(())
}

fn host_namespaces(e: &Env) -> Done {
    for (flag, name) in [
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--network", "net"),
        ("--pid", "pid"),
    ] {
        if e.runtime == Runtime::Podman && ["--ipc", "--pid"].contains(&flag) {
            // It insists on the host's /dev/mqueue, and on cgroups.
            continue;
        }
        let at = NAMESPACES.iter().position(|n| *n == name).unwrap();
        let got = inside(e, &[flag, "host"]);
        for (i, (inner, outer)) in got.iter().zip(outside()).enumerate() {
            if i == at {
                assert_eq!(*inner, outer, "{flag} host: {name}");
            } else if NAMESPACES[i] != "cgroup" {
                assert_ne!(*inner, outer, "{flag} host: {}", NAMESPACES[i]);
            }
        }
        if e.runtime == Runtime::Coracle {
            let private = if flag == "--network" {
                "none"
            } else {
                "private"
            };
            assert_ne!(inside(e, &[flag, private])[at], outside()[at]);
        }
    }
    if e.runtime == Runtime::Coracle {
        for flag in ["--ipc", "--uts", "--pid"] {
            e.run(&[flag, "nonsense"], "busybox", &["true"])
                .fails_with(125, "nonsense");
        }
        // With the host's name the configuration has none, not even one that a library made up.
        let e = e.with_own_store();
        e.cmd(["run", "--uts", "host", &e.image("busybox"), "true"])
            .ok();
        let containers = std::fs::read_dir(e.root().join("containers")).unwrap();
        let configs: Vec<String> = containers
            .filter_map(|c| std::fs::read_to_string(c.unwrap().path().join("config.json")).ok())
            .collect();
        assert_eq!(configs.len(), 1);
        assert!(!configs[0].contains("\"hostname\""), "{configs:?}");
    }
    Ok(())
}

fn network_none_has_loopback_only(e: &Env) -> Done {
    let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; ip addr show lo | grep -o 'inet 127.0.0.1/8'; \
                  ip link show lo | grep -o '[<,]UP[,>]' | tr -d '<,>'; ip route | wc -l; ping -c 1 -W 2 127.0.0.1 >/dev/null && echo answer";
    let want = match e.runtime {
        Runtime::Coracle => "lo\ninet 127.0.0.1/8\nUP\n0\nanswer\n",
        // NET_RAW is not in its set.
        Runtime::Podman => "lo\ninet 127.0.0.1/8\nUP\n0\n",
    };
    let out = e.run(&["--network", "none"], "busybox", &["sh", "-c", script]);
    assert_eq!(out.out(), want, "{out:?}");
    Ok(())
}

fn network_host(e: &Env) -> Done {
    let url = format!("http://{}/v2/", e.machine.registry);
    e.run(
        &["--network", "host"],
        "busybox",
        &["wget", "-q", "-O", "-", &url],
    )
    .code_is(0)
    .out_is("{}");
    let out = e.run(
        &["--network", "none"],
        "busybox",
        &["wget", "-q", "-T", "2", "-O", "-", &url],
    );
    assert_ne!(
        out.code(),
        0,
        "the container reaches the host's loopback: {out:?}"
    );
    Ok(())
}

fn networks_that_do_not_exist_yet(e: &Env) -> Done {
    e.coracle_only("it has them")?;
    for network in ["bridge", "my-net", "container:x"] {
        e.run(&["--network", network], "busybox", &["true"])
            .fails_with(125, network);
    }
    Ok(())
}

fn ulimits(e: &Env) -> Done {
    let flags = ["--ulimit", "nofile=64:128", "--ulimit=core=0"];
    assert_eq!(
        e.sh(&flags, "ulimit -Sn; ulimit -Hn; ulimit -c"),
        "64\n128\n0\n"
    );
    assert_eq!(
        e.sh(&["--ulimit", "nofile=77"], "ulimit -Sn; ulimit -Hn"),
        "77\n77\n"
    );
    e.run(&["--ulimit", "nonsense=1"], "busybox", &["true"])
        .code_is(125);
    e.run(&["--ulimit", "nofile=128:64"], "busybox", &["true"])
        .code_is(125);
    Ok(())
}

fn ulimit_above_the_hard_limit(e: &Env) -> Done {
    e.coracle_only("the words are ours")?;
    e.run(
        &["--ulimit", "nofile=99999999:99999999"],
        "busybox",
        &["true"],
    )
    .fails_with(125, "nofile");
    Ok(())
}

fn sysctls(e: &Env) -> Done {
    let flags = [
        "--sysctl",
        "net.ipv4.ip_forward=1",
        "--sysctl",
        "kernel.msgmax=9000",
    ];
    assert_eq!(
        e.sh(
            &flags,
            "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax"
        ),
        "1\n9000\n"
    );
    Ok(())
}

fn sysctl_outside_a_namespace_is_an_error(e: &Env) -> Done {
    e.coracle_only("it passes some on")?;
    e.run(&["--sysctl", "vm.swappiness=1"], "busybox", &["true"])
        .fails_with(125, "vm.swappiness");
    e.run(
        &["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"],
        "busybox",
        &["true"],
    )
    .fails_with(125, "net.ipv4.ip_forward");
    e.run(
        &["--sysctl", "net/../../vm/swappiness=1"],
        "busybox",
        &["true"],
    )
    .code_is(125);
    e.run(&["--sysctl", "nonsense"], "busybox", &["true"])
        .fails_with(125, "nonsense");
    Ok(())
}

fn unknown_security_option_is_an_error(e: &Env) -> Done {
    e.coracle_only("the words are ours")?;
    e.run(&["--security-opt", "fly=yes"], "busybox", &["true"])
        .fails_with(125, "fly");
    Ok(())
}

fn no_keyring(e: &Env) -> Done {
    e.coracle_only("the words are ours")?;
    // keyctl is blocked; /proc/keys is masked: no view of the user's session keyring.
    assert_eq!(e.sh(&[], "cat /proc/keys 2>/dev/null | wc -l"), "0\n");
    Ok(())
}

fn mounting_is_denied(e: &Env) -> Done {
    for script in [
        "mount -t tmpfs none /tmp",
        "mount -o remount,rw /proc/sys",
        "umount /proc/kcore",
        "mount --bind / /tmp",
    ] {
        let out = e.run(&[], "busybox", &["sh", "-c", script]);
        assert_ne!(out.code(), 0, "{script}: {out:?}");
    }
    e.coracle_only("its profile lets user namespaces through")?;
    let out = e.run(&[], "busybox", &["unshare", "-U", "true"]);
    assert_ne!(out.code(), 0, "{out:?}");
    Ok(())
}

fn no_way_to_the_old_root(e: &Env) -> Done {
    // The classic escape: chroot below, then climb. pivot_root leaves nothing to climb to.
    let script = "import os\nos.mkdir('/jail')\nfd = os.open('/', os.O_RDONLY)\nos.chroot('/jail')\nos.fchdir(fd)\n\
                  [os.chdir('..') for _ in range(100)]\nos.chroot('.')\nprint(sorted(os.listdir('/'))[:3], os.path.exists('/jail'))";
    let out = e.python(&[], script);
    assert_eq!(out, "['bin', 'boot', 'dev'] True\n");
    Ok(())
}
