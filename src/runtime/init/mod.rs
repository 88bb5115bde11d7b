//! The child: from the moment after clone3 until the program takes over. It carries out a [`Plan`] in
//! an order in which each step is possible and none leaves a gap; every failure goes to the parent
//! over the channel, with its stage.

pub(super) mod bundle;
mod confine;
mod copy_up;
mod inside;
pub(super) mod join;
mod memory;
mod mounts;
mod nodes;
mod overlay;
mod program;
mod protect;
pub(super) mod reaper;
mod rootfs;
mod terminal;
mod user;

use std::convert::Infallible;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{CWD, Mode, OFlags, openat};
use rustix::mount::{MountFlags, MountPropagationFlags, mount};
use rustix::process::{Signal, set_parent_process_death_signal, setsid, umask};

use super::channel::{Channel, FromInit};
use super::plan::{Plan, ProcFs, Stdin};
use super::process::Process;
use super::{Failure, Stage};
use crate::rootfs::Root;
use crate::sys;

type Result<T> = std::result::Result<T, Failure>;

/// Attach a stage and a name to the error of a call.
trait Context<T> {
    fn at(self, stage: Stage, what: impl FnOnce() -> String) -> Result<T>;
}

impl<T, E: Into<std::io::Error>> Context<T> for std::result::Result<T, E> {
    fn at(self, stage: Stage, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|e| Failure::new(stage, what(), e))
    }
}

/// Become the container's program. Never returns to the caller's world.
///
/// The memory may be the parent's own, lent until exec: nothing here writes to what the parent still
/// needs, and no destructor of the parent's values runs here.
///
/// `supervisor`: where to send the listener, if somebody is to answer for users and owners.
pub(super) fn run(
    plan: &Plan,
    channel: &Channel,
    parents_end: BorrowedFd<'_>,
    supervisor: Option<BorrowedFd<'_>>,
) -> ! {
    // Ours is a copy: with it open we would never see the parent's end close.
    let _ = sys::exec::close_copy(parents_end);
    let Err(failure) = start(plan, channel, supervisor);
    // If the parent is gone there is nobody to tell.
    let _ = channel.send(&FromInit::Failed(failure), None);
    sys::clone::exit_now(127)
}

fn start(plan: &Plan, channel: &Channel, supervisor: Option<BorrowedFd<'_>>) -> Result<Infallible> {
    let process = &plan.process;
    // First, while the caller's /proc is in reach: without a map no file can be created.
    map_ids(plan)?;
    detach(plan, channel)?;

    // Before the root, which covers the place where they are made.
    let mut memory = memory::prepare(plan)?;
    if let Root::Fuse(_) = plan.root {
        mount_fuse(plan, channel)?;
    }
    let root = rootfs::attach(plan)?;
    mounts::all(plan, &root, &mut memory)?;
    // Kernel parameters before /proc/sys becomes read-only.
    network(plan)?;
    inside::sysctls(plan, &root)?;
    rootfs::enter(plan, &root, true)?;
    drop(root);

    // From here on every path is one of the container. No descriptor may still lead out of it: a
    // working directory like /proc/self/fd/4 would (CVE-2024-21626).
    let empty = memory.empty;
    let keep = [
        Some(channel.fd()),
        supervisor,
        empty.as_ref().map(AsFd::as_fd),
    ];
    confine::close_all(process, &keep)?;
    protect::all(plan, empty, None)?;
    let tty = terminal::open(process, channel)?;
    inside::score(process)?;
    let cwd_made = inside::working_directory(process);
    inside::limits(process)?;
    terminal::adopt(tty)?;
    cwd_made?;
    confine::privileges(process)?;
    let first = match plan.init {
        true => program::First::Init,
        false => program::First::Program(process.executable),
    };
    let (program, word) = program::prepare(process, first, channel)?;
    umask(Mode::from_bits_truncate(process.umask));
    confine::descriptors(process, channel)?;
    // Last, since a filter may forbid any of the above.
    confine::filter(process, supervisor)?;
    let error = program.exec(word);
    // As the stub does, by write(2): a filter that lets no message through may still allow it.
    sys::exec::report_errno(channel.fd(), &error);
    sys::clone::exit_now(127)
}

/// One id needs no helper: the creator of a user namespace may map itself, if it first gives up
/// setgroups(2) (user_namespaces(7)).
fn map_ids(plan: &Plan) -> Result<()> {
    if !plan.has(libc::CLONE_NEWUSER) {
        return Ok(());
    }
    let write = |file: &str, text: &str| {
        openat(CWD, file, OFlags::WRONLY | OFlags::CLOEXEC, Mode::empty())
            .and_then(|fd| rustix::io::write(&fd, text.as_bytes()))
            .at(Stage::IdMap, || file.to_owned())
    };
    let line = |m: super::Mapping| format!("{} {} 1\n", m.inside, m.outside);
    write("/proc/self/setgroups", "deny")?;
    write("/proc/self/uid_map", &line(plan.ids.uid))?;
    write("/proc/self/gid_map", &line(plan.ids.gid))?;
    Ok(())
}

/// Cut what ties us to the caller.
fn detach(plan: &Plan, channel: &Channel) -> Result<()> {
    if plan.die_with_parent {
        set_parent_process_death_signal(Some(Signal::KILL)).at(Stage::Detach, || "prctl".into())?;
        // The parent may have died before that call: then its end of the channel is closed.
        let mut poll = [rustix::event::PollFd::from_borrowed_fd(
            channel.fd(),
            rustix::event::PollFlags::empty(),
        )];
        rustix::event::poll(&mut poll, Some(&rustix::event::Timespec::default()))
            .at(Stage::Detach, || "poll".into())?;
        if !poll[0].revents().is_empty() {
            sys::clone::exit_now(137);
        }
    }
    // What is made gets the mode that is asked for, whatever the caller's mask.
    umask(Mode::empty());
    // A session of its own: no terminal of the caller's to push input into (CVE-2017-5226), and no
    // signal from its keyboard besides those that are forwarded.
    setsid().at(Stage::Detach, || "setsid".into())?;
    // Neither Rust's ignored SIGPIPE nor the caller's nohup is the container's business.
    sys::clone::default_signals();
    // The caller blocked signals before the clone, so that none was lost.
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .at(Stage::Detach, || "sigprocmask".into())?;
    if plan.has(libc::CLONE_NEWNS) {
        // Ours never leave, and those made outside later arrive only where a volume asks for it.
        let propagation = if plan.mounts.iter().any(|m| m.options.propagation != 0) {
            MountPropagationFlags::DOWNSTREAM
        } else {
            MountPropagationFlags::PRIVATE
        };
        rustix::mount::mount_change(c"/", propagation | MountPropagationFlags::REC)
            .at(Stage::Detach, || "mount(/, private)".into())?;
    }
    streams(&plan.process, Stage::Detach)
}

/// Standard input and output in place of the caller's.
fn streams(process: &Process, stage: Stage) -> Result<()> {
    let own = || "dup2".into();
    if let Some(streams) = &process.streams {
        if let Some(input) = &streams.input {
            rustix::stdio::dup2_stdin(input).at(stage, own)?;
        }
        rustix::stdio::dup2_stdout(&streams.output).at(stage, own)?;
        rustix::stdio::dup2_stderr(&streams.errors).at(stage, own)?;
    }
    if process.stdin == Stdin::Null && process.terminal.is_none() {
        rustix::stdio::dup2_stdin(open_null()?).at(stage, own)?;
    }
    Ok(())
}

fn open_null() -> Result<OwnedFd> {
    openat(
        CWD,
        c"/dev/null",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::Detach, || "/dev/null".into())
}

/// Mount fuse-overlayfs's file system, and have the parent start the program that serves it: outside,
/// so that it is no process of the container, keeps the host's view of the layers when we leave it,
/// and ends when the container's mounts do. mount.fuse3(8).
fn mount_fuse(plan: &Plan, channel: &Channel) -> Result<()> {
    let fuse = openat(
        CWD,
        c"/dev/fuse",
        OFlags::RDWR | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .at(Stage::Root, || "/dev/fuse".into())?;
    let data = format!(
        "fd={},rootmode=40000,user_id={},group_id={},default_permissions,allow_other",
        std::os::fd::AsRawFd::as_raw_fd(&fuse),
        plan.ids.uid.inside,
        plan.ids.gid.inside,
    );
    let data = std::ffi::CString::new(data).map_err(std::io::Error::from);
    data.and_then(|data| {
        let kind = c"fuse.fuse-overlayfs";
        let flags = MountFlags::NODEV;
        Ok(mount(
            c"fuse-overlayfs",
            &plan.mountpoint,
            kind,
            flags,
            Some(data.as_c_str()),
        )?)
    })
    .at(Stage::Root, || "mount(fuse)".into())?;
    let asked = channel
        .send(&FromInit::NeedFuse, Some(fuse.as_fd()))
        .and_then(|()| channel.from_parent());
    match asked {
        Ok(_) => Ok(()),
        Err(e) => Err(Failure::new(Stage::Root, "fuse-overlayfs", e)),
    }
}

fn network(plan: &Plan) -> Result<()> {
    if plan.has(libc::CLONE_NEWNET) {
        sys::net::loopback_up().at(Stage::Network, || "loopback".into())?;
    }
    if plan.has(libc::CLONE_NEWUTS) {
        if let Some(name) = &plan.hostname {
            rustix::system::sethostname(name.as_bytes())
                .at(Stage::Network, || format!("sethostname({name})"))?;
        }
        if let Some(name) = &plan.domainname {
            rustix::system::setdomainname(name.as_bytes())
                .at(Stage::Network, || format!("setdomainname({name})"))?;
        }
    }
    Ok(())
}

/// Whether the container has a /proc that shows its own processes only.
fn own_proc(plan: &Plan) -> bool {
    plan.proc == ProcFs::Fresh
}
