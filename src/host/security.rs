//! Filters and checks: seccomp with and without a supervisor, ptrace, Landlock, programs in memory.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::thread::set_no_new_privs;

use super::facts;
use super::report::{Finding, Group, Subject};
use crate::sys::fork::{self, At as _, Failed, LIMIT, Stop, in_child};
use crate::sys::trial::{self, Trap};
use crate::sys::userns::enter_as_root;

const FILTER: Subject = Subject::new(Group::Security, "seccomp-filter", "seccomp filter");
const NOTIFY: Subject = Subject::new(Group::Security, "seccomp-notify", "seccomp supervisor");
const LISTENER: Subject = Subject::new(
    Group::Security,
    "seccomp-listener",
    "no supervisor around us",
);
const PTRACE: Subject = Subject::new(Group::Security, "ptrace", "reading a child's memory");
const LANDLOCK: Subject = Subject::new(Group::Security, "landlock", "Landlock");
const MEMFD: Subject = Subject::new(Group::Security, "memfd-exec", "programs in memory (memfd)");

/// What the supervisor is for, and what happens without it.
const NO_EMULATION: &str = "owners and users inside a container are not emulated";

/// May we put a filter on a process, and does it bite?
pub fn seccomp_filter() -> Finding {
    let tried = in_child(|| {
        set_no_new_privs(true).at("prctl(PR_SET_NO_NEW_PRIVS)")?;
        trial::install_filter(Trap::Errno).at("seccomp(SECCOMP_SET_MODE_FILTER)")?;
        match trial::trapped_call() {
            Err(Errno::DOM) => Ok(0),
            Err(errno) => Err(Stop {
                stage: "a filtered call",
                errno,
            }),
            Ok(_) => Err(Stop {
                stage: "a filtered call was not filtered",
                errno: Errno::IO,
            }),
        }
    });
    match tried {
        Ok(_) => FILTER.ok("installed, and it bites"),
        Err(failed) => FILTER
            .missing(format!(
                "{}: the kernel is built without CONFIG_SECCOMP_FILTER, or an outer sandbox forbids it",
                facts::words(&failed)
            ))
            .instead("none: coracle runs no container without a filter unless told to"),
    }
}

/// Child only: a child of its own makes a system call, and a descriptor is handed in as the answer.
fn supervise(trap: Trap) -> Result<u64, Stop> {
    let (ours, theirs) = socketpair(
        AddressFamily::UNIX,
        SocketType::SEQPACKET,
        SocketFlags::CLOEXEC,
        None,
    )
    .at("socketpair")?;
    let supervised = fork::start(move || {
        set_no_new_privs(true).at("prctl(PR_SET_NO_NEW_PRIVS)")?;
        let listener = match trial::install_filter(trap) {
            Ok(Some(listener)) => listener,
            Ok(None) => return Err(Errno::BADF).at("the listener"),
            Err(errno) => {
                // Told over the socket, so that the supervisor learns the errno as it is.
                let number = errno.raw_os_error().to_ne_bytes();
                rustix::io::write(&theirs, &number).at("socket")?;
                return Err(errno).at("seccomp(NEW_LISTENER)");
            }
        };
        send_fd(&theirs, &listener)?;
        drop(listener);
        let number = trial::trapped_call().at("a supervised call")?;
        // The answer must be a descriptor of this process now.
        File::open(format!("/proc/self/fd/{number}")).at("the descriptor handed in")?;
        Ok(0)
    })
    .at("fork")?;
    let listener = match receive(&ours)? {
        Ok(listener) => listener,
        Err(errno) => return Err(errno).at("seccomp(NEW_LISTENER)"),
    };
    let gift = File::open("/dev/null").at("open /dev/null")?;
    trial::answer_with_fd(&listener, &gift).at("hand in a descriptor (ADDFD)")?;
    supervised.finish(LIMIT).at("the supervised process")
}

fn send_fd(socket: &OwnedFd, fd: &OwnedFd) -> Result<(), Stop> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let fds = [fd.as_fd()];
    control.push(SendAncillaryMessage::ScmRights(&fds));
    sendmsg(
        socket,
        &[IoSlice::new(&0_i32.to_ne_bytes())],
        &mut control,
        SendFlags::empty(),
    )
    .at("send the listener")?;
    Ok(())
}

/// The listener, or the errno that the other side met.
fn receive(socket: &OwnedFd) -> Result<Result<OwnedFd, Errno>, Stop> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut number = [0_u8; 4];
    let received = recvmsg(
        socket,
        &mut [IoSliceMut::new(&mut number)],
        &mut control,
        RecvFlags::CMSG_CLOEXEC,
    )
    .at("receive the listener")?;
    let fd = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    match (fd, received.bytes) {
        (Some(fd), _) => Ok(Ok(fd)),
        (None, 4) => Ok(Err(Errno::from_raw_os_error(i32::from_ne_bytes(number)))),
        _ => Err(Errno::PIPE).at("receive the listener"),
    }
}

/// Can a supervisor answer a container's system calls, also by handing in descriptors?
pub fn seccomp_notify() -> Finding {
    match in_child(|| supervise(Trap::NotifyKillable)) {
        Ok(_) => {
            return NOTIFY
                .ok("answers a call with a descriptor (ADDFD), WAIT_KILLABLE_RECV included");
        }
        Err(failed) if failed.errno() != Some(Errno::INVAL) => {
            return NOTIFY.missing(notify_why(&failed)).instead(NO_EMULATION);
        }
        Err(_) => {}
    }
    match in_child(|| supervise(Trap::Notify)) {
        Ok(_) => NOTIFY
            .limited("works, but without WAIT_KILLABLE_RECV (Linux 5.19)")
            .instead("a signal may make a supervised call appear to happen twice"),
        Err(failed) => NOTIFY.missing(notify_why(&failed)).instead(NO_EMULATION),
    }
}

fn notify_why(failed: &Failed) -> String {
    let said = facts::words(failed);
    match failed.errno() {
        Some(Errno::BUSY) => {
            format!("{said}: a supervisor around this process answers its calls already")
        }
        Some(Errno::INVAL) => format!("{said}: the kernel is older than 5.14"),
        _ => said,
    }
}

/// Does a supervisor of someone else's listen to this process already? Only one can.
pub fn seccomp_listener() -> Finding {
    let tried = in_child(|| {
        set_no_new_privs(true).at("prctl(PR_SET_NO_NEW_PRIVS)")?;
        trial::install_filter(Trap::Notify).at("seccomp(NEW_LISTENER)")?;
        Ok(0)
    });
    match tried {
        Ok(_) => LISTENER.ok("none"),
        Err(failed) if failed.errno() == Some(Errno::BUSY) => LISTENER
            .limited(format!(
                "{}: this process runs under one, and the kernel allows one only",
                facts::words(&failed)
            ))
            .instead(NO_EMULATION),
        Err(failed) => LISTENER
            .limited(facts::words(&failed))
            .instead(NO_EMULATION),
    }
}

/// May a supervisor read the memory of a process that it started (Yama's `ptrace_scope`)?
pub fn ptrace() -> Finding {
    let scope = facts::sysctl("kernel/yama/ptrace_scope");
    let words = scope.map_or_else(
        || "no Yama in this kernel".to_owned(),
        |n| format!("kernel.yama.ptrace_scope is {n}"),
    );
    let tried = in_child(|| {
        let secret = std::hint::black_box(*b"coracle!");
        let (ready, says_ready) = pipe_with(PipeFlags::CLOEXEC).at("pipe")?;
        let (until, go) = pipe_with(PipeFlags::CLOEXEC).at("pipe")?;
        let address = secret.as_ptr() as u64;
        let inner = fork::start(move || {
            // As a container's process would be; where there is no user namespace, as we are.
            let _ = enter_as_root();
            rustix::io::write(&says_ready, b"1").at("pipe")?;
            let mut byte = [0];
            rustix::io::read(&until, &mut byte).at("pipe")?;
            Ok(0)
        })
        .at("fork")?;
        let mut byte = [0];
        rustix::io::read(&ready, &mut byte).at("pipe")?;
        let memory =
            File::open(format!("/proc/{}/mem", inner.pid())).at("open /proc/PID/mem of a child")?;
        let mut seen = [0_u8; 8];
        memory
            .read_exact_at(&mut seen, address)
            .at("read the memory of a child")?;
        rustix::io::write(&go, b"1").at("pipe")?;
        inner.finish(LIMIT).at("the child")?;
        if seen == secret {
            Ok(0)
        } else {
            Err(Errno::IO).at("read the memory of a child")
        }
    });
    match tried {
        Ok(_) => PTRACE.ok(words),
        Err(failed) => PTRACE
            .missing(format!("{}; {words}", facts::words(&failed)))
            .instead(NO_EMULATION)
            .admin(match scope {
                Some(2) => Some("sysctl -w kernel.yama.ptrace_scope=1".to_owned()),
                // The kernel lets nobody lower 3 again.
                Some(3) => Some("boot without kernel.yama.ptrace_scope=3".to_owned()),
                _ => None,
            }),
    }
}

/// Which Landlock ABI the kernel speaks.
pub fn landlock() -> Finding {
    const INSTEAD: &str = "namespaces and seccomp alone; a bound /proc lets processes of the same \
        user be signalled";
    const BOOT: &str = "boot with landlock in the lsm= list (see /sys/kernel/security/lsm)";
    match trial::landlock_abi() {
        // Scoped signals and abstract sockets are of ABI 6 (Linux 6.12).
        Ok(abi @ 6..) => LANDLOCK.ok(format!("ABI {abi}")),
        Ok(abi) => LANDLOCK
            .limited(format!(
                "ABI {abi}, signals are scoped from 6 on (Linux 6.12)"
            ))
            .instead(INSTEAD),
        Err(errno) => {
            let admin = (errno == Errno::OPNOTSUPP).then(|| BOOT.to_owned());
            let why = match errno {
                Errno::OPNOTSUPP => "switched off at boot",
                Errno::NOSYS => {
                    "the kernel is older than 5.13, or built without it, or a filter hides it"
                }
                _ => "refused",
            };
            LANDLOCK
                .missing(format!("{}: {why}", facts::errno_words(errno)))
                .instead(INSTEAD)
                .admin(admin)
        }
    }
}

/// May a program be run from a sealed copy of itself in memory?
pub fn memfd_exec() -> Finding {
    let setting = facts::sysctl("vm/memfd_noexec");
    let tried = in_child(|| {
        let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
        let fd = match memfd_create("coracle-probe", flags | MemfdFlags::EXEC) {
            // Before Linux 6.3 the flag is unknown and every memfd may be executed.
            Err(Errno::INVAL) => memfd_create("coracle-probe", flags),
            other => other,
        }
        .at("memfd_create")?;
        let mut file = File::from(fd);
        file.write_all(b"no program").at("write")?;
        match trial::exec(file.as_fd()) {
            // All permissions were there; only the format is none.
            Errno::NOEXEC => Ok(0),
            errno => Err(errno).at("execveat"),
        }
    });
    match tried {
        Ok(_) => MEMFD.ok("may be executed"),
        Err(failed) => MEMFD
            .missing(facts::words(&failed))
            .instead("the binary is bound read-only instead of copied into memory")
            .admin(
                setting
                    .is_some_and(|n| n > 0)
                    .then(|| "sysctl -w vm.memfd_noexec=0".to_owned()),
            ),
    }
}
