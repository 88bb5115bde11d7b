//! Other distributions' ways: rpm with its database, and an image of musl and busybox. Both are made here, of
//! what Debian packages, so that no other mirror is needed.

use crate::harness::{Done, Env};
use crate::identity_packages::{install, installed};

suite!(
    rpm_installs_what_a_package_says,
    programs_of_musl_and_busybox,
);

/// A package of several owners, set-id programs, a capability and a link; scripts that make a user first.
const SPEC: &str = r#"%global debug_package %{nil}
%global __os_install_post %{nil}
Name: owners
Version: 1
Release: 1
Summary: Several owners
License: none
AutoReqProv: no
%description
Several owners.
%pre
if test -x /sbin/useradd; then groupadd -r -g 612 keepers; useradd -r -u 611 -g keepers -d /srv/owners -s /bin/sh keeper
else echo keepers:x:612: >>/etc/group; echo keeper:x:611:612::/srv/owners:/bin/sh >>/etc/passwd; fi
%post
su keeper -c 'id -un; touch /srv/owners/kept/by-script'
%install
mkdir -p %{buildroot}/srv/owners/kept %{buildroot}/srv/owners/drop
cd %{buildroot}/srv/owners
for f in setuid setgid both caps plain config mail link-to; do echo $f >$f; done
cp /usr/bin/id run-id
ln -s plain link; ln link-to hard
%files
%defattr(-,root,root,-)
%attr(0750,root,keepers) %dir /srv/owners
%attr(2770,keeper,keepers) %dir /srv/owners/kept
%attr(1777,nobody,nogroup) %dir /srv/owners/drop
%attr(4755,keeper,root) /srv/owners/setuid
%attr(4755,keeper,root) /srv/owners/run-id
%attr(2711,root,mail) /srv/owners/setgid
%attr(6550,www-data,games) /srv/owners/both
%caps(cap_net_raw,cap_net_bind_service=ep) %attr(0755,root,keepers) /srv/owners/caps
%attr(0640,root,shadow) %config(noreplace) /srv/owners/config
%attr(0600,uucp,backup) /srv/owners/mail
%attr(0644,keeper,keepers) /srv/owners/link-to
%attr(0644,keeper,keepers) /srv/owners/hard
%attr(-,man,man) /srv/owners/link
/srv/owners/plain
"#;

/// Another root directory, with a database of its own: the scripts run in there, with busybox's programs.
const BASE: &str = r#"Name: base
Version: 1
Release: 1
Summary: What scripts need
License: none
AutoReqProv: no
%description
What scripts need.
%install
mkdir -p %{buildroot}/bin %{buildroot}/etc %{buildroot}/tmp
cp /bin/busybox %{buildroot}/bin/
cd %{buildroot}/bin; for p in sh su id touch test; do ln -s busybox $p; done
cd ../etc; printf 'root:x:0:0::/:/bin/sh\nuucp:x:10:10::/:/bin/sh\nwww-data:x:33:33::/:/bin/sh\nman:x:6:12::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n' >passwd
printf 'root:x:0:\nmail:x:8:\nshadow:x:42:\ngames:x:60:\nman:x:12:\nbackup:x:34:\nnogroup:x:65534:\n' >group
%files
%defattr(-,root,root,-)
/bin
/etc
%attr(1777,root,root) %dir /tmp
"#;

const RPM: &str = r#"set -e; exec 2>&1; b() { rpmbuild -bb --quiet --define '_topdir /build' /in/$1.spec >/tmp/log 2>&1 || { cat /tmp/log; exit 1; }; }
b base; b owners; cp /build/RPMS/*/*.rpm /tmp; cd /tmp; rpm() { command rpm "$@" 2> >(grep -v '^rpm: ' >&2); }
rpm -i --nodeps owners-1-1.*.rpm; echo -; rpm -V --nodeps owners
list() { find . -printf '%p %y %m %U:%G\n' | LC_ALL=C sort; getcap -n *; }
cd /srv/owners; list
setpriv --reuid 33 --regid 34 --groups 612 ./run-id
chown 0 mail; chmod 600 both; setcap -r caps; rpm -V --nodeps owners || echo changed
rpm --restore owners; rpm -V --nodeps owners; rpm -qf --qf '%{nvr}\n' /srv/owners/mail
list >/tmp/here; cd /tmp; rpm -i --root /r base-1-1.*.rpm; rpm -V --root /r base; rpm -i --nodeps --root /r owners-1-1.*.rpm
rpm -V --nodeps --root /r owners; cd /r/srv/owners; list | diff /tmp/here -; chroot /r su keeper -c id
rpm -e --nodeps owners; ls -A /srv; rpm -qa; rpm -qa --qf '%{nvr}\n' --root /r | sort"#;

const OUT: &str = "keeper
-
. d 750 0:612
./both f 6550 33:60
./caps f 755 0:612
./config f 640 0:42
./drop d 1777 65534:65534
./hard f 644 611:612
./kept d 2770 611:612
./kept/by-script f 644 611:612
./link l 777 6:12
./link-to f 644 611:612
./mail f 600 10:34
./plain f 644 0:0
./run-id f 4755 611:0
./setgid f 2711 0:8
./setuid f 4755 611:0
caps cap_net_bind_service,cap_net_raw=ep
uid=33(www-data) gid=34(backup) euid=611(keeper) groups=34(backup),612(keepers)
.M.......    /srv/owners/both
........P    /srv/owners/caps
.....U...    /srv/owners/mail
changed
owners-1-1
keeper
uid=611(keeper) gid=612(keepers) groups=612(keepers)
owners
base-1-1
owners-1-1
";

fn rpm_installs_what_a_package_says(e: &Env) -> Done {
    let dir = e.subdir("in");
    e.file("in/owners.spec", SPEC);
    e.file("in/base.spec", BASE);
    let volume = format!("{}:/in:ro", dir.display());
    let script = install("--no-install-recommends rpm libcap2-bin busybox-static") + RPM;
    let out = e
        .run_cmd(
            &["--network=host", "-v", &volume],
            "debian",
            &["bash", "-c", &script],
        )
        .limit(300)
        .run();
    installed(out)?.code_is(0).out_is(OUT);
    Ok(())
}

/// What programs do with users, by another C library: it sets the ids of all threads by signals, and reads
/// users and groups itself.
const PROBE: &str = r#"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_barrier_t changed;
static unsigned sum;

static void *thread(void *unused)
{
    pthread_barrier_wait(&changed);
    __atomic_add_fetch(&sum, getuid() * 1000 + getegid(), __ATOMIC_SEQ_CST);
    return unused;
}

static void show(const char *path)
{
    struct stat s;
    if (lstat(path, &s)) printf("%s: %s\n", path, strerror(errno));
    else printf("%s %o %u:%u\n", path, s.st_mode & 07777, s.st_uid, s.st_gid);
}

int main(int argc, char **argv)
{
    pthread_t threads[4];
    struct passwd *who = getpwnam("app");
    gid_t groups[8];
    if (argc > 1) {
        printf("%s: %u %u %u %u\n", argv[1], getuid(), geteuid(), getgid(), getegid());
        return 0;
    }
    pthread_barrier_init(&changed, 0, 5);
    for (int i = 0; i < 4; i++) pthread_create(threads + i, 0, thread, 0);
    if (chown("/srv/file", 70000, 8) || chmod("/srv/file", 06750) || lchown("/srv/link", 5, 6)) perror("chown");
    if (initgroups("app", who->pw_gid) || setgid(who->pw_gid) || setuid(who->pw_uid)) perror("app");
    pthread_barrier_wait(&changed);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    printf("threads %u groups %d back %d", sum, getgroups(8, groups), setuid(0));
    printf(" %s\n", strerror(errno));
    close(open("/tmp/new", O_CREAT | O_WRONLY, 0640));
    show("/tmp/new"); show("/srv/file"); show("/srv/link"); show("/etc/shadow"); show("/srv/setid");
    printf("chown %d\n", chown("/tmp/new", 0, 0) ? errno : 0);
    printf("make %d\n", mkdir("/etc/x", 0755) ? errno : 0);
    fflush(stdout);
    execl("/srv/setid", "/srv/setid", "set-id", (char *)0);
    return 1;
}
"#;

const BUILD: &str = "set -e; umask 022; mkdir -p /out/root; cd /out/root; mkdir -p bin etc lib srv tmp proc sys dev root
cp -L /lib/ld-musl-*.so.1 lib; cp /bin/busybox bin; for p in $(busybox --list); do [ $p = busybox ] || ln -s busybox bin/$p; done
musl-gcc -O1 -o bin/probe /in/probe.c; musl-gcc -O1 -static -o bin/probe-static /in/probe.c
printf 'root:x:0:0::/root:/bin/sh\\napp:x:1000:1001::/srv:/bin/sh\\n' >etc/passwd; chmod 1777 tmp
printf 'root:x:0:\\napp:x:1001:\\nshadow:x:42:\\nextra:x:1002:app\\n' >etc/group
echo x >etc/shadow; chmod 640 etc/shadow; chown 0:42 etc/shadow; echo x >srv/file; ln -s file srv/link
cp bin/probe srv/setid; chown 70001:70002 srv/setid; chmod 6755 srv/setid";

fn programs_of_musl_and_busybox(e: &Env) -> Done {
    let (dir, out) = (e.subdir("in"), e.subdir("out"));
    e.file("in/probe.c", PROBE);
    let (dir, out_at) = (
        format!("{}:/in:ro", dir.display()),
        format!("{}:/out", out.display()),
    );
    let flags = ["--network=host", "-v", &dir, "-v", &out_at];
    let script = install("--no-install-recommends musl-tools gcc busybox-static") + BUILD;
    let run = e.run_cmd(&flags, "debian", &["bash", "-c", &script]);
    installed(run.limit(300).run())?.code_is(0).out_is("");

    let root = out.join("root");
    let run = |args: &[&str]| {
        let cmd = e.cmd(["run", "--rm", "--network=none", "--rootfs"]);
        cmd.arg(&root).args(args).run().code_is(0).out()
    };
    let want = "threads 4004004 groups 2 back -1 Operation not permitted\n\
        /tmp/new 640 1000:1001\n/srv/file 6750 70000:8\n/srv/link 777 5:6\n/etc/shadow 640 0:42\n\
        /srv/setid 6755 70001:70002\nchown 1\nmake 13\nset-id: 1000 70001 1001 70002\n";
    assert_eq!(run(&["probe"]), want);
    assert_eq!(run(&["sh", "-c", "rm /tmp/new; probe-static"]), want);
    let script = "su app -c 'id; touch /tmp/f; mkfifo /tmp/p'; chown app:extra /tmp/f; chown -h app /srv/link
        stat -c '%U:%G %a' /tmp/f /tmp/p; stat -c %u:%g /srv/link; cp -a /srv /tmp/srv; tar -c -f /tmp/t -C /tmp srv f p
        mkdir /tmp/x; tar -xpf /tmp/t -C /tmp/x; cd /tmp/x; find . ! -name . -exec stat -c '%n %u:%g %a' {} + | sort; srv/setid again";
    // busybox's tar leaves links to root, everywhere.
    let want = "uid=1000(app) gid=1001(app) groups=1001(app),1002(extra)\n\
        app:extra 644\napp:app 644\n1000:0\n\
        ./f 1000:1002 644\n./p 1000:1001 644\n./srv 0:0 755\n./srv/file 70000:8 6750\n./srv/link 0:0 777\n\
        ./srv/setid 70001:70002 6755\nagain: 0 70001 0 70002\n";
    assert_eq!(run(&["sh", "-c", script]), want);
    Ok(())
}
