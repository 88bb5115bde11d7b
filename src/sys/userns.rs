//! A user namespace for a forked child of ours: for probes, and for work that needs the rights of root
//! over the user's own files. user_namespaces(7).

use std::fs;

use rustix::io::Errno;
use rustix::process::{getegid, geteuid};
use rustix::thread::UnshareFlags;

use super::fork::{At as _, Stop};

/// unshare(2) for namespaces.
///
/// # Errors
/// The kernel's, and `EINVAL` for `CLONE_FILES`, which would break the ownership of descriptors.
pub fn unshare(flags: UnshareFlags) -> Result<(), Errno> {
    if flags.contains(UnshareFlags::FILES) {
        return Err(Errno::INVAL);
    }
    // SAFETY: the precondition concerns CLONE_FILES only, which was just refused.
    unsafe { rustix::thread::unshare_unsafe(flags) }
}

/// Child only: enter a user namespace of one id, whose root is the caller. There the caller has all
/// capabilities over what belongs to it: a file that shuts out its owner can be opened.
///
/// # Errors
/// The stage and errno of what was refused. The process may then be in a namespace without a map.
pub fn enter_as_root() -> Result<(), Stop> {
    // Read before: inside, both are the overflow id until the maps are written.
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    unshare(UnshareFlags::NEWUSER).at("unshare(CLONE_NEWUSER)")?;
    // The order matters: without privilege gid_map takes a line only after setgroups is denied.
    fs::write("/proc/self/setgroups", "deny").at("write \"deny\" to /proc/self/setgroups")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).at("write /proc/self/uid_map")?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).at("write /proc/self/gid_map")
}
