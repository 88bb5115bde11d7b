//! Which system calls the supervisor is asked about: one list of names for all architectures, and for
//! each call what a filter can test of its arguments. `runtime::seccomp` merges it with the container's
//! own profile; [`Table`] turns a number back into what is to be done. Pure.
//!
//! The numbers behind the names come from the `syscalls` crate. What an architecture lacks is left out.

use std::sync::OnceLock;

/// How far the emulation goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Users, groups, owners, devices and privileged attributes, by a supervisor.
    #[default]
    Full,
    /// [`Mode::Full`], and whoever is not root is refused what the owners and modes refuse.
    Strict,
    /// No supervisor: changing owner or user has no effect and is said to succeed.
    Ids,
}

/// `(argument & mask) == value`, on the low 32 bits: what is tested is an `int` everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Test {
    /// Index of the argument, 0 to 5.
    pub argument: u8,
    /// Bits that count.
    pub mask: u32,
    /// What they must be.
    pub value: u32,
}

/// What happens to a call that the container's profile allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The supervisor is asked.
    Ask,
    /// As the profile says, although a later rule for this call would hold.
    Pass,
    /// It ends with this errno; 0 is success without effect.
    Errno(u16),
}

/// One call, when all tests of one of the alternatives hold.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The call.
    pub name: &'static str,
    /// Alternatives; an empty one always holds.
    pub when: &'static [&'static [Test]],
    /// What happens.
    pub fate: Fate,
}

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

const ALWAYS: &[&[Test]] = &[&[]];
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

/// Width of ids and layout of results, where an architecture has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The only one, or the newest.
    Native,
    /// i386: ids of 16 bits; `struct __old_kernel_stat` for the stat family.
    Short,
    /// i386: `struct stat` with ids of 16 bits.
    Stat32,
    /// i386: `struct stat64`.
    Stat64,
}

/// What is to be done about a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are those of the system calls")]
pub enum Op {
    Chown,
    Lchown,
    Fchown,
    Fchownat,
    Setuid,
    Setgid,
    Setreuid,
    Setregid,
    Setresuid,
    Setresgid,
    Setfsuid,
    Setfsgid,
    Setgroups,
    Getuid,
    Geteuid,
    Getgid,
    Getegid,
    Getresuid,
    Getresgid,
    Getgroups,
    Capget,
    Capset,
    Prctl,
    Stat,
    Lstat,
    Fstat,
    Fstatat,
    Statx,
    Open,
    Openat,
    Openat2,
    Creat,
    Mkdir,
    Mkdirat,
    Mknod,
    Mknodat,
    Symlink,
    Symlinkat,
    Execve,
    Execveat,
    Chroot,
    Setxattr,
    Lsetxattr,
    Fsetxattr,
    Getxattr,
    Lgetxattr,
    Fgetxattr,
    Listxattr,
    Llistxattr,
    Flistxattr,
    Removexattr,
    Lremovexattr,
    Fremovexattr,
    Prlimit,
    Getrlimit,
    Setrlimit,
    Getsockopt,
    Sendmsg,
    Socketcall,
    Bind,
    Access,
    Faccessat,
    Faccessat2,
    Unlink,
    Unlinkat,
    Rmdir,
    Rename,
    Renameat,
    Renameat2,
    Link,
    Linkat,
    Utimensat,
    Chmod,
    Fchmodat,
    Chdir,
    Truncate,
}

/// In the sixth argument of execveat(2), which the kernel does not have: this execution changes nobody's
/// identity and need not be asked about. The container's first step says so, which then need not wait for a
/// supervisor that has just begun; whoever else does gives up the set-id bits of what it executes.
pub const UNASKED_EXEC: u32 = 0x434f_5241;
const EXEC_UNASKED: &[&[Test]] = &[&[is(5, UNASKED_EXEC)]];

/// The list: name, what it is, when to ask. Sorted by name.
const LIST: &[(&str, Op, &[&[Test]])] = &[
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
const STRICT: &[(&str, Op)] = &[
    ("access", Op::Access),
    ("chdir", Op::Chdir),
    ("chmod", Op::Chmod),
    ("faccessat", Op::Faccessat),
    ("faccessat2", Op::Faccessat2),
    ("fchmodat", Op::Fchmodat),
    ("fchmodat2", Op::Fchmodat),
    ("open", Op::Open),
    ("openat", Op::Openat),
    ("rmdir", Op::Rmdir),
    ("truncate", Op::Truncate),
    ("truncate64", Op::Truncate),
    ("unlink", Op::Unlink),
    ("unlinkat", Op::Unlinkat),
];

/// What `ids` pretends to do, beside the calls of the chown and set*id families.
const PRETEND: &[(&str, &[&[Test]])] = &[("mknod", CHR_1), ("mknodat", CHR_2)];

fn changes_identity(op: Op) -> bool {
    matches!(
        op,
        Op::Chown
            | Op::Lchown
            | Op::Fchown
            | Op::Fchownat
            | Op::Setuid
            | Op::Setgid
            | Op::Setreuid
            | Op::Setregid
            | Op::Setresuid
            | Op::Setresgid
            | Op::Setgroups
            | Op::Capset
    )
}

/// The rules of a mode, for any architecture.
pub fn rules(mode: Mode) -> Vec<Rule> {
    let listed = LIST.iter().copied();
    if mode == Mode::Ids {
        return listed
            .filter(|(_, op, _)| changes_identity(*op))
            .map(|(name, _, when)| (name, when))
            .chain(PRETEND.iter().copied())
            .map(|(name, when)| Rule {
                name,
                when,
                fate: Fate::Errno(0),
            })
            .collect();
    }
    let strict = if mode == Mode::Strict { STRICT } else { &[] };
    let strict = strict.iter().map(|(name, _)| (*name, ALWAYS));
    let asked = listed
        .map(|(name, _, when)| (name, when))
        .chain(strict)
        .map(|(name, when)| Rule {
            name,
            when,
            fate: Fate::Ask,
        });
    let unasked = Rule {
        name: "execveat",
        when: EXEC_UNASKED,
        fate: Fate::Pass,
    };
    // Its requests are seen by no filter. Programs take another way when it is not there.
    let hidden = Rule {
        name: "io_uring_setup",
        when: ALWAYS,
        fate: Fate::Errno(libc::ENOSYS as u16),
    };
    [unasked].into_iter().chain(asked).chain([hidden]).collect()
}

/// A call, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// What.
    pub op: Op,
    /// How its ids and results are laid out.
    pub width: Width,
    /// Whether the caller has pointers of 32 bits.
    pub compat: bool,
}

/// From numbers to calls, for callers of this machine. Each is looked up by name when it first comes: a
/// container that starts makes few different ones.
#[derive(Debug)]
pub struct Table {
    native: [OnceLock<Option<Call>>; CALLS],
    compat: [OnceLock<Option<Call>>; CALLS],
}

/// More than there are numbers.
const CALLS: usize = 512;
/// `AUDIT_ARCH_I386`
const I386: u32 = 0x4000_0003;

impl Default for Table {
    fn default() -> Self {
        Self {
            native: [const { OnceLock::new() }; CALLS],
            compat: [const { OnceLock::new() }; CALLS],
        }
    }
}

impl Table {
    /// What a filter with [`rules`] asks about; `None` for what it never asks.
    pub fn get(&self, arch: u32, number: i32) -> Option<Call> {
        let number = usize::try_from(number).ok()?;
        if arch == I386 {
            *self
                .compat
                .get(number)?
                .get_or_init(|| decode(i386(number)?, true))
        } else {
            *self
                .native
                .get(number)?
                .get_or_init(|| decode(native(number)?, false))
        }
    }
}

#[cfg(target_arch = "aarch64")]
use aarch64 as native;
#[cfg(target_arch = "x86_64")]
use x86_64 as native;

#[cfg(any(target_arch = "x86_64", test))]
fn x86_64(number: usize) -> Option<&'static str> {
    syscalls::x86_64::Sysno::new(number).map(|s| s.name())
}

fn i386(number: usize) -> Option<&'static str> {
    syscalls::x86::Sysno::new(number).map(|s| s.name())
}

#[cfg(any(target_arch = "aarch64", test))]
fn aarch64(number: usize) -> Option<&'static str> {
    syscalls::aarch64::Sysno::new(number).map(|s| s.name())
}

fn decode(name: &str, compat: bool) -> Option<Call> {
    let op = match LIST.binary_search_by_key(&name, |l| l.0) {
        Ok(at) => LIST[at].1,
        Err(_) => STRICT[STRICT.binary_search_by_key(&name, |l| l.0).ok()?].1,
    };
    Some(Call {
        op,
        width: width(name, op, compat),
        compat,
    })
}

/// On i386 the plain names are the oldest calls.
fn width(name: &str, op: Op, compat: bool) -> Width {
    if !compat {
        return Width::Native;
    }
    match op {
        Op::Stat | Op::Lstat | Op::Fstat | Op::Fstatat => match name {
            _ if name.ends_with("64") => Width::Stat64,
            _ if name.starts_with("old") => Width::Short,
            _ => Width::Stat32,
        },
        Op::Chown
        | Op::Lchown
        | Op::Fchown
        | Op::Setuid
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
            if !name.ends_with("32") =>
        {
            Width::Short
        }
        _ => Width::Native,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Names = fn(usize) -> Option<&'static str>;

    fn table(names: Names, compat: bool) -> Vec<Option<Call>> {
        let decode = |n| decode(names(n)?, compat);
        (0..CALLS).map(decode).collect()
    }

    fn numbers(table: &[Option<Call>], op: Op) -> Vec<(usize, Width)> {
        let calls = table.iter().enumerate();
        calls
            .filter_map(|(n, c)| c.filter(|c| c.op == op).map(|c| (n, c.width)))
            .collect()
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(LIST.is_sorted_by(|a, b| a.0 < b.0));
        assert!(STRICT.is_sorted_by(|a, b| a.0 < b.0));
    }

    #[test]
    fn x86_64_has_one_width() {
        let t = table(x86_64, false);
        for (op, want) in [
            (Op::Chown, 92),
            (Op::Fchownat, 260),
            (Op::Setuid, 105),
            (Op::Getgroups, 115),
            (Op::Fstatat, 262),
            (Op::Statx, 332),
            (Op::Capset, 126),
            (Op::Getsockopt, 55),
            (Op::Openat2, 437),
        ] {
            assert_eq!(numbers(&t, op), [(want, Width::Native)], "{op:?}");
        }
        assert_eq!(numbers(&t, Op::Socketcall), []);
    }

    #[test]
    fn i386_has_the_old_calls_too() {
        let t = table(i386, true);
        use Width::{Native, Short, Stat32, Stat64};
        assert_eq!(numbers(&t, Op::Chown), [(182, Short), (212, Native)]);
        assert_eq!(numbers(&t, Op::Lchown), [(16, Short), (198, Native)]);
        assert_eq!(numbers(&t, Op::Setuid), [(23, Short), (213, Native)]);
        assert_eq!(numbers(&t, Op::Getgroups), [(80, Short), (205, Native)]);
        assert_eq!(
            numbers(&t, Op::Stat),
            [(18, Short), (106, Stat32), (195, Stat64)]
        );
        assert_eq!(numbers(&t, Op::Fstatat), [(300, Stat64)]);
        assert_eq!(numbers(&t, Op::Fchownat), [(298, Native)]);
        assert_eq!(numbers(&t, Op::Getrlimit), [(76, Native), (191, Native)]);
        assert!(t.iter().flatten().all(|c| c.compat));
    }

    #[test]
    fn aarch64_has_the_calls_with_directories_only() {
        let t = table(aarch64, false);
        for (op, want) in [
            (Op::Fchownat, 54),
            (Op::Fchown, 55),
            (Op::Openat, 56),
            (Op::Fstatat, 79),
            (Op::Fstat, 80),
            (Op::Setuid, 146),
            (Op::Execve, 221),
            (Op::Statx, 291),
        ] {
            assert_eq!(numbers(&t, op), [(want, Width::Native)], "{op:?}");
        }
        for op in [Op::Chown, Op::Stat, Op::Open, Op::Mkdir] {
            assert_eq!(numbers(&t, op), [], "{op:?}");
        }
    }

    #[test]
    fn pretending_asks_nobody() {
        let ids = rules(Mode::Ids);
        assert!(ids.iter().all(|r| r.fate == Fate::Errno(0)));
        assert!(ids.iter().any(|r| r.name == "fchownat"));
        assert!(!ids.iter().any(|r| r.name == "getuid" || r.name == "stat"));
    }
}
