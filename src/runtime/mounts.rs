//! Mount options as words, to flags and data. OCI runtime-spec config.md "Linux mount options",
//! mount(8).

use rustix::mount::{MountFlags, MountPropagationFlags};

use crate::sys::mount::MountAttr;

/// What the words of one mount mean.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MountOptions {
    /// A bind mount.
    pub bind: bool,
    /// Bind what is mounted below as well.
    pub recursive: bool,
    /// Flags for mount(2) of a new file system.
    pub flags: u32,
    /// Attributes that a bind mount gets.
    pub attr: MountAttr,
    /// Attributes that it and all mounts below get.
    pub attr_below: MountAttr,
    /// Attributes that are taken from it and all mounts below.
    pub clear_below: MountAttr,
    /// Files show other owners, as an id map says; with `true` those of mounts below, too.
    pub idmap: Option<bool>,
    /// Begin with a copy of what is covered.
    pub copy_up: bool,
    /// `MS_PRIVATE` and so on, or 0.
    pub propagation: u32,
    /// What is left for the file system.
    pub data: String,
}

/// An option that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MountOptionError {
    /// Undoing a protection of a mount that belongs to somebody else.
    #[error("mount option {0:?} needs rights over the file system's own namespace")]
    Unprivileged(String),
    /// Id-mapped mounts need a second id.
    #[error("mount option {0:?} needs more than the one id that this container has")]
    IdMap(String),
}

impl MountOptions {
    /// Read the option list of one mount, for a container of one id.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Result<Self, MountOptionError> {
        for word in options.iter().map(AsRef::as_ref) {
            match word {
                "rrw" | "rsuid" | "rdev" | "rexec" => {
                    return Err(MountOptionError::Unprivileged(word.to_owned()));
                }
                "idmap" | "ridmap" => return Err(MountOptionError::IdMap(word.to_owned())),
                _ => {}
            }
        }
        Ok(Self::read(options))
    }

    /// Read the option list of one mount, whatever the kernel will say to it.
    pub fn read<S: AsRef<str>>(options: &[S]) -> Self {
        let mut out = Self::default();
        let mut data: Vec<&str> = Vec::new();
        for word in options.iter().map(AsRef::as_ref) {
            let mut set = |flag: MountFlags, attr: MountAttr| {
                out.flags |= flag.bits();
                out.attr |= attr;
            };
            match word {
                "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "nolazytime" | "nomand"
                | "loud" | "atime" | "diratime" | "norelatime" | "nostrictatime" | "symfollow"
                | "" => {}
                "ro" => set(MountFlags::RDONLY, MountAttr::RDONLY),
                "nosuid" => set(MountFlags::NOSUID, MountAttr::NOSUID),
                "nodev" => set(MountFlags::NODEV, MountAttr::NODEV),
                "noexec" => set(MountFlags::NOEXEC, MountAttr::NOEXEC),
                "noatime" => set(MountFlags::NOATIME, MountAttr::NOATIME),
                "nodiratime" => set(MountFlags::NODIRATIME, MountAttr::NODIRATIME),
                "relatime" => set(MountFlags::RELATIME, MountAttr::empty()),
                "strictatime" => set(MountFlags::STRICTATIME, MountAttr::STRICTATIME),
                "lazytime" => set(MountFlags::LAZYTIME, MountAttr::empty()),
                "sync" => set(MountFlags::SYNCHRONOUS, MountAttr::empty()),
                "dirsync" => set(MountFlags::DIRSYNC, MountAttr::empty()),
                "silent" => set(MountFlags::SILENT, MountAttr::empty()),
                "rro" => out.attr_below |= MountAttr::RDONLY,
                "rnosuid" => out.attr_below |= MountAttr::NOSUID,
                "rnodev" => out.attr_below |= MountAttr::NODEV,
                "rnoexec" => out.attr_below |= MountAttr::NOEXEC,
                "rnoatime" => out.attr_below |= MountAttr::NOATIME,
                "rstrictatime" => out.attr_below |= MountAttr::STRICTATIME,
                "rnodiratime" => out.attr_below |= MountAttr::NODIRATIME,
                "rnosymfollow" => out.attr_below |= MountAttr::NOSYMFOLLOW,
                "rrw" => out.clear_below |= MountAttr::RDONLY,
                "rsuid" => out.clear_below |= MountAttr::NOSUID,
                "rdev" => out.clear_below |= MountAttr::NODEV,
                "rexec" => out.clear_below |= MountAttr::NOEXEC,
                // Without a bit of its own: what is not one of the others.
                "ratime" | "rrelatime" => out.clear_below |= MountAttr::NOATIME,
                "rnostrictatime" | "rnorelatime" => out.clear_below |= MountAttr::STRICTATIME,
                "rdiratime" => out.clear_below |= MountAttr::NODIRATIME,
                "rsymfollow" => out.clear_below |= MountAttr::NOSYMFOLLOW,
                "idmap" => out.idmap = Some(false),
                "ridmap" => out.idmap = Some(true),
                "tmpcopyup" => out.copy_up = true,
                "nosymfollow" => set(MountFlags::from_bits_retain(256), MountAttr::NOSYMFOLLOW),
                "bind" => out.bind = true,
                "rbind" => {
                    out.bind = true;
                    out.recursive = true;
                }
                "private" | "rprivate" => out.set_propagation(word, MountPropagationFlags::PRIVATE),
                "slave" | "rslave" => out.set_propagation(word, MountPropagationFlags::DOWNSTREAM),
                "shared" | "rshared" => out.set_propagation(word, MountPropagationFlags::SHARED),
                "unbindable" | "runbindable" => {
                    out.set_propagation(word, MountPropagationFlags::UNBINDABLE);
                }
                other => data.push(other),
            }
        }
        out.data = data.join(",");
        out
    }

    fn set_propagation(&mut self, word: &str, flag: MountPropagationFlags) {
        self.propagation = flag.bits();
        if word.starts_with('r') {
            self.propagation |= MountPropagationFlags::REC.bits();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_flags_and_the_rest_is_data() {
        let o = MountOptions::parse(&["rbind", "ro", "nosuid", "rslave", "size=64k", "mode=1777"])
            .unwrap();
        assert!(o.bind && o.recursive);
        assert_eq!(o.attr, MountAttr::RDONLY | MountAttr::NOSUID);
        assert_eq!(o.data, "size=64k,mode=1777");
        assert_eq!(u64::from(o.propagation), libc::MS_SLAVE | libc::MS_REC);
        let o = MountOptions::parse(&["bind", "rro"]).unwrap();
        assert!(o.attr.is_empty() && o.attr_below == MountAttr::RDONLY);
        let o = MountOptions::read(&["rbind", "rrw", "ridmap", "rnoatime"]);
        assert_eq!((o.clear_below, o.idmap), (MountAttr::RDONLY, Some(true)));
    }

    #[test]
    fn what_one_id_cannot_do_is_refused() {
        assert!(MountOptions::parse(&["bind", "idmap"]).is_err());
        assert!(MountOptions::parse(&["rbind", "rrw"]).is_err());
    }
}
