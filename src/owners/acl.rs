//! POSIX ACLs, in the form of the attributes that hold them: a version, then entries of tag, permissions
//! and id. acl(5), linux/posix_acl_xattr.h. Pure.

/// Attribute of the ACL of a file.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// Attribute of the ACL of what is made in a directory.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

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
pub fn names_strangers(value: &[u8]) -> bool {
    entries(value)
        .is_some_and(|mut all| all.any(|(tag, _, id)| matches!(tag, USER | GROUP) && id != 0))
}

/// The permission bits of a file with it: its mask takes the place of the group's.
pub fn mode(value: &[u8]) -> Option<u32> {
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
pub fn with_mode(value: &[u8], mode: u32) -> Vec<u8> {
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

/// What a new file in a directory with this default ACL gets, where its maker asks for `mode`: its
/// permission bits, and its ACL unless that says no more than they. acl(5), "Object creation and default ACLs".
pub fn inherit(value: &[u8], mode: u32) -> Option<(u32, Option<Vec<u8>>)> {
    let bits = self::mode(value)? & mode & 0o777;
    let more = entries(value)?.any(|(tag, ..)| matches!(tag, USER | GROUP | MASK));
    Some((bits, more.then(|| with_mode(value, bits))))
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
    fn what_a_directory_hands_down_is_bounded_by_the_mode() {
        let default = acl(&[
            (USER_OBJ, 7, 0),
            (USER, 7, 33),
            (GROUP_OBJ, 5, 0),
            (MASK, 7, 0),
            (OTHER, 5, 0),
        ]);
        let want = acl(&[
            (USER_OBJ, 6, 0),
            (USER, 7, 33),
            (GROUP_OBJ, 5, 0),
            (MASK, 6, 0),
            (OTHER, 4, 0),
        ]);
        assert_eq!(inherit(&default, 0o666), Some((0o664, Some(want))));
        let plain = acl(&[(USER_OBJ, 7, 0), (GROUP_OBJ, 7, 0), (OTHER, 0, 0)]);
        assert_eq!(inherit(&plain, 0o1666), Some((0o660, None)));
        assert_eq!(inherit(b"", 0o666), None);
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
