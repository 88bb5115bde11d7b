//! The pseudo-terminal of a container: made in its own devpts, so that the program sees a terminal
//! with a name, and handed to the parent by its master end. pty(7).

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, fstatfs, makedev, mknodat, openat};
use rustix::io::Errno;
use rustix::mount::{MoveMountFlags, OpenTreeFlags, move_mount, open_tree};
use rustix::process::ioctl_tiocsctty;
use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use super::{Context as _, Process, Result, Stage};
use crate::runtime::channel::{Channel, FromInit};

/// Make it, bind it on /dev/console, send the master away. Returns the container's end.
pub(super) fn open(process: &Process, channel: &Channel) -> Result<Option<OwnedFd>> {
    let slave = open_further(process, channel)?;
    if let Some(slave) = &slave {
        console(slave)?;
    }
    Ok(slave)
}

/// The same for one more process, which does not take the console from the first.
pub(super) fn open_further(process: &Process, channel: &Channel) -> Result<Option<OwnedFd>> {
    let Some(window) = process.terminal else {
        return Ok(None);
    };
    let at = |what: &'static str| move || what.to_owned();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let master = openat(CWD, c"/dev/pts/ptmx", flags, Mode::empty())
        .and_then(|fd| is_multiplexer(&fd)?.then_some(fd).ok_or(Errno::NOTTY))
        .at(Stage::Terminal, at("open(/dev/pts/ptmx)"))?;
    unlockpt(&master).at(Stage::Terminal, at("unlockpt"))?;
    // By ioctl and not by name: a name can be made to lead elsewhere (CVE-2025-52565).
    let open = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let slave = ioctl_tiocgptpeer(&master, open).at(Stage::Terminal, at("TIOCGPTPEER"))?;
    if window.rows > 0 {
        let size = Winsize {
            ws_row: window.rows,
            ws_col: window.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&slave, size).at(Stage::Terminal, at("TIOCSWINSZ"))?;
    }
    channel
        .send(&FromInit::Console, Some(master.as_fd()))
        .at(Stage::Terminal, at("sendmsg"))?;
    Ok(Some(slave))
}

/// Whether it is what the kernel makes of that name: in a container that runs, anything can stand there.
fn is_multiplexer(fd: &OwnedFd) -> std::result::Result<bool, Errno> {
    const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
    let stat = fstat(fd)?;
    Ok(
        FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice
            && stat.st_rdev == makedev(5, 2)
            && fstatfs(fd)?.f_type as u64 == DEVPTS_SUPER_MAGIC,
    )
}

fn console(slave: &OwnedFd) -> Result<()> {
    let at = |what: &'static str| move || what.to_owned();
    match mknodat(
        CWD,
        c"/dev/console",
        FileType::RegularFile,
        Mode::from_raw_mode(0o600),
        0,
    ) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(e).at(Stage::Terminal, at("/dev/console")),
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    let tree = open_tree(slave, c"", flags).at(Stage::Terminal, at("open_tree(pty)"))?;
    move_mount(
        &tree,
        c"",
        CWD,
        c"/dev/console",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH,
    )
    .at(Stage::Terminal, at("move_mount(/dev/console)"))
}

/// Make it the controlling terminal and the three standard descriptors. The caller leads a session
/// without one.
pub(super) fn adopt(tty: Option<OwnedFd>) -> Result<()> {
    let Some(tty) = tty else { return Ok(()) };
    let at = |what: &'static str| move || what.to_owned();
    ioctl_tiocsctty(&tty).at(Stage::Terminal, at("TIOCSCTTY"))?;
    rustix::stdio::dup2_stdin(&tty).at(Stage::Terminal, at("dup2"))?;
    rustix::stdio::dup2_stdout(&tty).at(Stage::Terminal, at("dup2"))?;
    rustix::stdio::dup2_stderr(&tty).at(Stage::Terminal, at("dup2"))
}
