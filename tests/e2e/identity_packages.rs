//! Real packages, installed by the distribution's own tools with no option changed, and the services in
//! them. The references for owners are what the packages say themselves (dpkg's own records, and the
//! users that their scripts make), and the same installation by real root in a chroot.

use crate::harness::{Cmd, Done, Env, Output, Skip};
use crate::unpack_vs_umoci::umoci;

suite!(
    packages_install_and_serve,
    database_and_web_server_serve,
    owners_are_those_of_a_real_installation,
);

/// Installs packages; the words after it are those of apt-get install. Code 77 where there is no mirror.
pub fn install(words: &str) -> String {
    format!(
        "export DEBIAN_FRONTEND=noninteractive; cd /
apt-get -qq update >/tmp/log 2>&1 && [ -n \"$(ls /var/lib/apt/lists | grep Packages)\" ] || {{ echo no mirror; exit 77; }}
apt-get -qq install -y {words} >/tmp/log 2>&1 || {{ tail /tmp/log; exit 1; }}
"
    )
}

const INSTALL: &str = "echo audit $(dpkg --audit | wc -l) $(dpkg --verify | wc -l)
stat -c '%U:%G %a %n' /var/spool/cron/crontabs /usr/bin/crontab /usr/bin/ssh-agent /usr/bin/sudo /etc/redis/redis.conf /var/lib/redis
getent passwd sshd redis | cut -d: -f1
useradd -m -s /bin/bash joe; echo '* * * * * true' | su joe -c 'crontab -'; stat -c '%U:%G %a %n' /var/spool/cron/crontabs/joe
sudo -u joe id -un; su joe -c 'sudo -n true' 2>&1 | tail -1
mkdir -p /run/sshd; /usr/sbin/sshd -t && echo sshd
ssh-keygen -q -t ed25519 -N '' -f /root/k; install -d -o joe -g joe -m 700 /home/joe/.ssh
install -o joe -g joe -m 600 /root/k.pub /home/joe/.ssh/authorized_keys
ssh -o StrictHostKeyChecking=no -o LogLevel=ERROR -i /root/k -o ProxyCommand='/usr/sbin/sshd -i' joe@x 'id -un; touch f; stat -c %U f'
su -s /bin/sh redis -c 'redis-server --port 0 --unixsocket /tmp/r --unixsocketperm 777 --dir /var/lib/redis --daemonize yes' >/dev/null
for i in 1 2 3 4 5 6 7 8 9; do [ -S /tmp/r ] && break; sleep 0.3; done
redis-cli -s /tmp/r set a b; redis-cli -s /tmp/r save; stat -c %U:%G /var/lib/redis/dump.rdb /tmp/r; redis-cli -s /tmp/r shutdown nosave
";

fn packages_install_and_serve(e: &Env) -> Done {
    let packages = "--no-install-recommends cron openssh-server sudo redis-server";
    let script = install(packages) + INSTALL;
    let out = installed(
        e.run_cmd(&["--network=host"], "debian", &["bash", "-c", &script])
            .limit(400)
            .run(),
    )?;
    out.code_is(0).out_is(
        "audit 0 0\n\
         root:crontab 1730 /var/spool/cron/crontabs\n\
         root:crontab 2755 /usr/bin/crontab\n\
         root:_ssh 2755 /usr/bin/ssh-agent\n\
         root:root 4755 /usr/bin/sudo\n\
         redis:redis 640 /etc/redis/redis.conf\n\
         redis:redis 750 /var/lib/redis\n\
         sshd\nredis\n\
         joe:crontab 600 /var/spool/cron/crontabs/joe\n\
         joe\nsudo: a password is required\n\
         sshd\n\
         joe\njoe\n\
         OK\nOK\nredis:redis\nredis:redis\n",
    );
    Ok(())
}

const SERVE: &str = "useradd -m alice
pg_ctlcluster 15 main start && su postgres -c 'createuser alice'
su alice -c \"psql -d postgres -Atc 'select current_user, 1 + 1'\"
su alice -c 'psql -U postgres -d postgres -c \"select 1\"' 2>&1 | grep -o 'Peer authentication failed'
stat -c '%U:%G %a' /var/lib/postgresql/15/main; pg_ctlcluster 15 main stop
echo 'server { listen unix:/tmp/web; root /var/www/html; index index.nginx-debian.html; }' >/etc/nginx/sites-enabled/default
nginx && perl -MIO::Socket::UNIX -e '$s = IO::Socket::UNIX->new(\"/tmp/web\"); print $s \"GET / HTTP/1.0\\r\\n\\r\\n\"; read $s, $b, 15; print \"$b\\n\"'
stat -c '%U %n' /var/lib/nginx/body; nginx -s quit
gosu nobody id -un; setpriv --reuid=33 --regid=33 --clear-groups id -u; runuser -u www-data -- id -un; chroot --userspec=33:33 / id -u
setfacl -m u:alice:rwx /srv; getfacl -cp /srv | grep alice
";

fn database_and_web_server_serve(e: &Env) -> Done {
    let script = install("postgresql nginx gosu acl") + SERVE;
    let out = installed(
        e.run_cmd(&["--network=host"], "debian", &["bash", "-c", &script])
            .limit(500)
            .run(),
    )?;
    out.code_is(0).out_is(
        "alice|2\n\
         Peer authentication failed\n\
         postgres:postgres 700\n\
         HTTP/1.1 200 OK\n\
         www-data /var/lib/nginx/body\n\
         nobody\n33\nwww-data\n33\n\
         user:alice:rwx\n",
    );
    Ok(())
}

/// A machine without a package mirror cannot say anything about packages.
pub fn installed(out: Output) -> Result<Output, Skip> {
    if out.code() == 77 {
        return Err(Skip("no package mirror can be reached".to_owned()));
    }
    Ok(out)
}

/// No option of apt is changed: it fetches as its own user, and what it recommends comes along.
const MANY: &str = "export DEBIAN_FRONTEND=noninteractive; cd /
apt-get update >/tmp/log 2>&1 && [ -n \"$(ls /var/lib/apt/lists | grep Packages)\" ] || { echo no mirror; exit 77; }
apt-get install -y openssh-server postgresql nginx redis-server git python3-pip build-essential man-db cron dbus \
    sudo iputils-ping rpm >>/tmp/log 2>&1 || { tail -20 /tmp/log; exit 1; }
rm /tmp/log; dpkg --audit; dpkg --verify
";

/// The same as real root: the directory $1 as the root, with what a container has in /proc and /dev.
pub const REAL: &str = "cd $1; mount -t proc proc proc; mount -t tmpfs tmpfs dev; mount -t tmpfs tmpfs sys
for d in null zero random urandom full tty; do : >dev/$d; mount --bind /dev/$d dev/$d; done
mkdir dev/pts dev/shm; mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx; ln -s /proc/self/fd dev/fd; cp /etc/resolv.conf /etc/hosts etc
exec env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root chroot . sh -c \"$2\"";

fn owners_are_those_of_a_real_installation(e: &Env) -> Done {
    let real = umoci(e, "debian")?;
    let own = e.with_own_store();
    let name = own.image("debian");
    let run = ["run", "--name=installed", "--network=host", &name];
    let out = own.cmd(run).args(["sh", "-c", MANY]).limit(900).run();
    installed(out)?.code_is(0).out_is("");
    let tar = e.subdir("out").join("tree.tar");
    own.cmd(["export", "-o"])
        .arg(&tar)
        .arg("installed")
        .limit(300)
        .ok();
    let ours = e.dir.join("ours");
    std::fs::create_dir(&ours).unwrap();
    Cmd::host([
        "tar",
        "--numeric-owner",
        "--xattrs",
        "--xattrs-include=*",
        "-xpf",
    ])
    .arg(&tar)
    .arg("-C")
    .arg(&ours)
    .limit(300)
    .ok();
    std::fs::remove_file(&tar).unwrap();

    let unshare = ["unshare", "-m", "--propagation", "private", "sh", "-c"];
    Cmd::host(unshare)
        .args([REAL, "sh"])
        .arg(&real)
        .arg(MANY)
        .limit(900)
        .ok()
        .out_is("");

    // What the engine puts there is not the packages' doing.
    let list = "cd $1; find . -path ./proc -prune -o -path ./dev -prune -o -path ./sys -prune -o \
         -path ./etc/hosts -o -path ./etc/resolv.conf -o ! -path . -printf '%p %y %m %U:%G\\n' | sort; \
         getcap -r . | sort";
    let lines = |dir: &std::path::Path| -> Vec<String> {
        let out = Cmd::host(["sh", "-c", list, "sh"]).arg(dir).limit(300).ok();
        out.out().lines().map(str::to_owned).collect()
    };
    let (ours, real) = (lines(&ours), lines(&real));
    let only = |a: &[String], b: &[String]| -> Vec<String> {
        let b: std::collections::HashSet<&String> = b.iter().collect();
        a.iter()
            .filter(|l| !b.contains(l))
            .take(20)
            .cloned()
            .collect()
    };
    let (left, right) = (only(&ours, &real), only(&real, &ours));
    assert!(
        left.is_empty() && right.is_empty(),
        "emulated only: {left:#?}\nreal only: {right:#?}"
    );
    assert!(ours.len() > 20_000, "{} entries", ours.len());
    let strangers = ours.iter().filter(|l| !l.ends_with(" 0:0")).count();
    assert!(strangers > 1000, "{strangers} entries of others than root");
    Ok(())
}
