//! The supervisor at work, until the end of the container: who waits for calls, and how many.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;

use super::caller::Caller;
use super::further::{self, Asked};
use super::handlers::{Reply, Scratch, handle};
use super::{World, rules};
use crate::sys::clone::exit_now;
use crate::sys::notify::{self, Answer, Notification};

/// Threads that answer the calls of one listener, at most, as long as they get on.
const THREADS_MAX: usize = 16;
/// With those that a file system has let wait: no more callers than that can be stuck before they stall
/// others.
const STUCK_MAX: usize = 1024;
const STACK: usize = 512 << 10;

/// Whether the watch sleeps until there is a call.
static WATCH_SLEEPS: AtomicBool = AtomicBool::new(false);
/// What wakes it.
static WAKE: OnceLock<Option<OwnedFd>> = OnceLock::new();

/// Calls that are answered before there is a second thread: a small program needs none, unless its files may
/// let it wait.
const ALONE: u32 = 16;
/// How often it is looked at whether somebody waits for too long.
const TICK: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: Duration::from_millis(20).as_nanos() as i64,
};
/// Ticks without a call after which nobody looks any more.
const QUIET_TICKS: u32 = 50;

/// The filter of the container's first process and its children, or that of a further process.
pub(super) struct Listener {
    fd: OwnedFd,
    /// Its end is the end of the container.
    first: bool,
    /// Whether the kernel tells who waits for a call that nobody is left (Linux 6.11).
    tells: bool,
    /// Nobody is left under it.
    over: AtomicBool,
    /// Threads that wait for a call, and all that answer.
    idle: AtomicUsize,
    threads: AtomicUsize,
    /// Calls so far.
    calls: AtomicUsize,
}

impl Listener {
    pub(super) fn new(fd: OwnedFd, first: bool) -> Arc<Self> {
        let _ = notify::wake_on_same_processor(fd.as_fd());
        Arc::new(Self {
            fd,
            first,
            tells: first || end_is_told(),
            over: AtomicBool::new(false),
            idle: AtomicUsize::new(0),
            threads: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
        })
    }

    /// What holds of it now.
    fn look(&self, wanted: PollFlags) -> PollFlags {
        let mut fds = [PollFd::from_borrowed_fd(self.fd.as_fd(), wanted)];
        match poll(&mut fds, Some(&Timespec::default())) {
            Ok(_) => fds[0].revents(),
            Err(_) => PollFlags::empty(),
        }
    }

    /// Whether a call waits to be received.
    fn has_pending(&self) -> bool {
        self.look(PollFlags::IN).contains(PollFlags::IN)
    }

    fn is_over(&self) -> bool {
        self.look(PollFlags::empty()).contains(PollFlags::HUP)
    }
}

/// Linux 6.11. An older one lets who waits for a call of nobody wait for ever.
fn end_is_told() -> bool {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut next = || numbers.next().and_then(|n| n.parse::<u32>().ok());
    (next(), next()) >= (Some(6), Some(11))
}

/// A listener as the watch sees it.
struct Watched {
    listener: Arc<Listener>,
    /// Its calls at the last look.
    seen: usize,
    /// Looks in a row at which a call waited and nobody was idle.
    waiting: u32,
}

impl Watched {
    fn new(listener: Arc<Listener>) -> Self {
        Self {
            listener,
            seen: 0,
            waiting: 0,
        }
    }

    /// Whether nobody has called since the last look.
    fn is_quiet(&self) -> bool {
        self.listener.calls.load(Ordering::SeqCst) == self.seen
    }

    /// Make more threads where they are needed; whether all is quiet.
    fn look(&mut self, world: &'static World) -> bool {
        let l = &self.listener;
        let calls = l.calls.load(Ordering::Relaxed);
        self.waiting = if l.has_pending() && l.idle.load(Ordering::Relaxed) == 0 {
            self.waiting + 1
        } else {
            0
        };
        let same = calls == self.seen;
        // Twice in a row: once may be chance.
        if self.waiting >= 2 {
            let threads = l.threads.load(Ordering::Relaxed);
            let wanted = if same {
                (2 * threads).min(STUCK_MAX)
            } else {
                (threads + 1).min(THREADS_MAX)
            };
            let _ = (threads..wanted).all(|_| spawn(world, l));
            self.waiting = 0;
        }
        self.seen = calls;
        // Somebody must be there to take the call that wakes the watch.
        same && self.waiting == 0 && l.idle.load(Ordering::SeqCst) > 0
    }
}

/// Until nobody is left under the first filter. Further ones come over `socket`.
///
/// One thread answers each, as long as that is enough: it finds its memory in the cache, and wakes on the
/// processor of its caller. The first thread, the watch, looks on, and makes more when calls wait while nobody
/// is idle, because a file system lets one wait or because there are more callers than one can serve. Where
/// nobody even takes a call, all are stuck, perhaps for ever: then others take their places.
pub(super) fn serve(world: &'static World, first: OwnedFd, socket: OwnedFd) -> ! {
    let mut all = vec![Watched::new(Listener::new(first, true))];
    let mut socket = Some(socket);
    if !world.may_wait {
        alone(world, &mut all, &mut socket);
    }
    if !spawn(world, &all[0].listener) {
        exit_now(2);
    }
    let mut quiet = 0;
    loop {
        wait(world, &mut all, &mut socket, Some(&TICK));
        let mut rest = true;
        for watched in &mut all {
            rest &= watched.look(world);
        }
        all.retain(|w| !w.listener.over.load(Ordering::Relaxed));
        quiet = if rest { quiet + 1 } else { 0 };
        if quiet >= QUIET_TICKS && wake().is_some() {
            quiet = 0;
            // In this order: a call after the load finds the flag, one before it is seen by it.
            WATCH_SLEEPS.store(true, Ordering::SeqCst);
            if all.iter().all(Watched::is_quiet) {
                wait(world, &mut all, &mut socket, None);
            }
            WATCH_SLEEPS.store(false, Ordering::SeqCst);
        }
    }
}

/// The descriptor that wakes the watch, if there is one.
fn wake() -> Option<BorrowedFd<'static>> {
    let made = WAKE.get_or_init(|| eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK).ok());
    made.as_ref().map(|fd| fd.as_fd())
}

/// Answer the first calls, until there are more of them than a small program makes, or a further listener.
fn alone(world: &'static World, all: &mut Vec<Watched>, socket: &mut Option<OwnedFd>) {
    let mut scratch = Box::new(Scratch::new());
    let mut notification = Notification::default();
    let first = all[0].listener.clone();
    for _ in 0..ALONE {
        if let Some(socket_fd) = socket.as_ref() {
            let mut fds = [
                PollFd::from_borrowed_fd(first.fd.as_fd(), PollFlags::IN),
                PollFd::from_borrowed_fd(socket_fd.as_fd(), PollFlags::IN),
            ];
            let _ = poll(&mut fds, None);
            let asked = !fds[1].revents().is_empty();
            if asked {
                take(world, all, socket);
                if all.len() > 1 {
                    return;
                }
                continue;
            }
        }
        if next(&first, &mut notification) == Next::Call {
            let answer = decide(world, &first, &notification, &mut scratch);
            send(&first, &notification, answer);
        }
    }
}

/// Wait for a further listener, or until somebody wakes us, or a moment.
fn wait(
    world: &'static World,
    all: &mut Vec<Watched>,
    socket: &mut Option<OwnedFd>,
    timeout: Option<&Timespec>,
) {
    let asked = {
        let fds = [socket.as_ref().map(|s| s.as_fd()), wake_if_made()];
        let fds = fds.into_iter().flatten();
        let mut fds: Vec<PollFd<'_>> = fds
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        let _ = poll(&mut fds, timeout);
        socket.is_some() && !fds[0].revents().is_empty()
    };
    if let Some(wake) = wake_if_made() {
        // The number of those who woke us tells nothing.
        let _ = rustix::io::read(wake, &mut [0u8; 8]);
    }
    if asked {
        take(world, all, socket);
    }
}

fn wake_if_made() -> Option<BorrowedFd<'static>> {
    WAKE.get()?.as_ref().map(|fd| fd.as_fd())
}

/// What is asked over the socket. A further process is made known, and somebody answers for it.
fn take(world: &'static World, all: &mut Vec<Watched>, socket: &mut Option<OwnedFd>) {
    let Some(from) = socket.as_ref() else { return };
    let taken = match further::receive(from.as_fd()) {
        Ok(Some(Asked::Whose(pids))) => return further::tell(world, from.as_fd(), &pids),
        Ok(Some(Asked::Add(further))) => further::introduce(world, further),
        // The command has ended, and so will we.
        Ok(None) => {
            *socket = None;
            return;
        }
        Err(e) => Err(e),
    };
    let result = taken.and_then(|fd| {
        let listener = Listener::new(fd, false);
        if !spawn(world, &listener) {
            return Err(Errno::AGAIN);
        }
        all.push(Watched::new(listener));
        Ok(())
    });
    further::reply(from.as_fd(), result);
}

fn spawn(world: &'static World, listener: &Arc<Listener>) -> bool {
    let l = listener.clone();
    let stays = l.threads.fetch_add(1, Ordering::Relaxed) == 0;
    l.idle.fetch_add(1, Ordering::Relaxed);
    let made = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || work(world, &l, stays))
        .is_ok();
    if !made {
        listener.idle.fetch_sub(1, Ordering::Relaxed);
        listener.threads.fetch_sub(1, Ordering::Relaxed);
    }
    made
}

/// For as long as somebody lives under the filter, or until others are enough. A call wakes all threads that
/// wait for one, not the first of them, so those that are not needed any more would make each call dearer.
fn work(world: &'static World, l: &Listener, stays: bool) {
    let mut scratch = Scratch::new();
    let mut notification = Notification::default();
    loop {
        match next(l, &mut notification) {
            Next::Call => {}
            Next::Nothing => continue,
            Next::Over => return l.over.store(true, Ordering::Relaxed),
        }
        l.idle.fetch_sub(1, Ordering::Relaxed);
        l.calls.fetch_add(1, Ordering::SeqCst);
        if WATCH_SLEEPS.load(Ordering::SeqCst)
            && WATCH_SLEEPS.swap(false, Ordering::SeqCst)
            && let Some(wake) = wake_if_made()
        {
            let _ = rustix::io::write(wake, &1u64.to_ne_bytes());
        }
        let answer = decide(world, l, &notification, &mut scratch);
        // Before the caller goes on: its next call must not find us busy still.
        l.idle.fetch_add(1, Ordering::Relaxed);
        send(l, &notification, answer);
        if !stays && !l.has_pending() && leave_to_another(l) {
            l.threads.fetch_sub(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Stop being idle if somebody else is: the one that stays may wait for a file system.
fn leave_to_another(l: &Listener) -> bool {
    let others = |idle: usize| (idle > 1).then(|| idle - 1);
    l.idle
        .fetch_update(Ordering::Relaxed, Ordering::Relaxed, others)
        .is_ok()
}

/// What came of waiting for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    Call,
    /// None, and there may be more.
    Nothing,
    /// Nobody is left who could make one.
    Over,
}

/// Wait for a call. The end of the container is the end of the process: kernels from 6.11 on tell it
/// here; with older ones the command, which sees it as well, ends us.
fn next(l: &Listener, notification: &mut Notification) -> Next {
    if !l.tells {
        let mut fds = [PollFd::from_borrowed_fd(l.fd.as_fd(), PollFlags::IN)];
        let _ = poll(&mut fds, None);
        if fds[0].revents().contains(PollFlags::HUP) {
            return Next::Over;
        }
    }
    match notify::receive(l.fd.as_fd(), notification) {
        Ok(()) => Next::Call,
        Err(Errno::INTR) => Next::Nothing,
        // Perhaps only the caller was killed.
        Err(Errno::NOENT) if !l.is_over() => Next::Nothing,
        Err(Errno::NOENT) if l.first => exit_now(0),
        Err(_) if l.first => exit_now(2),
        // Or what we were given is no listener.
        Err(_) => Next::Over,
    }
}

/// `None`: it has been answered already.
fn decide(
    world: &World,
    l: &Listener,
    notification: &Notification,
    scratch: &mut Scratch,
) -> Option<Answer> {
    let reply = match rules::call(notification.arch, notification.number) {
        Some(call) => handle(
            &Caller {
                world,
                listener: l.fd.as_fd(),
                notification,
                call,
            },
            scratch,
        ),
        None => Ok(Reply::Continue),
    };
    Some(match reply {
        Ok(Reply::Continue) => Answer::Continue,
        Ok(Reply::Value(v)) => Answer::Value(v),
        Ok(Reply::Sent) => return None,
        Err(e) => Answer::Error(e),
    })
}

fn send(l: &Listener, notification: &Notification, answer: Option<Answer>) {
    if let Some(answer) = answer {
        // A caller that was killed meanwhile needs no answer.
        let _ = notify::answer(l.fd.as_fd(), notification.id, answer);
    }
}
