//! What `--identity` chooses, and where there is no choice.

use crate::harness::{Done, Env, pid_of};

suite!(
    off_is_the_one_id,
    ids_pretends,
    strict_refuses_what_owners_and_modes_refuse,
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
