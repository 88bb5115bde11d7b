//! Extended attributes that one id may not set: `trusted.*`, `security.*` beyond file capabilities, and
//! POSIX ACLs that name users the kernel does not know. They are recorded, and read back as set. Our own
//! attribute is nobody's to see. xattr(7), acl(5).
//!
//! Who may set them is decided by capabilities, as with a real root: a container's default set lacks
//! `CAP_SYS_ADMIN`, and then `trusted.*` is refused here as it is elsewhere.

use rustix::fs::{CWD, Mode, XattrFlags};
use rustix::io::Errno;

use super::{DONE, Reply, Result, Scratch};
use crate::emulate::caller::{Caller, PathBuffer};
use crate::emulate::creds::cap;
use crate::emulate::ownership::Object;
use crate::emulate::resolve::{AT_FDCWD, Last};
use crate::emulate::rules::Op;
use crate::owners::{Record, XATTR};

/// Largest value, and largest list (limits.h).
const SIZE_MAX: usize = 65536;
const NAME_MAX: usize = 255;
const ACCESS_ACL: &[u8] = b"system.posix_acl_access";
const DEFAULT_ACL: &[u8] = b"system.posix_acl_default";

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verb {
    Set,
    Get,
    List,
    Remove,
}

/// Whose business a name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// The kernel's alone.
    Native,
    /// Ours, and hidden.
    Hidden,
    /// Needs CAP_SYS_ADMIN.
    Admin,
    /// An ACL.
    Acl,
}

fn class(name: &[u8]) -> Class {
    match name {
        _ if name == XATTR.as_bytes() => Class::Hidden,
        b"security.capability" => Class::Native,
        ACCESS_ACL | DEFAULT_ACL => Class::Acl,
        _ if name.starts_with(b"trusted.") || name.starts_with(b"security.") => Class::Admin,
        _ => Class::Native,
    }
}

pub(super) fn handle(c: &Caller<'_>, scratch: &mut Scratch) -> Result {
    let (verb, by_fd, last) = match c.call.op {
        Op::Setxattr => (Verb::Set, false, Last::Follow),
        Op::Lsetxattr => (Verb::Set, false, Last::Keep),
        Op::Fsetxattr => (Verb::Set, true, Last::Follow),
        Op::Getxattr => (Verb::Get, false, Last::Follow),
        Op::Lgetxattr => (Verb::Get, false, Last::Keep),
        Op::Fgetxattr => (Verb::Get, true, Last::Follow),
        Op::Listxattr => (Verb::List, false, Last::Follow),
        Op::Llistxattr => (Verb::List, false, Last::Keep),
        Op::Flistxattr => (Verb::List, true, Last::Follow),
        Op::Removexattr => (Verb::Remove, false, Last::Follow),
        Op::Lremovexattr => (Verb::Remove, false, Last::Keep),
        _ => (Verb::Remove, true, Last::Follow),
    };
    let quiet = c.world.ownership.is_quiet();
    let mut name = Vec::new();
    if verb != Verb::List {
        let mut buffer = PathBuffer::new();
        if c.path(1, &mut buffer).is_err() || buffer.as_bytes().len() > NAME_MAX {
            return Ok(Reply::Continue);
        }
        name.extend_from_slice(buffer.as_bytes());
        let kind = class(&name);
        match (verb, kind) {
            (Verb::Get | Verb::Remove, Class::Hidden) => return Err(Errno::NODATA),
            (Verb::Set, Class::Hidden) => return Err(Errno::PERM),
            (Verb::Set | Verb::Remove, Class::Native) if name == b"security.capability" => {
                return if c.cred().can(cap::SETFCAP) {
                    Ok(Reply::Continue)
                } else {
                    Err(Errno::PERM)
                };
            }
            (_, Class::Native) => return Ok(Reply::Continue),
            (Verb::Get | Verb::Remove, _) if quiet => return Ok(Reply::Continue),
            _ => {}
        }
    }
    let path = if by_fd {
        &b""[..]
    } else {
        if c.path(0, &mut scratch.path).is_err() || scratch.path.as_bytes().is_empty() {
            return Ok(Reply::Continue);
        }
        scratch.path.as_bytes()
    };
    let dirfd = if by_fd { c.int(0) } else { AT_FDCWD };
    let Ok(object) = c.open(dirfd, path, last).and_then(Object::new) else {
        return Ok(Reply::Continue);
    };
    match verb {
        Verb::List => list(c, &object),
        Verb::Get => get(c, &object, &name),
        Verb::Remove => remove(c, &object, &name),
        Verb::Set => set(c, &object, &name),
    }
}

fn recorded(c: &Caller<'_>, object: &Object) -> Record {
    c.world.ownership.record(object).unwrap_or_default()
}

/// Hand a value or a list out as getxattr(2) does: size 0 asks for the size.
fn hand_out(c: &Caller<'_>, address: u64, size: u64, bytes: &[u8]) -> Result {
    if size > 0 {
        if (bytes.len() as u64) > size {
            return Err(Errno::RANGE);
        }
        c.still_waits()?;
        c.write(address, bytes)?;
    }
    Ok(Reply::Value(bytes.len() as i64))
}

fn list(c: &Caller<'_>, object: &Object) -> Result {
    let mut native = vec![0u8; SIZE_MAX];
    let name = object.name();
    let length = match rustix::fs::listxattr(name.as_cstr(), &mut native) {
        Ok(n) => n,
        Err(_) => return Ok(Reply::Continue),
    };
    native.truncate(length);
    let record = recorded(c, object);
    let names = native.split_inclusive(|b| *b == 0);
    let mut out: Vec<u8> = Vec::with_capacity(length);
    for n in names {
        let bare = &n[..n.len() - 1];
        let ours = bare == XATTR.as_bytes() || record.xattrs.iter().any(|(r, _)| r == bare);
        if !ours {
            out.extend_from_slice(n);
        }
    }
    if record.xattrs.is_empty() && out.len() == length {
        return Ok(Reply::Continue);
    }
    for (n, _) in &record.xattrs {
        // Only root may see that there are trusted ones.
        if !n.starts_with(b"trusted.") || c.cred().can(cap::SYS_ADMIN) {
            out.extend_from_slice(n);
            out.push(0);
        }
    }
    hand_out(c, c.arg(1), c.arg(2), &out)
}

fn get(c: &Caller<'_>, object: &Object, name: &[u8]) -> Result {
    let record = recorded(c, object);
    let Some((_, value)) = record.xattrs.iter().find(|(n, _)| n == name) else {
        return Ok(Reply::Continue);
    };
    if name.starts_with(b"trusted.") && !c.cred().can(cap::SYS_ADMIN) {
        return Err(Errno::NODATA);
    }
    let value = match name {
        ACCESS_ACL => acl::with_mode(value, object.mode()),
        _ => value.clone(),
    };
    hand_out(c, c.arg(2), c.arg(3), &value)
}

fn may(c: &Caller<'_>, object: &Object, name: &[u8]) -> std::result::Result<(), Errno> {
    let cred = c.cred();
    let allowed = match class(name) {
        Class::Admin => cred.can(cap::SYS_ADMIN),
        _ => cred.can(cap::FOWNER) || c.world.ownership.of(object).uid == cred.uid.fs,
    };
    if allowed { Ok(()) } else { Err(Errno::PERM) }
}

fn remove(c: &Caller<'_>, object: &Object, name: &[u8]) -> Result {
    let mut record = recorded(c, object);
    let before = record.xattrs.len();
    record.xattrs.retain(|(n, _)| n != name);
    if record.xattrs.len() == before {
        return Ok(Reply::Continue);
    }
    may(c, object, name)?;
    c.still_waits()?;
    make_own(object, object.mode())?;
    c.world.ownership.set_record(object, record)?;
    Ok(DONE)
}

/// Set the mode, which has overlay copy up what is of a layer: by its inode in the upper directory the
/// record will be known. What takes no attributes of ours has been copied up, or has its record by path.
fn make_own(object: &Object, mode: u32) -> std::result::Result<(), Errno> {
    if !object.carries() {
        return Ok(());
    }
    rustix::fs::chmodat(
        CWD,
        object.name().as_cstr(),
        Mode::from_raw_mode(mode),
        rustix::fs::AtFlags::empty(),
    )
}

fn set(c: &Caller<'_>, object: &Object, name: &[u8]) -> Result {
    let size = usize::try_from(c.arg(3)).unwrap_or(usize::MAX);
    if size > SIZE_MAX {
        return Err(Errno::TOOBIG);
    }
    let flags = c.word(4);
    let (create, replace) = (XattrFlags::CREATE.bits(), XattrFlags::REPLACE.bits());
    if flags & !(create | replace) != 0 {
        return Err(Errno::INVAL);
    }
    let mut value = vec![0; size];
    c.read(c.arg(2), &mut value)?;
    if class(name) == Class::Acl && !acl::names_strangers(&value) {
        // The kernel takes it, and a recorded one is over.
        let _ = remove(c, object, name);
        return Ok(Reply::Continue);
    }
    may(c, object, name)?;
    let mut record = recorded(c, object);
    let known = record.xattrs.iter_mut().find(|(n, _)| n == name);
    match (known.is_some(), flags) {
        (true, f) if f & create != 0 => return Err(Errno::EXIST),
        (false, f) if f & replace != 0 => return Err(Errno::NODATA),
        _ => {}
    }
    c.still_waits()?;
    // What the kernel makes of an ACL for whom it does not name.
    let mode = match name {
        ACCESS_ACL => acl::mode(&value).ok_or(Errno::INVAL)? | (object.mode() & 0o7000),
        _ => object.mode(),
    };
    make_own(object, mode)?;
    match known {
        Some((_, old)) => *old = value,
        None => record.xattrs.push((name.to_vec(), value)),
    }
    c.world.ownership.set_record(object, record)?;
    Ok(DONE)
}

/// The attribute form of an ACL: a version, then entries of tag, permissions and id. linux/posix_acl_xattr.h.
mod acl {
    const VERSION: u32 = 2;
    const USER_OBJ: u16 = 0x01;
    const USER: u16 = 0x02;
    const GROUP_OBJ: u16 = 0x04;
    const GROUP: u16 = 0x08;
    const MASK: u16 = 0x10;
    const OTHER: u16 = 0x20;

    fn entries(value: &[u8]) -> Option<impl Iterator<Item = (u16, u16, u32)> + '_> {
        let (version, rest) = value.split_first_chunk::<4>()?;
        if u32::from_le_bytes(*version) != VERSION || rest.len() % 8 != 0 {
            return None;
        }
        Some(rest.chunks_exact(8).map(|e| {
            (
                u16::from_le_bytes([e[0], e[1]]),
                u16::from_le_bytes([e[2], e[3]]),
                u32::from_le_bytes([e[4], e[5], e[6], e[7]]),
            )
        }))
    }

    /// Whether it is about users or groups other than 0. What is no ACL is for the kernel to refuse.
    pub(super) fn names_strangers(value: &[u8]) -> bool {
        entries(value)
            .is_some_and(|mut all| all.any(|(tag, _, id)| matches!(tag, USER | GROUP) && id != 0))
    }

    /// The permission bits of a file with it: its mask takes the place of the group's.
    pub(super) fn mode(value: &[u8]) -> Option<u32> {
        let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
        for (tag, bits, _) in entries(value)? {
            let slot = match tag {
                USER_OBJ => &mut user,
                GROUP_OBJ => &mut group,
                MASK => &mut mask,
                OTHER => &mut other,
                USER | GROUP => continue,
                _ => return None,
            };
            *slot = Some(u32::from(bits & 7));
        }
        Some(user? << 6 | mask.or(group)? << 3 | other?)
    }

    /// A later chmod(2) changes the entries that the mode stands for.
    pub(super) fn with_mode(value: &[u8], mode: u32) -> Vec<u8> {
        let mut out = value.to_vec();
        let masked = entries(value).is_some_and(|mut all| all.any(|(tag, ..)| tag == MASK));
        let Some(rest) = out.get_mut(4..) else {
            return out;
        };
        for entry in rest.chunks_exact_mut(8) {
            let bits = match u16::from_le_bytes([entry[0], entry[1]]) {
                USER_OBJ => mode >> 6,
                MASK => mode >> 3,
                GROUP_OBJ if !masked => mode >> 3,
                OTHER => mode,
                _ => continue,
            };
            entry[2..4].copy_from_slice(&((bits & 7) as u16).to_le_bytes());
        }
        out
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
            let mut out = VERSION.to_le_bytes().to_vec();
            for (tag, bits, id) in entries {
                out.extend(tag.to_le_bytes());
                out.extend(bits.to_le_bytes());
                out.extend(id.to_le_bytes());
            }
            out
        }

        #[test]
        fn users_that_the_kernel_knows_are_its_business() {
            let own = [(USER_OBJ, 6, u32::MAX), (GROUP_OBJ, 4, 0), (OTHER, 0, 0)];
            assert!(!names_strangers(&acl(&own)));
            assert_eq!(mode(&acl(&own)), Some(0o640));
            let foreign = acl(&[
                (USER_OBJ, 6, 0),
                (USER, 7, 33),
                (GROUP_OBJ, 4, 0),
                (MASK, 7, 0),
                (OTHER, 0, 0),
            ]);
            assert!(names_strangers(&foreign));
            assert_eq!(mode(&foreign), Some(0o670));
            let changed = with_mode(&foreign, 0o750);
            assert_eq!(mode(&changed), Some(0o750));
            assert_eq!(
                entries(&changed).unwrap().find(|e| e.0 == GROUP_OBJ),
                Some((GROUP_OBJ, 4, 0))
            );
        }

        #[test]
        fn nonsense_is_no_acl() {
            for bad in [&b""[..], b"\x02\0\0", b"\x01\0\0\0", b"\x02\0\0\0abc"] {
                assert!(!names_strangers(bad));
                assert_eq!(mode(bad), None);
                assert_eq!(with_mode(bad, 0o700), bad);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_whose_business_they_are() {
        for (name, want) in [
            (&b"user.x"[..], Class::Native),
            (b"user.containers.override_stat", Class::Hidden),
            (b"security.capability", Class::Native),
            (b"security.selinux", Class::Admin),
            (b"trusted.overlay.x", Class::Admin),
            (ACCESS_ACL, Class::Acl),
            (DEFAULT_ACL, Class::Acl),
        ] {
            assert_eq!(class(name), want);
        }
    }
}
