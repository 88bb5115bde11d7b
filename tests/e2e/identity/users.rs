//! Who a process is: users and groups it becomes, and what its threads and children have of it.

use crate::harness::{Done, Env};

suite!(
    a_user_is_whom_it_becomes,
    who_gave_up_root_does_not_regain_it,
    set_id_programs_work_unless_forbidden,
    threads_and_children_share_what_they_are,
    peers_of_a_socket,
    a_first_user_other_than_root,
);

fn a_user_is_whom_it_becomes(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import subprocess as s
for c in ('su -s /bin/sh nobody -c id', 'runuser -u www-data id', 'setpriv --reuid man --regid man --init-groups id',
          'setpriv --reuid 7 --clear-groups id', 'chroot --userspec=33:34 / id'):
    print(s.run(c, shell=True, stdout=s.PIPE, text=True).stdout, end='')",
    );
    let want = "uid=65534(nobody) gid=65534(nogroup) groups=65534(nogroup)\n\
        uid=33(www-data) gid=33(www-data) groups=33(www-data)\n\
        uid=6(man) gid=12(man) groups=12(man)\n\
        uid=7(lp) gid=0(root) groups=0(root)\n\
        uid=33(www-data) gid=34(backup) groups=34(backup)\n";
    assert_eq!(out, want);
    Ok(())
}

fn who_gave_up_root_does_not_regain_it(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os
os.setgroups([7, 3]); os.setgid(33); os.setuid(33)
print(os.getresuid(), os.getresgid(), os.getgroups())
for f in (lambda: os.setuid(0), lambda: os.seteuid(0), lambda: os.setresuid(0, 0, 0), lambda: os.setgid(0),
          lambda: os.setgroups([]), lambda: os.setreuid(0, -1)):
    try: f(); print('regained')
    except PermissionError as e: print(e.errno)",
    );
    assert_eq!(
        out,
        format!("(33, 33, 33) (33, 33, 33) [3, 7]\n{}", "1\n".repeat(6))
    );
    Ok(())
}

fn set_id_programs_work_unless_forbidden(e: &Env) -> Done {
    let script = "cp /usr/bin/id /tmp/id; chown 5:60 /tmp/id; chmod 6755 /tmp/id; cp /tmp/id /tmp/plain
        printf '#!/bin/sh\\nid -u\\n' >/tmp/script; chown 5 /tmp/script; chmod 4755 /tmp/script
        cd /tmp; for p in ./id ./plain ./script; do setpriv --reuid 33 --regid 33 --clear-groups $p; done
        setpriv --reuid 33 --no-new-privs --clear-groups ./id -u";
    let run = |flags: &[&str]| {
        e.run(flags, "python", &["sh", "-c", script])
            .code_is(0)
            .out()
    };
    assert_eq!(
        run(&[]),
        "uid=33(www-data) gid=33(www-data) euid=5(games) egid=60(games) groups=60(games)\n\
         uid=33(www-data) gid=33(www-data) groups=33(www-data)\n33\n33\n"
    );
    let out = run(&["--security-opt", "no-new-privileges"]);
    assert!(
        out.starts_with("uid=33(www-data) gid=33(www-data) groups"),
        "{out}"
    );
    Ok(())
}

fn threads_and_children_share_what_they_are(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, threading, subprocess, time
t0 = threading.Thread(target=time.sleep, args=(0.5,)); t0.start()
os.setgroups([7, 8]); os.setresgid(9, 9, 9); os.setresuid(10, 10, 10)
out = []
t = threading.Thread(target=lambda: out.append(os.getuid())); t.start(); t.join(); t0.join()
print(out, subprocess.check_output(['id', '-u']).decode().strip())
bad = 0
for i in range(60):
    r, w = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            time.sleep(0.001); os.write(w, b'%d' % os.geteuid()); os._exit(0)
        os._exit(0)
    os.wait(); os.close(w); bad += os.read(r, 9) != b'10'; os.close(r)
print(bad)",
    );
    assert_eq!(out, "[10] 10\n0\n");
    Ok(())
}

fn peers_of_a_socket(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, socket, struct
s = socket.socket(socket.AF_UNIX); s.bind('/tmp/s'); s.listen(); os.chmod('/tmp/s', 0o777)
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.setgid(34); os.setuid(33); c = socket.socket(socket.AF_UNIX); c.connect('/tmp/s'); os.read(r, 1); os._exit(0)
a = s.accept()[0]; p, u, g = struct.unpack('3i', a.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
print(p == pid, u, g); os.write(w, b'x'); os.wait()
os.setgid(34); os.setuid(33); t = socket.socket(socket.AF_UNIX); os.chdir('/tmp'); t.bind('t'); s = os.lstat('t'); print(s.st_uid, s.st_gid)
os.rename('t', 'u'); print(os.stat('/tmp/u')[4:6], t.getsockname())
try: socket.socket(socket.AF_UNIX).bind('s')
except OSError as e: print(e.errno, os.stat('s')[4:6])",
    );
    assert_eq!(out, "True 33 34\n33 34\n(33, 34) t\n98 (0, 0)\n");
    Ok(())
}

fn a_first_user_other_than_root(e: &Env) -> Done {
    let script = "id -u; id -g; touch /tmp/f; stat -c %u:%g /tmp/f /etc; chown 0 /tmp/f; mkdir /etc/x; echo $HOME";
    let out = e.run(&["-u", "app"], "busybox", &["sh", "-c", script]);
    assert_eq!(out.code_is(0).out(), "1234\n2345\n1234:2345\n0:0\n/home\n");
    // With the groups that list it, as docker's.
    assert_eq!(
        e.sh(&["-u", "app"], "id"),
        "uid=1234(app) gid=2345(app) groups=3456(extra)\n"
    );
    Ok(())
}
