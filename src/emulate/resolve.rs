//! From a path of the caller's to a file, as the caller would find it.
//!
//! The supervisor lives in the container's mount namespace, with the same root directory and with the
//! outer /proc as its working directory. So `PID/cwd/NAME` and `PID/fd/N/NAME` name what the caller
//! means by a relative path, and an absolute one means the same to both: one system call, in nearly every
//! case. In the container's own /proc the supervisor does not exist, so nothing there (`/proc/self`,
//! `/dev/stdout`) can lead to a descriptor of its own; it leads nowhere, and then [`walk`] goes component
//! by component and puts the caller in.
//!
//! It always walks where the caller's root is another one (chroot(2), another mount namespace), and
//! where the container shares the pid namespace in which the supervisor lives.

use std::ffi::CStr;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use crate::sys::scoped::openat2;
use rustix::fs::{
    AtFlags, CWD, Mode, OFlags, ResolveFlags, Statx, StatxFlags, openat, readlinkat, statx,
};
use rustix::io::Errno;

use super::access;
use super::caller::{Caller, PATH_MAX, decimal, decimal_path};
use super::creds::Cred;

/// As the kernel's (path_resolution(7)).
const LINKS_MAX: u32 = 40;
const PROC_SUPER_MAGIC: u64 = 0x9fa0;
/// "Relative to the working directory", as callers pass it.
pub(super) const AT_FDCWD: i32 = libc::AT_FDCWD;

/// What is done with a symbolic link at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Last {
    Follow,
    Keep,
}

/// Room for the name of a file by which the supervisor finds it.
pub(super) struct Name {
    bytes: [u8; PATH_MAX + 64],
    len: usize,
}

impl Name {
    pub(super) fn new() -> Self {
        Self {
            bytes: [0; PATH_MAX + 64],
            len: 0,
        }
    }

    fn clear(&mut self) {
        self.len = 0;
    }

    fn push(&mut self, part: &[u8]) {
        let end = (self.len + part.len()).min(self.bytes.len() - 1);
        self.bytes[self.len..end].copy_from_slice(&part[..end - self.len]);
        self.len = end;
    }

    fn number(&mut self, n: u32) {
        let mut digits = [0; 10];
        self.push(decimal(n, &mut digits));
    }

    fn done(&mut self) -> &CStr {
        self.bytes[self.len] = 0;
        CStr::from_bytes_with_nul(&self.bytes[..=self.len]).unwrap_or(c"")
    }
}

/// What tells one directory from all others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    dev: (u32, u32),
    ino: u64,
    pub(super) mount: u64,
}

impl Place {
    pub(super) fn of(stat: &Statx) -> Self {
        Self {
            dev: (stat.stx_dev_major, stat.stx_dev_minor),
            ino: stat.stx_ino,
            mount: stat.stx_mnt_id,
        }
    }

    pub(super) fn at(dir: BorrowedFd<'_>, path: &CStr) -> Result<Self, Errno> {
        let mask = StatxFlags::INO | StatxFlags::MNT_ID;
        let flags = if path.is_empty() {
            AtFlags::EMPTY_PATH
        } else {
            AtFlags::empty()
        };
        statx(dir, path, flags, mask).map(|s| Self::of(&s))
    }
}

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

impl Caller<'_> {
    /// Whether `PID/cwd/NAME` and absolute paths lead the supervisor where they lead the caller.
    fn sees_what_we_see(&self) -> bool {
        let world = self.world;
        if world.shared_pids {
            return false;
        }
        if !world.roots_vary() {
            return true;
        }
        let mut buffer = [0; 32];
        let root = decimal_path(&mut buffer, self.pid(), b"/root");
        Place::at(world.proc.as_fd(), root) == Ok(world.root)
    }

    /// A name for `path` (not empty unless `dirfd` itself is meant) relative to our working directory;
    /// `None` when only [`Caller::open`] knows the way.
    pub(super) fn name<'b>(&self, dirfd: i32, path: &[u8], name: &'b mut Name) -> Option<&'b CStr> {
        if !self.sees_what_we_see() {
            return None;
        }
        name.clear();
        if path.first() != Some(&b'/') {
            name.number(self.pid().unsigned_abs());
            if dirfd == AT_FDCWD {
                name.push(b"/cwd");
            } else {
                name.push(b"/fd/");
                name.number(u32::try_from(dirfd).ok()?);
            }
            if !path.is_empty() {
                name.push(b"/");
            }
        }
        name.push(path);
        Some(name.done())
    }

    /// The file as an `O_PATH` descriptor. An empty path means `dirfd` itself.
    pub(super) fn open(&self, dirfd: i32, path: &[u8], last: Last) -> Result<OwnedFd, Errno> {
        let mut name = Name::new();
        if let Some(name) = self.name(dirfd, path, &mut name) {
            let keep = match last {
                Last::Keep if !path.is_empty() => OFlags::NOFOLLOW,
                _ => OFlags::empty(),
            };
            match openat(CWD, name, PATH | keep, Mode::empty()) {
                // Perhaps by way of /proc/self, which is not ours.
                Err(Errno::NOENT) if !path.is_empty() => {}
                Err(Errno::NOENT) => return Err(Errno::BADF),
                result => return result,
            }
        }
        self.walk(dirfd, path, last, None)
    }

    /// A directory, by a way that its caller restricts (openat2(2)). Not where the caller's paths are not ours.
    pub(super) fn open_restricted(
        &self,
        dirfd: i32,
        path: &[u8],
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        if !self.sees_what_we_see() {
            return Err(Errno::XDEV);
        }
        let from = self.open(dirfd, b"", Last::Follow)?;
        openat2(from, path, PATH | OFlags::DIRECTORY, Mode::empty(), resolve)
    }

    /// The same, by way of directories that `cred` may search.
    pub(super) fn open_as(
        &self,
        cred: &Cred,
        dirfd: i32,
        path: &[u8],
        last: Last,
    ) -> Result<OwnedFd, Errno> {
        self.walk(dirfd, path, last, Some(cred))
    }

    fn own(&self, rest: &[u8]) -> Result<OwnedFd, Errno> {
        let mut buffer = [0; 64];
        let path = decimal_path(&mut buffer, self.pid(), rest);
        openat(&self.world.proc, path, PATH, Mode::empty())
    }

    /// Component by component.
    fn walk(
        &self,
        dirfd: i32,
        path: &[u8],
        last: Last,
        cred: Option<&Cred>,
    ) -> Result<OwnedFd, Errno> {
        let root = self.own(b"/root")?;
        let root_place = Place::at(root.as_fd(), c"")?;
        let mut at = if path.first() == Some(&b'/') {
            root.try_clone().map_err(|_| Errno::MFILE)?
        } else if dirfd == AT_FDCWD {
            self.own(b"/cwd")?
        } else {
            let number = u32::try_from(dirfd).map_err(|_| Errno::BADF)?;
            let rest = [b"/fd/", number.to_string().as_bytes()].concat();
            self.own(&rest).map_err(|e| match e {
                Errno::NOENT => Errno::BADF,
                e => e,
            })?
        };
        let mut todo: Vec<Vec<u8>> = components(path);
        let directory = path.ends_with(b"/");
        let mut links = 0;
        while let Some(name) = todo.pop() {
            if let Some(cred) = cred {
                self.world.ownership.check(cred, &at, access::SEARCH)?;
            }
            if name == b".." {
                if Place::at(at.as_fd(), c"")? != root_place {
                    at = openat(&at, c"..", PATH | OFlags::DIRECTORY, Mode::empty())?;
                }
                continue;
            }
            let fd = openat(&at, &name[..], PATH | OFlags::NOFOLLOW, Mode::empty())?;
            let on_proc = is_proc(&fd);
            if on_proc && self.world.shared_pids && self.is_us(&name) {
                return Err(Errno::NOENT);
            }
            let stat = rustix::fs::fstat(&fd)?;
            let is_link = rustix::fs::FileType::from_raw_mode(stat.st_mode).is_symlink();
            let follow = !todo.is_empty() || last == Last::Follow || directory;
            if !is_link || !follow {
                at = fd;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Errno::LOOP);
            }
            if on_proc {
                if matches!(&name[..], b"self" | b"thread-self") {
                    todo.extend(self.as_seen_inside(&name)?);
                    continue;
                }
                // A link of the kernel's, which has a target and no text.
                let resolve = ResolveFlags::NO_MAGICLINKS;
                let plain = openat2(&at, &name[..], PATH, Mode::empty(), resolve);
                if plain.is_err_and(|e| e == Errno::LOOP) {
                    at = openat(&at, &name[..], PATH, Mode::empty())?;
                    continue;
                }
            }
            let target = readlinkat(&fd, c"", Vec::new())?.into_bytes();
            if target.first() == Some(&b'/') {
                at = root.try_clone().map_err(|_| Errno::MFILE)?;
            }
            todo.extend(components(&target));
        }
        Ok(at)
    }

    /// What stands for /proc/self and /proc/thread-self, last component first.
    fn as_seen_inside(&self, link: &[u8]) -> Result<Vec<Vec<u8>>, Errno> {
        let number = |field: &str| -> Result<Vec<u8>, Errno> {
            if self.world.shared_pids {
                let field = if field == "NSpid" { "Pid" } else { "Tgid" };
                return Ok(self.status(self.pid(), field)?.into_bytes());
            }
            let all = self.status(self.pid(), field)?;
            Ok(all.rsplit('\t').next().unwrap_or_default().into())
        };
        let group = number("NStgid")?;
        Ok(if link == b"self" {
            vec![group]
        } else {
            vec![number("NSpid")?, b"task".to_vec(), group]
        })
    }

    /// Where the supervisor can be seen, nobody shall reach its descriptors by its own hand.
    fn is_us(&self, name: &[u8]) -> bool {
        if !name.iter().all(u8::is_ascii_digit) {
            return false;
        }
        let path = [b"self/task/", name].concat();
        statx(
            &self.world.proc,
            &path[..],
            AtFlags::empty(),
            StatxFlags::TYPE,
        )
        .is_ok()
    }
}

/// The last component first, without empty ones and `.`.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|c| !c.is_empty() && *c != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

pub(super) fn is_proc(fd: &OwnedFd) -> bool {
    rustix::fs::fstatfs(fd).is_ok_and(|s| s.f_type as u64 == PROC_SUPER_MAGIC)
}

/// A name for one of our own descriptors, where a call takes no descriptor or not an `O_PATH` one.
pub(super) struct FdName([u8; 32]);

impl FdName {
    pub(super) fn new(fd: BorrowedFd<'_>) -> Self {
        let mut buffer = [0; 32];
        let mut digits = [0; 10];
        let digits = decimal(fd.as_raw_fd().unsigned_abs(), &mut digits);
        buffer[..8].copy_from_slice(b"self/fd/");
        buffer[8..8 + digits.len()].copy_from_slice(digits);
        Self(buffer)
    }

    pub(super) fn as_cstr(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or(c"")
    }
}

/// Directory and last component. `None` where there is no name to make: `/`, `..`, nothing.
pub(super) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = path.iter().rposition(|b| *b != b'/')? + 1;
    let path = &path[..end];
    let (dir, name) = match path.iter().rposition(|b| *b == b'/') {
        Some(0) => (&path[..1], &path[1..]),
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&b""[..], path),
    };
    (name != b"." && name != b"..").then_some((dir, name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_and_name() {
        for (path, want) in [
            (&b"a"[..], Some((&b""[..], &b"a"[..]))),
            (b"/a", Some((b"/", b"a"))),
            (b"a/b/", Some((b"a", b"b"))),
            (b"../x//y", Some((b"../x/", b"y"))),
            (b"/", None),
            (b"", None),
            (b"a/..", None),
            (b".", None),
        ] {
            assert_eq!(split(path), want, "{}", path.escape_ascii());
        }
    }

    #[test]
    fn components_come_from_the_end() {
        assert_eq!(components(b"/a/./b//..").concat(), b"..ba");
    }

    #[test]
    fn names_of_descriptors() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let want = format!("self/fd/{}", file.as_raw_fd());
        assert_eq!(
            FdName::new(file.as_fd()).as_cstr().to_str(),
            Ok(want.as_str())
        );
    }
}
