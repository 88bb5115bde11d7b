//! The start of the supervisor: from the fork to the first call that it answers.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::{DumpableBehavior, Pid, PidfdFlags, Signal, pidfd_open};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::creds::table::Table;
use super::creds::{Cred, cap};
use super::ownership::{KeptVolume, Ownership, Volumes};
use super::resolve::{FdName, Place};
use super::serve::serve;
use super::{World, rules};
use crate::owners::{Layer, View};
use crate::sys;
use crate::sys::clone::{Child, Side, exit_now};

/// What a supervisor has to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// Who the first process is.
    pub first: Cred,
    /// Capabilities of the container.
    pub caps: u64,
    /// The layers of its root file system, topmost first.
    pub layers: Vec<Layer>,
    /// What it writes.
    pub upper: Layer,
    /// Where directories of the host are bound. What belongs to the caller there belongs to the first
    /// process inside.
    pub volumes: Vec<PathBuf>,
    /// Where volumes with owners of their own are mounted, and what they are.
    pub kept: Vec<(PathBuf, Layer)>,
    /// The filter is that of [`Mode::Strict`](super::Mode::Strict).
    pub strict: bool,
    /// It sees the pid namespace of its caller.
    pub shared_pids: bool,
}

/// A supervisor that runs.
#[derive(Debug)]
pub struct Supervisor {
    /// Readable when it has ended; code 0 says that the container was over by then.
    pub process: Child,
    /// By it further listeners go in, see [`Supervisor::add`].
    pub socket: OwnedFd,
}

/// Fork it. What comes back beside it is for the container's first process, see [`await_ready`] and
/// [`hand_over`]: a socket of its own, whose end tells the supervisor that there will be no container. `report` is called by the supervisor if it cannot take up its work; true says that the
/// container's program may have begun by then.
///
/// `keep` stays open until it works: its end tells others that it does.
///
/// # Errors
/// Of socketpair(2) and clone3(2).
pub fn start(
    setup: &Setup,
    keep: BorrowedFd<'_>,
    report: impl FnOnce(bool, &'static str, io::Error),
) -> io::Result<(Supervisor, OwnedFd)> {
    let pair = || {
        let flags = SocketFlags::CLOEXEC;
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
    };
    let (ours, theirs) = pair()?;
    let (further, socket) = pair()?;
    let command = rustix::process::getpid();
    match sys::clone::clone(0)? {
        Side::Parent(process) => Ok((Supervisor { process, socket }, theirs)),
        Side::Child => {
            let _ = sys::exec::close_all_but(&[ours.as_fd(), further.as_fd(), keep]);
            let prepared = match prepare(setup) {
                Ok(prepared) => prepared,
                Err((call, e)) => {
                    report(false, call, e);
                    exit_now(1)
                }
            };
            match attach(prepared, setup, &ours, command) {
                Ok(Some((world, listener))) => {
                    let _ = sys::exec::close_copy(keep);
                    serve(Box::leak(Box::new(world)), listener, further)
                }
                // The container was over before it got there.
                Ok(None) => exit_now(0),
                Err((call, e)) => {
                    report(true, call, e);
                    exit_now(1)
                }
            }
        }
    }
}

/// Wait until the supervisor is there, and knows no reason why it could not work. By the container's first
/// process, before it installs the filter.
///
/// # Errors
/// `BrokenPipe` when the supervisor has ended; it has told the reason.
pub fn await_ready(socket: BorrowedFd<'_>) -> io::Result<()> {
    let mut word = [0u8; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(socket, &mut word))? {
        0 => Err(io::ErrorKind::BrokenPipe.into()),
        _ => Ok(()),
    }
}

/// Give the listener to the supervisor. By the container's first process, in its namespaces and with its
/// root directory entered; `own` is a pidfd of itself.
///
/// # Errors
/// Of sendmsg(2).
pub fn hand_over(
    socket: BorrowedFd<'_>,
    own: BorrowedFd<'_>,
    listener: BorrowedFd<'_>,
) -> io::Result<()> {
    let fds = [listener, own];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let word = [IoSlice::new(b"l")];
    let flags = SendFlags::NOSIGNAL | SendFlags::from_bits_retain(rules::UNASKED_MESSAGE);
    sendmsg(socket, &word, &mut control, flags)?;
    Ok(())
}

fn receive(socket: &OwnedFd) -> io::Result<Option<(OwnedFd, OwnedFd)>> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut word = [0u8; 1];
    loop {
        let mut parts = [IoSliceMut::new(&mut word)];
        match recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(Errno::CONNRESET) => return Ok(None),
            Err(e) => return Err(e.into()),
            Ok(_) => break,
        }
    }
    let mut fds = control.drain().flat_map(|m| match m {
        RecvAncillaryMessage::ScmRights(fds) => fds.collect::<Vec<_>>(),
        _ => Vec::new(),
    });
    Ok(fds.next().zip(fds.next()))
}

type Failed = (&'static str, io::Error);

fn at<E: Into<io::Error>>(call: &'static str) -> impl FnOnce(E) -> Failed {
    move |e| (call, e.into())
}

/// What a supervisor has before there is a container.
struct Prepared {
    proc: OwnedFd,
    view: View,
    /// Of [`Setup::kept`], in that order.
    kept: Vec<View>,
    creds: Table,
}

/// From a copy of the command to a supervisor: all that can be done, and can fail, while the container is
/// being set up.
fn prepare(setup: &Setup) -> Result<Prepared, Failed> {
    // No signal from a terminal, and none that somebody sent to the command's process group.
    let _ = rustix::process::setsid();
    let _ = nix::sys::signal::SigSet::all().thread_block();
    let _ = rustix::thread::set_name(c"coracle-ids");
    let null = openat(CWD, c"/dev/null", OFlags::RDWR, Mode::empty()).map_err(at("/dev/null"))?;
    let _ = rustix::stdio::dup2_stdin(&null);
    let _ = rustix::stdio::dup2_stdout(&null);
    let _ = rustix::stdio::dup2_stderr(&null);
    drop(null);
    let path = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let proc = openat(CWD, c"/proc", path, Mode::empty()).map_err(at("open(/proc)"))?;
    let mut places = Places::default();
    let view = view(setup, &mut places).map_err(at("open the layers"))?;
    let kept = setup.kept.iter();
    let kept = kept.map(|(_, volume)| Ok(View::of_volume(places.of(volume)?)));
    let kept: io::Result<Vec<View>> = kept.collect();
    let kept = kept.map_err(at("open the volumes"))?;
    rustix::process::fchdir(&proc).map_err(at("fchdir"))?;
    if reading_is_forbidden(&proc) {
        let call = "read memory of the container (kernel.yama.ptrace_scope=3)";
        return Err((call, Errno::PERM.into()));
    }
    if let Err(e) = sys::clone::may_enter() {
        return Err(("setns", e));
    }
    let creds = Table::new(setup.first.clone());
    // Reads the sidecars; not yet with the root's place, which is not ours yet.
    let _ = view.is_empty();
    Ok(Prepared {
        proc,
        view,
        kept,
        creds,
    })
}

/// Say so, wait for the listener, and go where the container is.
fn attach(
    prepared: Prepared,
    setup: &Setup,
    socket: &OwnedFd,
    command: Pid,
) -> Result<Option<(World, OwnedFd)>, Failed> {
    let Prepared {
        proc,
        view,
        kept,
        creds,
    } = prepared;
    // If nobody is there to read it, there will be no listener either.
    let _ = rustix::net::send(socket, b"r", SendFlags::NOSIGNAL);
    let Some((listener, container)) = receive(socket).map_err(at("recvmsg"))? else {
        return Ok(None);
    };
    let both = (libc::CLONE_NEWUSER | libc::CLONE_NEWNS) as u64;
    match sys::clone::enter(container.as_fd(), both) {
        // Its first process, which did not wait for us, has ended.
        Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(None),
        other => other.map_err(at("setns"))?,
    }
    drop(container);
    drop_rights(setup.caps)?;
    // Only now, since a gain of rights, which setns(2) is, takes it back. The container dies with the
    // command as well, and what is recorded is written at once.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).map_err(at("prctl"))?;
    if rustix::process::getppid() != Some(command) {
        return Ok(None);
    }
    let root = Place::at(CWD, c"/").map_err(at("statx(/)"))?;
    // setns(2) has changed it.
    rustix::process::fchdir(&proc).map_err(at("fchdir"))?;
    // New files get the mode that their maker's mask leaves.
    rustix::process::umask(Mode::empty());
    let world = World {
        proc,
        creds,
        ownership: Ownership::new(view, root, volumes(setup), places(setup, kept)),
        root,
        // Who may mount may also have another mount namespace or root.
        roots_vary: AtomicBool::new(setup.caps & 1 << cap::SYS_ADMIN != 0),
        may_wait: !setup.volumes.is_empty() || setup.caps & 1 << cap::SYS_ADMIN != 0,
        strict: setup.strict,
        shared_pids: setup.shared_pids,
    };
    Ok(Some((world, listener)))
}

/// Yama's last scope takes ptrace access from everybody; below it CAP_SYS_PTRACE in the container's user
/// namespace is enough. Documentation/admin-guide/LSM/Yama.rst.
fn reading_is_forbidden(proc: &OwnedFd) -> bool {
    let path = c"sys/kernel/yama/ptrace_scope";
    let mut scope = [0u8; 1];
    openat(proc, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .and_then(|file| rustix::io::read(&file, &mut scope))
        .is_ok_and(|n| n == 1 && scope == *b"3")
}

/// The container's own capabilities, and beside them: to read the memory of its processes whatever they
/// say about themselves, and to reach files that shut their owner out. Both are rights over what belongs to
/// the one user anyway.
fn drop_rights(caps: u64) -> Result<(), Failed> {
    let extra = [
        cap::SYS_PTRACE,
        cap::DAC_OVERRIDE,
        cap::DAC_READ_SEARCH,
        cap::FOWNER,
    ];
    let set = extra.iter().fold(caps, |set, c| set | 1 << c);
    let set = CapabilitySet::from_bits_retain(set);
    let sets = CapabilitySets {
        effective: set,
        permitted: set,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_no_new_privs(true).map_err(at("no_new_privs"))?;
    rustix::thread::set_capabilities(None, sets).map_err(at("capset"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(at("prctl"))
}

/// The records of the container, by paths that lead there from inside.
fn view(setup: &Setup, places: &mut Places) -> io::Result<View> {
    let layers = setup.layers.iter().map(|l| places.of(l));
    let layers = layers.collect::<io::Result<Vec<_>>>()?;
    Ok(View::new(layers, places.of(&setup.upper)?))
}

/// Directories of the host by descriptors of ours, relative to the outer /proc. All layers lie in one directory, so
/// that a start opens two and not two for each layer.
#[derive(Default)]
struct Places(Vec<(PathBuf, PathBuf)>);

impl Places {
    /// The same tree and sidecar.
    fn of(&mut self, layer: &Layer) -> io::Result<Layer> {
        let outer = layer.sidecar.ancestors().nth(2);
        let outer = outer.ok_or(io::ErrorKind::InvalidInput)?;
        let reach = |places: &mut Self, path: &Path| -> io::Result<PathBuf> {
            match path.strip_prefix(outer) {
                Ok(rest) => Ok(places.open(outer)?.join(rest)),
                Err(_) => Ok(places.open(path)?.to_owned()),
            }
        };
        Ok(Layer {
            tree: reach(self, &layer.tree)?,
            sidecar: reach(self, &layer.sidecar)?,
        })
    }

    fn open(&mut self, path: &Path) -> io::Result<&Path> {
        let known = self.0.iter().position(|(known, _)| known == path);
        let at = match known {
            Some(at) => at,
            None => {
                let fd = openat(CWD, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
                let name = format!("self/fd/{}", fd.as_raw_fd());
                // As long as we live.
                std::mem::forget(fd);
                self.0.push((path.to_owned(), name.into()));
                self.0.len() - 1
            }
        };
        Ok(&self.0[at].1)
    }
}

/// Where the volumes with records are in the container. One that something else covers has none.
fn places(setup: &Setup, views: Vec<View>) -> Vec<KeptVolume> {
    let targets = setup.kept.iter().map(|(target, _)| target);
    let place = |(target, view): (&PathBuf, View)| {
        let fd = openat(CWD, target, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let mount = Place::at(fd.as_fd(), c"").ok()?.mount;
        let name = FdName::new(fd.as_fd());
        let path = rustix::fs::readlinkat(CWD, name.as_cstr(), Vec::new()).ok()?;
        let prefix = path.into_bytes().strip_prefix(b"/")?.to_vec();
        Some(KeptVolume::new(mount, prefix, view))
    };
    targets.zip(views).filter_map(place).collect()
}

/// Whose files are those of the caller on volumes, unless it is root as everywhere.
fn volumes(setup: &Setup) -> Option<Volumes> {
    let (uid, gid) = (setup.first.uid.real, setup.first.gid.real);
    if (uid, gid) == (0, 0) {
        return None;
    }
    let place = |path: &PathBuf| {
        let path = std::ffi::CString::new(path.as_os_str().as_bytes()).ok()?;
        Some(Place::at(CWD, &path).ok()?.mount)
    };
    let mounts: Vec<u64> = setup.volumes.iter().filter_map(place).collect();
    (!mounts.is_empty()).then_some(Volumes { mounts, uid, gid })
}

/// A pidfd of this very process.
///
/// # Errors
/// Of pidfd_open(2).
pub fn own_pidfd() -> io::Result<OwnedFd> {
    Ok(pidfd_open(rustix::process::getpid(), PidfdFlags::empty())?)
}
