//! Sockets that bind(2) is about to make: the kernel does it, and whose they are is recorded when somebody
//! next looks.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::fs::{FileType as Kind, Mode, OFlags};

use super::{Belongs, Object, Ownership, lock};

/// A socket that somebody is about to bind.
pub(super) struct Expected {
    dir: Object,
    name: Vec<u8>,
    uid: u32,
    gid: u32,
    /// A record is about its name.
    anew: bool,
    since: Instant,
}

/// How many are remembered, and for how long if they do not come.
const EXPECTED_MAX: usize = 64;
const EXPECTED_FOR: Duration = Duration::from_secs(1);

impl Ownership {
    /// A socket of this name will be there soon, and is then somebody's.
    pub(in crate::emulate) fn expect(
        &self,
        dir: Object,
        name: &[u8],
        uid: u32,
        gid: u32,
        anew: bool,
    ) {
        let mut expected = lock(&self.expected);
        if expected.len() >= EXPECTED_MAX {
            expected.remove(0);
        }
        expected.push(Expected {
            dir,
            name: name.to_vec(),
            uid,
            gid,
            anew,
            since: Instant::now(),
        });
        self.quiet.store(false, Ordering::Relaxed);
    }

    /// Record those that have come on a file system. No lock is held while it is asked, and no other is:
    /// it may let us wait.
    pub(super) fn settle(&self, mount: u64) {
        let mut expected = lock(&self.expected);
        let (here, elsewhere): (Vec<_>, Vec<_>) = std::mem::take(&mut *expected)
            .into_iter()
            .partition(|e| e.dir.stat.stx_mnt_id == mount);
        *expected = elsewhere;
        drop(expected);
        let (open, mode) = (
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        );
        for e in here {
            match rustix::fs::openat(&e.dir.fd, &e.name[..], open, mode).and_then(Object::new) {
                Ok(object) if object.kind() == Kind::Socket => {
                    let before = Belongs {
                        uid: 0,
                        gid: 0,
                        device: None,
                        recorded: false,
                    };
                    if e.anew {
                        let _ = self.disinherit(&object);
                    }
                    // Where it cannot be recorded it belongs to root, as the kernel says.
                    let _ = self.give(&object, before, e.uid, e.gid);
                }
                Err(_) if e.since.elapsed() < EXPECTED_FOR => lock(&self.expected).push(e),
                Ok(_) | Err(_) => {}
            }
        }
    }
}
