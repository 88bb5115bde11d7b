//! `--user` and the image's USER to one uid and one gid. Names are looked up in the image's own
//! passwd(5) and group(5), before any namespace exists; or, for `exec`, in those of a container that runs.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, ResolveFlags, open, openat2};
use rustix::io::Errno;

use crate::ops::Error;
use crate::rootfs::LayeredView;

/// Larger files of this kind exist only to hurt.
const FILE_MAX: u64 = 16 << 20;

/// The one user and group of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ops) struct Ids {
    pub uid: u32,
    pub gid: u32,
}

/// The content of a file of an image or container by its path; empty if there is none.
pub(in crate::ops) type Read<'a> = dyn Fn(&str) -> Result<String, Error> + 'a;

fn of_layers(layers: &[PathBuf]) -> impl Fn(&str) -> Result<String, Error> {
    move |path| {
        let bytes = LayeredView::new(layers).read_file(path, FILE_MAX)?;
        Ok(String::from_utf8_lossy(&bytes.unwrap_or_default()).into_owned())
    }
}

/// Who `spec` (`USER[:GROUP]`, names or numbers; empty means root) is. `layers` has the topmost first.
pub(in crate::ops) fn resolve(spec: &str, layers: &[PathBuf]) -> Result<Ids, Error> {
    resolve_by(spec, &of_layers(layers))
}

/// The same, by other files.
pub(in crate::ops) fn resolve_by(spec: &str, read: &Read<'_>) -> Result<Ids, Error> {
    let (user, group) = match spec.split_once(':') {
        Some((u, g)) => (u, Some(g).filter(|g| !g.is_empty())),
        None => (spec, None),
    };
    if spec == ":" {
        return Err(Error::NoSuchUser(spec.to_owned()));
    }
    // The usual case touches no file.
    if matches!(user, "" | "0") && group.is_none_or(|g| g == "0") {
        return Ok(Ids { uid: 0, gid: 0 });
    }
    let passwd = read("/etc/passwd")?;
    let (uid, primary) =
        find_user(user, &passwd).ok_or_else(|| Error::NoSuchUser(user.to_owned()))?;
    let gid = match group {
        None => primary,
        Some(g) => match g.parse() {
            Ok(gid) => gid,
            Err(_) => find_group(g, &read("/etc/group")?)
                .ok_or_else(|| Error::NoSuchGroup(g.to_owned()))?,
        },
    };
    Ok(Ids { uid, gid })
}

/// The supplementary groups of the first process, as docker gives them: those that list the user unless
/// `spec` names a group, and those to `add`, by name or number.
pub(super) fn groups(
    spec: &str,
    ids: Ids,
    add: &[String],
    layers: &[PathBuf],
) -> Result<Vec<u32>, Error> {
    if add.is_empty() && (names_a_group(spec) || is_in_no_group(ids.uid, layers)) {
        return Ok(Vec::new());
    }
    groups_by(spec, ids, add, &of_layers(layers))
}

/// The same, by other files.
pub(in crate::ops) fn groups_by(
    spec: &str,
    ids: Ids,
    add: &[String],
    read: &Read<'_>,
) -> Result<Vec<u32>, Error> {
    let named = names_a_group(spec);
    if named && add.is_empty() {
        return Ok(Vec::new());
    }
    // root can do without, and so can an image whose files are none.
    let optional = ids.uid == 0 && add.is_empty();
    let read = |path: &str| match read(path) {
        Err(_) if optional => Ok(String::new()),
        text => text,
    };
    let mut groups = Vec::new();
    if named && add.iter().all(|g| g.parse::<u32>().is_ok()) {
        groups.extend(add.iter().filter_map(|g| g.parse::<u32>().ok()));
        return Ok(unique(groups));
    }
    let file = read("/etc/group")?;
    if !named {
        let passwd = read("/etc/passwd")?;
        let name = names_of(ids.uid, &passwd).next();
        groups.extend(name.map(|name| groups_of(name, &file)).unwrap_or_default());
    }
    for group in add {
        let number = group.parse().ok().or_else(|| find_group(group, &file));
        groups.push(number.ok_or_else(|| Error::NoSuchGroup(group.clone()))?);
    }
    Ok(unique(groups))
}

fn names_a_group(spec: &str) -> bool {
    spec.split_once(':').is_some_and(|(_, g)| !g.is_empty())
}

/// Whether no group of any layer lists a name that any layer gives to this uid: then nobody has to find out
/// which layer's files count. So it is with root in nearly every image. `false` also when a short look
/// cannot tell.
fn is_in_no_group(uid: u32, layers: &[PathBuf]) -> bool {
    let (mut names, mut members) = (Vec::new(), Vec::new());
    for layer in layers {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Ok(dir) = open(layer, flags, Mode::empty()) else {
            return false;
        };
        let Some(group) = short(&dir, c"etc/group") else {
            return false;
        };
        let listed = group.lines().filter_map(|l| l.split(':').nth(3));
        let listed = listed.flat_map(|m| m.split(',')).filter(|m| !m.is_empty());
        members.extend(listed.map(str::to_owned));
        let Some(passwd) = short(&dir, c"etc/passwd") else {
            return false;
        };
        names.extend(names_of(uid, &passwd).map(str::to_owned));
    }
    !names.iter().any(|n| members.contains(n))
}

/// A small file of one layer, empty if there is none. `None` where it is large, or behind a link.
fn short(layer: &OwnedFd, path: &CStr) -> Option<String> {
    let mut text = [0u8; 8192];
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    // No link of a hostile image leads out of it.
    match openat2(layer, path, flags, Mode::empty(), ResolveFlags::NO_SYMLINKS) {
        Err(Errno::NOENT) => Some(String::new()),
        Err(_) => None,
        Ok(file) => match rustix::io::read(&file, &mut text) {
            Ok(n) if n < text.len() => Some(String::from_utf8_lossy(&text[..n]).into_owned()),
            _ => None,
        },
    }
}

fn unique(mut groups: Vec<u32>) -> Vec<u32> {
    groups.sort_unstable();
    groups.dedup();
    groups
}

fn names_of(uid: u32, passwd: &str) -> impl Iterator<Item = &str> {
    passwd.lines().filter_map(move |line| {
        let mut f = line.split(':');
        let name = f.next()?;
        (f.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

fn groups_of(user: &str, file: &str) -> Vec<u32> {
    file.lines()
        .filter_map(|line| {
            let mut f = line.split(':');
            let gid = f.nth(2)?.parse().ok()?;
            f.next()?.split(',').any(|m| m == user).then_some(gid)
        })
        .collect()
}

/// uid and primary gid. A number need not be in the file; its group is then 0, as docker has it.
fn find_user(user: &str, passwd: &str) -> Option<(u32, u32)> {
    let user = if user.is_empty() { "0" } else { user };
    let number: Option<u32> = user.parse().ok();
    let entries = passwd.lines().filter_map(|line| {
        let mut f = line.split(':');
        let (name, _, uid, gid) = (
            f.next()?,
            f.next()?,
            f.next()?.parse().ok()?,
            f.next()?.parse().ok()?,
        );
        Some((name, uid, gid))
    });
    let found = entries
        .into_iter()
        .find(|(name, uid, _)| *name == user || Some(*uid) == number);
    match (found, number) {
        (Some((_, uid, gid)), _) => Some((uid, gid)),
        (None, Some(uid)) => Some((uid, 0)),
        (None, None) => None,
    }
}

fn find_group(group: &str, file: &str) -> Option<u32> {
    file.lines().find_map(|line| {
        let mut f = line.split(':');
        (f.next()? == group).then(|| f.nth(1)?.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nbroken\nwww-data:x:33:34:w:/var/www:/bin/false\n:x:7:7::/:\n";

    #[test]
    fn users_by_name_and_number() {
        assert_eq!(find_user("www-data", PASSWD), Some((33, 34)));
        assert_eq!(find_user("33", PASSWD), Some((33, 34)));
        assert_eq!(find_user("1000", PASSWD), Some((1000, 0)));
        assert_eq!(find_user("", PASSWD), Some((0, 0)));
        assert_eq!(find_user("nobody-here", PASSWD), None);
        assert_eq!(find_user("-1", PASSWD), None);
        assert_eq!(find_user("4294967296", PASSWD), None);
    }

    #[test]
    fn supplementary_groups() {
        assert_eq!(names_of(33, PASSWD).next(), Some("www-data"));
        let file = "root:x:0:\nstaff:x:50:a,www-data\nbad\nssl:x:7:www-data\nx:x:9:www\n";
        assert_eq!(groups_of("www-data", file), [50, 7]);
    }

    #[test]
    fn a_short_look_at_all_layers() {
        let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let layers = dirs.each_ref().map(|d| d.path().to_owned());
        let free = |uid| is_in_no_group(uid, &layers);
        assert!(free(0), "no files");
        for layer in &layers {
            std::fs::create_dir(layer.join("etc")).unwrap();
        }
        let (passwd, group) = (layers[0].join("etc/passwd"), layers[1].join("etc/group"));
        std::fs::write(&passwd, format!("{PASSWD}toor:x:0:0::/:\n")).unwrap();
        std::fs::write(&group, "root:x:0:\nstaff:x:50:a,www-data\n").unwrap();
        assert!(free(0) && free(7) && !free(33));
        std::fs::write(&group, "root:x:0:a,toor\n").unwrap();
        assert!(!free(0) && free(33));
        std::fs::write(&group, "root:x:0:\n".repeat(1000)).unwrap();
        assert!(!free(0), "too long to tell");
        std::fs::remove_file(&group).unwrap();
        std::os::unix::fs::symlink("/dev/null", &group).unwrap();
        assert!(!free(0), "a link");
    }

    #[test]
    fn groups_by_name() {
        let file = "root:x:0:\nstaff:x:50:a,b\nbad\n";
        assert_eq!(find_group("staff", file), Some(50));
        assert_eq!(find_group("bad", file), None);
    }
}
