//! Where images come from, and what short names mean: containers-registries.conf(5), version 2.
//!
//! One main file, and drop-ins that overwrite it: the user's file takes the place of the machine's, and of
//! its drop-ins. Above all of them stand the aliases that podman has recorded (`short-name-aliases.conf`), which are
//! only ever read. A host without any such file is the common case, and means: an image comes from where its
//! name says, and a short name is one of docker.io.

mod file;

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use self::file::File;
use super::Env;
use crate::oci::{Reference, ReferenceError};

const MAIN: &str = "containers/registries.conf";
const DROP_INS: &str = "containers/registries.conf.d";
/// Below the cache of the machine and the user's.
const RECORDED: &str = "containers/short-name-aliases.conf";
const SYSTEM: &str = "/";
/// Larger than any sane file.
const FILE_MAX: u64 = 4 << 20;

/// Why a registry configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// A file that is there but cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not TOML, or not of the expected shape.
    #[error("{path:?} is not in the format of containers-registries.conf(5)")]
    Toml {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: Box<toml::de::Error>,
    },
    /// The format of old.
    #[error("{path:?} is in version 1 of its format ([registries.search] and the like)")]
    Version1 {
        /// The file.
        path: PathBuf,
    },
    /// A value that makes no sense.
    #[error("{path:?}: {what}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which, and what is wanted.
        what: String,
    },
    /// A short name that could mean several images.
    #[error("{name:?} could be any of {}, and short-name-mode is \"enforcing\"", .candidates.join(", "))]
    Ambiguous {
        /// As the user typed it.
        name: String,
        /// What it could mean.
        candidates: Vec<String>,
    },
    /// Forbidden by the configuration.
    #[error("images of {prefix} are blocked by {path:?}")]
    Blocked {
        /// The prefix of the rule.
        prefix: String,
        /// The file that has it.
        path: PathBuf,
    },
    /// A rule that makes no name of the name.
    #[error("the rule for {prefix} makes {name:?} of {reference}")]
    Rewritten {
        /// The prefix of the rule.
        prefix: String,
        /// The image.
        reference: String,
        /// What came out.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// No name at all.
    #[error(transparent)]
    Name(#[from] ReferenceError),
}

impl RegistriesError {
    /// What the user can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Version1 { .. } => Some(
                "version 2 says it with unqualified-search-registries = [...], and [[registry]] tables with location and insecure or blocked; CONTAINERS_REGISTRIES_CONF names another file".into(),
            ),
            Self::Ambiguous { .. } => Some("give the whole name, or an alias in registries.conf".into()),
            Self::Blocked { .. } => Some("ask whoever configured it; a file of your own takes its place: ~/.config/containers/registries.conf".into()),
            Self::Read { .. } | Self::Toml { .. } | Self::Value { .. } => {
                Some("CONTAINERS_REGISTRIES_CONF names another file".into())
            }
            Self::Rewritten { .. } | Self::Name(_) => None,
        }
    }
}

/// What to make of a short name that has no alias and several registries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ShortNames {
    Enforcing,
    #[default]
    Permissive,
    Disabled,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PullFrom {
    All,
    DigestOnly,
    TagOnly,
}

/// A `[[registry]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Table {
    prefix: String,
    /// `None` leaves names as they are.
    location: Option<String>,
    insecure: bool,
    blocked: bool,
    mirrors: Vec<Mirror>,
}

/// A `[[registry.mirror]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    location: String,
    insecure: bool,
    pull_from: PullFrom,
}

/// All that is configured.
#[derive(Clone, Debug, Default)]
pub struct Registries {
    /// By prefix, each with its file.
    tables: BTreeMap<String, (Table, PathBuf)>,
    search: Option<(Vec<String>, PathBuf)>,
    short_names: ShortNames,
    aliases: BTreeMap<String, (String, PathBuf)>,
    notices: Vec<Notice>,
}

/// A setting that has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?}: {setting} is not supported and has no effect")]
pub struct Notice {
    path: PathBuf,
    setting: String,
}

/// A place that may have an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// What the image is called there.
    pub reference: Reference,
    /// Plain http and certificates of strangers are allowed.
    pub insecure: bool,
    /// It stands for the place that the name means.
    pub mirror: bool,
}

/// What a short name means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// To be tried in this order; never empty.
    pub candidates: Vec<Reference>,
    /// Why.
    pub because: Because,
}

/// Why a short name means what it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// Nothing is configured.
    Default,
    /// An alias in this file.
    Alias(PathBuf),
    /// `unqualified-search-registries` of this file.
    Search(PathBuf),
}

impl Registries {
    /// Nothing is configured.
    pub fn none() -> Self {
        Self::default()
    }

    /// Parse the text of one file. `path` only serves messages.
    pub fn parse(text: &str, path: &Path) -> Result<Self, RegistriesError> {
        let mut all = Self::none();
        all.overwrite(File::parse(text, path)?, path);
        Ok(all)
    }

    /// Read what applies to this user.
    pub fn load(env: Env<'_>) -> Result<Self, RegistriesError> {
        Self::load_from(Path::new(SYSTEM), env)
    }

    /// `root` is where `/etc` and `/var` are.
    fn load_from(root: &Path, env: Env<'_>) -> Result<Self, RegistriesError> {
        let mut all = Self::none();
        let system = root.join("etc");
        let own = env.config_home();
        let mut dirs = vec![system.join(DROP_INS)];
        dirs.extend(own.as_ref().map(|dir| dir.join(DROP_INS)));
        if let Some(path) = env.get("CONTAINERS_REGISTRIES_CONF").map(PathBuf::from) {
            let text = read(&path)?;
            all.overwrite(File::parse(&text, &path)?, &path);
        } else if let Some(path) = own.map(|dir| dir.join(MAIN))
            && all.read(&path)?
        {
            dirs.remove(0);
        } else {
            all.read(&system.join(MAIN))?;
        }
        for dir in dirs {
            for path in drop_ins(&dir)? {
                all.read(&path)?;
            }
        }
        // What root has answered, and above it what the user has.
        let caches = [Some(root.join("var/cache")), env.cache_home()];
        for dir in caches.into_iter().flatten() {
            all.recorded(&dir.join(RECORDED))?;
        }
        Ok(all)
    }

    /// What somebody has once answered podman. Such a file has aliases, and nothing else of it counts.
    fn recorded(&mut self, path: &Path) -> Result<(), RegistriesError> {
        let text = match read(path) {
            // Podman makes the machine's directory for root's eyes only, and is no matter of others then.
            Err(RegistriesError::Read { source, .. })
                if is_absent(&source) || source.kind() == io::ErrorKind::PermissionDenied =>
            {
                return Ok(());
            }
            text => text?,
        };
        let file = File::parse(&text, path)?;
        let only = File {
            aliases: file.aliases,
            ..File::default()
        };
        self.overwrite(only, path);
        Ok(())
    }

    /// Whether there is such a file.
    fn read(&mut self, path: &Path) -> Result<bool, RegistriesError> {
        match read(path) {
            Ok(text) => {
                self.overwrite(File::parse(&text, path)?, path);
                Ok(true)
            }
            Err(RegistriesError::Read { source, .. }) if is_absent(&source) => Ok(false),
            Err(e) => Err(e),
        }
    }

    fn overwrite(&mut self, file: File, path: &Path) {
        for table in file.tables {
            let prefix = table.prefix.clone();
            self.tables.insert(prefix, (table, path.to_owned()));
        }
        if let Some(search) = file.search {
            self.search = Some((search, path.to_owned()));
        }
        self.short_names = file.short_names.unwrap_or(self.short_names);
        for (name, value) in file.aliases {
            if value.is_empty() {
                self.aliases.remove(&name);
            } else {
                self.aliases.insert(name, (value, path.to_owned()));
            }
        }
        let path = path.to_owned();
        self.notices
            .extend(file.unknown.into_iter().map(|setting| Notice {
                path: path.clone(),
                setting,
            }));
    }

    /// Settings that have no effect: to be shown as warnings.
    pub fn notices(&self) -> &[Notice] {
        &self.notices
    }

    /// Nothing is insecure any more: what `--tls-verify=true` says, since it is nearer than a file.
    pub fn secure(&mut self) {
        for (table, _) in self.tables.values_mut() {
            table.insecure = false;
            for mirror in &mut table.mirrors {
                mirror.insecure = false;
            }
        }
    }

    /// The registries to search, docker.io where none are configured.
    pub fn search_registries(&self) -> Vec<String> {
        match &self.search {
            Some((hosts, _)) if !hosts.is_empty() => hosts.clone(),
            _ => vec!["docker.io".to_owned()],
        }
    }

    /// The registry that is meant when none is named.
    pub fn default_registry(&self) -> &str {
        let first = self.search.as_ref().and_then(|(hosts, _)| hosts.first());
        first.map_or("docker.io", String::as_str)
    }

    /// What a short name means: an alias stands before the registries to search, and where neither is
    /// configured it is one of docker.io.
    pub fn meaning(&self, name: &str) -> Result<Meaning, RegistriesError> {
        let end = name.find([':', '@']).unwrap_or(name.len());
        let (short, version) = name.split_at(end);
        if let Some((full, path)) = self.aliases.get(short) {
            return Ok(Meaning {
                candidates: vec![format!("{full}{version}").parse()?],
                because: Because::Alias(path.clone()),
            });
        }
        match &self.search {
            Some((hosts, path)) if !hosts.is_empty() => {
                let candidates = hosts
                    .iter()
                    .map(|host| format!("{host}/{name}").parse())
                    .collect::<Result<Vec<Reference>, _>>()?;
                if candidates.len() > 1 && self.short_names == ShortNames::Enforcing {
                    return Err(RegistriesError::Ambiguous {
                        name: name.to_owned(),
                        candidates: candidates.iter().map(ToString::to_string).collect(),
                    });
                }
                Ok(Meaning {
                    candidates,
                    because: Because::Search(path.clone()),
                })
            }
            _ => Ok(Meaning {
                candidates: vec![name.parse()?],
                because: Because::Default,
            }),
        }
    }

    /// Whether a repository, or a registry as such (an empty one), may be spoken to without security.
    pub fn is_insecure(&self, registry: &str, repository: &str) -> bool {
        self.rule(&format!("{registry}/{repository}"))
            .is_some_and(|(_, (table, _))| table.insecure)
    }

    /// Whether a repository, or a registry as such (an empty one), may be asked for anything at all.
    pub fn allowed(&self, registry: &str, repository: &str) -> Result<(), RegistriesError> {
        match self.rule(&format!("{registry}/{repository}")) {
            Some((_, (table, path))) if table.blocked => Err(RegistriesError::Blocked {
                prefix: table.prefix.clone(),
                path: path.clone(),
            }),
            _ => Ok(()),
        }
    }

    /// The rule for a name, and how much of the name its prefix covers.
    fn rule(&self, name: &str) -> Option<(usize, &(Table, PathBuf))> {
        self.tables
            .values()
            .filter_map(|found| Some((matched(name, &found.0.prefix)?, found)))
            // Of two that reach equally far the one without a wildcard counts, then the longer one.
            .max_by_key(|(length, (table, _))| {
                let prefix = &table.prefix;
                (*length, !prefix.starts_with("*."), prefix.len())
            })
    }

    /// Where to ask for an image, in this order; never empty. The last place is the one that the name means.
    pub fn places(&self, r: &Reference) -> Result<Vec<Place>, RegistriesError> {
        let whole = r.to_string();
        let Some((length, (table, _))) = self.rule(&whole) else {
            return Ok(vec![Place {
                reference: r.clone(),
                insecure: false,
                mirror: false,
            }]);
        };
        self.allowed(r.registry(), &whole[r.registry().len() + 1..])?;
        // A prefix may reach into the tag, which then stays as it is.
        let name = r.name();
        let rest = name.get(length..).unwrap_or_default();
        let rewrite = |location: &str| {
            let name = format!("{location}{rest}");
            r.at(&name).map_err(|source| RegistriesError::Rewritten {
                prefix: table.prefix.clone(),
                reference: whole.clone(),
                name,
                source,
            })
        };
        let mut places = Vec::new();
        for mirror in &table.mirrors {
            let fits = match mirror.pull_from {
                PullFrom::All => true,
                PullFrom::DigestOnly => r.digest().is_some(),
                PullFrom::TagOnly => r.digest().is_none(),
            };
            if fits {
                places.push(Place {
                    reference: rewrite(&mirror.location)?,
                    insecure: mirror.insecure,
                    mirror: true,
                });
            }
        }
        places.push(Place {
            reference: match &table.location {
                Some(location) => rewrite(location)?,
                None => r.clone(),
            },
            insecure: table.insecure,
            mirror: false,
        });
        Ok(places)
    }
}

/// How much of a name a prefix covers, if it covers whole parts of it.
fn matched(name: &str, prefix: &str) -> Option<usize> {
    let (host, _) = name.split_once('/')?;
    if let Some(domain) = prefix.strip_prefix('*') {
        // The port is no part of the domain, but of what is replaced.
        let bare = host.rsplit_once(':').map_or(host, |(bare, _)| bare);
        return bare.ends_with(domain).then_some(bare.len());
    }
    let rest = name.strip_prefix(prefix)?;
    let whole = match prefix.contains('/') {
        true => rest.is_empty() || rest.starts_with(['/', ':', '@']),
        // What follows a host with a colon is its port: another registry.
        false => rest.starts_with('/'),
    };
    whole.then_some(prefix.len())
}

fn is_absent(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn read(path: &Path) -> Result<String, RegistriesError> {
    let fail = |source| RegistriesError::Read {
        path: path.to_owned(),
        source,
    };
    let mut text = String::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(FILE_MAX + 1)
        .read_to_string(&mut text)
        .map_err(fail)?;
    if text.len() as u64 > FILE_MAX {
        return Err(fail(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(text)
}

/// The files of a directory of drop-ins, in the order in which they count.
fn drop_ins(dir: &Path) -> Result<Vec<PathBuf>, RegistriesError> {
    let fail = |source| RegistriesError::Read {
        path: dir.to_owned(),
        source,
    };
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if is_absent(&e) => return Ok(Vec::new()),
        Err(e) => return Err(fail(e)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(fail)?.path();
        if path.extension().is_some_and(|e| e == "conf") && !path.is_dir() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests;
