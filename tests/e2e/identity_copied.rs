//! Owners that a layer's sidecar has, when overlay copies the file up.

use crate::commit::kept;
use std::collections::BTreeMap;
use std::path::Path;

use crate::harness::{Cmd, Done, Env, Feature};

suite!(
    a_link_of_the_image_keeps_its_owner_when_it_is_copied_up,
    a_fifo_of_the_image_keeps_its_owner_when_it_is_copied_up,
    a_fifo_of_the_image_keeps_its_owner_in_a_copy,
    attributes_of_the_image_outlive_changes,
    attributes_of_the_image_outlive_changes_in_a_copy,
    attributes_of_the_image_outlive_changes_by_fuse_overlayfs,
    without_emulation_new_files_inherit_nothing,
);

fn a_link_of_the_image_keeps_its_owner_when_it_is_copied_up(e: &Env) -> Done {
    let own = e.with_own_store();
    let make = "mkdir /l; cd /l; for n in moved there touched linked one two replaced into; do ln -s x $n; chown -h 5:60 $n; done
        mkfifo pipe; chown 7:8 pipe; touch plain";
    kept(&own, "c", &[], &own.image("python"), make);
    own.cmd(["commit", "-q", "c", "localhost/links"]).ok();
    // By the calls themselves, so that nothing else is asked for before.
    let script = "import os, ctypes
os.chdir('/l')
os.rename('moved', 'm'); os.replace('there', '/tmp/t')
os.utime('touched', (1, 2), follow_symlinks=False)
os.link('linked', 'l', follow_symlinks=False)
os.rename('plain', 'replaced'); os.symlink('y', 'new'); os.rename('new', 'into')
exchange = ctypes.CDLL(None).renameat2(-100, b'one', -100, b'two', 2)
os.rename('pipe', 'p')
for n in ('m', '/tmp/t', 'touched', 'linked', 'l', 'one', 'two', 'replaced', 'into', 'p'):
    s = os.lstat(n); print(n, s.st_uid, s.st_gid, int(s.st_mtime) if n == 'touched' else '')
print(exchange)";
    let shown = own
        .cmd(["run", "--network=none", "--name", "d", "localhost/links"])
        .args(["python3", "-c", script])
        .ok()
        .out();
    let want = "m 5 60 \n/tmp/t 5 60 \ntouched 5 60 2\nlinked 5 60 \nl 5 60 \none 5 60 \ntwo 5 60 \n\
        replaced 0 0 \ninto 0 0 \np 7 8 \n0\n";
    assert_eq!(shown, want);
    // Those who come later see the same.
    own.cmd(["commit", "-q", "d", "localhost/more"]).ok();
    let stat = "cd /l; stat -c '%n %u:%g' m /tmp/t touched l two replaced into p";
    let out = own
        .cmd(["run", "--rm", "--network=none", "localhost/more"])
        .args(["sh", "-c", stat])
        .ok();
    out.out_is(
        "m 5:60\n/tmp/t 5:60\ntouched 5:60\nl 5:60\ntwo 5:60\nreplaced 0:0\ninto 0:0\np 7:8\n",
    );
    Ok(())
}

/// Fifos of another user, with which [`CHANGE`] does what copies them up, and what puts others in their places.
const FIFOS: &str = "import os
os.mkdir('/l'); os.chdir('/l'); os.makedirs('emptied'); os.makedirs('replaced')
for n in ('mode', 'times', 'byname', 'named', 'again', 'over', 'swapped', 'linked', 'bound', 'file', 'resolved', 'emptied/p', 'replaced/p', 'kept'):
    os.mkfifo(n); os.chown(n, 5, 60)
os.symlink('byname', 'to')";

const CHANGE: &str = "import ctypes, os, shutil, socket, struct
os.chdir('/l'); c = ctypes.CDLL(None)
os.chmod('mode', 0o620); os.utime('times', (1, 2)); os.utime('to', (1, 2))
os.chmod('named', 0o640); os.rename('named', 'renamed'); os.mkfifo('named')
os.unlink('again'); os.mkfifo('again')
os.mkfifo('new'); os.rename('new', 'over')
os.mkfifo('swap'); c.renameat2(-100, b'swap', -100, b'swapped', 2)
os.mkfifo('second'); os.unlink('linked'); os.link('second', 'linked')
os.unlink('bound'); socket.socket(socket.AF_UNIX).bind('bound')
os.unlink('file'); open('file', 'w')
os.unlink('resolved'); how = struct.pack('QQQ', os.O_CREAT | os.O_WRONLY, 0o644, 8)
if c.syscall(437, -100, b'resolved', how, 24) < 0: open('resolved', 'w')
shutil.rmtree('emptied'); os.mkdir('emptied'); os.mkfifo('emptied/p')
shutil.rmtree('replaced'); os.mkdir('fresh'); os.mkfifo('fresh/p'); os.rename('fresh', 'replaced')";

const SHOW: &str = "import os
os.chdir('/l')
for d in ('.', 'emptied', 'replaced'):
    for n in sorted(os.listdir(d)):
        s = os.lstat(d + '/' + n); print(os.path.normpath(d + '/' + n), oct(s.st_mode & 0o7777), s.st_uid, s.st_gid)";

const FIFOS_AFTER: &str = "again 0o644 0 0\nbound 0o755 0 0\nbyname 0o644 5 60\nemptied 0o755 0 0\nfile 0o644 0 0\nkept 0o644 5 60\n\
    linked 0o644 0 0\nmode 0o620 5 60\nnamed 0o644 0 0\nover 0o644 0 0\nrenamed 0o640 5 60\nreplaced 0o755 0 0\n\
    resolved 0o644 0 0\nsecond 0o644 0 0\nswap 0o644 5 60\nswapped 0o644 0 0\ntimes 0o644 5 60\nto 0o777 0 0\n\
    emptied/p 0o644 0 0\nreplaced/p 0o644 0 0\n";

/// A container of the python image that stays: what its script prints.
fn python(e: &Env, flags: &[&str], name: &str, image: &str, script: &str) -> String {
    let run = e.cmd(["run", "--network=none", "--name", name]).args(flags);
    run.args([image, "python3", "-c", script]).ok().out()
}

/// Everything in /l of an exported container: owner, mode and names of attributes.
fn exported(e: &Env, name: &str) -> BTreeMap<String, String> {
    let tar = e.dir.join(format!("{name}.tar"));
    e.cmd(["export", "-o"]).arg(&tar).arg(name).ok();
    listed(&tar)
}

fn listed(tar: &Path) -> BTreeMap<String, String> {
    let list = "import sys, tarfile
all = tarfile.open(sys.argv[1])
for m in all:
    if m.name.startswith('l/'):
        name, m = m.name, all.getmember(m.linkname) if m.islnk() else m
        print(name[2:], oct(m.mode), m.uid, m.gid, *sorted(k[13:] for k in m.pax_headers if k.startswith('SCHILY.xattr.')))";
    let out = Cmd::host(["python3", "-c", list]).arg(tar).ok().out();
    let pair = |l: &str| l.split_once(' ').map(|(n, r)| (n.to_owned(), r.to_owned()));
    out.lines().filter_map(pair).collect()
}

fn a_fifo_of_the_image_keeps_its_owner_when_it_is_copied_up(e: &Env) -> Done {
    fifos(e, "overlay")
}

fn a_fifo_of_the_image_keeps_its_owner_in_a_copy(e: &Env) -> Done {
    fifos(e, "copy")
}

fn fifos(e: &Env, driver: &str) -> Done {
    let own = e.with_own_store();
    python(&own, &[], "a", &own.image("python"), FIFOS);
    own.cmd(["commit", "-q", "a", "localhost/fifos"]).ok();
    let flags = ["--storage-driver", driver];
    let script = format!("{CHANGE}\n{SHOW}");
    let after = python(&own, &flags, "b", "localhost/fifos", &script);
    assert_eq!(after, FIFOS_AFTER);
    let exported = exported(&own, "b");
    for line in FIFOS_AFTER.lines().filter(|l| !l.starts_with("bound")) {
        let (name, rest) = line.split_once(' ').unwrap();
        assert_eq!(exported[name], rest, "{name}, exported");
    }
    own.cmd(["commit", "-q", "b", "localhost/more"]).ok();
    let committed = python(&own, &[], "c", "localhost/more", SHOW);
    // A layer can neither have a socket nor say that it was there.
    let but_the_socket = |all: &str| -> Vec<String> {
        let lines = all.lines().filter(|l| !l.starts_with("bound"));
        lines.map(str::to_owned).collect()
    };
    assert_eq!(
        but_the_socket(&committed),
        but_the_socket(FIFOS_AFTER),
        "committed"
    );
    Ok(())
}

/// Files whose attributes one id cannot set, so that they are beside them: `trusted.x`, an ACL that names a
/// user, a name that overlay keeps for itself, and a capability, which makes a program of `py`.
const ATTRIBUTES: &str = "import os, shutil, struct
os.mkdir('/l'); os.chdir('/l')
acl = struct.pack('<I' + 5 * 'HHI', 2, 1, 6, 2**32-1, 2, 7, 33, 4, 4, 2**32-1, 16, 7, 2**32-1, 32, 0, 2**32-1)
cap = struct.pack('<5I', 0x02000001, 1, 0, 0, 0)
for n in ('read', 'mode', 'times', 'write', 'cut', 'owner', 'moved', 'linked', 'again', 'over', 'acl', 'set', 'dropped', 'same'):
    open(n, 'w').write('abc')
shutil.copy(os.path.realpath('/usr/bin/python3'), 'py')
for n in os.listdir('.'):
    os.chmod(n, 0o755)
    os.setxattr(n, 'trusted.x', b'1'); os.setxattr(n, 'system.posix_acl_access', acl)
    os.setxattr(n, 'user.overlay.x', b'2'); os.setxattr(n, 'security.capability', cap)
os.mkdir('d'); os.setxattr('d', 'trusted.x', b'1'); os.setxattr('d', 'system.posix_acl_default', acl)";

const ALTER: &str = "import os, struct
os.chdir('/l')
os.chmod('mode', 0o700); os.utime('times', (1, 2)); open('write', 'w').write('xyz'); os.truncate('cut', 1)
os.chown('owner', 0, 0); os.rename('moved', 'm'); os.link('linked', 'l')
os.unlink('again'); open('again', 'w'); os.chmod('again', 0o755); open('new', 'w'); os.chmod('new', 0o755); os.rename('new', 'over')
os.removexattr('acl', 'system.posix_acl_access'); open('acl', 'a').write('d')
os.setxattr('set', 'trusted.x', b'3'); os.setxattr('set', 'user.overlay.x', b'4')
os.setxattr('set', 'security.capability', struct.pack('<5I', 0x02000001, 1 << 10, 0, 0, 0))
os.removexattr('dropped', 'security.capability'); os.removexattr('dropped', 'user.overlay.x')
with open('same', 'r+') as f: f.write('abd')
os.utime('same', ns=(0, os.stat('read').st_mtime_ns))
open('d/f', 'w'); os.chmod('py', 0o711)";

const ATTRIBUTES_SHOWN: &str = "import os
os.chdir('/l')
for n in sorted(os.listdir('.') + ['d/f']):
    if not os.path.exists(n): continue
    v = {}
    for a in os.listxattr(n): v[a] = os.getxattr(n, a)
    # The same one by one, whatever the list says.
    for a in ('trusted.x', 'system.posix_acl_access', 'security.capability', 'user.overlay.x', 'system.posix_acl_default'):
        try: got = os.getxattr(n, a)
        except OSError: got = None
        assert v.get(a) == got, (n, a, got, v)
    short = {'trusted.x': 't', 'system.posix_acl_access': 'a', 'security.capability': 'c', 'user.overlay.x': 'o', 'system.posix_acl_default': 'd'}
    say = lambda a: short[a] + {b'3': '3', b'4': '4'}.get(v[a], '')  + (str(v[a][5]) if a == 'security.capability' and v[a][5] else '')
    print(n, ' '.join(sorted(say(a) for a in v)))
open('/tmp/mine', 'w')
if not os.fork():
    os.setgid(33); os.setuid(33)
    os.execl('/l/py', 'py', '-c', \"import os; os.chown('/tmp/mine', 33, 33)\")
os.wait(); print('py', os.stat('/tmp/mine').st_uid)";

const BEFORE: &str = "acl a c o t\nagain a c o t\ncut a c o t\nd d t\ndropped a c o t\nlinked a c o t\nmode a c o t\nmoved a c o t\n\
    over a c o t\nowner a c o t\npy a c o t\nread a c o t\nsame a c o t\nset a c o t\ntimes a c o t\nwrite a c o t\npy 33\n";

/// As real root sees it: only what writes to a file, or gives it away, takes its capability.
const AFTER: &str = "acl o t\nagain \ncut a o t\nd d t\nd/f a\ndropped a t\nl a c o t\nlinked a c o t\nm a c o t\nmode a c o t\n\
    over \nowner a o t\npy a c o t\nread a c o t\nsame a o t\nset a c4 o4 t3\ntimes a c o t\nwrite a o t\npy 33\n";

fn attributes_of_the_image_outlive_changes(e: &Env) -> Done {
    attributes(e, "overlay")
}

fn attributes_of_the_image_outlive_changes_in_a_copy(e: &Env) -> Done {
    attributes(e, "copy")
}

fn attributes_of_the_image_outlive_changes_by_fuse_overlayfs(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    attributes(e, "fuse-overlayfs")
}

fn attributes(e: &Env, driver: &str) -> Done {
    let own = e.with_own_store();
    let admin = ["--cap-add=SYS_ADMIN", "--storage-driver", driver];
    python(&own, &admin[..1], "a", &own.image("python"), ATTRIBUTES);
    own.cmd(["commit", "-q", "a", "localhost/first"]).ok();
    let show = |name: &str, image: &str| python(&own, &admin, name, image, ATTRIBUTES_SHOWN);
    assert_eq!(show("b", "localhost/first"), BEFORE);
    let script = format!("{ALTER}\n{ATTRIBUTES_SHOWN}");
    let after = python(&own, &admin, "c", "localhost/first", &script);
    assert_eq!(after, AFTER);
    let exported = exported(&own, "c");
    let long = |short: &str| match &short[..1] {
        "a" => "system.posix_acl_access",
        "c" => "security.capability",
        "d" => "system.posix_acl_default",
        "o" => "user.overlay.x",
        _ => "trusted.x",
    };
    for line in AFTER.lines().filter(|l| !l.starts_with("py 33")) {
        let (name, short) = line.split_once(' ').unwrap();
        let mut want: Vec<_> = short.split_whitespace().map(long).collect();
        want.sort_unstable();
        let got: Vec<_> = exported[name].split(' ').skip(3).collect();
        assert_eq!(got, want, "{name}, exported");
    }
    own.cmd(["commit", "-q", "c", "localhost/second"]).ok();
    assert_eq!(show("d", "localhost/second"), AFTER, "committed");
    Ok(())
}

/// Nobody watches over what is made there.
fn without_emulation_new_files_inherit_nothing(e: &Env) -> Done {
    let own = e.with_own_store();
    python(&own, &[], "a", &own.image("python"), FIFOS);
    own.cmd(["commit", "-q", "a", "localhost/fifos"]).ok();
    for mode in ["off", "ids"] {
        let flags = ["--identity", mode];
        let script = "import os; os.chdir('/l'); os.unlink('again'); os.mkfifo('again')";
        python(&own, &flags, mode, "localhost/fifos", script);
        assert_eq!(exported(&own, mode)["again"], "0o644 0 0", "{mode}");
        assert_eq!(exported(&own, mode)["kept"], "0o644 5 60", "{mode}");
    }
    Ok(())
}
