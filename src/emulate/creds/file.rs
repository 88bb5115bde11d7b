//! What an exec gets from the file: set-id bits and file capabilities. Pure. execve(2), capabilities(7).

/// What execve(2) looks at of a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executable {
    /// Set-user-ID: whom it becomes.
    pub setuid: Option<u32>,
    /// Set-group-ID with group execution: which group.
    pub setgid: Option<u32>,
    /// File capabilities.
    pub caps: Option<FileCaps>,
}

/// The attribute `security.capability`, decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileCaps {
    /// Given whatever the process had.
    pub permitted: u64,
    /// Given if the process has it inheritable.
    pub inheritable: u64,
    /// They are effective from the start.
    pub effective: bool,
}

impl FileCaps {
    /// linux/capability.h `struct vfs_cap_data`, revisions 1 to 3.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let word = |i: usize| {
            let bytes = value.get(4 * i..4 * i + 4)?;
            Some(u32::from_le_bytes(bytes.try_into().ok()?))
        };
        let magic = word(0)?;
        let low = (u64::from(word(1)?), u64::from(word(2)?));
        let high = match magic & 0xff00_0000 {
            0x0100_0000 => (0, 0),
            0x0200_0000 | 0x0300_0000 => (u64::from(word(3)?), u64::from(word(4)?)),
            _ => return None,
        };
        Some(Self {
            permitted: low.0 | high.0 << 32,
            inheritable: low.1 | high.1 << 32,
            effective: magic & 1 != 0,
        })
    }
}
