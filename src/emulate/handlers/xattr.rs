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
use crate::owners::{CAPABILITY, Record, XATTR, acl};

/// Largest value, and largest list (limits.h).
const SIZE_MAX: usize = 65536;
const NAME_MAX: usize = 255;

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
    /// Needs CAP_SETFCAP. The kernel's, but those of the image are recorded.
    Capability,
    /// Needs CAP_SYS_ADMIN.
    Admin,
    /// An ACL.
    Acl,
}

fn class(name: &[u8]) -> Class {
    match name {
        _ if name == XATTR.as_bytes() => Class::Hidden,
        _ if name == CAPABILITY.as_bytes() => Class::Capability,
        acl::ACCESS | acl::DEFAULT => Class::Acl,
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
            (Verb::Set | Verb::Remove, Class::Capability) if !c.cred().can(cap::SETFCAP) => {
                return Err(Errno::PERM);
            }
            // What a layer could not put on an inode is recorded under any name.
            (_, Class::Native | Class::Capability) if !c.world.ownership.may_record(&name) => {
                return Ok(Reply::Continue);
            }
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
        acl::ACCESS => acl::with_mode(value, object.mode()),
        _ => value.clone(),
    };
    hand_out(c, c.arg(2), c.arg(3), &value)
}

fn may(c: &Caller<'_>, object: &Object, name: &[u8]) -> std::result::Result<(), Errno> {
    let cred = c.cred();
    let allowed = match class(name) {
        Class::Admin => cred.can(cap::SYS_ADMIN),
        Class::Capability => cred.can(cap::SETFCAP),
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
    c.world.ownership.set_record(object, record)?;
    Ok(DONE)
}

/// Capabilities go on the inode, also in place of recorded ones.
fn set_capability(c: &Caller<'_>, object: &Object, name: &[u8], value: &[u8]) -> Result {
    if c.world.ownership.capability(object).is_none() {
        return Ok(Reply::Continue);
    }
    if c.word(4) & XattrFlags::CREATE.bits() != 0 {
        return Err(Errno::EXIST);
    }
    c.still_waits()?;
    rustix::fs::setxattr(object.name().as_cstr(), name, value, XattrFlags::empty())?;
    c.world.ownership.drop_capability(object)?;
    Ok(DONE)
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
    let mut record = recorded(c, object);
    let known = record.xattrs.iter_mut().find(|(n, _)| n == name);
    match class(name) {
        Class::Acl if !acl::names_strangers(&value) => {
            // The kernel takes it, and a recorded one is over.
            let _ = remove(c, object, name);
            return Ok(Reply::Continue);
        }
        Class::Capability => return set_capability(c, object, name, &value),
        Class::Native if known.is_none() => return Ok(Reply::Continue),
        _ => {}
    }
    may(c, object, name)?;
    match (known.is_some(), flags) {
        (true, f) if f & create != 0 => return Err(Errno::EXIST),
        (false, f) if f & replace != 0 => return Err(Errno::NODATA),
        _ => {}
    }
    c.still_waits()?;
    if name == acl::ACCESS {
        // What the kernel makes of an ACL for whom it does not name.
        let mode = acl::mode(&value).ok_or(Errno::INVAL)? | (object.mode() & 0o7000);
        rustix::fs::chmodat(
            CWD,
            object.name().as_cstr(),
            Mode::from_raw_mode(mode),
            rustix::fs::AtFlags::empty(),
        )?;
    }
    match known {
        Some((_, old)) => *old = value,
        None => record.xattrs.push((name.to_vec(), value)),
    }
    c.world.ownership.set_record(object, record)?;
    if name == acl::DEFAULT {
        // Or the kernel would go on handing it down.
        let _ = rustix::fs::removexattr(object.name().as_cstr(), name);
    }
    Ok(DONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_whose_business_they_are() {
        for (name, want) in [
            (&b"user.x"[..], Class::Native),
            (b"user.containers.override_stat", Class::Hidden),
            (b"security.capability", Class::Capability),
            (b"security.selinux", Class::Admin),
            (b"trusted.overlay.x", Class::Admin),
            (acl::ACCESS, Class::Acl),
            (acl::DEFAULT, Class::Acl),
        ] {
            assert_eq!(class(name), want);
        }
    }
}
