//! `COPY`, `ADD` and the directory of `WORKDIR`: layers that need no container.

use std::path::Path;

use super::super::commit::Change;
use super::super::run::user;
use super::super::{Error, written};
use super::stage::Stage;
use super::{Base, BuildError};
use crate::build::{Chmod, Copy, Glob, Ignore, absolute};
use crate::layer::pack::{self, Component, Composition, Compression, Piece, Tree, compose};
use crate::rootfs::LayeredView;

/// A file of the image or the context that is copied, and what is left out of it.
struct From<'s> {
    trees: Vec<Tree>,
    ignore: Option<&'s Ignore>,
    foreign: bool,
    /// It is kept as long as it is read.
    _lease: Option<crate::store::Lease>,
}

impl<'b> Stage<'b> {
    pub(super) fn copy(
        &mut self,
        copy: &Copy,
        text: &str,
        done: &[Option<Self>],
    ) -> Result<(), Error> {
        let sources = copy.sources.iter().map(|s| self.word(s));
        let sources = sources.collect::<Result<Vec<_>, _>>()?;
        if copy.add
            && let Some(remote) = sources.iter().find(|s| is_remote(s))
        {
            return Err(BuildError::NotYet(format!("ADD {remote}")).into());
        }
        let target = self.word(&copy.target)?;
        let into = target.ends_with('/') || target.ends_with("/.") || target == ".";
        let mode = match &copy.chmod {
            Some(chmod) => Some(Chmod::parse(&self.word(chmod)?).map_err(BuildError::from)?),
            None => None,
        };
        let owner = match &copy.chown {
            Some(chown) => Some(self.owner(&self.word(chown)?)?),
            None => None,
        };
        let exclude = copy.exclude.iter().map(|e| self.word(e));
        let exclude = exclude.collect::<Result<Vec<_>, _>>()?;
        let exclude = Ignore::of(exclude.iter().map(String::as_str)).map_err(BuildError::from)?;
        let from = self.from(copy.from.as_deref(), done)?;
        let documents = copy
            .heredocs
            .iter()
            .map(|h| Ok((h.name.as_str(), self.document(h)?)));
        let documents = documents.collect::<Result<Vec<_>, Error>>()?;

        let mut pieces = Vec::new();
        for source in &sources {
            pieces.push(Piece::Found {
                path: components(source)?,
                text: source,
                unpack: copy.add,
            });
        }
        pieces.extend(documents.iter().map(|(name, content)| Piece::Bytes {
            name,
            content: content.as_bytes(),
        }));
        let onto = written::stack(self.build.store, &self.image);
        let final_ignores = exclude.is_final() && from.ignore.is_none_or(Ignore::is_final);
        let composition = Composition {
            onto: &onto,
            from: &from.trees,
            foreign: from.foreign,
            pieces,
            target: self.absolute(&target).into_bytes(),
            into,
            owner,
            mode: &|old, is_dir| mode.as_ref().map_or(old, |m| m.apply(old, is_dir)),
            ignored: &|path, below| {
                from.ignore.is_some_and(|i| i.ignores(path)) || exclude.ignores(below)
            },
            ignored_whole: final_ignores,
            now: self.build.now.0,
        };
        // The same but for its times: another checkout of the same files is no other step.
        let times = pack::Options {
            clamp: Some(0),
            compression: Compression::None,
        };
        let content = compose(&composition, std::io::sink(), &times)?;
        self.mark([
            if copy.add { "ADD" } else { "COPY" },
            text,
            content.diff_id.hex(),
        ]);
        if self.is_known()? {
            return Ok(());
        }
        let layer = self.packed(|spool, options| compose(&composition, spool, options))?;
        self.wrote(layer, &format!("/bin/sh -c #(nop) {text}"))
    }

    /// What is copied from.
    fn from(&self, name: Option<&str>, done: &[Option<Self>]) -> Result<From<'b>, Error> {
        let build = self.build;
        let image = |image, lease| From {
            trees: written::stack(build.store, image),
            ignore: None,
            foreign: false,
            _lease: lease,
        };
        let Some(name) = name else {
            return Ok(From {
                trees: vec![build.context.tree()],
                ignore: Some(&build.context.ignore),
                foreign: true,
                _lease: None,
            });
        };
        match build.source(self.index, name)? {
            Base::Stage(stage) => match done.get(stage) {
                Some(Some(stage)) => Ok(image(&stage.image, None)),
                _ => Err(BuildError::Problem(crate::build::Problem::Later(name.to_owned())).into()),
            },
            Base::Scratch | Base::Image(_) => {
                let name = build.given.expand(name).map_err(BuildError::from)?;
                let (found, lease) = build.image(&name, None)?;
                Ok(image(&found, Some(lease)))
            }
        }
    }

    /// `--chown`: names are those of the image; a number alone is that of the group, too.
    fn owner(&self, text: &str) -> Result<(u32, u32), Error> {
        if let Ok(id) = text.parse() {
            return Ok((id, id));
        }
        let trees = self.image.stack().map(|id| self.build.store.layer_path(id));
        let ids = user::resolve(text, &trees.collect::<Vec<_>>())?;
        Ok((ids.uid, ids.gid))
    }

    /// From the root, by way of the working directory.
    fn absolute(&self, path: &str) -> String {
        absolute(self.config.workdir(), path)
    }

    /// `WORKDIR`: it is made if it is not there.
    pub(super) fn workdir(&mut self, dir: String) -> Result<(), Error> {
        let text = format!("WORKDIR {dir}");
        let target = self.absolute(&dir);
        self.config.change(Change::Workdir(target.clone()));
        let user = self.config.user().to_owned();
        self.mark(["WORKDIR", &target, &user]);
        let store = self.build.store;
        let trees: Vec<_> = self.image.stack().map(|id| store.layer_path(id)).collect();
        if LayeredView::new(&trees)
            .directory(Path::new(&target))?
            .is_some()
        {
            self.wrote_nothing(&text);
            return Ok(());
        }
        if self.is_known()? {
            return Ok(());
        }
        let ids = user::resolve(&user, &trees)?;
        let onto = written::stack(store, &self.image);
        let composition = Composition {
            onto: &onto,
            from: &[],
            foreign: false,
            pieces: Vec::new(),
            target: target.into_bytes(),
            into: true,
            owner: Some((ids.uid, ids.gid)),
            mode: &|mode, _| mode,
            ignored: &|_, _| false,
            ignored_whole: true,
            now: self.build.now.0,
        };
        let layer = self.packed(|spool, options| compose(&composition, spool, options))?;
        self.wrote(layer, &format!("/bin/sh -c #(nop) {text}"))
    }
}

/// What `ADD` fetches.
fn is_remote(source: &str) -> bool {
    ["http://", "https://", "git://", "git@", "ssh://"]
        .iter()
        .any(|p| source.starts_with(p))
}

/// The parts of a source: names, and patterns.
fn components(source: &str) -> Result<Vec<Component<'static>>, Error> {
    let parts = source.split('/').filter(|p| !p.is_empty() && *p != ".");
    let part = |part: &str| {
        if !Glob::is_one(part) {
            return Ok(Component::Name(part.as_bytes().to_vec()));
        }
        let glob = Glob::new(part).map_err(BuildError::from)?;
        Ok(Component::Matching(Box::new(move |name| {
            glob.matches(name)
        })))
    };
    parts.map(part).collect()
}
