//! Small settings: kernel parameters, limits, the working directory.

use std::path::Path;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::process::{Resource, Rlimit, chdir, getcwd, setrlimit};

use super::rootfs::{Links, RootDir};
use super::{Context as _, Failure, Plan, Process, Result, Stage};

/// Write the sysctls through the container's own /proc.
pub(super) fn sysctls(plan: &Plan, root: &RootDir) -> Result<()> {
    for (file, value) in &plan.sysctl {
        let path = Path::new("/proc/sys").join(file);
        root.open_as(&path, Links::Refuse, OFlags::WRONLY)
            .and_then(|fd| {
                // Nothing but /proc: where another container shares the root file system, it may have moved it away
                // (CVE-2025-52881).
                if rustix::fs::fstatfs(&fd)?.f_type != rustix::fs::PROC_SUPER_MAGIC {
                    return Err(rustix::io::Errno::XDEV.into());
                }
                Ok(rustix::io::write(&fd, value.as_bytes())?)
            })
            .at(Stage::Sysctl, || format!("{file}={value}"))?;
    }
    Ok(())
}

/// Readiness to be killed when memory is short. Raising it needs nothing, lowering it does.
pub(super) fn score(process: &Process) -> Result<()> {
    let Some(score) = process.oom_score_adj else {
        return Ok(());
    };
    openat(
        CWD,
        c"/proc/self/oom_score_adj",
        OFlags::WRONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .and_then(|fd| rustix::io::write(&fd, score.to_string().as_bytes()))
    .at(Stage::Limits, || format!("oom_score_adj {score}"))?;
    Ok(())
}

/// Resource limits. Raising a hard one is refused by the kernel: nobody under one uid may.
pub(super) fn limits(process: &Process) -> Result<()> {
    for &(resource, soft, hard) in &process.rlimits {
        let (Some(limit), value) = (
            rlimit(resource),
            Rlimit {
                current: (soft != u64::MAX).then_some(soft),
                maximum: (hard != u64::MAX).then_some(hard),
            },
        ) else {
            return Err(Failure::new(
                Stage::Limits,
                format!("resource {resource}"),
                rustix::io::Errno::INVAL,
            ));
        };
        setrlimit(limit, value).at(Stage::Limits, || {
            format!("setrlimit({limit:?}, {soft}:{hard})")
        })?;
    }
    Ok(())
}

fn rlimit(number: u32) -> Option<Resource> {
    use Resource as R;
    [
        R::Cpu,
        R::Fsize,
        R::Data,
        R::Stack,
        R::Core,
        R::Rss,
        R::Nproc,
        R::Nofile,
        R::Memlock,
        R::As,
        R::Locks,
        R::Sigpending,
        R::Msgqueue,
        R::Nice,
        R::Rtprio,
        R::Rttime,
    ]
    .into_iter()
    .find(|r| *r as u32 == number)
}

/// Enter the working directory, making it where it is missing, as docker does for WORKDIR and `-w`.
pub(super) fn working_directory(process: &Process) -> Result<()> {
    match enter_directory(process) {
        Err(f) if f.errno == libc::ENOENT => {
            let dir = &process.cwd;
            let what = || dir.display().to_string();
            std::fs::create_dir_all(dir).at(Stage::WorkingDirectory, what)?;
            enter_directory(process)
        }
        other => other,
    }
}

/// Enter the working directory, which must be there.
pub(super) fn enter_directory(process: &Process) -> Result<()> {
    let what = || process.cwd.display().to_string();
    chdir(&process.cwd).at(Stage::WorkingDirectory, what)?;
    // Standard input may be a directory of the host, and /proc/self/fd/0 a way there. The kernel names
    // a place outside of the root "(unreachable)".
    let cwd = getcwd(Vec::new()).at(Stage::WorkingDirectory, what)?;
    if cwd.to_bytes().starts_with(b"/") {
        Ok(())
    } else {
        Err(Failure::new(
            Stage::WorkingDirectory,
            format!("{} is outside of the container", what()),
            rustix::io::Errno::XDEV,
        ))
    }
}
