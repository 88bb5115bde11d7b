//! What is known of the containers of `coracle-oci`: one directory a container, below the directory of the state.
//!
//! ```text
//! ROOT/ID/            locked (flock) by whoever changes it; mode 0700
//!   state.json        written by atomic rename
//!   config.json       of the bundle, as it was
//!   start             socket at which the created container waits
//! ```
//!
//! The file says what was done; whether the container lives is asked of the kernel each time, by pid, start time and
//! boot, so that a number that was used again fools nobody, and a process that was killed leaves nothing to mend.

use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FlockOperation, Mode, OFlags, RawDir, flock, mkdirat, openat, renameat, unlinkat,
};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::runtime::bundle::{Config, State, is_waiting};

const STATE: &str = "state.json";
const CONFIG: &str = "config.json";
/// A name of a file (limits.h).
const ID_MAX: usize = 255;

/// What is written down.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    /// The specification's, with the status as it was left: `creating`, `created` or `running`.
    #[serde(flatten)]
    pub state: State,
    /// When the first process began, in ticks since the boot.
    pub start_time: u64,
    /// Which boot that was.
    pub boot: String,
    /// When the container was made.
    pub created: String,
    /// Who made it.
    pub owner: u32,
    /// Root file system.
    pub rootfs: PathBuf,
    /// The program, as it is called in messages.
    pub program: String,
    /// Control group, below the place where they are mounted.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cgroup: Option<PathBuf>,
    /// Directories that were made for it.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub cgroup_made: Vec<PathBuf>,
}

/// Where all of them are.
#[derive(Debug)]
pub(super) struct Containers {
    root: PathBuf,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Container {
    id: String,
    path: PathBuf,
    dir: OwnedFd,
}

impl Containers {
    /// Below `root`, which need not be there yet.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// A new one, locked. Nobody else has the name then.
    pub(super) fn create(&self, id: &str) -> Result<Container, Error> {
        check_id(id)?;
        make_root(&self.root)?;
        let path = self.root.join(id);
        match mkdirat(CWD, &path, Mode::RWXU) {
            Err(Errno::EXIST) => return Err(Error::Exists(id.to_owned())),
            other => other.map_err(|e| Error::file("make", &path, e))?,
        }
        let container = self.open(id)?;
        container.lock()?;
        Ok(container)
    }

    /// One that is there.
    pub(super) fn open(&self, id: &str) -> Result<Container, Error> {
        check_id(id)?;
        let path = self.root.join(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(CWD, &path, flags, Mode::empty()) {
            Ok(dir) => Ok(Container {
                id: id.to_owned(),
                path,
                dir,
            }),
            Err(Errno::NOENT | Errno::NOTDIR) => Err(Error::NotFound(id.to_owned())),
            Err(e) => Err(Error::file("open", &path, e)),
        }
    }

    /// The names of all, sorted.
    pub(super) fn names(&self) -> Result<Vec<String>, Error> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|e| Error::file("read", &self.root, e))?,
        };
        let mut names: Vec<String> = entries
            .flatten()
            .filter_map(|e| e.file_name().into_string().ok())
            .filter(|name| check_id(name).is_ok())
            .collect();
        names.sort_unstable();
        Ok(names)
    }
}

/// As runc: what can be a name of a file, and nothing else.
fn check_id(id: &str) -> Result<(), Error> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '+' | '-' | '.');
    if id.is_empty() || id.len() > ID_MAX || id == "." || id == ".." || !id.chars().all(allowed) {
        return Err(Error::Id(id.to_owned()));
    }
    Ok(())
}

fn make_root(root: &Path) -> Result<(), Error> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(root)
        .map_err(|e| Error::file("make", root, e))
}

impl AsFd for Container {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

impl Container {
    /// Its name.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Wait until nobody else changes it. The lock goes with this value.
    pub(super) fn lock(&self) -> Result<(), Error> {
        loop {
            match flock(&self.dir, FlockOperation::LockExclusive) {
                Err(Errno::INTR) => {}
                other => return other.map_err(|e| Error::file("lock", &self.path, e)),
            }
        }
    }

    /// Let others change it.
    pub(super) fn unlock(&self) {
        // It was ours: nothing can go wrong.
        let _ = flock(&self.dir, FlockOperation::Unlock);
    }

    /// What was written down; `None` where nothing was, since whoever made it ended before, or has only begun.
    pub(super) fn record(&self) -> Result<Option<Record>, Error> {
        match self.read(STATE)? {
            Some(text) => serde_json::from_slice(&text)
                .map(Some)
                .map_err(|e| Error::State(self.path.join(STATE), e)),
            None => Ok(None),
        }
    }

    /// The same, of one that was made.
    pub(super) fn known(&self) -> Result<Record, Error> {
        self.record()?
            .ok_or_else(|| Error::Creating(self.id.clone()))
    }

    /// Write it down.
    pub(super) fn write(&self, record: &Record) -> Result<(), Error> {
        // Strings and numbers: this cannot fail.
        self.put(STATE, &serde_json::to_vec(record).unwrap_or_default())
    }

    /// Keep the configuration of the bundle.
    pub(super) fn keep_config(&self, text: &[u8]) -> Result<(), Error> {
        self.put(CONFIG, text)
    }

    /// The configuration that it was made of.
    pub(super) fn config(&self) -> Result<Config, Error> {
        let text = self.read(CONFIG)?.unwrap_or_default();
        Config::parse(&text).map_err(|e| Error::Config(self.path.join(CONFIG), e))
    }

    fn put(&self, name: &str, content: &[u8]) -> Result<(), Error> {
        let draft = format!("{name}.new");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::CLOEXEC;
        let go = || -> io::Result<()> {
            let mode = Mode::RUSR | Mode::WUSR;
            let mut file = std::fs::File::from(openat(&self.dir, &draft, flags, mode)?);
            file.write_all(content)?;
            Ok(renameat(&self.dir, &draft, &self.dir, name)?)
        };
        go().map_err(|e| Error::file("write", &self.path.join(name), e))
    }

    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = || self.path.join(name);
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = match openat(&self.dir, name, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(|e| Error::file("read", &path(), e))?,
        };
        let mut text = Vec::new();
        std::fs::File::from(file)
            .read_to_end(&mut text)
            .map_err(|e| Error::file("read", &path(), e))?;
        Ok(Some(text))
    }

    /// What it is now.
    pub(super) fn status(&self, record: Option<&Record>) -> Status {
        let Some(record) = record else {
            // Whoever makes it holds the lock.
            return match flock(&self.dir, FlockOperation::NonBlockingLockShared) {
                Ok(()) => {
                    let _ = flock(&self.dir, FlockOperation::Unlock);
                    Status::Stopped
                }
                Err(_) => Status::Creating,
            };
        };
        if !record.lives() {
            return Status::Stopped;
        }
        if record.state.status == "created" && is_waiting(self.as_fd()) {
            return Status::Created;
        }
        Status::Running
    }

    /// Forget it.
    pub(super) fn remove(&self) -> Result<(), Error> {
        let mut buffer = Vec::with_capacity(4096);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let go = |buffer: &mut Vec<u8>| -> io::Result<()> {
            let listed = openat(&self.dir, ".", flags, Mode::empty())?;
            let mut names = Vec::new();
            let mut entries = RawDir::new(&listed, buffer.spare_capacity_mut());
            while let Some(entry) = entries.next() {
                names.push(entry?.file_name().to_owned());
            }
            for name in names {
                if name.as_c_str() != c"." && name.as_c_str() != c".." {
                    unlinkat(&self.dir, &name, AtFlags::empty())?;
                }
            }
            Ok(unlinkat(CWD, &self.path, AtFlags::REMOVEDIR)?)
        };
        match go(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other.map_err(|e| Error::file("remove", &self.path, e)),
        }
    }
}

/// What a container is: runtime-spec, "State", and `paused`, which it leaves to runtimes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Somebody is at it.
    Creating,
    /// It waits for its start.
    Created,
    /// Its program runs.
    Running,
    /// It has ended.
    Stopped,
    /// It is frozen.
    Paused,
}

impl Status {
    /// As the specification has it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Created => "created",
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Paused => "paused",
        }
    }
}

impl Record {
    /// Whether its first process is there.
    pub(super) fn lives(&self) -> bool {
        self.pid().is_some()
    }

    /// Its first process, if that is there.
    pub(super) fn pid(&self) -> Option<Pid> {
        let pid = self.state.pid?;
        let is = self.boot == boot() && start_time(pid) == Some(self.start_time);
        is.then(|| Pid::from_raw(pid)).flatten()
    }

    /// The same, by a descriptor that stands for no other.
    pub(super) fn pidfd(&self) -> Option<OwnedFd> {
        let pidfd = pidfd_open(self.pid()?, PidfdFlags::empty()).ok()?;
        // It may have ended, and its number gone to somebody else, before the descriptor was had.
        self.lives().then_some(pidfd)
    }
}

/// When a process began (proc_pid_stat(5)); `None` if there is none, or one that has ended.
pub(super) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name may have anything in it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    if matches!(fields.next()?, "Z" | "X" | "x") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// Which boot this is.
pub(super) fn boot() -> String {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_of_files() {
        for id in ["a", "A-1_b.c+d", &"x".repeat(255)] {
            assert!(check_id(id).is_ok(), "{id}");
        }
        for id in [
            "",
            ".",
            "..",
            "a/b",
            "../x",
            "a b",
            "ü",
            "a\0",
            "a\n",
            &"x".repeat(256),
        ] {
            assert!(check_id(id).is_err(), "{id:?}");
        }
    }

    #[test]
    fn a_number_that_was_used_again_is_not_taken_for_the_container() {
        let pid = std::process::id().cast_signed();
        let state = State {
            oci_version: "1.0.2".into(),
            id: "x".into(),
            status: "running".into(),
            pid: Some(pid),
            bundle: "/b".into(),
            annotations: Default::default(),
        };
        let mut record = Record {
            state,
            start_time: start_time(pid).unwrap(),
            boot: boot(),
            created: String::new(),
            owner: 0,
            rootfs: "/r".into(),
            program: String::new(),
            cgroup: None,
            cgroup_made: Vec::new(),
        };
        assert!(record.lives() && record.pidfd().is_some());
        record.start_time += 1;
        assert!(!record.lives() && record.pidfd().is_none());
        record.start_time -= 1;
        record.boot.push('x');
        assert!(!record.lives());
    }

    #[test]
    fn what_is_written_is_read_and_removed() {
        let tmp = tempfile::tempdir().unwrap();
        let all = Containers::new(tmp.path().join("a/b"));
        assert!(all.names().unwrap().is_empty());
        let one = all.create("one").unwrap();
        assert!(matches!(all.create("one"), Err(Error::Exists(_))));
        assert!(one.record().unwrap().is_none());
        let other = all.open("one").unwrap();
        assert_eq!(other.status(None), Status::Creating);
        flock(&one.dir, FlockOperation::Unlock).unwrap();
        assert_eq!(other.status(None), Status::Stopped);
        one.keep_config(b"{}").unwrap();
        assert_eq!(all.names().unwrap(), ["one"]);
        one.remove().unwrap();
        assert!(matches!(all.open("one"), Err(Error::NotFound(_))));
    }
}
