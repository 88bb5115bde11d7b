//! The program of a bundle's container, or a further one: from the configuration to a [`Process`]. Pure.

use std::ffi::CString;

use super::config;
use super::ids::Ids;
use super::plan::Settings;
use crate::runtime::caps::Caps;
use crate::runtime::plan::Stdin;
use crate::runtime::process::{CapSets, Label, Process, User};
use crate::runtime::seccomp::Filter;
use crate::runtime::{PlanError, WindowSize};
use crate::sys::process::{IoPriority, Schedule};

/// Decide everything that concerns the process alone. `enters`: it becomes one of another user namespace.
pub(super) fn process(
    process: &config::Process,
    ids: &Ids,
    settings: &Settings,
    filter: Option<Filter>,
    enters: bool,
) -> Result<Process, PlanError> {
    let user = User {
        enters,
        ..user(process, ids, settings)?
    };
    let args = strings(process.args.iter())?;
    if args.is_empty() {
        return Err(PlanError::Missing("process.args"));
    }
    if !process.cwd.is_absolute() {
        return Err(PlanError::Unsupported(
            "process.cwd",
            "it is not an absolute path",
        ));
    }
    Ok(Process {
        args,
        own: None,
        env: strings(process.env.iter().chain(&settings.env))?,
        cwd: process.cwd.clone(),
        terminal: process.terminal.then_some(WindowSize {
            rows: process.console_size.height,
            columns: process.console_size.width,
        }),
        stdin: Stdin::Inherit,
        streams: None,
        uid: user.uid,
        identity: None,
        caps: user.caps.bounding,
        no_new_privileges: process.no_new_privileges,
        filter,
        rlimits: rlimits(process)?,
        umask: process.user.umask.unwrap_or(0o022),
        oom_score_adj: process.oom_score_adj,
        preserve_fds: settings.preserve_fds,
        executable: settings.executable,
        user: Some(Box::new(user)),
        scope_signals: false,
    })
}

fn user(process: &config::Process, ids: &Ids, settings: &Settings) -> Result<User, PlanError> {
    let u = &process.user;
    // -1 means "nobody" to every call that takes an id.
    let nobody = u.uid == u32::MAX || u.gid == u32::MAX;
    if nobody || !ids.has_uid(u.uid) || !ids.has_gid(u.gid) {
        return Err(PlanError::UnmappedUser(format!("{}:{}", u.uid, u.gid)));
    }
    if let Some(group) = u.additional_gids.iter().find(|g| !ids.has_gid(**g)) {
        return Err(PlanError::UnmappedUser(format!(
            "a member of group {group}"
        )));
    }
    if u.umask.is_some_and(|m| m & !0o7777 != 0) {
        return Err(PlanError::Value(
            "umask",
            format!("{:o}", u.umask.unwrap_or(0)),
        ));
    }
    Ok(User {
        uid: u.uid,
        gid: u.gid,
        groups: u.additional_gids.clone(),
        caps: capabilities(process)?,
        enters: false,
        label: label(process, settings)?,
        schedule: schedule(process)?,
        io_priority: io_priority(process)?,
    })
}

fn capabilities(process: &config::Process) -> Result<CapSets, PlanError> {
    // Absent means none, as with runc: else root would keep all.
    let empty = config::Capabilities::default();
    let sets = process.capabilities.as_ref().unwrap_or(&empty);
    let set = |names: &[String]| Caps::EMPTY.adjusted(names, &[]);
    Ok(CapSets {
        bounding: set(&sets.bounding)?,
        effective: set(&sets.effective)?,
        inheritable: set(&sets.inheritable)?,
        permitted: set(&sets.permitted)?,
        ambient: set(&sets.ambient)?,
    })
}

fn rlimits(process: &config::Process) -> Result<Vec<(u32, u64, u64)>, PlanError> {
    let mut list: Vec<(u32, u64, u64)> = Vec::new();
    for r in &process.rlimits {
        let number = match r.kind.as_str() {
            "RLIMIT_CPU" => 0,
            "RLIMIT_FSIZE" => 1,
            "RLIMIT_DATA" => 2,
            "RLIMIT_STACK" => 3,
            "RLIMIT_CORE" => 4,
            "RLIMIT_RSS" => 5,
            "RLIMIT_NPROC" => 6,
            "RLIMIT_NOFILE" => 7,
            "RLIMIT_MEMLOCK" => 8,
            "RLIMIT_AS" => 9,
            "RLIMIT_LOCKS" => 10,
            "RLIMIT_SIGPENDING" => 11,
            "RLIMIT_MSGQUEUE" => 12,
            "RLIMIT_NICE" => 13,
            "RLIMIT_RTPRIO" => 14,
            "RLIMIT_RTTIME" => 15,
            other => return Err(PlanError::Value("rlimit", other.to_owned())),
        };
        if list.iter().any(|(n, ..)| *n == number) {
            return Err(PlanError::Value("rlimit (twice)", r.kind.clone()));
        }
        list.push((number, r.soft, r.hard));
    }
    Ok(list)
}

fn label(process: &config::Process, settings: &Settings) -> Result<Option<Label>, PlanError> {
    // As crun: where the kernel has neither there is nothing to do.
    let apparmor = settings.apparmor && !process.apparmor_profile.is_empty();
    let selinux = settings.selinux && !process.selinux_label.is_empty();
    Ok(if apparmor {
        Some(Label {
            file: "apparmor/exec",
            text: format!("exec {}", process.apparmor_profile),
        })
    } else if selinux {
        Some(Label {
            file: "exec",
            text: process.selinux_label.clone(),
        })
    } else {
        None
    })
}

fn schedule(process: &config::Process) -> Result<Option<Schedule>, PlanError> {
    let Some(s) = &process.scheduler else {
        return Ok(None);
    };
    let policy = match s.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(PlanError::Value("scheduler policy", other.to_owned())),
    };
    let mut flags = 0;
    for flag in &s.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(PlanError::Value("scheduler flag", other.to_owned())),
        };
    }
    Ok(Some(Schedule {
        policy,
        flags,
        nice: s.nice,
        priority: s.priority.cast_unsigned(),
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    }))
}

fn io_priority(process: &config::Process) -> Result<Option<IoPriority>, PlanError> {
    let Some(p) = &process.io_priority else {
        return Ok(None);
    };
    let class = match p.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(PlanError::Value("ioPriority class", other.to_owned())),
    };
    if p.priority > 7 {
        return Err(PlanError::Value("ioPriority", p.priority.to_string()));
    }
    Ok(Some(IoPriority {
        class,
        level: p.priority,
    }))
}

pub(super) fn c_string(s: &str) -> Result<CString, PlanError> {
    CString::new(s).map_err(|_| PlanError::Nul(s.to_owned()))
}

fn strings<'a>(list: impl Iterator<Item = &'a String>) -> Result<Vec<CString>, PlanError> {
    list.map(|s| c_string(s)).collect()
}
