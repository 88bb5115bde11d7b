//! Which driver makes the root file system: the one that is forced, or the first of the ladder that this
//! machine and this file system allow, with a warning when it is a slower one.

use std::ffi::OsStr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;

use super::super::Error;
use super::super::progress::Progress;
use super::super::written::{self, ROOTFS};
use super::Source;
use crate::layer::remove_tree;
use crate::owners;
use crate::rootfs::{self, Driver, Root, Stack};
use crate::runtime::{self, Stage};
use crate::store::{ContainerDir, Store};

/// A copy that is not complete yet.
const DRAFT: &str = "rootfs.part";

/// Down the ladder of drivers, each tried by doing. What is slower than the kernel's overlay is used
/// with one warning, which for a copy comes before the long work.
pub(super) fn first_that_works<T>(
    attempt: impl Fn(Driver) -> Result<T, Error>,
    progress: &dyn Progress,
) -> Result<T, Error> {
    let unsuitable = |result| match result {
        Err(Error::Runtime(e)) if is_unsuitable(&e) => Ok(Err(e)),
        Ok(started) => Ok(Ok(started)),
        Err(e) => Err(e),
    };
    let warn = |driver: Driver, why: &str| {
        let driver = driver.name();
        progress.warn(&format!(
            "the root file system is made by {driver}, which is slower than the kernel's overlay ({why}); \
             --storage-driver {driver} asks for it without this warning, --root puts the store on another \
             file system, `coracle doctor` tells more"
        ));
    };
    let overlay = match unsuitable(attempt(Driver::Overlay))? {
        Ok(started) => return Ok(started),
        Err(e) => e,
    };
    let fuse = match unsuitable(attempt(Driver::FuseOverlayfs))? {
        Ok(started) => {
            warn(Driver::FuseOverlayfs, &overlay.to_string());
            return Ok(started);
        }
        Err(e) => e,
    };
    warn(Driver::Copy, &format!("{overlay}; {fuse}"));
    attempt(Driver::Copy)
}

/// Whether another driver may succeed where this one failed: the kernel or the store's file system
/// does not do it, as opposed to a mistake or a full disk.
fn is_unsuitable(e: &runtime::Error) -> bool {
    match e {
        runtime::Error::Init(f) => {
            f.stage == Stage::Root
                && matches!(
                    f.errno,
                    libc::EINVAL
                        | libc::EPERM
                        | libc::EACCES
                        | libc::ENODEV
                        | libc::EOPNOTSUPP
                        | libc::ENOSYS
                )
        }
        runtime::Error::FuseOverlayfs(_) => true,
        _ => false,
    }
}

/// The root file system by one driver. `volatile`: what is written to it will be thrown away.
pub(super) fn root(
    store: &Store,
    driver: Driver,
    source: &Source,
    container: &ContainerDir,
    volatile: bool,
) -> Result<Root, Error> {
    if source.image.is_none() {
        return Ok(Root::Directory(source.layers[0].clone()));
    }
    let skeleton = store.skeleton();
    let lowers: Vec<PathBuf> = source.layers.iter().cloned().chain([skeleton]).collect();
    if driver == Driver::Copy {
        let target = container.path().join(ROOTFS);
        // It is made once: what the container wrote at an earlier start is in it.
        if target.symlink_metadata().is_err() {
            copy(store, source, container, &lowers, &target)?;
        }
        return Ok(Root::Directory(target));
    }
    let stack = Stack {
        upper: container.upper(),
        work: container.work(),
        lowers,
        volatile,
    };
    like(&stack.upper, &stack.lowers[0])?;
    match rustix::fs::mkdir(&stack.work, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::file("create the directory", &stack.work, e.into())),
    }
    Ok(match driver {
        Driver::Overlay => Root::Overlay(stack),
        Driver::FuseOverlayfs | Driver::Copy => Root::Fuse(stack),
    })
}

/// Copy the image to `target`, which is whole if it is there.
fn copy(
    store: &Store,
    source: &Source,
    container: &ContainerDir,
    lowers: &[PathBuf],
    target: &Path,
) -> Result<(), Error> {
    let draft = container.path().join(DRAFT);
    // Of a start that was killed.
    remove_tree(container.as_fd(), OsStr::new(DRAFT)).map_err(Error::Layer)?;
    make_dir(&draft, &lowers[0])?;
    let lowers: Vec<&Path> = lowers.iter().map(PathBuf::as_path).collect();
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::open(&draft, flags, Mode::empty())
        .map_err(|e| Error::file("open", &draft, e.into()))?;
    rootfs::flatten(&lowers, dir.as_fd())?;
    written::settle(store, source.image.as_ref(), &draft)?;
    std::fs::rename(&draft, target).map_err(|e| Error::file("rename", &draft, e))
}

/// A directory that stands over another one, and looks like it.
pub(super) fn like(upper: &Path, lower: &Path) -> Result<(), Error> {
    make_dir(upper, lower)?;
    take_owner(upper, lower)
}

/// The owner of the image's root directory, where it is not root: overlay shows that of the container's.
fn take_owner(path: &Path, like: &Path) -> Result<(), Error> {
    let mut value = [0u8; 64];
    let owner = match rustix::fs::getxattr(like, owners::XATTR, &mut value) {
        Ok(n) => &value[..n],
        // As a rule, or in the layer's sidecar.
        Err(_) => return Ok(()),
    };
    rustix::fs::setxattr(path, owners::XATTR, owner, XattrFlags::empty())
        .map_err(|e| Error::file("set the owner of", path, e.into()))
}

/// A directory with the mode of another: the root directory of a container has that of its image.
fn make_dir(path: &Path, like: &Path) -> Result<(), Error> {
    let mode = |path: &Path| {
        rustix::fs::stat(path)
            .map(|s| Mode::from_raw_mode(s.st_mode & 0o7777))
            .map_err(|e| Error::file("read the mode of", path, e.into()))
    };
    let wanted = mode(like)?;
    match rustix::fs::mkdir(path, wanted) {
        // From an attempt with another driver.
        Ok(()) | Err(Errno::EXIST) => {}
        Err(e) => return Err(Error::file("create the directory", path, e.into())),
    }
    // The caller's umask took from it, perhaps.
    if mode(path)? == wanted {
        return Ok(());
    }
    rustix::fs::chmod(path, wanted).map_err(|e| Error::file("change the mode of", path, e.into()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_root_directory_has_the_images_owner() {
        let tmp = tempfile::tempdir().unwrap();
        let [image, own] = ["image", "own"].map(|n| tmp.path().join(n));
        std::fs::create_dir(&image).unwrap();
        std::fs::create_dir(&own).unwrap();
        take_owner(&own, &image).unwrap();
        assert_eq!(xattr::get(&own, owners::XATTR).unwrap(), None);
        xattr::set(&image, owners::XATTR, b"5:6:0755:dir").unwrap();
        take_owner(&own, &image).unwrap();
        let owner = xattr::get(&own, owners::XATTR).unwrap().unwrap();
        assert_eq!(owner, b"5:6:0755:dir");
    }

    #[derive(Default)]
    struct Warnings(Mutex<Vec<String>>);

    impl Progress for Warnings {
        fn warn(&self, message: &str) {
            self.0.lock().unwrap().push(message.to_owned());
        }
    }

    /// Drivers that are tried when these fail, what comes of it, and the warnings.
    fn ladder(unsuitable: &[Driver], broken: bool) -> (Vec<Driver>, bool, Vec<String>) {
        let tried = RefCell::new(Vec::new());
        let warnings = Warnings::default();
        let attempt = |driver: Driver| {
            tried.borrow_mut().push(driver);
            if unsuitable.contains(&driver) {
                return Err(runtime::Error::FuseOverlayfs(format!("no {}", driver.name())).into());
            }
            if broken {
                return Err(runtime::Error::Vanished.into());
            }
            Ok(())
        };
        let result = first_that_works(attempt, &warnings);
        (
            tried.into_inner(),
            result.is_ok(),
            warnings.0.into_inner().unwrap(),
        )
    }

    #[test]
    fn a_slower_driver_is_used_with_one_warning() {
        use Driver::{Copy, FuseOverlayfs, Overlay};
        assert_eq!(ladder(&[], false), (vec![Overlay], true, vec![]));
        // What no other driver would mend is told at once.
        assert_eq!(ladder(&[], true), (vec![Overlay], false, vec![]));
        let (tried, ok, warnings) = ladder(&[Overlay], false);
        assert_eq!(
            (tried, ok, warnings.len()),
            (vec![Overlay, FuseOverlayfs], true, 1)
        );
        assert!(
            warnings[0].contains("no overlay")
                && warnings[0].contains("--storage-driver fuse-overlayfs")
        );
        let (tried, ok, warnings) = ladder(&[Overlay, FuseOverlayfs], false);
        assert_eq!(
            (tried, ok, warnings.len()),
            (vec![Overlay, FuseOverlayfs, Copy], true, 1)
        );
        for part in ["no overlay", "no fuse-overlayfs", "--storage-driver copy"] {
            assert!(warnings[0].contains(part), "{warnings:?}");
        }
        let (_, ok, warnings) = ladder(&[Overlay], true);
        assert_eq!((ok, warnings.len()), (false, 0));
    }
}
