//! Advisory locks (flock(2)) that give up after a while and say who is in the way.
//!
//! flock and not fcntl, because a flock belongs to the open file: it ends with the last descriptor,
//! however the process dies. It is polled, because a blocking flock cannot time out, and on a network
//! file system it can block for ever.
//!
//! A shared flock is had as long as others have it shared, so on a busy store whoever wants to be alone would
//! wait for a moment in which nobody at all is there: with sixteen commands at a time that was ten seconds and
//! more. So it says that it waits ([`StoreLock`]), and who comes after lets it go first.

use std::cell::Cell;
use std::fs;
use std::marker::PhantomData;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::Error;
use super::error::io;

/// How long to wait when `CORACLE_LOCK_TIMEOUT` is not set.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
const POLL_MIN: Duration = Duration::from_millis(1);
const POLL_MAX: Duration = Duration::from_millis(50);

/// How long others are let go first at most. A matter of manners: the flock alone keeps the store safe.
const PATIENCE: Duration = Duration::from_secs(1);

thread_local! {
    /// How many guards of stores this thread has now: who waits for it is not waited for.
    static HELD: Cell<usize> = const { Cell::new(0) };
}

/// A held lock on the store; dropping it releases it.
#[derive(Debug)]
pub struct Guard {
    _fd: OwnedFd,
    /// It is among [`HELD`].
    of_store: bool,
    /// Not to be sent to another thread, for that reason.
    _thread: PhantomData<*const ()>,
}

impl Guard {
    /// From a descriptor whose lock is held already.
    pub(super) fn holding(fd: OwnedFd) -> Self {
        Self {
            _fd: fd,
            of_store: false,
            _thread: PhantomData,
        }
    }

    fn counted(mut self) -> Self {
        HELD.set(HELD.get() + 1);
        self.of_store = true;
        self
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.of_store {
            HELD.set(HELD.get() - 1);
        }
    }
}

/// The lock of a whole store: a file, and another beside it that is there, and locked, while somebody waits to be
/// alone.
pub(super) struct StoreLock {
    pub(super) path: PathBuf,
    pub(super) wanted: PathBuf,
    pub(super) timeout: Duration,
}

impl StoreLock {
    pub(super) fn shared(&self) -> Result<Guard, Error> {
        if HELD.get() == 0 {
            self.let_others_first();
        }
        lock_file(&self.path, Kind::Shared, self.timeout).map(Guard::counted)
    }

    pub(super) fn exclusive(&self) -> Result<Guard, Error> {
        if let Some(guard) = self.try_exclusive()? {
            return Ok(guard);
        }
        let turn = lock_file(&self.wanted, Kind::Exclusive, self.timeout)?;
        let guard = lock_file(&self.path, Kind::Exclusive, self.timeout).map(Guard::counted);
        // While it is locked: another one's is another file.
        let _ = super::atomic::unlink(&self.wanted);
        drop(turn);
        guard
    }

    /// If it can be had at once.
    pub(super) fn try_exclusive(&self) -> Result<Option<Guard>, Error> {
        match lock_file(&self.path, Kind::Exclusive, Duration::ZERO) {
            Ok(guard) => Ok(Some(guard.counted())),
            Err(Error::LockTimeout { .. }) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Costs one system call when nobody waits, as a rule.
    fn let_others_first(&self) {
        let mut pause = POLL_MIN;
        let since = Instant::now();
        while since.elapsed() < PATIENCE {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let Ok(fd) = rustix::fs::open(&self.wanted, flags, Mode::empty()) else {
                return;
            };
            if try_lock(&fd, Kind::Exclusive) != Ok(false) {
                // Its maker is dead. Whoever opened it meanwhile, to wait as well, sees that it has no name.
                let _ = still_named(&fd, &self.wanted).then(|| super::atomic::unlink(&self.wanted));
                return;
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(POLL_MAX);
        }
    }
}

/// The two ways to hold a lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any number of holders.
    Shared,
    /// One holder.
    Exclusive,
}

/// Seconds from `CORACLE_LOCK_TIMEOUT`, else the default.
pub(super) fn timeout() -> Result<Duration, Error> {
    let Some(value) = std::env::var_os("CORACLE_LOCK_TIMEOUT") else {
        return Ok(DEFAULT_TIMEOUT);
    };
    value
        .to_str()
        .and_then(|s| s.parse().ok())
        .map(Duration::from_secs)
        .ok_or_else(|| Error::LockTimeoutValue(value.to_string_lossy().into_owned()))
}

/// Take the lock if nobody else has it.
pub(super) fn try_lock(fd: impl AsFd, kind: Kind) -> Result<bool, Errno> {
    let op = match kind {
        Kind::Shared => FlockOperation::NonBlockingLockShared,
        Kind::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    loop {
        return match rustix::fs::flock(&fd, op) {
            Ok(()) => Ok(true),
            Err(Errno::WOULDBLOCK) => Ok(false),
            Err(Errno::INTR) => continue,
            Err(e) => Err(e),
        };
    }
}

/// Wait for the lock on `fd`, at most `limit` since the last sign of life. `progress` is asked at
/// each poll for a number that grows while the holder works; a lock file has none.
pub(super) fn wait(
    fd: impl AsFd,
    path: &Path,
    kind: Kind,
    limit: Duration,
    mut progress: impl FnMut() -> u64,
) -> Result<(), Error> {
    let mut pause = POLL_MIN;
    let mut since = Instant::now();
    let mut seen = None;
    loop {
        if try_lock(&fd, kind).map_err(io("lock", path))? {
            return Ok(());
        }
        let now = progress();
        if seen.replace(now).is_some_and(|before| before != now) {
            since = Instant::now();
        }
        let left = limit.saturating_sub(since.elapsed());
        if left.is_zero() {
            return Err(Error::LockTimeout {
                path: path.to_owned(),
                seconds: limit.as_secs(),
                holder: holder(&fd),
            });
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(POLL_MAX);
    }
}

/// Open the lock file, made if need be, and lock it. A file that was unlinked while we waited locks
/// nobody out: then the new file is tried.
pub(super) fn lock_file(path: &Path, kind: Kind, limit: Duration) -> Result<Guard, Error> {
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let fd = rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR)
            .map_err(io("open the lock file", path))?;
        wait(&fd, path, kind, limit, || 0)?;
        let stat = rustix::fs::fstat(&fd).map_err(io("stat", path))?;
        if stat.st_nlink > 0 {
            return Ok(Guard::holding(fd));
        }
    }
}

/// Lock a directory that is never removed.
pub(super) fn lock_dir(path: &Path, kind: Kind, limit: Duration) -> Result<Guard, Error> {
    let fd = super::atomic::open_dir(path)?;
    wait(&fd, path, kind, limit, || 0)?;
    Ok(Guard::holding(fd))
}

/// Does `path` still name the file that `fd` has open? Asked after a lock was taken on something that
/// another process may have removed or renamed before.
pub(super) fn still_named(fd: impl AsFd, path: &Path) -> bool {
    let (Ok(a), Ok(b)) = (rustix::fs::fstat(fd), rustix::fs::lstat(path)) else {
        return false;
    };
    (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino)
}

/// `pid 123 (coracle pull …)`, from proc_locks(5): `ID: FLOCK ADVISORY WRITE PID MAJ:MIN:INODE …`.
/// Compared by inode alone, since btrfs and overlay show there another device number than stat(2).
fn holder(fd: impl AsFd) -> Option<String> {
    let inode = rustix::fs::fstat(fd).ok()?.st_ino.to_string();
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let pid = locks.lines().find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        match fields[..] {
            [_, "FLOCK", _, _, pid, file, ..] if file.rsplit(':').next() == Some(&inode) => {
                // 0 or less: a process outside our pid namespace.
                pid.parse::<u32>().ok().filter(|&p| p > 0)
            }
            _ => None,
        }
    })?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let command: Vec<_> = command
        .split(|&b| b == 0)
        .filter(|w| !w.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    Some(format!("pid {pid} ({})", command.join(" ")))
}
