//! What `--identity` chooses, and where there is no choice.

use crate::harness::{Cmd, Done, Env, Skip, pid_of};

suite!(
    off_is_the_one_id,
    ids_pretends,
    strict_refuses_what_owners_and_modes_refuse,
    strict_refuses_times_modes_and_programs_of_others,
    where_an_outer_listener_is_it_pretends,
);

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

/// What each call says, by number where libc would take another.
const STRICT: &str = "import ctypes, os, shutil, struct
c = ctypes.CDLL(None, use_errno=True); c.syscall.restype = ctypes.c_long
os.mkdir(PLACE); os.chmod(PLACE, 0o755); os.chdir(PLACE)
for n, mode in (('root', 0o644), ('all', 0o666), ('group', 0o660)): open(n, 'w').close(); os.chmod(n, mode)
for n, mode in (('x700', 0o700), ('x755', 0o755), ('x644', 0o644), ('xgroup', 0o710), ('xmine', 0o477)):
    shutil.copy(shutil.which('true'), n); os.chmod(n, mode)
open('script', 'w').write('#!/bin/sh\\n'); os.chmod('script', 0o744)
os.mkdir('shut', 0o700); shutil.copy(shutil.which('true'), 'shut/x'); os.mkdir('open', 0o755)
os.chown('group', 0, 50); os.chown('xgroup', 0, 50); os.chown('xmine', 33, 33)
files = {n: os.open(n, os.O_RDONLY) for n in ('root', 'all', 'group', 'x700', 'x755', 'shut', 'open')}
os.setgroups([50]); os.setgid(33); os.setuid(33)
def t(what, f, *a, **k):
    try: f(*a, **k); print(what, 'ok', flush=True)
    except OSError as e: print(what, e.errno, flush=True)
def call(*a):
    if c.syscall(*a) < 0: raise OSError(ctypes.get_errno(), 'x')
def run(n):
    if os.fork(): return os.wait() and None
    t('exec ' + n, os.execv, n, [n]); os._exit(0)
def runfd(n):
    if os.fork(): return os.wait() and None
    t('fexec ' + n, call, 322, files[n], b'', (ctypes.c_char_p * 2)(b'x'), None, 0x1000); os._exit(0)
for n in ('x700', 'x755', 'x644', 'xgroup', 'xmine', 'script', 'shut/x', 'none', 'open'): run('./' + n)
for n in ('x700', 'x755'): runfd(n)
for n in ('root', 'all', 'group', 'none'):
    t('now ' + n, os.utime, n); t('set ' + n, os.utime, n, (1, 2))
    if n != 'none': t('fnow ' + n, os.utime, files[n]); t('fset ' + n, os.utime, files[n], (1, 2))
spec = lambda *a: struct.pack('4q', 0, a[0], 0, a[1])
NOW, OMIT = 0x3fffffff, 0x3ffffffe
for n in (b'root', b'all'):
    for a in ((NOW, NOW), (OMIT, OMIT), (NOW, OMIT), (0, NOW)): t((n, *map(hex, a)), call, 280, -100, n, spec(*a), 0)
    t('utime', call, 132, n, None); t('utime', call, 132, n, bytes(16)); t('utimes', call, 235, n, None); t('utimes', call, 235, n, bytes(32))
    t('futimesat', call, 261, -100, n, None); t('futimesat', call, 261, -100, n, bytes(32))
    t('openat2', call, 437, -100, n, struct.pack('3Q', os.O_WRONLY, 0, 0), 24)
    t('fchmodat2', call, 452, files[n.decode()], b'', 0o644, 0x1000)
for n in ('root', 'all'): t('fchmod ' + n, os.fchmod, files[n], 0o600); t('chmod ' + n, os.chmod, n, 0o666)
t('fchdir', os.fchdir, files['shut']); t('fchdir', os.fchdir, files['open']); os.chdir('/tmp')
mine = os.open('mine' + str(os.getpid()), os.O_CREAT | os.O_RDWR, 0o600)
t('own', os.fchmod, mine, 0o400); t('own', os.utime, mine, (1, 2)); t('own', os.ftruncate, mine, 1); t('own', os.utime, mine)
os.close(mine); os.unlink('mine' + str(os.getpid()))";

fn strict_refuses_times_modes_and_programs_of_others(e: &Env) -> Done {
    if cfg!(not(target_arch = "x86_64")) {
        return Err(Skip("the script has the numbers of x86_64".to_owned()));
    }
    let script = |place: &str| format!("PLACE = '{place}'\n{STRICT}");
    let emulated = e.python(&["--identity", "strict"], &script("/srv/strict"));
    for line in [
        "exec ./x700 13",
        "exec ./script 13",
        "exec ./shut/x 13",
        "fexec x700 13",
        "now root 13",
        "set root 1",
        "now all ok",
        "set all 1",
        "now group ok",
        "fset group 1",
        "fchmod root 1",
        "own ok",
    ] {
        assert!(emulated.lines().any(|l| l == line), "{line}\n{emulated}");
    }
    assert!(!emulated.contains("x755"), "executed:\n{emulated}");
    // What the kernel does with real ids.
    if e.machine.is_root {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("strict");
        Cmd::host(["chmod", "755"]).arg(dir.path()).ok();
        let script = script(place.to_str().unwrap());
        let native = Cmd::host(["python3", "-c", &script]).ok().out();
        assert_eq!(emulated, native);
    }
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
