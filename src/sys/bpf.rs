//! Programs of bpf(2), as far as a control group's devices need one.

use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};

/// `struct bpf_insn`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Instruction {
    /// Operation.
    pub code: u8,
    /// Destination in the lower half, source in the upper.
    pub registers: u8,
    /// Of a jump or of memory.
    pub offset: i16,
    /// Operand.
    pub immediate: i32,
}

impl Instruction {
    const fn new(code: u8, registers: u8, offset: i16, immediate: i32) -> Self {
        Self {
            code,
            registers,
            offset,
            immediate,
        }
    }

    /// Whether it jumps: its offset is to be set then.
    pub fn is_jump(self) -> bool {
        matches!(self.code, 0x15 | 0x55)
    }
}

/// Load 32 bits at an offset from where a register points to.
pub fn load(to: u8, from: u8, offset: i16) -> Instruction {
    Instruction::new(0x61, to | from << 4, offset, 0)
}

/// Copy a register.
pub fn mov_from(to: u8, from: u8) -> Instruction {
    Instruction::new(0xbf, to | from << 4, 0, 0)
}

/// Set a register.
pub fn mov(to: u8, value: i32) -> Instruction {
    Instruction::new(0xb7, to, 0, value)
}

/// Keep some bits.
pub fn and(register: u8, mask: i32) -> Instruction {
    Instruction::new(0x57, register, 0, mask)
}

/// Shift.
pub fn shift_right(register: u8, bits: i32) -> Instruction {
    Instruction::new(0x77, register, 0, bits)
}

/// Jump if a register has this value.
pub fn jump_if_equal(register: u8, value: i32) -> Instruction {
    Instruction::new(0x15, register, 0, value)
}

/// Jump if it has not.
pub fn jump_if_not(register: u8, value: i32) -> Instruction {
    Instruction::new(0x55, register, 0, value)
}

/// Answer with register 0.
pub fn exit() -> Instruction {
    Instruction::new(0x95, 0, 0, 0)
}

/// The head of `union bpf_attr` for `BPF_PROG_LOAD`.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buffer: u64,
    kernel_version: u32,
    flags: u32,
}

/// The same for `BPF_PROG_ATTACH`.
#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
}

/// Have `program` decide on devices for a control group, besides those that its ancestors have. It stays as long as
/// the group does.
pub fn attach_device_filter(group: &OwnedFd, program: &[Instruction]) -> io::Result<()> {
    const PROG_LOAD: libc::c_long = 5;
    const PROG_ATTACH: libc::c_long = 8;
    let load = Load {
        kind: 15, // BPF_PROG_TYPE_CGROUP_DEVICE
        count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buffer: 0,
        kernel_version: 0,
        flags: 0,
    };
    // SAFETY: the kernel reads a struct of the size that is passed; it and what it points to live until the call
    // returns, and Instruction has the layout of bpf_insn.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_LOAD,
            &raw const load,
            size_of_val(&load),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(|_| io::ErrorKind::InvalidData)?;
    // SAFETY: the result is a new descriptor, which nobody else owns.
    let loaded = unsafe { OwnedFd::from_raw_fd(fd) };
    let attach = Attach {
        target: group.as_raw_fd().cast_unsigned(),
        program: loaded.as_raw_fd().cast_unsigned(),
        kind: 6,  // BPF_CGROUP_DEVICE
        flags: 2, // BPF_F_ALLOW_MULTI
    };
    // SAFETY: as above; the kernel only reads.
    let r = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            PROG_ATTACH,
            &raw const attach,
            size_of_val(&attach),
        )
    };
    if r < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
