//! Users, groups and capabilities: [`Cred`](crate::emulate::creds::Cred) decides, the table remembers.
//!
//! Of capset(2) and prctl(2) the kernel hears as well: what a process gives up there it really gives
//! up, and an emulated set is never larger than the real one.

use rustix::io::Errno;

use super::{DONE, Reply, Result};
use crate::emulate::caller::{Caller, narrow, widen};
use crate::emulate::creds::{GROUPS_MAX, Kind, cap};
use crate::emulate::rules::{Op, Width};

pub(super) fn handle(c: &Caller<'_>) -> Result {
    let cred = c.cred();
    let short = c.call.width == Width::Short;
    let id = |at: usize| {
        if short {
            widen(c.word(at) as u16)
        } else {
            c.word(at)
        }
    };
    let show = |id: u32| {
        let id = if short { u32::from(narrow(id)) } else { id };
        Ok(Reply::Value(i64::from(id)))
    };
    let (user, group) = (Kind::User, Kind::Group);
    let new = match c.call.op {
        Op::Getuid => return show(cred.uid.real),
        Op::Geteuid => return show(cred.uid.effective),
        Op::Getgid => return show(cred.gid.real),
        Op::Getegid => return show(cred.gid.effective),
        Op::Getresuid | Op::Getresgid => return three(c, short),
        Op::Getgroups => return groups(c, short),
        Op::Setuid => cred.set_one(user, id(0)),
        Op::Setgid => cred.set_one(group, id(0)),
        Op::Setreuid => cred.set_two(user, id(0), id(1)),
        Op::Setregid => cred.set_two(group, id(0), id(1)),
        Op::Setresuid => cred.set_three(user, id(0), id(1), id(2)),
        Op::Setresgid => cred.set_three(group, id(0), id(1), id(2)),
        Op::Setfsuid | Op::Setfsgid => {
            let kind = if c.call.op == Op::Setfsuid {
                user
            } else {
                group
            };
            let old = match kind {
                Kind::User => cred.uid.fs,
                Kind::Group => cred.gid.fs,
            };
            let new = cred.set_fs(kind, id(0));
            if new != *cred {
                c.set_cred(new)?;
            }
            return show(old);
        }
        Op::Setgroups => {
            let count = c.int(0) as u32 as usize;
            if count > GROUPS_MAX {
                return Err(if cred.can(cap::SETGID) {
                    Errno::INVAL
                } else {
                    Errno::PERM
                });
            }
            cred.set_groups(&c.read_ids(c.arg(1), count, short)?)
        }
        Op::Capget => return capget(c),
        Op::Capset => return capset(c),
        Op::Prctl => return prctl(c),
        Op::Chroot => {
            if !cred.can(cap::SYS_CHROOT) {
                return Err(Errno::PERM);
            }
            // From now on a path may mean something else to its caller.
            c.world.let_roots_vary();
            return Ok(Reply::Continue);
        }
        _ => return Ok(Reply::Continue),
    }?;
    if new != *cred {
        c.still_waits()?;
        c.set_cred(new)?;
    }
    Ok(DONE)
}

fn three(c: &Caller<'_>, short: bool) -> Result {
    let cred = c.cred();
    let ids = match c.call.op {
        Op::Getresuid => cred.uid,
        _ => cred.gid,
    };
    for (at, id) in [ids.real, ids.effective, ids.saved].iter().enumerate() {
        c.write_ids(c.arg(at), &[*id], short)?;
    }
    Ok(DONE)
}

fn groups(c: &Caller<'_>, short: bool) -> Result {
    let groups = &c.cred().groups;
    let room = c.int(0);
    if room < 0 || (room > 0 && (room as usize) < groups.len()) {
        return Err(Errno::INVAL);
    }
    if room > 0 && !groups.is_empty() {
        c.write_ids(c.arg(1), groups, short)?;
    }
    Ok(Reply::Value(groups.len() as i64))
}

// linux/capability.h, _LINUX_CAPABILITY_VERSION_*
const VERSION_1: u32 = 0x1998_0330;
const VERSION_2: u32 = 0x2007_1026;
const VERSION_3: u32 = 0x2008_0522;

/// Version and pid of the header, if it is about the caller itself; the words of a set.
fn header(c: &Caller<'_>) -> std::result::Result<Option<usize>, Errno> {
    let mut bytes = [0u8; 8];
    c.read(c.arg(0), &mut bytes)?;
    let [a, b, d, e, pid @ ..] = bytes;
    let words = match u32::from_ne_bytes([a, b, d, e]) {
        VERSION_1 => 1,
        VERSION_2 | VERSION_3 => 2,
        _ => return Ok(None),
    };
    let pid = i32::from_ne_bytes(pid);
    if pid == 0 {
        return Ok(Some(words));
    }
    // Its own number, as it sees itself.
    let own = c.status(c.pid(), "NSpid")?;
    let own = own.rsplit('\t').next().and_then(|n| n.parse().ok());
    Ok((own == Some(pid)).then_some(words))
}

fn capget(c: &Caller<'_>) -> Result {
    let Some(words) = header(c)? else {
        return Ok(Reply::Continue);
    };
    if c.arg(1) == 0 {
        return Ok(Reply::Continue);
    }
    let cred = c.cred();
    let sets = [cred.effective, cred.permitted, cred.inheritable];
    let mut out = [0u8; 24];
    for word in 0..words {
        for (i, set) in sets.iter().enumerate() {
            let at = 12 * word + 4 * i;
            out[at..at + 4].copy_from_slice(&((set >> (32 * word)) as u32).to_ne_bytes());
        }
    }
    c.write(c.arg(1), &out[..12 * words])?;
    Ok(DONE)
}

fn capset(c: &Caller<'_>) -> Result {
    let Some(words) = header(c)? else {
        return Ok(Reply::Continue);
    };
    let mut bytes = [0u8; 24];
    c.read(c.arg(1), &mut bytes[..12 * words])?;
    let known = (1u64 << (cap::LAST + 1)) - 1;
    let set = |i: usize| {
        let words = (0..words).map(|word| {
            let at = 12 * word + 4 * i;
            let mut b = [0; 4];
            b.copy_from_slice(&bytes[at..at + 4]);
            u64::from(u32::from_ne_bytes(b)) << (32 * word)
        });
        words.sum::<u64>() & known
    };
    let cred = c.cred();
    let new = cred.set_caps(set(0), set(1), set(2))?;
    c.still_waits()?;
    if new != *cred {
        c.set_cred(new)?;
    }
    Ok(Reply::Continue)
}

fn prctl(c: &Caller<'_>) -> Result {
    let option = c.word(0);
    let mask = if c.call.compat {
        u64::from(u32::MAX)
    } else {
        u64::MAX
    };
    let args = [c.arg(1), c.arg(2), c.arg(3), c.arg(4)].map(|a| a & mask);
    let cred = c.cred();
    let (new, result) = cred.prctl(option, args)?;
    let changes = new != *cred;
    if changes {
        c.still_waits()?;
        c.set_cred(new)?;
    }
    // What takes something away is told to the kernel; what only asks, or what the kernel would say
    // differently of a root that it knows, is answered here.
    const DROPS: [u32; 2] = [24, 28];
    const NO_NEW_PRIVS: u32 = 38;
    if DROPS.contains(&option) || option == NO_NEW_PRIVS {
        return Ok(Reply::Continue);
    }
    Ok(Reply::Value(result))
}
