//! Real packages, installed by the distribution's own tools with no option changed, and the services in
//! them. The reference for owners is what the packages say themselves: dpkg's own records, and the users
//! that their scripts make.

use crate::harness::{Done, Env, Skip};

suite!(packages_install_and_serve);

const INSTALL: &str = "export DEBIAN_FRONTEND=noninteractive; cd /
apt-get -qq update >/tmp/log 2>&1 && [ -n \"$(ls /var/lib/apt/lists | grep Packages)\" ] || { echo no mirror; exit 77; }
apt-get -qq install -y --no-install-recommends cron openssh-server sudo redis-server >/tmp/log 2>&1 || { tail /tmp/log; exit 1; }
echo audit $(dpkg --audit | wc -l) $(dpkg --verify | wc -l)
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
    let out = e
        .run_cmd(&["--network=host"], "debian", &["bash", "-c", INSTALL])
        .limit(400)
        .run();
    if out.code() == 77 {
        return Err(Skip("no package mirror can be reached".to_owned()));
    }
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
