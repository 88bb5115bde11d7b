//! Does what this process starts outlive the login? systemd-logind(8), logind.conf(5).

use std::path::{Path, PathBuf};

use rustix::process::geteuid;

use super::session::user_name;

/// Why processes will be ended, and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mortal {
    /// A sentence.
    pub reason: String,
    /// Another.
    pub hint: String,
}

/// Whether processes that this one leaves behind are ended when its login or job is over; `None`: they stay.
pub fn dies_at_logout() -> Option<Mortal> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let uid = geteuid().as_raw();
    let name = user_name(uid);
    judge(&Facts {
        systemd: Path::new("/run/systemd/system").is_dir(),
        uid,
        lingers: Path::new("/var/lib/systemd/linger").join(&name).exists(),
        cgroups: &read("/proc/self/cgroup"),
        logind: &logind_files().map(|file| read(&file)).collect::<String>(),
        name: &name,
    })
}

/// The configuration and its drop-ins, in the order in which they count.
fn logind_files() -> impl Iterator<Item = String> {
    let dirs = ["/usr/lib/systemd", "/run/systemd", "/etc/systemd"];
    let mut drop_ins: Vec<PathBuf> = dirs
        .iter()
        .filter_map(|dir| std::fs::read_dir(format!("{dir}/logind.conf.d")).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .collect();
    // By name, whatever the directory.
    drop_ins.sort_by_key(|path| path.file_name().map(ToOwned::to_owned));
    let main = dirs.map(|dir| format!("{dir}/logind.conf"));
    let drop_ins = drop_ins
        .into_iter()
        .map(|p| p.to_string_lossy().into_owned());
    main.into_iter().chain(drop_ins)
}

struct Facts<'a> {
    systemd: bool,
    uid: u32,
    lingers: bool,
    /// `/proc/self/cgroup`
    cgroups: &'a str,
    /// All of `logind.conf`.
    logind: &'a str,
    name: &'a str,
}

fn judge(f: &Facts<'_>) -> Option<Mortal> {
    let groups = || f.cgroups.lines().filter_map(|l| l.splitn(3, ':').nth(2));
    // Whoever runs a job ends all that is in its cgroup.
    let job = groups().find_map(|path| {
        let step = path.contains("slurm") && path.contains("/job_");
        step.then(|| path.split("/job_").nth(1)?.split('/').next())?
    });
    if let Some(job) = job {
        return Some(Mortal {
            reason: format!("it ends with the batch job {job}"),
            hint: "run it in the job's foreground, or where no job is over it".to_owned(),
        });
    }
    if !f.systemd || f.uid == 0 {
        return None;
    }
    let linger = || {
        format!(
            "allow the user's processes to stay: loginctl enable-linger {}",
            f.name
        )
    };
    let slice = format!("/user-{}.slice/", f.uid);
    let below = |name: &str| groups().any(|path| path.contains(&slice) && path.contains(name));
    if below(&format!("/user@{}.service", f.uid)) {
        return (!f.lingers).then(|| Mortal {
            reason:
                "it ends with the last login: it runs below the user's systemd, which ends then"
                    .to_owned(),
            hint: linger(),
        });
    }
    if below("/session-") && kills(f.logind, f.name) {
        return Some(Mortal {
            reason:
                "it ends with this login: systemd ends all of its processes (KillUserProcesses)"
                    .to_owned(),
            // Lingering does not save what is in a session.
            hint: format!(
                "{}; then start it below the user's systemd: systemd-run --user --scope coracle …",
                linger()
            ),
        });
    }
    None
}

/// Does logind end what is left of a session? The last word counts.
fn kills(logind: &str, name: &str) -> bool {
    let value = |key: &str| {
        let lines = logind.lines().rev();
        let mut pairs = lines.filter_map(|l| l.split_once('='));
        pairs.find(|(k, _)| k.trim() == key).map(|(_, v)| v.trim())
    };
    let named = |list: &str| list.split_whitespace().any(|n| n == name);
    let yes = ["yes", "true", "on", "1", "y", "t"];
    value("KillUserProcesses").is_some_and(|v| yes.contains(&v.to_ascii_lowercase().as_str()))
        && !value("KillExcludeUsers").is_some_and(named)
        && value("KillOnlyUsers").is_none_or(|list| list.is_empty() || named(list))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: &str = "0::/user.slice/user-1000.slice/session-3.scope\n";
    const MANAGER: &str =
        "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-term.scope\n";

    fn facts<'a>(cgroups: &'a str, logind: &'a str) -> Facts<'a> {
        Facts {
            systemd: true,
            uid: 1000,
            lingers: false,
            cgroups,
            logind,
            name: "ann",
        }
    }

    fn reason(f: &Facts<'_>) -> String {
        judge(f).map(|m| m.reason).unwrap_or_default()
    }

    #[test]
    fn below_the_users_manager_lingering_decides() {
        assert!(reason(&facts(MANAGER, "")).contains("last login"));
        let lingers = Facts {
            lingers: true,
            ..facts(MANAGER, "")
        };
        assert_eq!(judge(&lingers), None);
        let old = "12:pids:/user.slice/user-1000.slice/user@1000.service\n1:name=systemd:/user.slice/user-1000.slice/user@1000.service/x.scope\n";
        assert!(reason(&facts(old, "")).contains("last login"));
        let hint = judge(&facts(MANAGER, "")).unwrap().hint;
        assert!(hint.contains("loginctl enable-linger ann"), "{hint}");
    }

    #[test]
    fn in_a_session_logind_decides() {
        for (logind, dies) in [
            ("", false),
            ("[Login]\n#KillUserProcesses=yes\n", false),
            ("[Login]\nKillUserProcesses=yes\n", true),
            ("KillUserProcesses = yes\nKillUserProcesses=no\n", false),
            ("KillUserProcesses=yes\nKillExcludeUsers=root ann\n", false),
            ("KillUserProcesses=yes\nKillOnlyUsers=bob\n", false),
            ("KillUserProcesses=yes\nKillOnlyUsers=bob ann\n", true),
        ] {
            let f = facts(SESSION, logind);
            assert_eq!(judge(&f).is_some(), dies, "{logind}");
            // Lingering saves nothing there.
            let lingers = Facts { lingers: true, ..f };
            assert_eq!(judge(&lingers).is_some(), dies, "{logind}");
        }
    }

    #[test]
    fn elsewhere_nobody_ends_it() {
        let kills = "KillUserProcesses=yes\n";
        for cgroups in [
            "0::/\n",
            "",
            "0::/system.slice/cron.service\n",
            "0::/user.slice/user-1001.slice/session-1.scope\n",
        ] {
            assert_eq!(judge(&facts(cgroups, kills)), None, "{cgroups}");
        }
        let without = Facts {
            systemd: false,
            ..facts(SESSION, kills)
        };
        assert_eq!(judge(&without), None);
        let root = Facts {
            uid: 0,
            ..facts("0::/user.slice/user-0.slice/session-1.scope\n", kills)
        };
        assert_eq!(judge(&root), None);
    }

    #[test]
    fn a_batch_job_ends_what_it_began() {
        for cgroups in [
            "0::/system.slice/slurmstepd.scope/job_4711/step_0/user/task_0\n",
            "4:memory:/slurm/uid_1000/job_4711/step_batch\n",
        ] {
            let f = Facts {
                systemd: false,
                ..facts(cgroups, "")
            };
            assert!(reason(&f).contains("4711"), "{cgroups}");
        }
    }
}
