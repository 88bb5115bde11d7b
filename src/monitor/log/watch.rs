//! Waiting for more. inotify(7) says when there is some, where it is to be had; not every file system tells, and what
//! another host writes it never does. So there is a timer too, which also finds out about what is no change of a file.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify::{self, CreateFlags, Reader, WatchFlags};

/// The first pause after something happened, and the longest: with and without word from the kernel.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(1);
const LONGEST_BLIND: Duration = Duration::from_millis(200);

/// Waits for changes in directories.
#[derive(Debug)]
pub struct Watch {
    /// `None` where each watch would not be told of.
    inotify: Option<OwnedFd>,
    pause: Duration,
}

impl Watch {
    /// Of the files in these directories, not of what is below.
    pub fn new<'a>(dirs: impl IntoIterator<Item = &'a Path>) -> Self {
        // There may be too many of them already: then it is done without.
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).ok();
        let inotify = fd.filter(|fd| {
            let what = WatchFlags::MODIFY | WatchFlags::CREATE | WatchFlags::MOVED_TO;
            dirs.into_iter()
                .all(|dir| inotify::add_watch(fd, dir, what).is_ok())
        });
        Self {
            inotify,
            pause: SHORTEST,
        }
    }

    /// Something was found: look again soon.
    pub fn stir(&mut self) {
        self.pause = SHORTEST;
    }

    /// Until something may have changed, or `limit` is over.
    pub fn wait(&mut self, limit: Option<Duration>) {
        let pause = limit.map_or(self.pause, |limit| limit.min(self.pause));
        let longest = match self.inotify {
            Some(_) => LONGEST,
            None => LONGEST_BLIND,
        };
        self.pause = (self.pause * 2).min(longest);
        let Some(fd) = &self.inotify else {
            std::thread::sleep(pause);
            return;
        };
        let mut fds = [PollFd::new(fd, PollFlags::IN)];
        let pause = Timespec::try_from(pause).ok();
        if !matches!(poll(&mut fds, pause.as_ref()), Ok(1..)) {
            return;
        }
        self.pause = SHORTEST;
        // That there are events is all that matters of them.
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(fd, &mut buffer);
        while events.next().is_ok() {}
    }
}
