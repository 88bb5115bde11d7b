//! Which process has which [`Cred`]. Each set that occurs is kept once, and its index is written where
//! the kernel passes it on for us: in the soft limit on file locks (`RLIMIT_LOCKS`), which nothing has
//! looked at since Linux 2.4. It is copied on fork, kept over exec, shared by threads, and gone with
//! the process; so no pid has to be followed.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{PoisonError, RwLock};

use rustix::io::Errno;

use super::Cred;
use crate::sys::peer;

/// Above every limit that somebody might have set. Without a tag a process has the first set.
const BASE: u64 = 1 << 40;

/// Sets that a container may make; more is the work of somebody who wants our memory.
const MAX: usize = 1 << 16;

/// All sets. They live as long as the supervisor, whose memory ends with the container.
#[derive(Debug)]
pub struct Table {
    sets: RwLock<Sets>,
    /// Whether there is a second set: until then nobody has a tag, and none is looked for.
    several: AtomicBool,
}

#[derive(Debug)]
struct Sets {
    list: Vec<&'static Cred>,
    index: HashMap<&'static Cred, usize>,
}

impl Table {
    /// With the credentials of the first process.
    pub fn new(first: Cred) -> Self {
        let first: &'static Cred = Box::leak(Box::new(first));
        Self {
            sets: RwLock::new(Sets {
                list: vec![first],
                index: HashMap::from([(first, 0)]),
            }),
            several: AtomicBool::new(false),
        }
    }

    /// Those of a process. One that is gone has those of the first.
    pub fn of(&self, pid: i32) -> &'static Cred {
        let limit = if self.several.load(Ordering::Acquire) {
            peer::locks_limit(pid).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        };
        self.tagged(limit)
    }

    /// Those behind a value of the limit.
    pub fn tagged(&self, limit: u64) -> &'static Cred {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        let index = match limit {
            u64::MAX => 0,
            tag => tag.saturating_sub(BASE) as usize,
        };
        sets.list.get(index).unwrap_or(&sets.list[0])
    }

    /// Make them those of a process.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many, as setuid(2) has it; `ESRCH`.
    pub fn set(&self, pid: i32, cred: Cred) -> Result<(), Errno> {
        let index = self.intern(cred)? as u64;
        peer::set_locks_limit(pid, if index == 0 { u64::MAX } else { BASE + index })
    }

    fn intern(&self, cred: Cred) -> Result<usize, Errno> {
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = sets.index.get(&cred) {
            return Ok(*index);
        }
        if sets.list.len() >= MAX {
            return Err(Errno::AGAIN);
        }
        let cred: &'static Cred = Box::leak(Box::new(cred));
        let index = sets.list.len();
        sets.list.push(cred);
        sets.index.insert(cred, index);
        // Before any process has the tag, and so before any call of one that has it.
        self.several.store(true, Ordering::Release);
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::creds::Kind;

    #[test]
    fn a_child_has_what_its_parent_had() {
        let first = Cred::first(0, 0, &[], 0xff, false);
        let user = first.set_one(Kind::User, 7).unwrap();
        let table = Table::new(first.clone());
        let mut parent = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = parent.id().cast_signed();
        assert_eq!(*table.of(pid), first);
        table.set(pid, user.clone()).unwrap();
        assert_eq!(*table.of(pid), user);
        table.set(pid, first.clone()).unwrap();
        assert_eq!(*table.of(pid), first);
        assert_eq!(peer::locks_limit(pid), Ok(u64::MAX));
        parent.kill().unwrap();
        parent.wait().unwrap();
        assert_eq!(table.set(pid, user), Err(Errno::SRCH));
    }

    #[test]
    fn equal_sets_are_kept_once_and_nonsense_is_the_first() {
        let first = Cred::first(0, 0, &[], 0xff, false);
        let table = Table::new(first.clone());
        let user = first.set_one(Kind::User, 7).unwrap();
        assert_eq!(table.intern(user.clone()), Ok(1));
        assert_eq!(table.intern(user), Ok(1));
        for limit in [0, 5, BASE + 99, u64::MAX - 1] {
            assert_eq!(*table.tagged(limit), first);
        }
    }

    #[test]
    fn there_is_a_bound() {
        let first = Cred::first(0, 0, &[], 0xff, false);
        let table = Table::new(first.clone());
        for id in 1..MAX as u32 {
            table
                .intern(first.set_one(Kind::User, id).unwrap())
                .unwrap();
        }
        let more = first.set_one(Kind::User, MAX as u32).unwrap();
        assert_eq!(table.intern(more), Err(Errno::AGAIN));
    }
}
