//! How a container with a network namespace of its own can reach the outside.

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::thread::UnshareFlags;

use super::facts;
use super::namespaces::enter;
use super::report::{Finding, Group, Subject};
use crate::sys::fork::{At as _, in_child};
use crate::sys::trial;

const TUN: Subject = Subject::new(Group::Network, "tun", "tun device");
const PASTA: Subject = Subject::new(Group::Network, "pasta", "pasta program");
const SLIRP: Subject = Subject::new(Group::Network, "slirp4netns", "slirp4netns program");

/// Can a tun interface be made in a network namespace of ours?
pub fn tun() -> Finding {
    const INSTEAD: &str = "--network=host or --network=none";
    let tried = in_child(|| {
        enter(UnshareFlags::NEWNET)?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC;
        let device = open("/dev/net/tun", flags, Mode::empty()).at("open /dev/net/tun")?;
        trial::attach_tun(std::os::fd::AsFd::as_fd(&device)).at("ioctl(TUNSETIFF)")?;
        Ok(0)
    });
    match tried {
        Ok(_) => TUN.ok("/dev/net/tun opens and gives an interface in a new network namespace"),
        Err(failed) => {
            let opening = failed.stage() == Some("open /dev/net/tun");
            let admin = match failed.errno() {
                Some(Errno::NOENT) if opening => Some(
                    "modprobe tun   # in a container: start it with --device /dev/net/tun"
                        .to_owned(),
                ),
                Some(Errno::NODEV | Errno::NXIO) if opening => Some("modprobe tun".to_owned()),
                Some(Errno::ACCESS | Errno::PERM) if opening => {
                    Some("chmod 0666 /dev/net/tun".to_owned())
                }
                _ => None,
            };
            TUN.missing(facts::reason(&failed))
                .instead(INSTEAD)
                .admin(admin)
        }
    }
}

/// Is pasta installed?
pub fn pasta() -> Finding {
    match facts::program("pasta") {
        Some(path) => PASTA.ok(path.display().to_string()),
        None => PASTA
            .missing("not in PATH")
            .instead("slirp4netns if it is there, else --network=host or none")
            .admin("apt-get install passt   # or: dnf install passt".to_owned()),
    }
}

/// Is slirp4netns installed?
pub fn slirp4netns() -> Finding {
    match facts::program("slirp4netns") {
        Some(path) => SLIRP.ok(path.display().to_string()),
        None => SLIRP
            .missing("not in PATH")
            .instead("pasta if it is there, else --network=host or none")
            .admin("apt-get install slirp4netns   # or: dnf install slirp4netns".to_owned()),
    }
}
