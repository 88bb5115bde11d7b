//! The user's systemd: does it answer, what was it given, does it outlive the login?

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::cgroup::{self, Cgroup, Hierarchy};
use super::facts;
use super::logout::dies_at_logout;
use super::report::{Finding, Group, Subject};
use crate::sys::fork::{At as _, in_child};

const MANAGER: Subject = Subject::new(Group::Resources, "systemd-user", "systemd of the user");
const LINGER: Subject = Subject::new(Group::Resources, "linger", "running after logout");

const DELEGATE: &str = "mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\n\
    Delegate=cpu cpuset io memory pids\\n' > /etc/systemd/system/user@.service.d/delegate.conf && \
    systemctl daemon-reload && systemctl restart user@UID.service";

/// Can the user's systemd put limits on a container?
///
/// Connects to its private socket, or to the user's bus, and hangs up: no message is sent.
pub fn user_manager(cgroup: &Cgroup) -> Finding {
    const INSTEAD: &str =
        "a writable cgroup if there is one, else a limit that is asked for is refused";
    let uid = geteuid().as_raw();
    let sockets = sockets(uid);
    let mut refused = String::new();
    let reached = sockets.iter().find(|socket| {
        // A manager that hangs would block the connection: in a child, with a time limit.
        match in_child(|| {
            UnixStream::connect(socket).at("connect")?;
            Ok(0)
        }) {
            Ok(_) => true,
            Err(failed) => {
                if refused.is_empty() {
                    refused = format!("{}: {}", socket.display(), facts::words(&failed));
                }
                false
            }
        }
    });
    let Some(socket) = reached else {
        let booted = Path::new("/run/systemd/system").is_dir();
        let (why, admin) = if booted {
            (
                "no manager runs for this user (not a login session, and no lingering)",
                Some(format!("loginctl enable-linger {}", user_name(uid))),
            )
        } else {
            ("this machine does not run systemd", None)
        };
        return MANAGER
            .missing(format!("{refused}; {why}"))
            .instead(INSTEAD)
            .admin(admin);
    };
    let at = socket.display();
    if cgroup.hierarchy != Hierarchy::Pure {
        return MANAGER
            .limited(format!(
                "answers at {at}, but {}: a user's systemd gets no controllers",
                cgroup.hierarchy.words()
            ))
            .instead(INSTEAD)
            .admin(
                "add systemd.unified_cgroup_hierarchy=1 to the kernel command line, then reboot"
                    .to_owned(),
            );
    }
    let given = cgroup
        .mount
        .as_deref()
        .map(|m| cgroup::controllers(&service(m, uid)))
        .unwrap_or_default();
    if !cgroup::lacking(&given, &["memory", "pids"]).is_empty() {
        return MANAGER
            .limited(format!(
                "answers at {at}, but was given only: {}",
                given.join(" ")
            ))
            .instead(INSTEAD)
            .admin(DELEGATE.replace("UID", &uid.to_string()));
    }
    let finding = MANAGER.ok(format!("answers at {at}; delegated: {}", given.join(" ")));
    // Enough for --memory, --pids-limit and --cpus. What is not there is refused when asked for.
    match &*cgroup::lacking(&given, &["cpu", "cpuset", "io"]) {
        [] => finding,
        missing => finding
            .instead(format!(
                "limits that need {} are refused",
                missing.join(" and ")
            ))
            .admin(DELEGATE.replace("UID", &uid.to_string())),
    }
}

fn sockets(uid: u32) -> Vec<PathBuf> {
    let mut dirs = vec![PathBuf::from(format!("/run/user/{uid}"))];
    if let Some(dir) = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
        && dir.is_absolute()
        && !dirs.contains(&dir)
    {
        dirs.insert(0, dir);
    }
    dirs.iter()
        .flat_map(|dir| [dir.join("systemd/private"), dir.join("bus")])
        .collect()
}

fn service(mount: &Path, uid: u32) -> PathBuf {
    mount.join(format!("user.slice/user-{uid}.slice/user@{uid}.service"))
}

/// Do the user's processes outlive the login?
pub fn linger() -> Finding {
    if !Path::new("/run/systemd/system").is_dir() {
        return LINGER.ok("this machine does not run systemd: nothing ends processes at logout");
    }
    let uid = geteuid().as_raw();
    let name = user_name(uid);
    let lingers = uid == 0 || Path::new("/var/lib/systemd/linger").join(&name).exists();
    let admin = (!lingers).then(|| format!("loginctl enable-linger {name}"));
    match (dies_at_logout(), lingers) {
        // Lingering saves what the user's systemd runs, and not what is in a session.
        (Some(mortal), _) => LINGER
            .limited(format!("what is started from here: {}", mortal.reason))
            .instead("detached containers live as long as the login"),
        (None, true) => LINGER.ok("processes stay after logout"),
        (None, false) => LINGER
            .limited("what is started from here stays; units of the user's systemd end soon after the last logout, since lingering is off")
            .instead("units made by `generate systemd` run as long as the login"),
    }
    .admin(admin)
}

/// The user's name, or the number where no plain name is known (`loginctl` takes both).
pub(super) fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    name_in_passwd(&passwd, uid)
        .or_else(|| std::env::var("USER").ok())
        // It becomes part of a path and of a command: a plain name or none.
        .filter(|name| {
            !name.is_empty()
                && !name.starts_with(['-', '.'])
                && name
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        })
        .unwrap_or_else(|| uid.to_string())
}

fn name_in_passwd(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|l| {
        let mut fields = l.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?);
        (number.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\nann:x:1000:1000::/home/ann:/bin/sh\n";
        assert_eq!(name_in_passwd(passwd, 1000).as_deref(), Some("ann"));
        assert_eq!(name_in_passwd(passwd, 7), None);
    }

    #[test]
    fn a_manager_without_v2_controllers_is_no_rung() {
        let cgroup = Cgroup {
            hierarchy: Hierarchy::Hybrid,
            mount: None,
            own: None,
            controllers: vec![],
            writable: false,
        };
        assert_ne!(user_manager(&cgroup).result.word(), "ok");
    }
}
