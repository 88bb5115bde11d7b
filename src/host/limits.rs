//! Numbers that the kernel or the admin has set, and the kernel's version.

use std::fs;

use rustix::process::{Resource, Rlimit, geteuid, getrlimit};

use super::facts;
use super::report::{Finding, Group, Subject};
use crate::sys::fork::{At as _, in_child};

const KERNEL: Subject = Subject::new(Group::Quotas, "kernel", "kernel");
const NAMESPACES: Subject = Subject::new(Group::Quotas, "namespace-limits", "number of namespaces");
const PROCESSES: Subject = Subject::new(Group::Quotas, "processes", "number of processes");
const FILES: Subject = Subject::new(Group::Quotas, "open-files", "open files");
const INOTIFY: Subject = Subject::new(Group::Quotas, "inotify", "inotify");
const KEYS: Subject = Subject::new(Group::Quotas, "keys", "kernel keys");

/// Overlay with `userxattr` is of 5.11, `mount_setattr` of 5.12.
const KERNEL_WANTED: (u32, u32) = (5, 12);
/// A container takes one of each kind; a build takes one a step.
const NAMESPACES_WANTED: u64 = 100;
const PROCESSES_WANTED: u64 = 512;
const FILES_WANTED: u64 = 1024;
const INSTANCES_WANTED: u64 = 32;
const KEYS_WANTED: u64 = 16;
const WATCHES_WANTED: u64 = 8192;

/// The kernel's version. Only a hint: the probes decide, and distributions add to old kernels.
pub fn kernel() -> Finding {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let machine = uname.machine().to_string_lossy().into_owned();
    let (major, minor) = KERNEL_WANTED;
    match parse_release(&release) {
        Some(version) if version >= KERNEL_WANTED => {
            KERNEL.ok(format!("Linux {release} ({machine})"))
        }
        Some(_) => KERNEL
            .limited(format!(
                "Linux {release} ({machine}) is older than {major}.{minor}, which has all that is \
                 used at its best"
            ))
            .instead("what the other lines say works here"),
        None => KERNEL.limited(format!("a version that cannot be read: {release}")),
    }
}

/// `6.18.0-rc1` is (6, 18).
fn parse_release(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// The sysctls `user.max_*_namespaces`.
pub fn namespace_limits() -> Finding {
    let mut all = Vec::new();
    for kind in ["user", "mnt", "pid", "ipc", "uts", "cgroup", "net"] {
        let name = format!("max_{kind}_namespaces");
        if let Some(n) = facts::sysctl(&format!("user/{name}")) {
            all.push((name, n));
        }
    }
    let Some((lowest, n)) = all.iter().min_by_key(|(_, n)| *n) else {
        return NAMESPACES.limited("/proc/sys/user cannot be read");
    };
    if *n < NAMESPACES_WANTED {
        let low: Vec<String> = all
            .iter()
            .filter(|(_, n)| *n < NAMESPACES_WANTED)
            .map(|(name, _)| format!("user.{name}=15000"))
            .collect();
        let detail = format!("user.{lowest} is {n}");
        let finding = match n {
            0 => NAMESPACES.missing(detail),
            _ => NAMESPACES
                .limited(detail)
                .instead("that many containers at once, at most"),
        };
        return finding.admin(format!("sysctl -w {}", low.join(" ")));
    }
    NAMESPACES.ok(format!("{n} of each kind or more for each user"))
}

/// RLIMIT_NPROC and the kernel's pid_max.
pub fn processes() -> Finding {
    let limit = getrlimit(Resource::Nproc);
    let pid_max = facts::sysctl("kernel/pid_max");
    let detail = format!(
        "nproc {}, pid_max {}",
        soft_and_hard(limit),
        pid_max.map_or_else(|| "unknown".into(), |n| n.to_string())
    );
    match limit.maximum {
        Some(hard) if hard < PROCESSES_WANTED => PROCESSES
            .limited(format!("{detail}: counted over all processes of the user"))
            .instead("containers share that number with the session")
            .admin(format!(
                "echo '{} hard nproc 4096' > /etc/security/limits.d/90-containers.conf",
                geteuid().as_raw()
            )),
        _ => PROCESSES.ok(detail),
    }
}

/// RLIMIT_NOFILE.
pub fn open_files() -> Finding {
    let limit = getrlimit(Resource::Nofile);
    let detail = format!("nofile {}", soft_and_hard(limit));
    match limit.maximum {
        Some(hard) if hard < FILES_WANTED => FILES
            .limited(format!("{detail}: databases and builds want more"))
            .admin(format!(
                "echo '{} hard nofile 65536' > /etc/security/limits.d/90-containers.conf",
                geteuid().as_raw()
            )),
        _ => FILES.ok(detail),
    }
}

fn soft_and_hard(limit: Rlimit) -> String {
    let word = |n: Option<u64>| n.map_or_else(|| "unlimited".to_owned(), |n| n.to_string());
    format!("{} (at most {})", word(limit.current), word(limit.maximum))
}

/// How many inotify instances and watches the user may have, and whether one is left.
pub fn inotify() -> Finding {
    let instances = facts::sysctl("fs/inotify/max_user_instances");
    let watches = facts::sysctl("fs/inotify/max_user_watches");
    let number = |n: Option<u64>| n.map_or_else(|| "unknown".to_owned(), |n| n.to_string());
    let detail = format!(
        "{} instances, {} watches for each user",
        number(instances),
        number(watches)
    );
    let tried = in_child(|| {
        rustix::fs::inotify::init(rustix::fs::inotify::CreateFlags::CLOEXEC).at("inotify_init")?;
        Ok(0)
    });
    let admin = "sysctl -w fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288";
    match tried {
        Err(failed) => INOTIFY
            .missing(format!("{}; {detail}", facts::words(&failed)))
            .admin(admin.to_owned()),
        Ok(_)
            if instances.is_some_and(|n| n < INSTANCES_WANTED)
                || watches.is_some_and(|n| n < WATCHES_WANTED) =>
        {
            INOTIFY
                .limited(format!("{detail}, shared by all containers"))
                .admin(admin.to_owned())
        }
        Ok(_) => INOTIFY.ok(detail),
    }
}

/// Whether the user may still have keys: every container takes a session keyring of its own.
pub fn keys() -> Finding {
    let limit = |name: &str| facts::sysctl(&format!("kernel/keys/{name}"));
    let (Some(most), Some(bytes)) = (limit("maxkeys"), limit("maxbytes")) else {
        return KEYS.ok("no keyrings in this kernel, so that none can leak into a container");
    };
    let used = fs::read_to_string("/proc/key-users")
        .ok()
        .and_then(|text| keys_used(&text, geteuid().as_raw()))
        .unwrap_or(0);
    let detail = format!("{most} keys, {bytes} bytes for each user, {used} keys in use");
    if used + KEYS_WANTED > most {
        return KEYS
            .limited(detail)
            .instead("a container without a session keyring of its own; keyctl is filtered anyway")
            .admin("sysctl -w kernel.keys.maxkeys=2000 kernel.keys.maxbytes=200000".to_owned());
    }
    KEYS.ok(detail)
}

/// The third number of the user's line in /proc/key-users is `used/max`.
fn keys_used(text: &str, uid: u32) -> Option<u64> {
    let line = text
        .lines()
        .find(|l| l.trim_start().split(':').next() == Some(&uid.to_string()))?;
    let field = line.split_ascii_whitespace().nth(3)?;
    field.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_and_compared_as_numbers() {
        assert_eq!(parse_release("6.18.44-fc-v595"), Some((6, 18)));
        assert_eq!(parse_release("4.18.0-553.el8_10.x86_64"), Some((4, 18)));
        assert!(parse_release("5.4.0").unwrap() < KERNEL_WANTED);
        assert!(parse_release("5.12-rc1").unwrap() >= KERNEL_WANTED);
        assert_eq!(parse_release("strange"), None);
    }

    #[test]
    fn keys_in_use_are_those_of_the_user() {
        let text = "    0:    99 98/98 81/1000000 1796/25000000\n 1000:     5 5/5 5/200 60/20000\n";
        assert_eq!(keys_used(text, 1000), Some(5));
        assert_eq!(keys_used(text, 0), Some(81));
        assert_eq!(keys_used(text, 1), None);
    }
}
