//! Secrets: what containers get to know and images do not. podman-secret(1).
//!
//! ```text
//! secrets/          mode 0700, also where the store is shared
//!   NAME.json       mode 0600; what is known of it and its content, in one file, so that it is whole
//! ```
//!
//! A container keeps what it was given at its creation in a file of its own ([`ContainerDir::write_secrets`]), so that a
//! secret may be replaced or removed without harm to it.
//!
//! [`ContainerDir::write_secrets`]: super::ContainerDir::write_secrets

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::atomic::{self, DraftFile};
use super::error::io;
use super::{Error, Store};

const SECRETS: &str = "secrets";
const SUFFIX: &str = ".json";
/// As podman's.
const NAME_MAX: usize = 64;

/// View of the store's secrets.
#[derive(Debug, Clone, Copy)]
pub struct Secrets<'a> {
    pub(super) store: &'a Store,
}

/// Bytes that nobody prints by mistake. At rest they are hexadecimal digits.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Hidden(pub Vec<u8>);

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hidden bytes", self.0.len())
    }
}

impl Serialize for Hidden {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&base16ct::lower::encode_string(&self.0))
    }
}

impl<'de> Deserialize<'de> for Hidden {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let digits = String::deserialize(d)?;
        let bytes = base16ct::lower::decode_vec(digits);
        bytes
            .map(Self)
            .map_err(|_| de::Error::custom("no hexadecimal digits"))
    }
}

/// All of a secret. Its keys are those of podman-secret-inspect(1), in the case of our other records.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Secret {
    /// 25 hexadecimal digits.
    pub id: String,
    /// Its name.
    pub name: String,
    /// RFC 3339.
    pub created_at: String,
    /// The user's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Its content.
    pub data: Hidden,
}

impl Secrets<'_> {
    fn dir(&self) -> PathBuf {
        self.store.path(SECRETS)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}{SUFFIX}"))
    }

    /// Keep it. Under the exclusive lock, so that of two of one name there is one.
    ///
    /// # Errors
    /// [`Error::BadSecretName`]; [`Error::SecretExists`] unless it is to `replace` that.
    pub fn create(&self, secret: &Secret, replace: bool) -> Result<(), Error> {
        check_name(&secret.name)?;
        let _guard = self.store.exclusive()?;
        let path = self.path(&secret.name);
        atomic::make_dir(&self.dir())?;
        if !replace && path.symlink_metadata().is_ok() {
            return Err(Error::SecretExists(secret.name.clone()));
        }
        let json = serde_json::to_vec(secret).map_err(io("write", &path))?;
        let mut draft = DraftFile::new(&self.store.tmp(), "secret")?;
        draft.write(&json)?;
        draft.publish_private(&path)
    }

    /// All of them, by name.
    ///
    /// # Errors
    /// Of reading.
    pub fn list(&self) -> Result<Vec<Secret>, Error> {
        let mut all: Vec<Secret> = atomic::read_all_json(&self.dir())?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(all)
    }

    /// The one of this name, or whose id starts like this.
    ///
    /// # Errors
    /// [`Error::NoSuchSecret`], also where several ids do.
    pub fn find(&self, name: &str) -> Result<Secret, Error> {
        if check_name(name).is_ok()
            && let Some(secret) = atomic::read_json(&self.path(name))?
        {
            return Ok(secret);
        }
        let mut fit = self.list()?.into_iter();
        let mut fit = fit
            .by_ref()
            .filter(|s| !name.is_empty() && s.id.starts_with(name));
        match (fit.next(), fit.next()) {
            (Some(secret), None) => Ok(secret),
            _ => Err(Error::NoSuchSecret(name.to_owned())),
        }
    }

    /// Remove it.
    ///
    /// # Errors
    /// As [`Secrets::find`].
    pub fn remove(&self, name: &str) -> Result<Secret, Error> {
        let _guard = self.store.exclusive()?;
        let secret = self.find(name)?;
        atomic::unlink(&self.path(&secret.name))?;
        Ok(secret)
    }
}

fn check_name(name: &str) -> Result<(), Error> {
    let alphanumeric = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    let good = bytes.len() <= NAME_MAX
        && alphanumeric(bytes.first())
        && alphanumeric(bytes.last())
        && (bytes.iter()).all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'));
    match good {
        true => Ok(()),
        false => Err(Error::BadSecretName(name.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_podmans() {
        for good in ["a", "a-b_c.d", "0", &"x".repeat(64)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "a/b",
            "..",
            ".a",
            "a.",
            "-",
            "a b",
            "ä",
            &"x".repeat(65),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn content_is_not_printed_and_comes_back() {
        let hidden = Hidden(b"top secret\xff".to_vec());
        assert_eq!(format!("{hidden:?}"), "11 hidden bytes");
        let json = serde_json::to_string(&hidden).unwrap();
        assert_eq!(serde_json::from_str::<Hidden>(&json).unwrap(), hidden);
        assert!(serde_json::from_str::<Hidden>("\"xyz\"").is_err());
    }
}
