//! `logs`: what containers wrote, and what they write. docker-logs(1).

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use super::Error;
use super::ps::{self, Wanted};
use crate::monitor::log::{self, Reader, TIME, Watch};
use crate::store::{ContainerEntry, Store};

pub use crate::monitor::log::{
    Config as LogConfig, Driver as LogDriver, Limits as LogLimits, Record, Stream,
};

/// Which of it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Go on until the containers have ended.
    pub follow: bool,
    /// Of each container at most so many lines of what there is.
    pub tail: Option<u64>,
    /// Nothing that is older.
    pub since: Option<Timestamp>,
    /// Nothing that is younger.
    pub until: Option<Timestamp>,
}

/// Where it goes.
pub trait Sink {
    /// A record of the container that was named as number `container`; false: no more is wanted.
    fn record(&mut self, container: usize, record: &Record<'_>) -> bool;

    /// That was all for now; false: no more is wanted.
    fn pause(&mut self) -> bool;

    /// The container has no more.
    fn ended(&mut self, container: usize);
}

/// Why there is nothing to show.
#[derive(Debug, thiserror::Error)]
pub enum LogsError {
    /// `--log-driver none`
    #[error("container {0} keeps no log: it was made with --log-driver none")]
    None(String),
    /// It was started by `run --rm` without `-d`, and nobody could ask after its end.
    #[error(
        "container {0} has no log: what it writes goes to the terminal or file of its `coracle run`"
    )]
    Foreground(String),
    /// A log cannot be read.
    #[error("cannot read the log {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is no container.
    #[error("there is no container")]
    NoContainer,
}

impl LogsError {
    pub(super) fn hint(&self) -> Option<String> {
        match self {
            Self::None(_) => {
                Some("the next one: --log-driver k8s-file, which is the default".to_owned())
            }
            Self::Foreground(_) => Some(
                "`coracle run` without --rm keeps one, and so do -d and --log-driver k8s-file"
                    .to_owned(),
            ),
            Self::Read { .. } | Self::NoContainer => None,
        }
    }
}

/// A container, as `logs` shows it.
#[derive(Clone, Debug)]
pub struct Source {
    /// Its id.
    pub id: String,
    /// Its name, if it has one.
    pub name: Option<String>,
    entry: ContainerEntry,
}

/// The containers that are meant, or the youngest of all.
pub fn sources(store: &Store, names: &[String], latest: bool) -> Result<Vec<Source>, Error> {
    let mut names = names.to_vec();
    if latest {
        let wanted = Wanted {
            last: Some(1),
            ..Wanted::default()
        };
        let youngest = ps::ps(store, &wanted)?.into_iter().next();
        names.push(youngest.ok_or(LogsError::NoContainer)?.id);
    }
    let find = |name: &String| {
        let entry = store.containers().find(name)?;
        Ok(Source {
            id: entry.id.clone(),
            name: entry.name.clone(),
            entry,
        })
    };
    names.iter().map(find).collect()
}

/// Give `sink` what `options` ask for: of several containers in the order of time.
pub fn logs(
    store: &Store,
    sources: &[Source],
    options: &Options,
    sink: &mut dyn Sink,
) -> Result<(), Error> {
    let mut watch = None;
    if options.follow {
        // Before the first look: what comes after it must not be missed.
        let dirs = sources.iter().map(|s| s.entry.path.as_path());
        watch = Some(Watch::new(dirs));
    }
    let mut following = Vec::new();
    for (number, source) in sources.iter().enumerate() {
        following.push(Following {
            number,
            store,
            entry: &source.entry,
            since: options.since.map(log::time),
            until: options.until.map(log::time),
            tail: options.tail,
            reader: None,
            last: false,
        });
    }
    for one in &mut following {
        one.open(options.follow)?;
    }
    loop {
        let some = drain(&mut following, sink)?;
        let Some(some) = some.filter(|_| sink.pause()) else {
            return Ok(());
        };
        let Some(watch) = &mut watch else {
            break;
        };
        following.retain(|one| {
            !one.last || {
                sink.ended(one.number);
                false
            }
        });
        let left = options
            .until
            .map(|until| until.duration_since(Timestamp::now()));
        if following.is_empty() || left.is_some_and(|left| left.is_negative()) {
            break;
        }
        if some {
            watch.stir();
        } else {
            let all_live = following
                .iter_mut()
                .try_fold(true, |all, one| Ok::<_, Error>(all & one.look()?))?;
            if all_live {
                watch.wait(left.and_then(|left| Duration::try_from(left).ok()));
            }
        }
        for one in &mut following {
            one.go_on()?;
        }
    }
    for one in &following {
        sink.ended(one.number);
    }
    sink.pause();
    Ok(())
}

/// All there is now, the oldest first; `None` when the sink wants no more, else whether there was some.
fn drain(following: &mut [Following<'_>], sink: &mut dyn Sink) -> Result<Option<bool>, Error> {
    let mut some = false;
    loop {
        let one = match &mut *following {
            [one] => one,
            several => match oldest(several)? {
                Some(at) => &mut several[at],
                None => return Ok(Some(some)),
            },
        };
        match one.give(sink)? {
            Given::Some => some = true,
            Given::Nothing => return Ok(Some(some)),
            Given::Enough => return Ok(None),
        }
    }
}

/// Which of them has the oldest record.
fn oldest(following: &mut [Following<'_>]) -> Result<Option<usize>, Error> {
    let mut oldest = None;
    for (at, one) in following.iter_mut().enumerate() {
        if let Some(time) = one.next_time()?
            && oldest.is_none_or(|(_, best)| time < best)
        {
            oldest = Some((at, time));
        }
    }
    Ok(oldest.map(|(at, _)| at))
}

enum Given {
    Some,
    Nothing,
    Enough,
}

/// A container whose log is read.
struct Following<'a> {
    number: usize,
    store: &'a Store,
    entry: &'a ContainerEntry,
    since: Option<[u8; TIME]>,
    until: Option<[u8; TIME]>,
    tail: Option<u64>,
    /// `None` while there is no log.
    reader: Option<Reader>,
    /// It does not live, so what is there now is all there will be.
    last: bool,
}

impl Following<'_> {
    fn path(&self) -> PathBuf {
        self.entry.path.join(log::NAME)
    }

    fn failed(&self, source: io::Error) -> Error {
        let path = self.path();
        LogsError::Read { path, source }.into()
    }

    /// The log, or the reason why there is none.
    fn open(&mut self, follow: bool) -> Result<(), Error> {
        self.reader = Reader::open(&self.path(), self.tail, self.until.as_ref())
            .map_err(|e| self.failed(e))?;
        if self.reader.is_none() {
            self.why_none()?;
        }
        if !follow && let Some(reader) = &mut self.reader {
            reader.finish().map_err(|e| self.failed(e))?;
        }
        Ok(())
    }

    /// Nothing is wrong when it has not been started.
    fn why_none(&self) -> Result<(), Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Options {
            keep: Keep,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Keep {
            log: LogConfig,
        }
        #[derive(serde::Deserialize)]
        struct State {
            status: Option<String>,
        }
        let containers = self.store.containers();
        let name = || {
            self.entry
                .name
                .clone()
                .unwrap_or_else(|| self.entry.id.chars().take(12).collect())
        };
        let options: Options = containers.options(self.entry)?.unwrap_or_default();
        if options.keep.log.driver == LogDriver::None {
            return Err(LogsError::None(name()).into());
        }
        let state: Option<State> = containers.state(self.entry)?;
        match state.and_then(|s| s.status).as_deref() {
            Some("created") => Ok(()),
            _ => Err(LogsError::Foreground(name()).into()),
        }
    }

    fn next_time(&mut self) -> Result<Option<[u8; TIME]>, Error> {
        match &mut self.reader {
            Some(reader) => reader.next_time().map_err(|e| self.failed(e)),
            None => Ok(None),
        }
    }

    fn give(&mut self, sink: &mut dyn Sink) -> Result<Given, Error> {
        let Some(reader) = &mut self.reader else {
            return Ok(Given::Nothing);
        };
        let record = match reader.next_record() {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(Given::Nothing),
            Err(e) => return Err(self.failed(e)),
        };
        let wanted = self.since.is_none_or(|since| *record.time >= since)
            && self.until.is_none_or(|until| *record.time <= until);
        if wanted && !sink.record(self.number, &record) {
            return Ok(Given::Enough);
        }
        Ok(Given::Some)
    }

    /// Does it live? If not, this is the last look at its log.
    fn look(&mut self) -> Result<bool, Error> {
        self.last = !self.store.containers().is_locked(self.entry)?;
        Ok(!self.last)
    }

    /// To where there may be more.
    fn go_on(&mut self) -> Result<(), Error> {
        let result = match &mut self.reader {
            Some(reader) if self.last => reader.finish(),
            Some(reader) => reader.follow(),
            None => {
                let opened = Reader::open(&self.entry.path.join(log::NAME), None, None);
                opened.map(|reader| self.reader = reader)
            }
        };
        result.map_err(|e| self.failed(e))
    }
}
