//! `RLIMIT_LOCKS`, in which the credentials travel: nobody sees it, nobody sets it. getrlimit(2).

use rustix::io::Errno;

use super::{DONE, Result};
use crate::emulate::caller::Caller;
use crate::emulate::rules::Op;

pub(super) fn handle(c: &Caller<'_>) -> Result {
    let (answer, wide) = match c.call.op {
        // Writing the limit succeeds, as it does without us, and has no effect, as it has there.
        Op::Setrlimit => return Ok(DONE),
        Op::Prlimit => (c.arg(3), true),
        _ => (c.arg(1), !c.call.compat),
    };
    if answer == 0 {
        return match c.call.op {
            Op::Prlimit => Ok(DONE),
            _ => Err(Errno::FAULT),
        };
    }
    // "unlimited", twice.
    let infinite = [0xffu8; 16];
    c.write(answer, &infinite[..if wide { 16 } else { 8 }])?;
    Ok(DONE)
}
