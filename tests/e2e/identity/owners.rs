//! Whom files belong to, as seen from inside, and what of it is on disk.

use std::os::unix::fs::MetadataExt as _;

use crate::harness::{Done, Env, Feature};

suite!(
    chown_is_seen_and_kept,
    owners_are_the_same_by_fuse_overlayfs,
    owners_are_the_same_in_a_copy,
    chown_of_strangers_is_refused,
    owners_of_the_image_are_seen,
    links_fifos_and_devices_have_owners,
    owners_follow_renames_and_links,
    directories_hand_down_their_group,
    new_files_belong_to_their_maker,
    magic_links_lead_to_the_callers_files,
    a_changed_root_is_followed,
    attributes_are_hidden_or_read_back,
    volumes_belong_to_the_first_user,
);

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

/// fuse-overlayfs keeps the attribute with the owner for itself, and its inodes cannot be told apart.
fn owners_are_the_same_by_fuse_overlayfs(e: &Env) -> Done {
    e.need(Feature::Fuse)?;
    owners_on(e, "fuse-overlayfs")
}

fn owners_are_the_same_in_a_copy(e: &Env) -> Done {
    owners_on(e, "copy")
}

fn owners_on(e: &Env, driver: &str) -> Done {
    let script = "import os, stat
os.chdir('/srv'); was = []
def say(*names): was.append(' '.join('%s %d:%d' % (n, *os.lstat(n)[4:6]) for n in names)); print(was[-1])
open('a', 'w'); os.chown('a', 5, 6); say('a'); os.rename('a', 'b'); open('a', 'w'); say('a', 'b')
os.chown('b', 0, 0); say('b'); os.chown('b', 8, 9); os.unlink('b'); open('b', 'w'); say('b')
os.makedirs('d/e'); open('d/e/f', 'w'); os.symlink('x', 'd/e/l')
for n in ('d', 'd/e', 'd/e/f', 'd/e/l'): os.lchown(n, 7, 8)
os.rename('d', 'dir'); say('dir', 'dir/e', 'dir/e/f', 'dir/e/l'); os.makedirs('d/e'); open('d/e/f', 'w'); say('d', 'd/e', 'd/e/f')
os.mknod('c', 0o600 | stat.S_IFCHR, os.makedev(1, 3)); os.chown('c', 3, 3); say('c'); print(stat.S_ISCHR(os.stat('c').st_mode))
say('/etc/shadow', '/usr/bin/chage'); os.chown('/etc/shadow', 3, -1); say('/etc/shadow')
pid = os.fork()
if not pid:
    os.chdir('/tmp'); os.setgid(33); os.setuid(33); open('mine', 'w'); os.mkdir('own'); say('mine', 'own')
    try: os.chown('/srv/b', 33, 33)
    except OSError as e: print(e.errno, flush=True)
    os._exit(0)
os.wait()";
    let want = "a 5:6\na 0:0 b 5:6\nb 0:0\nb 0:0\ndir 7:8 dir/e 7:8 dir/e/f 7:8 dir/e/l 7:8\n\
        d 0:0 d/e 0:0 d/e/f 0:0\nc 3:3\nTrue\n/etc/shadow 0:42 /usr/bin/chage 0:42\n/etc/shadow 3:42\n\
        mine 33:33 own 33:33\n1\n";
    let flags = ["--network=none", "--storage-driver", driver];
    let own = e.with_own_store();
    let run = |name: &str, image: &str, script: &str| {
        let run = own.cmd(["run", "--name", name]).args(flags).arg(image);
        run.args(["python3", "-uc", script]).ok().out()
    };
    assert_eq!(run("a", &own.image("python"), script), want, "{driver}");
    own.cmd(["commit", "-q", "a", "localhost/owners"]).ok();
    let look = "import os, stat
for n in ('/srv/a', '/srv/b', '/srv/dir', '/srv/dir/e/f', '/srv/dir/e/l', '/srv/d/e/f', '/srv/c', '/etc/shadow', '/tmp/mine', '/tmp/own'):
    s = os.lstat(n); print(s.st_uid, s.st_gid, end=' ')
print(stat.S_ISCHR(os.stat('/srv/c').st_mode))";
    let committed = run("b", "localhost/owners", look);
    assert_eq!(
        committed,
        "0 0 0 0 7 8 7 8 7 8 0 0 3 3 3 42 33 33 33 33 True\n"
    );
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
A = 'system.posix_acl_access'; same = lambda p: A in os.listxattr(p) and os.getxattr(p, A) == acl
os.chdir('/tmp'); os.link('f', 'g'); os.rename('f', 'h'); open('f', 'w'); print(same('g'), same('h'), os.listxattr('f'))
os.mkdir('d'); open('d/f', 'w'); os.setxattr('d/f', A, acl); os.rename('d', 'e'); print(same('e/f')); os.removexattr('e/f', A); print(os.listxattr('e/f'))
os.setxattr('/etc/issue', A, acl); os.link('/etc/issue', '/etc/i'); os.rename('/etc/issue', '/etc/j'); print(same('/etc/i'), same('/etc/j'))
os.rename('h', 'f'); os.setuid(5); t(lambda: os.setxattr('/tmp/f', 'trusted.x', b'z')); t(lambda: os.setxattr('/tmp/f', 'security.capability', caps))";
    let common =
        "['user.mine']\n61\n1\n61\nNone\nTrue\n0o670 ['user.mine', 'system.posix_acl_access']\n";
    // An ACL is the file's, whatever its name.
    let moved = "True True []\nTrue\n[]\nTrue True\n";
    assert_eq!(
        e.python(&[], script),
        format!("{common}1\n61\nNone\nTrue\n{moved}1\n1\n")
    );
    assert_eq!(
        e.python(&["--cap-add", "SYS_ADMIN"], script),
        format!("{common}None\nb'y'\nNone\nTrue\n{moved}1\n1\n")
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
