//! An archive of 300 owners, with all that a tar can hold, there and back: by tar and cp under one id, and
//! by real root. The oracles are the archive's maker and the same programs as real root.

use crate::harness::{Cmd, Done, Env};
use crate::identity_packages::{REAL, install, installed};
use crate::unpack_vs_umoci::umoci;

suite!(an_archive_of_300_owners_there_and_back);

/// Everything about a tree: `list` what the archive's maker knows, `details` the rest. Directories have
/// sizes and link counts that are the file system's affair.
const LIST: &str = "set -e; export LC_ALL=C
tar_x() { mkdir -p $2; tar -xpf $1 --acls --xattrs --xattrs-include='*' -C $2; }
tar_c() { tar -c --sort=name --acls --xattrs --xattrs-include='*' --numeric-owner --format=posix \\
    --pax-option=exthdr.name=%d/%f,delete=atime,delete=ctime -f $2 -C $1 .; }
list() { (cd $1; find . -mindepth 1 -printf '%p %y %m %U:%G\\n' | sort); }
details() { (cd $1; find . ! -type d -printf '%p %n %s %T@ %l\\n' | sort; find . -mindepth 1 -type d -printf '%p %T@\\n' | sort
    find . -type f -links +1 -printf '%i %p\\n' | sort -k2 | awk '{ if (!($1 in first)) first[$1] = $2; print first[$1], $2 }'
    find . -exec stat -c '%n %F %t,%T' {} + | sort
    find . ! -type l | sort | xargs getfacl -n; getcap -n -r . | sort
    find . | sort | xargs getfattr -h -d -m '^user' -e text; find . -type f | sort | xargs cat); }
all() { list $1; details $1; }
";

/// Describes the first tree in /out, and says in what the others differ.
const ROUND: &str =
    "tar_x /a.tar /x; cp -a /x /y; tar_c /y /out/b.tar; tar_x /out/b.tar /z; tar_c /z /tmp/c.tar
all /x >/out/x; all /y >/tmp/y; all /z >/tmp/z
diff /out/x /tmp/y && diff /out/x /tmp/z && cmp /out/b.tar /tmp/c.tar";

/// What real root makes of the archive, of the one that came back, and of what the container wrote: there ACLs
/// are attributes like others, as in images, which GNU tar takes unless it is to take its own.
const REFERENCE: &str = "mkdir /out /e; tar_x /a.tar /x; tar_x /b.tar /z; tar -xpf /exported.tar --xattrs --xattrs-include='*' -C /e y
all /x >/out/x; all /z >/tmp/z; all /e/y >/tmp/e; diff /out/x /tmp/z && diff /out/x /tmp/e";

fn an_archive_of_300_owners_there_and_back(e: &Env) -> Done {
    let (dir, out) = (e.subdir("in"), e.subdir("out"));
    let archive = dir.join("a.tar");
    let made = e
        .user(["python3", "-c", include_str!("archive.py")])
        .arg(&archive)
        .ok()
        .out();
    assert!(made.lines().count() > 1200);

    let packages = install("--no-install-recommends acl attr libcap2-bin");
    let (archive_at, out_at) = (
        format!("{}:/a.tar:ro", archive.display()),
        format!("{}:/out", out.display()),
    );
    let script = [&packages, LIST, ROUND].concat();
    let own = e.with_own_store();
    let name = own.image("debian");
    let run = own
        .cmd(["run", "--name=archive", "--network=host"])
        .args(["-v", &archive_at, "-v", &out_at])
        .arg(name)
        .args(["bash", "-c", &script]);
    installed(run.limit(300).run())?.code_is(0).out_is("");
    let ours = std::fs::read_to_string(out.join("x")).unwrap();
    assert_same("the maker of the archive", &made, &ours[..made.len()]);
    assert!(ours.matches("cap_net_raw=ep").count() > 10, "capabilities");
    assert!(ours.matches("default:user:").count() > 60, "ACLs");

    if !e.machine.is_root {
        return Ok(());
    }
    let real = umoci(e, "debian")?;
    let exported = out.join("exported.tar");
    own.cmd(["export", "-o"]).arg(&exported).arg("archive").ok();
    std::fs::rename(&exported, real.join("exported.tar")).unwrap();
    std::fs::copy(&archive, real.join("a.tar")).unwrap();
    std::fs::copy(out.join("b.tar"), real.join("b.tar")).unwrap();
    let unshare = ["unshare", "-m", "--propagation", "private", "sh", "-c"];
    Cmd::host(unshare)
        .args([REAL, "sh"])
        .arg(&real)
        .arg([&packages, LIST, REFERENCE].concat())
        .limit(300)
        .ok()
        .out_is("");
    let theirs = std::fs::read_to_string(real.join("out/x")).unwrap();
    assert_same("real root", &theirs, &ours);
    Ok(())
}

/// With the first lines that differ.
#[track_caller]
fn assert_same(reference: &str, want: &str, got: &str) {
    let differ: Vec<_> = want
        .lines()
        .zip(got.lines())
        .filter(|(want, got)| want != got)
        .take(20)
        .collect();
    assert!(differ.is_empty(), "({reference}, here): {differ:#?}");
    assert_eq!(want.lines().count(), got.lines().count(), "{reference}");
}
