//! Which system calls the supervisor is asked about: one list of names for all architectures, and for
//! each call what a filter can test of its arguments. `runtime::seccomp` merges it with the container's
//! own profile; [`call`] turns a number back into what is to be done. Pure.
//!
//! The numbers behind the names come from the `syscalls` crate. What an architecture lacks is left out.

mod list;

use std::sync::OnceLock;

use list::{ALWAYS, EXEC_UNASKED, LIST, PRETEND, STRICT};
pub use list::{UNASKED_EXEC, UNASKED_MESSAGE};

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

/// Width of ids and layout of results, where an architecture has several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Width {
    /// The only one, or the newest.
    Native,
    /// i386: ids of 16 bits; `struct __old_kernel_stat` for the stat family; times of 32 bits.
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
    Fchmod,
    Fchmodat,
    Fchmodat2,
    Chdir,
    Fchdir,
    Truncate,
    Utime,
    Futimesat,
}

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

/// Calls by number; each is looked up by name when it first comes, since a container that starts makes few different
/// ones. Static, because only pages that are looked at cost something then.
static NATIVE: [OnceLock<Option<Call>>; CALLS] = [const { OnceLock::new() }; CALLS];
static COMPAT: [OnceLock<Option<Call>>; CALLS] = [const { OnceLock::new() }; CALLS];

/// More than there are numbers.
const CALLS: usize = 512;
/// `AUDIT_ARCH_I386`
const I386: u32 = 0x4000_0003;

/// From a number to a call, for callers of this machine: what a filter with [`rules`] asks about; `None` for what it
/// never asks.
pub fn call(arch: u32, number: i32) -> Option<Call> {
    let number = usize::try_from(number).ok()?;
    if arch == I386 {
        *COMPAT
            .get(number)?
            .get_or_init(|| decode(i386(number)?, true))
    } else {
        *NATIVE
            .get(number)?
            .get_or_init(|| decode(native(number)?, false))
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
        Op::Utimensat if !name.ends_with("64") => Width::Short,
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
        assert_eq!(numbers(&t, Op::Utimensat), [(320, Short), (412, Native)]);
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
