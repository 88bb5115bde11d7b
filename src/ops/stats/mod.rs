//! `stats`: what containers use of the machine. podman-stats(1).
//!
//! A container has no control group of its own, so its figures are the sums of its processes', from the host's /proc.
//! That takes one walk through /proc for all containers together, and a few files for each process of theirs.

mod processes;

use std::collections::HashMap;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use self::processes::{Members, Processes};
use super::ps::{self, State, Wanted};
use super::{Error, live};
use crate::runtime::{self, Running};
use crate::store::{ContainerEntry, Store};

/// Which containers.
#[derive(Clone, Debug, Default)]
pub struct Which {
    /// By name or id; none stands for all that run.
    pub names: Vec<String>,
    /// Also those that do not.
    pub all: bool,
    /// The youngest.
    pub latest: bool,
}

/// A container and what it uses.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// `None` while it does not run.
    pub usage: Option<Usage>,
}

/// What the processes of a container use.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Processor time of all that were waited for and all that live; in hundredths of a second.
    pub cpu: Duration,
    /// Since its first process was started.
    pub lived: Duration,
    /// Processors in use, of which 1 is a whole one: since the look before, the first time since the start.
    pub share: f64,
    /// The same since the start.
    pub average: f64,
    /// Bytes in memory. Those that several processes share count once in all (`Pss` of proc_pid_smaps(5)).
    pub memory: u64,
    /// Bytes of memory that the machine has.
    pub limit: u64,
    /// Bytes received and sent by a network of its own, without loopback.
    pub network: (u64, u64),
    /// Bytes read from and written to disks.
    pub blocks: (u64, u64),
    /// Processes and threads.
    pub pids: u64,
}

/// A container that ran when it was looked at last.
struct Known {
    pid: i32,
    pidfd: OwnedFd,
    own_pids: bool,
    last: Option<(Instant, Duration)>,
}

/// Looks at containers again and again.
pub struct Watch<'a> {
    store: &'a Store,
    which: Which,
    known: HashMap<String, Known>,
}

impl<'a> Watch<'a> {
    /// At these.
    pub fn new(store: &'a Store, which: Which) -> Self {
        Self {
            store,
            which,
            known: HashMap::new(),
        }
    }

    /// Once, in the order of the names, or the youngest first.
    ///
    /// # Errors
    /// [`Error::NotRunning`] for one that was named.
    pub fn look(&mut self) -> Result<Vec<Stats>, Error> {
        let entries = self.entries()?;
        let mut running = Vec::new();
        for entry in &entries {
            let found = self.find(entry);
            match found {
                Ok(()) => running.push(true),
                // Somebody who did not ask for it is told of the others.
                Err(Error::NotRunning(_) | Error::NoAnswer(_)) if !self.named() => {
                    running.push(false);
                }
                Err(e) => return Err(e),
            }
        }
        let processes = Processes::look()?;
        let limit = processes::memory_total();
        let mut all = Vec::new();
        for (entry, running) in entries.into_iter().zip(running) {
            let usage = match running {
                true => self.usage(&entry.id, &processes, limit),
                false => None,
            };
            if usage.is_some() || self.which.all {
                all.push(Stats {
                    id: entry.id,
                    name: entry.name,
                    usage,
                });
            }
        }
        Ok(all)
    }

    fn named(&self) -> bool {
        self.which.latest || !self.which.names.is_empty()
    }

    fn entries(&self) -> Result<Vec<ContainerEntry>, Error> {
        let find = |name: &String| Ok(self.store.containers().find(name)?);
        if !self.which.names.is_empty() {
            return self.which.names.iter().map(find).collect();
        }
        let wanted = Wanted {
            all: self.which.all,
            last: self.which.latest.then_some(1),
            ..Wanted::default()
        };
        let list = ps::ps(self.store, &wanted)?.into_iter();
        let runs = |c: &ps::Container| matches!(c.state, State::Running | State::Paused);
        let all = self.which.all || self.which.latest;
        let ids: Vec<String> = list.filter(|c| all || runs(c)).map(|c| c.id).collect();
        // One that went meanwhile is none of them.
        Ok(ids.iter().filter_map(|id| find(id).ok()).collect())
    }

    /// Know its first process.
    fn find(&mut self, entry: &ContainerEntry) -> Result<(), Error> {
        let lives = |known: &Known| Running::look(known.pidfd.as_fd()).is_ok();
        if self.known.get(&entry.id).is_some_and(lives) {
            return Ok(());
        }
        let not_running = || Error::NotRunning(entry.id[..12].to_owned());
        let description = live::connect_within(self.store, entry, live::FORCED)?.describe()?;
        let running = Running::look(description.pidfd.as_fd()).map_err(|e| match e {
            runtime::Error::Ended => not_running(),
            e => e.into(),
        })?;
        let own_pids = running.own_pids();
        let known = Known {
            pid: description.pid,
            pidfd: description.pidfd,
            own_pids,
            last: None,
        };
        self.known.insert(entry.id.clone(), known);
        Ok(())
    }

    /// `None` if it has ended meanwhile.
    fn usage(&mut self, id: &str, processes: &Processes, limit: u64) -> Option<Usage> {
        let known = self.known.get_mut(id)?;
        let members: Members<'_> = processes.of(known.pid, known.own_pids)?;
        let (cpu, lived) = (members.cpu(), members.lived());
        let average = share(cpu, lived);
        let now = Instant::now();
        let last = known.last.replace((now, cpu));
        Some(Usage {
            cpu,
            lived,
            share: last.map_or(average, |(then, before)| {
                // Less than before: who was not waited for has taken its time along.
                share(cpu.saturating_sub(before), now - then)
            }),
            average,
            memory: members.memory(),
            limit,
            network: members.network(),
            blocks: members.blocks(),
            pids: members.pids(),
        })
    }
}

fn share(cpu: Duration, of: Duration) -> f64 {
    match of.as_secs_f64() {
        0.0 => 0.0,
        seconds => cpu.as_secs_f64() / seconds,
    }
}
