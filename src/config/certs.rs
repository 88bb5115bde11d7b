//! Certificates for single registries: containers-certs.d(5), and docker's directory of the same kind.
//!
//! `certs.d/HOST[:PORT]/` holds `*.crt` (authorities to trust for that registry) and a pair of `*.cert` and
//! `*.key` (to show to it). The first such directory counts: the user's, then those of the machine.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::Env;

const SYSTEM: [&str; 2] = ["/etc/containers/certs.d", "/etc/docker/certs.d"];
/// A bundle of all authorities of the world has a quarter of it.
const FILE_MAX: u64 = 1 << 20;
/// Nobody needs as many files.
const FILES_MAX: usize = 256;

/// Why the certificates of a registry cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertsError {
    /// A directory or file that cannot be read.
    #[error("cannot read {path:?}")]
    Read {
        /// The path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// More than there could be a reason for.
    #[error("{path:?} has more than {FILES_MAX} files, or one of more than {FILE_MAX} bytes")]
    TooMuch {
        /// The directory or file.
        path: PathBuf,
    },
    /// Half of a pair.
    #[error("{path:?} has no {missing:?} beside it")]
    Unpaired {
        /// The half that is there.
        path: PathBuf,
        /// The file name of the other one.
        missing: String,
    },
    /// Several pairs, and no rule which one to show.
    #[error("{path:?} has more than one client certificate")]
    Several {
        /// The directory.
        path: PathBuf,
    },
    /// Not what its name says.
    #[error("{path:?} holds no {what} in PEM form")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
}

/// Where certificates are looked for. Nothing is read before it is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Certs {
    /// In the directory of this name, for the registry that is talked to.
    Only(PathBuf),
    /// In directories named by registry, below the first of these that has one.
    ByHost(Vec<PathBuf>),
}

/// A file, and what is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pem {
    /// The file.
    pub path: PathBuf,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// The certificates of one registry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostCerts {
    /// Authorities to trust besides the system's.
    pub roots: Vec<Pem>,
    /// Certificate and key to show.
    pub client: Option<(Pem, Pem)>,
}

impl Certs {
    /// None at all.
    pub fn none() -> Self {
        Self::ByHost(Vec::new())
    }

    /// The directory that the user names, else those of the user and of the machine.
    pub fn new(given: Option<&Path>, env: Env<'_>) -> Self {
        if let Some(dir) = given {
            return Self::Only(dir.to_owned());
        }
        let own = env.config_home().map(|dir| dir.join("containers/certs.d"));
        Self::ByHost(own.into_iter().chain(SYSTEM.map(PathBuf::from)).collect())
    }

    /// The certificates of a registry, as the user calls it.
    pub fn of_registry(&self, registry: &str) -> Result<HostCerts, CertsError> {
        match self {
            // It was asked for: not being there is an error.
            Self::Only(dir) => read_dir(dir).and_then(|files| HostCerts::read(dir, files)),
            Self::ByHost(_) => self.of_host(registry),
        }
    }

    /// The certificates of a host that a registry sent us to.
    pub fn of_host(&self, host: &str) -> Result<HostCerts, CertsError> {
        // A registry chooses this name: it must not be a way out of the directory.
        let Self::ByHost(dirs) = self else {
            return Ok(HostCerts::default());
        };
        if host.is_empty() || host.starts_with('.') || host.contains(['/', '\0']) {
            return Ok(HostCerts::default());
        }
        for dir in dirs.iter().map(|dir| dir.join(host)) {
            match read_dir(&dir) {
                Ok(files) => return HostCerts::read(&dir, files),
                Err(CertsError::Read { source, .. })
                    if matches!(
                        source.kind(),
                        io::ErrorKind::NotFound
                            | io::ErrorKind::NotADirectory
                            | io::ErrorKind::PermissionDenied
                    ) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(HostCerts::default())
    }
}

impl HostCerts {
    fn read(dir: &Path, files: Vec<PathBuf>) -> Result<Self, CertsError> {
        let mut certs = Self::default();
        for path in &files {
            let pair = |other: &str| {
                let other = path.with_extension(other);
                match files.contains(&other) {
                    true => Ok(other),
                    false => Err(CertsError::Unpaired {
                        path: path.clone(),
                        missing: other
                            .file_name()
                            .unwrap_or_default()
                            .to_string_lossy()
                            .into_owned(),
                    }),
                }
            };
            match path.extension().and_then(|e| e.to_str()) {
                Some("crt") => certs.roots.push(pem(path)?),
                Some("cert") if certs.client.is_some() => {
                    return Err(CertsError::Several {
                        path: dir.to_owned(),
                    });
                }
                Some("cert") => certs.client = Some((pem(path)?, pem(&pair("key")?)?)),
                Some("key") => {
                    pair("cert")?;
                }
                _ => {}
            }
        }
        Ok(certs)
    }

    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.roots.is_empty() && self.client.is_none()
    }
}

/// The files of a directory, sorted.
fn read_dir(dir: &Path) -> Result<Vec<PathBuf>, CertsError> {
    let fail = |source| CertsError::Read {
        path: dir.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(fail)? {
        if files.len() == FILES_MAX {
            return Err(CertsError::TooMuch {
                path: dir.to_owned(),
            });
        }
        files.push(entry.map_err(fail)?.path());
    }
    files.sort();
    Ok(files)
}

fn pem(path: &Path) -> Result<Pem, CertsError> {
    let fail = |source| CertsError::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(fail)?;
    file.take(FILE_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(fail)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(CertsError::TooMuch {
            path: path.to_owned(),
        });
    }
    Ok(Pem {
        path: path.to_owned(),
        bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(certs: &HostCerts) -> (Vec<String>, Option<String>) {
        let name = |p: &Pem| p.path.file_name().unwrap().to_str().unwrap().to_owned();
        let client = certs.client.as_ref();
        (
            certs.roots.iter().map(name).collect(),
            client.map(|(cert, key)| format!("{} {}", name(cert), name(key))),
        )
    }

    #[test]
    fn the_first_directory_of_a_registry_counts() {
        let tmp = tempfile::tempdir().unwrap();
        let put = |path: &str| {
            let path = tmp.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "x").unwrap();
        };
        let dirs = ["a", "b"].map(|d| tmp.path().join(d));
        let certs = Certs::ByHost(dirs.to_vec());
        let of = |host: &str| certs.of_registry(host).map(|c| names(&c));
        put("b/q.io/ca.crt");
        put("b/q.io/client.cert");
        put("b/q.io/client.key");
        put("b/q.io/README");
        let want = (
            vec!["ca.crt".to_owned()],
            Some("client.cert client.key".to_owned()),
        );
        assert_eq!(of("q.io").unwrap(), want);
        assert_eq!(of("q.io:5000").unwrap(), (vec![], None));
        put("a/q.io/1.crt");
        put("a/q.io/2.crt");
        assert_eq!(of("q.io").unwrap().0, ["1.crt", "2.crt"]);
        assert_eq!(of("q.io").unwrap().1, None);
        // Names that a registry could send us to.
        put("ca.crt");
        for host in ["", ".", "..", "../b/q.io", "q.io/../../b/q.io"] {
            assert!(certs.of_host(host).unwrap().is_empty(), "{host:?}");
        }
        let only = Certs::Only(tmp.path().join("a/q.io"));
        assert_eq!(names(&only.of_registry("any").unwrap()).0.len(), 2);
        assert!(only.of_host("q.io").unwrap().is_empty());
        let missing = Certs::Only(tmp.path().join("none"));
        assert!(matches!(
            missing.of_registry("q.io"),
            Err(CertsError::Read { .. })
        ));
    }

    #[test]
    fn halves_and_heaps_are_refused() {
        let tmp = tempfile::tempdir().unwrap();
        let only = Certs::Only(tmp.path().to_owned());
        let put = |name: &str| fs::write(tmp.path().join(name), "x").unwrap();
        put("a.cert");
        let e = only.of_registry("x").unwrap_err();
        assert!(
            matches!(&e, CertsError::Unpaired { missing, .. } if missing == "a.key"),
            "{e}"
        );
        put("a.key");
        only.of_registry("x").unwrap();
        put("b.key");
        let e = only.of_registry("x").unwrap_err();
        assert!(
            matches!(&e, CertsError::Unpaired { missing, .. } if missing == "b.cert"),
            "{e}"
        );
        put("b.cert");
        let e = only.of_registry("x").unwrap_err();
        assert!(matches!(e, CertsError::Several { .. }), "{e}");
        fs::remove_file(tmp.path().join("b.cert")).unwrap();
        fs::remove_file(tmp.path().join("b.key")).unwrap();
        fs::write(tmp.path().join("big.crt"), vec![b'x'; (1 << 20) + 1]).unwrap();
        let e = only.of_registry("x").unwrap_err();
        assert!(matches!(e, CertsError::TooMuch { .. }), "{e}");
        for n in 0..FILES_MAX {
            put(&format!("{n}"));
        }
        let e = only.of_registry("x").unwrap_err();
        assert!(matches!(e, CertsError::TooMuch { .. }), "{e}");
    }

    #[test]
    fn directories_are_the_users_and_then_the_machines() {
        let get = |name: &str| (name == "HOME").then(|| "/h".into());
        let Certs::ByHost(dirs) = Certs::new(None, Env::new(&get)) else {
            panic!();
        };
        let want = [
            "/h/.config/containers/certs.d",
            "/etc/containers/certs.d",
            "/etc/docker/certs.d",
        ];
        assert_eq!(dirs, want.map(PathBuf::from));
        let given = Certs::new(Some(Path::new("d")), Env::new(&get));
        assert_eq!(given, Certs::Only("d".into()));
    }
}
