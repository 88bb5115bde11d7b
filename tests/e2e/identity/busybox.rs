//! busybox as an embedded system has it: its own programs for users and groups, which Debian's busybox lacks, with
//! its own reading of /etc/passwd, static. It is made here, of Debian's source.

use crate::harness::{Done, Env};
use crate::identity_packages::{install, installed};

suite!(users_of_busybox);

const SOURCES: &str = "sed -i 's/^Types: deb$/Types: deb deb-src/' $(grep -rl '^Types: deb$' /etc/apt/sources.list.d)\n";

const BUILD: &str = "set -e; umask 022; mkdir /b; cd /b
apt-get -qq source --download-only busybox >/tmp/log 2>&1 || { tail /tmp/log; exit 1; }
tar -xf busybox_*.orig.tar.*; cd busybox-*/; make -s allnoconfig >/dev/null
for o in STATIC LONG_OPTS FEATURE_SHADOWPASSWDS USE_BB_PWD_GRP USE_BB_SHADOW ASH SH_IS_ASH ASH_ECHO ASH_TEST \\
    ADDUSER ADDGROUP DELUSER DELGROUP FEATURE_ADDUSER_TO_GROUP FEATURE_DEL_USER_FROM_GROUP CHPASSWD LOGIN SU ID GROUPS \\
    CAT CHOWN LS MKDIR STAT FEATURE_STAT_FORMAT TOUCH; do sed -i \"s/^# CONFIG_$o is not set/CONFIG_$o=y/\" .config; done
yes '' | make -s oldconfig >/dev/null 2>&1 || true
for n in LAST_ID=60000 FIRST_SYSTEM_ID=100 LAST_SYSTEM_ID=999; do sed -i \"s/^CONFIG_${n%=*}=.*/CONFIG_$n/\" .config; done
make -s -j4 busybox >/tmp/log 2>&1 || { tail /tmp/log; exit 1; }
cd /out; mkdir -p root/bin root/etc root/home root/tmp root/proc root/dev root/sys; cd root; chmod 1777 tmp
cp /b/busybox-*/busybox bin; for p in sh addgroup adduser deluser delgroup chpasswd login su id groups cat chown ls mkdir stat touch; do
    ln -s busybox bin/$p; done
rm bin/su; cp bin/busybox bin/su; chmod 4755 bin/su
echo 'root:x:0:0:root:/:/bin/sh' >etc/passwd; echo 'root:x:0:' >etc/group; echo 'root:*:1::::::' >etc/shadow
chmod 640 etc/shadow; chown 0:42 etc/shadow";

/// Users are made, become somebody, and go; the files that say so keep owner and mode, since busybox writes
/// them anew and gives the new ones away.
const USERS: &str = "exec 2>&1; addgroup -g 2000 staff; adduser -D -u 1000 joe; addgroup joe staff; adduser -D -S -H -G staff svc
id joe; id svc; stat -c '%n %u:%g %a' /home/joe /etc/passwd /etc/group /etc/shadow
echo joe:word | chpasswd; while read l; do case $l in joe:\\$*) echo hashed;; esac; done </etc/shadow
su joe -c 'id; echo $HOME; touch ~/f; stat -c %U:%G ~/f; mkdir /etc/no; touch /home/joe/f'
su svc -s /bin/sh -c 'id -un; touch /tmp/s; chown joe /tmp/s'; stat -c %U:%G /tmp/s
su joe -c 'echo wrong | su -c id; echo $?'
delgroup joe staff; groups joe; deluser svc; delgroup staff; id svc; id joe
stat -c '%n %u:%g %a' /etc/passwd /etc/group /etc/shadow; cat /etc/group";

fn users_of_busybox(e: &Env) -> Done {
    let out = e.subdir("out");
    let volume = format!("{}:/out", out.display());
    let packages = "--no-install-recommends gcc libc6-dev make bzip2";
    let script = [SOURCES, &install(packages), BUILD].concat();
    let flags = ["--network=host", "-v", &volume];
    let run = e.run_cmd(&flags, "debian", &["bash", "-c", &script]);
    installed(run.limit(400).run())?.code_is(0).out_is("");
    let shown = e
        .cmd(["run", "--rm", "--network=none", "--rootfs"])
        .arg(out.join("root"))
        .args(["sh", "-c", USERS])
        .ok()
        .out();
    let want = "uid=1000(joe) gid=1000(joe) groups=1000(joe),2000(staff)\n\
        uid=100(svc) gid=2000(staff) groups=2000(staff)\n\
        /home/joe 1000:1000 2755\n/etc/passwd 0:0 644\n/etc/group 0:0 644\n/etc/shadow 0:42 640\n\
        chpasswd: password for 'joe' changed\nhashed\n\
        uid=1000(joe) gid=1000(joe) groups=1000(joe),2000(staff)\n/home/joe\njoe:joe\n\
        mkdir: can't create directory '/etc/no': Permission denied\n\
        svc\nchown: /tmp/s: Operation not permitted\nsvc:staff\nPassword: \nsu: incorrect password\n1\n\
        joe\nid: unknown user svc\nuid=1000(joe) gid=1000(joe) groups=1000(joe)\n\
        /etc/passwd 0:0 644\n/etc/group 0:0 644\n/etc/shadow 0:42 640\nroot:x:0:\njoe:x:1000:\n";
    assert_eq!(shown, want);
    Ok(())
}
