//! Emulated users and owners, seen from inside: credentials, owners, and what stays when a container
//! ends. The images are real ones; the programs are Debian's and busybox's.

use std::os::unix::fs::MetadataExt as _;

use crate::harness::{Done, Env, pid_of, wait_until};

suite!(
    a_user_is_whom_it_becomes,
    who_gave_up_root_does_not_regain_it,
    set_id_programs_work_unless_forbidden,
    chown_is_seen_and_kept,
    chown_of_strangers_is_refused,
    owners_of_the_image_are_seen,
    links_fifos_and_devices_have_owners,
    owners_follow_renames_and_links,
    directories_hand_down_their_group,
    new_files_belong_to_their_maker,
    magic_links_lead_to_the_callers_files,
    a_changed_root_is_followed,
    threads_and_children_share_what_they_are,
    keepcaps_and_capset,
    limits_show_no_tag,
    calls_of_i386,
    stat_in_all_forms,
    signals_repeat_nothing,
    attributes_are_hidden_or_read_back,
    peers_of_a_socket,
    a_first_user_other_than_root,
    volumes_belong_to_the_first_user,
    off_is_the_one_id,
    ids_pretends,
    strict_refuses_what_owners_and_modes_refuse,
    a_restart_of_the_supervisor_is_no_way_in,
    where_an_outer_listener_is_it_pretends,
    races_spoil_nothing_outside,
    many_processes,
    a_killed_supervisor_ends_the_container,
    nothing_of_the_supervisor_is_in_reach,
    a_blocked_call_stalls_nobody,
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

fn chown_is_seen_and_kept(e: &Env) -> Done {
    let out = e.sh(
        &[],
        "cd /tmp; touch a; mkdir d; chown 5:6 a; chown :7 d; chmod 4711 a; stat -c '%u:%g %a' a d
         chown 8 a; stat -c '%u:%g %a' a; chown 0:0 a; stat -c %u:%g a; chown -R 9:9 d; ls -dn d | cut -c1-4",
    );
    assert_eq!(out, "5:6 4711\n0:7 755\n8:6 711\n0:0\ndrwx\n");
    // At rest, in the form that other tools have.
    let dir = e.subdir("v");
    let volume = format!("{}:/v", dir.display());
    e.sh(
        &["-v", &volume],
        "touch /v/f; chown 5:6 /v/f; chmod 640 /v/f",
    );
    let value = xattr::get(dir.join("f"), "user.containers.override_stat").unwrap();
    let value = String::from_utf8(value.unwrap()).unwrap();
    assert!(
        value.starts_with("5:6:0") && value.ends_with(":file"),
        "{value}"
    );
    assert_eq!(
        e.sh(&["-v", &volume], "stat -c '%u:%g %a' /v/f"),
        "5:6 640\n"
    );
    assert_eq!(dir.join("f").metadata().unwrap().uid(), e.machine.uid);
    Ok(())
}

fn chown_of_strangers_is_refused(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os
for n in 'rm': open('/tmp/' + n, 'w')
os.chown('/tmp/m', 33, 33)
os.setgroups([50]); os.setgid(33); os.setuid(33)
def t(*a):
    try: os.chown(*a); s = os.stat(a[0]); print(s.st_uid, s.st_gid)
    except OSError as e: print(e.errno)
t('/tmp/r', 33, 33); t('/tmp/m', 34, -1); t('/tmp/m', -1, 50); t('/tmp/m', 33, 33); t('/tmp/m', -1, 4)
t('/none', 1, 1); t('/etc/passwd/x', 1, 1)",
    );
    assert_eq!(out, "1\n1\n33 50\n33 33\n1\n2\n20\n");
    e.run(
        &["--cap-drop", "CHOWN"],
        "busybox",
        &["sh", "-c", "touch /tmp/x; chown 5 /tmp/x"],
    )
    .code_is(1)
    .err_has("not permitted");
    e.run(&["--read-only"], "busybox", &["chown", "5", "/bin/busybox"])
        .code_is(1)
        .err_has("Read-only");
    Ok(())
}

fn owners_of_the_image_are_seen(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os
for p in ('/etc/shadow', '/var/mail', '/usr/bin/passwd', '/usr/bin/chage', '/bin'):
    s = os.lstat(p); print(p, s.st_uid, s.st_gid, oct(s.st_mode & 0o7777))",
    );
    for line in [
        "/etc/shadow 0 42 0o640",
        "/var/mail 0 8 0o2775",
        "/usr/bin/passwd 0 0 0o4755",
        "/usr/bin/chage 0 42 0o2755",
    ] {
        assert!(out.contains(line), "{line}: {out}");
    }
    Ok(())
}

fn links_fifos_and_devices_have_owners(e: &Env) -> Done {
    let script =
        "cd /tmp; ln -s x l; chown -h 3:4 l; mkfifo p; chown 5:6 p; mknod c c 1 3; mknod b b 8 17
        chown 7:8 b; mv l l2; stat -c '%u:%g %F' l2 p; stat -c '%u:%g %F %t,%T' c b";
    let want = "3:4 symbolic link\n5:6 fifo\n0:0 character special file 1,3\n7:8 block special file 8,11\n";
    assert_eq!(e.sh(&[], script), want);
    Ok(())
}

fn owners_follow_renames_and_links(e: &Env) -> Done {
    let out = e.sh(
        &[],
        "cd /tmp; touch a; chown 3:4 a; ln a b; mv a c; mkdir d; chown 5:5 d; mv d e; cp -a c f; cp c g
         stat -c %u:%g b c e f g; tar cf t c e; mkdir x; tar xf t -C x; stat -c %u:%g x/c x/e",
    );
    assert_eq!(out, "3:4\n3:4\n5:5\n3:4\n0:0\n3:4\n5:5\n");
    Ok(())
}

fn directories_hand_down_their_group(e: &Env) -> Done {
    let out = e.sh(
        &[],
        "cd /tmp; mkdir s; chgrp 50 s; chmod 2775 s; touch s/f; mkdir s/d; ln -s x s/l; mkfifo s/p; echo x >s/f
         stat -c '%u:%g %a' s/f s/d; stat -c %u:%g s/l s/p",
    );
    assert_eq!(out, "0:50 644\n0:50 2755\n0:50\n0:50\n");
    Ok(())
}

fn new_files_belong_to_their_maker(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, socket
os.setgid(34); os.setuid(33); os.umask(0o027); os.chdir('/tmp')
open('f', 'w').write('x'); os.mkdir('d'); os.symlink('y', 'l'); os.mkfifo('p')
t = os.open('/tmp', os.O_TMPFILE | os.O_RDWR, 0o666)
for s in [os.lstat(n) for n in 'fdlp'] + [os.fstat(t)]: print(s.st_uid, s.st_gid, oct(s.st_mode & 0o777))
print(os.get_inheritable(os.open('g', os.O_CREAT | os.O_WRONLY)), open('f').read())
for p in ('/etc/x', '/usr/x', '/root/x'):
    for make in (os.mkdir, lambda p: open(p, 'w'), lambda p: os.symlink('x', p)):
        try: make(p); print('made', p)
        except PermissionError as e: print(e.errno, end=' ')
try: os.close(os.open('f', os.O_CREAT | os.O_EXCL))
except FileExistsError: print('exists')",
    );
    assert_eq!(
        out,
        format!(
            "33 34 0o640\n33 34 0o750\n33 34 0o777\n33 34 0o640\n33 34 0o640\nFalse x\n{}exists\n",
            "13 ".repeat(9)
        )
    );
    Ok(())
}

fn magic_links_lead_to_the_callers_files(e: &Env) -> Done {
    let out = e.sh(
        &[],
        "cd /tmp; touch f; exec 5<f; chown 3:4 /proc/self/fd/5; stat -Lc %u:%g f /proc/self/fd/5 /dev/fd/5
         ln -s /proc/self/cwd/f l; chown 5:6 l; stat -c %u:%g f; ln -s /dev/stdout o; chown 7:8 o >f; stat -c %u:%g f
         chown 9:9 /proc/self/fd/77; echo $?",
    );
    assert!(
        out.starts_with("3:4\n3:4\n3:4\n5:6\n7:8\n") && out.ends_with("1\n"),
        "{out}"
    );
    Ok(())
}

fn a_changed_root_is_followed(e: &Env) -> Done {
    let out = e.sh(
        &[],
        "mkdir -p /tmp/r/bin /tmp/r/etc; cp /bin/busybox /tmp/r/bin/; ln -s / /tmp/r/up; ln -s ../../../etc /tmp/r/e2
         touch /tmp/r/etc/f /etc/f; b() { chroot /tmp/r /bin/busybox \"$@\"; }
         b chown 5:6 /etc/f; b chown 7 /up/../up/etc/../etc/f; b stat -c %u:%g /etc/f e2/f; b chown :9 e2/f
         stat -c %u:%g /tmp/r/etc/f /etc/f",
    );
    assert_eq!(out, "7:6\n7:6\n7:9\n0:0\n");
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

fn keepcaps_and_capset(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import ctypes, os, struct
c = ctypes.CDLL(None, use_errno=True)
def caps():
    h = struct.pack('Ii', 0x20080522, 0); d = ctypes.create_string_buffer(24)
    assert c.capget(h, d) == 0
    return [hex(x) for x in struct.unpack('6I', d.raw)[:3]]
print(caps(), c.prctl(8, 1, 0, 0, 0), c.prctl(7, 0, 0, 0, 0))
os.setresuid(33, 33, 33); print(caps())
h = struct.pack('Ii', 0x20080522, 0)
print(c.capset(h, struct.pack('6I', 64, 64, 0, 0, 0, 0)), caps()); os.setgid(33)
print(c.capset(h, struct.pack('6I', 192, 192, 0, 0, 0, 0)), ctypes.get_errno())
print(c.prctl(39, 0, 0, 0, 0), c.prctl(38, 1, 0, 0, 0), c.prctl(39, 0, 0, 0, 0))",
    );
    assert_eq!(
        out,
        "['0xa80425fb', '0xa80425fb', '0x0'] 0 1\n['0x0', '0xa80425fb', '0x0']\n\
         0 ['0x40', '0x40', '0x0']\n-1 1\n0 0 1\n"
    );
    Ok(())
}

fn limits_show_no_tag(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, resource, ctypes
os.setuid(33); c = ctypes.CDLL(None)
a = (ctypes.c_ulong * 2)(5, 5)
print(c.getrlimit(10, a), a[0] == a[1] == 2**64 - 1, c.setrlimit(10, (ctypes.c_ulong * 2)(5, 5)), os.getuid())
print(c.prlimit(0, 10, None, a), a[0] == 2**64 - 1, c.prlimit(0, 7, None, a), a[0] < 2**64 - 1)",
    );
    assert_eq!(out, "0 True 0 33\n0 True 0 True\n");
    Ok(())
}

/// The other instruction set's calls, by `int $0x80` from memory that 32 bits can name.
const I386: &str = r#"
import ctypes, mmap, os, struct
c = ctypes.CDLL(None)
c.mmap.restype = ctypes.c_void_p
c.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
mem = c.mmap(None, 8192, 7, 0x62, -1, 0)  # private, anonymous, MAP_32BIT
# int call(int *nr_and_args): push rbx, rbp; load eax ebx ecx edx esi edi; int 0x80; pop; ret
code = bytes.fromhex('5355 89fd 4889fd 8b4500 8b5d04 8b4d08 8b550c 8b7510 8b7d14 cd80 5d5b c3'.replace(' ', ''))
ctypes.memmove(mem, code, len(code))
call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p)(mem)
at = lambda i: mem + 1024 + i * 512
def put(i, data): ctypes.memmove(at(i), data, len(data)); return at(i)
def get(i, n): return ctypes.string_at(at(i), n)
def i386(*a):
    put(0, struct.pack('6I', *[x & 0xffffffff for x in a] + [0] * (6 - len(a)))); return call(at(0))
"#;

fn calls_of_i386(e: &Env) -> Done {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(crate::harness::Skip("not x86_64".to_owned()));
    }
    let script = "open('/tmp/f', 'w').write('abc'); p = put(1, b'/tmp/f\\0')
print(i386(182, p, 5, 6), os.stat('/tmp/f')[4:6], i386(212, p, 70000, -1), os.stat('/tmp/f')[4:6], i386(182, p, 0xffff, 9))
print(i386(106, p, at(2)), struct.unpack_from('<HHHH', get(2, 64), 8)[2:], struct.unpack_from('<I', get(2, 64), 20))
print(i386(195, p, at(2)), struct.unpack_from('<II', get(2, 96), 24), struct.unpack_from('<Q', get(2, 96), 44))
print(i386(300, -100, p, at(2), 0), struct.unpack_from('<II', get(2, 96), 24))
put(3, struct.pack('<HH', 4, 3)); print(i386(81, 2, at(3)), i386(80, 8, at(4)), struct.unpack('<HH', get(4, 4)))
print(i386(208, 1, 70000, 3), i386(24), i386(49), i386(201), i386(165, at(2), at(3), at(4)))
print([struct.unpack('<H', get(i, 2))[0] for i in (2, 3, 4)], i386(23, 0))";
    let out = e.python(&[], &format!("{I386}\n{script}"));
    assert_eq!(
        out,
        "0 (5, 6) 0 (70000, 6) 0\n0 (65534, 9) (3,)\n0 (70000, 9) (3,)\n0 (70000, 9)\n\
         0 2 (3, 4)\n0 1 65534 70000 0\n[1, 65534, 3] -1\n"
    );
    Ok(())
}

fn stat_in_all_forms(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, ctypes, struct
os.chdir('/tmp'); os.mkdir('d'); open('d/f', 'w').write('abcd'); os.chown('d/f', 5, 6); os.symlink('d/f', 'l')
d = os.open('d', os.O_RDONLY); f = os.open('d/f', os.O_RDONLY); o = os.open('d/f', os.O_PATH)
ids = lambda s: (s.st_uid, s.st_gid, s.st_size)
print(ids(os.stat('d/f')), ids(os.stat('l')), ids(os.lstat('l'))[:2], ids(os.fstat(f)), ids(os.fstat(o)))
print(ids(os.stat('f', dir_fd=d)), ids(os.stat('/proc/self/fd/%d' % f)), ids(os.stat('../tmp/./d//f')))
c = ctypes.CDLL(None); b = ctypes.create_string_buffer(256)
for a in ((d, b'f', 0), (f, b'', 0x1000), (-100, b'l', 0), (-100, b'l', 0x100)):
    print(c.statx(a[0], a[1], a[2], 0xfff, b), struct.unpack_from('II', b.raw, 20), end=' ')
c.syscall.restype = ctypes.c_long
print(c.syscall(5, f, b), struct.unpack_from('II', b.raw, 28))",
    );
    assert_eq!(
        out,
        "(5, 6, 4) (5, 6, 4) (0, 0) (5, 6, 4) (5, 6, 4)\n(5, 6, 4) (5, 6, 4) (5, 6, 4)\n\
         0 (5, 6) 0 (5, 6) 0 (5, 6) 0 (0, 0) 0 (5, 6)\n"
    );
    Ok(())
}

fn signals_repeat_nothing(e: &Env) -> Done {
    let out = e.python(
        &[],
        "import os, signal, stat
n = [0]
def tick(*a): n[0] += 1
signal.signal(signal.SIGALRM, tick); signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0002, 0.0002)
bad = 0
for i in range(2000):
    try: os.mknod('/tmp/n', stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except FileExistsError: bad += 1
    os.unlink('/tmp/n')
signal.setitimer(signal.ITIMER_REAL, 0)
print(bad, n[0] > 100)",
    );
    assert_eq!(out, "0 True\n");
    Ok(())
}

fn attributes_are_hidden_or_read_back(e: &Env) -> Done {
    let script = "import os
K = 'user.containers.override_stat'
open('/tmp/f', 'w'); os.chown('/tmp/f', 5, 6); os.setxattr('/tmp/f', 'user.mine', b'v'); print(os.listxattr('/tmp/f'))
def t(f):
    try: print(f())
    except OSError as e: print(e.errno)
t(lambda: os.getxattr('/tmp/f', K)); t(lambda: os.setxattr('/tmp/f', K, b'0:0:644:file')); t(lambda: os.removexattr('/tmp/f', K))
import struct
acl = struct.pack('<I', 2) + b''.join(struct.pack('<HHI', *x) for x in
    ((1, 6, 2**32-1), (2, 7, 33), (4, 4, 2**32-1), (16, 7, 2**32-1), (32, 0, 2**32-1)))
t(lambda: os.setxattr('/tmp/f', 'system.posix_acl_access', acl)); print(os.getxattr('/tmp/f', 'system.posix_acl_access') == acl)
print(oct(os.stat('/tmp/f').st_mode & 0o777), os.listxattr('/tmp/f'))
t(lambda: os.setxattr('/tmp/f', 'trusted.x', b'y')); t(lambda: os.getxattr('/tmp/f', 'trusted.x'))
caps = bytes.fromhex('0100000200200000000000000000000000000000')
t(lambda: os.setxattr('/tmp/f', 'security.capability', caps)); print(os.getxattr('/tmp/f', 'security.capability') == caps)
os.setuid(5); t(lambda: os.setxattr('/tmp/f', 'trusted.x', b'z')); t(lambda: os.setxattr('/tmp/f', 'security.capability', caps))";
    let common =
        "['user.mine']\n61\n1\n61\nNone\nTrue\n0o670 ['user.mine', 'system.posix_acl_access']\n";
    assert_eq!(
        e.python(&[], script),
        format!("{common}1\n61\nNone\nTrue\n1\n1\n")
    );
    assert_eq!(
        e.python(&["--cap-add", "SYS_ADMIN"], script),
        format!("{common}None\nb'y'\nNone\nTrue\n1\n1\n")
    );
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
os.rename('t', 'u'); print(os.stat('/tmp/u')[4:6], t.getsockname())",
    );
    assert_eq!(out, "True 33 34\n33 34\n(33, 34) t\n");
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

fn volumes_belong_to_the_first_user(e: &Env) -> Done {
    let dir = e.subdir("v");
    e.give(&e.file("v/mine", "x"));
    let volume = format!("{}:/v", dir.display());
    let script = "stat -c %u:%g /v/mine /v; touch /v/new && stat -c %u:%g /v/new; echo y >>/v/mine; cat /v/mine";
    assert_eq!(
        e.sh(&["-v", &volume, "-u", "1234:99"], script),
        "1234:99\n1234:99\n1234:99\nxy\n"
    );
    assert_eq!(
        e.sh(&["-v", &volume], "stat -c %u:%g /v/new"),
        "0:0\n",
        "nothing was recorded for what is the caller's"
    );
    Ok(())
}

fn off_is_the_one_id(e: &Env) -> Done {
    for flags in [&["--identity", "off"][..], &["--userns", "keep-id"]] {
        let out = e.run(
            flags,
            "busybox",
            &["sh", "-c", "touch /tmp/f; chown 5 /tmp/f"],
        );
        out.code_is(1).err_has("Invalid argument");
    }
    assert_eq!(pid_of("coracle-ids"), None);
    Ok(())
}

fn ids_pretends(e: &Env) -> Done {
    let out = e.sh(
        &["--identity", "ids"],
        "touch /tmp/f && chown 5:6 /tmp/f && stat -c %u:%g /tmp/f && mknod /tmp/c c 1 3 && su daemon -s /bin/id",
    );
    assert_eq!(out, "0:0\nuid=0(root) gid=0(root)\n");
    Ok(())
}

fn strict_refuses_what_owners_and_modes_refuse(e: &Env) -> Done {
    let script = "import os
os.mkdir('/tmp/root', 0o700); open('/tmp/root/f', 'w').write('x'); open('/tmp/secret', 'w').write('x'); os.chmod('/tmp/secret', 0o600)
os.mkdir('/srv/d', 0o755); open('/srv/d/f', 'w'); open('/tmp/group', 'w'); os.chmod('/tmp/group', 0o640); os.chown('/tmp/group', 0, 50)
os.setgroups([50]); os.setgid(33); os.setuid(33)
open('/tmp/mine', 'w').write('y')
def t(what, f):
    try: f(); print(what, 'ok')
    except OSError as e: print(what, e.errno)
t('read', lambda: open('/tmp/secret').read()); t('write', lambda: open('/srv/d/f', 'r+')); t('etc', lambda: open('/etc/passwd').read())
t('shadow', lambda: open('/etc/shadow')); t('search', lambda: os.stat('/tmp/root/f') and open('/tmp/root/f')); t('list', lambda: os.listdir('/tmp/root'))
t('unlink', lambda: os.unlink('/srv/d/f')); t('sticky', lambda: os.unlink('/tmp/secret')); t('rename', lambda: os.rename('/tmp/secret', '/tmp/y'))
t('into', lambda: os.rename('/tmp/mine', '/srv/d/y')); t('link', lambda: os.link('/tmp/mine', '/srv/d/y')); t('chmod', lambda: os.chmod('/srv/d/f', 0o777))
t('chdir', lambda: os.chdir('/tmp/root')); t('group', lambda: open('/tmp/group').read()); t('groupw', lambda: open('/tmp/group', 'a'))
t('own', lambda: open('/tmp/mine', 'a')); t('gone', lambda: open('/none')); t('dev', lambda: open('/dev/null', 'w')); t('proc', lambda: open('/proc/self/status'))
print(os.access('/tmp/secret', os.R_OK), os.access('/tmp/mine', os.W_OK), os.access('/srv/d', os.W_OK), os.access('/srv/d', os.X_OK))
t('ownun', lambda: os.unlink('/tmp/mine'))";
    let want = "read 13\nwrite 13\netc ok\nshadow 13\nsearch 13\nlist 13\nunlink 13\nsticky 1\nrename 1\ninto 13\nlink 13\n\
        chmod 1\nchdir 13\ngroup ok\ngroupw 13\nown ok\ngone 2\ndev ok\nproc ok\nFalse True False True\nownun ok\n";
    assert_eq!(e.python(&["--identity", "strict"], script), want);
    Ok(())
}

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

/// Puts a filter with a listener on itself, keeps the listener open, and becomes its arguments.
const OUTER_LISTENER: &str = "
import ctypes, os, struct, sys, platform
c = ctypes.CDLL(None, use_errno=True); c.prctl(38, 1, 0, 0, 0)
f = ctypes.create_string_buffer(struct.pack('HBBI', 6, 0, 0, 0x7fff0000))
p = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(f)))
fd = c.syscall(317 if platform.machine() == 'x86_64' else 277, 1, 8, p)
assert fd >= 0, ctypes.get_errno()
os.set_inheritable(fd, True)
os.execvp(sys.argv[1], sys.argv[1:])
";

fn where_an_outer_listener_is_it_pretends(e: &Env) -> Done {
    let script = "touch /tmp/f && chown 5 /tmp/f && stat -c %u /tmp/f";
    let run = |flags: &[&str]| {
        e.run_cmd(flags, "busybox", &["sh", "-c", script])
            .wrapped(["python3", "-c", OUTER_LISTENER])
            .run()
    };
    let out = run(&[]).code_is(0).out_is("0\n");
    let warning = "users and owners are not emulated here";
    assert_eq!(out.err().matches(warning).count(), 1, "{out:?}");
    run(&["--identity=full"]).fails_with(125, "cannot emulate users and owners");
    run(&["--identity=ids"]).code_is(0).out_is("0\n").err_is("");
    run(&["--identity=off"]).code_is(1);
    Ok(())
}

fn races_spoil_nothing_outside(e: &Env) -> Done {
    let outside = e.subdir("outside");
    e.give(&e.file("outside/f", "x"));
    // Paths, links and memory that change while the supervisor looks at them.
    let out = e.python(
        &[],
        "import os, ctypes, threading, time, mmap
os.chdir('/tmp'); os.mkdir('a'); os.mkdir('b'); open('a/f', 'w'); open('b/f', 'w'); os.symlink('a', 'l')
end = time.time() + 4; stop = lambda: time.time() > end
c = ctypes.CDLL(None)
def swap():
    while not stop():
        for t in ('/proc/self/root', '../../../..', 'a', '/proc/1/cwd', '/dev/fd', 'b'):
            os.symlink(t, 'n'); os.rename('n', 'l')
buffer = ctypes.create_string_buffer(b'a/f', 5000)
def flip():
    while not stop(): buffer[0] = b'a'; buffer[0] = b'l'; buffer[1] = b'/'; buffer[1] = b'x'
def closed():
    while not stop(): c.chown(ctypes.c_void_p(1), 5, 5); c.chown(b'x' * 100000, 5, 5); c.setgroups(65537, 1); c.setgroups(70000, 0)
kids = [os.fork() for i in range(1)]
if kids[0] == 0: swap(); os._exit(0)
ts = [threading.Thread(target=t) for t in (flip, closed)]
for t in ts: t.start()
n = 0
while not stop():
    c.chown(buffer, 7, 7); c.chown(b'l/f', 8, 8); c.lchown(b'l', 9, 9); c.mkdir(b'l/new', 0o755); c.stat(b'l/f', ctypes.create_string_buffer(256)); n += 1
for t in ts: t.join()
os.wait(); print(n > 100, os.getuid())",
    );
    assert_eq!(out, "True 0\n");
    for path in [&outside, &outside.join("f"), &e.dir, &e.home] {
        let value = xattr::get(path, "user.containers.override_stat").unwrap();
        assert_eq!(value, None, "{}", path.display());
    }
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
