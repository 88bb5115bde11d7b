//! Merging by hand-made layers.

use super::*;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

fn setxattr(path: impl AsRef<Path>, name: &str, value: &[u8]) {
    rustix::fs::setxattr(path.as_ref(), name, value, XattrFlags::empty()).unwrap();
}

#[test]
fn layers_merge_as_overlay_would() {
    let tmp = tempfile::tempdir().unwrap();
    let at = |p: &str| tmp.path().join(p);
    for d in [
        "top/a",
        "top/op",
        "mid/a",
        "mid/shut",
        "low/a/sub",
        "low/op",
        "low/shut",
        "low/gone",
        "dest",
    ] {
        fs::create_dir_all(at(d)).unwrap();
    }
    fs::write(at("low/a/x"), "low").unwrap();
    fs::write(at("low/a/sub/y"), "low").unwrap();
    fs::write(at("mid/a/x"), "mid").unwrap();
    fs::write(at("low/op/hidden"), "").unwrap();
    setxattr(at("top/op"), "user.overlay.opaque", b"y");
    for wh in ["top/gone", "mid/a/sub"] {
        mknodat(CWD, at(wh), FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }
    // A file in the middle ends the merge of directories above and below it.
    fs::write(at("mid/blocker"), "").unwrap();
    fs::create_dir_all(at("top/blocker")).unwrap();
    fs::create_dir_all(at("low/blocker/deep")).unwrap();
    // Metadata.
    fs::write(at("low/one"), "1").unwrap();
    fs::hard_link(at("low/one"), at("low/shut/two")).unwrap();
    setxattr(
        at("low/one"),
        "user.containers.override_stat",
        b"5:5:4711:file",
    );
    fs::set_permissions(at("low/one"), fs::Permissions::from_mode(0o4711)).unwrap();
    fs::set_permissions(at("mid/shut"), fs::Permissions::from_mode(0o1500)).unwrap();
    let sparse = fs::File::create(at("low/sparse")).unwrap();
    sparse.set_len(10 << 20).unwrap();
    rustix::io::pwrite(&sparse, b"end", (5 << 20) + 1).unwrap();
    let old = fs::File::open(at("mid/shut")).unwrap();
    let long_ago = Timespec {
        tv_sec: -5,
        tv_nsec: 7,
    };
    futimens(
        &old,
        &Timestamps {
            last_access: long_ago,
            last_modification: long_ago,
        },
    )
    .unwrap();

    let dest = fs::File::open(at("dest")).unwrap();
    let lowers = [at("top"), at("mid"), at("low")];
    flatten(&lowers.each_ref().map(PathBuf::as_path), dest.as_fd()).unwrap();

    let names = |p: &str| {
        let mut v: Vec<_> = fs::read_dir(at(p))
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        v.sort();
        v
    };
    assert_eq!(
        names("dest"),
        ["a", "blocker", "one", "op", "shut", "sparse"]
    );
    assert_eq!(names("dest/a"), ["x"]);
    assert_eq!(fs::read(at("dest/a/x")).unwrap(), b"mid");
    assert!(names("dest/op").is_empty());
    assert!(names("dest/blocker").is_empty());
    let one = fs::metadata(at("dest/one")).unwrap();
    assert_eq!((one.nlink(), one.mode() & 0o7777), (2, 0o4711));
    assert_eq!(one.ino(), fs::metadata(at("dest/shut/two")).unwrap().ino());
    let mut value = [0; 32];
    let n = rustix::fs::getxattr(
        at("dest/one"),
        "user.containers.override_stat",
        &mut value[..],
    )
    .unwrap();
    assert_eq!(&value[..n], b"5:5:4711:file");
    let shut = fs::metadata(at("dest/shut")).unwrap();
    assert_eq!(
        (shut.mode() & 0o7777, shut.mtime(), shut.mtime_nsec()),
        (0o1500, -5, 7)
    );
    let copy = fs::metadata(at("dest/sparse")).unwrap();
    assert_eq!(copy.len(), 10 << 20);
    assert!(copy.blocks() * 512 < 1 << 20, "the holes were filled");
    assert_eq!(
        fs::read(at("dest/sparse")).unwrap(),
        fs::read(at("low/sparse")).unwrap()
    );
    let n = rustix::fs::listxattr(at("dest/op"), &mut value[..]).unwrap();
    assert_eq!(n, 0, "overlay's own xattrs were copied");
    // For the removal, when this is not root.
    fs::set_permissions(at("dest/shut"), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn symlinks_in_a_layer_lead_nowhere() {
    let tmp = tempfile::tempdir().unwrap();
    let at = |p: &str| tmp.path().join(p);
    for d in ["top", "low/d", "dest", "outside"] {
        fs::create_dir_all(at(d)).unwrap();
    }
    fs::write(at("low/d/f"), "x").unwrap();
    std::os::unix::fs::symlink(at("outside"), at("top/d")).unwrap();
    let dest = fs::File::open(at("dest")).unwrap();
    flatten(&[&at("top"), &at("low")], dest.as_fd()).unwrap();
    assert!(fs::symlink_metadata(at("dest/d")).unwrap().is_symlink());
    assert_eq!(fs::read_dir(at("outside")).unwrap().count(), 0);
}

/// Root can read everything: as an ordinary user, which a child becomes if need be.
#[test]
fn what_shuts_out_its_owner_is_copied() {
    use crate::sys::fork::{At as _, in_child};
    const USER: u32 = 4242;
    let become_user = || {
        if rustix::process::geteuid().is_root() {
            rustix::thread::set_thread_groups(&[]).at("setgroups")?;
            rustix::thread::set_thread_gid(rustix::process::Gid::from_raw(USER)).at("setgid")?;
            rustix::thread::set_thread_uid(rustix::process::Uid::from_raw(USER)).at("setuid")?;
            // The kernel's answer to a change of ids: /proc/self would belong to root.
            let dumpable = rustix::process::DumpableBehavior::Dumpable;
            rustix::process::set_dumpable_behavior(dumpable).at("prctl")?;
        }
        Ok(0)
    };
    let tmp = tempfile::tempdir().unwrap();
    let at = |p: &str| tmp.path().join(p);
    fs::create_dir_all(at("low/d/sub")).unwrap();
    fs::create_dir(at("dest")).unwrap();
    fs::write(at("low/d/file"), "shut").unwrap();
    fs::write(at("low/d/sub/deep"), "shut").unwrap();
    fs::set_permissions(at("low/d/sub/deep"), fs::Permissions::from_mode(0o644)).unwrap();
    for path in ["low/d/file", "low/d/sub", "low/d"] {
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o000)).unwrap();
    }
    if rustix::process::geteuid().is_root() {
        for path in [
            "",
            "low",
            "low/d",
            "low/d/sub",
            "low/d/sub/deep",
            "low/d/file",
            "dest",
        ] {
            std::os::unix::fs::chown(at(path), Some(USER), Some(USER)).unwrap();
        }
    }
    if let Err(e) = in_child(|| {
        become_user()?;
        crate::sys::userns::enter_as_root().map(|()| 0)
    }) {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "no user namespaces: {e}"
        );
        return;
    }
    let dest = fs::File::open(at("dest")).unwrap();
    in_child(|| {
        become_user()?;
        match flatten(&[&at("low")], dest.as_fd()) {
            Ok(()) => Ok(0),
            Err(Error::Sys { source, .. }) => Err(source).at("flatten"),
            Err(_) => Err(Errno::IO).at("flatten"),
        }
    })
    .unwrap();
    // For us to look at it, when this is not root.
    for path in ["dest/d", "dest/d/sub", "low/d", "low/d/sub"] {
        let mode = fs::metadata(at(path)).unwrap().mode() & 0o7777;
        assert_eq!(mode, 0, "{path}");
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o700)).unwrap();
    }
    for path in ["dest/d/file", "dest/d/sub/deep"] {
        let mode = if path.ends_with("file") { 0 } else { 0o644 };
        assert_eq!(fs::metadata(at(path)).unwrap().mode() & 0o777, mode);
        fs::set_permissions(at(path), fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(fs::read(at(path)).unwrap(), b"shut");
    }
}
