//! `coracle doctor` as a user would meet it: the real binary, as root and as an ordinary user, on
//! this machine and in surroundings that take something away. Nothing is pretended: each test makes
//! its surroundings with namespaces, seccomp filters and PATH, and leaves the machine as it is.

#![allow(
    unsafe_code,
    reason = "seccomp filters are put on the child before exec"
)]
#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The id that stands for an ordinary user: it need not be in /etc/passwd, and has no subuid range.
const USER: u32 = 4242;

/// A copy of the binary where any user may run it, and a home that belongs to the user.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        fs::copy(env!("CARGO_BIN_EXE_coracle"), dir.path().join("coracle")).unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        if is_root() {
            chown(dir.path().join("home"), Some(USER), Some(USER)).unwrap();
        }
        Self { dir }
    }

    fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    fn binary(&self) -> String {
        self.dir.path().join("coracle").to_str().unwrap().to_owned()
    }

    /// A shell of the ordinary user (of the caller, who is one, when the suite is not run by root),
    /// with nothing in its environment but PATH and the data root.
    fn user(&self, script: &str) -> Command {
        let mut command = if is_root() {
            let mut setpriv = Command::new("setpriv");
            let id = USER.to_string();
            setpriv.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
            setpriv.args(["--no-new-privs", "sh"]);
            setpriv
        } else {
            Command::new("sh")
        };
        command.args(["-c", script]);
        self.environment(&mut command);
        command
    }

    fn environment(&self, command: &mut Command) {
        command
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("CORACLE_ROOT", self.home().join("store"))
            .env("CORACLE", self.binary())
            .current_dir(self.dir.path());
    }

    fn leftovers(&self) -> Vec<PathBuf> {
        fs::read_dir(self.home())
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect()
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Run it, and read its JSON. The exit code must agree with what the JSON says.
fn report(command: &mut Command) -> Value {
    let Output {
        status,
        stdout,
        stderr,
    } = command.output().unwrap();
    let err = String::from_utf8_lossy(&stderr);
    let json: Value = serde_json::from_slice(&stdout)
        .unwrap_or_else(|e| panic!("{e}: {}{err}", String::from_utf8_lossy(&stdout)));
    let can_run = json["can_run"].as_bool().unwrap();
    assert_eq!(status.code(), Some(i32::from(!can_run)), "{err}");
    assert_eq!(can_run, json["blockers"].as_array().unwrap().is_empty());
    json
}

fn finding<'a>(report: &'a Value, id: &str) -> &'a Value {
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["id"] == id)
        .unwrap_or_else(|| panic!("no finding {id}"))
}

fn text<'a>(finding: &'a Value, key: &str) -> &'a str {
    finding[key].as_str().unwrap_or_default()
}

/// Whether this machine lets an ordinary user make a user namespace at all: decided by another
/// program, so that the test does not believe the probe it tests.
fn userns_works(place: &Place) -> bool {
    place
        .user("unshare --user --map-root-user true")
        .output()
        .unwrap()
        .status
        .success()
}

/// Says so where everybody reads it, and passes: what a machine cannot do is not this test's to fail.
macro_rules! needs_userns {
    ($place:expr) => {
        if !userns_works($place) {
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"skipped: no user namespace for an ordinary user on this machine\n",
            );
            return;
        }
    };
}

#[test]
fn an_ordinary_user_can_run_containers_where_user_namespaces_work() {
    let place = Place::new();
    let works = userns_works(&place);
    let report = report(&mut place.user("exec $CORACLE doctor --json"));
    assert_eq!(report["version"], 1);
    assert_eq!(report["can_run"], works, "{report:#}");
    assert_eq!(finding(&report, "userns")["result"] == "ok", works);
    if works {
        assert_eq!(report["rungs"]["identity"], "one-id");
        assert_eq!(finding(&report, "many-ids")["result"], "missing");
        assert!(text(finding(&report, "many-ids"), "detail").contains("EPERM"));
    }
    assert_eq!(finding(&report, "newuidmap")["result"], "ok");
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new(), "no trace is left");
}

#[test]
fn every_finding_is_complete_and_unique() {
    let place = Place::new();
    let report = report(&mut place.user("exec $CORACLE doctor --json"));
    let findings = report["findings"].as_array().unwrap();
    let mut ids: Vec<_> = findings.iter().map(|f| text(f, "id")).collect();
    assert!(ids.len() >= 40, "{}", ids.len());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), findings.len(), "an id twice");
    for f in findings {
        let keys: Vec<_> = f.as_object().unwrap().keys().collect();
        assert_eq!(keys.len(), 7, "{keys:?}");
        for key in ["id", "group", "title", "detail"] {
            assert!(!text(f, key).is_empty(), "{key} of {f}");
            assert!(!text(f, key).contains('\n'), "{key} of {f}");
        }
        assert!(
            ["ok", "limited", "missing"].contains(&text(f, "result")),
            "{f}"
        );
    }
}

#[test]
fn the_text_form_says_the_verdict_last_and_has_no_control_characters() {
    let place = Place::new();
    let out = place.user("exec $CORACLE doctor").output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let last = text.lines().last().unwrap();
    if out.status.success() {
        assert!(
            last.starts_with("Containers can run on this machine"),
            "{last}"
        );
    } else {
        assert!(
            last.starts_with("Containers cannot run on this machine"),
            "{last}"
        );
    }
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
    // Aligned: every title starts in the same column.
    let columns: Vec<_> = ["user namespace", "fresh /proc", "Landlock"]
        .iter()
        .map(|title| {
            let line = text.lines().find(|l| l.contains(&format!("  {title}  ")));
            line.unwrap().find(title).unwrap()
        })
        .collect();
    assert!(columns.iter().all(|c| *c == columns[0]), "{columns:?}");
}

#[test]
fn root_is_told_that_it_may_map_many_ids() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut command = Command::new(place.binary());
    command.args(["doctor", "--json"]);
    place.environment(&mut command);
    let report = report(&mut command);
    // Root of a container may have fewer ids or no CAP_SETUID; then it must say so.
    let many = finding(&report, "many-ids");
    let whole = fs::read_to_string("/proc/self/uid_map").unwrap();
    if whole.split_whitespace().last() == Some("4294967295") {
        assert_eq!(many["result"], "ok", "{many}");
    } else {
        assert!(!text(many, "detail").is_empty());
    }
}

#[test]
fn switched_off_user_namespaces_are_explained_with_the_sysctl() {
    let place = Place::new();
    needs_userns!(&place);
    // The sysctl is that of the new namespace alone: it counts what is made inside.
    let report = report(&mut place.user(
        "exec unshare --user --map-root-user sh -c \
         'echo 0 > /proc/sys/user/max_user_namespaces && exec $CORACLE doctor --json'",
    ));
    assert_eq!(report["can_run"], false);
    assert_eq!(report["blockers"], serde_json::json!(["userns"]));
    let userns = finding(&report, "userns");
    assert_eq!(userns["result"], "missing");
    assert!(text(userns, "detail").contains("ENOSPC"), "{userns}");
    assert!(
        text(userns, "detail").contains("max_user_namespaces is 0"),
        "{userns}"
    );
    assert_eq!(
        text(userns, "admin"),
        "sysctl -w user.max_user_namespaces=15000"
    );
    assert!(text(finding(&report, "proc"), "detail").contains("needs a user namespace"));
}

#[test]
fn another_exhausted_namespace_limit_names_its_own_sysctl() {
    let place = Place::new();
    needs_userns!(&place);
    let report = report(&mut place.user(
        "exec unshare --user --map-root-user sh -c \
         'echo 0 > /proc/sys/user/max_net_namespaces && exec $CORACLE doctor --json'",
    ));
    assert_eq!(report["can_run"], true, "a container can share the network");
    let net = finding(&report, "ns-net");
    assert_eq!(net["result"], "missing");
    assert_eq!(
        text(net, "admin"),
        "sysctl -w user.max_net_namespaces=15000"
    );
    assert_eq!(text(net, "instead"), "run --network=host");
    assert_eq!(report["rungs"]["network"], "host");
}

#[test]
fn a_masked_proc_is_bound_instead_of_mounted_anew() {
    let place = Place::new();
    needs_userns!(&place);
    let script = "exec unshare --user --map-root-user --mount sh -c \
         'mount --bind /dev/null /proc/version && exec $CORACLE doctor --json'";
    let masked = report(&mut place.user(script));
    assert_eq!(finding(&masked, "proc")["result"], "missing");
    assert!(text(finding(&masked, "proc"), "detail").contains("EPERM"));
    assert!(text(finding(&masked, "proc"), "admin").contains("systempaths=unconfined"));
    assert_eq!(finding(&masked, "proc-rbind")["result"], "ok");
    assert_eq!(masked["rungs"]["proc"], "rbind");
    assert_eq!(masked["can_run"], true);
}

#[test]
fn a_store_on_an_overlay_or_out_of_reach_is_told() {
    let place = Place::new();
    needs_userns!(&place);
    let script = "mkdir home/l home/u home/w home/m && \
         exec unshare --user --map-root-user --mount sh -c \
         'cd home && mount -t overlay o -o lowerdir=l,upperdir=u,workdir=w,userxattr m && \
          exec $CORACLE --root $PWD/m doctor --json'";
    let nested = report(&mut place.user(script));
    let store = finding(&nested, "store");
    assert_eq!(store["result"], "limited");
    assert!(text(store, "detail").starts_with("overlay, "), "{store}");
    let overlay = finding(&nested, "overlay");
    assert_eq!(overlay["result"], "missing");
    assert!(text(overlay, "detail").contains("EINVAL"), "{overlay}");
    assert_ne!(nested["rungs"]["rootfs"], "overlay");
    assert_eq!(nested["can_run"], true, "a copy still works");

    let closed = report(&mut place.user("exec $CORACLE --root /proc/store doctor --json"));
    assert_eq!(closed["blockers"], serde_json::json!(["store-write"]));
    assert_eq!(closed["rungs"]["rootfs"], "none");
}

#[test]
fn programs_are_looked_up_in_path() {
    let place = Place::new();
    let bare = report(&mut place.user("PATH= exec $CORACLE doctor --json"));
    for id in ["fuse-overlayfs", "pasta", "slirp4netns"] {
        assert_eq!(finding(&bare, id)["result"], "missing", "{id}");
        assert!(
            text(finding(&bare, id), "admin").contains("install"),
            "{id}"
        );
    }
    let bin = place.home().join("bin");
    fs::create_dir(&bin).unwrap();
    fs::write(bin.join("pasta"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(bin.join("pasta"), fs::Permissions::from_mode(0o755)).unwrap();
    let found = report(&mut place.user("PATH=$PWD/home/bin exec $CORACLE doctor --json"));
    assert_eq!(finding(&found, "pasta")["result"], "ok");
    assert_eq!(finding(&found, "slirp4netns")["result"], "missing");
}

/// BPF: `(syscall, argument 0 bit mask, action)`; a call of that number with any of the bits set (or
/// at all, for mask 0) gets the action, all else is allowed.
fn filter(call: libc::c_long, mask: u32, action: u32) -> Vec<libc::sock_filter> {
    let op = |code: u32, jt, jf, k| libc::sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let mut program = vec![op(load, 0, 0, 0)];
    let jump = libc::BPF_JMP | libc::BPF_K;
    if mask == 0 {
        program.push(op(jump | libc::BPF_JEQ, 0, 1, call as u32));
    } else {
        program.push(op(jump | libc::BPF_JEQ, 0, 3, call as u32));
        program.push(op(load, 0, 0, 16));
        program.push(op(jump | libc::BPF_JSET, 0, 1, mask));
    }
    let ret = libc::BPF_RET | libc::BPF_K;
    program.push(op(ret, 0, 0, action));
    program.push(op(ret, 0, 0, libc::SECCOMP_RET_ALLOW));
    program
}

/// Start the command under a filter, as an outer container does. With `listener`, one is left open.
fn under(command: &mut Command, mut program: Vec<libc::sock_filter>, listener: bool) {
    let install = move || {
        let fprog = libc::sock_fprog {
            len: program.len() as u16,
            filter: program.as_mut_ptr(),
        };
        let flags = if listener {
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
        } else {
            0
        };
        // SAFETY: PR_SET_NO_NEW_PRIVS takes numbers only.
        if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        // SAFETY: `fprog` describes a live array, which the kernel copies.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                flags,
                &raw const fprog,
            )
        };
        // The listener is close-on-exec, and a filter whose listener is closed has none.
        // SAFETY: duplicating a number that was just returned; nothing owns the copy.
        if fd < 0 || (listener && unsafe { libc::dup(fd as i32) } < 0) {
            return Err(std::io::Error::last_os_error());
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls and nothing else.
    unsafe { command.pre_exec(install) };
}

const EPERM: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;

#[test]
fn a_container_that_forbids_user_namespaces_is_told_from_a_sysctl() {
    let place = Place::new();
    needs_userns!(&place);
    for (errno, word) in [(libc::EPERM, "EPERM"), (libc::ENOSYS, "ENOSYS")] {
        let action = libc::SECCOMP_RET_ERRNO | errno as u32;
        let mut command = place.user("exec $CORACLE doctor --json");
        under(
            &mut command,
            filter(libc::SYS_unshare, libc::CLONE_NEWUSER as u32, action),
            false,
        );
        let report = report(&mut command);
        let userns = finding(&report, "userns");
        assert!(text(userns, "detail").contains(word), "{userns}");
        assert!(
            text(userns, "detail").contains("seccomp filter"),
            "{userns}"
        );
        assert!(
            text(userns, "admin").contains("seccomp=unconfined"),
            "{userns}"
        );
        assert_eq!(report["blockers"], serde_json::json!(["userns"]));
    }
}

#[test]
fn a_filter_that_kills_is_survived_and_told() {
    let place = Place::new();
    let mut command = place.user("exec $CORACLE doctor --json");
    under(
        &mut command,
        filter(libc::SYS_unshare, 0, libc::SECCOMP_RET_KILL_PROCESS),
        false,
    );
    let report = report(&mut command);
    assert!(text(finding(&report, "userns"), "detail").contains("SIGSYS"));
    assert_eq!(report["can_run"], false);
}

#[test]
fn without_pivot_root_the_root_is_moved() {
    let place = Place::new();
    needs_userns!(&place);
    let mut command = place.user("exec $CORACLE doctor --json");
    under(&mut command, filter(libc::SYS_pivot_root, 0, EPERM), false);
    let report = report(&mut command);
    assert_eq!(finding(&report, "pivot-root")["result"], "missing");
    assert_eq!(report["rungs"]["pivot"], "move-chroot");
    assert_eq!(report["can_run"], true);
}

#[test]
fn a_supervisor_around_us_is_found() {
    let place = Place::new();
    let mut command = place.user("exec $CORACLE doctor --json");
    // acct(2) is never called: nobody has to answer.
    under(
        &mut command,
        filter(libc::SYS_acct, 0, libc::SECCOMP_RET_USER_NOTIF),
        true,
    );
    let report = report(&mut command);
    for id in ["seccomp-notify", "seccomp-listener"] {
        assert_ne!(finding(&report, id)["result"], "ok");
        assert!(
            text(finding(&report, id), "detail").contains("EBUSY"),
            "{report:#}"
        );
    }
    assert_eq!(finding(&report, "seccomp-filter")["result"], "ok");
}

#[test]
fn supplementary_groups_are_told() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    let mut command = Command::new("setpriv");
    let id = USER.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--groups", "4243,4244"]);
    command.args([&place.binary(), "doctor", "--json"]);
    place.environment(&mut command);
    let report = report(&mut command);
    let groups = finding(&report, "groups");
    assert_eq!(groups["result"], "limited");
    assert!(
        text(groups, "detail").starts_with("2 (4243, 4244)"),
        "{groups}"
    );
}

#[test]
fn a_chroot_is_named_as_the_cause() {
    if !is_root() {
        return;
    }
    let place = Place::new();
    // Bound in a mount namespace of its own, so that the machine sees nothing of it.
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c"]).arg(format!(
        "mkdir proc && mount --rbind /proc proc && \
         exec chroot --userspec={USER}:{USER} . /coracle --root /home/store doctor --json"
    ));
    place.environment(&mut command);
    let report = report(&mut command);
    let userns = finding(&report, "userns");
    assert!(
        text(userns, "detail").contains("lives in a chroot"),
        "{userns}"
    );
    assert_eq!(report["blockers"], serde_json::json!(["userns"]));
}

/// Processes that run this binary.
fn processes_of(binary: &Path) -> usize {
    fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter(|e| fs::read_link(e.path().join("exe")).is_ok_and(|exe| exe == binary))
        .count()
}

#[test]
fn killed_at_any_point_it_leaves_nothing_that_the_next_one_does_not_remove() {
    let place = Place::new();
    let mut littered = 0;
    for step in 0..25 {
        let mut child = place
            .user("exec $CORACLE doctor --json")
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // Every other one is killed while it is at work in its folder, the rest anywhere.
        let before = place.leftovers().len();
        let at_work = || place.leftovers().len() > before;
        while step % 2 == 0 && !at_work() && child.try_wait().unwrap().is_none() {
            std::thread::sleep(Duration::from_micros(200));
        }
        std::thread::sleep(Duration::from_millis(step));
        child.kill().unwrap();
        child.wait().unwrap();
        littered += place.leftovers().len();
    }
    // Children die with their parent, and a folder as young as two seconds may be one in the making.
    std::thread::sleep(Duration::from_millis(3100));
    let (binary, end) = (
        place.dir.path().join("coracle"),
        Instant::now() + Duration::from_secs(60),
    );
    while processes_of(&binary) > 0 {
        assert!(Instant::now() < end, "a probe outlives its doctor");
        std::thread::sleep(Duration::from_millis(20));
    }
    report(&mut place.user("exec $CORACLE doctor --json"));
    assert_eq!(place.leftovers(), Vec::<PathBuf>::new());
    assert!(
        littered > 0,
        "no kill met a probe at work: the test tested nothing"
    );
}
