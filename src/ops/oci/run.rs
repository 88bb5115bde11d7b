//! `run`: create and start in one, and unless it is detached wait for the end and delete.

use super::create::{self, Options};
use super::{Error, Runtime, delete, start};
use crate::monitor::{self, Ended, Signals};
use crate::runtime::Started;

/// What comes after the start.
#[derive(Clone, Copy, Debug, Default)]
pub struct After {
    /// Leave it running, and return.
    pub detach: bool,
    /// Do not delete it when it has ended.
    pub keep: bool,
}

/// Run it. Returns the code of its program, 0 if that was left running.
pub fn run(runtime: &Runtime, o: &Options, after: After) -> Result<u8, Error> {
    let handed = create::descriptors(o.preserve_fds)?;
    // Before the container is there, so that none is lost.
    let signals = if after.detach {
        None
    } else {
        Some(Signals::block().map_err(Error::Signals)?)
    };
    let made = create::make(runtime, o, handed, after.detach)?;
    if let Err(e) = start::go(&made.container, &made.config) {
        if let Ok(Some(record)) = made.container.record() {
            super::kill::end(&record);
        }
        let _ = delete::gone(&made.container);
        return Err(e);
    }
    let Some(signals) = signals else {
        return Ok(0);
    };
    let started = Started {
        pid: made.created.pid,
        pidfd: made.created.pidfd,
        terminal: made.terminal,
        // What has none is ended when the container is deleted.
        own_pids: true,
        supervisor: None,
    };
    made.container.unlock();
    let ended: Ended = monitor::watch(&started, &signals, true, None, None)?;
    if !after.keep {
        made.container.lock()?;
        delete::gone(&made.container)?;
    }
    Ok(ended.exit_code())
}
