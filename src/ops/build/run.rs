//! `RUN`: a container on the image so far, whose files become a layer.

use std::fs::File;
use std::rc::Rc;

use super::super::Error;
use super::super::run::{self, EnvVar, ImageVolumes, Network, Options, What};
use super::super::written::Written;
use super::BuildError;
use super::stage::Stage;
use crate::build::Run;
use crate::layer::pack::pack;
use crate::monitor::Signals;
use crate::runtime::Streams;

impl Stage<'_> {
    pub(super) fn run(&mut self, run: &Run) -> Result<(), Error> {
        if let Some(script) = &run.script
            && script.content.starts_with("#!")
        {
            let what = "RUN with a heredoc that names its own interpreter".to_owned();
            return Err(BuildError::NotYet(what).into());
        }
        let build = self.build;
        let visible = self.scope.visible(&self.config.env());
        let args = self.config.arguments(&run.command);
        let offline = run.offline || build.options.network == Network::None;
        self.mark(["RUN", if offline { "none" } else { "" }]);
        for (name, value) in &visible {
            self.mark(["ARG", name, value]);
        }
        self.mark(args.iter().map(String::as_str));
        if self.is_known()? {
            return Ok(());
        }
        let proxies = build.given.proxies();
        let env = proxies.into_iter().chain(visible.iter().cloned());
        let options = Options {
            command: args.clone(),
            // Not the image's.
            entrypoint: Some(String::new()),
            remove: true,
            // So that a signal to us ends it, whatever it is.
            init: true,
            env: env.map(|(name, value)| EnvVar::Set(name, value)).collect(),
            image_volumes: ImageVolumes::Ignore,
            network: if offline {
                Network::None
            } else {
                Network::Host
            },
            hosts: build.options.hosts.clone(),
            ulimits: build.options.ulimits.clone(),
            identity: build.options.identity,
            driver: build.options.driver,
            ..Options::plain(What::Image(self.image.id.to_string()))
        };
        let streams = build.options.quiet.then(nowhere).transpose()?;
        let config = self.config.json();
        let image = (self.image.clone(), config.as_slice());
        let (container, ended) = run::step(build.store, &options, image, streams, build.progress)?;
        let layer = match ended.exit_code() {
            0 => self.layer_of(container.id()),
            code => Err(BuildError::Ended {
                program: args.join(" "),
                code,
            }
            .into()),
        };
        let removed = container.remove();
        Signals::unblock().map_err(Error::Prepare)?;
        let layer = layer?;
        removed?;
        let mut by = args.join(" ");
        if !visible.is_empty() {
            let list: Vec<_> = visible.iter().map(|(n, v)| format!("{n}={v}")).collect();
            by = format!("|{} {} {by}", list.len(), list.join(" "));
        }
        self.wrote(layer, &by)
    }

    fn layer_of(&self, container: &str) -> Result<(crate::layer::pack::Packed, File), Error> {
        let written = Written::of(self.build.store, container)?;
        self.packed(|spool, options| pack(&written.layer(), spool, options))
    }
}

/// Streams that nobody reads.
fn nowhere() -> Result<Rc<Streams>, Error> {
    let null = || File::options().write(true).open("/dev/null");
    let streams = null().and_then(|output| {
        Ok(Streams {
            input: None,
            output: output.into(),
            errors: null()?.into(),
        })
    });
    streams.map(Rc::new).map_err(Error::Prepare)
}
