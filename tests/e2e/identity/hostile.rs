//! Containers that mean harm to the supervisor, or would have it harm others.

use crate::harness::{Cmd, Done, Env, Feature, Skip, wait_until};

suite!(
    a_restart_of_the_supervisor_is_no_way_in,
    many_processes,
    a_killed_supervisor_ends_the_container,
    nothing_of_the_supervisor_is_in_reach,
    a_blocked_call_stalls_nobody,
    a_hung_file_system_stalls_nobody,
    a_hung_file_system_stalls_no_small_program,
);

fn a_restart_of_the_supervisor_is_no_way_in(e: &Env) -> Done {
    // One listener a filter chain: nobody inside can put himself before the supervisor.
    let out = e.python(
        &[],
        "import ctypes, struct
c = ctypes.CDLL(None, use_errno=True); c.prctl(38, 1, 0, 0, 0)
f = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
p = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(f)))
nr = 317 if __import__('platform').machine() == 'x86_64' else 277
print(c.syscall(nr, 1, 8, p), ctypes.get_errno(), c.syscall(nr, 1, 0, p))
import os; print(os.stat('/etc/shadow').st_gid)",
    );
    assert_eq!(out, "-1 16 0\n42\n");
    Ok(())
}

fn many_processes(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os
r, w = os.pipe()
for i in range(2000):
    if os.fork() == 0:
        os.close(w); os.setuid(100 + i % 50); os.read(r, 1)
        os._exit(os.getuid() != 100 + i % 50)
os.close(w)
print(sum(os.waitstatus_to_exitcode(os.wait()[1]) for i in range(2000)))",
    );
    assert_eq!(out, "0\n");
    Ok(())
}

/// The supervisor of a container, known by its name and its parent.
fn supervisor_of(run: rustix::process::Pid) -> Option<rustix::process::Pid> {
    let children = format!("/proc/{0}/task/{0}/children", run.as_raw_pid());
    let children = std::fs::read_to_string(children).ok()?;
    children.split_whitespace().find_map(|pid| {
        let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
        (comm.trim() == "coracle-ids").then(|| rustix::process::Pid::from_raw(pid.parse().ok()?))?
    })
}

fn a_killed_supervisor_ends_the_container(e: &Env) -> Done {
    let run = e
        .run_cmd(&[], "busybox", &["sh", "-c", "echo up; sleep 60"])
        .limit(30)
        .spawn();
    run.wait_for("up");
    let mut found = None;
    // The command may run below a wrapper of the harness.
    wait_until("there is a supervisor", || {
        found = std::fs::read_dir("/proc").unwrap().flatten().find_map(|p| {
            let pid: i32 = p.file_name().to_str()?.parse().ok()?;
            let pid = rustix::process::Pid::from_raw(pid)?;
            let mine = std::fs::read_to_string(p.path().join("environ"))
                .is_ok_and(|v| v.contains(e.home.to_str().unwrap_or_default()));
            mine.then(|| supervisor_of(pid)).flatten()
        });
        found.is_some()
    });
    rustix::process::kill_process(found.unwrap(), rustix::process::Signal::KILL).unwrap();
    run.wait()
        .fails_with(125, "the supervisor of users and owners ended by signal 9");
    Ok(())
}

fn nothing_of_the_supervisor_is_in_reach(e: &Env) -> Done {
    // Its pid namespace is another one; no descriptor of it is here.
    let out = e.sh(
        &[],
        "ls /proc | grep -c '^[0-9]'; ls /proc/self/fd | wc -l; ls -d /proc/[0-9]*/ns",
    );
    assert!(!out.contains("coracle-ids"), "{out}");
    let out = e.run(
        &["--pid", "host", "--cap-add", "SYS_PTRACE"],
        "python",
        &[
            "python3",
            "-c",
            "import os
for p in filter(str.isdigit, os.listdir('/proc')):
    try: name = open('/proc/%s/comm' % p).read()
    except OSError: continue
    if name != 'coracle-ids\\n': continue
    for what in ('mem', 'fd/3', 'root', 'cwd'):
        for way in ('/proc/%s/%s' % (p, what),):
            try: os.open(way, os.O_RDONLY); print('opened', way)
            except OSError as e: pass
            try: os.chown(way, 5, 5); print('changed', way)
            except OSError as e: pass
print('done')",
        ],
    );
    out.code_is(0).out_is("done\n");
    Ok(())
}

fn a_blocked_call_stalls_nobody(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, threading, time
os.mkfifo('/tmp/p'); os.chown('/tmp/p', 5, 5); os.chmod('/tmp/p', 0o777)
# Opening a fifo that nobody reads, by somebody whose creations are made for him, in many processes.
kids = []
for i in range(40):
    k = os.fork()
    if k == 0:
        os.setuid(33); os.open('/tmp/p', os.O_WRONLY | os.O_CREAT); os._exit(0)
    kids.append(k)
time.sleep(0.3); start = time.time()
for i in range(200): os.stat('/tmp/p'); os.chown('/tmp/p', i, i)
print(time.time() - start < 5)
for k in kids: os.kill(k, 9); os.wait()",
    );
    assert_eq!(out, "True\n");
    Ok(())
}

/// A run whose directory /v does not answer: none of its names is found, and none is missing.
fn with_hung_volume(e: &Env, image: &str, args: &[&str]) -> Result<Cmd, Skip> {
    e.need(Feature::Fuse)?;
    let dir = e.subdir("hung");
    let volume = format!("{}:/v", dir.display());
    let name = e.image(image);
    let cmd = e
        .user(["python3", "-c", include_str!("hung.py")])
        .arg(&dir)
        .args(["coracle", "run", "--rm", "--network=none", "-v", &volume])
        .arg(name)
        .args(args);
    Ok(cmd.limit(60))
}

/// Each kind of call that looks at a path, in more processes than there are answering threads at first.
const HANG: &str = "import os, socket, time, subprocess
def bind(p): os.chdir('/v'); s = socket.socket(socket.AF_UNIX); s.bind(p[3:])
def hang(i):
    p = '/v/%d' % i
    # What only root may do hangs nobody else.
    if i % 2 and i // 2 % 17 not in (6, 9, 10): os.setuid(33)
    (os.stat, os.lstat, lambda p: os.chown(p, 5, 5), lambda p: os.lchown(p, 5, 5), os.mkdir, lambda p: os.symlink('x', p),
     lambda p: os.mknod(p, 0o20600, 259), lambda p: os.open(p, os.O_CREAT | os.O_WRONLY), lambda p: os.execv(p, [p]),
     os.chroot, lambda p: os.setxattr(p, 'security.capability', b''), os.listxattr, bind, lambda p: os.stat(p + '/../x'),
     lambda p: os.chown(p + '/x', 5, 5), lambda p: os.open(p, os.O_TMPFILE | os.O_RDWR),
     lambda p: os.open(p + '/x', os.O_CREAT | os.O_WRONLY))[i // 2 % 17](p)
kids = []
for i in range(102):
    k = os.fork()
    if k == 0:
        try: hang(i)
        except OSError as e: pass
        os._exit(1)
    kids.append(k)
start = time.time()
for i in range(300):
    open('/tmp/f%d' % i, 'w'); os.chown('/tmp/f%d' % i, i, i); assert os.stat('/tmp/f%d' % i).st_uid == i
    if i % 30 == 0:
        k = os.fork()
        if k == 0:
            os.setuid(34); s = socket.socket(socket.AF_UNIX); s.bind('/tmp/s%d' % i); assert os.stat('/tmp/s%d' % i).st_uid == 34
            os.mkdir('/tmp/d%d' % i); os._exit(0)
        assert os.waitpid(k, 0)[1] == 0
print(time.time() - start < 10, [i for i, k in enumerate(kids) if os.waitpid(k, os.WNOHANG)[0] != 0], flush=True)
try: os.getxattr('/v', 'user.end')
except OSError: pass
for k in kids: os.waitpid(k, 0)
for i in range(2000): os.chown('/tmp/f1', 5, i)
print('over')";

fn a_hung_file_system_stalls_nobody(e: &Env) -> Done {
    let cmd = with_hung_volume(e, "python", &["python3", "-c", HANG])?;
    cmd.ok().out_is("True []\nover\n");
    Ok(())
}

/// One whose first few calls are answered by one thread.
fn a_hung_file_system_stalls_no_small_program(e: &Env) -> Done {
    let script = "stat /v/x & sleep 0.5; touch /tmp/f; chown 5:6 /tmp/f; stat -c %u:%g /tmp/f; kill -9 $!; echo over";
    let cmd = with_hung_volume(e, "busybox", &["sh", "-c", script])?;
    cmd.ok().out_is("5:6\nover\n");
    Ok(())
}
