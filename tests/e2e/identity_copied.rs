//! Owners that a layer's sidecar has, when overlay copies the file up.

use crate::commit::kept;
use crate::harness::{Done, Env};

suite!(a_link_of_the_image_keeps_its_owner_when_it_is_copied_up);

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
