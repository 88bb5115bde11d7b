//! What execve(2) makes of an emulated user, and what it does not when the kernel refuses it.

use crate::harness::{Done, Env};

suite!(
    an_exec_that_fails_changes_nobody,
    a_program_that_executes_itself,
    who_looks_first_does_not_matter,
);

/// Set-id programs of 5:60 that a caller with id 33 can try: `id`, and `sh`, which keeps what it gets.
const PREPARED: &str = r#"import os, shutil, subprocess, sys, errno
def setid(name, data=None, source=None, mode=0o6755):
    path = '/tmp/' + name
    if source: shutil.copy(source, path)
    else: open(path, 'wb').write(data)
    os.chown(path, 5, 60); os.chmod(path, mode)
    return path
def become(): os.setgroups([]); os.setresgid(33, 33, 33); os.setresuid(33, 33, 33)
def ids(): return os.getresuid() + os.getresgid()
def attempt(path, argv=None, what=None):
    try: (what or os.execv)(path, argv or [path])
    except OSError as e: print(errno.errorcode[e.errno], ids(), flush=True)
"#;

fn an_exec_that_fails_changes_nobody(e: &Env) -> Done {
    let script = r#"
id = setid('id', source='/usr/bin/id')
image = open('/usr/bin/id', 'rb').read()
at = image.index(b'/ld-linux')
lost = setid('lost', image[:at] + b'/xx' + image[at + 3:])
garbage = setid('garbage', b'\x7fELF nothing of the kind')
busy = setid('busy', source='/usr/bin/id')
script = setid('script', b'#!/no/such/interpreter\n')
become()
attempt(garbage)
attempt(lost)
attempt(script)
attempt(id, [id, 'x' * (1 << 20)])
attempt(id, what=lambda path, argv: os.execve(path, argv, {'A': 'x' * (1 << 20)}))
# A child of a caller whose exec has failed, and its programs.
print(subprocess.run(['id', '-u'], stdout=subprocess.PIPE, text=True).stdout, end='')
pid = os.fork()
if not pid: print(ids(), flush=True); os._exit(0)
os.wait()
attempt(id, [id])"#;
    let out = e.python(&[], &format!("{PREPARED}{script}"));
    let still = "(33, 33, 33, 33, 33, 33)";
    let want = format!(
        "ENOEXEC {still}\nENOENT {still}\nENOENT {still}\nE2BIG {still}\nE2BIG {still}\n33\n{still}\n\
         uid=33(www-data) gid=33(www-data) euid=5(games) egid=60(games) groups=60(games)\n"
    );
    assert_eq!(out, want);
    Ok(())
}

/// Neither the path nor the inode of the program that runs tells a success from a failure, nor do its
/// addresses where they are the same each time, which the default filter does not let anybody choose.
fn a_program_that_executes_itself(e: &Env) -> Done {
    let script = r#"
setid('python', source=os.path.realpath(sys.executable), mode=0o6755)
become()
code = '''
import os, sys
def ids(): return os.getresuid() + os.getresgid()
print(sys.argv[1], ids(), flush=True)
if sys.argv[1] == "again": sys.exit()
os.setresuid(33, 33, 33); os.setresgid(33, 33, 33)
try: os.execv("/tmp/python", ["python", "x" * (1 << 20)])
except OSError as e: print(e.errno, ids(), flush=True)
os.execv("/tmp/python", ["python", "-c", sys.orig_argv[2], "again"])
'''
env = dict(os.environ, PYTHONHOME=sys.prefix)
for how in ([], ['setarch', '-R']):
    subprocess.run(how + ['/tmp/python', '-c', code, 'once'], env=env, check=True)"#;
    let out = e.python(
        &["--security-opt", "seccomp=unconfined"],
        &format!("{PREPARED}{script}"),
    );
    let once = "once (33, 5, 5, 33, 60, 60)\n7 (33, 33, 33, 33, 33, 33)\n\
        again (33, 5, 5, 33, 60, 60)\n";
    assert_eq!(out, once.repeat(2));
    Ok(())
}

/// Who a process is after its exec is the same for itself, and who looks at it as ps(1) does, at the
/// first look and later.
fn who_looks_first_does_not_matter(e: &Env) -> Done {
    let script = r#"
setid('sleep', source='/usr/bin/sleep')
pid = os.fork()
if not pid:
    become()
    os.execv('/tmp/sleep', ['sleep', '60'])
while open(f'/proc/{pid}/comm').read() != 'sleep\n': pass
for _ in 'twice':
    s = os.stat(f'/proc/{pid}')
    print(s.st_uid, s.st_gid)
os.kill(pid, 9); os.wait()"#;
    let out = e.python(&[], &format!("{PREPARED}{script}"));
    assert_eq!(out, "5 60\n".repeat(5));
    Ok(())
}
