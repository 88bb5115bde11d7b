//! A stage under way: the image so far, its configuration, and the key that stands for both.

use std::fs::File;

use oci_spec::image::{Descriptor, ImageManifest};
use serde_json::{Map, Value, json};

use super::super::intake::IntakeError;
use super::super::made::{self, Made};
use super::super::{Error, commit, stored};
use super::config::Config;
use super::scope::Scope;
use super::{Base, Build, BuildError, Said};
use crate::build::Key;
use crate::layer::pack::{self, Packed};
use crate::oci::{Digest, ManifestError, Platform};
use crate::store::{ImageRecord, Lease};

/// A stage.
pub(super) struct Stage<'b> {
    pub(super) build: &'b Build<'b>,
    pub(super) index: usize,
    position: Option<(usize, usize)>,
    /// The image after the last step that wrote something. Before the first one of `FROM scratch` it is an empty one
    /// that no store has.
    pub(super) image: ImageRecord,
    layers: Vec<Descriptor>,
    pub(super) config: Config,
    pub(super) scope: Scope,
    key: Key,
    /// The configuration is another one than the image's.
    changed: bool,
    /// They keep the images.
    leases: Vec<Lease>,
    /// The platform that `FROM` asked for, or the base has.
    platform: Platform,
}

impl<'b> Stage<'b> {
    /// `FROM`
    pub(super) fn begin(
        build: &'b Build<'b>,
        index: usize,
        position: Option<(usize, usize)>,
        done: &[Option<Self>],
    ) -> Result<Self, Error> {
        let stage = &build.file.stages[index];
        build.at(stage.line, &stage.text, || {
            let name = build
                .given
                .expand(&stage.from.image)
                .map_err(BuildError::from)?;
            let platform = match &stage.from.platform {
                None => None,
                Some(word) => {
                    let word = build.given.expand(word).map_err(BuildError::from)?;
                    Some(word.parse::<Platform>()?)
                }
            };
            match build.file.base(index, &name) {
                Base::Scratch => Self::scratch(build, index, position),
                Base::Stage(base) => match done.get(base) {
                    Some(Some(base)) => Ok(Self {
                        index,
                        position,
                        leases: Vec::new(),
                        scope: base.scope.clone(),
                        layers: base.layers.clone(),
                        config: base.config.clone(),
                        image: base.image.clone(),
                        key: base.key.clone(),
                        platform: base.platform.clone(),
                        ..*base
                    }),
                    _ => Err(BuildError::Problem(crate::build::Problem::Later(name)).into()),
                },
                Base::Image(name) => {
                    let (image, lease) = build.image(&name, platform.as_ref())?;
                    let manifest = stored::manifest(build.store, &image)?;
                    let manifest: ImageManifest =
                        serde_json::from_slice(&manifest).map_err(ManifestError::from)?;
                    let config = stored::config(build.store, &image.id)?;
                    let config: Map<String, Value> =
                        serde_json::from_slice(&config).map_err(IntakeError::Config)?;
                    let key = Key::of_base(&image.id.to_string());
                    Ok(Self {
                        build,
                        index,
                        position,
                        platform: image.platform.parse()?,
                        image,
                        layers: manifest.layers().clone(),
                        config: Config::of(config),
                        scope: Scope::default(),
                        key: build.settings(&key),
                        changed: false,
                        leases: vec![lease],
                    })
                }
            }
        })
    }

    fn scratch(
        build: &'b Build<'b>,
        index: usize,
        position: Option<(usize, usize)>,
    ) -> Result<Self, Error> {
        let platform = build.platform.clone();
        let mut config = json!({
            "architecture": platform.architecture,
            "os": platform.os,
            "config": {},
            "rootfs": { "type": "layers", "diff_ids": [] },
        });
        if let Some(variant) = &platform.variant {
            config["variant"] = json!(variant);
        }
        let nothing = Digest::of(b"");
        let Value::Object(config) = config else {
            return Err(ManifestError::TooLarge(0).into());
        };
        Ok(Self {
            build,
            index,
            position,
            image: ImageRecord {
                reference: None,
                id: nothing.clone(),
                manifest: nothing,
                index: None,
                platform: platform.to_string(),
                layers: Vec::new(),
                restated: None,
                created: None,
                repositories: Vec::new(),
                members: None,
            },
            layers: Vec::new(),
            config: Config::of(config),
            scope: Scope::default(),
            key: build.settings(&Key::of_base(&format!("scratch {platform}"))),
            changed: true,
            leases: Vec::new(),
            platform,
        })
    }

    /// Say what comes now.
    pub(super) fn announce(&self, step: usize, of: usize, text: &str) {
        (self.build.say)(Said::Step {
            stage: self.position,
            step,
            of,
            text,
        });
    }

    /// The step has these parts: from here on it is another one than all that differ in them.
    pub(super) fn mark<'p>(&mut self, parts: impl IntoIterator<Item = &'p str>) {
        self.key = self.key.then(parts);
    }

    /// Whether the step that the key stands for is known; then it is done.
    pub(super) fn is_known(&mut self) -> Result<bool, Error> {
        if self.build.options.no_cache {
            return Ok(false);
        }
        let store = self.build.store;
        let kept = {
            let _guard = store.shared()?;
            match store.builds().get(self.key.hex())? {
                None => return Ok(false),
                Some(image) => {
                    let lease = store.lease(image.roots())?;
                    (image, lease)
                }
            }
        };
        let (image, lease) = kept;
        let documents = stored::manifest(store, &image)
            .and_then(|manifest| Ok((manifest, stored::config(store, &image.id)?)));
        let (manifest, config) = match documents {
            // A blob was removed by hand: as if it were not known.
            Err(_) => return Ok(false),
            Ok(documents) => documents,
        };
        let config = serde_json::from_slice(&config).map_err(IntakeError::Config)?;
        self.leases.push(lease);
        self.take(image, &manifest)?;
        self.config.replace(config);
        (self.build.say)(Said::Cached(&self.image.id));
        Ok(true)
    }

    fn take(&mut self, image: ImageRecord, manifest: &[u8]) -> Result<(), Error> {
        let manifest: ImageManifest =
            serde_json::from_slice(manifest).map_err(ManifestError::from)?;
        self.layers = manifest.layers().clone();
        self.image = image;
        self.changed = false;
        Ok(())
    }

    /// A line of the history for a step that writes no file.
    pub(super) fn wrote_nothing(&mut self, by: &str) {
        let by = format!("/bin/sh -c #(nop) {by}");
        self.config.history(&self.build.now.1, &by, false);
        self.changed = true;
    }

    /// Pack into a file that can be read again.
    pub(super) fn packed(
        &self,
        pack: impl FnOnce(&File, &pack::Options) -> Result<Packed, pack::Error>,
    ) -> Result<(Packed, File), Error> {
        let store = self.build.store;
        let spool = store.spool()?;
        let options = pack::Options {
            clamp: self.build.options.timestamp,
            ..pack::Options::default()
        };
        match pack(&spool, &options) {
            Err(pack::Error::Output(e)) => Err(store.spool_failed(e).into()),
            packed => Ok((packed?, spool)),
        }
    }

    /// The layer of a step.
    pub(super) fn wrote(&mut self, (packed, spool): (Packed, File), by: &str) -> Result<(), Error> {
        super::super::written::tell(&packed.notes, self.build.progress);
        self.config.history(&self.build.now.1, by, true);
        self.config.add_layer(&packed.diff_id);
        self.bring_in(Some((packed, spool)))
    }

    fn bring_in(&mut self, layer: Option<(Packed, File)>) -> Result<(), Error> {
        let build = self.build;
        let config = self.config.json();
        let packed = layer.as_ref().map(|(packed, _)| packed);
        let manifest = commit::manifest(&self.layers, packed, &config, build.options.format)?;
        let made = Made {
            config,
            manifest: manifest.clone(),
            layer: layer.map(|(packed, spool)| (packed.blob, spool)),
        };
        let platform = Some(self.platform.clone());
        let (image, leases) = made::bring_in_unseen(build.store, made, platform, build.progress)?;
        self.leases.extend(leases);
        build.store.builds().put(self.key.hex(), &image)?;
        self.take(image, &manifest)?;
        (build.say)(Said::Made(&self.image.id));
        Ok(())
    }

    /// The image of the last stage, with its names.
    pub(super) fn finish(mut self) -> Result<ImageRecord, Error> {
        let options = self.build.options;
        for (name, value) in &options.labels {
            let label = vec![(name.clone(), value.clone())];
            self.config.change(commit::Change::Label(label));
            self.mark(["--label", name, value]);
            self.changed = true;
        }
        if self.changed {
            self.mark(["image"]);
            if !self.is_known()? {
                self.bring_in(None)?;
            }
        }
        let images = self.build.store.images();
        let mut image = self.image.clone();
        image.reference = None;
        if options.names.is_empty() {
            return Ok(images.put(&image)?);
        }
        for name in options.names.iter().rev() {
            image.reference = Some(name.clone());
            images.put(&image)?;
        }
        Ok(image)
    }
}

impl Build<'_> {
    /// What makes every step another one.
    fn settings(&self, key: &Key) -> Key {
        let time = self.options.timestamp.map(|t| t.to_string());
        let format = match self.options.format {
            commit::Format::Oci => "oci",
            commit::Format::Docker => "docker",
        };
        let platform = self.platform.to_string();
        key.then([format, time.as_deref().unwrap_or(""), &platform])
    }

    /// Do what an instruction says; what goes wrong is told with its line.
    pub(super) fn at<T>(
        &self,
        line: u32,
        text: &str,
        run: impl FnOnce() -> Result<T, Error>,
    ) -> Result<T, Error> {
        run().map_err(|source| {
            BuildError::Step {
                file: self.context.file.clone(),
                line,
                text: text.to_owned(),
                source: Box::new(source),
            }
            .into()
        })
    }
}
