//! `build`: a Containerfile and a directory to an image. docker-build(1), podman-build(1).
//!
//! ```text
//! crate::build (what is to be done) → Stage (one after the other) → run / copy / config → a layer each
//! ```
//!
//! Each step that writes files gives an image, which has no name and comes in as every other one does
//! ([`intake`](super::intake)). `RUN` is a container on the image so far, with emulated identities, whose layer is
//! packed as `commit` does it; `COPY` and `ADD` need no container. What came of a step is remembered by its key
//! ([`crate::build::Key`]): the step before it, the instruction, and what it reads, contents and owners, but no times.
//!
//! A failed build leaves what it had finished in that cache, and nothing else.

mod config;
mod context;
mod copy;
mod error;
mod run;
mod scope;
mod stage;
mod steps;

use std::path::PathBuf;

pub use error::BuildError;

use super::commit::Format;
use super::events::{self, Action};
use super::progress::Progress;
use super::pull::{self, PullPolicy};
use super::run::{IdentityChoice, Network, Ulimit};
use super::{Error, stored};
use crate::build::{Base, Containerfile};
use crate::oci::{Digest, Platform, Reference, ReferenceError};
use crate::rootfs::Driver;
use crate::store::{ImageRecord, Lease, Store};
use context::Context;
use scope::Given;
use stage::Stage;

/// What to build.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The directory that files are copied from.
    pub context: PathBuf,
    /// `--file`
    pub file: Option<PathBuf>,
    /// `--tag`: the image's names; without one it is used by its id.
    pub names: Vec<Reference>,
    /// `--target`
    pub target: Option<String>,
    /// `--build-arg`: without a value it is the caller's variable.
    pub args: Vec<(String, Option<String>)>,
    /// `--label`
    pub labels: Vec<(String, String)>,
    /// `--no-cache`: carry out every step.
    pub no_cache: bool,
    /// `--pull`
    pub pull: PullPolicy,
    /// How to pull base images; its platform is that of the build.
    pub pulling: pull::Options,
    /// `--format`
    pub format: Format,
    /// `--timestamp`, `SOURCE_DATE_EPOCH`: in seconds since 1970; nothing in the image is younger.
    pub timestamp: Option<i64>,
    /// `--network` of each `RUN`.
    pub network: Network,
    /// `--add-host`
    pub hosts: Vec<(String, std::net::IpAddr)>,
    /// `--ulimit`
    pub ulimits: Vec<Ulimit>,
    /// `--identity`
    pub identity: Option<IdentityChoice>,
    /// `--storage-driver`
    pub driver: Option<Driver>,
    /// What the programs of `RUN` print goes nowhere.
    pub quiet: bool,
    /// `--iidfile`
    pub iidfile: Option<PathBuf>,
}

/// What happens, in its order.
#[derive(Clone, Copy, Debug)]
pub enum Said<'a> {
    /// A step begins.
    Step {
        /// Which stage, and of how many, if there are several.
        stage: Option<(usize, usize)>,
        /// Which step.
        step: usize,
        /// Of how many.
        of: usize,
        /// The instruction.
        text: &'a str,
    },
    /// It made this image.
    Made(&'a Digest),
    /// It had made this image before.
    Cached(&'a Digest),
    /// The image has this name now.
    Named(&'a Reference),
}

/// What all stages share.
struct Build<'b> {
    store: &'b Store,
    options: &'b Options,
    context: Context,
    file: Containerfile,
    given: Given,
    platform: Platform,
    say: &'b dyn Fn(Said<'_>),
    progress: &'b dyn Progress,
    /// Seconds since 1970, and the same in words.
    now: (i64, String),
}

/// Build it. `say` is told what happens.
pub fn build(
    store: &Store,
    options: &Options,
    say: &dyn Fn(Said<'_>),
    progress: &dyn Progress,
) -> Result<ImageRecord, Error> {
    for name in &options.names {
        if let Some(digest) = name.digest() {
            return Err(ReferenceError::Tag(digest.to_string()).into());
        }
    }
    super::sweep(store);
    let context = Context::open(&options.context, options.file.as_deref())?;
    let text_error = |source| BuildError::Text {
        file: context.file.clone(),
        source,
    };
    let file = Containerfile::parse(&context.text).map_err(text_error)?;
    let target = file.target(options.target.as_deref()).map_err(text_error)?;
    let host = Platform::host();
    let platform = options.pulling.intake.platform.clone().unwrap_or(host);
    let stage = options.target.as_deref();
    let stage = stage.or(file.stages[target].from.name.as_deref());
    let given = Given::new(
        &options.args,
        &file.globals,
        file.directives.escape,
        &platform,
        stage.unwrap_or("default"),
    )
    .map_err(text_error)?;
    let needed = file
        .needed(target, &|word| given.expand(word))
        .map_err(text_error)?;
    let now = time(options.timestamp)?;
    let build = Build {
        store,
        options,
        context,
        file,
        given,
        platform,
        say,
        progress,
        now,
    };
    let image = build.stages(&needed)?;
    for name in build.given.unused() {
        progress.warn(&format!("--build-arg {name}: there is no ARG {name}"));
    }
    if let Some(path) = &options.iidfile {
        std::fs::write(path, image.id.to_string())
            .map_err(|e| Error::file("write the id to", path, e))?;
    }
    Ok(image)
}

fn time(fixed: Option<i64>) -> Result<(i64, String), Error> {
    let now = jiff::Timestamp::now();
    let time = match fixed {
        None => now,
        Some(seconds) => {
            jiff::Timestamp::from_second(seconds).map_err(|_| BuildError::Time(seconds))?
        }
    };
    Ok((time.as_second(), time.to_string()))
}

impl Build<'_> {
    /// All that are needed, the last one being the target.
    fn stages(&self, needed: &[usize]) -> Result<ImageRecord, Error> {
        let mut done: Vec<Option<Stage<'_>>> = Vec::new();
        done.resize_with(self.file.stages.len(), || None);
        for (n, index) in needed.iter().enumerate() {
            let position = (needed.len() > 1).then_some((n + 1, needed.len()));
            let mut stage = Stage::begin(self, *index, position, &done)?;
            stage.all(&done)?;
            done[*index] = Some(stage);
        }
        let last = needed.last().and_then(|i| done[*i].take());
        // There is one at least.
        let last = last.ok_or(BuildError::Problem(crate::build::Problem::NoFrom))?;
        let image = last.finish()?;
        for name in &self.options.names {
            (self.say)(Said::Named(name));
        }
        events::happened_to_image(self.store, &image, Action::Build);
        Ok(image)
    }

    /// An image, and what keeps it.
    fn image(
        &self,
        name: &str,
        platform: Option<&Platform>,
    ) -> Result<(ImageRecord, Lease), Error> {
        let mut pulling = self.options.pulling.clone();
        if let Some(platform) = platform {
            pulling.intake.platform = Some(platform.clone());
        }
        let policy = self.options.pull;
        let image = pull::ensure(self.store, name, policy, &pulling, self.progress)?;
        let find = || match self.store.images().by_id(&image.id)? {
            Some(_) => Ok([image.clone()]),
            None => Ok([self.store.images().find(&image.id.to_string())?]),
        };
        let ([image], lease) = stored::leased(self.store, find)?;
        Ok((image, lease))
    }

    /// What stands after `--from`.
    fn source(&self, stage: usize, name: &str) -> Result<Base, Error> {
        let name = self.given.expand(name).map_err(BuildError::from)?;
        Ok(self.file.source(stage, &name).map_err(BuildError::from)?)
    }
}
