//! The supervisor at work, until the end of the container: who waits for calls, and how many.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::Thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::World;
use super::caller::Caller;
use super::handlers::{Reply, Scratch, handle};
use crate::sys::clone::exit_now;
use crate::sys::notify::{self, Answer, Notification};

/// Threads that answer, at most, as long as they get on.
const THREADS_MAX: usize = 16;
/// With those that a file system has let wait: no more callers than that can be stuck before they stall
/// others.
const STUCK_MAX: usize = 1024;
const STACK: usize = 512 << 10;

/// Threads that wait for a call, and all that answer.
static IDLE: AtomicUsize = AtomicUsize::new(0);
static THREADS: AtomicUsize = AtomicUsize::new(0);
/// Calls so far, and whether the first thread sleeps until there is one.
static CALLS: AtomicUsize = AtomicUsize::new(0);
static WATCH_SLEEPS: AtomicBool = AtomicBool::new(false);

/// Calls that are answered before there is a second thread: a small program needs none, unless its files may
/// let it wait.
const ALONE: u32 = 16;
/// How often it is looked at whether somebody waits for too long.
const TICK: Duration = Duration::from_millis(20);
/// Ticks without a call after which nobody looks any more.
const QUIET_TICKS: u32 = 50;

/// Until nobody is left under the filter.
///
/// One thread answers, as long as that is enough: it finds its memory in the cache, and wakes on the
/// processor of its caller. The first thread looks on, and makes more when calls wait while nobody is
/// idle, because a file system lets one wait or because there are more callers than one can serve. Where
/// nobody even takes a call, all are stuck, perhaps for ever: then others take their places.
pub(super) fn serve(world: &'static World) -> ! {
    let mut scratch = Box::new(Scratch::new());
    let mut notification = Notification::default();
    for _ in 0..if world.may_wait { 0 } else { ALONE } {
        if next(world, &mut notification) {
            let answer = decide(world, &notification, &mut scratch);
            send(world, &notification, answer);
        }
    }
    drop(scratch);
    let watch = std::thread::current();
    if !spawn(world, &watch) {
        exit_now(2);
    }
    let (mut seen, mut quiet, mut waiting) = (0, 0, 0);
    loop {
        std::thread::sleep(TICK);
        let calls = CALLS.load(Ordering::Relaxed);
        waiting = if has_pending(world) && IDLE.load(Ordering::Relaxed) == 0 {
            waiting + 1
        } else {
            0
        };
        // Twice in a row: once may be chance.
        if waiting >= 2 {
            let threads = THREADS.load(Ordering::Relaxed);
            let wanted = if calls == seen {
                (2 * threads).min(STUCK_MAX)
            } else {
                (threads + 1).min(THREADS_MAX)
            };
            let _ = (threads..wanted).all(|_| spawn(world, &watch));
            waiting = 0;
        }
        // Somebody must be there to take the call that wakes us.
        let idle = IDLE.load(Ordering::SeqCst) > 0;
        quiet = if calls == seen && waiting == 0 && idle {
            quiet + 1
        } else {
            0
        };
        seen = calls;
        if quiet >= QUIET_TICKS {
            quiet = 0;
            // In this order: a call after the load finds the flag, one before it is seen by it.
            WATCH_SLEEPS.store(true, Ordering::SeqCst);
            if CALLS.load(Ordering::SeqCst) == calls {
                std::thread::park();
            }
            WATCH_SLEEPS.store(false, Ordering::SeqCst);
        }
    }
}

fn spawn(world: &'static World, watch: &Thread) -> bool {
    let watch = watch.clone();
    let stays = THREADS.fetch_add(1, Ordering::Relaxed) == 0;
    IDLE.fetch_add(1, Ordering::Relaxed);
    let made = std::thread::Builder::new()
        .stack_size(STACK)
        .spawn(move || work(world, &watch, stays))
        .is_ok();
    if !made {
        IDLE.fetch_sub(1, Ordering::Relaxed);
        THREADS.fetch_sub(1, Ordering::Relaxed);
    }
    made
}

/// For as long as the container lives, or until others are enough. A call wakes all threads that wait for
/// one, not the first of them, so those that are not needed any more would make each call dearer.
fn work(world: &'static World, watch: &Thread, stays: bool) {
    let mut scratch = Scratch::new();
    let mut notification = Notification::default();
    loop {
        if !next(world, &mut notification) {
            continue;
        }
        IDLE.fetch_sub(1, Ordering::Relaxed);
        CALLS.fetch_add(1, Ordering::SeqCst);
        if WATCH_SLEEPS.load(Ordering::SeqCst) {
            watch.unpark();
        }
        let answer = decide(world, &notification, &mut scratch);
        // Before the caller goes on: its next call must not find us busy still.
        IDLE.fetch_add(1, Ordering::Relaxed);
        send(world, &notification, answer);
        if !stays && !has_pending(world) && leave_to_another() {
            THREADS.fetch_sub(1, Ordering::Relaxed);
            return;
        }
    }
}

/// Stop being idle if somebody else is: the one that stays may wait for a file system.
fn leave_to_another() -> bool {
    let others = |idle: usize| (idle > 1).then(|| idle - 1);
    IDLE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, others)
        .is_ok()
}

/// Whether a call waits to be received.
fn has_pending(world: &World) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(world.listener(), PollFlags::IN)];
    let now = rustix::event::Timespec::default();
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::IN)
}

/// Wait for a call. The end of the container is the end of the process: kernels from 6.11 on tell it
/// here; with older ones the command, which sees it as well, ends us.
fn next(world: &World, notification: &mut Notification) -> bool {
    match notify::receive(world.listener(), notification) {
        Ok(()) => true,
        Err(Errno::INTR) => false,
        // Perhaps only the caller was killed.
        Err(Errno::NOENT) if !is_over(world) => false,
        Err(Errno::NOENT) => exit_now(0),
        Err(_) => exit_now(2),
    }
}

fn is_over(world: &World) -> bool {
    let mut fds = [PollFd::from_borrowed_fd(
        world.listener(),
        PollFlags::empty(),
    )];
    let now = rustix::event::Timespec::default();
    poll(&mut fds, Some(&now)).is_ok() && fds[0].revents().contains(PollFlags::HUP)
}

/// `None`: it has been answered already.
fn decide(world: &World, notification: &Notification, scratch: &mut Scratch) -> Option<Answer> {
    let reply = match world.calls.get(notification.arch, notification.number) {
        Some(call) => handle(
            &Caller {
                world,
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

fn send(world: &World, notification: &Notification, answer: Option<Answer>) {
    if let Some(answer) = answer {
        // A caller that was killed meanwhile needs no answer.
        let _ = notify::answer(world.listener(), notification.id, answer);
    }
}
