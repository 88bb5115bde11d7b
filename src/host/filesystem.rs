//! The file system of the store: which it is, how full, and what layers can do on it.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, StatFs, XattrFlags, fgetxattr, fsetxattr, ioctl_ficlone,
    linkat, makedev, mknodat, open, statfs,
};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount};
use rustix::process::chdir;
use rustix::thread::UnshareFlags;

use super::facts;
use super::namespaces::enter;
use super::report::{Finding, Group, Subject};
use super::scratch::{self, Scratch, ScratchError};
use crate::sys::fork::{At as _, Failed, Stop, in_child};

const STORE: Subject = Subject::new(Group::Storage, "store", "file system of the store");
const WRITE: Subject = Subject::new(Group::Storage, "store-write", "writing to the store");
const OVERLAY: Subject = Subject::new(Group::Storage, "overlay", "kernel overlay (userxattr)");
const WHITEOUT: Subject = Subject::new(Group::Storage, "whiteout", "whiteouts (mknod 0:0)");
const XATTR: Subject = Subject::new(Group::Storage, "user-xattr", "user.* attributes");
const TMPFILE: Subject = Subject::new(Group::Storage, "o-tmpfile", "nameless files (O_TMPFILE)");
const REFLINK: Subject = Subject::new(Group::Storage, "reflink", "shared blocks (reflink)");
const FUSE: Subject = Subject::new(Group::Storage, "fuse", "FUSE mounts");
const FUSE_OVERLAYFS: Subject =
    Subject::new(Group::Storage, "fuse-overlayfs", "fuse-overlayfs program");

/// Below this, a pull of a usual image will not fit.
const BYTES_WANTED: u64 = 1 << 30;
/// A Debian image with a few tools has about this many files.
const INODES_WANTED: u64 = 20_000;

/// The name of a file system by the magic number that statfs(2) gives.
pub fn file_system_name(magic: u64) -> Option<&'static str> {
    Some(match magic & 0xffff_ffff {
        0x0000_ef53 => "ext4",
        0x5846_5342 => "xfs",
        0x9123_683e => "btrfs",
        0x0102_1994 => "tmpfs",
        0x8584_58f6 => "ramfs",
        0x794c_7630 => "overlay",
        0x0000_6969 => "nfs",
        0x0bd0_0bd0 => "lustre",
        0x4750_4653 => "gpfs",
        0x1983_0326 => "beegfs",
        0x00c3_6400 => "ceph",
        0xff53_4d42 => "cifs",
        0xfe53_4d42 => "smb3",
        0x0000_517b => "smb",
        0x5346_414f | 0x6b41_4653 => "afs",
        0x7472_616e => "orangefs",
        0x0102_1997 => "9p",
        0x6573_5546 => "fuse",
        0x2fc1_2fc1 => "zfs",
        0xca45_1a4e => "bcachefs",
        0xf2f5_2010 => "f2fs",
        0x7371_7368 => "squashfs",
        0xe0f5_e1e2 => "erofs",
        0x0000_4d44 => "vfat",
        0x2011_bab0 => "exfat",
        0x5dca_2df5 => "sdcardfs",
        0x0000_f15f => "ecryptfs",
        0x0000_9fa0 => "proc",
        0x6265_6572 => "sysfs",
        _ => return None,
    })
}

/// The name of the file system that `path` is on, if it has one.
pub fn file_system_of(path: &Path) -> Option<&'static str> {
    file_system_name(magic(&statfs(path).ok()?))
}

/// Whether other machines may see the same files, by the same magic number. Locks may block there,
/// and unpacked layers belong on a disk of the node.
pub fn is_network_file_system(magic: u64) -> bool {
    matches!(
        file_system_name(magic),
        Some(
            "nfs"
                | "lustre"
                | "gpfs"
                | "beegfs"
                | "ceph"
                | "cifs"
                | "smb3"
                | "smb"
                | "afs"
                | "orangefs"
                | "9p"
        )
    )
}

/// Type, space and inodes of the file system that the store is on, or will be.
pub fn store(data_root: &Path) -> Finding {
    let place = scratch::existing(data_root);
    let shown = data_root.display();
    let fs = match statfs(place) {
        Ok(fs) => fs,
        Err(errno) => {
            return STORE.missing(format!(
                "statfs {}: {}",
                place.display(),
                facts::errno_words(errno)
            ));
        }
    };
    let magic = magic(&fs);
    let name =
        file_system_name(magic).map_or_else(|| format!("unknown type {magic:#x}"), str::to_owned);
    let free = fs.f_bavail.saturating_mul(fs.f_frsize.unsigned_abs());
    // btrfs and some network file systems have no fixed number of inodes and say 0 of 0.
    let inodes = (fs.f_files > 0).then_some(fs.f_ffree);
    let counted = inodes.map_or_else(|| "inodes as needed".into(), |n| format!("{n} inodes free"));
    let detail = format!("{name}, {} free, {counted}, at {shown}", size(free));
    if is_network_file_system(magic) {
        return STORE
            .limited(format!(
                "{detail}: other machines may see it, locks may be slow, and the kernel's overlay \
                 takes no upper layer there"
            ))
            .instead("set CORACLE_ROOT to a disk of this machine, or the copy driver is used");
    }
    if name == "overlay" {
        return STORE
            .limited(format!(
                "{detail}: the root of an outer container, where the kernel's overlay takes no \
                 upper layer"
            ))
            .instead("set CORACLE_ROOT to a volume or a tmpfs");
    }
    if free < BYTES_WANTED || inodes.is_some_and(|n| n < INODES_WANTED) {
        return STORE.limited(format!("{detail}: little room for an image"));
    }
    STORE.ok(detail)
}

/// The type of a file system. The kernel's field is a word of changing width and sign.
#[allow(
    clippy::unnecessary_cast,
    reason = "the field's type differs by architecture"
)]
fn magic(fs: &StatFs) -> u64 {
    (fs.f_type as i64).cast_unsigned()
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes / 1024;
    let mut tenth = bytes % 1024 * 10 / 1024;
    let mut unit = 0;
    while value >= 1024 && unit + 1 < UNITS.len() {
        tenth = value % 1024 * 10 / 1024;
        value /= 1024;
        unit += 1;
    }
    format!("{value}.{tenth} {}", UNITS[unit])
}

/// The finding that stands for all others when the store cannot be written.
pub(super) fn unwritable(e: &ScratchError) -> Finding {
    let errno = Errno::from_io_error(&e.source).unwrap_or(Errno::IO);
    WRITE
        .missing(format!("{e}: {}", facts::errno_words(errno)))
        .instead("set CORACLE_ROOT, or --root, to a folder that you may write")
}

/// Make the trees that [`overlay`] mounts.
fn overlay_trees(scratch: &Scratch) -> std::io::Result<PathBuf> {
    let base = scratch.folder("overlay")?;
    for dir in ["upper", "work", "merged", "lower/replaced", "lower2"] {
        fs::create_dir_all(base.join(dir))?;
    }
    for file in [
        "lower/changed",
        "lower/removed",
        "lower/replaced/old",
        "lower2/below",
    ] {
        fs::write(base.join(file), "lower")?;
    }
    Ok(base)
}

/// Child only: mount them and do what a container does.
fn overlay_trial(base: &Path) -> Result<u64, Stop> {
    enter(UnshareFlags::NEWNS)?;
    // Relative names, so that no comma, colon or backslash of the user's path is in the options.
    chdir(base).at("chdir to the store")?;
    mount(
        "overlay",
        "merged",
        "overlay",
        MountFlags::empty(),
        c"lowerdir=lower:lower2,upperdir=upper,workdir=work,userxattr",
    )
    .at("mount overlay")?;
    fs::read("merged/below").at("read a file of a lower layer")?;
    File::options()
        .append(true)
        .open("merged/changed")
        .and_then(|mut f| f.write_all(b"+"))
        .at("change a file of a lower layer (copy-up)")?;
    fs::remove_file("merged/removed").at("remove a file of a lower layer (whiteout)")?;
    fs::remove_dir_all("merged/replaced")
        .and_then(|()| fs::create_dir("merged/replaced"))
        .at("replace a folder of a lower layer (opaque)")?;
    let hidden = fs::read_dir("merged/replaced")
        .at("read the replaced folder")?
        .next()
        .is_none();
    if hidden && !Path::new("merged/removed").exists() {
        Ok(0)
    } else {
        Err(Stop {
            stage: "hiding what was removed",
            errno: Errno::IO,
        })
    }
}

/// Does the kernel's overlay work for us with both layers on the file system of the store?
pub fn overlay(scratch: &Scratch) -> Finding {
    const INSTEAD: &str = "fuse-overlayfs if it works here, else a copy of each image";
    let base = match overlay_trees(scratch) {
        Ok(base) => base,
        Err(e) => {
            let errno = Errno::from_io_error(&e).unwrap_or(Errno::IO);
            return OVERLAY
                .missing(format!("making the layers: {}", facts::errno_words(errno)))
                .instead(INSTEAD);
        }
    };
    match in_child(|| overlay_trial(&base)) {
        Ok(_) => OVERLAY.ok("mounted; changed, removed and replaced files of a lower layer"),
        Err(failed) => OVERLAY
            .missing(overlay_why(
                &failed,
                statfs(scratch.path()).map_or(0, |fs| magic(&fs)),
            ))
            .instead(INSTEAD)
            .admin((failed.errno() == Some(Errno::NODEV)).then(|| "modprobe overlay".to_owned())),
    }
}

/// Why overlay failed on a file system with this magic number.
fn overlay_why(failed: &Failed, magic: u64) -> String {
    let said = facts::reason(failed);
    if failed.stage() != Some("mount overlay") {
        return said;
    }
    let name = file_system_name(magic).unwrap_or("this type");
    match failed.errno() {
        Some(Errno::NODEV) => {
            format!("{said}: the kernel has no overlay, or may not load it for us")
        }
        Some(Errno::PERM) => {
            format!("{said}: before Linux 5.11 an ordinary user may not, or a filter forbids it")
        }
        Some(Errno::INVAL) => format!(
            "{said}: the file system of the store ({name}) cannot hold an upper layer, or the \
             kernel is older than 5.11"
        ),
        _ => said,
    }
}

/// May a whiteout be made outside of any namespace, where layers are unpacked?
pub fn whiteout(scratch: &Scratch) -> Finding {
    let tried = in_child(|| {
        let file = scratch.path().join("whiteout");
        mknodat(
            CWD,
            &file,
            FileType::CharacterDevice,
            Mode::empty(),
            makedev(0, 0),
        )
        .at("mknod of a 0:0 device")?;
        let made = fs::symlink_metadata(&file).at("stat the whiteout")?;
        Ok(made.rdev())
    });
    match tried {
        Ok(0) => WHITEOUT.ok("can be made"),
        Ok(rdev) => WHITEOUT.limited(format!("a 0:0 device shows as {rdev:#x}")),
        Err(failed) => WHITEOUT
            .missing(facts::words(&failed))
            .instead("whiteouts written as attributes, or a copy of each image"),
    }
}

/// Can files and folders carry user.* attributes?
pub fn user_xattr(scratch: &Scratch) -> Finding {
    const NAME: &str = "user.coracle.probe";
    let tried = in_child(|| {
        let file = File::create(scratch.path().join("xattr")).at("create")?;
        fsetxattr(&file, NAME, b"value", XattrFlags::empty()).at("fsetxattr")?;
        let mut value = [0_u8; 16];
        let n = fgetxattr(&file, NAME, &mut value).at("fgetxattr")?;
        let dir = File::open(scratch.path()).at("open the folder")?;
        fsetxattr(&dir, NAME, b"value", XattrFlags::empty()).at("fsetxattr on a folder")?;
        Ok(n as u64)
    });
    match tried {
        Ok(_) => XATTR.ok("on files and folders"),
        Err(failed) => XATTR
            .missing(facts::words(&failed))
            .instead("owners are kept in a file beside the layer; no kernel overlay"),
    }
}

/// Can a file be written before it has a name?
pub fn tmpfile(scratch: &Scratch) -> Finding {
    let tried = in_child(|| {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = open(scratch.path(), flags, Mode::from_raw_mode(0o600)).at("open(O_TMPFILE)")?;
        let link = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file));
        let name = scratch.path().join("named");
        linkat(CWD, link, CWD, &name, AtFlags::SYMLINK_FOLLOW).at("linkat")?;
        Ok(0)
    });
    match tried {
        Ok(_) => TMPFILE.ok("can be made and named"),
        Err(failed) => TMPFILE
            .missing(facts::words(&failed))
            .instead("a file with a name of its own, renamed when it is complete"),
    }
}

/// Can a copy share its blocks with the original?
pub fn reflink(scratch: &Scratch) -> Finding {
    let tried = in_child(|| {
        let from = scratch.path().join("from");
        fs::write(&from, [1; 8192]).at("write")?;
        let from = File::open(&from).at("open")?;
        let to = File::create(scratch.path().join("to")).at("create")?;
        ioctl_ficlone(&to, &from).at("ioctl(FICLONE)")?;
        Ok(0)
    });
    match tried {
        Ok(_) => REFLINK.ok("the copy driver costs no space for data"),
        Err(failed) => REFLINK
            .missing(facts::words(&failed))
            .instead("the copy driver writes every byte again"),
    }
}

/// May we mount a FUSE file system in our own namespace?
pub fn fuse() -> Finding {
    const INSTEAD: &str = "without kernel overlay, a copy of each image";
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNS)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = open("/dev/fuse", flags, Mode::empty()).at("open /dev/fuse")?;
        let fd = std::os::fd::AsRawFd::as_raw_fd(&device);
        let options = format!("fd={fd},rootmode=40000,user_id=0,group_id=0\0");
        let options = std::ffi::CStr::from_bytes_with_nul(options.as_bytes())
            .map_err(|_| Errno::INVAL)
            .at("mount options")?;
        // The mount call does not wait for the program at the other end. The child only mounts,
        // never looks inside (which would wait), and takes the mount with it when it leaves.
        mount(
            "fuse",
            "/proc",
            "fuse",
            MountFlags::NOSUID | MountFlags::NODEV,
            options,
        )
        .at("mount fuse")?;
        Ok(0)
    });
    match tried {
        Ok(_) => FUSE.ok("/dev/fuse opens and mounts"),
        Err(failed) => {
            let said = facts::reason(&failed);
            let finding = match (failed.stage(), failed.errno()) {
                (Some("open /dev/fuse"), Some(Errno::NOENT)) => {
                    FUSE.missing(format!("{said}: no such device here")).admin(
                        "modprobe fuse   # in a container: start it with --device /dev/fuse"
                            .to_owned(),
                    )
                }
                (Some("open /dev/fuse"), Some(Errno::ACCESS | Errno::PERM)) => {
                    FUSE.missing(said).admin("chmod 0666 /dev/fuse".to_owned())
                }
                (Some("open /dev/fuse"), Some(Errno::NODEV | Errno::NXIO)) => {
                    FUSE.missing(said).admin("modprobe fuse".to_owned())
                }
                _ => FUSE.missing(said),
            };
            finding.instead(INSTEAD)
        }
    }
}

/// Is the fuse-overlayfs program installed?
pub fn fuse_overlayfs() -> Finding {
    match facts::program("fuse-overlayfs") {
        Some(path) => FUSE_OVERLAYFS.ok(path.display().to_string()),
        None => FUSE_OVERLAYFS
            .missing("not in PATH")
            .instead("without kernel overlay, a copy of each image")
            .admin("apt-get install fuse-overlayfs   # or: dnf install fuse-overlayfs".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_are_named_by_their_magic() {
        assert_eq!(file_system_name(0xef53), Some("ext4"));
        assert_eq!(file_system_name(0x0bd0_0bd0), Some("lustre"));
        // A 32-bit f_type with its top bit set arrives sign-extended.
        assert_eq!(file_system_name(0xffff_ffff_9123_683e), Some("btrfs"));
        assert_eq!(file_system_name(1), None);
        assert!(is_network_file_system(0x6969) && !is_network_file_system(0xef53));
        let here = magic(&statfs("/proc").unwrap());
        assert_eq!(
            file_system_name(here),
            Some("proc"),
            "against the kernel itself"
        );
    }

    #[test]
    fn sizes_are_rounded_down() {
        assert_eq!(size(0), "0.0 KiB");
        assert_eq!(size(1536), "1.5 KiB");
        assert_eq!(size((1 << 30) - 1), "1023.9 MiB");
        assert_eq!(size(5 << 40), "5.0 TiB");
        assert_eq!(size(u64::MAX), "16777215.9 TiB");
    }

    #[test]
    fn an_overlay_that_is_refused_names_the_file_system() {
        let failed = Failed::Stopped {
            stage: "mount overlay".into(),
            errno: Errno::INVAL,
        };
        let why = overlay_why(&failed, 0x6969);
        assert!(why.contains("(nfs)"), "{why}");
    }
}
