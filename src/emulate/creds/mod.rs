//! Who a process is: user and group ids, groups, capabilities, and how system calls change them. Pure.
//!
//! A container with one id has one user for the kernel, root of its namespace. Everybody else in it
//! exists here only. The rules are the kernel's own: credentials(7), capabilities(7), setuid(2),
//! setreuid(2), setresuid(2), setfsuid(2), setgroups(2), capset(2), prctl(2), execve(2). Privilege is
//! a matter of capabilities, never of being uid 0.

mod file;
pub mod table;

pub use file::{Executable, FileCaps};

use rustix::io::Errno;
use serde::{Deserialize, Serialize};

/// Capability numbers of linux/capability.h that decide something here.
#[expect(missing_docs, reason = "the names are those of capabilities(7)")]
pub mod cap {
    pub const CHOWN: u32 = 0;
    pub const DAC_OVERRIDE: u32 = 1;
    pub const DAC_READ_SEARCH: u32 = 2;
    pub const FOWNER: u32 = 3;
    pub const FSETID: u32 = 4;
    pub const SETGID: u32 = 6;
    pub const SETUID: u32 = 7;
    pub const SETPCAP: u32 = 8;
    pub const LINUX_IMMUTABLE: u32 = 9;
    pub const SYS_CHROOT: u32 = 18;
    pub const SYS_PTRACE: u32 = 19;
    pub const SYS_ADMIN: u32 = 21;
    pub const MKNOD: u32 = 27;
    pub const SETFCAP: u32 = 31;
    pub const MAC_OVERRIDE: u32 = 32;
    /// The newest that this program knows.
    pub const LAST: u32 = 40;
}

/// Those that belong to the file-system uid (`CAP_FS_SET`).
const FS_SET: u64 = 1 << cap::CHOWN
    | 1 << cap::DAC_OVERRIDE
    | 1 << cap::DAC_READ_SEARCH
    | 1 << cap::FOWNER
    | 1 << cap::FSETID
    | 1 << cap::LINUX_IMMUTABLE
    | 1 << cap::MKNOD
    | 1 << cap::MAC_OVERRIDE;

// linux/securebits.h
const NOROOT: u32 = 1 << 0;
const NO_SETUID_FIXUP: u32 = 1 << 2;
const KEEP_CAPS: u32 = 1 << 4;
const KEEP_CAPS_LOCKED: u32 = 1 << 5;
const NO_CAP_AMBIENT_RAISE: u32 = 1 << 6;
const ALL_BITS: u32 = 0x55;
const ALL_LOCKS: u32 = 0xaa;

/// "Leave it", in calls that change several ids.
pub const KEEP: u32 = u32::MAX;

/// Most groups of a process (`NGROUPS_MAX`).
pub const GROUPS_MAX: usize = 65536;

/// The four ids of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ids {
    /// Who started it.
    pub real: u32,
    /// As whom it acts.
    pub effective: u32,
    /// As whom it may act again.
    pub saved: u32,
    /// As whom it meets files.
    pub fs: u32,
}

impl Ids {
    /// All the same.
    pub fn all(id: u32) -> Self {
        Self {
            real: id,
            effective: id,
            saved: id,
            fs: id,
        }
    }

    fn has(&self, id: u32) -> bool {
        [self.real, self.effective, self.saved].contains(&id)
    }
}

/// Which ids a call is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Users.
    User,
    /// Groups.
    Group,
}

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cred {
    /// Users.
    pub uid: Ids,
    /// Groups.
    pub gid: Ids,
    /// Supplementary groups, sorted.
    pub groups: Box<[u32]>,
    /// What it may make effective.
    pub permitted: u64,
    /// What it may do.
    pub effective: u64,
    /// What it may hand to a program that asks.
    pub inheritable: u64,
    /// What an exec may give.
    pub bounding: u64,
    /// What an exec of an ordinary program keeps.
    pub ambient: u64,
    /// `SECBIT_*`
    pub securebits: u32,
    /// exec gives no privilege any more.
    pub no_new_privs: bool,
}

type Result<T> = std::result::Result<T, Errno>;

impl Cred {
    /// The first process of a container: `caps` bound everything, and root has them all.
    pub fn first(uid: u32, gid: u32, groups: &[u32], caps: u64, no_new_privs: bool) -> Self {
        let held = if uid == 0 { caps } else { 0 };
        Self {
            uid: Ids::all(uid),
            gid: Ids::all(gid),
            groups: sorted(groups),
            permitted: held,
            effective: held,
            inheritable: 0,
            bounding: caps,
            ambient: 0,
            securebits: 0,
            no_new_privs,
        }
    }

    /// As it travels to the supervisor.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Numbers and lists of them: nothing that could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// What [`Cred::to_bytes`] has made.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let cred: Self = serde_json::from_slice(bytes).ok()?;
        let groups = sorted(&cred.groups);
        Some(Self { groups, ..cred })
    }

    /// Whether it has this capability in effect.
    pub fn can(&self, capability: u32) -> bool {
        self.effective & 1 << capability != 0
    }

    /// Whether it meets files as a member of `group`.
    pub fn in_group(&self, group: u32) -> bool {
        self.gid.fs == group || self.groups.binary_search(&group).is_ok()
    }

    fn ids(&self, kind: Kind) -> (Ids, bool) {
        match kind {
            Kind::User => (self.uid, self.can(cap::SETUID)),
            Kind::Group => (self.gid, self.can(cap::SETGID)),
        }
    }

    /// setuid(2), setgid(2)
    pub fn set_one(&self, kind: Kind, id: u32) -> Result<Self> {
        let (old, privileged) = self.ids(kind);
        if id == KEEP {
            return Err(Errno::INVAL);
        }
        if privileged {
            return Ok(self.with(kind, Ids::all(id)));
        }
        if id != old.real && id != old.saved {
            return Err(Errno::PERM);
        }
        let new = Ids {
            effective: id,
            fs: id,
            ..old
        };
        Ok(self.with(kind, new))
    }

    /// setreuid(2), setregid(2)
    pub fn set_two(&self, kind: Kind, real: u32, effective: u32) -> Result<Self> {
        let (old, privileged) = self.ids(kind);
        let mut new = old;
        if real != KEEP {
            if !privileged && real != old.real && real != old.effective {
                return Err(Errno::PERM);
            }
            new.real = real;
        }
        if effective != KEEP {
            if !privileged && !old.has(effective) {
                return Err(Errno::PERM);
            }
            new.effective = effective;
        }
        if real != KEEP || (effective != KEEP && effective != old.real) {
            new.saved = new.effective;
        }
        new.fs = new.effective;
        Ok(self.with(kind, new))
    }

    /// setresuid(2), setresgid(2)
    pub fn set_three(&self, kind: Kind, real: u32, effective: u32, saved: u32) -> Result<Self> {
        let (old, privileged) = self.ids(kind);
        let wants = [real, effective, saved];
        if !privileged && !wants.iter().all(|id| *id == KEEP || old.has(*id)) {
            return Err(Errno::PERM);
        }
        let pick = |new: u32, old: u32| if new == KEEP { old } else { new };
        let effective = pick(effective, old.effective);
        let new = Ids {
            real: pick(real, old.real),
            effective,
            saved: pick(saved, old.saved),
            fs: effective,
        };
        Ok(self.with(kind, new))
    }

    /// setfsuid(2), setfsgid(2): never fail; the result of the call is the old id.
    pub fn set_fs(&self, kind: Kind, id: u32) -> Self {
        let (old, privileged) = self.ids(kind);
        if id == KEEP || !(privileged || old.has(id) || old.fs == id) {
            return self.clone();
        }
        let mut new = self.clone();
        match kind {
            Kind::Group => new.gid.fs = id,
            Kind::User => {
                new.uid.fs = id;
                if self.securebits & NO_SETUID_FIXUP == 0 {
                    match (old.fs, id) {
                        (0, 1..) => new.effective &= !FS_SET,
                        (1.., 0) => new.effective |= FS_SET & new.permitted,
                        _ => {}
                    }
                }
            }
        }
        new
    }

    /// setgroups(2)
    pub fn set_groups(&self, groups: &[u32]) -> Result<Self> {
        if !self.can(cap::SETGID) {
            return Err(Errno::PERM);
        }
        if groups.contains(&KEEP) {
            return Err(Errno::INVAL);
        }
        Ok(Self {
            groups: sorted(groups),
            ..self.clone()
        })
    }

    /// New ids, and what they do to the capabilities: capabilities(7), "Effect of user ID changes".
    fn with(&self, kind: Kind, ids: Ids) -> Self {
        let mut new = self.clone();
        if kind == Kind::Group {
            new.gid = ids;
            return new;
        }
        new.uid = ids;
        if self.securebits & NO_SETUID_FIXUP != 0 {
            return new;
        }
        if self.uid.has(0) && !ids.has(0) {
            if self.securebits & KEEP_CAPS == 0 {
                new.permitted = 0;
                new.effective = 0;
            }
            new.ambient = 0;
        }
        match (self.uid.effective, ids.effective) {
            (0, 1..) => new.effective = 0,
            (1.., 0) => new.effective = new.permitted,
            _ => {}
        }
        new
    }

    /// capset(2)
    pub fn set_caps(&self, effective: u64, permitted: u64, inheritable: u64) -> Result<Self> {
        let beyond = |set: u64, limit: u64| set & !limit != 0;
        if (!self.can(cap::SETPCAP) && beyond(inheritable, self.inheritable | self.permitted))
            || beyond(inheritable, self.inheritable | self.bounding)
            || beyond(permitted, self.permitted)
            || beyond(effective, permitted)
        {
            return Err(Errno::PERM);
        }
        Ok(Self {
            effective,
            permitted,
            inheritable,
            ambient: self.ambient & permitted & inheritable,
            ..self.clone()
        })
    }

    /// prctl(2), the requests about privilege: what it is afterwards, and the result of the call.
    pub fn prctl(&self, option: u32, args: [u64; 4]) -> Result<(Self, i64)> {
        let mut new = self.clone();
        let capability = |arg: u64| {
            let known = u32::try_from(arg).ok().filter(|n| *n <= cap::LAST);
            known.map(|n| 1u64 << n).ok_or(Errno::INVAL)
        };
        let result = match option {
            7 => i64::from(self.securebits & KEEP_CAPS != 0),
            8 => {
                match (args[0], self.securebits & KEEP_CAPS_LOCKED) {
                    (2.., _) => return Err(Errno::INVAL),
                    (_, 1..) => return Err(Errno::PERM),
                    (0, 0) => new.securebits &= !KEEP_CAPS,
                    (1, 0) => new.securebits |= KEEP_CAPS,
                }
                0
            }
            23 => i64::from(self.bounding & capability(args[0])? != 0),
            24 => {
                let bit = capability(args[0])?;
                if !self.can(cap::SETPCAP) {
                    return Err(Errno::PERM);
                }
                new.bounding &= !bit;
                0
            }
            27 => i64::from(self.securebits),
            28 => {
                let want = u32::try_from(args[0]).map_err(|_| Errno::PERM)?;
                let locked = (self.securebits & ALL_LOCKS) >> 1;
                if locked & (self.securebits ^ want) != 0
                    || self.securebits & ALL_LOCKS & !want != 0
                    || want & !(ALL_LOCKS | ALL_BITS) != 0
                    || !self.can(cap::SETPCAP)
                {
                    return Err(Errno::PERM);
                }
                new.securebits = want;
                0
            }
            38 => {
                if args != [1, 0, 0, 0] {
                    return Err(Errno::INVAL);
                }
                new.no_new_privs = true;
                0
            }
            39 => i64::from(self.no_new_privs),
            47 => return self.ambient(args, capability),
            _ => return Err(Errno::INVAL),
        };
        Ok((new, result))
    }

    fn ambient(
        &self,
        args: [u64; 4],
        capability: impl Fn(u64) -> Result<u64>,
    ) -> Result<(Self, i64)> {
        let mut new = self.clone();
        if args[0] == 4 {
            if args[1..] != [0, 0, 0] {
                return Err(Errno::INVAL);
            }
            new.ambient = 0;
            return Ok((new, 0));
        }
        let bit = capability(args[1])?;
        match args {
            [1, _, 0, 0] => return Ok((new, i64::from(self.ambient & bit != 0))),
            [2, _, 0, 0] => {
                if self.permitted & self.inheritable & bit == 0
                    || self.securebits & NO_CAP_AMBIENT_RAISE != 0
                {
                    return Err(Errno::PERM);
                }
                new.ambient |= bit;
            }
            [3, _, 0, 0] => new.ambient &= !bit,
            _ => return Err(Errno::INVAL),
        }
        Ok((new, 0))
    }

    /// execve(2): who the process is in the new program. capabilities(7), "Transformation of
    /// capabilities during execve()".
    pub fn exec(&self, file: &Executable) -> Result<Self> {
        let mut new = self.clone();
        if !self.no_new_privs {
            new.uid.effective = file.setuid.unwrap_or(self.uid.effective);
            new.gid.effective = file.setgid.unwrap_or(self.gid.effective);
        }
        // As the kernel's own test: against the real ids.
        let changed = new.uid.effective != self.uid.real || new.gid.effective != self.gid.real;
        let mut effective = false;
        new.permitted = 0;
        if let Some(f) = file.caps {
            new.permitted = (f.permitted & self.bounding) | (f.inheritable & self.inheritable);
            effective = f.effective;
            // A program that would start without what it relies on is not started.
            if effective && f.permitted & !new.permitted != 0 {
                return Err(Errno::PERM);
            }
        }
        let rooted = new.uid.effective == 0 && self.uid.real != 0 && file.caps.is_some();
        if self.securebits & NOROOT == 0 && !rooted {
            if new.uid.effective == 0 || new.uid.real == 0 {
                new.permitted = self.bounding | self.inheritable;
            }
            effective |= new.uid.effective == 0;
        }
        if self.no_new_privs {
            new.permitted &= self.permitted;
        }
        new.uid.saved = new.uid.effective;
        new.uid.fs = new.uid.effective;
        new.gid.saved = new.gid.effective;
        new.gid.fs = new.gid.effective;
        if file.caps.is_some() || changed {
            new.ambient = 0;
        }
        new.permitted |= new.ambient;
        new.effective = if effective {
            new.permitted
        } else {
            new.ambient
        };
        new.securebits &= !KEEP_CAPS;
        Ok(new)
    }

    /// unix(7), `SCM_CREDENTIALS`: whether it may say that it is `uid` and `gid`.
    pub fn may_claim(&self, uid: u32, gid: u32) -> bool {
        (self.uid.has(uid) || self.can(cap::SETUID)) && (self.gid.has(gid) || self.can(cap::SETGID))
    }

    /// chown(2): whether it may give a file of `owner` and `group` to others ([`KEEP`] keeps one).
    pub fn may_chown(&self, owner: u32, group: u32, new_owner: u32, new_group: u32) -> bool {
        if self.can(cap::CHOWN) {
            return true;
        }
        let mine = self.uid.fs == owner;
        let owner_ok = new_owner == KEEP || (mine && new_owner == owner);
        let group_ok =
            new_group == KEEP || (mine && (new_group == group || self.in_group(new_group)));
        owner_ok && group_ok
    }
}

fn sorted(groups: &[u32]) -> Box<[u32]> {
    let mut groups: Box<[u32]> = groups.into();
    groups.sort_unstable();
    groups
}

#[cfg(test)]
mod tests;
