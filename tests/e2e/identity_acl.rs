//! Access control lists that name users of the container: what a directory hands down, and that they
//! stay with their files. acl(5).

use crate::harness::{Done, Env};

suite!(
    a_directory_hands_its_default_acl_down,
    an_acl_stays_with_its_file,
    an_acl_that_is_removed_stays_away,
    a_mode_after_an_acl_is_the_one_that_goes_out,
);

/// ACLs as attributes, and back as text.
const ACLS: &str = "import os, stat, struct, sys
A, D = 'system.posix_acl_access', 'system.posix_acl_default'
T = {'u': 1, 'U': 2, 'g': 4, 'G': 8, 'm': 16, 'o': 32}
def pack(text):
    out = struct.pack('<I', 2)
    for e in text.split():
        tag, rest = e[0], e[1:].split(':')
        out += struct.pack('<HHI', T[tag], int(rest[-1]), int(rest[0]) if rest[0] else 2**32-1)
    return out
def read(path, name):
    try: v = os.getxattr(path, name, follow_symlinks=False)
    except OSError: return '-'
    back = {n: t for t, n in T.items()}
    one = lambda t, p, i: back[t] + (str(i) if back[t] in 'UG' else '') + ':' + str(p)
    return ' '.join(one(*struct.unpack('<HHI', v[i:i + 8])) for i in range(4, len(v), 8))
def show(path, name=None):
    s = os.lstat(path)
    print(name or path, oct(s.st_mode & 0o7777), s.st_uid, s.st_gid, '|', read(path, A), '|', read(path, D), flush=True)
";

/// Below the working directory, by root and by another, with a mask that would take everything.
const MAKE: &str = r#"
for n, text in enumerate(('u:7 U33:7 g:5 m:7 o:5', 'u:7 U0:6 g:5 G50:6 m:5 o:0', 'u:7 g:7 o:5', 'u:7 U0:7 g:6 m:7 o:4')):
    os.mkdir(f'd{n}'); os.chmod(f'd{n}', 0o2777 if n == 1 else 0o777); os.setxattr(f'd{n}', D, pack(text))
    if n == 3: os.chown('d3', 33, 34)
os.umask(0o077)
def make(who):
    for n in range(4):
        os.chdir(f'd{n}'); print(f'd{n}', who, flush=True)
        os.close(os.open(f'f{who}', os.O_CREAT | os.O_WRONLY, 0o666))
        os.close(os.open(f'x{who}', os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o640))
        os.mkdir(f's{who}', 0o775); os.mkdir(f's{who}/t')
        os.mkfifo(f'p{who}', 0o666); os.mknod(f'r{who}', 0o660 | stat.S_IFREG)
        os.symlink('nowhere', f'l{who}')
        t = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o666)
        os.link(f'/proc/self/fd/{t}', f't{who}', src_dir_fd=t, follow_symlinks=True)
        for name in 'fxsprlt': show(name + str(who))
        show(f's{who}/t'); os.rename(f'f{who}', f's{who}/f'); show(f's{who}/f')
        os.unlink(f's{who}/f'); os.removexattr(f's{who}', D); open(f's{who}/f', 'w'); show(f's{who}/f')
        os.chdir('..')
make(0)
pid = os.fork()
if not pid:
    os.setgroups([]); os.setresgid(34, 34, 34); os.setresuid(33, 33, 33); make(33); os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
"#;

fn a_directory_hands_its_default_acl_down(e: &Env) -> Done {
    let script = |dir: &str| format!("{ACLS}os.makedirs('{dir}'); os.chdir('{dir}')\n{MAKE}");
    let emulated = e.python(&[], &script("/srv/acls"));
    for line in [
        "f0 0o664 0 0 | u:6 U33:7 g:5 m:6 o:4 | -",
        "s0 0o775 0 0 | u:7 U33:7 g:5 m:7 o:5 | u:7 U33:7 g:5 m:7 o:5",
        "f33 0o664 33 34 | u:6 U33:7 g:5 m:6 o:4 | -",
        "f33 0o640 33 0 | u:6 U0:6 g:5 G50:6 m:4 o:0 | -",
        "f33 0o664 33 34 | - | -",
        "s33/f 0o600 33 34 | - | -",
    ] {
        assert!(emulated.lines().any(|l| l == line), "{line}\n{emulated}");
    }
    // What the kernel does for real users.
    if e.machine.is_root {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("acls");
        std::fs::set_permissions(
            dir.path(),
            std::os::unix::fs::PermissionsExt::from_mode(0o755),
        )
        .unwrap();
        let native = std::process::Command::new("python3")
            .args(["-c", &script(place.to_str().unwrap())])
            .output()
            .unwrap();
        assert!(native.status.success(), "{native:?}");
        assert_eq!(emulated, String::from_utf8(native.stdout).unwrap());
    }
    Ok(())
}

fn an_acl_stays_with_its_file(e: &Env) -> Done {
    let own = e.with_own_store();
    let first = format!(
        "{ACLS}
os.mkdir('/a'); os.chdir('/a'); acl = pack('u:6 U33:7 g:4 m:7 o:0')
for n in ('moved', 'gone', 'kept', 'replaced', 'later'): open(n, 'w')
for n in ('moved', 'gone', 'kept', 'replaced'): os.setxattr(n, A, acl)
os.chown('kept', 5, 60); os.chmod('kept', 0o4770); os.setxattr('kept', A, pack('u:7 U33:7 g:4 m:7 o:0'))
os.rename('moved', 'm'); os.unlink('gone'); open('gone', 'w')
open('new', 'w'); os.rename('new', 'replaced'); os.link('m', 'l')
for n in ('m', 'l', 'gone', 'replaced', 'kept'): show(n)"
    );
    let want = "m 0o670 0 0 | u:6 U33:7 g:4 m:7 o:0 | -\nl 0o670 0 0 | u:6 U33:7 g:4 m:7 o:0 | -\n\
        gone 0o644 0 0 | - | -\nreplaced 0o644 0 0 | - | -\nkept 0o4770 5 60 | u:7 U33:7 g:4 m:7 o:0 | -\n";
    let run = |name: &str, image: &str, script: &str| {
        let run = own.cmd(["run", "--network=none", "--name", name, image]);
        run.args(["python3", "-c", script]).ok().out()
    };
    assert_eq!(run("c", &own.image("python"), &first), want);
    own.cmd(["commit", "-q", "c", "localhost/acls"]).ok();
    // On files of a layer, and in the next one.
    let second = format!(
        "{ACLS}os.chdir('/a')
for n in ('m', 'l', 'gone', 'replaced', 'kept'): show(n)
os.setxattr('later', A, pack('u:6 U33:7 g:4 m:7 o:0')); open('later', 'a').write('x'); show('later')"
    );
    let later = "later 0o670 0 0 | u:6 U33:7 g:4 m:7 o:0 | -\n";
    assert_eq!(
        run("d", "localhost/acls", &second),
        format!("{want}{later}")
    );
    own.cmd(["commit", "-q", "d", "localhost/more"]).ok();
    let third = format!("{ACLS}os.chdir('/a'); show('later'); show('m')");
    let moved = want.lines().next().unwrap();
    assert_eq!(
        run("e", "localhost/more", &third),
        format!("{later}{moved}\n")
    );
    Ok(())
}

/// As setfacl -b and -k do it: the default ACL goes, the other becomes what the mode says, or goes.
fn an_acl_that_is_removed_stays_away(e: &Env) -> Done {
    let own = e.with_own_store();
    let first = format!(
        "{ACLS}
os.mkdir('/a'); os.chdir('/a'); acl = pack('u:7 U33:7 g:5 m:7 o:5')
for n in ('bare', 'used', 'kept', 'least'): os.mkdir(n); os.setxattr(n, A, acl); os.setxattr(n, D, acl); open(n + '/f', 'w')
for n in ('file', 'wrote'): open(n, 'w'); os.setxattr(n, A, acl)"
    );
    let second = format!(
        "{ACLS}os.chdir('/a')
open('used/new', 'w'); open('kept/new', 'w'); open('wrote', 'w').write('x')
for n in ('bare', 'used', 'file', 'wrote'):
    os.removexattr(n, A)
    if os.path.isdir(n): os.removexattr(n, D); os.removexattr(n + '/f', A)
os.setxattr('least', A, pack('u:7 g:5 o:5')); os.setxattr('least', D, pack('u:7 g:5 o:5'))
for n in ('bare', 'used', 'least'): open(n + '/later', 'w')"
    );
    let show = format!(
        "{ACLS}os.chdir('/a')
for n in ('bare', 'bare/f', 'bare/later', 'used', 'used/later', 'kept', 'kept/f', 'kept/new', 'least', 'least/later', 'file', 'wrote'): show(n)"
    );
    let (acl, file) = ("u:7 U33:7 g:5 m:7 o:5", "u:6 U33:7 g:5 m:6 o:4");
    let plain = "u:7 g:5 o:5";
    let want = format!(
        "bare 0o775 0 0 | - | -\nbare/f 0o664 0 0 | - | -\nbare/later 0o644 0 0 | - | -\n\
         used 0o775 0 0 | - | -\nused/later 0o644 0 0 | - | -\n\
         kept 0o775 0 0 | {acl} | {acl}\nkept/f 0o664 0 0 | {file} | -\nkept/new 0o664 0 0 | {file} | -\n\
         least 0o755 0 0 | - | {plain}\nleast/later 0o644 0 0 | - | -\nfile 0o775 0 0 | - | -\nwrote 0o775 0 0 | - | -\n"
    );
    for driver in ["overlay", "copy"] {
        let run = |name: &str, image: &str, script: &str| {
            let name = format!("{name}-{driver}");
            let run = own.cmd([
                "run",
                "--network=none",
                "--storage-driver",
                driver,
                "--name",
                &name,
            ]);
            run.args([image, "python3", "-c", script]).ok().out()
        };
        run("a", &own.image("python"), &first);
        own.cmd(["commit", "-q", &format!("a-{driver}"), "localhost/acls"])
            .ok();
        let second = format!("{second}\n{show}");
        assert_eq!(run("b", "localhost/acls", &second), want, "{driver}");
        own.cmd(["commit", "-q", &format!("b-{driver}"), "localhost/more"])
            .ok();
        assert_eq!(
            run("c", "localhost/more", &show),
            want,
            "{driver}, committed"
        );
    }
    Ok(())
}

/// chmod(2) changes the ACL, of which the record knows nothing.
fn a_mode_after_an_acl_is_the_one_that_goes_out(e: &Env) -> Done {
    let own = e.with_own_store();
    let script = format!(
        "{ACLS}open('/f', 'w'); os.setxattr('/f', A, pack('u:7 U33:7 g:5 m:7 o:5')); os.chmod('/f', 0o640)"
    );
    let run = own
        .cmd(["run", "--network=none", "--name=a"])
        .arg(own.image("python"));
    run.args(["python3", "-c", &script]).ok();
    let tar = own.dir.join("a.tar");
    own.cmd(["export", "-o"]).arg(&tar).arg("a").ok();
    let show = "import sys, tarfile
m = tarfile.open(sys.argv[1]).getmember('f')
v = m.pax_headers['SCHILY.xattr.system.posix_acl_access'].encode('utf-8', 'surrogateescape')
print(oct(m.mode), [v[i + 2] for i in range(4, len(v), 8)])";
    let out = crate::harness::Cmd::host(["python3", "-c", show])
        .arg(&tar)
        .ok()
        .out();
    assert_eq!(out, "0o640 [6, 7, 5, 4, 0]\n");
    Ok(())
}
