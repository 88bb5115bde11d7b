//! What makes files. The kernel gives every new file to the container's root; where that is not whose it
//! is (the maker is somebody else, or the directory hands down its group) the supervisor makes it,
//! with the owner recorded before anybody sees it: a new name, exclusively, so that no race can
//! make it somebody else's file. It also makes what gets an ACL from its directory that the kernel does not
//! know of. Devices become empty files that say what they stand for.
//! open(2), mkdir(2), mknod(2), symlink(2), acl(5).

use std::os::fd::AsFd as _;

use rustix::fs::{AtFlags, CWD, Mode, OFlags, ResolveFlags, StatxFlags, getxattr, openat, statx};
use rustix::io::Errno;

use super::{DONE, Reply, Result, Scratch};
use crate::emulate::access;
use crate::emulate::caller::{Caller, PathBuffer};
use crate::emulate::creds::{Cred, cap};
use crate::emulate::ownership::{Belongs, Object};
use crate::emulate::resolve::{AT_FDCWD, Last, split};
use crate::emulate::rules::Op;
use crate::owners::{FileType, Owner, acl};
use crate::sys::notify;

const S_ISGID: u32 = libc::S_ISGID;

/// What is to be made.
struct Wanted {
    dirfd: i32,
    /// Index of the path argument.
    path: usize,
    mode: u32,
    kind: Kind,
    /// How the path may lead there, of openat2(2).
    resolve: ResolveFlags,
}

/// What a new file gets that its maker does not say.
struct Given {
    uid: u32,
    gid: u32,
    /// A record is about its path, and not about this file.
    anew: bool,
    /// A recorded default ACL of the directory.
    acl: Option<Vec<u8>>,
}

/// Its mode, and the ACLs to record.
struct Rights {
    mode: Mode,
    access: Option<Vec<u8>>,
    default: Option<Vec<u8>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// open(2) with these flags.
    Open(u32),
    /// A file without a name, in a directory.
    Nameless(u32),
    Dir,
    /// fifo, socket or regular file by mknod(2): the type.
    Node(u32),
    Device(FileType),
    /// Index of the argument with the target.
    Symlink(usize),
}

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    let Some(wanted) = wanted(c)? else {
        return Ok(Reply::Continue);
    };
    if c.path(wanted.path, &mut scratch.path).is_err() {
        return Ok(Reply::Continue);
    }
    let path = scratch.path.as_bytes();
    let cred = c.cred();
    if let Kind::Nameless(flags) = wanted.kind {
        return nameless(c, cred, &wanted, flags, path);
    }
    let trailing = path.ends_with(b"/");
    let Some((dir, name)) = split(path) else {
        return Ok(Reply::Continue);
    };
    if trailing && wanted.kind != Kind::Dir {
        return Ok(Reply::Continue);
    }
    let dir = if dir.is_empty() { b"." } else { dir };
    let is_root = cred.uid.fs == 0 && cred.gid.fs == 0;
    let is_device = matches!(wanted.kind, Kind::Device(_));
    let ownership = &c.world.ownership;
    let plain = ownership.defaults_are_plain();
    let may_inherit = ownership.may_inherit(name);
    let usual = is_root && plain && !is_device && !may_inherit && wanted.resolve.is_empty();
    if usual && !ownership.hands_down() {
        // The usual case: nothing is handed down.
        if let Some(name) = c.name(wanted.dirfd, dir, &mut scratch.name) {
            match statx(CWD, name, AtFlags::empty(), StatxFlags::MODE) {
                Ok(s) if u32::from(s.stx_mode) & S_ISGID != 0 => {}
                _ => return Ok(Reply::Continue),
            }
        }
    }
    let parent = if wanted.resolve.is_empty() {
        c.open(wanted.dirfd, dir, Last::Follow)
    } else {
        c.open_restricted(wanted.dirfd, dir, wanted.resolve)
    };
    let Ok(parent) = parent.and_then(Object::new) else {
        return Ok(Reply::Continue);
    };
    let above = ownership.of(&parent);
    let mut given = given(c, cred, &wanted, &parent, above);
    given.anew = may_inherit && ownership.would_inherit(&parent, name);
    if given.is_nothing() && !is_device && plain {
        return Ok(Reply::Continue);
    }
    if let Kind::Open(_) = wanted.kind
        && statx(
            &parent.fd,
            name,
            AtFlags::SYMLINK_NOFOLLOW,
            StatxFlags::TYPE,
        )
        .is_ok()
    {
        return Ok(Reply::Continue);
    }
    if is_device && !cred.can(cap::MKNOD) {
        return Err(Errno::PERM);
    }
    if !access::allows(
        cred,
        above,
        parent.mode(),
        true,
        access::WRITE | access::SEARCH,
    ) {
        return Err(Errno::ACCESS);
    }
    make(c, &wanted, &parent, name, given)
}

fn wanted(c: &Caller<'_>) -> std::result::Result<Option<Wanted>, Errno> {
    let node = |dirfd, path, at: usize| {
        let (mode, dev) = (c.word(at), c.arg(at + 1));
        // As sys_mknod gets it: 32 bits, new_decode_dev.
        let dev = dev as u32;
        let (major, minor) = (
            (dev & 0xf_ff00) >> 8,
            (dev & 0xff) | ((dev >> 12) & 0xf_ff00),
        );
        let kind = match mode & libc::S_IFMT {
            // Overlay's mark for "not there", which the kernel lets everybody make.
            libc::S_IFCHR if (major, minor) == (0, 0) => return None,
            libc::S_IFCHR => Kind::Device(FileType::Char(major, minor)),
            libc::S_IFBLK => Kind::Device(FileType::Block(major, minor)),
            kind @ (0 | libc::S_IFREG | libc::S_IFIFO | libc::S_IFSOCK) => Kind::Node(kind),
            _ => return None,
        };
        Some(Wanted {
            dirfd,
            path,
            mode: mode & 0o7777,
            kind,
            resolve: ResolveFlags::empty(),
        })
    };
    let open = |dirfd, path, flags: u32, mode, resolve| {
        let kind = if flags & libc::O_TMPFILE as u32 == libc::O_TMPFILE as u32 {
            Kind::Nameless(flags)
        } else {
            Kind::Open(flags)
        };
        let creates = flags & libc::O_CREAT as u32 != 0 || matches!(kind, Kind::Nameless(_));
        (creates && flags & libc::O_PATH as u32 == 0).then_some(Wanted {
            dirfd,
            path,
            mode: mode & 0o7777,
            kind,
            resolve,
        })
    };
    let simple = |dirfd, path, mode, kind| {
        Some(Wanted {
            dirfd,
            path,
            mode,
            kind,
            resolve: ResolveFlags::empty(),
        })
    };
    let any = ResolveFlags::empty();
    Ok(match c.call.op {
        Op::Open => open(AT_FDCWD, 0, c.word(1), c.word(2), any),
        Op::Openat => open(c.int(0), 1, c.word(2), c.word(3), any),
        Op::Creat => {
            let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC;
            open(AT_FDCWD, 0, flags as u32, c.word(1), any)
        }
        Op::Openat2 => {
            // struct open_how: flags, mode, resolve.
            let mut how = [0u8; 24];
            if c.read(c.arg(2), &mut how).is_err() {
                return Ok(None);
            }
            let field = |i: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&how[8 * i..8 * i + 8]);
                u64::from_ne_bytes(word)
            };
            match u32::try_from(field(0)) {
                Ok(flags) => {
                    let resolve = ResolveFlags::from_bits_retain(field(2));
                    open(c.int(0), 1, flags, field(1) as u32, resolve)
                }
                Err(_) => None,
            }
        }
        Op::Mkdir => simple(AT_FDCWD, 0, c.word(1) & 0o1777, Kind::Dir),
        Op::Mkdirat => simple(c.int(0), 1, c.word(2) & 0o1777, Kind::Dir),
        Op::Mknod => node(AT_FDCWD, 0, 1),
        Op::Mknodat => node(c.int(0), 1, 2),
        Op::Symlink => simple(AT_FDCWD, 1, 0, Kind::Symlink(0)),
        Op::Symlinkat => simple(c.int(1), 2, 0, Kind::Symlink(0)),
        _ => None,
    })
}

impl Given {
    fn is_nothing(&self) -> bool {
        (self.uid, self.gid) == (0, 0) && self.acl.is_none() && !self.anew
    }
}

fn given(c: &Caller<'_>, cred: &Cred, wanted: &Wanted, parent: &Object, above: Belongs) -> Given {
    let ownership = &c.world.ownership;
    let inherits = !matches!(wanted.kind, Kind::Symlink(_)) && ownership.hands_down();
    Given {
        uid: cred.uid.fs,
        gid: if parent.mode() & S_ISGID != 0 {
            above.gid
        } else {
            cred.gid.fs
        },
        acl: inherits.then(|| ownership.default_acl(parent)).flatten(),
        anew: false,
    }
}

/// The mask counts where the directory hands nothing down.
fn rights(
    c: &Caller<'_>,
    wanted: &Wanted,
    parent: &Object,
    acl: Option<Vec<u8>>,
) -> std::result::Result<Rights, Errno> {
    let mut none: [u8; 0] = [];
    let inherited = acl
        .as_deref()
        .and_then(|acl| acl::inherit(acl, wanted.mode));
    let (mode, access) = match inherited {
        Some((bits, access)) => (wanted.mode & !0o777 | bits, access),
        // The kernel makes of it what we make of a recorded one.
        None if getxattr(parent.name().as_cstr(), acl::DEFAULT, &mut none).is_ok() => {
            (wanted.mode, None)
        }
        None => (wanted.mode & !c.umask()?, None),
    };
    Ok(Rights {
        mode: Mode::from_raw_mode(mode),
        access,
        default: acl.filter(|_| wanted.kind == Kind::Dir),
    })
}

fn make(c: &Caller<'_>, wanted: &Wanted, parent: &Object, name: &[u8], given: Given) -> Result {
    let Given {
        uid,
        gid,
        acl,
        anew,
    } = given;
    let rights = rights(c, wanted, parent, acl)?;
    let mode = rights.mode;
    let anew = |made: &Object| match anew {
        true => c.world.ownership.disinherit(made),
        false => Ok(()),
    };
    let mut target = PathBuffer::new();
    if let Kind::Symlink(at) = wanted.kind {
        c.path(at, &mut target)?;
    }
    c.still_waits()?;
    match wanted.kind {
        Kind::Open(flags) => {
            let flags = OFlags::from_bits_retain(flags);
            let own = OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            return match openat(&parent.fd, name, flags | own, mode) {
                Ok(file) => {
                    let made = Object::new(file)?;
                    anew(&made)?;
                    hand_over(c, made, flags, rights, uid, gid)
                }
                // Somebody was faster: now it is an ordinary open.
                Err(Errno::EXIST) if !flags.contains(OFlags::EXCL) => Ok(Reply::Continue),
                Err(e) => Err(e),
            };
        }
        Kind::Device(device) => {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            let file = openat(&parent.fd, name, flags, mode)?;
            let owner = Owner {
                uid,
                gid,
                mode: mode.as_raw_mode(),
                file_type: device,
            };
            let made = Object::new(file)?;
            anew(&made)?;
            if c.world.ownership.make_device(&made, owner).is_err() {
                // Without its mark it would be an empty file that claims to be a device's success.
                let _ = rustix::fs::unlinkat(&parent.fd, name, AtFlags::empty());
                return Err(Errno::PERM);
            }
            hand_down(c, &made, rights)?;
            return Ok(DONE);
        }
        Kind::Dir => rustix::fs::mkdirat(&parent.fd, name, mode)?,
        Kind::Node(kind) => {
            let kind = match kind {
                libc::S_IFIFO => rustix::fs::FileType::Fifo,
                libc::S_IFSOCK => rustix::fs::FileType::Socket,
                _ => rustix::fs::FileType::RegularFile,
            };
            rustix::fs::mknodat(&parent.fd, name, kind, mode, 0)?;
        }
        Kind::Symlink(_) => rustix::fs::symlinkat(target.as_cstr(), &parent.fd, name)?,
        Kind::Nameless(_) => return Err(Errno::INVAL),
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let made = Object::new(openat(&parent.fd, name, flags, Mode::empty())?)?;
    anew(&made)?;
    give_new(c, &made, uid, gid)?;
    hand_down(c, &made, rights)?;
    Ok(DONE)
}

fn hand_down(c: &Caller<'_>, made: &Object, rights: Rights) -> std::result::Result<(), Errno> {
    if rights.access.is_none() && rights.default.is_none() {
        return Ok(());
    }
    c.world
        .ownership
        .set_acls(made, rights.access, rights.default)
}

fn give_new(c: &Caller<'_>, made: &Object, uid: u32, gid: u32) -> std::result::Result<(), Errno> {
    let nobody_yet = Belongs {
        uid: 0,
        gid: 0,
        device: None,
        recorded: false,
    };
    c.world.ownership.give(made, nobody_yet, uid, gid)
}

fn hand_over(
    c: &Caller<'_>,
    made: Object,
    flags: OFlags,
    rights: Rights,
    uid: u32,
    gid: u32,
) -> Result {
    give_new(c, &made, uid, gid)?;
    hand_down(c, &made, rights)?;
    let cloexec = flags.contains(OFlags::CLOEXEC);
    notify::answer_with(c.listener, c.notification.id, made.fd.as_fd(), cloexec)?;
    Ok(Reply::Sent)
}

/// `O_TMPFILE`: the path is that of a directory.
fn nameless(c: &Caller<'_>, cred: &Cred, wanted: &Wanted, flags: u32, path: &[u8]) -> Result {
    let dir = if wanted.resolve.is_empty() {
        c.open(wanted.dirfd, path, Last::Follow)
    } else {
        c.open_restricted(wanted.dirfd, path, wanted.resolve)
    };
    let Ok(dir) = dir.and_then(Object::new) else {
        return Ok(Reply::Continue);
    };
    let above = c.world.ownership.of(&dir);
    let given = given(c, cred, wanted, &dir, above);
    if given.is_nothing() {
        return Ok(Reply::Continue);
    }
    if !access::allows(
        cred,
        above,
        dir.mode(),
        true,
        access::WRITE | access::SEARCH,
    ) {
        return Err(Errno::ACCESS);
    }
    let Given { uid, gid, acl, .. } = given;
    let rights = rights(c, wanted, &dir, acl)?;
    c.still_waits()?;
    let flags = OFlags::from_bits_retain(flags);
    let own = flags | OFlags::CLOEXEC;
    let file = openat(CWD, dir.name().as_cstr(), own, rights.mode)?;
    hand_over(c, Object::new(file)?, flags, rights, uid, gid)
}
