//! What a process is to the scheduler and to old programs: calls without a wrapper elsewhere.

use std::io;

/// As `struct sched_attr` of sched_setattr(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    /// `SCHED_*`.
    pub policy: u32,
    /// `SCHED_FLAG_*`.
    pub flags: u64,
    /// For `SCHED_OTHER` and `SCHED_BATCH`.
    pub nice: i32,
    /// For `SCHED_FIFO` and `SCHED_RR`.
    pub priority: u32,
    /// For `SCHED_DEADLINE`, as the next two; nanoseconds.
    pub runtime: u64,
    /// As above.
    pub deadline: u64,
    /// As above.
    pub period: u64,
}

/// ioprio_set(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoPriority {
    /// `IOPRIO_CLASS_*`.
    pub class: u16,
    /// 0 to 7, the lowest first.
    pub level: u16,
}

#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How this process is scheduled from now on.
pub fn set_schedule(s: Schedule) -> io::Result<()> {
    let attr = SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy: s.policy,
        flags: s.flags,
        nice: s.nice,
        priority: s.priority,
        runtime: s.runtime,
        deadline: s.deadline,
        period: s.period,
    };
    // SAFETY: attr is a live struct that tells its own size; the kernel only reads it.
    check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) })
}

/// How its input and output are.
pub fn set_io_priority(p: IoPriority) -> io::Result<()> {
    let value = libc::c_long::from(p.class) << 13 | libc::c_long::from(p.level);
    // IOPRIO_WHO_PROCESS, this one.
    // SAFETY: three integers.
    check(unsafe { libc::syscall(libc::SYS_ioprio_set, 1, 0, value) })
}

/// personality(2).
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: one integer, which concerns later system calls of this process alone.
    check(unsafe { libc::syscall(libc::SYS_personality, persona) })
}
