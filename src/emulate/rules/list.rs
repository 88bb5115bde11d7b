//! The list itself: which calls, and when.

use super::{Op, Test};

const fn is(argument: u8, value: u32) -> Test {
    Test {
        argument,
        mask: u32::MAX,
        value,
    }
}

const fn has(argument: u8, bits: i32) -> Test {
    Test {
        argument,
        mask: bits as u32,
        value: bits as u32,
    }
}

pub(super) const ALWAYS: &[&[Test]] = &[&[]];
/// `__O_TMPFILE`, without the `O_DIRECTORY` that callers must add.
const TMPFILE: i32 = libc::O_TMPFILE & !libc::O_DIRECTORY;
const OPEN_1: &[&[Test]] = &[&[has(1, libc::O_CREAT)], &[has(1, TMPFILE)]];
const OPEN_2: &[&[Test]] = &[&[has(2, libc::O_CREAT)], &[has(2, TMPFILE)]];
const RLIMIT_LOCKS: u32 = 10;
const LOCKS_0: &[&[Test]] = &[&[is(0, RLIMIT_LOCKS)]];
const LOCKS_1: &[&[Test]] = &[&[is(1, RLIMIT_LOCKS)]];
/// level `SOL_SOCKET`, option `SO_PEERCRED`
const PEERCRED: &[&[Test]] = &[&[is(1, 1), is(2, 17)]];
/// A flag that unix sockets ignore. With it a message is not asked about: the one with the listener must
/// come through before anybody can answer.
pub const UNASKED_MESSAGE: u32 = libc::MSG_CONFIRM as u32;
const SENDMSG: &[&[Test]] = &[&[Test {
    argument: 2,
    mask: UNASKED_MESSAGE,
    value: 0,
}]];
/// Functions `SYS_GETSOCKOPT` and `SYS_SENDMSG` of socketcall(2).
const SOCKETCALL: &[&[Test]] = &[&[is(0, 15)], &[is(0, 16)]];
/// Those that are about privilege: PR_GET_KEEPCAPS, PR_SET_KEEPCAPS, PR_CAPBSET_READ, PR_CAPBSET_DROP,
/// PR_GET_SECUREBITS, PR_SET_SECUREBITS, PR_SET_NO_NEW_PRIVS, PR_GET_NO_NEW_PRIVS, PR_CAP_AMBIENT.
const PRCTL: &[&[Test]] = &[
    &[is(0, 7)],
    &[is(0, 8)],
    &[is(0, 23)],
    &[is(0, 24)],
    &[is(0, 27)],
    &[is(0, 28)],
    &[is(0, 38)],
    &[is(0, 39)],
    &[is(0, 47)],
];
/// Of a symlink itself: all else that takes times carries its owner.
const NOFOLLOW_3: &[&[Test]] = &[&[has(3, libc::AT_SYMLINK_NOFOLLOW)]];
const CHR_1: &[&[Test]] = &[&[mode(1, libc::S_IFCHR)], &[mode(1, libc::S_IFBLK)]];
const CHR_2: &[&[Test]] = &[&[mode(2, libc::S_IFCHR)], &[mode(2, libc::S_IFBLK)]];

const fn mode(argument: u8, kind: u32) -> Test {
    Test {
        argument,
        mask: libc::S_IFMT,
        value: kind,
    }
}

/// In the sixth argument of execveat(2), which the kernel does not have: this execution changes nobody's
/// identity and need not be asked about. The container's first step says so, which then need not wait for a
/// supervisor that has just begun; whoever else does gives up the set-id bits of what it executes.
pub const UNASKED_EXEC: u32 = 0x434f_5241;
pub(super) const EXEC_UNASKED: &[&[Test]] = &[&[is(5, UNASKED_EXEC)]];

/// The list: name, what it is, when to ask. Sorted by name.
pub(super) const LIST: &[(&str, Op, &[&[Test]])] = &[
    ("bind", Op::Bind, ALWAYS),
    ("capget", Op::Capget, ALWAYS),
    ("capset", Op::Capset, ALWAYS),
    ("chown", Op::Chown, ALWAYS),
    ("chown32", Op::Chown, ALWAYS),
    ("chroot", Op::Chroot, ALWAYS),
    ("creat", Op::Creat, ALWAYS),
    ("execve", Op::Execve, ALWAYS),
    ("execveat", Op::Execveat, ALWAYS),
    ("fchown", Op::Fchown, ALWAYS),
    ("fchown32", Op::Fchown, ALWAYS),
    ("fchownat", Op::Fchownat, ALWAYS),
    ("fgetxattr", Op::Fgetxattr, ALWAYS),
    ("flistxattr", Op::Flistxattr, ALWAYS),
    ("fremovexattr", Op::Fremovexattr, ALWAYS),
    ("fsetxattr", Op::Fsetxattr, ALWAYS),
    ("fstat", Op::Fstat, ALWAYS),
    ("fstat64", Op::Fstat, ALWAYS),
    ("fstatat", Op::Fstatat, ALWAYS),
    ("fstatat64", Op::Fstatat, ALWAYS),
    ("getegid", Op::Getegid, ALWAYS),
    ("getegid32", Op::Getegid, ALWAYS),
    ("geteuid", Op::Geteuid, ALWAYS),
    ("geteuid32", Op::Geteuid, ALWAYS),
    ("getgid", Op::Getgid, ALWAYS),
    ("getgid32", Op::Getgid, ALWAYS),
    ("getgroups", Op::Getgroups, ALWAYS),
    ("getgroups32", Op::Getgroups, ALWAYS),
    ("getresgid", Op::Getresgid, ALWAYS),
    ("getresgid32", Op::Getresgid, ALWAYS),
    ("getresuid", Op::Getresuid, ALWAYS),
    ("getresuid32", Op::Getresuid, ALWAYS),
    ("getrlimit", Op::Getrlimit, LOCKS_0),
    ("getsockopt", Op::Getsockopt, PEERCRED),
    ("getuid", Op::Getuid, ALWAYS),
    ("getuid32", Op::Getuid, ALWAYS),
    ("getxattr", Op::Getxattr, ALWAYS),
    ("lchown", Op::Lchown, ALWAYS),
    ("lchown32", Op::Lchown, ALWAYS),
    ("lgetxattr", Op::Lgetxattr, ALWAYS),
    ("link", Op::Link, ALWAYS),
    ("linkat", Op::Linkat, ALWAYS),
    ("listxattr", Op::Listxattr, ALWAYS),
    ("llistxattr", Op::Llistxattr, ALWAYS),
    ("lremovexattr", Op::Lremovexattr, ALWAYS),
    ("lsetxattr", Op::Lsetxattr, ALWAYS),
    ("lstat", Op::Lstat, ALWAYS),
    ("lstat64", Op::Lstat, ALWAYS),
    ("mkdir", Op::Mkdir, ALWAYS),
    ("mkdirat", Op::Mkdirat, ALWAYS),
    ("mknod", Op::Mknod, ALWAYS),
    ("mknodat", Op::Mknodat, ALWAYS),
    ("newfstatat", Op::Fstatat, ALWAYS),
    ("oldfstat", Op::Fstat, ALWAYS),
    ("oldlstat", Op::Lstat, ALWAYS),
    ("oldstat", Op::Stat, ALWAYS),
    ("open", Op::Open, OPEN_1),
    ("openat", Op::Openat, OPEN_2),
    ("openat2", Op::Openat2, ALWAYS),
    ("prctl", Op::Prctl, PRCTL),
    ("prlimit64", Op::Prlimit, LOCKS_1),
    ("removexattr", Op::Removexattr, ALWAYS),
    ("rename", Op::Rename, ALWAYS),
    ("renameat", Op::Renameat, ALWAYS),
    ("renameat2", Op::Renameat2, ALWAYS),
    ("sendmsg", Op::Sendmsg, SENDMSG),
    ("setfsgid", Op::Setfsgid, ALWAYS),
    ("setfsgid32", Op::Setfsgid, ALWAYS),
    ("setfsuid", Op::Setfsuid, ALWAYS),
    ("setfsuid32", Op::Setfsuid, ALWAYS),
    ("setgid", Op::Setgid, ALWAYS),
    ("setgid32", Op::Setgid, ALWAYS),
    ("setgroups", Op::Setgroups, ALWAYS),
    ("setgroups32", Op::Setgroups, ALWAYS),
    ("setregid", Op::Setregid, ALWAYS),
    ("setregid32", Op::Setregid, ALWAYS),
    ("setresgid", Op::Setresgid, ALWAYS),
    ("setresgid32", Op::Setresgid, ALWAYS),
    ("setresuid", Op::Setresuid, ALWAYS),
    ("setresuid32", Op::Setresuid, ALWAYS),
    ("setreuid", Op::Setreuid, ALWAYS),
    ("setreuid32", Op::Setreuid, ALWAYS),
    ("setrlimit", Op::Setrlimit, LOCKS_0),
    ("setuid", Op::Setuid, ALWAYS),
    ("setuid32", Op::Setuid, ALWAYS),
    ("setxattr", Op::Setxattr, ALWAYS),
    ("socketcall", Op::Socketcall, SOCKETCALL),
    ("stat", Op::Stat, ALWAYS),
    ("stat64", Op::Stat, ALWAYS),
    ("statx", Op::Statx, ALWAYS),
    ("symlink", Op::Symlink, ALWAYS),
    ("symlinkat", Op::Symlinkat, ALWAYS),
    ("ugetrlimit", Op::Getrlimit, LOCKS_0),
    ("utimensat", Op::Utimensat, NOFOLLOW_3),
    ("utimensat_time64", Op::Utimensat, NOFOLLOW_3),
];

/// What is asked about only where access is refused as owners and modes have it; and the calls of [`LIST`]
/// that are then always asked about. Sorted by name.
pub(super) const STRICT: &[(&str, Op)] = &[
    ("access", Op::Access),
    ("chdir", Op::Chdir),
    ("chmod", Op::Chmod),
    ("faccessat", Op::Faccessat),
    ("faccessat2", Op::Faccessat2),
    ("fchdir", Op::Fchdir),
    ("fchmod", Op::Fchmod),
    ("fchmodat", Op::Fchmodat),
    ("fchmodat2", Op::Fchmodat2),
    ("futimesat", Op::Futimesat),
    ("open", Op::Open),
    ("openat", Op::Openat),
    ("rmdir", Op::Rmdir),
    ("truncate", Op::Truncate),
    ("truncate64", Op::Truncate),
    ("unlink", Op::Unlink),
    ("unlinkat", Op::Unlinkat),
    ("utime", Op::Utime),
    ("utimensat", Op::Utimensat),
    ("utimensat_time64", Op::Utimensat),
    ("utimes", Op::Utime),
];

/// What `ids` pretends to do, beside the calls of the chown and set*id families.
pub(super) const PRETEND: &[(&str, &[&[Test]])] = &[("mknod", CHR_1), ("mknodat", CHR_2)];
