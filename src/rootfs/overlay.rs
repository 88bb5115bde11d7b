//! The kernel's overlay, mounted by an unprivileged user namespace. Documentation/filesystems/overlayfs.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MoveMountFlags, fsconfig_create,
    fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::{Error, Stack};
use crate::trees::clear_scratch;

/// Mount `stack` at `target`.
///
/// Layers are handed over one by one (`lowerdir+`, Linux 6.8): no limit on the length of all their
/// names, and nothing to escape. Older kernels get the classic option string.
pub(super) fn attach(stack: &Stack, target: &Path) -> Result<(), Error> {
    let marked = |e: &Error| stack.volatile && e.source.raw_os_error() == Some(libc::EINVAL);
    match attempt(stack, target) {
        // A start of this container that went wrong after its root was there has left its mark.
        Err(e) if marked(&e) && clear_scratch(&stack.work).is_ok() => attempt(stack, target),
        result => result,
    }
}

fn attempt(stack: &Stack, target: &Path) -> Result<(), Error> {
    match with_fsconfig(stack) {
        Ok(mount) => move_mount(
            &mount,
            c"",
            CWD,
            target,
            MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
        )
        .map_err(|e| Error::new("move_mount", target, e)),
        Err(Failed::TooOld) => with_options(stack, target),
        Err(Failed::Real(e)) => Err(e),
    }
}

enum Failed {
    /// The kernel does not know `lowerdir+`, or not the calls.
    TooOld,
    Real(Error),
}

fn with_fsconfig(stack: &Stack) -> Result<OwnedFd, Failed> {
    let real = |call, path: &Path, e: Errno| Failed::Real(Error::new(call, path, e));
    let upper = &stack.upper;
    let fs = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|e| match e {
        Errno::NOSYS => Failed::TooOld,
        e => real("fsopen", Path::new("overlay"), e),
    })?;
    // Before Linux 6.5 all options are taken as they come, and refused together at the end, in words for the kernel's
    // log. One that no overlay knows tells such a kernel from others, for a microsecond and without a word.
    if fsconfig_set_flag(&fs, c"coracle").is_ok() {
        return Err(Failed::TooOld);
    }
    for (i, lower) in stack.lowers.iter().enumerate() {
        fsconfig_set_string(&fs, c"lowerdir+", lower).map_err(|e| match e {
            Errno::INVAL if i == 0 => Failed::TooOld,
            e => real("fsconfig lowerdir+", lower, e),
        })?;
    }
    fsconfig_set_string(&fs, c"upperdir", upper)
        .map_err(|e| real("fsconfig upperdir", upper, e))?;
    fsconfig_set_string(&fs, c"workdir", &stack.work)
        .map_err(|e| real("fsconfig workdir", &stack.work, e))?;
    // Overlay's own marks in user.overlay.*: trusted.* is not for user namespaces.
    fsconfig_set_flag(&fs, c"userxattr").map_err(|e| real("fsconfig userxattr", upper, e))?;
    if stack.volatile {
        fsconfig_set_flag(&fs, c"volatile").map_err(|e| real("fsconfig volatile", upper, e))?;
    }
    fsconfig_create(&fs).map_err(|e| real("fsconfig create", upper, e))?;
    fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(|e| real("fsmount", upper, e))
}

/// Mount options of an overlay that is part of a configuration: `lowers` has the topmost first, and `over` the
/// directories `upper` and `work` for what is written.
pub fn options(lowers: &[&Path], over: Option<&Path>) -> Vec<String> {
    // What has a meaning between options, and between layers.
    let escaped = |path: &Path, special: &[char]| {
        let mut out = String::new();
        for c in path.to_string_lossy().chars() {
            if special.contains(&c) {
                out.push('\\');
            }
            out.push(c);
        }
        out
    };
    let lowers: Vec<String> = lowers
        .iter()
        .map(|l| escaped(l, &['\\', ',', ':']))
        .collect();
    let mut options = vec![
        format!("lowerdir={}", lowers.join(":")),
        "userxattr".to_owned(),
    ];
    if let Some(over) = over {
        let over = escaped(over, &['\\', ',']);
        options.push(format!("upperdir={over}/upper"));
        options.push(format!("workdir={over}/work"));
    }
    options
}

/// mount(2). All options must fit in one page, so the layers go in as short names of open directories.
fn with_options(stack: &Stack, target: &Path) -> Result<(), Error> {
    let mut keep = Vec::with_capacity(stack.lowers.len() + 2);
    let mut name = |path: &Path| -> Result<String, Error> {
        use rustix::fs::{Mode, OFlags, open};
        use std::os::fd::AsRawFd as _;
        let fd = open(
            path,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| Error::new("open", path, e))?;
        let name = format!("/proc/self/fd/{}", fd.as_raw_fd());
        keep.push(fd);
        Ok(name)
    };
    let lowers = stack
        .lowers
        .iter()
        .map(|l| name(l))
        .collect::<Result<Vec<_>, _>>()?
        .join(":");
    let upper = name(&stack.upper)?;
    let work = name(&stack.work)?;
    let volatile = if stack.volatile { ",volatile" } else { "" };
    let options = format!("userxattr,lowerdir={lowers},upperdir={upper},workdir={work}{volatile}");
    let options =
        std::ffi::CString::new(options).map_err(|_| Error::new("mount", target, Errno::INVAL))?;
    rustix::mount::mount(
        c"overlay",
        target,
        c"overlay",
        MountFlags::empty(),
        Some(options.as_c_str()),
    )
    .map_err(|e| Error::new("mount", &stack.upper, e))
}
