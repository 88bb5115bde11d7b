//! From the call of execve(2) to its success, of which nobody tells us.
//!
//! The kernel may refuse an exec for many reasons that only it knows: no interpreter, no memory, a format
//! that it cannot load, arguments that are too long. So the supervisor, asked before, does not change
//! who the caller is. It notes in the caller's tag that an exec is on its way, and what the process
//! looks like ([`Looks`]): the program that it runs, the auxiliary vector and the sixteen random bytes
//! that the kernel gives to each new program (getauxval(3)). When it is next asked who that process is, by
//! itself or by another, it looks again. The same looks: the exec has failed, or has not happened yet.
//! Others: it has happened, and the file that runs ([`executable`]) says what it made of the process.
//!
//! So no list of reasons has to be kept, a child that a thread forks meanwhile is who its parent was, and
//! what counts is the file that the kernel executed, not the one that was looked at before.
//!
//! What remains: set-id bits and owner of that file are those at the time of the question, which
//! comes with the program's first call that is asked about; and a program that runs from a set-id file
//! already can make itself look changed by overwriting its random bytes, and so become again what this
//! file makes of it.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatVfsMountFlags, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::World;
use super::caller::{Caller, decimal_path};
use super::creds::table::{Looks, Tag};
use super::creds::{Cred, Executable, FileCaps};
use super::ownership::Object;
use crate::owners::CAPABILITY;

pub(super) const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
const READ: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC);

impl Caller<'_> {
    /// It will be `new` if the exec that it calls succeeds.
    pub(super) fn executes(&self, now: &Cred, new: Cred) -> Result<(), Errno> {
        let world = self.world;
        // What would fail when it is too late.
        world.creds.intern(new)?;
        let looks = looks(&world.process(self.pid())?)?;
        self.still_waits()?;
        world.creds.set_executing(self.pid(), now.clone(), looks)
    }

    pub(super) fn cred(&self) -> &'static Cred {
        let limit = self.world.creds.limit(self.pid());
        let (cred, executed) = self
            .world
            .cred_tagged(limit, || self.world.process(self.pid()));
        if executed && self.still_waits().is_ok() {
            let _ = self.world.creds.settle(self.pid(), limit, cred.clone());
        }
        cred
    }
}

impl World {
    /// A directory of the outer /proc.
    fn process(&self, pid: i32) -> Result<OwnedFd, Errno> {
        let mut buffer = [0; 32];
        let path = decimal_path(&mut buffer, pid, b"");
        openat(&self.proc, path, PATH, Mode::empty())
    }

    /// Who a process is, any of those that can be asked about.
    pub(super) fn cred_of(&self, pid: i32) -> &'static Cred {
        self.cred_tagged(self.creds.limit(pid), || self.process(pid))
            .0
    }

    /// Who the process with this limit is, whose directory in /proc is opened where that is needed; and
    /// whether it is that by an exec which its tag does not know of yet.
    pub(super) fn cred_tagged(
        &self,
        limit: u64,
        process: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> (&'static Cred, bool) {
        match self.creds.tagged(limit) {
            Tag::Is(cred) => (cred, false),
            Tag::Executing(before, then) => {
                let after = process().and_then(|p| self.executed(before, then, &p));
                match after {
                    Ok(Some(cred)) => (cred, true),
                    // Not yet, or not at all. The tag stays: it may be another thread that is asking.
                    Ok(None) | Err(_) => (before, false),
                }
            }
        }
    }

    /// Who `before` is now, if it has executed something.
    fn executed(
        &self,
        before: &Cred,
        then: Looks,
        process: &OwnedFd,
    ) -> Result<Option<&'static Cred>, Errno> {
        if looks(process)? == then {
            return Ok(None);
        }
        let program = openat(process, c"exe", PATH, Mode::empty()).and_then(Object::new)?;
        let file = executable(self, before, &program);
        // Had it been refused, it would not run.
        let after = before
            .exec(&file)
            .or_else(|_| before.exec(&Executable::default()))?;
        Ok(Some(self.creds.intern(after)?.1))
    }
}

/// What an exec changes of a process, and nothing else does.
fn looks(process: &OwnedFd) -> Result<Looks, Errno> {
    let program = statx(process, c"exe", AtFlags::empty(), StatxFlags::INO)?;
    let mut vector = [0u8; 1024];
    let file = openat(process, c"auxv", READ, Mode::empty())?;
    let length = rustix::io::read(&file, &mut vector)?;
    let vector = &vector[..length];
    let mut random = [0u8; 16];
    if let Some(address) = random_bytes(vector) {
        let memory = openat(process, c"mem", READ, Mode::empty())?;
        // What it has unmapped is as constant as anything.
        let _ = rustix::io::pread(&memory, &mut random, address);
    }
    let mut hasher = DefaultHasher::new();
    let device = (program.stx_dev_major, program.stx_dev_minor);
    (device, program.stx_ino, vector, random).hash(&mut hasher);
    Ok(Looks::new(hasher.finish()))
}

/// Where an auxiliary vector, of words of either width, says that they are.
fn random_bytes(vector: &[u8]) -> Option<u64> {
    let wide = vector.chunks_exact(16).map(|pair| {
        let word = |at: usize| pair[at..at + 8].try_into().map(u64::from_ne_bytes);
        (word(0).unwrap_or(0), word(8).unwrap_or(0))
    });
    let narrow = vector.chunks_exact(8).map(|pair| {
        let word = |at: usize| pair[at..at + 4].try_into().map(u32::from_ne_bytes);
        let (key, value) = (word(0).unwrap_or(0), word(4).unwrap_or(0));
        (u64::from(key), u64::from(value))
    });
    let mut all = wide.chain(narrow);
    all.find(|(key, _)| *key == libc::AT_RANDOM)
        .map(|(_, value)| value)
}

/// What execve(2) by `cred` looks at of a file.
pub(super) fn executable(world: &World, cred: &Cred, object: &Object) -> Executable {
    let mode = object.mode();
    let mut caps = [0u8; 32];
    // Root has them all anyway.
    let caps = match cred.uid.effective {
        0 => None,
        _ => match rustix::fs::getxattr(object.name().as_cstr(), CAPABILITY, &mut caps) {
            Ok(n) => FileCaps::parse(&caps[..n]),
            Err(_) => world
                .ownership
                .capability(object)
                .and_then(|value| FileCaps::parse(&value)),
        },
    };
    let plain = Executable::default();
    if (mode & SET_ID == 0 && caps.is_none()) || !honoured(object) {
        return plain;
    }
    let belongs = world.ownership.of(object);
    Executable {
        setuid: (mode & libc::S_ISUID != 0).then_some(belongs.uid),
        // Without group execution that bit means something else.
        setgid: (mode & (libc::S_ISGID | 0o010) == libc::S_ISGID | 0o010).then_some(belongs.gid),
        caps,
    }
}

/// Not on a mount with nosuid or noexec, and not for a script, whose interpreter is what runs.
fn honoured(object: &Object) -> bool {
    let off = StatVfsMountFlags::NOSUID | StatVfsMountFlags::NOEXEC;
    if rustix::fs::fstatvfs(&object.fd).is_ok_and(|s| s.f_flag.intersects(off)) {
        return false;
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let Ok(file) = openat(CWD, object.name().as_cstr(), flags, Mode::empty()) else {
        // Only executable: then it is a binary, as a script must be read.
        return true;
    };
    let mut start = [0u8; 2];
    !matches!(rustix::io::read(&file, &mut start), Ok(2) if &start == b"#!")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32) -> OwnedFd {
        openat(CWD, format!("/proc/{pid}"), PATH, Mode::empty()).unwrap()
    }

    #[test]
    fn an_exec_changes_the_looks_and_nothing_else_does() {
        let own = process(std::process::id());
        assert_eq!(looks(&own).unwrap(), looks(&own).unwrap());
        // The same program, with the same arguments and no randomised addresses.
        let script = "echo; read a; exec setarch -R sh -c \"$0\" \"$0\"";
        let mut shell = std::process::Command::new("setarch")
            .args(["-R", "sh", "-c", script, script])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let (mut input, mut output) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let mut seen = Vec::new();
        for _ in 0..3 {
            std::io::Read::read_exact(&mut output, &mut [0]).unwrap();
            let now = looks(&process(shell.id())).unwrap();
            assert!(!seen.contains(&now));
            seen.push(now);
            std::io::Write::write_all(&mut input, b"\n").unwrap();
        }
        shell.kill().unwrap();
        shell.wait().unwrap();
    }

    #[test]
    fn random_bytes_are_found_in_both_widths() {
        let wide: Vec<u8> = [6, 4096, libc::AT_RANDOM, 0x7fff_0000_1234, 0, 0]
            .iter()
            .flat_map(|w: &u64| w.to_ne_bytes())
            .collect();
        assert_eq!(random_bytes(&wide), Some(0x7fff_0000_1234));
        let narrow: Vec<u8> = [6, 4096, libc::AT_RANDOM as u32, 0xffff_1234, 0, 0]
            .iter()
            .flat_map(|w: &u32| w.to_ne_bytes())
            .collect();
        assert_eq!(random_bytes(&narrow), Some(0xffff_1234));
        assert_eq!(random_bytes(b""), None);
    }
}
