//! openat2(2) below a directory, where `..` may be on the way.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::path::Arg;

/// As often as others may get in the way: whoever renames in a loop must not keep us for ever.
const TRIES: usize = 1000;

/// Open, again if need be: with `RESOLVE_IN_ROOT` or `RESOLVE_BENEATH` the kernel gives up with EAGAIN when it meets
/// `..` and a directory was renamed, or something mounted, anywhere on the machine meanwhile.
///
/// # Errors
/// Of openat2(2).
pub fn openat2(
    dir: impl AsFd,
    path: impl Arg + Copy,
    flags: OFlags,
    mode: Mode,
    resolve: ResolveFlags,
) -> Result<OwnedFd, Errno> {
    let open = || rustix::fs::openat2(&dir, path, flags, mode, resolve);
    for _ in 1..TRIES {
        match open() {
            Err(Errno::AGAIN) => {}
            done => return done,
        }
    }
    open()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn renames_elsewhere_do_not_matter() {
        let tmp = tempfile::tempdir().unwrap();
        let [root, a, b] = ["root", "a", "b"].map(|n| tmp.path().join(n));
        std::fs::create_dir_all(root.join("d")).unwrap();
        std::fs::create_dir(&a).unwrap();
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, &root, flags, Mode::empty()).unwrap();
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    std::fs::rename(&a, &b).unwrap();
                    std::fs::rename(&b, &a).unwrap();
                }
            });
            let open = |_| {
                openat2(
                    &root,
                    c"../d/../d",
                    flags,
                    Mode::empty(),
                    ResolveFlags::IN_ROOT,
                )
            };
            let failed = (0..20_000).map(open).find_map(Result::err);
            over.store(true, Ordering::Relaxed);
            assert_eq!(failed, None);
        });
    }
}
