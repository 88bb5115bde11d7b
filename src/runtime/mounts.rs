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
    /// Apply `attr` to all mounts below.
    pub attr_recursive: bool,
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
    /// Read the option list of one mount.
    pub fn parse<S: AsRef<str>>(options: &[S]) -> Result<Self, MountOptionError> {
        let mut out = Self::default();
        let mut data: Vec<&str> = Vec::new();
        for word in options.iter().map(AsRef::as_ref) {
            let mut set = |flag: MountFlags, attr: MountAttr| {
                out.flags |= flag.bits();
                out.attr |= attr;
            };
            match word {
                "defaults" | "rw" | "suid" | "dev" | "exec" | "async" | "nolazytime" | "nomand"
                | "loud" | "" => {}
                "ro" => set(MountFlags::RDONLY, MountAttr::RDONLY),
                "nosuid" => set(MountFlags::NOSUID, MountAttr::NOSUID),
                "nodev" => set(MountFlags::NODEV, MountAttr::NODEV),
                "noexec" => set(MountFlags::NOEXEC, MountAttr::NOEXEC),
                "noatime" => set(MountFlags::NOATIME, MountAttr::NOATIME),
                "nodiratime" => set(MountFlags::NODIRATIME, MountAttr::empty()),
                "relatime" => set(MountFlags::RELATIME, MountAttr::empty()),
                "strictatime" => set(MountFlags::STRICTATIME, MountAttr::empty()),
                "lazytime" => set(MountFlags::LAZYTIME, MountAttr::empty()),
                "sync" => set(MountFlags::SYNCHRONOUS, MountAttr::empty()),
                "dirsync" => set(MountFlags::DIRSYNC, MountAttr::empty()),
                "silent" => set(MountFlags::SILENT, MountAttr::empty()),
                "rro" | "rnosuid" | "rnodev" | "rnoexec" | "rnoatime" => {
                    out.attr_recursive = true;
                    out.attr |= match word {
                        "rro" => MountAttr::RDONLY,
                        "rnosuid" => MountAttr::NOSUID,
                        "rnodev" => MountAttr::NODEV,
                        "rnoexec" => MountAttr::NOEXEC,
                        _ => MountAttr::NOATIME,
                    };
                }
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
                "rrw" | "rsuid" | "rdev" | "rexec" => {
                    return Err(MountOptionError::Unprivileged(word.to_owned()));
                }
                "idmap" | "ridmap" => return Err(MountOptionError::IdMap(word.to_owned())),
                other => data.push(other),
            }
        }
        out.data = data.join(",");
        Ok(out)
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
        assert!(o.attr_recursive && o.attr == MountAttr::RDONLY);
    }

    #[test]
    fn what_one_id_cannot_do_is_refused() {
        assert!(MountOptions::parse(&["bind", "idmap"]).is_err());
        assert!(MountOptions::parse(&["rbind", "rrw"]).is_err());
    }
}
