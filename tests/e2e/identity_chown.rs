//! What chown(2) does beside giving a file to somebody, where owners are emulated: the same as with a real root,
//! whichever way the supervisor takes.

use crate::harness::{Done, Env};

suite!(chown_does_all_that_the_kernel_does);

const SCRIPT: &str = "import os, stat, time
def give(p, *ids, keep=False):
    before = os.lstat(p).st_ctime_ns
    time.sleep(0.02)
    os.chown(p, *ids, follow_symlinks=not keep)
    s = os.lstat(p)
    print(p, s.st_uid, s.st_gid, oct(s.st_mode), 'ctime' if s.st_ctime_ns > before else 'NO CTIME')
os.chdir('/tmp')
open('f', 'w').close(); os.mkdir('d'); os.symlink('f', 'l')
for p in ('f', 'd'):
    for ids in ((5, 6), (7, 8), (7, 8), (-1, 9), (0, 0), (0, 0)): give(p, *ids)
give('l', 3, 4, keep=True); give('f', 5, 5); give('l', 0, 0, keep=True)
for mode in (0o6755, 0o4644): os.chmod('f', mode); give('f', 6, 6)
os.chmod('d', 0o2755); give('d', 7, 7)
os.mknod('c', stat.S_IFCHR | 0o644, os.makedev(1, 3)); give('c', 5, 5); give('c', 6, 6)
# Some given away before and some not, in turn.
for n in range(6):
    p = 'n%d' % n; open(p, 'w').close()
    if n in (1, 2, 4): os.chown(p, 2, 2)
for n in range(6): give('n%d' % n, 9, 9)
open('x', 'w').close(); os.chmod('x', 0o755)
os.setxattr('x', 'security.capability', bytes.fromhex('0100000200200000000000000000000000000000'))
give('x', 5, 5); print(os.listxattr('x'))
passwd = open('/etc/passwd').read(); give('/etc/passwd', 5, 5); print(open('/etc/passwd').read() == passwd)
# What was looked at may be another file by now, also one that has its number.
for way in ('renamed', 'anew'):
    open('a', 'w').close(); os.chown('a', 2, 2); os.chown('a', 3, 3)
    if way == 'anew': os.lstat('a'); os.unlink('a'); os.mknod('a', stat.S_IFCHR | 0o644, os.makedev(1, 3))
    else: os.mknod('b', stat.S_IFCHR | 0o644, os.makedev(1, 3)); os.lstat('a'); os.rename('b', 'a')
    os.chown('a', 4, 4); s = os.lstat('a'); print(way, s.st_uid, oct(s.st_mode)); os.unlink('a')
fd = os.open('f', os.O_RDONLY); os.fchown(fd, 1, 2); print(os.stat('f').st_uid, os.fstat(fd).st_gid)
";

fn chown_does_all_that_the_kernel_does(e: &Env) -> Done {
    let out = e.python(&[], SCRIPT);
    let want = "f 5 6 0o100644 ctime
f 7 8 0o100644 ctime
f 7 8 0o100644 ctime
f 7 9 0o100644 ctime
f 0 0 0o100644 ctime
f 0 0 0o100644 ctime
d 5 6 0o40755 ctime
d 7 8 0o40755 ctime
d 7 8 0o40755 ctime
d 7 9 0o40755 ctime
d 0 0 0o40755 ctime
d 0 0 0o40755 ctime
l 3 4 0o120777 ctime
f 5 5 0o100644 ctime
l 0 0 0o120777 ctime
f 6 6 0o100755 ctime
f 6 6 0o100644 ctime
d 7 7 0o42755 ctime
c 5 5 0o20644 ctime
c 6 6 0o20644 ctime
n0 9 9 0o100644 ctime
n1 9 9 0o100644 ctime
n2 9 9 0o100644 ctime
n3 9 9 0o100644 ctime
n4 9 9 0o100644 ctime
n5 9 9 0o100644 ctime
x 5 5 0o100755 ctime
[]
/etc/passwd 5 5 0o100644 ctime
True
renamed 4 0o20644
anew 4 0o20644
1 2
";
    assert_eq!(out, want);
    Ok(())
}
