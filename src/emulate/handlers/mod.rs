//! What is done about each family of calls. Every handler either answers, or says that the kernel
//! shall carry the call out; the latter is safe by the kernel alone, whatever the caller does
//! meanwhile to what its pointers lead to.
//!
//! No handler waits for anything: files are looked at through `O_PATH` descriptors, and only new or
//! regular ones are opened.

mod access;
mod chown;
mod copied;
mod create;
mod credentials;
mod exec;
mod limits;
mod socket;
mod stat;
mod xattr;

use rustix::fs::Statx;
use rustix::io::Errno;

use super::caller::{Caller, PathBuffer};
use super::resolve::Name;
use super::rules::Op;
use crate::owners::{Node, Owner};

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    /// The kernel does it.
    Continue,
    /// Done; this is its result.
    Value(i64),
    /// Answered already, with a descriptor.
    Sent,
}

pub(super) type Result = std::result::Result<Reply, Errno>;

/// Success of a call that returns nothing.
pub(super) const DONE: Reply = Reply::Value(0);

/// Memory that each thread has once, since paths are long and calls are many.
pub(super) struct Scratch {
    pub(super) path: PathBuffer,
    pub(super) name: Name,
    /// Whether the file that was given to somebody last had been somebody's before.
    given: bool,
    seen: Option<Seen>,
}

/// Whose a file was when it was looked at last: chown(1) looks at each file before it gives it away. What is told by
/// device, number and time of birth is the same file, whoever names it how; that it may belong to somebody else by
/// now, who uses this must allow for.
struct Seen {
    device: (u32, u32),
    node: Node,
    owner: Owner,
}

impl Seen {
    /// `None` where the file system has no times of birth: then the number may be another file's soon.
    fn new(stat: &Statx, owner: Owner) -> Option<Self> {
        let (device, node) = Self::file(stat);
        (node.birth != 0).then_some(Self {
            device,
            node,
            owner,
        })
    }

    fn is(&self, stat: &Statx) -> bool {
        (self.device, self.node) == Self::file(stat)
    }

    fn file(stat: &Statx) -> ((u32, u32), Node) {
        let device = (stat.stx_dev_major, stat.stx_dev_minor);
        (device, Node::of(stat))
    }
}

impl Scratch {
    pub(super) fn new() -> Self {
        Self {
            path: PathBuffer::new(),
            name: Name::new(),
            given: false,
            seen: None,
        }
    }
}

/// Do it.
pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    match c.call.op {
        Op::Stat | Op::Lstat | Op::Fstat | Op::Fstatat | Op::Statx => stat::handle(c, scratch),
        Op::Chown | Op::Lchown | Op::Fchown | Op::Fchownat => chown::handle(c, scratch),
        Op::Open | Op::Openat | Op::Openat2 => {
            if c.world.strict {
                access::handle(c, scratch)?;
            }
            create::handle(c, scratch)
        }
        Op::Creat
        | Op::Mkdir
        | Op::Mkdirat
        | Op::Mknod
        | Op::Mknodat
        | Op::Symlink
        | Op::Symlinkat => create::handle(c, scratch),
        Op::Setuid
        | Op::Setgid
        | Op::Setreuid
        | Op::Setregid
        | Op::Setresuid
        | Op::Setresgid
        | Op::Setfsuid
        | Op::Setfsgid
        | Op::Setgroups
        | Op::Getuid
        | Op::Geteuid
        | Op::Getgid
        | Op::Getegid
        | Op::Getresuid
        | Op::Getresgid
        | Op::Getgroups
        | Op::Capget
        | Op::Capset
        | Op::Prctl
        | Op::Chroot => credentials::handle(c),
        Op::Execve | Op::Execveat => {
            if c.world.strict {
                access::handle(c, scratch)?;
            }
            exec::handle(c, scratch)
        }
        Op::Setxattr
        | Op::Lsetxattr
        | Op::Fsetxattr
        | Op::Getxattr
        | Op::Lgetxattr
        | Op::Fgetxattr
        | Op::Listxattr
        | Op::Llistxattr
        | Op::Flistxattr
        | Op::Removexattr
        | Op::Lremovexattr
        | Op::Fremovexattr => xattr::handle(c, scratch),
        Op::Prlimit | Op::Getrlimit | Op::Setrlimit => limits::handle(c),
        Op::Getsockopt | Op::Sendmsg | Op::Socketcall => socket::handle(c),
        Op::Bind => socket::bind(c),
        Op::Rename | Op::Renameat | Op::Renameat2 | Op::Link | Op::Linkat | Op::Utimensat => {
            if c.world.strict {
                access::handle(c, scratch)?;
            }
            copied::handle(c, scratch)
        }
        Op::Access
        | Op::Faccessat
        | Op::Faccessat2
        | Op::Unlink
        | Op::Unlinkat
        | Op::Rmdir
        | Op::Chmod
        | Op::Fchmod
        | Op::Fchmodat
        | Op::Fchmodat2
        | Op::Chdir
        | Op::Fchdir
        | Op::Truncate
        | Op::Utime
        | Op::Futimesat => access::handle(c, scratch),
    }
}
