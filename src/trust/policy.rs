//! The policy: which requirements an image must fulfil, by where it comes from. containers-policy.json(5).

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::Error;
use super::identity::Identity;
use super::key::PublicKey;
use super::sigstore::{self, Signature};
use crate::config::Env;
use crate::oci::{Digest, Reference};

/// Larger than any sane file.
const POLICY_MAX: u64 = 4 << 20;
/// Where the machine's is.
const SYSTEM: &str = "/etc/containers/policy.json";

/// What must be true of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// Nothing.
    Accept,
    /// It cannot be fulfilled.
    Reject,
    /// The owner of one of the keys must have signed it.
    Signed {
        /// Files.
        paths: Vec<PathBuf>,
        /// PEM.
        pems: Vec<Vec<u8>>,
        /// In whose name.
        identity: Identity,
    },
    /// A proof that cannot be checked here: its name.
    Unsupported(String),
}

/// Where an image comes from, by containers-transports(5).
#[derive(Clone, Copy, Debug)]
pub enum Image<'a> {
    /// A registry.
    Docker(&'a Reference),
    /// A file or directory.
    File {
        /// `oci`, `oci-archive` or `docker-archive`.
        transport: &'a str,
        /// Where it is; `None`: standard input.
        path: Option<&'a Path>,
    },
}

impl std::fmt::Display for Image<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Docker(reference) => reference.fmt(f),
            Self::File {
                transport,
                path: Some(path),
            } => write!(f, "{transport}:{}", path.display()),
            Self::File {
                transport,
                path: None,
            } => write!(f, "{transport} on standard input"),
        }
    }
}

/// All requirements.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    default: Vec<Requirement>,
    transports: BTreeMap<String, BTreeMap<String, Vec<Requirement>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    default: Vec<RawRequirement>,
    #[serde(default)]
    transports: BTreeMap<String, BTreeMap<String, Vec<RawRequirement>>>,
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum RawRequirement {
    #[serde(rename = "insecureAcceptAnything")]
    Accept {},
    #[serde(rename = "reject")]
    Reject {},
    #[serde(rename = "sigstoreSigned", rename_all = "camelCase")]
    Sigstore {
        key_path: Option<PathBuf>,
        #[serde(default)]
        key_paths: Vec<PathBuf>,
        key_data: Option<String>,
        #[serde(default)]
        key_datas: Vec<String>,
        fulcio: Option<serde::de::IgnoredAny>,
        pki: Option<serde::de::IgnoredAny>,
        rekor_public_key_path: Option<PathBuf>,
        rekor_public_key_paths: Option<serde::de::IgnoredAny>,
        rekor_public_key_data: Option<String>,
        rekor_public_key_datas: Option<serde::de::IgnoredAny>,
        signed_identity: Option<RawIdentity>,
    },
    #[serde(rename = "signedBy", rename_all = "camelCase")]
    Gpg {
        #[serde(rename = "keyType")]
        _type: Option<serde::de::IgnoredAny>,
        #[serde(rename = "keyPath")]
        _path: Option<serde::de::IgnoredAny>,
        #[serde(rename = "keyPaths")]
        _paths: Option<serde::de::IgnoredAny>,
        #[serde(rename = "keyData")]
        _data: Option<serde::de::IgnoredAny>,
        #[serde(rename = "signedIdentity")]
        _identity: Option<serde::de::IgnoredAny>,
    },
}

#[derive(Deserialize)]
#[serde(tag = "type", deny_unknown_fields)]
enum RawIdentity {
    #[serde(rename = "matchRepoDigestOrExact")]
    RepoDigestOrExact {},
    #[serde(rename = "matchRepository")]
    Repository {},
    #[serde(rename = "matchExact")]
    Exact {},
    #[serde(rename = "exactReference", rename_all = "camelCase")]
    ExactReference { docker_reference: String },
    #[serde(rename = "exactRepository", rename_all = "camelCase")]
    ExactRepository { docker_repository: String },
    #[serde(rename = "remapIdentity", rename_all = "camelCase")]
    Remap {
        prefix: String,
        signed_prefix: String,
    },
}

impl RawRequirement {
    fn parse(self) -> Result<Requirement, String> {
        Ok(match self {
            Self::Accept {} => Requirement::Accept,
            Self::Reject {} => Requirement::Reject,
            Self::Gpg { .. } => Requirement::Unsupported("a GPG signature (signedBy)".to_owned()),
            Self::Sigstore {
                key_path,
                key_paths,
                key_data,
                key_datas,
                fulcio,
                pki,
                rekor_public_key_path,
                rekor_public_key_paths,
                rekor_public_key_data,
                rekor_public_key_datas,
                signed_identity,
            } => {
                let rekor = rekor_public_key_path.is_some()
                    || rekor_public_key_paths.is_some()
                    || rekor_public_key_data.is_some()
                    || rekor_public_key_datas.is_some();
                for (there, what) in [
                    (fulcio.is_some(), "a Fulcio certificate"),
                    (pki.is_some(), "a certificate of a PKI"),
                    (rekor, "an entry in a Rekor log"),
                ] {
                    if there {
                        return Ok(Requirement::Unsupported(what.to_owned()));
                    }
                }
                let paths: Vec<PathBuf> = key_path.into_iter().chain(key_paths).collect();
                let datas: Vec<String> = key_data.into_iter().chain(key_datas).collect();
                if paths.is_empty() && datas.is_empty() {
                    return Err("sigstoreSigned names no key".to_owned());
                }
                let pems = datas.iter().map(|d| decode(d));
                Requirement::Signed {
                    paths,
                    pems: pems.collect::<Result<_, _>>()?,
                    identity: signed_identity.map(RawIdentity::parse).unwrap_or_default(),
                }
            }
        })
    }
}

impl RawIdentity {
    fn parse(self) -> Identity {
        match self {
            Self::RepoDigestOrExact {} => Identity::RepoDigestOrExact,
            Self::Repository {} => Identity::Repository,
            Self::Exact {} => Identity::Exact,
            Self::ExactReference { docker_reference } => Identity::ExactReference(docker_reference),
            Self::ExactRepository { docker_repository } => {
                Identity::ExactRepository(docker_repository)
            }
            Self::Remap {
                prefix,
                signed_prefix,
            } => Identity::Remap {
                prefix,
                signed: signed_prefix,
            },
        }
    }
}

fn decode(data: &str) -> Result<Vec<u8>, String> {
    use base64::Engine as _;
    let standard = base64::engine::general_purpose::STANDARD;
    standard
        .decode(data)
        .map_err(|_| "keyData is not base64".to_owned())
}

impl Policy {
    /// Parse the text of a file.
    ///
    /// # Errors
    /// What is not JSON, lacks `default`, or has a member or type that we do not know; so does a list without
    /// requirements, as in the specification.
    pub fn parse(text: &[u8]) -> Result<Self, serde_json::Error> {
        let raw: Raw = serde_json::from_slice(text)?;
        let list = |list: Vec<RawRequirement>| -> Result<Vec<Requirement>, serde_json::Error> {
            if list.is_empty() {
                return Err(serde::de::Error::custom("a list of requirements is empty"));
            }
            let parsed = list.into_iter().map(RawRequirement::parse);
            parsed
                .collect::<Result<_, _>>()
                .map_err(serde::de::Error::custom)
        };
        let scopes = |scopes: BTreeMap<String, Vec<RawRequirement>>| {
            let parsed = scopes.into_iter().map(|(k, v)| Ok((k, list(v)?)));
            parsed.collect::<Result<_, serde_json::Error>>()
        };
        let transports = raw.transports.into_iter();
        Ok(Self {
            default: list(raw.default)?,
            transports: transports
                .map(|(k, v)| Ok((k, scopes(v)?)))
                .collect::<Result<_, serde_json::Error>>()?,
        })
    }

    /// The one that the user names, else the user's own, else the machine's. `None`: there is none, and then
    /// nothing is asked for, as with docker.
    pub fn load(named: Option<&Path>, env: Env<'_>) -> Result<Option<Self>, Error> {
        let own = env.config_home().map(|d| d.join("containers/policy.json"));
        let candidates = match named {
            Some(path) => vec![path.to_owned()],
            None => own.into_iter().chain([SYSTEM.into()]).collect(),
        };
        for path in candidates {
            match read(&path, POLICY_MAX) {
                Ok(text) => {
                    let parsed = Self::parse(&text);
                    return Ok(Some(
                        parsed.map_err(|source| Error::Policy { path, source })?,
                    ));
                }
                Err(Error::Read { source, .. })
                    if named.is_none() && source.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// What must be true of `image`: of the most specific scope that has something to say.
    pub fn requirements(&self, image: Image<'_>) -> &[Requirement] {
        let (transport, scopes) = match image {
            Image::Docker(reference) => ("docker", docker_scopes(reference)),
            Image::File { transport, path } => (transport, file_scopes(path)),
        };
        let Some(known) = self.transports.get(transport) else {
            return &self.default;
        };
        let scopes = scopes.iter().map(String::as_str).chain([""]);
        let first = scopes.filter_map(|s| known.get(s)).next();
        first.unwrap_or(&self.default)
    }

    /// Whether `image`, whose manifest is one of `manifests` (itself, or the index that it was chosen from),
    /// may come in. `signatures` is asked for only if they are needed; an image of a file has none.
    pub fn check<E: From<Error>>(
        &self,
        image: Image<'_>,
        manifests: &[&Digest],
        signatures: impl FnOnce(&Reference) -> Result<Vec<Signature>, E>,
    ) -> Result<(), E> {
        let mut signatures = Some(signatures);
        let mut known: Option<Vec<Signature>> = None;
        for requirement in self.requirements(image) {
            match requirement {
                Requirement::Accept => {}
                Requirement::Reject => return Err(Error::Rejected(image.to_string()).into()),
                Requirement::Unsupported(kind) => {
                    return Err(Error::Unsupported {
                        kind: kind.clone(),
                        image: image.to_string(),
                    }
                    .into());
                }
                Requirement::Signed {
                    paths,
                    pems,
                    identity,
                } => {
                    let Image::Docker(reference) = image else {
                        return Err(Error::NotSigned {
                            image: image.to_string(),
                            manifest: None,
                        }
                        .into());
                    };
                    if let Some(get) = signatures.take() {
                        known = Some(get(reference)?);
                    }
                    let keys = keys(paths, pems)?;
                    let known = known.as_deref().unwrap_or_default();
                    sigstore::vouching(known, &keys, identity, reference, manifests)?;
                }
            }
        }
        Ok(())
    }
}

fn keys(paths: &[PathBuf], pems: &[Vec<u8>]) -> Result<Vec<PublicKey>, Error> {
    let read = paths.iter().map(|p| PublicKey::read(p));
    let parsed = pems.iter().map(|p| PublicKey::parse(p, "keyData"));
    read.chain(parsed).collect()
}

/// The whole name, the repository, its parents down to the host, then `*.DOMAIN` from the longest on.
fn docker_scopes(image: &Reference) -> Vec<String> {
    let mut scopes = vec![image.to_string()];
    let name = image.name();
    let mut rest = name.as_str();
    scopes.push(rest.to_owned());
    while let Some((parent, _)) = rest.rsplit_once('/') {
        scopes.push(parent.to_owned());
        rest = parent;
    }
    // The host without its port.
    let host = rest.rsplit_once(':').map_or(rest, |(host, _)| host);
    let mut domain = host;
    while let Some((_, parent)) = domain.split_once('.') {
        scopes.push(format!("*.{parent}"));
        domain = parent;
    }
    scopes
}

/// The path and its parents.
fn file_scopes(path: Option<&Path>) -> Vec<String> {
    let Some(path) = path.and_then(|p| std::path::absolute(p).ok()) else {
        return Vec::new();
    };
    // As containers-policy.json(5) has it, `/` is no scope: "" is.
    let ancestors = path.ancestors().filter(|p| p.parent().is_some());
    ancestors.map(|p| p.display().to_string()).collect()
}

/// A small file, whole.
pub(super) fn read(path: &Path, max: u64) -> Result<Vec<u8>, Error> {
    let fail = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(fail)?;
    file.take(max + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > max {
        return Err(fail(io::ErrorKind::FileTooLarge.into()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse(text.as_bytes()).unwrap()
    }

    const SCOPES: &str = r#"{
        "default": [{"type": "reject"}],
        "transports": {
            "docker": {
                "quay.io/a/b:1": [{"type": "insecureAcceptAnything"}],
                "quay.io/a/b": [{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/k"}],
                "quay.io": [{"type": "reject"}],
                "*.example.com": [{"type": "insecureAcceptAnything"}],
                "": [{"type": "sigstoreSigned", "keyPath": "/k.pub"}]
            },
            "oci": {"/srv/images": [{"type": "insecureAcceptAnything"}]}
        }
    }"#;

    #[test]
    fn the_most_specific_scope_decides() {
        let policy = policy(SCOPES);
        let kind = |r: &[Requirement]| match r {
            [Requirement::Accept] => "accept",
            [Requirement::Reject] => "reject",
            [Requirement::Signed { .. }] => "signed",
            [Requirement::Unsupported(_)] => "unsupported",
            _ => "?",
        };
        for (name, want) in [
            ("quay.io/a/b:1", "accept"),
            ("quay.io/a/b:2", "unsupported"),
            ("quay.io/a/bc:2", "reject"),
            ("quay.io:443/x", "signed"),
            ("r.example.com/x", "accept"),
            ("deep.r.example.com:5000/x/y", "accept"),
            ("example.com/x", "signed"),
            ("notexample.com/x", "signed"),
            ("debian", "signed"),
        ] {
            let reference: Reference = name.parse().unwrap();
            let found = policy.requirements(Image::Docker(&reference));
            assert_eq!(kind(found), want, "{name}");
        }
        for (transport, path, want) in [
            ("oci", Some("/srv/images/x"), "accept"),
            ("oci", Some("/srv/images2"), "reject"),
            ("oci-archive", Some("/srv/images/x"), "reject"),
            ("docker-archive", None, "reject"),
        ] {
            let path = path.map(Path::new);
            let found = policy.requirements(Image::File { transport, path });
            assert_eq!(kind(found), want, "{transport} {path:?}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for bad in [
            "",
            "{}",
            r#"{"default": []}"#,
            r#"{"default": [{"type": "trustMe"}]}"#,
            r#"{"default": [{"type": "reject", "unless": "friday"}]}"#,
            r#"{"default": [{"type": "reject"}], "defaults": []}"#,
            r#"{"default": [{"type": "sigstoreSigned"}]}"#,
            r#"{"default": [{"type": "sigstoreSigned", "keyData": "%"}]}"#,
            r#"{"default": [{"type": "sigstoreSigned", "keyPath": "k", "signedIdentity": {"type": "any"}}]}"#,
            r#"{"default": [{"type": "reject"}], "transports": {"docker": {"": []}}}"#,
        ] {
            assert!(Policy::parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let more = r#"{"default": [{"type": "sigstoreSigned", "keyPath": "k", "rekorPublicKeyPath": "r"}]}"#;
        let rekor = policy(more);
        assert!(matches!(&rekor.default[..], [Requirement::Unsupported(_)]));
    }

    #[test]
    fn signatures_are_asked_for_only_when_they_count() {
        let reference: Reference = "debian".parse().unwrap();
        let image = Image::Docker(&reference);
        let never = |_: &Reference| -> Result<Vec<Signature>, Error> { panic!("asked") };
        let digest = Digest::of(b"");
        let accept = policy(r#"{"default": [{"type": "insecureAcceptAnything"}]}"#);
        assert!(accept.check(image, &[&digest], never).is_ok());
        let reject = policy(r#"{"default": [{"type": "reject"}]}"#);
        assert!(matches!(
            reject.check(image, &[&digest], never),
            Err(Error::Rejected(_))
        ));
        // All must hold.
        let both =
            policy(r#"{"default": [{"type": "insecureAcceptAnything"}, {"type": "reject"}]}"#);
        assert!(both.check(image, &[&digest], never).is_err());
    }
}
