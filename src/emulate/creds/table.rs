//! Which process has which [`Cred`]. Each set that occurs is kept once, and its index is written where
//! the kernel passes it on for us: in the soft limit on file locks (`RLIMIT_LOCKS`), which nothing has
//! looked at since Linux 2.4. It is copied on fork, kept over exec, shared by threads, and gone with
//! the process; so no pid has to be followed.
//!
//! A tag may also say that an execve(2) is on its way, which the kernel may still refuse: who the process
//! was, and what it looked like ([`Tag::Executing`]).

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use rustix::io::Errno;

use super::Cred;
use crate::sys::peer;

/// Above every limit that somebody might have set. Without a tag a process has the first set.
const BASE: u64 = 1 << 40;

/// Sets that a container may make; more is the work of somebody who wants our memory.
const MAX: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 16;

/// Set in the tag of a process that executes; the index is in the lowest bits, and above it the looks.
const EXECUTING: u64 = 1 << 62;
const LOOKS_BITS: u32 = 44;

/// All sets. They live as long as the supervisor, whose memory ends with the container.
#[derive(Debug)]
pub struct Table {
    sets: RwLock<Sets>,
    /// Held while a tag is written that depends on the one before.
    writing: Mutex<()>,
    /// Whether a tag was ever written: until then none is looked for.
    tags: AtomicBool,
}

/// What the tag of a process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tag {
    /// Who it is.
    Is(&'static Cred),
    /// Who it was when it called execve(2), and what it looked like then: if it does not any more, the call
    /// has succeeded.
    Executing(&'static Cred, Looks),
}

/// A digest of what an exec changes of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looks(u64);

impl Looks {
    /// From any hash.
    pub fn new(hash: u64) -> Self {
        Self(hash & ((1 << LOOKS_BITS) - 1))
    }
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
            writing: Mutex::default(),
            tags: AtomicBool::new(false),
        }
    }

    /// What the limit of a process says, for [`Table::tagged`]. One that is gone is the first.
    pub fn limit(&self, pid: i32) -> u64 {
        if self.tags.load(Ordering::Acquire) {
            peer::locks_limit(pid).unwrap_or(u64::MAX)
        } else {
            u64::MAX
        }
    }

    fn write(&self, pid: i32, tag: u64) -> Result<(), Errno> {
        // Before the tag: who sees that finds this.
        self.tags.store(true, Ordering::Release);
        peer::set_locks_limit(pid, tag)
    }

    /// The meaning of a value of the limit.
    pub fn tagged(&self, limit: u64) -> Tag {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        let get = |index: u64| *sets.list.get(index as usize).unwrap_or(&sets.list[0]);
        match limit {
            u64::MAX => Tag::Is(get(0)),
            tag if tag & !(EXECUTING - 1) == EXECUTING => {
                let index = tag & ((1 << INDEX_BITS) - 1);
                Tag::Executing(get(index), Looks::new(tag >> INDEX_BITS))
            }
            tag => Tag::Is(get(tag.saturating_sub(BASE))),
        }
    }

    /// Make them those of a process.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many, as setuid(2) has it; `ESRCH`.
    pub fn set(&self, pid: i32, cred: Cred) -> Result<(), Errno> {
        let (index, _) = self.intern(cred)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(pid, tag(index))
    }

    /// A process that looks like this executes something.
    ///
    /// # Errors
    /// As [`Table::set`].
    pub fn set_executing(&self, pid: i32, now: Cred, looks: Looks) -> Result<(), Errno> {
        let (index, _) = self.intern(now)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(pid, EXECUTING | looks.0 << INDEX_BITS | index as u64)
    }

    /// What a process executed has made it `cred`; unless another thread of it has changed that
    /// meanwhile, its limit is not `before` any more.
    pub fn settle(&self, pid: i32, before: u64, cred: Cred) -> Result<&'static Cred, Errno> {
        let (index, cred) = self.intern(cred)?;
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if peer::locks_limit(pid)? == before {
            self.write(pid, tag(index))?;
        }
        Ok(cred)
    }

    /// Keep a set.
    ///
    /// # Errors
    /// `EAGAIN` when there are too many.
    pub fn intern(&self, cred: Cred) -> Result<(usize, &'static Cred), Errno> {
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(index) = sets.index.get(&cred) {
            return Ok((*index, sets.list[*index]));
        }
        if sets.list.len() >= MAX {
            return Err(Errno::AGAIN);
        }
        let cred: &'static Cred = Box::leak(Box::new(cred));
        let index = sets.list.len();
        sets.list.push(cred);
        sets.index.insert(cred, index);
        Ok((index, cred))
    }
}

fn tag(index: usize) -> u64 {
    match index {
        0 => u64::MAX,
        index => BASE + index as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::emulate::creds::Kind;

    fn is(table: &Table, pid: i32, cred: &Cred) -> bool {
        matches!(table.tagged(table.limit(pid)), Tag::Is(c) if c == cred)
    }

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
        assert!(is(&table, pid, &first));
        table.set(pid, user.clone()).unwrap();
        assert!(is(&table, pid, &user));
        table.set(pid, first.clone()).unwrap();
        assert!(is(&table, pid, &first));
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
        assert_eq!(table.intern(user.clone()).unwrap().0, 1);
        assert_eq!(table.intern(user).unwrap().0, 1);
        for limit in [0, 5, BASE + 99, u64::MAX - 1] {
            assert!(matches!(table.tagged(limit), Tag::Is(c) if *c == first));
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

    #[test]
    fn an_exec_on_its_way_is_remembered_with_who_makes_it() {
        let first = Cred::first(0, 0, &[], 0xff, false);
        let user = first.set_one(Kind::User, 7).unwrap();
        let table = Table::new(first.clone());
        let mut process = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = process.id().cast_signed();
        for (cred, hash) in [
            (&first, 0),
            (&user, u64::MAX),
            (&user, 0x0123_4567_89ab_cdef),
        ] {
            table
                .set_executing(pid, cred.clone(), Looks::new(hash))
                .unwrap();
            let Tag::Executing(was, looks) = table.tagged(table.limit(pid)) else {
                panic!("{:x}", table.limit(pid));
            };
            assert_eq!((was, looks), (cred, Looks::new(hash)));
        }
        // What another thread has set meanwhile stays.
        let before = table.limit(pid);
        table.set(pid, first.clone()).unwrap();
        assert_eq!(
            table.settle(pid, before, user.clone()).as_deref(),
            Ok(&user)
        );
        assert!(is(&table, pid, &first));
        let before = table.limit(pid);
        table.settle(pid, before, user.clone()).unwrap();
        assert!(is(&table, pid, &user));
        process.kill().unwrap();
        process.wait().unwrap();
    }
}
